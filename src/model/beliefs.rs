//! The state that statusd holds true of one feed: its outages, its services and its health.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::change::event_key;
use super::{ChangeKind, DateOrder, EventKind, FeedId, ServiceKey};

/// A known outage or service that is missing from accepted documents, for too short a time to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The first accepted document without it.
    pub since: Timestamp,
    /// The number of accepted documents without it, counted only up to the limit.
    pub fetches: u32,
}

/// The phase of an outage or a maintenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    Planned(Option<Missing>),
    Ongoing(Option<Missing>),
    Over(OverBy),
}

/// The reason why an outage is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverBy {
    /// Apple reports the end.
    Apple,
    /// Apple stopped listing it.
    Withdrawal,
}

/// The belief about one occurrence of an event: an outage or a maintenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// As Apple writes it.
    pub service: String,
    pub message_id: String,
    /// Counted from 1. A higher number is another outage under the same id.
    pub occurrence: u32,
    pub kind: EventKind,
    pub phase: Phase,
    pub start: Option<Timestamp>,
    /// Apple's announced end while the outage is planned or ongoing, then its end.
    pub end: Option<Timestamp>,
    /// The time of the first observation.
    pub first_seen: Timestamp,
    pub users_affected: Option<String>,
    pub message: String,
    /// The number of changes of each kind in this occurrence; distinguishes repeats.
    pub counts: BTreeMap<ChangeKind, u32>,
}

impl Outage {
    /// Returns the stable key, a prefix of the keys of its changes:
    /// `consumer/en_US/icloud%20backup/1002938/1`.
    pub fn key(&self, feed: &FeedId) -> String {
        format!("{}/{}", event_key(feed, &self.service, &self.message_id), self.occurrence)
    }

    /// Returns true if it is neither planned nor ongoing.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over(_))
    }

    /// Returns true for a planned maintenance that did not take place.
    pub fn was_cancelled(&self) -> bool {
        let has = |kind| self.counts.contains_key(&kind);
        has(ChangeKind::Cancelled) && !has(ChangeKind::Corrected)
    }
}

/// The presence of a known service in the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    Yes,
    /// Not in the newest documents, for too short a time to report.
    Missing(Missing),
    /// Reported as unlisted at this time.
    No {
        since: Timestamp,
    },
    /// A name or glob of the watchlist that no document ever listed; reported at this time.
    Never {
        since: Timestamp,
    },
}

/// The belief about a service, or about a watched name that Apple does not list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub first_seen: Timestamp,
    pub listed: Listed,
}

/// The side that causes an unreadable feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No network, no DNS, a captive portal, or a clock so wrong that TLS fails. Shown, never announced.
    Ours,
    /// HTTP errors, timeouts while the network works, an unreadable document. Announced after 1 h.
    Apple,
}

impl Fault {
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Ours => "ours",
            Fault::Apple => "apple",
        }
    }
}

/// The ability to read the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedHealth {
    /// Not polled yet.
    Unknown,
    Readable {
        since: Timestamp,
    },
    Unreadable {
        since: Timestamp,
        fault: Fault,
        /// One line for users, without secrets.
        reason: String,
        /// The fault has been announced.
        told: bool,
    },
}

/// A series of documents older than the newest accepted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleRun {
    pub since: Timestamp,
    /// The newest stamp among them.
    pub newest: Timestamp,
    /// The number of fetches, counted only up to the limit.
    pub fetches: u32,
}

/// The belief about the feed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedState {
    /// The time at which this database accepted its first document.
    pub first_accepted: Option<Timestamp>,
    /// The newest accepted stamp.
    pub stamp: Option<Timestamp>,
    /// The order of dates that a document proved last.
    pub date_order: Option<DateOrder>,
    pub stale: Option<StaleRun>,
    pub health: FeedHealth,
    /// Apple's general announcement.
    pub banner: Option<String>,
}

/// All beliefs about one feed. Stored in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beliefs {
    pub feed: FeedId,
    pub state: FeedState,
    pub services: BTreeMap<ServiceKey, Service>,
    /// The latest occurrence of each event that is planned, ongoing, or over and still listed.
    pub outages: BTreeMap<(ServiceKey, String), Outage>,
}

impl Beliefs {
    /// Returns the beliefs of an empty database.
    pub fn new(feed: FeedId) -> Beliefs {
        Beliefs {
            feed,
            state: FeedState {
                first_accepted: None,
                stamp: None,
                date_order: None,
                stale: None,
                health: FeedHealth::Unknown,
                banner: None,
            },
            services: BTreeMap::new(),
            outages: BTreeMap::new(),
        }
    }
}
