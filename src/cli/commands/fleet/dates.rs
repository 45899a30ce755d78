//! Parses the times in exports: ISO 8601 and similar forms, seconds since 1970, and dates with the day or
//! the month first.
//!
//! Pure. An ambiguous date is an error without a given order (`ambiguous_dates_need_an_order`).

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time, date, time};
use jiff::tz::TimeZone;

use crate::cli::args::DateOrderArg;

/// Longer than any time.
const MAX_CHARS: usize = 64;
/// The start of iCloud. For no backup, exports also write dates in 0001, 1970 or 2001.
const FIRST_BACKUP: Date = date(2011, 10, 12);
/// Texts that exports write for no value.
const NO_VALUE: [&str; 24] = [
    "",
    "-",
    "--",
    "–",
    "—",
    "0",
    "never",
    "never backed up",
    "no backup",
    "none",
    "null",
    "(null)",
    "nil",
    "na",
    "n/a",
    "n.a.",
    "#n/a",
    "not available",
    "not reported",
    "not set",
    "undefined",
    "(empty)",
    "(none)",
    "unknown",
];
/// Two-digit years from here on belong to the 20th century, as in POSIX.
const LAST_CENTURY_FROM: i16 = 69;
/// Stands for any day before iCloud, including invalid ones such as 1900-01-00.
const BEFORE_ICLOUD: Date = date(1970, 1, 1);
const MAX_MONTH_OR_DAY: i16 = 31;
/// The number of digits in seconds since 1970 from 2001 to 2286, and in milliseconds.
const SECONDS_DIGITS: usize = 10;
const MILLISECONDS_DIGITS: usize = 13;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateError {
    Invalid,
    /// The day or the month may be first.
    Ambiguous,
}

/// Parses a time, in whole seconds. Returns `None` if the text means no time.
///
/// A time without an offset is in `zone`. A day without a time counts as its end, so that no device is
/// reported late too early.
pub fn parse_date(
    text: &str,
    zone: &TimeZone,
    order: Option<DateOrderArg>,
) -> Result<Option<Timestamp>, DateError> {
    let text = text.trim();
    if text.len() > MAX_CHARS {
        return Err(DateError::Invalid);
    }
    if NO_VALUE.iter().any(|no_value| text.eq_ignore_ascii_case(no_value)) {
        return Ok(None);
    }
    let time = match epoch_time(text) {
        Some(time) => Some(time),
        None => {
            let (rest, zone) = offset(text, zone);
            civil(rest, order)?.and_then(|civil| Some(civil.to_zoned_datetime(zone).ok()?.timestamp()))
        }
    };
    let time =
        time.and_then(|time| Timestamp::from_second(time.as_second()).ok()).ok_or(DateError::Invalid)?;
    let is_backup = time.to_zoned_datetime(TimeZone::UTC).date() >= FIRST_BACKUP;
    Ok(is_backup.then_some(time))
}

fn epoch_time(text: &str) -> Option<Timestamp> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if ![whole, part].iter().all(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    let number: i64 = whole.parse().ok()?;
    match whole.len() {
        SECONDS_DIGITS => Timestamp::from_second(number).ok(),
        MILLISECONDS_DIGITS => Timestamp::from_millisecond(number).ok(),
        _ => None,
    }
}

/// Splits the offset off a time: `Z`, ` UTC`, `+02:00`, ` +0200`. Default: `zone`.
fn offset<'t>(text: &'t str, zone: &TimeZone) -> (&'t str, TimeZone) {
    for utc in ["Z", "UTC", "GMT"] {
        let at = text.len().saturating_sub(utc.len());
        if let Some((rest, end)) = text.split_at_checked(at)
            && end.eq_ignore_ascii_case(utc)
        {
            return (rest.trim_end(), TimeZone::UTC);
        }
    }
    let signed = text.rfind(['+', '-']).filter(|at| text[..*at].contains(':'));
    let Some((rest, sign)) = signed.map(|at| text.split_at(at)) else { return (text, zone.clone()) };
    let digits: String = sign[1..].split(':').collect();
    let is_offset = [2, 4].contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let hours = digits.get(..2).and_then(|digits| digits.parse::<i32>().ok());
    let minutes = digits.get(2..4).map_or(Some(0), |digits| digits.parse::<i32>().ok());
    let seconds = hours.zip(minutes).map(|(hours, minutes)| hours * 3_600 + minutes * 60);
    let seconds = seconds.map(|seconds| if sign.starts_with('-') { -seconds } else { seconds });
    let offset =
        seconds.filter(|_| is_offset).and_then(|seconds| jiff::tz::Offset::from_seconds(seconds).ok());
    offset.map_or((text, zone.clone()), |offset| (rest.trim_end(), TimeZone::fixed(offset)))
}

