//! What channels that show a state are shown: how all that is watched stands now.
//!
//! Level-triggered: a snapshot is whole and says nothing of what changed or was shown before.
//! Invariant: the same beliefs give equal pictures.

use crate::model::{FeedHealth, FeedId, Outage};

/// How what is watched stands now: what a channel that shows a state is given, whole, each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub feed: FeedId,
    /// Whether we can read the feed now.
    pub health: FeedHealth,
    /// The watched services, in order of name.
    pub services: Vec<ServiceState>,
}

/// How one watched service stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// As Apple writes it. Hostile until escaped.
    pub service: String,
    /// Whether Apple's list has it.
    pub is_listed: bool,
    /// Those that are not over: outages and maintenance, the planned too.
    pub outages: Vec<Outage>,
}
