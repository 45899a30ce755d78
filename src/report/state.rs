//! The state of a service now.

use crate::delivery::message::advice::NO_PROBLEM;
use crate::model::{EventKind, Outage, Phase};

/// The state of a service, most severe first. Of several services, `check` exits with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Outage,
    CannotTell,
    Issue,
    Maintenance,
    Fine,
}

impl State {
    /// Returns the state that an event of a service gives it; `Fine` unless the event is ongoing.
    pub fn of(outage: &Outage) -> State {
        match (&outage.phase, &outage.kind) {
            (Phase::Planned(_) | Phase::Over(_), _) => State::Fine,
            (Phase::Ongoing(_), EventKind::Outage) => State::Outage,
            (Phase::Ongoing(_), EventKind::Maintenance) => State::Maintenance,
            (Phase::Ongoing(_), EventKind::Issue | EventKind::Performance | EventKind::Other(_)) => {
                State::Issue
            }
        }
    }

    /// Returns the words for people.
    pub fn words(self) -> &'static str {
        match self {
            State::Outage => "outage",
            State::CannotTell => "cannot tell",
            State::Issue => "issue",
            State::Maintenance => "maintenance",
            State::Fine => NO_PROBLEM,
        }
    }

    /// Returns the word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Outage => "outage",
            State::CannotTell => "cannot_tell",
            State::Issue => "issue",
            State::Maintenance => "maintenance",
            State::Fine => "fine",
        }
    }
}
