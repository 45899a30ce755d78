//! Runs a program of the user for each change.
//!
//! Promise: plain. A repeat runs the program again, with the same input and the same `STATUSD_KEY`. A
//! program that remembers keys is idempotent.
//!
//! There is no shell. Apple's text is passed on standard input and in variables, never as an argument.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::outcome::{Audience, Notice, SendOutcome};
use super::process::{self, Meaning, Task};
use super::settings::{HIDDEN, ReadSecret, Shown, shown, shown_list};
use super::transport::{AnyTransport, ENDS_WITHIN, Table, Transport};
use crate::text;

const WITHIN_DEFAULT_S: u64 = 30;
const WITHIN_MAX_S: u64 = 600;
/// Characters of a variable. Systems limit all of them together; the input has everything.
const VARIABLE_MAX_CHARS: usize = 4_000;
/// The fields of a change (`docs/json.md`) that become variables: `STATUSD_` and the name in
/// capitals. All of them are always set, so that scripts can use `set -u`.
pub const FIELDS: [&str; 21] = [
    "version",
    "at",
    "kind",
    "service",
    "message_id",
    "occurrence",
    "outage_kind",
    "began_at",
    "ended_at",
    "key",
    "feed",
    "seen_at",
    "was_kind",
    "users_affected",
    "apple_text",
    "did_you_mean",
    "phone_backup_at",
    "phone_read_at",
    "phones",
    "text",
    "drill",
];

/// `[channel.command.NAME]`
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The program and its arguments. The program is an absolute path, or a name without `/` that
    /// is looked up in `PATH`. Every user of the machine can read the arguments while it runs.
    pub command: Vec<String>,
    /// Seconds that it may take, 1 to 600; 30 unless told otherwise.
    #[serde(default = "within_default_s")]
    pub within_s: u64,
}

fn within_default_s() -> u64 {
    WITHIN_DEFAULT_S
}

impl Table for Settings {
    fn audience(&self) -> Audience {
        Audience::Programs
    }

    fn shown(&self) -> Vec<Shown> {
        // Taken apart without `..`: a new setting must be shown, or hidden, by decision.
        let Settings { command, within_s } = self;
        // People write tokens into arguments, against the advice.
        let hidden = |(at, word): (usize, &String)| if at == 0 { word.clone() } else { HIDDEN.to_owned() };
        let command: Vec<String> = command.iter().enumerate().map(hidden).collect();
        let within_s = i64::try_from(*within_s).unwrap_or(i64::MAX);
        vec![shown_list("command", &command), shown("within_s", within_s)]
    }

    fn open(&self, _: ReadSecret) -> Result<AnyTransport, String> {
        Ok(Command::new(self)?.into())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

/// A program, ready to run.
pub struct Command {
    program: String,
    arguments: Vec<String>,
    within: Duration,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Command").field(&self.program).finish()
    }
}

impl Command {
    /// Does not check that the program exists, because it may be installed later.
    ///
    /// # Errors
    ///
    /// One line for users that begins with the setting's key.
    pub fn new(settings: &Settings) -> Result<Command, String> {
        let Settings { command, within_s } = settings;
        let Some((program, arguments)) = command.split_first() else {
            return Err("command: empty; write the program and its arguments".to_owned());
        };
        process::check_program("command", program)?;
        if arguments.iter().any(|argument| argument.contains('\0')) {
            return Err("command: an argument holds a NUL, which no program can be given".to_owned());
        }
        if !(1..=WITHIN_MAX_S).contains(within_s) {
            return Err(format!("within_s: {within_s}: must be 1 to {WITHIN_MAX_S}"));
        }
        let (program, arguments) = (program.clone(), arguments.to_vec());
        Ok(Command { program, arguments, within: Duration::from_secs(*within_s) })
    }
}

impl Transport for Command {
    /// Runs the program once. Times out after `timeout_s` and the seconds between SIGTERM and SIGKILL.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        let task = Task {
            program: &self.program,
            arguments: &self.arguments,
            variables: &variables(&notice.payload),
            input: notice.payload.as_bytes(),
            within: self.within,
        };
        match process::run(task).await {
            Ok(run) => run.judged(&self.program, &run.last_line(), meaning),
            Err(error) => process::not_started(&self.program, &error, MISSING),
        }
    }

    /// Within what time a run ends, but for the seconds that a program gets to end when told to.
    fn ends_within(&self) -> Duration {
        self.within + ENDS_WITHIN
    }
}

/// The system reports the same error for a script whose interpreter is missing.
const MISSING: &str = "check the path, and the interpreter in its first line";

