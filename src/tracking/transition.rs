//! Rules 4, 5 and 7 to 10: the transition of one event from the belief about it.
//!
//! Other events, confirmation and absence are handled elsewhere.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::model::{ChangeKind, Event, EventKind, EventStatus, Outage, OverBy, Phase};

/// Largest difference between two starts of the same problem. Apple reuses ids.
const SAME_PROBLEM_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// An event with its state at the time of a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation<'a> {
    pub state: EventState,
    pub kind: EventKind,
    pub event: &'a Event,
}

/// The state of an event, derived from Apple's type, status and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventState {
    /// Announced maintenance.
    Planned,
    /// Maintenance in progress.
    Running,
    /// An ongoing outage.
    Down,
    Over,
}

/// The difference between an event and the belief about it.
#[expect(clippy::large_enum_variant, reason = "lives for one match")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    Same,
    /// The event is listed, but no longer as the ongoing outage that is held.
    Absent,
    /// The kind of the change, and the new belief.
    Changed(ChangeKind, Outage),
}

/// Derives the state of an event from Apple's type and status (rule 8). If Apple no longer gives a type,
/// the held one stays. Returns `None` for an upcoming event that is not maintenance.
pub fn observe<'a>(event: &'a Event, held: Option<&Outage>, now: Timestamp) -> Option<Observation<'a>> {
    let kind = match (&event.kind, held) {
        (EventKind::Other(word), Some(held)) if word.is_empty() && is_same_problem(held, event) => &held.kind,
        (kind, _) => kind,
    };
    let maintenance = kind.is_maintenance();
    let ended = event.end.is_some_and(|end| end <= now);
    let ahead = event.start.is_some_and(|start| start > now);
    let state = match &event.status {
        EventStatus::Over => EventState::Over,
        EventStatus::Unknown(_) if ended => EventState::Over,
        EventStatus::Upcoming if maintenance => EventState::Planned,
        EventStatus::Upcoming => return None,
        EventStatus::Unknown(_) if maintenance && ahead => EventState::Planned,
        EventStatus::Ongoing | EventStatus::Unknown(_) if maintenance => EventState::Running,
        EventStatus::Ongoing | EventStatus::Unknown(_) => EventState::Down,
    };
    Some(Observation { state, kind: kind.clone(), event })
}

/// Applies the rules to an observation and the belief held before it.
pub fn transition(held: Option<&Outage>, seen: &Observation, service: &str, now: Timestamp) -> Transition {
    let Some(held) = held else {
        return first_observation(seen, 1, service, now);
    };
    let next = |kind| Transition::Changed(kind, occurrence(seen, held.occurrence + 1, service, now));
    let same = |kind, phase| Transition::Changed(kind, updated(held, seen, phase));
    match (&held.phase, seen.state) {
        (Phase::Over(_), _) if !is_same_problem(held, seen.event) => {
            first_observation(seen, held.occurrence + 1, service, now)
        }
        (Phase::Over(_), EventState::Planned) => next(ChangeKind::Planned),
        (Phase::Over(_), EventState::Running) => next(ChangeKind::Started),
        (Phase::Over(_), EventState::Down) if held.kind.is_maintenance() => next(ChangeKind::Began),
        (Phase::Over(_), EventState::Down) => next(ChangeKind::Reopened),
        (Phase::Over(OverBy::Withdrawal), EventState::Over) => {
            same(ChangeKind::Corrected, Phase::Over(OverBy::Apple))
        }
        (Phase::Over(OverBy::Apple), EventState::Over) => revised(held, seen),

        (Phase::Planned(_), EventState::Planned) if is_moved(held, seen) => {
            same(ChangeKind::Moved, Phase::Planned(None))
        }
        (Phase::Planned(_), EventState::Planned) => revised(held, seen),
        (Phase::Planned(_), EventState::Running) => same(ChangeKind::Started, Phase::Ongoing(None)),
        (Phase::Planned(_), EventState::Down) => same(ChangeKind::Began, Phase::Ongoing(None)),
        // Over before its planned start.
        (Phase::Planned(_), EventState::Over)
            if seen.event.start.or(held.start).is_some_and(|start| start > now) =>
        {
            same(ChangeKind::Cancelled, Phase::Over(OverBy::Apple))
        }
        (Phase::Planned(_), EventState::Over) => same(ChangeKind::Over, Phase::Over(OverBy::Apple)),

        (Phase::Ongoing(_), _) if held.kind.is_maintenance() => match seen.state {
            EventState::Planned => same(ChangeKind::Planned, Phase::Planned(None)),
            EventState::Running if differs(held.end, seen.event.end) => {
                same(ChangeKind::Moved, Phase::Ongoing(None))
            }
            EventState::Running => revised(held, seen),
            EventState::Down => same(ChangeKind::Began, Phase::Ongoing(None)),
            EventState::Over => same(ChangeKind::Over, Phase::Over(OverBy::Apple)),
        },
        // Listed neither as ongoing nor as over.
        (Phase::Ongoing(_), EventState::Planned) => Transition::Absent,
        (Phase::Ongoing(_), EventState::Running) => same(ChangeKind::Eased, Phase::Ongoing(None)),
        (Phase::Ongoing(_), EventState::Over) => same(ChangeKind::Ended, Phase::Over(OverBy::Apple)),
        (Phase::Ongoing(_), EventState::Down) => match kind_after(held, seen) {
            kind if kind.rank() > held.kind.rank() => same(ChangeKind::Worsened, Phase::Ongoing(None)),
            kind if kind.rank() < held.kind.rank() => same(ChangeKind::Eased, Phase::Ongoing(None)),
            _ => revised(held, seen),
        },
    }
}

