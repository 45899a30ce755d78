//! Whether we can see at all (rule 13): blind with a reason, and whose fault it is.
//!
//! Being blind changes no belief about any service.

use jiff::{SignedDuration, Timestamp};

use super::comparison::Comparison;
use super::{Acceptance, Pending, Update};
use crate::model::{Beliefs, Change, ChangeKind, Fault, FeedHealth, ServiceKey};

/// Blind by Apple's fault for so long, awake, before anybody is told.
const TELL_BLIND_AFTER_S: u64 = 3_600;

/// Why a look showed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub fault: Fault,
    /// One line for people, without secrets.
    pub reason: String,
}

/// A look that showed nothing. `awake_s` is the time since the look before, sleep left out.
///
/// Changes that wait for their second health wait on: they were seen, and nothing spoke against them.
pub fn unreadable(
    beliefs: &Beliefs,
    pending: &mut Pending,
    trouble: &Trouble,
    awake_s: u64,
    now: Timestamp,
) -> Update {
    // The hour is one of Apple's fault throughout: trouble of our own in between starts it anew.
    let (since, was_told) = match beliefs.state.health {
        FeedHealth::Unreadable { since, told, fault, .. } if told || fault == trouble.fault => {
            // Counted only while it decides something: polls that change nothing leave no trace.
            let counts = !told && fault == Fault::Apple;
            pending.unreadable_s = if counts { pending.unreadable_s.saturating_add(awake_s) } else { 0 };
            (since.min(now), told)
        }
        FeedHealth::Unknown | FeedHealth::Readable { .. } | FeedHealth::Unreadable { .. } => {
            pending.unreadable_s = 0;
            (now, false)
        }
    };
    let tell = !was_told && trouble.fault == Fault::Apple && pending.unreadable_s >= TELL_BLIND_AFTER_S;
    let mut state = beliefs.state.clone();
    state.health = FeedHealth::Unreadable {
        since,
        fault: trouble.fault,
        reason: trouble.reason.clone(),
        told: was_told || tell,
    };
    let mut update = Update::new(Acceptance::Unreadable, state);
    if tell {
        let mut change = Change::bare(ChangeKind::Unreadable, beliefs.feed.clone(), since, now);
        change.began_at = Some(since);
        change.message = trouble.reason.clone();
        update.changes.push(change);
    }
    update
}

/// A document could be read. Where people were told that we are blind, they hear of the end once
/// a second document confirms it.
pub(super) fn readable(comparison: &mut Comparison) {
    comparison.pending.unreadable_s = 0;
    let since = match comparison.beliefs.state.health {
        FeedHealth::Readable { since } => since,
        FeedHealth::Unreadable { since, told: true, .. } => {
            let candidate = (ServiceKey::new(""), String::new(), 0, ChangeKind::Readable, None);
            let Some(seen_at) = comparison.confirmed(candidate) else { return };
            let mut change =
                Change::bare(ChangeKind::Readable, comparison.beliefs.feed.clone(), seen_at, comparison.now);
            change.began_at = Some(since);
            change.ended_at = Some(seen_at);
            comparison.update.changes.push(change);
            seen_at
        }
        FeedHealth::Unknown | FeedHealth::Unreadable { told: false, .. } => comparison.now,
    };
    comparison.update.state.health = FeedHealth::Readable { since };
}

/// When people will be told, if we stay blind and awake.
pub(super) fn deadline(beliefs: &Beliefs, pending: &Pending, now: Timestamp) -> Option<Timestamp> {
    match &beliefs.state.health {
        FeedHealth::Unreadable { fault: Fault::Apple, told: false, .. } => {
            let left_s = TELL_BLIND_AFTER_S.saturating_sub(pending.unreadable_s);
            now.checked_add(SignedDuration::from_secs(i64::try_from(left_s).unwrap_or(0))).ok()
        }
        FeedHealth::Unknown | FeedHealth::Readable { .. } | FeedHealth::Unreadable { .. } => None,
    }
}
