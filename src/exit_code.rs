//! The exit codes of all commands, in one table.
//!
//! The command line, the daemon and the doctor take their codes from here, and the table of README.md
//! is held to it. Invariant: one cause has one code, whichever command meets it. `check` differs where
//! monitors expect it: there 2 means "outage", so that wrong usage is 3.

use crate::config::ConfigError;
use crate::store::OpenError;

pub const DONE: u8 = 0;
pub const FAILED: u8 = 1;
pub const WRONG_USAGE: u8 = 2;
pub const CANNOT_TELL: u8 = 3;
/// EX_CANTCREAT of sysexits(3), like the next two.
pub const CANNOT_WRITE: u8 = 73;
pub const ALREADY_RUNNING: u8 = 75;
pub const CONFIGURATION: u8 = 78;

/// Of `check`: an issue, or maintenance.
pub const ISSUE: u8 = 1;
/// Of `check`.
pub const OUTAGE: u8 = 2;

/// One code, and what it means. Empty where a command does not give it.
pub struct ExitCodeRow {
    pub code: u8,
    /// Of every command that has no column of its own.
    pub meaning: &'static str,
    pub check: &'static str,
    pub doctor: &'static str,
    /// Of `fleet --fail-on`.
    pub fail_on: &'static str,
}

pub const TABLE: [ExitCodeRow; 7] = [
    ExitCodeRow {
        code: DONE,
        meaning: "done",
        check: "Apple lists no problem",
        doctor: "nothing found",
        fail_on: "no device is such",
    },
    ExitCodeRow {
        code: FAILED,
        meaning: "failed",
        check: "issue or maintenance",
        doctor: "problem found",
        fail_on: "at least one device is such",
    },
    ExitCodeRow {
        code: WRONG_USAGE,
        meaning: "wrong usage: a flag, a variable, a name that is not known",
        check: "outage",
        doctor: "wrong usage",
        fail_on: "wrong usage",
    },
    ExitCodeRow {
        code: CANNOT_TELL,
        meaning: "",
        check: "cannot tell, wrong usage too",
        doctor: "cannot tell",
        fail_on: "cannot tell",
    },
    ExitCodeRow {
        code: CANNOT_WRITE,
        meaning: "cannot create or write a file, or use the database",
        check: "",
        doctor: "",
        fail_on: "",
    },
    ExitCodeRow { code: ALREADY_RUNNING, meaning: "already running", check: "", doctor: "", fail_on: "" },
    ExitCodeRow { code: CONFIGURATION, meaning: "configuration", check: "", doctor: "", fail_on: "" },
];

/// The code of a configuration that cannot be used.
pub fn of_config(error: &ConfigError) -> u8 {
    if error.is_usage() { WRONG_USAGE } else { CONFIGURATION }
}

/// The code of a database that cannot be opened.
pub fn of_open(error: &OpenError) -> u8 {
    match error {
        OpenError::Locked(_) => ALREADY_RUNNING,
        OpenError::Newer { .. } | OpenError::Foreign(_) => CONFIGURATION,
        OpenError::CannotWrite { .. } | OpenError::CannotRead { .. } => CANNOT_WRITE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documents that speak of exit codes, and the only one that has the table.
    const README: &str = include_str!("../README.md");
    const LINKED: [(&str, &str); 3] = [
        ("docs/doctor.md", include_str!("../docs/doctor.md")),
        ("docs/fleet.md", include_str!("../docs/fleet.md")),
        ("docs/json.md", include_str!("../docs/json.md")),
    ];
    const HEAD: &str = "| exit code | every other command | `check` | `doctor` | `fleet --fail-on` |";

    #[test]
    fn the_table_stands_in_one_document_and_the_others_link_to_it() {
        let row = |row: &ExitCodeRow| {
            let ExitCodeRow { code, meaning, check, doctor, fail_on } = row;
            format!("| {code} | {meaning} | {check} | {doctor} | {fail_on} |")
                .replace("|  |", "| |")
                .replace("|  |", "| |")
        };
        let rows: Vec<String> = TABLE.iter().map(row).collect();
        let table = format!("{HEAD}\n|---|---|---|---|---|\n{}\n", rows.join("\n"));
        assert!(README.contains(&table), "README.md needs this table:\n{table}");
        for (name, text) in LINKED {
            assert!(text.contains("README.md#exit-codes"), "{name} has no link");
            assert!(!text.contains("| exit code |"), "{name} has a table of its own");
        }
    }

    #[test]
    fn every_code_has_one_row() {
        let codes = TABLE.map(|row| row.code);
        assert_eq!(codes, [0, 1, 2, 3, 73, 75, 78]);
        assert_eq!((ISSUE, OUTAGE), (FAILED, WRONG_USAGE));
    }
}
