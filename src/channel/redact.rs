//! Redacts secrets from text that a server sends back.
//!
//! The caller decides what is secret. Neither `redact` nor `Debug` prints a secret
//! (`removes_every_secret`).

use std::cmp::Reverse;
use std::fmt;

use super::settings::HIDDEN;
use crate::text;

/// Text is cut to this length before the search for secrets.
const READ_MAX_CHARS: usize = 4 * 1024;

/// The secrets to redact, longest first, because one may be part of another.
pub struct Redactor(Vec<String>);

impl Redactor {
    /// Blank ones do not count.
    pub fn new(texts: impl IntoIterator<Item = String>) -> Redactor {
        let mut texts: Vec<String> = texts.into_iter().filter(|text| !text.trim().is_empty()).collect();
        texts.sort_by_key(|text| Reverse(text.len()));
        texts.dedup();
        Redactor(texts)
    }

    /// Returns `text` as one line of at most `max` characters, safe to show.
    pub fn redact(&self, text: &str, max: usize) -> String {
        // Once as it was written, once as it will be read.
        let line = text::plain_line(&self.hidden_in(text), READ_MAX_CHARS);
        text::plain_line(&self.hidden_in(&line), max)
    }

    fn hidden_in(&self, text: &str) -> String {
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
    fn nothing_unspeakable_is_let_through_or_printed() {
        let texts = ["hunter", "hunter2", "two  words", "", " "].map(str::to_owned);
        let redactor = Redactor::new(texts);
        let said = "no hunter2,\r\nhunt\u{200b}er: \u{1b}[1mtwo  words";
        assert_eq!(redactor.redact(said, 99), "no ***, ***: [1m***");
        assert_eq!(redactor.redact(&"x".repeat(10_000), 10), "xxxxxxxxx…");
        assert_eq!(format!("{redactor:?}"), "***");
    }
}
