//! Rule 12: a change counts once two polls at least 30 s apart have shown it.
//!
//! Exempt are the first document of a database, and absences, which need several polls anyway.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::comparison::Comparison;
use crate::model::{ChangeKind, ServiceKey};

/// Minimum time between two observations that confirm each other, because a cache repeats the same
/// wrong copy within seconds.
pub const CONFIRM_APART_S: i64 = 30;

/// Unconfirmed observations. Not stored: after a restart the next polls show them again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// When each unconfirmed change was first seen.
    pub(super) first_seen: BTreeMap<Candidate, Timestamp>,
    /// Seconds awake with an unreadable feed by one fault, in this run of statusd.
    pub(super) unreadable_s: u64,
}

impl Pending {
    /// Returns when the oldest unconfirmed change was first seen.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.first_seen.values().min().copied()
    }
}

/// The identity of a change between two observations. A moved maintenance includes its new times.
pub(super) type Candidate = (ServiceKey, String, u32, ChangeKind, Times);
type Times = Option<(Option<Timestamp>, Option<Timestamp>)>;

impl Comparison<'_> {
    /// Returns the time of the first observation once a second one has confirmed it.
    pub(super) fn confirmed(&mut self, candidate: Candidate) -> Option<Timestamp> {
        // A first observation in the future means that the clock was set back: start again.
        let first =
            self.before.get(&candidate).copied().filter(|first| *first <= self.now).unwrap_or(self.now);
        if self.now.duration_since(first).as_secs() >= CONFIRM_APART_S {
            self.waiting.remove(&candidate);
            return Some(first);
        }
        self.waiting.insert(candidate, first);
        None
    }
}
