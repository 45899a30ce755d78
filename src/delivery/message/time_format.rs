//! Formats times and durations for people.
//!
//! Times are local to the reader's zone, on a 24-hour clock, with as much of a date as `now` requires.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Returns `08:15`, `Tue 5 May 08:15` or `5 May 2024 08:15`, depending on the distance from `now`. In the
/// hour that is repeated when clocks are set back, adds the zone: `02:30 CEST`.
pub fn when(time: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let local = time.to_zoned_datetime(zone.clone());
    let today = now.to_zoned_datetime(zone.clone());
    let format = if local.date() == today.date() {
        "%H:%M"
    } else if local.year() == today.year() {
        "%a %-d %b %H:%M"
    } else {
        "%-d %b %Y %H:%M"
    };
    let text = local.strftime(format).to_string();
    if is_repeated(time, zone) { format!("{text} {}", local.strftime("%Z")) } else { text }
}

/// Returns true if the local time occurs twice on that day.
pub fn is_repeated(time: Timestamp, zone: &TimeZone) -> bool {
    let local = time.to_zoned_datetime(zone.clone()).datetime();
    zone.to_ambiguous_timestamp(local).is_ambiguous()
}

/// Returns `from 08:15 to 10:04`; the second time has no date if it is on the same day.
pub fn from_to(from: Timestamp, to: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let same_day = from.to_zoned_datetime(zone.clone()).date() == to.to_zoned_datetime(zone.clone()).date();
    let end = if same_day { when(to, to, zone) } else { when(to, now, zone) };
    format!("from {} to {end}", when(from, now, zone))
}

/// Returns `from 08:15 to 10:04`, or the known part of it. An outage that `is_over` without an end must not
/// read as ongoing, and an end before the start is no bound.
pub fn bounds(
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    is_over: bool,
    now: Timestamp,
    zone: &TimeZone,
) -> String {
    let at = |time| when(time, now, zone);
    match (from, to) {
        (Some(from), Some(to)) if to < from => {
            format!("from {}; Apple gives an end before the start", at(from))
        }
        (Some(from), Some(to)) => from_to(from, to, now, zone),
        (Some(from), None) if is_over => format!("from {}; Apple gives no end time", at(from)),
        (Some(from), None) => format!("from {} on", at(from)),
        (None, Some(to)) => format!("until {}", at(to)),
        (None, None) => "at a time Apple does not give".to_owned(),
    }
}

/// Returns the bounds with the duration: `from 08:15 to 10:04 (1 h 49 min)`.
pub fn span(
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    is_over: bool,
    now: Timestamp,
    zone: &TimeZone,
) -> String {
    let bounds = bounds(from, to, is_over, now, zone);
    match from.zip(to) {
        Some((from, to)) if from <= to => format!("{bounds} ({})", lasted(from, to)),
        Some(_) | None => bounds,
    }
}

/// Returns `since 08:15 (1 h 49 min)`. A start in the future is quoted as Apple's claim.
pub fn since(from: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    if from > now {
        return format!("starting at {} according to Apple", when(from, now, zone));
    }
    format!("since {} ({})", when(from, now, zone), lasted(from, now))
}

/// Returns the time of an ongoing event, to follow its kind: `since 08:15 (1 h 49 min)`, for maintenance
/// with the planned end.
pub fn under_way(
    start: Option<Timestamp>,
    planned_end: Option<Timestamp>,
    now: Timestamp,
    zone: &TimeZone,
) -> String {
    let began = start.map_or("without a start time from Apple".to_owned(), |start| since(start, now, zone));
    match planned_end {
        Some(end) => format!("{began}, planned until {}", when(end, now, zone)),
        None => began,
    }
}

