//! Rule 2: when a document was published, and whether it is stale.
//!
//! Chooses among several readings of a date, which takes the time of the fetch and the feed's history.
//! A stamp more than 26 h ahead of the fetch is ignored, in a document and in the stored state.

use jiff::{SignedDuration, Timestamp};

use super::update::Acceptance;
use crate::model::{DateOrder, Document, FeedState, StaleRun, Stamp};

const STALE_ACCEPTED_AFTER: SignedDuration = SignedDuration::from_hours(12);
/// After this time, any stale document is accepted, because the newest stale one did not come again.
const STALE_ACCEPTED_ANYWAY: SignedDuration = SignedDuration::from_hours(24);
/// Minimum number of stale documents, because twelve hours of sleep between two prove nothing.
const STALE_FETCHES: u32 = 12;
/// An unknown time zone counts as UTC, which puts a correct stamp up to 26 hours ahead.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(26);

/// Returns when a document was published. The order of day and month is the one that the document proves,
/// or else the `known` order of the feed, or else the one that gives the time nearest to now.
pub fn published(stamp: &Stamp, known: Option<DateOrder>, now: Timestamp) -> Option<Timestamp> {
    let mut readings = stamp.readings?.into_iter();
    let reading = match stamp.order.or(known) {
        Some(order) => readings.nth(order as usize),
        None => readings
            .filter(|reading| !is_ahead(*reading, now))
            .min_by_key(|reading| now.duration_since(*reading).abs()),
    };
    reading.filter(|reading| !is_ahead(*reading, now))
}

/// Returns the newest accepted stamp.
pub fn newest_stamp(state: &FeedState, now: Timestamp) -> Option<Timestamp> {
    state.stamp.filter(|stamp| !is_ahead(*stamp, now))
}

fn is_ahead(time: Timestamp, now: Timestamp) -> bool {
    time.duration_since(now) > AHEAD_MAX
}

/// Returns the verdict, the newest accepted stamp and the run of stale copies.
pub(super) fn freshness(
    state: &FeedState,
    stamp: &Stamp,
    now: Timestamp,
) -> (Acceptance, Option<Timestamp>, Option<StaleRun>) {
    let stamp = published(stamp, state.date_order, now);
    let (Some(stamp), Some(accepted)) = (stamp, newest_stamp(state, now)) else {
        return (Acceptance::Accepted, stamp.or(state.stamp), None);
    };
    if stamp >= accepted {
        return (Acceptance::Accepted, Some(stamp), None);
    }
    let run = match state.stale {
        Some(run) if run.since <= now => {
            StaleRun { newest: run.newest.max(stamp), fetches: (run.fetches + 1).min(STALE_FETCHES), ..run }
        }
        _ => StaleRun { since: now, newest: stamp, fetches: 1 },
    };
    let age = now.duration_since(run.since);
    let accepted = age >= STALE_ACCEPTED_ANYWAY || (age >= STALE_ACCEPTED_AFTER && stamp == run.newest);
    if accepted && run.fetches >= STALE_FETCHES {
        return (Acceptance::AcceptedOlder, Some(stamp), None);
    }
    (Acceptance::Stale, state.stamp, Some(run))
}

/// Returns when time alone makes the same document acceptable, or its stamp valid.
pub(super) fn deadlines(state: &FeedState, document: Option<&Document>) -> impl Iterator<Item = Timestamp> {
    let stale = state
        .stale
        .into_iter()
        .flat_map(|run| [STALE_ACCEPTED_AFTER, STALE_ACCEPTED_ANYWAY].map(|wait| run.since + wait));
    let stamps = document.and_then(|document| document.stamp.readings).into_iter().flatten();
    stale.chain(stamps.map(|stamp| stamp - AHEAD_MAX))
}
