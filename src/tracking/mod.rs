//! Beliefs + document + now → an [`Update`]: what to believe from now on, and what changed.
//!
//! Pure: the same documents at the same times give the same updates, byte for byte. The whole document
//! is compared with all beliefs each time, so a missed poll only delays changes.
//!
//! [`compare`] takes a document through these files in order: `freshness` (stale copies), `feed_health`
//! (readable again), `services`, `events` with the rules of `transition`, `absence`. `confirmation`
//! holds a change back until a second poll shows it.

mod absence;
mod clock_set;
mod comparison;
mod confirmation;
mod events;
mod feed_health;
mod freshness;
pub mod poll_plan;
pub mod replay;
mod services;
mod transition;
mod update;
pub mod watchlist;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::model::{Beliefs, Change, Document, EventStatus, Phase, ServiceKey};
pub use clock_set::clock_set;
use comparison::Comparison;
pub use confirmation::{CONFIRM_APART_S, Pending};
pub use feed_health::{FeedFailure, unreadable};
use freshness::freshness;
pub use freshness::{newest_stamp, published};
pub use transition::{EventState, Observation, observe};
pub use update::{Acceptance, Update};
use watchlist::Watchlist;

/// Most outages and maintenances that are planned or ongoing at once: 1.5 times what a document holds.
/// Apple lists about ten.
pub const ACTIVE_MAX: usize = 3_000;

/// Compares a document with the beliefs.
///
/// Replaces `pending`, the unconfirmed changes of earlier polls, with those of this one. If any are
/// left, the caller polls again after 45 s.
pub fn compare(
    beliefs: &Beliefs,
    pending: &mut Pending,
    document: &Document,
    watch: &Watchlist,
    now: Timestamp,
) -> Update {
    let (verdict, stamp, stale) = freshness(&beliefs.state, &document.stamp, now);
    let mut state = beliefs.state.clone();
    state.stamp = stamp;
    state.stale = stale;
    if verdict != Acceptance::Stale {
        state.date_order = document.stamp.order.or(state.date_order);
        state.banner = document.banner.clone();
        state.first_accepted = state.first_accepted.or(Some(now));
    }
    let mut comparison = Comparison::new(beliefs, pending, now, Update::new(verdict, state));
    feed_health::readable(&mut comparison);
    // A stale copy discards unconfirmed changes: among stale copies, those without a stamp cannot be
    // told from good ones, and two of them must not confirm each other.
    if verdict != Acceptance::Stale {
        compare_services(&mut comparison, document, watch);
    }
    comparison.finish()
}

fn compare_services(comparison: &mut Comparison, document: &Document, watch: &Watchlist) {
    let mut present = BTreeSet::new();
    for (key, listing) in &document.services {
        comparison.service_listed(key, &listing.name);
        for event in &listing.events {
            if comparison.event_seen(key, &listing.name, event) {
                present.insert((key, event.message_id.as_str()));
            }
        }
    }
    for key in comparison.beliefs.services.keys().filter(|key| !document.services.contains_key(key)) {
        comparison.service_absent(key);
    }
    comparison.events_absent(document, &present);
    comparison.watched_names(document, watch);
}

/// Returns when time alone changes something if the feed stays the same. Replay skips ahead to it.
pub fn next_deadline(
    beliefs: &Beliefs,
    pending: &Pending,
    document: Option<&Document>,
    now: Timestamp,
) -> Option<Timestamp> {
    let stamps = freshness::deadlines(&beliefs.state, document);
    // The times of an event decide its state only if its status is unknown.
    let events = document.into_iter().flat_map(|document| document.services.values()).flat_map(|s| &s.events);
    let times = events
        .filter(|event| matches!(event.status, EventStatus::Unknown(_)))
        .flat_map(|event| [event.start, event.end])
        .flatten()
        .filter(|time| *time > now);
    let all = absence::deadlines(beliefs)
        .chain(stamps)
        .chain(times)
        .chain(feed_health::deadline(beliefs, pending, now));
    // An elapsed deadline that changed nothing must not hide later ones.
    all.filter(|deadline| *deadline > now).min()
}

/// Returns whether a watched service has an outage or a running maintenance, which are polled more often.
pub fn has_trouble(beliefs: &Beliefs, watch: &Watchlist) -> bool {
    beliefs
        .outages
        .iter()
        .any(|((key, _), outage)| matches!(outage.phase, Phase::Ongoing(_)) && watch.matches(key))
}

/// Returns the names of the watched services with an ongoing outage. Maintenance does not count.
pub fn troubled_services(beliefs: &Beliefs, watch: &Watchlist) -> Vec<String> {
    let ongoing = beliefs.outages.iter().filter(|((service, _), outage)| {
        matches!(outage.phase, Phase::Ongoing(_)) && !outage.kind.is_maintenance() && watch.matches(service)
    });
    let mut names: Vec<String> = ongoing.map(|(_, outage)| outage.service.clone()).collect();
    names.dedup();
    names
}

/// Returns whether a change is announced to users who watch these services.
pub fn is_for(change: &Change, watch: &Watchlist) -> bool {
    change.kind.is_told() && (change.kind.is_about_us() || watch.matches(&ServiceKey::new(&change.service)))
}