/// Parses a day, optionally followed by `T`, a comma or a space and a time.
fn civil(text: &str, order: Option<DateOrderArg>) -> Result<Option<DateTime>, DateError> {
    let end = text.find(['T', 't', ',', ' ']).unwrap_or(text.len());
    let clock = text[end..].trim_start_matches(['T', 't', ',', ' ']);
    let Some(day) = day(&text[..end], order)? else { return Ok(None) };
    let clock = if clock.is_empty() { Some(time(23, 59, 59, 0)) } else { clock_time(clock) };
    Ok(clock.map(|clock| day.to_datetime(clock)))
}

/// Parses `2026-05-04`, also with slashes or dots, and `05/04/2026` or `4.5.26` in the given order.
fn day(text: &str, order: Option<DateOrderArg>) -> Result<Option<Date>, DateError> {
    let parts: Vec<&str> = text.split(['-', '/', '.']).collect();
    let numbers: Vec<i16> = parts.iter().filter_map(|part| number(part, 4)).collect();
    let ([a, b, c], [first, _, last]) = (numbers.as_slice(), parts.as_slice()) else { return Ok(None) };
    let year = match (first.len(), last.len()) {
        (4, _) => return Ok(date_of(*a, *b, *c)),
        (_, 4) => *c,
        (_, 2) if *c >= LAST_CENTURY_FROM => 1_900 + *c,
        (_, 2) => 2_000 + *c,
        _ => return Ok(None),
    };
    let (mdy, dmy) = (date_of(year, *a, *b), date_of(year, *b, *a));
    match order {
        Some(DateOrderArg::Mdy) => Ok(mdy),
        Some(DateOrderArg::Dmy) => Ok(dmy),
        // The same day in both orders, or before all backups: 1/1/0001.
        None if mdy == dmy => Ok(mdy),
        None => Err(DateError::Ambiguous),
    }
}

fn date_of(year: i16, month: i16, day: i16) -> Option<Date> {
    if year < FIRST_BACKUP.year() && month.max(day) <= MAX_MONTH_OR_DAY {
        return Some(BEFORE_ICLOUD);
    }
    let small = |number: i16| i8::try_from(number).ok();
    small(month).zip(small(day)).and_then(|(month, day)| Date::new(year, month, day).ok())
}

/// Parses `8:15`, `08:15:30.5` or `8:15 PM`.
fn clock_time(text: &str) -> Option<Time> {
    let lower = text.to_ascii_lowercase();
    let (clock, half) = match (lower.strip_suffix("am"), lower.strip_suffix("pm")) {
        (Some(clock), _) => (clock, Some(0)),
        (_, Some(clock)) => (clock, Some(12)),
        (None, None) => (lower.as_str(), None),
    };
    let mut parts = clock.trim().split(':');
    let hour = number(parts.next()?, 2)?;
    let minute = number(parts.next()?, 2)?;
    let second = match parts.next() {
        Some(second) => number(second.split('.').next()?, 2)?,
        None => 0,
    };
    let hour = match half {
        Some(half) if (1..=12).contains(&hour) => hour % 12 + half,
        Some(_) => return None,
        None => hour,
    };
    let small = |number: i16| i8::try_from(number).ok();
    // Jiff has no leap seconds.
    let second = small(second).map(|second| if second == 60 { 59 } else { second });
    parts.next().is_none().then_some(())?;
    Time::new(small(hour)?, small(minute)?, second?, 0).ok()
}

