//! What the loops of the daemon count since its start, for `/metrics`.
//!
//! Not in the database, because a poll without changes writes nothing. Prometheus expects counters to begin
//! again at a restart.

use std::collections::BTreeMap;
use std::time::Duration;

/// The result of a fetch of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FetchResult {
    /// A new document.
    Changed,
    /// The server answers "not modified".
    Unchanged,
    /// An older document than the newest.
    Stale,
    Failed,
}

impl FetchResult {
    pub const ALL: [FetchResult; 4] =
        [FetchResult::Changed, FetchResult::Unchanged, FetchResult::Stale, FetchResult::Failed];

    /// Returns the word in `/metrics`.
    pub fn as_str(self) -> &'static str {
        match self {
            FetchResult::Changed => "changed",
            FetchResult::Unchanged => "unchanged",
            FetchResult::Stale => "stale",
            FetchResult::Failed => "failed",
        }
    }
}

/// The result of an attempt to deliver a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttemptResult {
    Sent,
    /// It failed, and is tried again.
    Retry,
    Refused,
}

impl AttemptResult {
    pub const ALL: [AttemptResult; 3] = [AttemptResult::Sent, AttemptResult::Retry, AttemptResult::Refused];

    /// Returns the word in `/metrics`.
    pub fn as_str(self) -> &'static str {
        match self {
            AttemptResult::Sent => "sent",
            AttemptResult::Retry => "retry",
            AttemptResult::Refused => "refused",
        }
    }
}

/// Numbers of values up to each bound, and their sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Inclusive, ascending.
    bounds: &'static [f64],
    /// Not cumulative. One more than bounds.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    pub fn new(bounds: &'static [f64]) -> Histogram {
        Histogram { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    pub fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }

    /// Returns each bound with the number of values up to it. The last bound is infinite.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(&self.counts).scan(0, |total, (bound, count)| {
            *total += count;
            Some((bound, *total))
        })
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum(&self) -> f64 {
        self.sum
    }
}

/// Seconds. A fetch ends after 30 s at the latest.
const FETCH_BOUNDS_S: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Counts since the start of the daemon.
#[derive(Clone, Debug)]
pub struct ActivityCounts {
    pub fetches: BTreeMap<FetchResult, u64>,
    pub fetch_duration: Histogram,
    /// By channel and result. Channels without an attempt are missing.
    pub attempts: BTreeMap<(String, AttemptResult), u64>,
}

impl ActivityCounts {
    pub fn none() -> ActivityCounts {
        ActivityCounts {
            fetches: BTreeMap::new(),
            fetch_duration: Histogram::new(FETCH_BOUNDS_S),
            attempts: BTreeMap::new(),
        }
    }

    pub fn count_fetch(&mut self, result: FetchResult, took: Duration) {
        *self.fetches.entry(result).or_default() += 1;
        self.fetch_duration.observe(took.as_secs_f64());
    }

    pub fn count_attempt(&mut self, channel: &str, result: AttemptResult) {
        *self.attempts.entry((channel.to_owned(), result)).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_in_every_bucket_from_its_bound_on() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 9.0] {
            histogram.observe(value);
        }
        let buckets: Vec<(f64, u64)> = histogram.cumulative().collect();
        assert_eq!(buckets, [(1.0, 2), (2.0, 3), (f64::INFINITY, 4)]);
        assert_eq!((histogram.count(), histogram.sum()), (4, 12.0));
    }
}