/// Returns the meaning of an exit code: `sysexits.h` where unambiguous, and the shell's 126 and 127.
fn meaning(code: i32) -> Meaning {
    match code {
        0 => Meaning::Delivered,
        64 => Meaning::Refused("that says: wrong usage; check its arguments in the config"),
        65 => Meaning::Refused("that says: it does not understand the change; check the program"),
        75 => Meaning::Retry("that says: try again later"),
        77 => Meaning::Refused("that says: it is not allowed to; check what it may do"),
        78 => Meaning::Refused("that says: its configuration is wrong; check that"),
        126 => Meaning::Refused("that says: a program in it cannot be run; check its permissions"),
        127 => Meaning::Refused("that says: a program in it was not found; install it or check PATH"),
        _ => Meaning::Retry(""),
    }
}

/// Returns the fields of the change without control characters, cut to a length that every system
/// accepts.
fn variables(payload: &str) -> Vec<(String, String)> {
    let change: Value = serde_json::from_str(payload).unwrap_or_default();
    let variable = |field: &str| {
        let value = text::plain_text(&plain(&change[field]), VARIABLE_MAX_CHARS);
        (format!("STATUSD_{}", field.to_ascii_uppercase()), value)
    };
    FIELDS.into_iter().map(variable).collect()
}

/// Converts a value to text: null is empty, and a list has a line for each element.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join("\n"),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(toml: &str) -> Result<Command, String> {
        Command::new(&toml::from_str(toml).expect("settings"))
    }

    fn variable(payload: &str, name: &str) -> String {
        let found = variables(payload).into_iter().find(|(variable, _)| variable == name);
        found.unwrap_or_else(|| panic!("no {name}")).1
    }

    #[test]
    fn the_settings_have_defaults_and_no_other_keys() {
        let command = made("command = ['/usr/local/bin/page', '--room', '7']").expect("a command");
        assert_eq!(
            (command.program.as_str(), command.within),
            ("/usr/local/bin/page", Duration::from_secs(30))
        );
        assert_eq!(command.arguments, ["--room", "7"]);
        assert!(made("command = ['page']\nwithin_s = 600").is_ok());
        for wrong in ["", "within_s = 5", "command = 'page'", "command = ['page']\nshell = true"] {
            assert!(toml::from_str::<Settings>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_run_is_refused() {
        for (toml, words) in [
            ("command = []", "command: empty"),
            ("command = ['']", "command: empty"),
            ("command = ['./page']", "command: \"./page\" is not an absolute path"),
            ("command = ['~/bin/page']", "command: \"~/bin/page\" is not an absolute path"),
            ("command = [\"/bin/page\\u0000\"]", "command: holds a NUL"),
            ("command = ['page', \"hunter2\\u0000\"]", "command: an argument holds a NUL"),
            ("command = ['page']\nwithin_s = 0", "within_s: 0: must be 1 to 600"),
            ("command = ['page']\nwithin_s = 601", "within_s: 601: must be 1 to 600"),
        ] {
            let error = made(toml).expect_err("must be refused");
            assert!(error.starts_with(words) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn arguments_are_not_shown() {
        let settings: Settings =
            toml::from_str("command = ['curl', '-H', 'Authorization: Bearer hunter2']").expect("settings");
        let shown = format!("{settings:?} {:?}", Command::new(&settings).expect("a command"));
        assert!(shown.contains("curl") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn every_documented_field_is_a_variable() {
        let documented = include_str!("../../docs/json.md");
        let change = documented.split("```json").nth(1).and_then(|rest| rest.split("```").next());
        let change = change.expect("the document has an example of a change");
        let fields: serde_json::Map<String, Value> = serde_json::from_str(change).expect("JSON");
        assert_eq!(fields.keys().map(String::as_str).collect::<Vec<_>>(), FIELDS);
        assert_eq!(variable(change, "STATUSD_KIND"), "began");
        assert_eq!(variable(change, "STATUSD_OCCURRENCE"), "1");
        assert_eq!(variable(change, "STATUSD_ENDED_AT"), "");
        assert_eq!(variable(change, "STATUSD_BEGAN_AT"), "2026-05-05T08:15:00Z");
        assert_eq!(variable(change, "STATUSD_DID_YOU_MEAN"), "");
    }

    #[test]
    fn variables_are_there_clean_and_short_whatever_the_change_is() {
        for payload in ["", "no JSON", "[]", "{\"version\":1}"] {
            assert_eq!(variable(payload, "STATUSD_KIND"), "");
            assert_eq!(variables(payload).len(), FIELDS.len());
        }
        let names =
            r#"{"did_you_mean": ["Mail", "iCloud Mail"], "apple_text": "a\u0000b\u001b[2J\u202ec\nd"}"#;
        assert_eq!(variable(names, "STATUSD_DID_YOU_MEAN"), "Mail\niCloud Mail");
        assert_eq!(variable(names, "STATUSD_APPLE_TEXT"), "ab[2Jc\nd");
        let long = serde_json::json!({"text": "é".repeat(100_000)}).to_string();
        assert_eq!(variable(&long, "STATUSD_TEXT").chars().count(), VARIABLE_MAX_CHARS);
    }
}
