//! Rule 12: a change counts once two polls at least 30 s apart have shown it.
//!
//! Exempt are the first document of a database, and absences, which need several polls anyway.

use std::collections::BTreeMap;

use jiff::Timestamp;

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

/// The unconfirmed changes during one comparison.
pub(super) struct Confirmation {
    /// Of the polls before.
    before: BTreeMap<Candidate, Timestamp>,
    /// Of this poll.
    waiting: BTreeMap<Candidate, Timestamp>,
}

impl Confirmation {
    pub(super) fn begin(pending: &mut Pending) -> Confirmation {
        Confirmation { before: std::mem::take(&mut pending.first_seen), waiting: BTreeMap::new() }
    }

    /// Returns the time of the first observation once a second one has confirmed it.
    pub(super) fn confirm(&mut self, candidate: Candidate, now: Timestamp) -> Option<Timestamp> {
        // A first observation in the future means that the clock was set back: start again.
        let first = self.before.get(&candidate).copied().filter(|first| *first <= now).unwrap_or(now);
        if now.duration_since(first).as_secs() >= CONFIRM_APART_S {
            self.waiting.remove(&candidate);
            return Some(first);
        }
        self.waiting.insert(candidate, first);
        None
    }

    pub(super) fn finish(self, pending: &mut Pending) {
        pending.first_seen = self.waiting;
    }
}
