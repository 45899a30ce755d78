//! The JSON of services and their events, documented in `docs/json.md`: `check`, `services` and
//! `/api/v1/services`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::state::State;
use crate::delivery::payload::VERSION;
use crate::model::{EventKind, FeedId};

/// A service with its state.
pub struct ServiceFacts<'a> {
    pub service: &'a str,
    pub state: State,
    /// Apple's start of the most severe ongoing event.
    pub since: Option<Timestamp>,
    /// The word for the reason why the state is unknown.
    pub reason: Option<&'static str>,
    pub did_you_mean: &'a [String],
    /// Most severe first.
    pub events: Vec<EventFacts<'a>>,
}

/// An event of a service.
pub struct EventFacts<'a> {
    pub message_id: &'a str,
    pub kind: &'a EventKind,
    /// `planned`, `ongoing` or `over`.
    pub state: &'static str,
    pub began_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub users_affected: Option<&'a str>,
    pub apple_text: &'a str,
}

/// Returns the document of `statusd services`.
pub fn document(services: &[Value], feed: &FeedId, now: Timestamp) -> Value {
    json!({"version": VERSION, "at": now, "feed": feed.to_string(), "services": services})
}

impl ServiceFacts<'_> {
    pub fn json(&self) -> Value {
        json!({
            "service": self.service,
            "state": self.state.as_str(),
            "since": self.since,
            "reason": self.reason,
            "did_you_mean": self.did_you_mean,
            "events": self.events.iter().map(EventFacts::json).collect::<Vec<Value>>(),
        })
    }
}

impl EventFacts<'_> {
    fn json(&self) -> Value {
        json!({
            "message_id": self.message_id,
            "outage_kind": self.kind.as_str(),
            "state": self.state,
            "began_at": self.began_at,
            "ended_at": self.ended_at,
            "users_affected": self.users_affected,
            "apple_text": self.apple_text,
        })
    }
}
