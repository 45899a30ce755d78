//! Redacts secrets from text that a server sends back.
//!
//! The caller decides what is secret. Neither `redact` nor `Debug` prints a secret
//! (`removes_every_secret`).

use std::cmp::Reverse;
use std::fmt;

use crate::secret::HIDDEN;
use crate::text;

/// Text is cut to this length before the search for secrets.
const READ_MAX_CHARS: usize = 4 * 1024;

/// The secrets to redact, longest first, because one may be part of another.
pub struct Redactor(Vec<String>);

impl Redactor {
    /// Ignores blank secrets.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Redactor {
        let mut secrets: Vec<String> =
            secrets.into_iter().filter(|secret| !secret.trim().is_empty()).collect();
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        secrets.dedup();
        Redactor(secrets)
    }

    /// Returns `text` as one line of at most `max` characters, safe to show.
    pub fn redact(&self, text: &str, max: usize) -> String {
        // Cleaning may join the parts of a secret, so the cleaned line is searched again.
        let line = text::plain_line(&self.hide(text), READ_MAX_CHARS);
        text::plain_line(&self.hide(&line), max)
    }

    fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_every_secret() {
        let secrets = ["hunter", "hunter2", "two  words", "", " "].map(str::to_owned);
        let redactor = Redactor::new(secrets);
        let response = "no hunter2,\r\nhunt\u{200b}er: \u{1b}[1mtwo  words";
        assert_eq!(redactor.redact(response, 99), "no ***, ***: [1m***");
        assert_eq!(redactor.redact(&"x".repeat(10_000), 10), "xxxxxxxxx…");
        assert_eq!(format!("{redactor:?}"), "***");
    }
}
