//! Apple's `datePosted` and its kin: dates written for people, in the locale's own order.
//!
//! Needed only to tell which of two copies of the document is newer, so an unknown zone counts as
//! UTC: wrong by the same hours in every copy. Never an error: what cannot be read is no stamp.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde_json::Value;

/// How to read `04/05/2021`, which the text itself does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    MonthFirst,
    DayFirst,
}

/// Zones that occur or may occur in Apple's texts, in hours east of UTC.
const ZONES: [(&str, i8); 22] = [
    ("UTC", 0),
    ("GMT", 0),
    ("Z", 0),
    ("PST", -8),
    ("PDT", -7),
    ("MST", -7),
    ("MDT", -6),
    ("CST", -6),
    ("CDT", -5),
    ("EST", -5),
    ("EDT", -4),
    ("BRT", -3),
    ("WET", 0),
    ("WEST", 1),
    ("BST", 1),
    ("CET", 1),
    ("CEST", 2),
    ("EET", 2),
    ("EEST", 3),
    ("MSK", 3),
    ("JST", 9),
    ("KST", 9),
];

const AFTERNOON: [&str; 4] = ["PM", "午後", "下午", "오후"];
const FORENOON: [&str; 4] = ["AM", "午前", "上午", "오전"];

/// The newest `datePosted` among all events: the publish time of the document.
pub fn newest(services: &[Value]) -> Option<Timestamp> {
    let events = || {
        let lists = services.iter().filter_map(|service| service.get("events")?.as_array());
        lists.flatten()
    };
    let order = order(events());
    events().filter_map(|event| parse(event.get("datePosted")?.as_str()?, order)).max()
}

/// The order of day and month follows from events whose start stands there both as text and as a
/// number: whichever reading lands on the number is right. Where they disagree, one such event with
/// the month first decides, wherever it stands: the order of events means nothing.
fn order<'a>(events: impl Iterator<Item = &'a Value>) -> Order {
    let mut order = Order::MonthFirst;
    for event in events {
        let (Some(text), Some(millis)) = (
            event.get("startDate").and_then(Value::as_str),
            event.get("epochStartDate").and_then(Value::as_i64),
        ) else {
            continue;
        };
        // `30/05` has one reading only, which [`parse`] takes whatever it is asked for.
        let first: u32 = text
            .trim_start()
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .map_or(0, |digits| digits.parse().unwrap_or(0));
        let near = |order| {
            if order == Order::MonthFirst && (13..=31).contains(&first) {
                return false;
            }
            parse(text, order).is_some_and(|start| (start.as_millisecond() - millis).abs() < 36 * 3_600_000)
        };
        match (near(Order::MonthFirst), near(Order::DayFirst)) {
            (true, false) => return Order::MonthFirst,
            (false, true) => order = Order::DayFirst,
            _ => {}
        }
    }
    order
}

/// `04/26/2021 08:15 PDT`, `2021/04/27 0:15 JST`, `26.04.2021 08:15 UTC+1`, `8:15 PM` and the like.
pub fn parse(text: &str, order: Order) -> Option<Timestamp> {
    let (numbers, words, offset) = tokens(text)?;
    let &[a, b, c, ref time @ ..] = numbers.as_slice() else { return None };
    let dotted = text.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('.');
    let (year, month, day) = match (a, b, c) {
        (year, month, day) if year > 31 => (year, month, day),
        (day, month, year) if order == Order::DayFirst || day > 12 || dotted => (year, month, day),
        (month, day, year) => (year, month, day),
    };
    let hour = time.first().copied().unwrap_or(0);
    let minute = time.get(1).copied().unwrap_or(0);
    let second = time.get(2).copied().unwrap_or(0);
    let hour = match hour {
        1..12 if words.iter().any(|word| AFTERNOON.contains(&word.as_str())) => hour + 12,
        12 if words.iter().any(|word| FORENOON.contains(&word.as_str())) => 0,
        _ => hour,
    };
    let zone = words.iter().find_map(|word| ZONES.iter().find(|(name, _)| name == word));
    let offset = offset.unwrap_or(zone.map_or(0, |(_, hours)| i32::from(*hours) * 3600));
    let civil = DateTime::new(
        i16::try_from(year).ok()?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
        i8::try_from(hour).ok()?,
        i8::try_from(minute).ok()?,
        i8::try_from(second).ok()?,
        0,
    );
    Offset::from_seconds(offset).ok()?.to_timestamp(civil.ok()?).ok()
}

