//! The snapshot: the current state of all watched services, for channels that show a state.
//!
//! Level-triggered: a snapshot is complete and independent of earlier ones.

use crate::model::{FeedHealth, FeedId, Outage};

/// The current state of everything watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub feed: FeedId,
    pub health: FeedHealth,
    /// The watched services, sorted by name.
    pub services: Vec<ServiceState>,
}

/// The current state of one watched service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// The name as Apple writes it. Untrusted until escaped.
    pub service: String,
    /// False if the feed does not contain the service.
    pub is_listed: bool,
    /// Outages and maintenance that are not over, including planned maintenance.
    pub outages: Vec<Outage>,
}
