//! The share of a period that polls cover.

use jiff::Timestamp;

use crate::store::Span;

/// The coverage of a period by polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoverageShares {
    pub whole_s: i64,
    pub readable_s: i64,
    pub unreadable_s: i64,
}

/// Computes the coverage of the period from `from` to `to`.
pub fn coverage(spans: &[Span], from: Timestamp, to: Timestamp) -> CoverageShares {
    let mut seen =
        CoverageShares { whole_s: to.duration_since(from).as_secs().max(0), readable_s: 0, unreadable_s: 0 };
    // Spans overlap after the clock was set back; no second counts twice.
    let mut counted = from;
    for span in spans {
        let (begin, end) = (span.from.max(counted), span.to.min(to));
        let seconds = end.duration_since(begin).as_secs().max(0);
        if seconds == 0 {
            continue;
        }
        counted = end;
        match span.unreadable {
            None => seen.readable_s += seconds,
            Some(_) => seen.unreadable_s += seconds,
        }
    }
    seen
}

/// Extends the newest span to now if the daemon is running: a poll without news writes nothing, so the span
/// may end up to an hour ago.
pub fn extend_to_now(mut spans: Vec<Span>, is_running: bool, now: Timestamp) -> Vec<Span> {
    if let Some(last) = spans.last_mut().filter(|_| is_running) {
        last.to = last.to.max(now);
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn span(from: &str, to: &str, unreadable: bool) -> Span {
        Span { from: at(from), to: at(to), unreadable: unreadable.then(|| "no network".to_owned()) }
    }

    #[test]
    fn coverage_counts_each_second_once() {
        let overlapping = [
            span("2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z", false),
            span("2026-05-01T12:00:00Z", "2026-05-03T00:00:00Z", true),
        ];
        let seen = coverage(&overlapping, at("2026-05-01T00:00:00Z"), at("2026-05-05T00:00:00Z"));
        assert_eq!(seen, CoverageShares { whole_s: 4 * 86_400, readable_s: 86_400, unreadable_s: 86_400 });
    }

    #[test]
    fn a_running_daemon_extends_coverage_to_now() {
        let now = at("2026-05-05T12:40:00Z");
        let last = span("2026-04-22T00:00:00Z", "2026-05-05T12:00:00Z", false);
        assert_eq!(extend_to_now(vec![last.clone()], true, now)[0].to, now);
        assert_eq!(extend_to_now(vec![last.clone()], false, now), [last]);
    }
}
