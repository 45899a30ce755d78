//! The state of a watched service as JSON, as documented in `docs/channels.md`.
//!
//! Pure. The JSON contains no current time, so it changes only when the state does.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::snapshot::{ServiceState, Snapshot};
use crate::model::{FeedHealth, Outage, Phase};
use crate::text;

/// The maximum length of a service's name in JSON.
pub const NAME_MAX_CHARS: usize = 200;

/// The version of the JSON format.
const VERSION: u32 = 1;
/// The last readable feed counts as current for this long, because one failed poll must not make a sensor
/// flicker.
const UNREADABLE_GRACE: SignedDuration = SignedDuration::from_mins(15);
const TEXT_MAX_CHARS: usize = 1_000;

/// The values of `state` in the JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Problem,
    Maintenance,
    Ok,
    Unknown,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Problem => "problem",
            State::Maintenance => "maintenance",
            State::Ok => "ok",
            State::Unknown => "unknown",
        }
    }
}

/// Returns the state of `service` at `now`.
pub fn state(service: &ServiceState, snapshot: &Snapshot, now: Timestamp) -> Value {
    let worst = worst(&service.outages);
    let is_readable = is_readable(&snapshot.health, now);
    // An ongoing outage stays one while the feed is unreadable: silence is not recovery.
    let state = match worst {
        Some(outage) if outage.kind.is_maintenance() => State::Maintenance,
        Some(_) => State::Problem,
        None if !is_readable || !service.is_listed => State::Unknown,
        None => State::Ok,
    };
    let reason = match (is_readable, service.is_listed) {
        (false, _) => Some("not_readable"),
        (true, false) => Some("not_listed"),
        (true, true) => None,
    };
    let apple_text = worst.map(|outage| text::plain_text(&outage.message, TEXT_MAX_CHARS));
    let affected = worst.and_then(|outage| outage.users_affected.as_deref());
    json!({
        "version": VERSION,
        "state": state.as_str(),
        "service": text::plain_line(&service.service, NAME_MAX_CHARS),
        "feed": snapshot.feed.to_string(),
        "since": worst.map(began),
        "outage_kind": worst.map(|outage| text::plain_line(outage.kind.as_str(), NAME_MAX_CHARS)),
        "message_id": worst.map(|outage| text::plain_line(&outage.message_id, NAME_MAX_CHARS)),
        "occurrence": worst.map(|outage| outage.occurrence),
        "users_affected": affected.map(|affected| text::plain_line(affected, TEXT_MAX_CHARS)),
        "apple_text": apple_text,
        "reason": reason,
    })
}

/// Returns the most severe ongoing outage; of several, the one that began first.
fn worst(outages: &[Outage]) -> Option<&Outage> {
    let ongoing = outages.iter().filter(|outage| matches!(outage.phase, Phase::Ongoing(_)));
    ongoing.max_by_key(|outage| (outage.kind.rank(), std::cmp::Reverse(began(outage))))
}

fn began(outage: &Outage) -> Timestamp {
    outage.start.unwrap_or(outage.first_seen)
}