fn first_observation(seen: &Observation, number: u32, service: &str, now: Timestamp) -> Transition {
    let kind = match seen.state {
        EventState::Planned => ChangeKind::Planned,
        EventState::Running => ChangeKind::Started,
        EventState::Down => ChangeKind::Began,
        EventState::Over if seen.kind.is_maintenance() => ChangeKind::Noted,
        EventState::Over => ChangeKind::Missed,
    };
    Transition::Changed(kind, occurrence(seen, number, service, now))
}

fn occurrence(seen: &Observation, number: u32, service: &str, now: Timestamp) -> Outage {
    let phase = match seen.state {
        EventState::Planned => Phase::Planned(None),
        EventState::Running | EventState::Down => Phase::Ongoing(None),
        EventState::Over => Phase::Over(OverBy::Apple),
    };
    Outage {
        service: service.to_owned(),
        message_id: seen.event.message_id.clone(),
        occurrence: number,
        kind: seen.kind.clone(),
        phase,
        start: seen.event.start,
        end: seen.event.end,
        first_seen: now,
        users_affected: seen.event.users_affected.clone(),
        message: seen.event.message.clone(),
        counts: BTreeMap::new(),
    }
}

/// Returns the belief with Apple's newest details. Details that Apple removed are kept.
fn updated(held: &Outage, seen: &Observation, phase: Phase) -> Outage {
    let Event { users_affected, message, .. } = seen.event;
    // Keep the announced end of maintenance, and the end of an event that Apple has ended.
    let keeps_end = match seen.state {
        EventState::Planned | EventState::Running => true,
        EventState::Down => false,
        EventState::Over => held.phase == Phase::Over(OverBy::Apple),
    };
    Outage {
        kind: kind_after(held, seen),
        phase,
        start: seen.event.start.or(held.start),
        end: seen.event.end.or(held.end.filter(|_| keeps_end)),
        users_affected: users_affected.clone().or_else(|| held.users_affected.clone()),
        message: if message.is_empty() { held.message.clone() } else { message.clone() },
        ..held.clone()
    }
}

/// Returns the kind of the outage from now on. An unknown word changes no known severity, and an event
/// that is over does not change between outage and maintenance.
fn kind_after(held: &Outage, seen: &Observation) -> EventKind {
    match (&held.kind, &seen.kind) {
        (EventKind::Outage | EventKind::Issue | EventKind::Performance, EventKind::Other(_)) => {
            held.kind.clone()
        }
        (was, is) if seen.state == EventState::Over && was.is_maintenance() != is.is_maintenance() => {
            was.clone()
        }
        (_, is) => is.clone(),
    }
}

/// Returns the transition for a change of text, times or affected users only, which is not announced.
fn revised(held: &Outage, seen: &Observation) -> Transition {
    let phase = match held.phase {
        Phase::Planned(_) => Phase::Planned(None),
        Phase::Ongoing(_) => Phase::Ongoing(None),
        Phase::Over(by) => Phase::Over(by),
    };
    if updated(held, seen, held.phase.clone()) == *held {
        return Transition::Same;
    }
    Transition::Changed(ChangeKind::Revised, updated(held, seen, phase))
}

/// Returns whether a plan has other times than announced.
fn is_moved(held: &Outage, seen: &Observation) -> bool {
    differs(held.start, seen.event.start) || differs(held.end, seen.event.end)
}

/// Returns whether a time differs by at least the minute that users see. A removed time does not differ.
fn differs(held: Option<Timestamp>, seen: Option<Timestamp>) -> bool {
    seen.is_some_and(|seen| {
        held.is_none_or(|held| held.duration_since(seen).abs() >= SignedDuration::from_mins(1))
    })
}

fn is_same_problem(held: &Outage, event: &Event) -> bool {
    match (held.start, event.start) {
        (Some(held), Some(seen)) => held.duration_since(seen).abs() <= SAME_PROBLEM_MAX,
        _ => true,
    }
}
