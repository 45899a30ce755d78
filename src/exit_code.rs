//! The exit codes of all commands, in one table.
//!
//! A test compares the table of README.md with it. A cause has the same code in every command. Only `check`
//! differs, because monitors expect 2 to mean "outage", so its wrong usage is 3.

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

/// `check` only: an issue, or maintenance.
pub const ISSUE: u8 = 1;
/// `check` only.
pub const OUTAGE: u8 = 2;

/// A code with its meanings. Empty if a command does not return it.
pub struct ExitCodeRow {
    pub code: u8,
    /// For all commands without their own column.
    pub meaning: &'static str,
    pub check: &'static str,
    pub doctor: &'static str,
    /// For `fleet --fail-on`.
    pub fail_on: &'static str,
}

pub const TABLE: [ExitCodeRow; 7] = [
    ExitCodeRow {
        code: DONE,
        meaning: "done",
        check: "Apple lists no problem",
        doctor: "nothing found",
        fail_on: "no device matches",
    },
    ExitCodeRow {
        code: FAILED,
        meaning: "failed",
        check: "issue or maintenance",
        doctor: "problem found",
        fail_on: "at least one device matches",
    },
    ExitCodeRow {
        code: WRONG_USAGE,
        meaning: "wrong usage: unknown flag, variable or name",
        check: "outage",
        doctor: "wrong usage",
        fail_on: "wrong usage",
    },
    ExitCodeRow {
        code: CANNOT_TELL,
        meaning: "",
        check: "cannot tell, or wrong usage",
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

/// Returns the code for an invalid configuration.
pub fn of_config(error: &ConfigError) -> u8 {
    if error.is_usage() { WRONG_USAGE } else { CONFIGURATION }
}

/// Returns the code for a database that cannot be opened.
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

    /// The only document with the table, and those that link to it.
    const README: &str = include_str!("../README.md");
    const LINKED: [(&str, &str); 3] = [
        ("docs/doctor.md", include_str!("../docs/doctor.md")),
        ("docs/fleet.md", include_str!("../docs/fleet.md")),
        ("docs/json.md", include_str!("../docs/json.md")),
    ];
    const HEAD: &str = "| exit code | every other command | `check` | `doctor` | `fleet --fail-on` |";

    #[test]
    fn one_document_has_the_table_and_the_others_link_to_it() {
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
            assert!(!text.contains("| exit code |"), "{name} has its own table");
        }
    }

    #[test]
    fn every_code_has_one_row() {
        let codes = TABLE.map(|row| row.code);
        assert_eq!(codes, [0, 1, 2, 3, 73, 75, 78]);
        assert_eq!((ISSUE, OUTAGE), (FAILED, WRONG_USAGE));
    }
}
