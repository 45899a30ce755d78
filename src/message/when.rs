//! Times and durations as people say them.
//!
//! Times are local to the reader's zone, on a 24-hour clock, with as much of a date as is needed
//! to be clear at `now`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `08:15`, `Tue 5 May 08:15` or `5 May 2024 08:15`, depending on how far it is from `now`.
pub fn when(time: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let local = time.to_zoned(zone.clone());
    let today = now.to_zoned(zone.clone());
    let format = if local.date() == today.date() {
        "%H:%M"
    } else if local.year() == today.year() {
        "%a %-d %b %H:%M"
    } else {
        "%-d %b %Y %H:%M"
    };
    local.strftime(format).to_string()
}

/// From the one time to the other, the second without its date where it is the same day.
pub fn from_to(from: Timestamp, to: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let same_day = from.to_zoned(zone.clone()).date() == to.to_zoned(zone.clone()).date();
    let end = if same_day { when(to, to, zone) } else { when(to, now, zone) };
    format!("from {} to {end}", when(from, now, zone))
}

/// How long, in at most two units: `under a minute`, `45 min`, `1 h 49 min`, `3 days 2 h`. A
/// negative span (clocks, revised times) counts as none.
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
    fn times_carry_the_date_that_they_need() {
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
        let night = from_to(at("2026-05-04T20:00:00Z"), at("2026-05-04T21:00:00Z"), now, &berlin);
        assert_eq!(night, "from Mon 4 May 22:00 to 23:00");
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
