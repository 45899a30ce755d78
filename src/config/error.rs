//! Configuration errors with their locations, and the source of each setting.
//!
//! An error is one line (`an_error_is_one_line_with_its_place`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::source_map::{SourceMap, enclosing};
use crate::setting::SettingError;

/// Longer than any error about an ordinary path, key or value.
const LINE_MAX_CHARS: usize = 2_000;

/// The prefix of every variable.
pub const PREFIX: &str = "STATUSD_";

/// One or more configuration faults. `Display` is one line:
/// `/etc/statusd/statusd.toml:12: schedule.poll: invalid minute "61": expected 0 to 59`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// At least one, without duplicates; those of a file in the order of their lines.
    faults: Vec<Fault>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    place: Place,
    error: SettingError,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// The flag's name without dashes.
    Flag(&'static str),
    Variable(String),
    /// Line and column count from 1.
    File {
        path: PathBuf,
        line: Option<usize>,
        column: Option<usize>,
    },
    Nowhere,
}

impl ConfigError {
    fn new(place: Place, error: SettingError) -> ConfigError {
        ConfigError { faults: vec![Fault { place, error }] }
    }

    /// Returns an error about the whole file.
    pub(super) fn of_file(path: &Path, message: impl Into<String>) -> ConfigError {
        ConfigError::at_line(path, None, message)
    }

    pub(super) fn at_line(path: &Path, line: Option<usize>, message: impl Into<String>) -> ConfigError {
        let place = Place::File { path: path.to_owned(), line, column: None };
        ConfigError::new(place, SettingError::new("", message))
    }

    pub(super) fn at_column(path: &Path, line: usize, column: usize, message: &str) -> ConfigError {
        let place = Place::File { path: path.to_owned(), line: Some(line), column: Some(column) };
        ConfigError::new(place, SettingError::new("", message))
    }

    pub(super) fn of_variable(name: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError::new(Place::Variable(name.into()), SettingError::new("", message))
    }

    pub(super) fn nowhere(message: impl Into<String>) -> ConfigError {
        ConfigError::new(Place::Nowhere, SettingError::new("", message))
    }

    /// Returns the faults of both.
    pub fn and(mut self, other: ConfigError) -> ConfigError {
        self.faults.extend(other.faults);
        self.faults.sort();
        self.faults.dedup();
        self
    }

    /// Returns whether a flag or a variable is invalid, and not the file alone.
    pub fn is_usage(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault.place, Place::Flag(_) | Place::Variable(_)))
    }

    /// Returns one line for each fault.
    pub fn lines(&self) -> Vec<String> {
        self.faults.iter().map(ToString::to_string).collect()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("; "))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.place {
            Place::File { path, line, column } => {
                let numbers = [line, column].into_iter().flatten().map(|number| format!(":{number}"));
                format!("{}{}", path.display(), numbers.collect::<String>())
            }
            Place::Flag(flag) => format!("--{flag}"),
            Place::Variable(name) => name.clone(),
            Place::Nowhere => "configuration".to_owned(),
        };
        let error = match &self.place {
            // The place is the key.
            Place::Flag(_) | Place::Variable(_) => self.error.text(),
            Place::File { .. } | Place::Nowhere => self.error.to_string(),
        };
        // A path or a quoted key may hold a line break.
        let line = format!("{place}: {error}");
        for c in line.chars().take(LINE_MAX_CHARS) {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        f.write_str(if line.chars().nth(LINE_MAX_CHARS).is_some() { "…" } else { "" })
    }
}

/// Collects faults, so that the user can fix all of them at once.
#[derive(Debug, Default)]
pub(super) struct Faults(Option<ConfigError>);

impl Faults {
    pub fn add(&mut self, error: ConfigError) {
        self.0 = Some(match self.0.take() {
            Some(before) => before.and(error),
            None => error,
        });
    }

    /// Returns the value, or the default if it is invalid.
    pub fn or<T>(&mut self, value: Result<T, ConfigError>, default: impl FnOnce() -> T) -> T {
        value.unwrap_or_else(|error| {
            self.add(error);
            default()
        })
    }

    pub fn into_error(self) -> Option<ConfigError> {
        self.0
    }
}

/// The source of each setting: file and line, flag or variable. Settings are named by their dotted
/// key: `schedule.poll`.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    /// Absolute.
    pub file: Option<PathBuf>,
    pub source_map: SourceMap,
    /// The flag or variable of each key that one of them sets.
    pub given: BTreeMap<&'static str, Given>,
}

/// The source of a setting that is not from the file. Holds the flag's name without dashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Flag(&'static str),
    /// The environment variable of this flag.
    Variable(&'static str),
}

impl Given {
    fn place(self) -> Place {
        match self {
            Given::Flag(flag) => Place::Flag(flag),
            Given::Variable(flag) => Place::Variable(variable(flag)),
        }
    }
}

impl Origins {
    /// Adds the source of the value. The error's key is that of the whole configuration.
    pub fn error(&self, error: SettingError) -> ConfigError {
        let given = enclosing(&error.key).find_map(|key| self.given.get(key));
        let place = match (given, &self.file) {
            (Some(given), _) => given.place(),
            (None, Some(path)) => {
                Place::File { path: path.clone(), line: self.source_map.line(&error.key), column: None }
            }
            (None, None) => Place::Nowhere,
        };
        ConfigError::new(place, error)
    }

    /// Returns the source for a comment: `line 7`, `--locale`, `STATUSD_LOCALE`, `default`.
    pub fn describe(&self, key: &str) -> String {
        match (self.given.get(key), self.source_map.exact_line(key)) {
            (Some(Given::Flag(flag)), _) => format!("--{flag}"),
            (Some(Given::Variable(flag)), _) => variable(flag),
            (None, Some(line)) => format!("line {line}"),
            (None, None) => "default".to_owned(),
        }
    }
}

/// Returns the variable of a flag: `STATUSD_FEED_URL` for `feed-url`.
pub fn variable(flag: &str) -> String {
    format!("{PREFIX}{}", flag.to_ascii_uppercase().replace('-', "_"))
}

/// Adds the location of a setting to its error.
pub(super) fn at<T>(
    origins: &Origins,
    key: &str,
    parsed: Result<T, impl std::fmt::Display>,
) -> Result<T, ConfigError> {
    parsed.map_err(|error| origins.error(SettingError::new(key, error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_deduplicated_and_sorted_by_line() {
        let at = |line| ConfigError::at_line(Path::new("/f"), Some(line), "x");
        let all = at(9).and(at(2)).and(at(9)).and(ConfigError::of_variable("TZ", "y"));
        assert_eq!(all.lines(), ["TZ: y", "/f:2: x", "/f:9: x"]);
        assert!(all.is_usage() && !at(1).is_usage());
    }

    #[test]
    fn an_error_is_one_line_with_its_place() {
        let path = Path::new("/etc/a\nb.toml");
        assert_eq!(ConfigError::of_file(path, "x\u{1b}y").to_string(), "/etc/a\\nb.toml: x\\u{1b}y");
        let long = ConfigError::of_file(Path::new("/f"), "x".repeat(1 << 20)).to_string();
        assert_eq!(long.chars().count(), LINE_MAX_CHARS + 1);
        let path = Path::new("/f.toml");
        assert_eq!(ConfigError::at_line(path, Some(3), "x").to_string(), "/f.toml:3: x");
        assert_eq!(ConfigError::at_column(path, 3, 9, "x").to_string(), "/f.toml:3:9: x");
        assert_eq!(
            Origins::default().error(SettingError::new("log.level", "x")).to_string(),
            "configuration: log.level: x"
        );
    }
}