fn number(text: &str, max_digits: usize) -> Option<i16> {
    let is_number = (1..=max_digits).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        check_ordered(text, None, expected);
    }

    #[track_caller]
    fn check_ordered(text: &str, order: Option<DateOrderArg>, expected: &str) {
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        let actual = match parse_date(text, &berlin, order) {
            Ok(Some(time)) => time.to_string(),
            Ok(None) => "none".to_owned(),
            Err(DateError::Invalid) => "invalid".to_owned(),
            Err(DateError::Ambiguous) => "ambiguous".to_owned(),
        };
        assert_eq!(actual, expected, "{text:?} {order:?}");
    }

    #[test]
    fn iso_8601_and_similar_forms_are_parsed() {
        check("2026-05-04T08:15:30Z", "2026-05-04T08:15:30Z");
        check(" 2026-05-04T08:15:30.999Z ", "2026-05-04T08:15:30Z");
        check("2026-05-04t08:15z", "2026-05-04T08:15:00Z");
        check("2026-05-04T08:15:30+05:30", "2026-05-04T02:45:30Z");
        check("2026-05-04 08:15:30 -0700", "2026-05-04T15:15:30Z");
        check("2026-05-04 08:15:30 +0000", "2026-05-04T08:15:30Z");
        check("2026-05-04T08:15-07", "2026-05-04T15:15:00Z");
        check("2026-05-04 08:15:30 UTC", "2026-05-04T08:15:30Z");
        check("2026-05-04 08:15:30 gmt", "2026-05-04T08:15:30Z");
        // In the configured zone, here with daylight saving time.
        check("2026-05-04 08:15", "2026-05-04T06:15:00Z");
        check("2026-05-04T08:15:30", "2026-05-04T06:15:30Z");
        check("2026-01-04 08:15:30", "2026-01-04T07:15:30Z");
        check("2026-05-04 8:15 PM", "2026-05-04T18:15:00Z");
        check("2026/05/04 08:15", "2026-05-04T06:15:00Z");
        // The skipped and the repeated hour of a clock change.
        check("2026-03-29 02:30", "2026-03-29T01:30:00Z");
        check("2026-10-25 02:30", "2026-10-25T00:30:00Z");
        check("2026-05-04", "2026-05-04T21:59:59Z");
    }

    #[test]
    fn seconds_and_milliseconds_since_1970_are_parsed() {
        check("1777882530", "2026-05-04T08:15:30Z");
        check("1777882530.75", "2026-05-04T08:15:30Z");
        check("1777882530123", "2026-05-04T08:15:30Z");
        check("177788253", "invalid");
        check("17778825301234567", "invalid");
    }

    #[test]
    fn a_missing_date_is_no_error() {
        for text in ["", "  ", "-", "—", "0", "Never", "none", "NULL", "N/A", "#N/A", "Unknown", "No backup"]
        {
            check(text, "none");
        }
        // Zero dates of several calendars and programs.
        for text in [
            "1970-01-01T00:00:00Z",
            "0001-01-01T00:00:00",
            "0001-01-01T00:00:00Z",
            "0001-01-01T00:00:00.000",
            "2001-01-01T00:00:00Z",
            "1970-01-01",
            "1/1/0001 12:00:00 AM",
            "1/1/0001",
            "01.01.0001 00:00:00",
            "1/1/01",
            "1/1/1970 0:00",
            "12/31/1969 4:00 PM",
            "31.12.69",
            "1900-01-00",
            "1/0/1900 12:00:00 AM",
            "12/30/1899",
            "0000-00-00 00:00:00",
        ] {
            check(text, "none");
        }
    }

    #[test]
    fn ambiguous_dates_need_an_order() {
        for (text, mdy, dmy) in [
            ("05/04/2026 8:15 AM", "2026-05-04T06:15:00Z", "2026-04-05T06:15:00Z"),
            ("5/4/26, 20:15:01", "2026-05-04T18:15:01Z", "2026-04-05T18:15:01Z"),
            ("04.05.2026 08:15", "2026-04-05T06:15:00Z", "2026-05-04T06:15:00Z"),
            ("5/4/2026 12:00 am", "2026-05-03T22:00:00Z", "2026-04-04T22:00:00Z"),
            ("5/4/2026 12:00PM UTC", "2026-05-04T12:00:00Z", "2026-04-05T12:00:00Z"),
            ("05-04-2026 08:15 +0200", "2026-05-04T06:15:00Z", "2026-04-05T06:15:00Z"),
            // Valid in only one order.
            ("05/13/2026 08:15", "2026-05-13T06:15:00Z", "invalid"),
        ] {
            check(text, "ambiguous");
            check_ordered(text, Some(DateOrderArg::Mdy), mdy);
            check_ordered(text, Some(DateOrderArg::Dmy), dmy);
        }
    }

    #[test]
    fn a_date_that_is_the_same_in_both_orders_needs_no_order() {
        check("05/05/2026 8:15 AM", "2026-05-05T06:15:00Z");
        check("31/31/2026", "invalid");
        check("99/99/0001", "invalid");
    }

    #[test]
    fn invalid_times_are_errors() {
        for text in [
            "yesterday",
            "2026-13-01 08:15",
            "2026-02-30",
            "2026-05-04 25:00",
            "2026-05-04 08:60",
            "2026-05-04 0:15 PM",
            "2026-05-04 13:15 PM",
            "2026-05-04T08:15:30+99:99",
            "2026-05-04 08:15 Europe/Berlin",
            "2026-05-04 08",
            "2026-05-04 08:15:30:45",
            "2026-05-0408:15",
            "4 May 2026 08:15",
            "-1777882530",
            "٢٠٢٦-05-04",
            "2026-05-04T08:15é",
            "9999-12-31T23:59:59-23:00",
            ".",
            ":",
            "T",
            "Z",
            "+",
        ] {
            check(text, "invalid");
        }
        check(&"2".repeat(1_000), "invalid");
        check("2026-05-04 08:15:60", "2026-05-04T06:15:59Z");
    }
}
