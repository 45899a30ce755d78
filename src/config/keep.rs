//! `state.keep` and `record.keep`: the limits of what statusd stores.

use jiff::SignedDuration;

use super::error::{Faults, Origins, at};
use crate::schedule::duration;

const STATE_DEFAULT: &str = "400d";
/// A delivery is retried for 30 days, and a monthly report reads a month of coverage.
const STATE_LEAST: SignedDuration = SignedDuration::from_hours(31 * 24);
const STATE_MOST: SignedDuration = SignedDuration::from_hours(36_500 * 24);
const RECORD_DEFAULT: &str = "1GB";
/// A part of a recording is an eighth of the limit, and a document has up to a few megabytes.
const RECORD_LEAST_BYTES: u64 = 10_000_000;
/// Units as disks are sold.
const UNITS: [(&str, u64); 3] = [("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000)];

/// A limit, and its text as written.
#[derive(Clone, Debug)]
pub struct Keep<T> {
    pub limit: T,
    pub(super) text: String,
}

/// Returns the age after which deliveries, notices and coverage are deleted.
pub(super) fn state(origins: &Origins, text: Option<String>, faults: &mut Faults) -> Keep<SignedDuration> {
    keep(origins, "state.keep", text, STATE_DEFAULT, &age, faults)
}

/// Returns the maximum size of all parts of the recording, in bytes.
pub(super) fn record(origins: &Origins, text: Option<String>, faults: &mut Faults) -> Keep<u64> {
    keep(origins, "record.keep", text, RECORD_DEFAULT, &bytes, faults)
}

fn keep<T>(
    origins: &Origins,
    key: &str,
    text: Option<String>,
    default: &str,
    parse: &dyn Fn(&str) -> Result<T, String>,
    faults: &mut Faults,
) -> Keep<T> {
    let parsed = |text: String| parse(&text).map(|limit| Keep { limit, text });
    let of_default = || parsed(default.to_owned()).expect("a valid default");
    match text {
        Some(text) => faults.or(at(origins, key, parsed(text)), of_default),
        None => of_default(),
    }
}

fn age(text: &str) -> Result<SignedDuration, String> {
    let age =
        duration(text).ok_or_else(|| format!("invalid duration {text:?}: use for example 90d or 52w"))?;
    if !(STATE_LEAST..=STATE_MOST).contains(&age) {
        return Err(format!(
            "invalid duration {text:?}: expected 31 to 36500 days, because a delivery is retried for 30 days"
        ));
    }
    Ok(age)
}

fn bytes(text: &str) -> Result<u64, String> {
    let invalid = || format!("invalid size {text:?}: use for example 500MB, 2GB or 1TB");
    let unit = UNITS.iter().find_map(|(unit, bytes)| text.strip_suffix(unit).map(|number| (number, bytes)));
    let (number, unit) = unit.ok_or_else(invalid)?;
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = number.parse().ok().filter(|_| is_plain).ok_or_else(invalid)?;
    let bytes = count.checked_mul(*unit).ok_or_else(invalid)?;
    if bytes < RECORD_LEAST_BYTES {
        return Err(format!("invalid size {text:?}: expected at least 10MB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_have_units_and_limits() {
        let days = |days: i64| Ok(SignedDuration::from_hours(days * 24));
        assert_eq!(age("400d"), days(400));
        assert_eq!(age("52w"), days(364));
        for (text, expected) in [
            ("", "invalid duration \"\": use for example 90d or 52w"),
            ("400", "invalid duration \"400\": use for example 90d or 52w"),
            ("30d", "invalid duration \"30d\": expected 31 to 36500 days"),
            ("99999d", "invalid duration \"99999d\": expected 31 to 36500 days"),
        ] {
            assert!(age(text).is_err_and(|error| error.starts_with(expected)), "{text}");
        }
        assert_eq!(bytes("10MB"), Ok(10_000_000));
        assert_eq!(bytes("2GB"), Ok(2_000_000_000));
        assert_eq!(bytes("1TB"), Ok(1_000_000_000_000));
        let form = ": use for example 500MB, 2GB or 1TB";
        for text in ["", "GB", "1", "1gb", "+1GB", "-1GB", "1.5GB", "99999999999999TB"] {
            assert_eq!(bytes(text), Err(format!("invalid size {text:?}{form}")));
        }
        assert_eq!(bytes("9MB"), Err("invalid size \"9MB\": expected at least 10MB".to_owned()));
    }
}
