//! The UDID, Apple's unique identifier of a device.
//!
//! usbmuxd, pair records and backup folders spell it with or without a hyphen, in upper or lower case. All
//! spellings compare as equal. `Display` and `Debug` show only the last four characters.

use std::fmt;

/// Digits for devices since 2018, with a hyphen after the first eight.
const SHORT_DIGITS: usize = 24;
const DIGITS_BEFORE_HYPHEN: usize = 8;
/// Digits for older devices, without a hyphen.
const LONG_DIGITS: usize = 40;

/// The UDID of a device in Apple's spelling. Text of another form is kept unchanged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Udid(String);

impl Udid {
    pub fn new(text: impl Into<String>) -> Udid {
        let text = text.into();
        Udid(as_apple_spells(&text).unwrap_or(text))
    }

    /// Returns whether a text has the form of a UDID.
    pub fn is_valid(text: &str) -> bool {
        as_apple_spells(text).is_some()
    }

    /// Returns the full UDID, for requests and for output that the user asked to contain it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the spellings that programs use, Apple's first.
    pub fn spellings(&self) -> Vec<String> {
        let mut spellings = vec![self.0.clone()];
        if Udid::is_valid(&self.0) {
            let bare = self.0.replace('-', "");
            spellings.extend([bare.clone(), self.0.to_lowercase(), bare.to_lowercase(), bare.to_uppercase()]);
        }
        let mut known = Vec::new();
        spellings.retain(|spelling| {
            let is_new = !known.contains(spelling);
            known.push(spelling.clone());
            is_new
        });
        spellings
    }
}

fn as_apple_spells(text: &str) -> Option<String> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    match digits.len() {
        SHORT_DIGITS => {
            let digits = digits.to_ascii_uppercase();
            let (chip, unit) = digits.split_at(DIGITS_BEFORE_HYPHEN);
            Some(format!("{chip}-{unit}"))
        }
        LONG_DIGITS => Some(digits.to_ascii_lowercase()),
        _ => None,
    }
}

impl fmt::Display for Udid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped = self.0.chars().count().saturating_sub(4);
        write!(f, "…{}", self.0.chars().skip(skipped).collect::<String>())
    }
}

impl fmt::Debug for Udid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = "00008101-000A1B2C3D4E001E";
    const LONG: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432";

    #[test]
    fn spellings_of_a_udid_are_equal() {
        for spelling in [
            SHORT,
            "00008101000A1B2C3D4E001E",
            "00008101-000a1b2c3d4e001e",
            "00008101000a1b2c3d4e001e",
            " 00008101-000A1B2C3D4E001E\n",
        ] {
            assert_eq!(Udid::new(spelling), Udid::new(SHORT), "{spelling:?}");
            assert_eq!(Udid::new(spelling).expose(), SHORT, "{spelling:?}");
        }
        assert_eq!(Udid::new(LONG.to_uppercase()).expose(), LONG);
        assert_ne!(Udid::new(SHORT), Udid::new("00008101-000A1B2C3D4E001F"));
    }

    #[test]
    fn every_spelling_parses_to_the_same_udid() {
        let spellings = Udid::new(SHORT).spellings();
        assert_eq!(
            spellings,
            [SHORT, "00008101000A1B2C3D4E001E", "00008101-000a1b2c3d4e001e", "00008101000a1b2c3d4e001e"]
        );
        assert_eq!(Udid::new(LONG).spellings(), [LONG.to_owned(), LONG.to_uppercase()]);
        for spelling in spellings {
            assert_eq!(Udid::new(spelling), Udid::new(SHORT));
        }
    }

    #[test]
    fn other_text_is_kept() {
        for text in
            ["", "-", "Anna's iPhone", "device-1", "00008101-000A1B2C3D4E001", "00008101-000A1B2C3D4E001G"]
        {
            assert!(!Udid::is_valid(text), "{text}");
            assert_eq!(Udid::new(text).expose(), text);
            assert_eq!(Udid::new(text).spellings(), [text]);
        }
    }

    #[test]
    fn printing_shows_only_the_end() {
        assert_eq!(format!("{0} {0:?}", Udid::new(SHORT)), "…001E …001E");
    }
}
