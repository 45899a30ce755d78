//! Text that must not be shown: tokens, signing keys, passwords.
//!
//! Only [`Secret::expose`] returns the text; printing a secret gives `***`
//! (`printing_a_secret_shows_asterisks`). Memory is not protected.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// A token, key or password of the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// Returns the text. Only for sending it, never for messages or logs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Accepts a string only.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        // serde's own message quotes the value ("invalid type: integer `1234`"), and a password of
        // digits without quotes is a likely mistake.
        String::deserialize(deserializer)
            .map(Secret)
            .map_err(|_| serde::de::Error::custom("a secret must be a string in quotes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Table {
        token: Secret,
    }

    #[test]
    fn printing_a_secret_shows_asterisks() {
        let table: Table = toml::from_str("token = 'hunter2'").expect("a table");
        assert_eq!(table.token.expose(), "hunter2");
        assert_eq!(table.token, Secret::new("hunter2"));
        assert_eq!(format!("{table:?} {:#?} {}", table, table.token).matches("hunter2").count(), 0);
        assert_eq!(table.token.to_string(), "***");
    }

    #[test]
    fn a_secret_of_the_wrong_type_is_not_quoted() {
        for wrong in ["token = 1234567", "token = 1234567.5", "token = [1234567]", "token = {a = 1234567}"] {
            let error = toml::from_str::<Table>(wrong).expect_err("not a string");
            // The message alone: toml's full text repeats the line of the file.
            assert!(!error.message().contains("1234567"), "{}", error.message());
            assert!(error.message().contains("quotes"), "{}", error.message());
        }
    }
}
