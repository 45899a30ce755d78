//! Schedules against crontab(5), changes of the clocks, and a minute-by-minute reference.

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

/// Compares the first firings after `after` (RFC 3339), as local times of the zone.
#[track_caller]
fn check(expression: &str, zone_name: &str, after: &str, expected: &[&str]) {
    let zone = zone(zone_name);
    let schedule = schedule(expression, &zone);
    let firings = std::iter::successors(Some(after.parse().unwrap()), |at| schedule.next_after(*at));
    let said: Vec<String> = firings
        .skip(1)
        .take(expected.len())
        .map(|at| at.to_zoned_datetime(zone.clone()).strftime("%F %T%:z").to_string())
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
    check_utc("0 0 * * 5-7", start, &["2026-07-03 00:00:00", "2026-07-04 00:00:00", "2026-07-05 00:00:00"]);
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
    check_utc("0 0 13 * fri", start, &["2026-07-10 00:00:00", "2026-07-13 00:00:00", "2026-07-17 00:00:00"]);
    check_utc("0 0 13 * *", start, &["2026-07-13 00:00:00", "2026-08-13 00:00:00"]);
    check_utc("0 0 * * fri", start, &["2026-07-10 00:00:00", "2026-07-17 00:00:00"]);
    // Begins with a star, so not restricted: Mondays on odd days.
    check_utc("0 0 */2 * mon", start, &["2026-07-13 00:00:00", "2026-07-27 00:00:00"]);
    // One of the two never comes, and the other still fires.
    check_utc("0 0 30 2 mon", start, &["2027-02-01 00:00:00", "2027-02-08 00:00:00"]);
}

#[test]
fn errors_name_the_invalid_part() {
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
fn displays_the_expression_as_written() {
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
        let leap_days = (0..120).filter_map(|years| date(century + years, 2, 1).with().day(29).build().ok());
        let expected: Vec<DateTime> =
            leap_days.filter(|day| day.weekday() == Weekday::Sunday).map(|day| day.at(0, 0, 0, 0)).collect();
        let schedule = schedule(sundays, &TimeZone::UTC);
        let start = first.to_zoned_datetime(TimeZone::UTC).unwrap().timestamp();
        let firings: Vec<DateTime> =
            firings(&schedule, start).map(|at| Offset::UTC.to_datetime(at)).take(expected.len()).collect();
        assert!(!expected.is_empty());
        assert_eq!(firings, expected);
    }
}

#[test]
fn handles_extreme_times() {
    let five_minutes = schedule("*/5 * * * *", &TimeZone::UTC);
    assert_eq!(five_minutes.next_after(Timestamp::MAX), None);
    assert!(five_minutes.next_after(Timestamp::MIN).unwrap().as_second() - Timestamp::MIN.as_second() <= 300);
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

/// A second reading of crontab(5): checks each element of a field for the value.
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

/// A crontab line of five fields, as crontab(5) reads it.
struct Job {
    /// For each field, the values that it matches.
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

/// Returns all firings in `[start, start + days)`, minute by minute, by the rules of [`Schedule`].
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
fn check_reference(expression: &str, zone_name: &str, start: Timestamp, days: i64, dice: &mut Dice) -> usize {
    let zone = zone(zone_name);
    let Ok(schedule) = Schedule::parse(expression, &zone) else {
        // For example 31 February. The reference must have no firing either.
        assert_eq!(reference(expression, &zone, start, days), [], "{expression}");
        return 0;
    };
    let end = start + SignedDuration::from_hours(24 * days);
    let second_before = start - SignedDuration::from_secs(1);
    let expected = reference(expression, &zone, start, days);
    let said: Vec<Timestamp> =
        firings(&schedule, second_before).take_while(|&at| at < end).take(expected.len() + 1).collect();
    assert_eq!(said, expected, "{expression} in {zone_name} from {start}");
    // The answer does not depend on the time of the question.
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