/// Returns the duration in at most two units: `under a minute`, `45 min`, `1 h 49 min`, `3 days 2 h`. A
/// negative one (clocks, revised times) counts as zero.
pub fn lasted(from: Timestamp, to: Timestamp) -> String {
    let minutes = to.duration_since(from).as_secs().max(0) / 60;
    let (days, hours, rest) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    let plural = if days == 1 { "" } else { "s" };
    match (days, hours, rest) {
        (0, 0, 0) => "under a minute".to_owned(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} day{plural}"),
        (days, hours, _) => format!("{days} day{plural} {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn times_show_as_much_of_the_date_as_needed() {
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        let now = at("2026-05-05T12:00:00Z");
        let cases = [
            ("2026-05-05T06:15:00Z", "08:15"),
            ("2026-05-04T22:30:00Z", "00:30"),
            ("2026-05-04T06:15:00Z", "Mon 4 May 08:15"),
            ("2024-05-04T06:15:00Z", "4 May 2024 08:15"),
        ];
        for (time, expected) in cases {
            assert_eq!(when(at(time), now, &berlin), expected);
        }
        // The night on which 02:30 occurs twice, and the unambiguous hours around it.
        let autumn = at("2026-10-25T12:00:00Z");
        for (time, expected) in [
            ("2026-10-24T23:59:00Z", "01:59"),
            ("2026-10-25T00:30:00Z", "02:30 CEST"),
            ("2026-10-25T01:30:00Z", "02:30 CET"),
            ("2026-10-25T02:00:00Z", "03:00"),
        ] {
            assert_eq!(when(at(time), autumn, &berlin), expected);
        }
        let hour =
            span(Some(at("2026-10-25T00:30:00Z")), Some(at("2026-10-25T01:30:00Z")), true, autumn, &berlin);
        assert_eq!(hour, "from 02:30 CEST to 02:30 CET (1 h)");
        let night = from_to(at("2026-05-04T20:00:00Z"), at("2026-05-04T21:00:00Z"), now, &berlin);
        assert_eq!(night, "from Mon 4 May 22:00 to 23:00");
    }

    #[test]
    fn a_span_claims_no_more_than_is_known() {
        #[track_caller]
        fn check(from: Option<&str>, to: Option<&str>, is_over: bool, expected: &str) {
            let time = |clock: &str| at(&format!("2026-05-05T{clock}:00Z"));
            let now = time("12:00");
            assert_eq!(span(from.map(time), to.map(time), is_over, now, &TimeZone::UTC), expected);
        }
        check(Some("08:15"), Some("10:04"), true, "from 08:15 to 10:04 (1 h 49 min)");
        check(Some("08:15"), Some("08:15"), true, "from 08:15 to 08:15 (under a minute)");
        check(Some("08:15"), None, true, "from 08:15; Apple gives no end time");
        check(Some("08:15"), None, false, "from 08:15 on");
        check(Some("08:15"), Some("07:00"), true, "from 08:15; Apple gives an end before the start");
        check(None, Some("10:04"), true, "until 10:04");
        check(None, None, true, "at a time Apple does not give");
    }

    #[test]
    fn a_start_in_the_future_is_not_a_since() {
        let (now, zone) = (at("2026-05-05T12:00:00Z"), &TimeZone::UTC);
        let end = Some(at("2026-05-05T14:00:00Z"));
        assert_eq!(since(at("2026-05-05T11:00:00Z"), now, zone), "since 11:00 (1 h)");
        assert_eq!(since(at("2026-05-05T15:00:00Z"), now, zone), "starting at 15:00 according to Apple");
        assert_eq!(under_way(None, end, now, zone), "without a start time from Apple, planned until 14:00");
    }

    #[test]
    fn durations_use_two_units_at_most() {
        let from = at("2026-05-05T00:00:00Z");
        let cases = [
            (-600, "under a minute"),
            (59, "under a minute"),
            (60, "1 min"),
            (3_600, "1 h"),
            (6_540, "1 h 49 min"),
            (86_400, "1 day"),
            (2 * 86_400 + 7_200, "2 days 2 h"),
        ];
        for (seconds, expected) in cases {
            let to = Timestamp::from_second(from.as_second() + seconds).expect("a time");
            assert_eq!(lasted(from, to), expected);
        }
    }
}
