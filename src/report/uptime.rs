//! The share of time without an outage or issue, by Apple's own times and as Apple posted them.
//!
//! Counts only time in which statusd could read the feed. The rest is stated, not guessed.

use jiff::Timestamp;

use super::coverage::coverage;
use super::mark::interval;
use crate::store::{PostedOutage, Span};

/// Seconds of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uptime {
    /// The feed was readable.
    pub readable_s: i64,
    pub unreadable_s: i64,
    pub not_polled_s: i64,
    /// The feed was readable, and by Apple's times there was a problem.
    pub down_s: i64,
    /// The feed was readable and listed a problem as ongoing.
    pub posted_s: i64,
}

impl Uptime {
    /// Computes the figures of one service from `from` to `to`.
    pub fn new(outages: &[&PostedOutage], spans: &[Span], from: Timestamp, to: Timestamp) -> Uptime {
        let seen = coverage(spans, from, to);
        let readable = merged(
            spans
                .iter()
                .filter(|span| span.unreadable.is_none())
                .map(|span| (span.from.max(from), span.to.min(to))),
        );
        let problems = || outages.iter().filter(|posted| !posted.stored.outage.kind.is_maintenance());
        let apple = problems().filter_map(|posted| interval(&posted.stored.outage, to));
        let listed = problems().map(|posted| {
            let outage = &posted.stored.outage;
            let until = if outage.is_over() { posted.over_seen_at.unwrap_or(outage.first_seen) } else { to };
            (outage.first_seen, until)
        });
        Uptime {
            readable_s: seen.readable_s,
            unreadable_s: seen.unreadable_s,
            not_polled_s: seen.whole_s - seen.readable_s - seen.unreadable_s,
            down_s: common_s(&merged(apple), &readable),
            posted_s: common_s(&merged(listed), &readable),
        }
    }

    /// Returns the share without a problem by Apple's times, for example `99.72 %`.
    pub fn by_apple(&self) -> Option<String> {
        share(self.readable_s - self.down_s, self.readable_s)
    }

    /// Returns the share in which Apple listed no problem.
    pub fn as_posted(&self) -> Option<String> {
        share(self.readable_s - self.posted_s, self.readable_s)
    }
}

/// Returns a share with two decimals. Rounds down, so that only a period without a problem has 100 %.
fn share(part: i64, whole: i64) -> Option<String> {
    let hundredths = part.max(0).checked_mul(10_000)?.checked_div(whole)?;
    Some(match hundredths % 100 {
        0 if hundredths == 10_000 => "100 %".to_owned(),
        rest => format!("{}.{rest:02} %", hundredths / 100),
    })
}

type Interval = (Timestamp, Timestamp);

/// Returns the intervals in order, without overlaps.
fn merged(intervals: impl Iterator<Item = Interval>) -> Vec<Interval> {
    let mut sorted: Vec<Interval> = intervals.filter(|(from, to)| from < to).collect();
    sorted.sort_unstable();
    let mut merged: Vec<Interval> = Vec::new();
    for (from, to) in sorted {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            Some(_) | None => merged.push((from, to)),
        }
    }
    merged
}

/// Returns the seconds that both lists of [`merged`] intervals contain.
fn common_s(one: &[Interval], other: &[Interval]) -> i64 {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut seconds = 0;
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        seconds += a.1.min(b.1).duration_since(a.0.max(b.0)).as_secs().max(0);
        if a.1 <= b.1 {
            one.next();
        } else {
            other.next();
        }
    }
    seconds
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Edition, EventKind, FeedId, Outage, OverBy, Phase};
    use crate::store::{Announced, StoredOutage};

    fn at(clock: &str) -> Timestamp {
        format!("2026-05-05T{clock}:00Z").parse().expect("a time")
    }

    /// An event by Apple's times, and the times of the polls that saw it and its end.
    fn event(kind: EventKind, apple: [&str; 2], seen: [&str; 2]) -> PostedOutage {
        let outage = Outage {
            service: "iCloud Backup".to_owned(),
            message_id: "1".to_owned(),
            occurrence: 1,
            kind,
            phase: Phase::Over(OverBy::Apple),
            start: Some(at(apple[0])),
            end: Some(at(apple[1])),
            first_seen: at(seen[0]),
            users_affected: None,
            message: String::new(),
            counts: BTreeMap::new(),
        };
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        let stored = StoredOutage { feed, outage, was_polling: true, announced: Announced::Never };
        PostedOutage { stored, over_seen_at: Some(at(seen[1])) }
    }

    /// Ten hours, of which statusd polled nine, one of them in vain.
    #[track_caller]
    fn check(outages: &[PostedOutage], expected_min: (i64, i64), shares: (&str, &str)) {
        let span = |from, to, unreadable: bool| Span {
            from: at(from),
            to: at(to),
            unreadable: unreadable.then(|| "no network".to_owned()),
        };
        let spans =
            [span("00:00", "04:00", false), span("04:00", "05:00", true), span("06:00", "10:00", false)];
        let outages: Vec<&PostedOutage> = outages.iter().collect();
        let uptime = Uptime::new(&outages, &spans, at("00:00"), at("10:00"));
        let hours =
            [uptime.readable_s, uptime.unreadable_s, uptime.not_polled_s].map(|seconds| seconds / 3600);
        assert_eq!(hours, [8, 1, 1]);
        assert_eq!((uptime.down_s / 60, uptime.posted_s / 60), expected_min);
        let shown = (uptime.by_apple(), uptime.as_posted());
        assert_eq!(shown, (Some(shares.0.to_owned()), Some(shares.1.to_owned())));
    }

    #[test]
    fn apples_times_and_posts_differ() {
        let late = event(EventKind::Outage, ["01:00", "03:00"], ["02:30", "03:05"]);
        check(std::slice::from_ref(&late), (120, 35), ("75.00 %", "92.70 %"));
        // Apple posted it after its end.
        let missed = event(EventKind::Issue, ["07:00", "07:30"], ["09:00", "09:00"]);
        check(&[late, missed], (150, 35), ("68.75 %", "92.70 %"));
    }

    #[test]
    fn no_second_counts_twice_and_maintenance_does_not_count() {
        let one = event(EventKind::Outage, ["01:00", "03:00"], ["01:00", "03:00"]);
        let other = event(EventKind::Issue, ["02:00", "03:00"], ["02:00", "03:00"]);
        let work = event(EventKind::Maintenance, ["06:00", "09:00"], ["06:00", "09:00"]);
        check(&[one, other, work], (120, 120), ("75.00 %", "75.00 %"));
    }

    #[test]
    fn time_without_a_readable_feed_does_not_count() {
        check(
            &[event(EventKind::Outage, ["03:00", "07:00"], ["03:00", "07:00"])],
            (120, 120),
            ("75.00 %", "75.00 %"),
        );
        check(&[], (0, 0), ("100 %", "100 %"));
        assert_eq!(share(99_999, 100_000).as_deref(), Some("99.99 %"));
        assert_eq!(share(0, 0), None);
    }
}
