//! Configuration errors with their locations, and the source of each setting.
//!
//! An error is one line (`an_error_is_one_line_with_its_place`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::source_map::SourceMap;

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
    message: String,
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
    fn new(place: Place, message: impl Into<String>) -> ConfigError {
        ConfigError { faults: vec![Fault { place, message: message.into() }] }
    }

    /// Returns an error about the whole file.
    pub(super) fn of_file(path: &Path, message: impl Into<String>) -> ConfigError {
        ConfigError::at_line(path, None, message)
    }

    pub(super) fn at_line(path: &Path, line: Option<usize>, message: impl Into<String>) -> ConfigError {
        ConfigError::new(Place::File { path: path.to_owned(), line, column: None }, message)
    }

    pub(super) fn at_column(path: &Path, line: usize, column: usize, message: &str) -> ConfigError {
        let place = Place::File { path: path.to_owned(), line: Some(line), column: Some(column) };
        ConfigError::new(place, message)
    }

    pub(super) fn of_variable(name: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError::new(Place::Variable(name.into()), message)
    }

    pub(super) fn nowhere(message: impl Into<String>) -> ConfigError {
        ConfigError::new(Place::Nowhere, message)
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
        // A path or a quoted key may hold a line break.
        for c in format!("{place}: {}", self.message).chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
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
    pub fn error(&self, key: &str, message: impl fmt::Display) -> ConfigError {
        if let Some(given) = self.given.get(key) {
            return ConfigError::new(given.place(), message.to_string());
        }
        let message = format!("{key}: {message}");
        match &self.file {
            Some(path) => ConfigError::at_line(path, self.source_map.line(key), message),
            None => ConfigError::nowhere(message),
        }
    }

    /// Returns the source for a comment: `line 7`, `--locale`, `STATUSD_LOCALE`, `default`.
    pub fn describe(&self, key: &str) -> String {
        match (self.given.get(key), self.source_map.line(key)) {
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
    parsed.map_err(|error| origins.error(key, error))
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
        let path = Path::new("/f.toml");
        assert_eq!(ConfigError::at_line(path, Some(3), "x").to_string(), "/f.toml:3: x");
        assert_eq!(ConfigError::at_column(path, 3, 9, "x").to_string(), "/f.toml:3:9: x");
        assert_eq!(Origins::default().error("log.level", "x").to_string(), "configuration: log.level: x");
    }
}