/// The numbers of date and time, the upper-cased words, and a numeric offset (`GMT+9`, `-0700`) in
/// seconds. `None` for more digits than a date has.
fn tokens(text: &str) -> Option<(Vec<u32>, Vec<String>, Option<i32>)> {
    const MAX_CHARS: usize = 64;
    let mut numbers = Vec::new();
    let mut words = Vec::new();
    let chars: Vec<char> = text.chars().take(MAX_CHARS).collect();
    let run = |from: usize, of: fn(char) -> bool| chars[from..].iter().take_while(|c| of(**c)).count();
    let mut at = 0;
    while at < chars.len() {
        let digits = run(at, |c| c.is_ascii_digit());
        let letters = run(at, char::is_alphabetic);
        // A sign is an offset only behind the time of day; before it, it separates a date.
        if matches!(chars[at], '+' | '-' | '\u{2212}') && numbers.len() >= 5 {
            let offset = offset_s(&chars[at + 1..])?;
            return Some((numbers, words, Some(if chars[at] == '+' { offset } else { -offset })));
        } else if digits > 0 {
            numbers.push(chars[at..at + digits].iter().collect::<String>().parse().ok()?);
        } else if letters > 0 {
            words.push(chars[at..at + letters].iter().collect::<String>().to_uppercase());
        }
        at += digits.max(letters).max(1);
    }
    Some((numbers, words, None))
}

/// `9`, `09`, `0930`, `09:30` in seconds.
fn offset_s(chars: &[char]) -> Option<i32> {
    let digits: Vec<i32> = chars
        .iter()
        .take_while(|c| c.is_ascii_digit() || **c == ':')
        .filter_map(|c| c.to_digit(10)?.try_into().ok())
        .collect();
    match digits.as_slice() {
        [h] => Some(h * 3600),
        [h1, h2] => Some((h1 * 10 + h2) * 3600),
        [h1, h2, m1, m2] => Some((h1 * 10 + h2) * 3600 + (m1 * 10 + m2) * 60),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, order: Order, expected: &str) {
        let read = parse(text, order).map_or("none".to_owned(), |time| time.to_string());
        assert_eq!(read, expected, "{text}");
    }

    #[test]
    fn dates_of_many_locales() {
        use Order::{DayFirst, MonthFirst};
        check("04/26/2021 08:15 PDT", MonthFirst, "2021-04-26T15:15:00Z");
        check("12/26/2021 08:15 PST", MonthFirst, "2021-12-26T16:15:00Z");
        check("2021/04/27 00:15 JST", MonthFirst, "2021-04-26T15:15:00Z");
        check("26.04.2021 08:15 MESZ", MonthFirst, "2021-04-26T08:15:00Z");
        check("05.04.2021 08:15 CEST", MonthFirst, "2021-04-05T06:15:00Z");
        check("05/04/2021 08:15 UTC", DayFirst, "2021-04-05T08:15:00Z");
        check("05/04/2021 08:15 UTC", MonthFirst, "2021-05-04T08:15:00Z");
        check("2021-04-05 08:15 GMT+9", MonthFirst, "2021-04-04T23:15:00Z");
        check("2021-04-05 08:15:30 -07:30", MonthFirst, "2021-04-05T15:45:30Z");
        check("04/26/2021 8:15 PM PDT", MonthFirst, "2021-04-27T03:15:00Z");
        check("04/26/2021 12:15 am UTC", MonthFirst, "2021-04-26T00:15:00Z");
        check("04/26/2021", MonthFirst, "2021-04-26T00:00:00Z");
    }

    #[test]
    fn what_is_no_date_is_no_stamp() {
        for text in
            ["", "soon", "99/99/9999 99:99", "04/26", "99999999999999999999/1/1", "2021/04/27 00:15 +9999999"]
        {
            check(text, Order::MonthFirst, "none");
        }
    }

    #[test]
    fn a_day_above_twelve_says_that_the_day_comes_first() {
        let start = Timestamp::from_second(1_780_128_000).expect("30 May 2026").as_millisecond();
        let services = serde_json::json!([{"events": [
            {"datePosted": "01/06/2026 09:00 UTC", "startDate": "30/05/2026 08:00 UTC", "epochStartDate": start},
        ]}]);
        let stamp = newest(services.as_array().expect("a list")).expect("a stamp");
        assert_eq!(stamp.to_string(), "2026-06-01T09:00:00Z");
    }

    #[test]
    fn the_number_beside_the_text_tells_day_from_month() {
        let services = |posted: &str, start: &str| {
            serde_json::json!([{"serviceName": "A", "events": [
                {"datePosted": posted, "startDate": start, "epochStartDate": 1_617_610_500_000_i64},
            ]}])
        };
        let read = |value: Value| newest(value.as_array().expect("a list")).expect("a stamp").to_string();
        assert_eq!(read(services("06/04/2021 08:15 UTC", "05/04/2021 08:15 UTC")), "2021-04-06T08:15:00Z");
        assert_eq!(read(services("04/06/2021 08:15 UTC", "04/05/2021 08:15 UTC")), "2021-04-06T08:15:00Z");
    }
}
