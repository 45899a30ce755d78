//! When to look next: cron expressions in a time zone, jitter and backoff, as arithmetic on times.
//!
//! Knows no clock and waits for nothing; `poll` and `deliver` pass the times in. The `cron` crate
//! finds the matching calendar times, always from the translation made here, so that its own dialect
//! (seconds first, 1 = Sunday, both day fields ANDed) never reaches a person. Invariant: a schedule
//! is a fixed set of instants, and [`Schedule::next_after`] is the earliest of them after the given
//! one, whoever asks and whenever.

use std::fmt;

use chrono::{Datelike, NaiveDate, TimeDelta, Timelike, Utc};
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Far more than every minute of the hour written out.
const MAX_EXPRESSION_BYTES: usize = 1_000;
/// The years that the `cron` crate knows.
const CRON_FIRST_YEAR: i16 = 1970;
const CRON_LAST_YEAR: i16 = 2100;
/// From this many firings a day on, an hour without any is a pause.
const REPEATING_FIRINGS_PER_DAY: u32 = 24;

/// One cron expression in one time zone.
///
/// The expression is that of crontab(5): minute, hour, day of month, month, day of week; or six
/// fields with seconds first; or `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`,
/// `@annually`. A field is `*`, a value, a range or a list of them; `*` and ranges take a step
/// (`*/5`, `3-50/7`). Months and days of the week may be named (`jan`, `MON`); 0 and 7 are Sunday.
/// If both day fields are restricted, either is enough; a field that begins with `*` is not
/// restricted, even as `*/2` (the rule of Vixie cron and its heirs).
///
/// Beyond crontab(5), ranges wrap (`fri-mon`, `22-2`, `nov-feb`) and steps go on through the wrap.
/// A step behind a single value (`5/15`) is refused, as Debian's cron does: Vixie's silently reads it
/// as `5`, other programs as `5-59/15`.
///
/// # Daylight saving
///
/// The rules are made for polling: a change of the clocks never makes a wait longer than it has to.
///
/// - Times that the clocks skip fire together, once, at the first instant after the gap: where 02:00
///   becomes 03:00, `30 2 * * *` fires at 03:00 and `*/5 * * * *` goes on from 01:55 to 03:00, five
///   minutes later.
/// - Times that the clocks repeat fire in both passes if the schedule is an interval: its second,
///   minute or hour begins with `*` (as in cronie), or it fires at least 24 times a day. So
///   `*/5 * * * *` goes on every five minutes. Fixed times such as `30 2 * * *` fire in the first
///   pass only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    expression: String,
    zone: TimeZone,
    /// One rule, or two of which the earlier counts.
    rules: Vec<cron::Schedule>,
    /// Whether times that the clocks repeat fire in both passes.
    repeats: bool,
    names_hours_or_days: bool,
}

/// Why an expression is not a schedule. Each is one line for people that names the bad part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error(
        "invalid schedule {expression:?}: expected five fields (minute, hour, day of month, month, day of \
         week), or six with seconds first, or @hourly, @daily, @weekly, @monthly, @yearly; found {found}"
    )]
    FieldCount { expression: String, found: usize },
    #[error(
        "invalid schedule {0:?}: expected @hourly, @daily, @midnight, @weekly, @monthly, @yearly or \
         @annually, or five fields"
    )]
    UnknownNickname(String),
    #[error("invalid {field} {part:?}: {reason}")]
    BadPart { field: &'static str, part: String, reason: String },
    #[error("invalid schedule {0:?}: none of its months has such a day")]
    NeverFires(String),
    #[error("the schedule is {0} bytes long: at most {MAX_EXPRESSION_BYTES} are allowed")]
    TooLong(usize),
}

impl Schedule {
    /// Reads an expression whose times are those of the wall clock in `zone`.
    ///
    /// # Errors
    /// Whatever crontab(5) does not allow and the wrapping ranges do not add, and an expression that
    /// never fires (`0 0 30 2 *`).
    pub fn parse(expression: &str, zone: &TimeZone) -> Result<Schedule, ScheduleError> {
        let expression = expression.trim();
        if expression.len() > MAX_EXPRESSION_BYTES {
            return Err(ScheduleError::TooLong(expression.len()));
        }
        let mut fields: Vec<&str> = spelled_out(expression)?.split_whitespace().collect();
        let found = fields.len();
        if found == 5 {
            fields.insert(0, "0");
        }
        let [second, minute, hour, day, month, weekday] = *fields else {
            return Err(ScheduleError::FieldCount { expression: expression.to_owned(), found });
        };
        let (second, minute, hour) = (SECOND.parse(second)?, MINUTE.parse(minute)?, HOUR.parse(hour)?);
        let (day, month, weekday) = (DAY.parse(day)?, MONTH.parse(month)?, WEEKDAY.parse(weekday)?);

        let rule = |day: &str, weekday: &str| -> cron::Schedule {
            let clock = format!("{} {} {}", second.cron_text(), minute.cron_text(), hour.cron_text());
            format!("{clock} {day} {} {weekday}", month.cron_text())
                .parse()
                .expect("lists of values within the range of their field are an expression of the cron crate")
        };
        let rules = if day.starred || weekday.starred {
            vec![rule(&day.cron_text(), &weekday.cron_text())]
        } else {
            vec![rule(&day.cron_text(), "*"), rule("*", &weekday.cron_text())]
        };
        // The cron crate's 131 years have every kind of year: what is not in them never comes.
        if rules.iter().all(|rule| rule.after(&chrono::DateTime::UNIX_EPOCH).next().is_none()) {
            return Err(ScheduleError::NeverFires(expression.to_owned()));
        }
        let repeats = [&second, &minute, &hour].iter().any(|values| values.starred)
            || second.count() * minute.count() * hour.count() >= REPEATING_FIRINGS_PER_DAY;
        let names_hours_or_days = [&hour, &day, &month, &weekday]
            .iter()
            .any(|values| values.count() < u32::from(values.field.cycle));
        let (expression, zone) = (expression.to_owned(), zone.clone());
        Ok(Schedule { expression, zone, rules, repeats, names_hours_or_days })
    }

