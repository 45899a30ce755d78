//! The figures of one outage, and its documented JSON (`docs/json.md`).

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::delivery::payload::VERSION;
use crate::model::{Outage, OverBy, Phase};
use crate::store::{Announced, StoredOutage};

/// Returns an element of `history --json`.
pub fn json(stored: &StoredOutage) -> Value {
    let outage = &stored.outage;
    let (announced, announced_at) = announced(stored);
    json!({
        "version": VERSION,
        "service": outage.service,
        "message_id": outage.message_id,
        "occurrence": outage.occurrence,
        "outage_kind": outage.kind.as_str(),
        "state": state(outage),
        "began_at": outage.start,
        "ended_at": end(outage),
        "lasted_s": lasted_s(outage),
        "seen_at": outage.first_seen,
        "posted_late_s": posted_late_s(stored),
        "announced": announced,
        "announced_at": announced_at,
        "changes": outage.counts.keys().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        "users_affected": outage.users_affected,
        "apple_text": outage.message,
        "feed": stored.feed.to_string(),
        "key": outage.key(&stored.feed),
    })
}

/// Returns the word in JSON.
pub fn state(outage: &Outage) -> &'static str {
    match &outage.phase {
        Phase::Planned(_) => "planned",
        Phase::Ongoing(_) => "ongoing",
        Phase::Over(_) if outage.was_cancelled() => "cancelled",
        Phase::Over(OverBy::Withdrawal) => "withdrawn",
        Phase::Over(OverBy::Apple) => "over",
    }
}

fn announced(stored: &StoredOutage) -> (&'static str, Option<Timestamp>) {
    match stored.announced {
        Announced::At(time) => ("sent", Some(time)),
        Announced::Waiting => ("pending", None),
        Announced::GivenUp => ("given_up", None),
        Announced::Never => ("no", None),
    }
}

/// Returns Apple's end. The end of a withdrawn outage is not Apple's, but the first poll without it.
pub fn end(outage: &Outage) -> Option<Timestamp> {
    outage.end.filter(|_| outage.phase != Phase::Over(OverBy::Withdrawal))
}

/// Returns the duration of an outage that is over, if Apple gave start and end.
pub fn lasted_s(outage: &Outage) -> Option<i64> {
    let is_over = outage.is_over() && !outage.was_cancelled();
    let (start, end) = (outage.start?, end(outage)?);
    (is_over && start <= end).then(|| end.duration_since(start).as_secs())
}

/// Returns the time from Apple's start to Apple's post, if statusd was polling when Apple posted. `None`
/// for maintenance, which is posted in advance.
pub fn posted_late_s(stored: &StoredOutage) -> Option<i64> {
    let outage = &stored.outage;
    let start = outage.start.filter(|start| *start <= outage.first_seen)?;
    let is_known = stored.was_polling && !outage.kind.is_maintenance();
    is_known.then(|| outage.first_seen.duration_since(start).as_secs())
}
