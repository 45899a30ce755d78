//! Conversions of the values in a phone's responses.
//!
//! Pure. An empty value, or one of an unexpected type or out of range, gives `None`.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use plist::Value;

use super::MAX_TEXT_CHARS;

/// Apple's epoch, 2001-01-01T00:00:00Z, in Unix seconds.
const APPLE_EPOCH_S: i64 = 978_307_200;
/// Plausible backup dates: from 2007, the year of the first iPhone, until 2100.
const FIRST_BACKUP_S: i64 = 1_167_609_600;
const LAST_BACKUP_S: i64 = 4_102_444_800;

pub(super) fn text(value: &Value) -> Option<String> {
    let text = value.as_string()?;
    (!text.trim().is_empty()).then(|| text.chars().take(MAX_TEXT_CHARS).collect())
}

/// Phones send most flags as booleans and some as 1 and 0.
pub(super) fn flag(value: &Value) -> Option<bool> {
    match value.as_unsigned_integer() {
        Some(0) => Some(false),
        Some(1) => Some(true),
        Some(_) => None,
        None => value.as_boolean(),
    }
}

pub(super) fn bytes(value: &Value) -> Option<u64> {
    value.as_unsigned_integer()
}

/// A capacity of zero is not plausible.
pub(super) fn capacity(value: &Value) -> Option<u64> {
    bytes(value).filter(|&bytes| bytes > 0)
}

pub(super) fn percent(value: &Value) -> Option<u8> {
    value
        .as_unsigned_integer()
        .and_then(|percent| u8::try_from(percent).ok())
        .filter(|&percent| percent <= 100)
}

/// Converts Unix seconds. Accepts 1970, because a phone's clock may have been reset.
pub(super) fn clock(value: &Value) -> Option<Timestamp> {
    Timestamp::from_second(seconds(value)?).ok().filter(|time| *time >= Timestamp::UNIX_EPOCH)
}

/// Converts seconds since 2001 or a date. A phone without a backup may send zero, which gives `None`.
pub(super) fn backup_date(value: &Value) -> Option<Timestamp> {
    let unix_s = match value.as_date() {
        Some(date) => {
            let since = SystemTime::from(date).duration_since(UNIX_EPOCH).ok()?;
            i64::try_from(since.as_secs()).ok()?
        }
        None => seconds(value)?.checked_add(APPLE_EPOCH_S)?,
    };
    (FIRST_BACKUP_S..LAST_BACKUP_S).contains(&unix_s).then(|| Timestamp::from_second(unix_s).ok()).flatten()
}

/// Converts an integer or a real number to whole seconds.
fn seconds(value: &Value) -> Option<i64> {
    match value.as_real() {
        // Larger numbers cannot be times, and NaN fails the comparison.
        Some(real) if real.abs() < (1_i64 << 53) as f64 => Some(real.floor() as i64),
        Some(_) => None,
        None => value.as_signed_integer(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<Timestamp> {
        Some(text.parse().expect("a time"))
    }

    fn date(text: &str) -> Value {
        Value::Date(plist::Date::from_xml_format(text).expect("a date"))
    }

    #[track_caller]
    fn check_backup(value: Value, expected: Option<Timestamp>) {
        assert_eq!(backup_date(&value), expected, "{value:?}");
    }

    #[test]
    fn backup_dates_count_from_2001() {
        check_backup(769_034_247.into(), at("2025-05-15T20:37:27Z"));
        check_backup(812_806_913.into(), at("2026-10-04T11:41:53Z"));
        check_backup(769_034_247.9.into(), at("2025-05-15T20:37:27Z"));
        check_backup(date("2025-05-15T20:37:27Z"), at("2025-05-15T20:37:27Z"));
        check_backup(189_302_400.into(), at("2007-01-01T00:00:00Z"));
    }

    #[test]
    fn implausible_backup_dates_are_unknown() {
        for seconds in [0, 1, -1, 189_302_399, 3_124_137_600, i64::MAX, i64::MIN] {
            check_backup(seconds.into(), None);
        }
        for seconds in [0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, -0.1] {
            check_backup(seconds.into(), None);
        }
        check_backup(u64::MAX.into(), None);
        check_backup(date("2001-01-01T00:00:00Z"), None);
        check_backup(date("1969-12-31T23:59:59Z"), None);
        check_backup(date("2100-01-01T00:00:00Z"), None);
        check_backup("769034247".into(), None);
        check_backup(true.into(), None);
    }

    #[test]
    fn clocks_may_be_wrong_but_not_before_1970() {
        assert_eq!(clock(&1_777_939_200.75.into()), at("2026-05-05T00:00:00Z"));
        assert_eq!(clock(&1_777_939_200.into()), at("2026-05-05T00:00:00Z"));
        assert_eq!(clock(&0.into()), at("1970-01-01T00:00:00Z"));
        for seconds in [-1.0, 1e15, f64::NAN] {
            assert_eq!(clock(&seconds.into()), None, "{seconds}");
        }
        assert_eq!(clock(&"1777939200".into()), None);
    }

    #[test]
    fn values_of_other_types_are_unknown() {
        assert_eq!(text(&" ".into()), None);
        assert_eq!(text(&1.into()), None);
        assert_eq!(text(&"é".repeat(999).into()), Some("é".repeat(MAX_TEXT_CHARS)));
        assert_eq!(
            [0, 1, 2, -1].map(|number: i64| flag(&number.into())),
            [Some(false), Some(true), None, None]
        );
        assert_eq!(flag(&"true".into()), None);
        assert_eq!(percent(&100.into()), Some(100));
        assert_eq!([percent(&101.into()), percent(&(-1).into()), percent(&300.into())], [None; 3]);
        assert_eq!((bytes(&0.into()), capacity(&0.into())), (Some(0), None));
        assert_eq!((bytes(&(-1).into()), bytes(&1.5.into())), (None, None));
    }
}
