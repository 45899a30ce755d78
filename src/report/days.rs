//! The days of a bar: the worst state of each, and the hours that polls cover.
//!
//! Pure. Days are those of the reader's time zone.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::coverage::{CoverageShares, coverage};
use super::mark::{Mark, interval, mark_of, touches};
use crate::model::Outage;
use crate::store::Span;

/// A day with its coverage, which is the same for all services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoveredDay {
    pub date: Date,
    pub from: Timestamp,
    /// The end of the day, or now.
    pub to: Timestamp,
    pub seen: CoverageShares,
}

/// Consecutive days with the same mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayRun {
    pub mark: Mark,
    /// The numbers of the first and the last day.
    pub first: usize,
    pub last: usize,
}

/// Returns the last `count` days until now, oldest first.
pub fn covered_days(count: usize, spans: &[Span], now: Timestamp, zone: &TimeZone) -> Vec<CoveredDay> {
    let today = now.to_zoned_datetime(zone.clone()).date();
    let date = |ago: usize| today.saturating_sub(i64::try_from(ago).unwrap_or(0).days());
    let midnight =
        |date: Date| date.to_zoned_datetime(zone.clone()).map_or(now, |midnight| midnight.timestamp());
    (0..count)
        .rev()
        .map(|ago| {
            let (from, next) = (midnight(date(ago)), midnight(date(ago).saturating_add(1.day())));
            let to = next.min(now);
            CoveredDay { date: date(ago), from, to, seen: coverage(spans, from, to) }
        })
        .collect()
}

/// Returns the mark of each day: the worst event in it, else what polls showed. `unlisted_since` is the time
/// since which Apple does not list the service.
pub fn day_marks(
    days: &[CoveredDay],
    outages: &[&Outage],
    unlisted_since: Option<Timestamp>,
    now: Timestamp,
) -> Vec<Mark> {
    let trouble: Vec<(Mark, (Timestamp, Timestamp))> =
        outages.iter().filter_map(|outage| Some((mark_of(&outage.kind), interval(outage, now)?))).collect();
    let mark = |day: &CoveredDay| {
        let of_day = trouble.iter().filter(|(_, interval)| touches(*interval, day.from, day.to));
        let worst = of_day.map(|(mark, _)| *mark).max();
        let is_unlisted = unlisted_since.is_some_and(|since| since <= day.from);
        worst.unwrap_or_else(|| Mark::without_event(&day.seen, is_unlisted))
    };
    days.iter().map(mark).collect()
}

/// Groups consecutive days with the same mark.
pub fn day_runs(marks: &[Mark]) -> Vec<DayRun> {
    let mut runs: Vec<DayRun> = Vec::new();
    for (day, mark) in marks.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if run.mark == *mark => run.last = day,
            Some(_) | None => runs.push(DayRun { mark: *mark, first: day, last: day }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{EventKind, OverBy, Phase};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn event(kind: EventKind, start: &str, end: &str) -> Outage {
        Outage {
            service: "iCloud Backup".to_owned(),
            message_id: "1".to_owned(),
            occurrence: 1,
            kind,
            phase: Phase::Over(OverBy::Apple),
            start: Some(at(start)),
            end: Some(at(end)),
            first_seen: at(start),
            users_affected: None,
            message: String::new(),
            counts: BTreeMap::new(),
        }
    }

    fn span(from: &str, to: &str, unreadable: bool) -> Span {
        Span { from: at(from), to: at(to), unreadable: unreadable.then(|| "no network".to_owned()) }
    }

    /// Ten days until 5 May at noon. statusd began on 27 April, could not read the feed on 29 April, and
    /// was off on 1 May.
    fn days(zone: &TimeZone) -> Vec<CoveredDay> {
        let spans = [
            span("2026-04-27T00:00:00Z", "2026-04-29T00:00:00Z", false),
            span("2026-04-29T00:00:00Z", "2026-04-30T00:00:00Z", true),
            span("2026-04-30T00:00:00Z", "2026-05-01T00:00:00Z", false),
            span("2026-05-02T00:00:00Z", "2026-05-05T12:00:00Z", false),
        ];
        covered_days(10, &spans, at("2026-05-05T12:00:00Z"), zone)
    }

    #[track_caller]
    fn check(outages: &[Outage], unlisted: Option<&str>, expected: &str) {
        let outages: Vec<&Outage> = outages.iter().collect();
        let marks = day_marks(&days(&TimeZone::UTC), &outages, unlisted.map(at), at("2026-05-05T12:00:00Z"));
        let letter = |mark: &Mark| match mark {
            Mark::Future => ' ',
            Mark::NotPolling => '-',
            Mark::Unknown => '?',
            Mark::Fine => '.',
            Mark::Maintenance => 'm',
            Mark::Issue => '!',
            Mark::Outage => '#',
        };
        assert_eq!(marks.iter().map(letter).collect::<String>(), expected);
    }

    #[test]
    fn a_day_has_its_worst_state_and_is_never_fine_without_polls() {
        check(&[], None, "-..?.-....");
        let down = event(EventKind::Outage, "2026-05-03T23:00:00Z", "2026-05-04T01:00:00Z");
        let work = event(EventKind::Maintenance, "2026-05-02T01:00:00Z", "2026-05-04T12:00:00Z");
        let issue = event(EventKind::Issue, "2026-05-03T01:00:00Z", "2026-05-03T02:00:00Z");
        check(&[issue, down, work], None, "-..?.-m##.");
        // Apple posted it later: the day without polls is known to be bad.
        check(
            &[event(EventKind::Outage, "2026-05-01T01:00:00Z", "2026-05-01T02:00:00Z")],
            None,
            "-..?.#....",
        );
        check(&[], Some("2026-05-04T00:00:00Z"), "-..?.-..??");
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let days = days(&TimeZone::get("Asia/Tokyo").expect("a zone"));
        let last = days.last().expect("days");
        assert_eq!((last.date.to_string(), last.from), ("2026-05-05".to_owned(), at("2026-05-04T15:00:00Z")));
        assert_eq!((last.to, last.seen.whole_s), (at("2026-05-05T12:00:00Z"), 21 * 3600));
    }

    #[test]
    fn equal_days_form_runs() {
        let runs = day_runs(&[Mark::Fine, Mark::Fine, Mark::Outage, Mark::Fine]);
        let shown: Vec<(Mark, usize, usize)> =
            runs.iter().map(|run| (run.mark, run.first, run.last)).collect();
        assert_eq!(shown, [(Mark::Fine, 0, 1), (Mark::Outage, 2, 2), (Mark::Fine, 3, 3)]);
    }
}
