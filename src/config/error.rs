//! What is wrong with the configuration, and where each setting came from.
//!
//! It reads nothing and decides nothing. Invariant: an error is one line and holds no value of a
//! setting but those that the settings themselves put into their words.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::outline::Outline;

/// Why there is no configuration. `Display` is one line for people:
/// `/etc/statusd/statusd.toml:12: schedule.poll: minute "61": must be 0 to 59`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    place: Place,
    message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Line and column count from 1.
    File {
        path: PathBuf,
        line: Option<usize>,
        column: Option<usize>,
    },
    /// The flag's name without dashes; its environment variable is named after it.
    Flag(&'static str),
    Nowhere,
}

impl ConfigError {
    /// About the whole file.
    pub(super) fn of_file(path: &Path, message: impl Into<String>) -> ConfigError {
        ConfigError::at_line(path, None, message)
    }

    pub(super) fn at_line(path: &Path, line: Option<usize>, message: impl Into<String>) -> ConfigError {
        let place = Place::File { path: path.to_owned(), line, column: None };
        ConfigError { place, message: message.into() }
    }

    pub(super) fn at_column(path: &Path, line: usize, column: usize, message: &str) -> ConfigError {
        let place = Place::File { path: path.to_owned(), line: Some(line), column: Some(column) };
        ConfigError { place, message: message.to_owned() }
    }

    /// Whether the command line (or a `STATUSD_…` variable, which stands for a flag) is wrong
    /// rather than the file.
    pub fn is_usage(&self) -> bool {
        matches!(self.place, Place::Flag(_))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.place {
            Place::File { path, line, column } => {
                let numbers = [line, column].into_iter().flatten().map(|number| format!(":{number}"));
                format!("{}{}", path.display(), numbers.collect::<String>())
            }
            Place::Flag(flag) => both_names(flag),
            Place::Nowhere => "configuration".to_owned(),
        };
        // A path or a quoted key may hold a line break.
        for c in format!("{place}: {}", self.message).chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

/// Which file and line, or which flag, each setting came from. Settings are named by their dotted
/// key: `schedule.poll`.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    /// Absolute.
    pub file: Option<PathBuf>,
    pub outline: Outline,
    /// Key to flag, for settings that a flag or its environment variable gave.
    pub flags: BTreeMap<&'static str, &'static str>,
}

impl Origins {
    pub fn error(&self, key: &str, message: impl fmt::Display) -> ConfigError {
        if let Some(flag) = self.flags.get(key) {
            return ConfigError { place: Place::Flag(flag), message: message.to_string() };
        }
        let message = format!("{key}: {message}");
        match &self.file {
            Some(path) => ConfigError::at_line(path, self.outline.line(key), message),
            None => ConfigError { place: Place::Nowhere, message },
        }
    }

    /// For a comment: `line 7`, `--locale or STATUSD_LOCALE`, `default`.
    pub fn describe(&self, key: &str) -> String {
        match (self.flags.get(key), self.outline.line(key)) {
            (Some(flag), _) => both_names(flag),
            (None, Some(line)) => format!("line {line}"),
            (None, None) => "default".to_owned(),
        }
    }
}

/// `feed-url` is `--feed-url or STATUSD_FEED_URL`.
fn both_names(flag: &str) -> String {
    format!("--{flag} or STATUSD_{}", flag.to_ascii_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