    /// An expression of this program.
    ///
    /// # Panics
    ///
    /// Where it is no schedule.
    pub fn of_default(expression: &str, zone: &TimeZone) -> Schedule {
        Schedule::parse(expression, zone).expect("the defaults are schedules")
    }

    /// Whether it names hours or days, which are others in another zone.
    pub fn depends_on_zone(&self) -> bool {
        self.names_hours_or_days
    }

    /// The expression as the person wrote it, without blanks around it.
    pub fn as_str(&self) -> &str {
        &self.expression
    }

    /// The earliest firing strictly after `after`, in whole seconds.
    ///
    /// Holds in every year that jiff has, -9999 to 9999. `None` only if the next firing would lie
    /// behind [`Timestamp::MAX`].
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let offset = self.zone.to_offset(after);
        let wall = offset.to_datetime(after);
        let onward = self.onward(wall, after);
        if let AmbiguousOffset::Fold { before, after: later } =
            self.zone.to_ambiguous_timestamp(wall).offset()
            && before == offset
            && self.repeats
        {
            // Reading on from the wall clock passes over what shows again when the clocks go back.
            return onward.into_iter().chain(self.in_second_pass(after, later)).min();
        }
        onward
    }

    /// The first firing after `after`, reading the calendar on from `wall`.
    fn onward(&self, wall: DateTime, after: Timestamp) -> Option<Timestamp> {
        let mut from = next_second(wall)?;
        loop {
            let due = self.next_wall(from)?;
            if let Some(at) = self.instants(due)?.into_iter().find(|&at| at > after) {
                return Some(at);
            }
            // A fixed time that fired in the first pass.
            from = next_second(due)?;
        }
    }

    /// The first firing once the clocks, now in the first pass of a repeated hour, have gone back.
    fn in_second_pass(&self, after: Timestamp, offset: Offset) -> Option<Timestamp> {
        let turn = self.transition_to(offset, after)?;
        let due = self.next_wall(offset.to_datetime(turn))?;
        self.instants(due)?.into_iter().find(|&at| at >= turn)
    }

    /// The instants at which a due wall-clock time fires, in order; the same one twice if it is one.
    fn instants(&self, due: DateTime) -> Option<[Timestamp; 2]> {
        let one = |at: Timestamp| [at, at];
        match self.zone.to_ambiguous_timestamp(due).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(due).ok().map(one),
            AmbiguousOffset::Gap { after, .. } => {
                // With the offset from after the gap, a skipped time is an instant before the gap.
                self.transition_to(after, after.to_timestamp(due).ok()?).map(one)
            }
            AmbiguousOffset::Fold { before, after } => {
                let first = before.to_timestamp(due).ok()?;
                if self.repeats { Some([first, after.to_timestamp(due).ok()?]) } else { Some(one(first)) }
            }
        }
    }

    /// The next change of the clocks to `offset`.
    fn transition_to(&self, offset: Offset, after: Timestamp) -> Option<Timestamp> {
        self.zone.following(after).find(|change| change.offset() == offset).map(|change| change.timestamp())
    }

    /// The first wall-clock time that matches, `from` (less its fraction of a second) included.
    ///
    /// The calendar of a year is settled by its length and its first weekday, so a year that the
    /// cron crate does not know is looked up as a known one that has both the same.
    fn next_wall(&self, mut from: DateTime) -> Option<DateTime> {
        loop {
            let year = from.year();
            let known = (CRON_FIRST_YEAR..=CRON_LAST_YEAR).contains(&year);
            let alike = if known { year } else { known_year_like(year)? };
            let before = chrono_time(from, alike)?.checked_sub_signed(TimeDelta::seconds(1))?;
            let due = self.rules.iter().filter_map(|rule| rule.after(&before).next()).min();
            match due {
                Some(due) if known => return civil_time(due, due.year().try_into().ok()?),
                Some(due) if due.year() == i32::from(alike) => return civil_time(due, year),
                Some(_) | None => {}
            }
            let next_year = if known { CRON_LAST_YEAR } else { year } + 1;
            from = Date::new(next_year, 1, 1).ok()?.to_datetime(jiff::civil::Time::midnight());
        }
    }
}

/// The expression as the person wrote it.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expression)
    }
}

