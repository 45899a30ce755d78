//! Runs a program of the user for each change.
//!
//! Promise: plain. A repeat runs the program again, with the same input and the same `STATUSD_KEY`. A
//! program that remembers keys is idempotent.
//!
//! There is no shell. Apple's text is passed on standard input and in variables, never as an argument.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::outcome::{Notice, SendOutcome};
use super::program::{Meaning, check_program, classify, not_started};
use super::settings::ReadSecret;
use super::transport::{AnyTransport, MAX_DURATION, Table, Transport};
use crate::process::{Capture, Subprocess};
use crate::secret::HIDDEN;
use crate::setting::SettingError;
use crate::text;

const TIMEOUT_DEFAULT_S: u64 = 30;
const TIMEOUT_MAX_S: u64 = 600;
/// Limits the characters of a variable, because systems limit the environment. The input is complete.
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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The program and its arguments. The program is an absolute path, or a name without `/` that
    /// is looked up in `PATH`. Every user of the machine can read the arguments while it runs.
    pub command: CommandWords,
    /// The time limit in seconds, 1 to 600. Default: 30.
    #[serde(default = "timeout_default_s")]
    pub timeout_s: u64,
}

/// A program and its arguments. Shows the program only, because users may put tokens into arguments,
/// against the documentation's advice.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct CommandWords(pub Vec<String>);

impl CommandWords {
    fn redacted(&self) -> Vec<&str> {
        let hide = |(index, word)| if index == 0 { word } else { HIDDEN };
        self.0.iter().map(String::as_str).enumerate().map(hide).collect()
    }
}

impl fmt::Debug for CommandWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.redacted().fmt(f)
    }
}

impl Serialize for CommandWords {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.redacted().serialize(serializer)
    }
}

fn timeout_default_s() -> u64 {
    TIMEOUT_DEFAULT_S
}

impl Table for Settings {
    fn open(&self, _: ReadSecret) -> Result<AnyTransport, SettingError> {
        Ok(Command::new(self)?.into())
    }
}

/// A program, ready to run.
pub struct Command {
    program: String,
    arguments: Vec<String>,
    timeout: Duration,
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
    /// The setting at fault, without secrets.
    pub fn new(settings: &Settings) -> Result<Command, SettingError> {
        let Settings { command, timeout_s } = settings;
        let Some((program, arguments)) = command.0.split_first() else {
            return Err(SettingError::new("command", "empty").hint("write the program and its arguments"));
        };
        check_program("command", program)?;
        if arguments.iter().any(|argument| argument.contains('\0')) {
            return Err(SettingError::new("command", "an argument contains a NUL byte").hint("remove it"));
        }
        if !(1..=TIMEOUT_MAX_S).contains(timeout_s) {
            return Err(SettingError::new("timeout_s", format!("{timeout_s}: must be 1 to {TIMEOUT_MAX_S}")));
        }
        let (program, arguments) = (program.clone(), arguments.to_vec());
        Ok(Command { program, arguments, timeout: Duration::from_secs(*timeout_s) })
    }
}

impl Transport for Command {
    /// Runs the program once. Times out after `timeout_s` and the seconds between SIGTERM and SIGKILL.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        let subprocess = Subprocess {
            program: &self.program,
            arguments: &self.arguments,
            variables: &variables(&notice.payload),
            input: notice.payload.as_bytes(),
            timeout: self.timeout,
            capture: Capture::Tail,
        };
        match subprocess.run().await {
            Ok(finished) => classify(&self.program, &finished, &finished.last_line(), meaning),
            Err(error) => not_started(&self.program, &error, MISSING),
        }
    }

    fn max_duration(&self) -> Duration {
        self.timeout + MAX_DURATION
    }
}

/// The system reports the same error for a script whose interpreter is missing.
const MISSING: &str = "check the path, and the interpreter in its first line";

/// Returns the meaning of an exit code: `sysexits.h` where unambiguous, and the shell's 126 and 127.
fn meaning(code: i32) -> Meaning {
    match code {
        0 => Meaning::Delivered,
        64 => Meaning::Permanent("wrong usage; check its arguments in the config"),
        65 => Meaning::Permanent("it rejects its input; check the program"),
        75 => Meaning::Transient("temporary failure"),
        77 => Meaning::Permanent("permission denied; check what the program may do"),
        78 => Meaning::Permanent("its own configuration is invalid; check that"),
        126 => Meaning::Permanent("a program that it calls is not executable; check the permissions"),
        127 => Meaning::Permanent("a program that it calls was not found; install it or check PATH"),
        _ => Meaning::Transient(""),
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
        Command::new(&toml::from_str(toml).expect("settings")).map_err(|error| error.to_string())
    }

    fn variable(payload: &str, name: &str) -> String {
        let found = variables(payload).into_iter().find(|(variable, _)| variable == name);
        found.unwrap_or_else(|| panic!("no {name}")).1
    }

    #[test]
    fn the_settings_have_defaults_and_no_other_keys() {
        let command = made("command = ['/usr/local/bin/page', '--room', '7']").expect("a command");
        assert_eq!(
            (command.program.as_str(), command.timeout),
            ("/usr/local/bin/page", Duration::from_secs(30))
        );
        assert_eq!(command.arguments, ["--room", "7"]);
        assert!(made("command = ['page']\ntimeout_s = 600").is_ok());
        for wrong in ["", "timeout_s = 5", "command = 'page'", "command = ['page']\nshell = true"] {
            assert!(toml::from_str::<Settings>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn invalid_commands_are_rejected() {
        for (toml, expected) in [
            ("command = []", "command: empty"),
            ("command = ['']", "command: empty"),
            ("command = ['./page']", "command: \"./page\" is not an absolute path"),
            ("command = ['~/bin/page']", "command: \"~/bin/page\" is not an absolute path"),
            ("command = [\"/bin/page\\u0000\"]", "command: contains a NUL byte"),
            ("command = ['page', \"hunter2\\u0000\"]", "command: an argument contains a NUL byte"),
            ("command = ['page']\ntimeout_s = 0", "timeout_s: 0: must be 1 to 600"),
            ("command = ['page']\ntimeout_s = 601", "timeout_s: 601: must be 1 to 600"),
        ] {
            let error = made(toml).expect_err("invalid");
            assert!(error.starts_with(expected) && !error.contains("hunter2"), "{error}");
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
    fn variables_are_always_set_clean_and_short() {
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
