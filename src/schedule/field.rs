//! One field of a cron expression: the values that it matches.

use super::ScheduleError;

/// The syntax of one field of an expression.
pub(super) struct Field {
    name: &'static str,
    low: u8,
    high: u8,
    /// The number of distinct values. Days of the week have 7, because 0 and 7 are both Sunday.
    pub(super) cycle: u8,
    /// The names of the values from `low` on; empty if values have no names.
    names: &'static [&'static str],
    /// The number of `low` in the cron crate.
    cron_low: u8,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

pub(super) const SECOND: Field =
    Field { name: "second", low: 0, high: 59, cycle: 60, names: &[], cron_low: 0 };
pub(super) const MINUTE: Field = Field { name: "minute", ..SECOND };
pub(super) const HOUR: Field = Field { name: "hour", high: 23, cycle: 24, ..SECOND };
pub(super) const DAY: Field =
    Field { name: "day of month", low: 1, high: 31, cycle: 31, names: &[], cron_low: 1 };
pub(super) const MONTH: Field =
    Field { name: "month", low: 1, high: 12, cycle: 12, names: &MONTHS, cron_low: 1 };
pub(super) const WEEKDAY: Field =
    Field { name: "day of week", low: 0, high: 7, cycle: 7, names: &WEEKDAYS, cron_low: 1 };

impl Field {
    pub(super) fn parse(&self, text: &str) -> Result<Values<'_>, ScheduleError> {
        let mut bits = 0;
        for item in text.split(',') {
            if item.is_empty() {
                return Err(self.refuse(text, "a value is missing"));
            }
            bits |= self.parse_item(item)?;
        }
        Ok(Values { field: self, bits, starred: text.starts_with('*') })
    }

    /// Parses one element of a list: a value, or `*` or a range with an optional step.
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

    /// Rejects steps longer than the cycle, because `*/90` would fire once an hour.
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

/// Accepts only digits, because `u8::from_str` also accepts a plus sign.
fn parse_digits(text: &str) -> Option<u8> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// The values that one field matches.
pub(super) struct Values<'a> {
    pub(super) field: &'a Field,
    /// Bit 0 is the field's `low`.
    bits: u64,
    /// The text began with `*`.
    pub(super) starred: bool,
}

impl Values<'_> {
    pub(super) fn count(&self) -> u32 {
        self.bits.count_ones()
    }

    /// Returns the values in the syntax of the cron crate.
    pub(super) fn cron_text(&self) -> String {
        let cycle = self.field.cycle;
        if self.count() == u32::from(cycle) {
            return "*".to_owned();
        }
        let matching = (0..cycle).filter(|bit| self.bits >> bit & 1 == 1);
        matching.map(|bit| (self.field.cron_low + bit).to_string()).collect::<Vec<_>>().join(",")
    }
}
