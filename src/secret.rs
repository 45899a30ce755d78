//! Text that must not be shown: tokens, signing keys, passwords.
//!
//! Only [`Secret::expose`] returns the text; printing a secret gives `***`
//! (`printing_a_secret_shows_asterisks`). Memory is not protected.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// Replaces secrets in output.
pub const HIDDEN: &str = "***";

/// A token, key or password of the configuration.
#[derive(Clone, PartialEq, Eq, Deserialize)]
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
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// `config show` prints what is serialised.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
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
        assert_eq!(serde_json::to_string(&table).expect("JSON"), r#"{"token":"***"}"#);
    }
}