/// The five fields behind a nickname; any other text as it is.
fn spelled_out(expression: &str) -> Result<&str, ScheduleError> {
    match expression.to_ascii_lowercase().as_str() {
        text if !text.starts_with('@') => Ok(expression),
        "@hourly" => Ok("0 * * * *"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@monthly" => Ok("0 0 1 * *"),
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        _ => Err(ScheduleError::UnknownNickname(expression.to_owned())),
    }
}

/// What one field of an expression may hold.
struct Field {
    name: &'static str,
    low: u8,
    high: u8,
    /// How many different values there are: one fewer than 0 to 7 where both are Sunday.
    cycle: u8,
    /// From `low` on; empty where numbers have no names.
    names: &'static [&'static str],
    /// What the cron crate calls `low`.
    cron_low: u8,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const SECOND: Field = Field { name: "second", low: 0, high: 59, cycle: 60, names: &[], cron_low: 0 };
const MINUTE: Field = Field { name: "minute", ..SECOND };
const HOUR: Field = Field { name: "hour", high: 23, cycle: 24, ..SECOND };
const DAY: Field = Field { name: "day of month", low: 1, high: 31, cycle: 31, names: &[], cron_low: 1 };
const MONTH: Field = Field { name: "month", low: 1, high: 12, cycle: 12, names: &MONTHS, cron_low: 1 };
const WEEKDAY: Field =
    Field { name: "day of week", low: 0, high: 7, cycle: 7, names: &WEEKDAYS, cron_low: 1 };

impl Field {
    fn parse(&self, text: &str) -> Result<Values<'_>, ScheduleError> {
        let mut bits = 0;
        for item in text.split(',') {
            if item.is_empty() {
                return Err(self.refuse(text, "a value is missing"));
            }
            bits |= self.parse_item(item)?;
        }
        Ok(Values { field: self, bits, starred: text.starts_with('*') })
    }

    /// One element of a list: `*`, a value or a range, the first and last with a step or without.
    fn parse_item(&self, item: &str) -> Result<u64, ScheduleError> {
        let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
        let (first, last) = match (range.split_once('-'), step) {
            _ if range == "*" => (self.low, self.high),
            (Some((first, last)), _) => (self.parse_value(first, item)?, self.parse_value(last, item)?),
            (None, None) => {
                let value = self.parse_value(range, item)?;
                (value, value)
            }
            (None, Some(step)) => {
                self.parse_value(range, item)?;
                let high = self.high;
                let reason = format!("a step needs * or a range before it, such as {range}-{high}/{step}");
                return Err(self.refuse(item, &reason));
            }
        };
        let step = step.map_or(Ok(1), |step| self.parse_step(step, item))?;
        let last = if last < first { last + self.cycle } else { last };
        let values = (first..=last).step_by(step);
        Ok(values.fold(0, |bits, value| bits | 1 << ((value - self.low) % self.cycle)))
    }

    fn parse_value(&self, text: &str, item: &str) -> Result<u8, ScheduleError> {
        if text.is_empty() {
            return Err(self.refuse(item, "a value is missing"));
        }
        let named = (self.low..).zip(self.names).find(|(_, name)| name.eq_ignore_ascii_case(text));
        let value = named.map(|(value, _)| value).or_else(|| parse_digits(text));
        value.filter(|value| (self.low..=self.high).contains(value)).ok_or_else(|| {
            let names = match (self.names.first(), self.names.last()) {
                (Some(first), Some(last)) => format!(" or {first} to {last}"),
                (_, _) => String::new(),
            };
            self.refuse(text, &format!("expected {} to {}{names}", self.low, self.high))
        })
    }

    /// Longer steps than the cycle are refused: `*/90` would be once an hour, which nobody means.
    fn parse_step(&self, text: &str, item: &str) -> Result<usize, ScheduleError> {
        parse_digits(text)
            .filter(|step| (1..=self.cycle).contains(step))
            .map(usize::from)
            .ok_or_else(|| self.refuse(item, &format!("the step must be 1 to {}", self.cycle)))
    }

    fn refuse(&self, part: &str, reason: &str) -> ScheduleError {
        ScheduleError::BadPart { field: self.name, part: part.to_owned(), reason: reason.to_owned() }
    }
}

/// Digits only: `u8::from_str` takes a plus sign too.
fn parse_digits(text: &str) -> Option<u8> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// The values at which one field matches.
struct Values<'a> {
    field: &'a Field,
    /// Bit 0 is the field's `low`.
    bits: u64,
    /// Whether the text began with `*`.
    starred: bool,
}

impl Values<'_> {
    fn count(&self) -> u32 {
        self.bits.count_ones()
    }

    /// As the cron crate writes it.
    fn cron_text(&self) -> String {
        let cycle = self.field.cycle;
        if self.count() == u32::from(cycle) {
            return "*".to_owned();
        }
        let matching = (0..cycle).filter(|bit| self.bits >> bit & 1 == 1);
        matching.map(|bit| (self.field.cron_low + bit).to_string()).collect::<Vec<_>>().join(",")
    }
}

fn next_second(wall: DateTime) -> Option<DateTime> {
    wall.checked_add(SignedDuration::from_secs(1)).ok()
}

/// A year that the cron crate knows, as long as `year` and beginning on the same weekday. From 1972
/// on, every 28 years in a row have all fourteen kinds.
fn known_year_like(year: i16) -> Option<i16> {
    let kind = |year| Date::new(year, 1, 1).ok().map(|first| (first.in_leap_year(), first.weekday()));
    let wanted = kind(year)?;
    (1972..2000).find(|&known| kind(known) == Some(wanted))
}

/// A wall-clock time in the policy of the cron crate, which is told that it is UTC: zones are jiff's.
fn chrono_time(wall: DateTime, year: i16) -> Option<chrono::DateTime<Utc>> {
    let [month, day, hour, minute, second] =
        [wall.month(), wall.day(), wall.hour(), wall.minute(), wall.second()]
            .map(|part| u32::from(part.unsigned_abs()));
    let date = NaiveDate::from_ymd_opt(year.into(), month, day)?;
    Some(date.and_hms_opt(hour, minute, second)?.and_utc())
}

/// The inverse of [`chrono_time`], in `year`.
fn civil_time(due: chrono::DateTime<Utc>, year: i16) -> Option<DateTime> {
    let part = |part: u32| i8::try_from(part).ok();
    let (month, day) = (part(due.month())?, part(due.day())?);
    DateTime::new(year, month, day, part(due.hour())?, part(due.minute())?, part(due.second())?, 0).ok()
}

/// This machine's own delay in seconds, uniform in `0..=spread_s` over all seeds, so that many
/// machines with one schedule do not ask Apple in the same second. The same seed has the same answer
/// for ever; neighbouring seeds have unrelated ones.
pub fn jitter_s(seed: u64, spread_s: u64) -> u64 {
    // SplitMix64 (Steele, Lea, Flood 2014), one step from `seed`.
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let scaled = (u128::from(mixed) * (u128::from(spread_s) + 1)) >> 64;
    u64::try_from(scaled).expect("less than 2^64 times at most 2^64, over 2^64")
}

