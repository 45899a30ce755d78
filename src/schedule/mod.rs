//! Schedules: cron expressions in a time zone, jitter, back-off and durations.
//!
//! Pure arithmetic: callers pass times in, and nothing here reads a clock. The `cron` crate finds the
//! matching calendar times from a translated expression, so that its dialect (seconds first, 1 = Sunday,
//! both day fields ANDed) never reaches a user. A schedule is a fixed set of instants, and
//! [`Schedule::next_after`] returns the earliest one after the given time (`schedule::tests`).

mod backoff;
mod duration;
mod field;
#[cfg(test)]
mod tests;

use std::fmt;

use chrono::{Datelike, NaiveDate, TimeDelta, Timelike, Utc};
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

pub use backoff::{backoff_s, jitter_s};
pub use duration::duration;
use field::{DAY, HOUR, MINUTE, MONTH, SECOND, WEEKDAY};

/// More than an expression that lists every minute of the hour.
const MAX_EXPRESSION_BYTES: usize = 1_000;
/// The years that the `cron` crate supports.
const CRON_FIRST_YEAR: i16 = 1970;
const CRON_LAST_YEAR: i16 = 2100;
/// A schedule with at least this many firings a day counts as an interval.
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
/// Beyond crontab(5), ranges wrap (`fri-mon`, `22-2`, `nov-feb`), and steps continue through the wrap.
/// A step after a single value (`5/15`) is rejected, as in Debian's cron: Vixie cron silently reads it as
/// `5`, other programs as `5-59/15`.
///
/// # Daylight saving
///
/// The rules suit polling: a change of the clocks never prolongs a wait unnecessarily.
///
/// - Skipped times fire together, once, at the first instant after the gap. If 02:00 becomes 03:00,
///   `30 2 * * *` fires at 03:00, and `*/5 * * * *` fires at 01:55 and five minutes later at 03:00.
/// - Repeated times fire in both passes if the schedule is an interval: its second, minute or hour
///   begins with `*` (as in cronie), or it fires at least 24 times a day. So `*/5 * * * *` continues
///   every five minutes. Fixed times such as `30 2 * * *` fire only in the first pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    expression: String,
    zone: TimeZone,
    /// One rule, or two whose earlier firing counts.
    rules: Vec<cron::Schedule>,
    /// Times that the clocks repeat fire in both passes.
    repeats: bool,
    names_hours_or_days: bool,
}

/// An error in an expression. `Display` is one line for users that names the invalid part.
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
    /// Parses an expression whose times are wall-clock times in `zone`.
    ///
    /// # Errors
    ///
    /// Anything outside crontab(5) plus wrapping ranges, and an expression that never fires
    /// (`0 0 30 2 *`).
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
        // The 131 years of the cron crate include every kind of year: a date outside them never comes.
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

    /// Parses a constant expression.
    ///
    /// # Panics
    ///
    /// The expression is invalid.
    pub fn of_default(expression: &str, zone: &TimeZone) -> Schedule {
        Schedule::parse(expression, zone).expect("the defaults are schedules")
    }

    /// Returns true if the expression restricts hours or days, whose meaning depends on the zone.
    pub fn depends_on_zone(&self) -> bool {
        self.names_hours_or_days
    }

    /// Returns the expression as written, without surrounding blanks.
    pub fn as_str(&self) -> &str {
        &self.expression
    }

    /// Returns the earliest firing strictly after `after`, in whole seconds.
    ///
    /// Supports the years -9999 to 9999. Returns `None` only if the next firing is after
    /// [`Timestamp::MAX`].
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let offset = self.zone.to_offset(after);
        let wall = offset.to_datetime(after);
        let onward = self.onward(wall, after);
        if let AmbiguousOffset::Fold { before, after: later } =
            self.zone.to_ambiguous_timestamp(wall).offset()
            && before == offset
            && self.repeats
        {
            // Continuing from the wall clock would skip the second pass of the repeated times.
            return onward.into_iter().chain(self.in_second_pass(after, later)).min();
        }
        onward
    }

    /// Returns the first firing after `after`, reading the calendar from `wall`.
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

    /// Returns the first firing in the second pass of a repeated hour.
    fn in_second_pass(&self, after: Timestamp, offset: Offset) -> Option<Timestamp> {
        let turn = self.transition_to(offset, after)?;
        let due = self.next_wall(offset.to_datetime(turn))?;
        self.instants(due)?.into_iter().find(|&at| at >= turn)
    }

    /// Returns the instants at which a wall-clock time fires, in order; a single one is returned twice.
    fn instants(&self, due: DateTime) -> Option<[Timestamp; 2]> {
        let one = |at: Timestamp| [at, at];
        match self.zone.to_ambiguous_timestamp(due).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(due).ok().map(one),
            AmbiguousOffset::Gap { after, .. } => {
                // With the offset after the gap, a skipped time is an instant before the gap.
                self.transition_to(after, after.to_timestamp(due).ok()?).map(one)
            }
            AmbiguousOffset::Fold { before, after } => {
                let first = before.to_timestamp(due).ok()?;
                if self.repeats { Some([first, after.to_timestamp(due).ok()?]) } else { Some(one(first)) }
            }
        }
    }

    /// Returns the next change of the clocks to `offset`.
    fn transition_to(&self, offset: Offset, after: Timestamp) -> Option<Timestamp> {
        self.zone.following(after).find(|change| change.offset() == offset).map(|change| change.timestamp())
    }

    /// Returns the first matching wall-clock time at or after `from`, less its fraction of a second.
    ///
    /// The length and the first weekday determine the calendar of a year, so a year outside the cron
    /// crate's range is replaced by a supported year with the same calendar.
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

/// The expression as written.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expression)
    }
}

/// Returns the five fields of a nickname, and any other text unchanged.
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

fn next_second(wall: DateTime) -> Option<DateTime> {
    wall.checked_add(SignedDuration::from_secs(1)).ok()
}

/// Returns a supported year with the length and first weekday of `year`. Any 28 consecutive years from
/// 1972 on include all fourteen calendars.
fn known_year_like(year: i16) -> Option<i16> {
    let kind = |year| Date::new(year, 1, 1).ok().map(|first| (first.in_leap_year(), first.weekday()));
    let wanted = kind(year)?;
    (1972..2000).find(|&known| kind(known) == Some(wanted))
}

/// Converts a wall-clock time to a type of the cron crate, as if in UTC, because jiff handles zones.
fn chrono_time(wall: DateTime, year: i16) -> Option<chrono::DateTime<Utc>> {
    let [month, day, hour, minute, second] =
        [wall.month(), wall.day(), wall.hour(), wall.minute(), wall.second()]
            .map(|part| u32::from(part.unsigned_abs()));
    let date = NaiveDate::from_ymd_opt(year.into(), month, day)?;
    Some(date.and_hms_opt(hour, minute, second)?.and_utc())
}

/// Reverses [`chrono_time`], in `year`.
fn civil_time(due: chrono::DateTime<Utc>, year: i16) -> Option<DateTime> {
    let part = |part: u32| i8::try_from(part).ok();
    let (month, day) = (part(due.month())?, part(due.day())?);
    DateTime::new(year, month, day, part(due.hour())?, part(due.minute())?, part(due.second())?, 0).ok()
}