/// Returns true if the feed is readable, or has been unreadable for less than [`UNREADABLE_GRACE`].
fn is_readable(health: &FeedHealth, now: Timestamp) -> bool {
    match health {
        FeedHealth::Unknown => false,
        FeedHealth::Readable { .. } => true,
        FeedHealth::Unreadable { since, .. } => now.duration_since(*since) < UNREADABLE_GRACE,
    }
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Edition, EventKind, Fault, FeedId, OverBy};

    pub fn at(text: &str) -> Timestamp {
        format!("2026-05-05T{text}:00Z").parse().expect("a time")
    }

    pub fn outage(kind: EventKind, start: &str) -> Outage {
        Outage {
            service: "iCloud Backup".to_owned(),
            message_id: "1002938".to_owned(),
            occurrence: 1,
            kind,
            phase: Phase::Ongoing(None),
            start: Some(at(start)),
            end: None,
            first_seen: at("10:01"),
            users_affected: Some("Some users are affected".to_owned()),
            message: "Users may be unable to back up.".to_owned(),
            counts: BTreeMap::new(),
        }
    }

    pub fn snapshot(service: &str, is_listed: bool, health: FeedHealth, outages: Vec<Outage>) -> Snapshot {
        Snapshot {
            feed: FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() },
            health,
            services: vec![ServiceState { service: service.to_owned(), is_listed, outages }],
        }
    }

    pub fn readable() -> FeedHealth {
        FeedHealth::Readable { since: at("08:00") }
    }

    fn unreadable_since(since: &str) -> FeedHealth {
        FeedHealth::Unreadable {
            since: at(since),
            fault: Fault::Ours,
            reason: "no network".to_owned(),
            told: false,
        }
    }

    #[track_caller]
    fn check(is_listed: bool, health: FeedHealth, outages: Vec<Outage>, state: &str, reason: Option<&str>) {
        let snapshot = snapshot("iCloud Backup", is_listed, health, outages);
        let json = super::state(&snapshot.services[0], &snapshot, at("12:00"));
        assert_eq!((&json["state"], &json["reason"]), (&json!(state), &json!(reason)), "{snapshot:?}");
    }

    #[test]
    fn the_state_follows_from_outages_listing_and_feed_health() {
        use EventKind::{Issue, Maintenance, Outage as Down, Performance};
        let planned = Outage { phase: Phase::Planned(None), ..outage(Maintenance, "13:00") };
        let over = Outage { phase: Phase::Over(OverBy::Apple), ..outage(Down, "08:00") };
        check(true, readable(), vec![], "ok", None);
        check(true, readable(), vec![planned, over], "ok", None);
        check(true, readable(), vec![outage(Issue, "08:00")], "problem", None);
        check(true, readable(), vec![outage(EventKind::Other(String::new()), "08:00")], "problem", None);
        check(true, readable(), vec![outage(Maintenance, "08:00")], "maintenance", None);
        let both = vec![outage(Maintenance, "08:00"), outage(Performance, "09:00")];
        check(true, readable(), both, "problem", None);
        check(false, readable(), vec![], "unknown", Some("not_listed"));
        check(false, readable(), vec![outage(Down, "08:00")], "problem", Some("not_listed"));
        check(true, FeedHealth::Unknown, vec![], "unknown", Some("not_readable"));
    }

    #[test]
    fn an_unreadable_feed_counts_after_15_minutes_and_ends_no_outage() {
        check(true, unreadable_since("11:46"), vec![], "ok", None);
        check(true, unreadable_since("11:45"), vec![], "unknown", Some("not_readable"));
        let down = || vec![outage(EventKind::Outage, "08:00")];
        check(true, unreadable_since("08:00"), down(), "problem", Some("not_readable"));
        check(true, unreadable_since("11:59"), down(), "problem", None);
    }

    #[test]
    fn the_most_severe_and_longest_outage_is_shown() {
        let mut second = outage(EventKind::Outage, "09:00");
        second.message_id = "second".to_owned();
        let mut first = Outage { start: None, first_seen: at("08:30"), ..second.clone() };
        first.message_id = "first".to_owned();
        let outages = vec![second, outage(EventKind::Issue, "07:00"), first];
        let snapshot = snapshot("iCloud Backup", true, readable(), outages);
        let expected = json!({
            "version": 1,
            "state": "problem",
            "service": "iCloud Backup",
            "feed": "consumer/en_US",
            "since": "2026-05-05T08:30:00Z",
            "outage_kind": "Outage",
            "message_id": "first",
            "occurrence": 1,
            "users_affected": "Some users are affected",
            "apple_text": "Users may be unable to back up.",
            "reason": null,
        });
        assert_eq!(state(&snapshot.services[0], &snapshot, at("12:00")), expected);
    }
}