/// Seconds to wait after that many failures in a row (0 counts as 1): `first_s`, doubled for each
/// further failure, at most `cap_s`; then moved by up to a fifth either way, by `jitter` in `[0, 1)`
/// uniformly. So the longest wait is 1.2 times `cap_s`. Never 0; saturates.
pub fn backoff_s(failures: u32, first_s: u64, cap_s: u64, jitter: f64) -> u64 {
    let doubled = first_s.saturating_mul(2_u64.saturating_pow(failures.saturating_sub(1)));
    let middle = doubled.min(cap_s).max(1);
    let fifth = middle / 5;
    let width = 2 * fifth + 1;
    // A float cast saturates and makes NaN zero, so that no jitter can leave the bounds.
    let moved = ((width as f64 * jitter) as u64).min(width - 1);
    (middle - fifth).saturating_add(moved)
}

/// A length of time as people write it: `45m`, `12h`, `30d`, `2w`. A day has 24 hours.
pub fn duration(text: &str) -> Option<SignedDuration> {
    let number = text.strip_suffix(['m', 'h', 'd', 'w'])?;
    let unit_s = match text.chars().last()? {
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => 7 * 86_400,
    };
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let count: i64 = number.parse().ok().filter(|_| is_plain)?;
    Some(SignedDuration::from_secs(count.checked_mul(unit_s)?))
}

#[cfg(test)]
mod tests {
    use jiff::civil::{Weekday, date};

    use super::*;

    const ZONES: [&str; 4] = ["America/Los_Angeles", "Europe/Berlin", "Asia/Tokyo", "Australia/Lord_Howe"];

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    #[track_caller]
    fn schedule(expression: &str, zone: &TimeZone) -> Schedule {
        Schedule::parse(expression, zone).unwrap_or_else(|error| panic!("{expression:?}: {error}"))
    }

    /// The firings after `after` (RFC 3339) begin with these; the zone's local time is compared.
    #[track_caller]
    fn check(expression: &str, zone_name: &str, after: &str, expected: &[&str]) {
        let zone = zone(zone_name);
        let schedule = schedule(expression, &zone);
        let firings = std::iter::successors(Some(after.parse().unwrap()), |at| schedule.next_after(*at));
        let said: Vec<String> = firings
            .skip(1)
            .take(expected.len())
            .map(|at| at.to_zoned(zone.clone()).strftime("%F %T%:z").to_string())
            .collect();
        assert_eq!(said, expected, "{expression} in {zone_name}");
    }

