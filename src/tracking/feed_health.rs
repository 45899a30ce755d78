//! Rule 13: the health of the feed, and when an unreadable feed is reported.
//!
//! An unreadable feed changes no belief about a service.

use jiff::{SignedDuration, Timestamp};

use super::comparison::Comparison;
use super::{Acceptance, Pending, Update};
use crate::model::{Beliefs, Change, ChangeKind, Fault, FeedHealth, ServiceKey};

/// Time for which the feed is unreadable by Apple's fault, sleep excluded, before users are told.
const REPORT_AFTER_S: u64 = 3_600;

/// The reason why a poll got no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedFailure {
    pub fault: Fault,
    /// One line for users, without secrets.
    pub reason: String,
}

/// Returns the update of a poll without a document. `awake_s` is the time since the previous poll, without
/// sleep.
///
/// Unconfirmed changes stay pending, because nothing contradicts them.
pub fn unreadable(
    beliefs: &Beliefs,
    pending: &mut Pending,
    failure: &FeedFailure,
    awake_s: u64,
    now: Timestamp,
) -> Update {
    // The hour counts only Apple's fault. A fault of ours in between starts it again.
    let (since, was_told) = match beliefs.state.health {
        FeedHealth::Unreadable { since, told, fault, .. } if told || fault == failure.fault => {
            // Counted only while it matters, so that polls without effect leave the state unchanged.
            let counts = !told && fault == Fault::Apple;
            pending.unreadable_s = if counts { pending.unreadable_s.saturating_add(awake_s) } else { 0 };
            (since.min(now), told)
        }
        FeedHealth::Unknown | FeedHealth::Readable { .. } | FeedHealth::Unreadable { .. } => {
            pending.unreadable_s = 0;
            (now, false)
        }
    };
    let tell = !was_told && failure.fault == Fault::Apple && pending.unreadable_s >= REPORT_AFTER_S;
    let mut state = beliefs.state.clone();
    state.health = FeedHealth::Unreadable {
        since,
        fault: failure.fault,
        reason: failure.reason.clone(),
        told: was_told || tell,
    };
    let mut update = Update::new(Acceptance::Unreadable, state);
    if tell {
        let mut change = Change::bare(ChangeKind::Unreadable, beliefs.feed.clone(), since, now);
        change.began_at = Some(since);
        change.message = failure.reason.clone();
        update.changes.push(change);
    }
    update
}

/// Marks the feed as readable. If users were told that it is unreadable, a second document must confirm
/// this first.
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

/// Returns when users are told if the feed stays unreadable and the computer awake.
pub(super) fn deadline(beliefs: &Beliefs, pending: &Pending, now: Timestamp) -> Option<Timestamp> {
    match &beliefs.state.health {
        FeedHealth::Unreadable { fault: Fault::Apple, told: false, .. } => {
            let left_s = REPORT_AFTER_S.saturating_sub(pending.unreadable_s);
            now.checked_add(SignedDuration::from_secs(i64::try_from(left_s).unwrap_or(0))).ok()
        }
        FeedHealth::Unknown | FeedHealth::Readable { .. } | FeedHealth::Unreadable { .. } => None,
    }
}
