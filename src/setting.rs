//! An invalid setting: its key, the fault and the next step.
//!
//! `config` adds the source of the value: file and line, flag or variable. No part contains a secret
//! (`tests/it/secrets.rs`).

use std::fmt;

/// The error of one setting. `Display` is one line: `url: invalid address; write https://host/path`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SettingError {
    /// Dotted, relative to the table that the caller was given. Empty for the table as a whole.
    pub key: String,
    pub message: String,
    /// The next step. May be empty.
    pub hint: String,
}

impl SettingError {
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> SettingError {
        SettingError { key: key.into(), message: message.into(), hint: String::new() }
    }

    pub fn hint(self, hint: impl Into<String>) -> SettingError {
        SettingError { hint: hint.into(), ..self }
    }

    /// Returns the error of the table or key `above`.
    pub fn under(self, above: &str) -> SettingError {
        let key = if self.key.is_empty() { above.to_owned() } else { format!("{above}.{}", self.key) };
        SettingError { key, ..self }
    }

    /// Returns the message with the next step.
    pub fn text(&self) -> String {
        let SettingError { key: _, message, hint } = self;
        if hint.is_empty() { message.clone() } else { format!("{message}; {hint}") }
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.key.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.key, self.text())
    }
}

impl std::error::Error for SettingError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_key_fault_and_next_step() {
        let error = SettingError::new("url", "has no host").hint("write https://host");
        assert_eq!(error.to_string(), "url: has no host; write https://host");
        assert_eq!(error.under("web").to_string(), "web.url: has no host; write https://host");
        assert_eq!(SettingError::new("", "empty").to_string(), "empty");
        assert_eq!(SettingError::new("", "empty").under("token").to_string(), "token: empty");
    }
}