    #[track_caller]
    fn check_utc(expression: &str, after: &str, expected: &[&str]) {
        let expected: Vec<String> = expected.iter().map(|at| format!("{at}+00:00")).collect();
        check(expression, "UTC", after, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[track_caller]
    fn check_refused(expression: &str, words: &str) {
        let error = Schedule::parse(expression, &TimeZone::UTC).expect_err(expression);
        assert_eq!(error.to_string(), words);
        assert_eq!(error.to_string().lines().count(), 1);
    }

    #[test]
    fn reads_crontab() {
        // 2026-07-01 is a Wednesday.
        let start = "2026-07-01T00:00:00Z";
        check_utc("*/5 * * * *", start, &["2026-07-01 00:05:00", "2026-07-01 00:10:00"]);
        check_utc("*/20 * * * * *", start, &["2026-07-01 00:00:20", "2026-07-01 00:00:40"]);
        check_utc("30 0 0 * * *", start, &["2026-07-01 00:00:30", "2026-07-02 00:00:30"]);
        check_utc("3-50/7 12 * * *", "2026-07-01T12:38:00Z", &["2026-07-01 12:45:00", "2026-07-02 12:03:00"]);
        check_utc("0 0 * * 0", start, &["2026-07-05 00:00:00", "2026-07-12 00:00:00"]);
        check_utc("0 0 * * 7", start, &["2026-07-05 00:00:00", "2026-07-12 00:00:00"]);
        check_utc("0 0 * * mOn", start, &["2026-07-06 00:00:00", "2026-07-13 00:00:00"]);
        check_utc("0 0 1 JAN,sep *", start, &["2026-09-01 00:00:00", "2027-01-01 00:00:00"]);
        check_utc(
            "0 0 * * 5-7",
            start,
            &["2026-07-03 00:00:00", "2026-07-04 00:00:00", "2026-07-05 00:00:00"],
        );
        check_utc("0 0 * * 0-7", start, &["2026-07-02 00:00:00", "2026-07-03 00:00:00"]);
        check_utc(" 0\t0  1 1 * ", start, &["2027-01-01 00:00:00"]);
        check_utc("00 08 * * *", start, &["2026-07-01 08:00:00"]);
    }

    #[test]
    fn ranges_wrap() {
        check_utc(
            "0 0 * * fri-mon",
            "2026-07-01T00:00:00Z",
            &[
                "2026-07-03 00:00:00",
                "2026-07-04 00:00:00",
                "2026-07-05 00:00:00",
                "2026-07-06 00:00:00",
                "2026-07-10 00:00:00",
            ],
        );
        check_utc(
            "0 0 * * 7-1",
            "2026-07-01T00:00:00Z",
            &["2026-07-05 00:00:00", "2026-07-06 00:00:00", "2026-07-12 00:00:00"],
        );
        check_utc(
            "0 22-2/2 * * *",
            "2026-07-01T00:00:00Z",
            &["2026-07-01 02:00:00", "2026-07-01 22:00:00", "2026-07-02 00:00:00"],
        );
        check_utc(
            "0 0 1 nov-feb *",
            "2026-07-01T00:00:00Z",
            &[
                "2026-11-01 00:00:00",
                "2026-12-01 00:00:00",
                "2027-01-01 00:00:00",
                "2027-02-01 00:00:00",
                "2027-11-01 00:00:00",
            ],
        );
    }

    #[test]
    fn nicknames() {
        let start = "2026-07-01T10:30:00Z";
        for (nickname, next) in [
            ("@hourly", "2026-07-01 11:00:00"),
            ("@daily", "2026-07-02 00:00:00"),
            ("@Midnight", "2026-07-02 00:00:00"),
            ("@weekly", "2026-07-05 00:00:00"),
            ("@monthly", "2026-08-01 00:00:00"),
            ("@yearly", "2027-01-01 00:00:00"),
            ("@annually", "2027-01-01 00:00:00"),
        ] {
            check_utc(nickname, start, &[next]);
        }
    }

    #[test]
    fn day_fields_are_ored_only_if_both_are_restricted() {
        // The 13th is a Monday; Fridays are the 3rd, 10th, 17th.
        let start = "2026-07-09T00:00:00Z";
        check_utc(
            "0 0 13 * fri",
            start,
            &["2026-07-10 00:00:00", "2026-07-13 00:00:00", "2026-07-17 00:00:00"],
        );
        check_utc("0 0 13 * *", start, &["2026-07-13 00:00:00", "2026-08-13 00:00:00"]);
        check_utc("0 0 * * fri", start, &["2026-07-10 00:00:00", "2026-07-17 00:00:00"]);
        // Begins with a star, so not restricted: Mondays on odd days.
        check_utc("0 0 */2 * mon", start, &["2026-07-13 00:00:00", "2026-07-27 00:00:00"]);
        // One of the two never comes: the other still does.
        check_utc("0 0 30 2 mon", start, &["2027-02-01 00:00:00", "2027-02-08 00:00:00"]);
    }

    #[test]
    fn refusals_name_the_bad_part() {
        check_refused("61 * * * *", "invalid minute \"61\": expected 0 to 59");
        check_refused("* * * * * 8", "invalid day of week \"8\": expected 0 to 7 or sun to sat");
        check_refused("60 * * * * *", "invalid second \"60\": expected 0 to 59");
        check_refused("0 5-24 * * *", "invalid hour \"24\": expected 0 to 23");
        check_refused("0 0 0 * *", "invalid day of month \"0\": expected 1 to 31");
        check_refused("0 0 * 13 *", "invalid month \"13\": expected 1 to 12 or jan to dec");
        check_refused("0 0 * * monday", "invalid day of week \"monday\": expected 0 to 7 or sun to sat");
        check_refused("+5 * * * *", "invalid minute \"+5\": expected 0 to 59");
        check_refused("300 * * * *", "invalid minute \"300\": expected 0 to 59");
        check_refused("? * * * *", "invalid minute \"?\": expected 0 to 59");
        check_refused("1,,2 * * * *", "invalid minute \"1,,2\": a value is missing");
        check_refused("5- * * * *", "invalid minute \"5-\": a value is missing");
        check_refused("*/0 * * * *", "invalid minute \"*/0\": the step must be 1 to 60");
        check_refused("*/90 * * * *", "invalid minute \"*/90\": the step must be 1 to 60");
        check_refused("1-9/x * * * *", "invalid minute \"1-9/x\": the step must be 1 to 60");
        check_refused("1-9/2/2 * * * *", "invalid minute \"1-9/2/2\": the step must be 1 to 60");
        check_refused(
            "5/15 * * * *",
            "invalid minute \"5/15\": a step needs * or a range before it, such as 5-59/15",
        );
        check_refused("0 0 30 2 *", "invalid schedule \"0 0 30 2 *\": none of its months has such a day");
        check_refused(
            "0 0 31 4,6,9,11 */2",
            "invalid schedule \"0 0 31 4,6,9,11 */2\": none of its months has such a day",
        );
        check_refused(
            "@reboot",
            "invalid schedule \"@reboot\": expected @hourly, @daily, @midnight, @weekly, @monthly, @yearly or \
             @annually, or five fields",
        );
        let refused = |expression: &str, found: usize| {
            let how = "expected five fields (minute, hour, day of month, month, day of week), or six with \
                       seconds first, or @hourly, @daily, @weekly, @monthly, @yearly";
            check_refused(expression, &format!("invalid schedule {expression:?}: {how}; found {found}"));
        };
        refused("", 0);
        refused("* *\n*", 3);
        refused("* * * * * * *", 7);
        check_refused(&"1,".repeat(501), "the schedule is 1002 bytes long: at most 1000 are allowed");
    }

    #[test]
    fn says_what_the_person_wrote() {
        let schedule = schedule(" */5  8-20 * * MON-fri\n", &TimeZone::UTC);
        assert_eq!(schedule.as_str(), "*/5  8-20 * * MON-fri");
        assert_eq!(schedule.to_string(), schedule.as_str());
    }

    #[test]
    fn strictly_after_in_whole_seconds() {
        for (after, next) in [
            ("2026-07-01T00:04:59.999999999Z", "2026-07-01 00:05:00"),
            ("2026-07-01T00:05:00Z", "2026-07-01 00:10:00"),
            ("2026-07-01T00:05:00.000000001Z", "2026-07-01 00:10:00"),
            ("1969-12-31T23:59:59.5Z", "1970-01-01 00:00:00"),
            ("1969-12-31T23:54:59.5Z", "1969-12-31 23:55:00"),
        ] {
            check_utc("*/5 * * * *", after, &[next]);
        }
    }

    #[test]
    fn clocks_forward() {
        let la = "America/Los_Angeles"; // 2026-03-08: 02:00 becomes 03:00
        let before = "2026-03-08T01:50:00-08:00";
        check(
            "*/5 * * * *",
            la,
            before,
            &["2026-03-08 01:55:00-08:00", "2026-03-08 03:00:00-07:00", "2026-03-08 03:05:00-07:00"],
        );
        check("30 2 * * *", la, before, &["2026-03-08 03:00:00-07:00", "2026-03-09 02:30:00-07:00"]);
        check("30 2 * * *", la, "2026-03-08T03:00:00-07:00", &["2026-03-09 02:30:00-07:00"]);
        check("30 2,3 * * *", la, before, &["2026-03-08 03:00:00-07:00", "2026-03-08 03:30:00-07:00"]);
        check("*/5 2 * * *", la, before, &["2026-03-08 03:00:00-07:00", "2026-03-09 02:00:00-07:00"]);
        check("30 3 * * *", la, before, &["2026-03-08 03:30:00-07:00", "2026-03-09 03:30:00-07:00"]);
        check(
            "0 0 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00+01:00",
            &["2026-03-29 00:00:00+01:00", "2026-03-30 00:00:00+02:00"],
        );
        // Half an hour: 02:00 becomes 02:30.
        let lord_howe = "Australia/Lord_Howe";
        let before = "2026-10-04T01:50:00+10:30";
        check(
            "*/5 * * * *",
            lord_howe,
            before,
            &["2026-10-04 01:55:00+10:30", "2026-10-04 02:30:00+11:00", "2026-10-04 02:35:00+11:00"],
        );
        check("10 2 * * *", lord_howe, before, &["2026-10-04 02:30:00+11:00", "2026-10-05 02:10:00+11:00"]);
        // A whole day: Samoa had no 30 December 2011.
        check(
            "0 6 * * *",
            "Pacific/Apia",
            "2011-12-29T12:00:00-10:00",
            &["2011-12-31 00:00:00+14:00", "2011-12-31 06:00:00+14:00"],
        );
    }

    #[test]
    fn clocks_back() {
        let la = "America/Los_Angeles"; // 2026-11-01: 02:00 becomes 01:00
        let before = "2026-11-01T01:50:00-07:00";
        check(
            "*/5 * * * *",
            la,
            before,
            &["2026-11-01 01:55:00-07:00", "2026-11-01 01:00:00-08:00", "2026-11-01 01:05:00-08:00"],
        );
        check("*/5 * * * *", la, "2026-11-01T01:55:00-08:00", &["2026-11-01 02:00:00-08:00"]);
        check("*/5 * * * *", la, "2026-11-01T01:59:59.5-07:00", &["2026-11-01 01:00:00-08:00"]);
        check("0-59/5 0-23 * * *", la, "2026-11-01T01:55:00-07:00", &["2026-11-01 01:00:00-08:00"]);
        check(
            "30 1 * * *",
            la,
            "2026-11-01T00:00:00-07:00",
            &["2026-11-01 01:30:00-07:00", "2026-11-02 01:30:00-08:00"],
        );
        // Asked in the second pass, the first having gone by.
        check("30 1 * * *", la, "2026-11-01T01:10:00-08:00", &["2026-11-02 01:30:00-08:00"]);
        check(
            "0 * * * *",
            la,
            "2026-11-01T01:10:00-07:00",
            &["2026-11-01 01:00:00-08:00", "2026-11-01 02:00:00-08:00"],
        );
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-25T00:00:00+02:00",
            &["2026-10-25 02:30:00+02:00", "2026-10-26 02:30:00+01:00"],
        );
        // Half an hour: 02:00 becomes 01:30.
        let lord_howe = "Australia/Lord_Howe";
        check(
            "*/10 * * * *",
            lord_howe,
            "2026-04-05T01:40:00+11:00",
            &["2026-04-05 01:50:00+11:00", "2026-04-05 01:30:00+10:30", "2026-04-05 01:40:00+10:30"],
        );
        check(
            "45 1 * * *",
            lord_howe,
            "2026-04-05T01:00:00+11:00",
            &["2026-04-05 01:45:00+11:00", "2026-04-06 01:45:00+10:30"],
        );
    }

    #[test]
    fn every_five_minutes_through_every_change() {
        for name in ZONES {
            let schedule = schedule("*/5 * * * *", &zone(name));
            // All of that year's changes in those zones.
            for (start, days) in [("2026-03-07T00:00:00Z", 30), ("2026-10-03T00:00:00Z", 31)] {
                let start: Timestamp = start.parse().unwrap();
                let every_five = (1..=days * 288).map(|count| start + SignedDuration::from_mins(5 * count));
                assert!(
                    firings(&schedule, start).zip(every_five).all(|(said, expected)| said == expected),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn years_beyond_the_cron_crate() {
        check_utc("0 0 29 2 *", "2096-03-01T00:00:00Z", &["2104-02-29 00:00:00", "2108-02-29 00:00:00"]);
        check_utc("0 0 29 2 *", "1896-03-01T00:00:00Z", &["1904-02-29 00:00:00"]);
        check_utc("*/5 * * * *", "2100-12-31T23:55:00Z", &["2101-01-01 00:00:00", "2101-01-01 00:05:00"]);
        check_utc("0 0 1 1 *", "1969-06-01T00:00:00Z", &["1970-01-01 00:00:00", "1971-01-01 00:00:00"]);
        check_utc(
            "59 23 31 12 *",
            "1968-06-01T00:00:00Z",
            &["1968-12-31 23:59:00", "1969-12-31 23:59:00", "1970-12-31 23:59:00"],
        );
        // Sundays that are 29 February, against jiff's own calendar.
        let sundays = "0 0 29 2 */7";
        for century in [-9000, 0, 1500, 1800, 2050, 2400, 9700] {
            let first = date(century, 1, 1);
            let leap_days =
                (0..120).filter_map(|years| date(century + years, 2, 1).with().day(29).build().ok());
            let expected: Vec<DateTime> = leap_days
                .filter(|day| day.weekday() == Weekday::Sunday)
                .map(|day| day.at(0, 0, 0, 0))
                .collect();
            let schedule = schedule(sundays, &TimeZone::UTC);
            let start = first.to_zoned(TimeZone::UTC).unwrap().timestamp();
            let firings: Vec<DateTime> = firings(&schedule, start)
                .map(|at| Offset::UTC.to_datetime(at))
                .take(expected.len())
                .collect();
            assert!(!expected.is_empty());
            assert_eq!(firings, expected);
        }
    }

    #[test]
    fn total_for_absurd_times() {
        let five_minutes = schedule("*/5 * * * *", &TimeZone::UTC);
        assert_eq!(five_minutes.next_after(Timestamp::MAX), None);
        assert!(
            five_minutes.next_after(Timestamp::MIN).unwrap().as_second() - Timestamp::MIN.as_second() <= 300
        );
        assert_eq!(
            schedule("0 0 31 12 *", &TimeZone::UTC).next_after("9999-01-01T00:00:00Z".parse().unwrap()),
            None
        );
        let span = u64::try_from(Timestamp::MAX.as_second() - Timestamp::MIN.as_second()).unwrap();
        // No expression of this test waits longer for its next firing than 40 years and a gap.
        let nearly_over = "9950-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
        let mut dice = Dice(1);
        for _ in 0..300 {
            let zone = zone(dice.pick(&ZONES));
            let Ok(schedule) = Schedule::parse(&dice.expression(1), &zone) else { continue };
            for _ in 0..30 {
                let second = Timestamp::MIN.as_second() + i64::try_from(dice.below(span)).unwrap();
                let after = Timestamp::new(second, 0).unwrap();
                let next = schedule.next_after(after);
                assert!(next.map_or(after > nearly_over, |next| next > after), "{schedule} {after} {next:?}");
                assert_eq!(next.map_or(0, |next| next.subsec_nanosecond()), 0);
            }
        }
    }

    fn firings(schedule: &Schedule, after: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(schedule.next_after(after), |at| schedule.next_after(*at))
    }

    /// Seeded random numbers and expressions.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, count: u64) -> u64 {
            self.0 += 1;
            jitter_s(self.0, count - 1)
        }

        fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
            among[usize::try_from(self.below(among.len() as u64)).unwrap()]
        }

        fn value(&mut self, low: u64, high: u64, names: &str) -> String {
            let value = low + self.below(high - low + 1);
            match names.split(' ').nth(usize::try_from(value - low).unwrap()) {
                Some(name) if !name.is_empty() && self.below(3) == 0 => name.to_owned(),
                _ => value.to_string(),
            }
        }

        /// A field that is plain `*` in `stars` of `stars + 4` cases.
        fn field(&mut self, low: u64, high: u64, names: &str, stars: u64) -> String {
            let step = 1 + self.below((high - low).min(12));
            match self.below(stars + 4) {
                0 => format!("*/{step}"),
                1 => self.value(low, high, names),
                2 => format!("{}-{}", self.value(low, high, names), self.value(low, high, names)),
                3 => {
                    let (first, last) = (self.value(low, high, names), self.value(low, high, names));
                    format!("{},{first}-{last}/{step}", self.value(low, high, names))
                }
                _ => "*".to_owned(),
            }
        }

        /// The higher `stars`, the rarer are restrictions of the date.
        fn expression(&mut self, stars: u64) -> String {
            [
                self.field(0, 59, "", 1),
                self.field(0, 23, "", 2),
                self.field(1, 31, "", stars),
                self.field(1, 12, MONTH_NAMES, stars),
                self.field(0, 7, DAY_NAMES, stars),
            ]
            .join(" ")
        }
    }

    const MONTH_NAMES: &str = "JAN Feb mar apr may jun jul aug sep oct nov dec";
    const DAY_NAMES: &str = "sun MON tue Wed thu fri sat sun";

    /// crontab(5) again, from its text: asks each element of a field whether it has the value.
    fn has(field: &str, value: u64, low: u64, cycle: u64, names: &str) -> bool {
        let number = |text: &str| {
            let named = names.split(' ').position(|name| name == text).map(|place| place as u64 + low);
            named.unwrap_or_else(|| text.parse().unwrap())
        };
        field.split(',').any(|element| {
            let (range, step) = element.split_once('/').unwrap_or((element, "1"));
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (low, low + cycle - 1),
                Some((first, last)) => (number(first), number(last)),
                None => (number(range), number(range)),
            };
            let on_step = |distance: u64| distance.is_multiple_of(number(step));
            if first <= last {
                (first..=last).contains(&value) && on_step(value - first)
            } else {
                value >= first && on_step(value - first) || value <= last && on_step(value + cycle - first)
            }
        })
    }

    /// A crontab line as crontab(5) reads it, five fields of blank-separated text.
    struct Job {
        /// Whether the field has the value, by value.
        fields: [Vec<bool>; 5],
        /// Both day fields are restricted.
        either_day: bool,
        repeats: bool,
    }

    impl Job {
        fn new(expression: &str) -> Job {
            let texts: Vec<&str> = expression.split(' ').collect();
            let table = |field: usize, low, cycle, names| -> Vec<bool> {
                (0..low + cycle).map(|value| has(texts[field], value, low, cycle, names)).collect()
            };
            let mut weekdays = table(4, 0, 7, DAY_NAMES);
            weekdays[0] |= has(texts[4], 7, 0, 7, DAY_NAMES);
            let fields = [
                table(0, 0, 60, ""),
                table(1, 0, 24, ""),
                table(2, 1, 31, ""),
                table(3, 1, 12, MONTH_NAMES),
                weekdays,
            ];
            let count = |field: usize| fields[field].iter().filter(|has| **has).count();
            let interval = texts[0].starts_with('*') || texts[1].starts_with('*');
            let repeats = interval || count(0) * count(1) >= 24;
            Job { fields, either_day: !texts[2].starts_with('*') && !texts[4].starts_with('*'), repeats }
        }

        fn runs_at(&self, wall: DateTime) -> bool {
            let weekday = wall.date().weekday().to_sunday_zero_offset();
            let values = [wall.minute(), wall.hour(), wall.day(), wall.month(), weekday];
            let mut met =
                values.iter().zip(&self.fields).map(|(value, field)| field[usize::try_from(*value).unwrap()]);
            let [minute, hour, day, month, weekday] = std::array::from_fn(|_| met.next().unwrap());
            minute && hour && month && if self.either_day { day || weekday } else { day && weekday }
        }
    }

    /// All firings of `[start, start + days)`, minute by minute, by the rules that [`Schedule`] gives.
    fn reference(expression: &str, zone: &TimeZone, start: Timestamp, days: i64) -> Vec<Timestamp> {
        let job = Job::new(expression);
        let next_minute = |wall: DateTime| wall + SignedDuration::from_mins(1);
        let mut unseen = zone.to_datetime(start);
        let mut due = Vec::new();
        for at in (0..days * 1440).map(|number| start + SignedDuration::from_mins(number)) {
            let wall = zone.to_datetime(at);
            let skipped = std::iter::successors(Some(unseen), |&wall| Some(next_minute(wall)));
            let in_gap = skipped.take_while(|&skipped| skipped < wall).any(|wall| job.runs_at(wall));
            if in_gap || job.runs_at(wall) && (wall >= unseen || job.repeats) {
                due.push(at);
            }
            unseen = unseen.max(next_minute(wall));
        }
        due
    }

    #[track_caller]
    fn check_reference(
        expression: &str,
        zone_name: &str,
        start: Timestamp,
        days: i64,
        dice: &mut Dice,
    ) -> usize {
        let zone = zone(zone_name);
        let Ok(schedule) = Schedule::parse(expression, &zone) else {
            // Such as 31 February: then the reference must have nothing either.
            assert_eq!(reference(expression, &zone, start, days), [], "{expression}");
            return 0;
        };
        let end = start + SignedDuration::from_hours(24 * days);
        let second_before = start - SignedDuration::from_secs(1);
        let expected = reference(expression, &zone, start, days);
        let said: Vec<Timestamp> =
            firings(&schedule, second_before).take_while(|&at| at < end).take(expected.len() + 1).collect();
        assert_eq!(said, expected, "{expression} in {zone_name} from {start}");
        // Asked at any time, the answer is the same.
        for _ in 0..20 {
            let nanos = i64::try_from(dice.below(u64::try_from(days).unwrap() * 86_400_000_000_000)).unwrap();
            let after = start + SignedDuration::from_nanos(nanos);
            let next = schedule.next_after(after).filter(|&at| at < end);
            let expected = expected.iter().find(|&&at| at > after).copied();
            assert_eq!(next, expected, "{expression} in {zone_name} after {after}");
        }
        expected.len()
    }

    #[test]
    fn agrees_with_a_minute_by_minute_reference() {
        let mut dice = Dice(1_000_000);
        let mut compared = 0;
        for _ in 0..300 {
            let start = Timestamp::new(1_546_300_800 + 86_400 * dice.below(4_000) as i64, 0).unwrap();
            compared += check_reference(&dice.expression(2), "UTC", start, 3, &mut dice);
        }
        assert!(compared > 10_000, "{compared}");
    }

    #[test]
    fn agrees_with_the_reference_where_clocks_change() {
        let mut dice = Dice(2_000_000);
        let transitions = [
            ("America/Los_Angeles", "2026-03-07T20:00:00Z"),
            ("America/Los_Angeles", "2026-10-31T20:00:00Z"),
            ("Europe/Berlin", "2026-03-28T20:00:00Z"),
            ("Europe/Berlin", "2026-10-24T20:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-04T04:00:00Z"),
            ("Australia/Lord_Howe", "2026-10-03T04:00:00Z"),
            ("Asia/Tokyo", "2026-10-03T04:00:00Z"),
            ("America/Havana", "2026-03-07T20:00:00Z"),
            ("America/Havana", "2026-10-31T20:00:00Z"),
            ("Pacific/Apia", "2011-12-30T00:00:00Z"),
        ];
        let mut compared = 0;
        for (zone_name, start) in transitions {
            for _ in 0..40 {
                let expression = dice.expression(30);
                compared += check_reference(&expression, zone_name, start.parse().unwrap(), 1, &mut dice);
            }
        }
        assert!(compared > 10_000, "{compared}");
    }

    #[test]
    fn jitter_is_stable_and_uniform() {
        // Pinned: a machine keeps its place when statusd is updated.
        assert_eq!([0, 1, 2, u64::MAX].map(|seed| jitter_s(seed, 300)), [265, 170, 177, 269]);
        assert_eq!(jitter_s(7, 0), 0);
        // The published first output of SplitMix64 for seed 0.
        assert_eq!(jitter_s(0, u64::MAX), 0xe220_a839_7b1d_cdaf);
        let mut counts = [0_u32; 11];
        let mut near = 0;
        for seed in 0..11_000 {
            let here = jitter_s(seed, 10);
            counts[usize::try_from(here).unwrap()] += 1;
            near += u32::from(here.abs_diff(jitter_s(seed + 1, 10)) <= 1);
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        // Independent neighbours are at most 1 apart in 31 of 121 cases.
        assert!((2_500..3_100).contains(&near), "{near}");
    }

    #[test]
    fn backoff_doubles_within_a_fifth() {
        let check = |failures, middle: u64| {
            let waits = |jitter| backoff_s(failures, 10, 3600, jitter);
            let bounds = [waits(0.0), waits(0.5), waits(1.0_f64.next_down())];
            assert_eq!(bounds, [middle - middle / 5, middle, middle + middle / 5], "{failures}");
        };
        for (failures, middle) in
            [(0, 10), (1, 10), (2, 20), (3, 40), (9, 2560), (10, 3600), (u32::MAX, 3600)]
        {
            check(failures, middle);
        }
        for absurd in [-1.0, 2.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!((8..=12).contains(&backoff_s(1, 10, 3600, absurd)), "{absurd}");
            assert_eq!(backoff_s(0, 0, 0, absurd), 1);
        }
        assert_eq!(backoff_s(9, 1, 2, 0.0), 2);
        assert!(backoff_s(u32::MAX, u64::MAX, u64::MAX, 0.99) > u64::MAX / 10 * 9);
        let mut counts = [0_u32; 5];
        for jitter in 0..1000 {
            counts[usize::try_from(backoff_s(1, 10, 60, f64::from(jitter) / 1000.0)).unwrap() - 8] += 1;
        }
        assert_eq!(counts, [200; 5]);
    }
}
