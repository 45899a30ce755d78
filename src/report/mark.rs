//! The mark of a period in a timeline: the worst state in it.

use jiff::Timestamp;

use super::coverage::CoverageShares;
use crate::model::{EventKind, Outage, Phase};

/// The mark of a cell, in order of precedence: a greater mark hides a lesser one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    Future,
    NotPolling,
    Unknown,
    Fine,
    Maintenance,
    Issue,
    Outage,
}

impl Mark {
    /// The marks of a legend. A part of a timeline in the future has none.
    pub const LEGEND: [Mark; 6] =
        [Mark::Fine, Mark::Issue, Mark::Outage, Mark::Maintenance, Mark::Unknown, Mark::NotPolling];

    pub fn words(self) -> &'static str {
        match self {
            Mark::Future => "not yet",
            Mark::NotPolling => "not polling",
            Mark::Unknown => "cannot tell",
            Mark::Fine => "none listed",
            Mark::Maintenance => "maintenance",
            Mark::Issue => "issue",
            Mark::Outage => "outage",
        }
    }

    /// Returns the mark of a past cell without an event. "None listed" requires that readable polls cover
    /// the largest share of the cell.
    pub fn without_event(seen: &CoverageShares, is_unlisted: bool) -> Mark {
        let not_polling_s = seen.whole_s - seen.readable_s - seen.unreadable_s;
        if is_unlisted {
            Mark::Unknown
        } else if seen.readable_s > 0 && seen.readable_s >= seen.unreadable_s.max(not_polling_s) {
            Mark::Fine
        } else if seen.unreadable_s >= not_polling_s {
            Mark::Unknown
        } else {
            Mark::NotPolling
        }
    }
}

/// Returns the mark of a cell with an event of this kind.
pub fn mark_of(kind: &EventKind) -> Mark {
    match kind {
        EventKind::Outage => Mark::Outage,
        EventKind::Issue | EventKind::Performance | EventKind::Other(_) => Mark::Issue,
        EventKind::Maintenance => Mark::Maintenance,
    }
}

/// Returns start and end so far; `None` for an event that is planned or was cancelled.
pub fn interval(outage: &Outage, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let began = outage.start.unwrap_or(outage.first_seen);
    match outage.phase {
        Phase::Over(_) if outage.was_cancelled() => None,
        Phase::Planned(_) => None,
        Phase::Ongoing(_) => Some((began, now)),
        Phase::Over(_) => Some((began, outage.end.unwrap_or(outage.first_seen).max(began))),
    }
}

/// Returns true if an event affects the cell from `from` to `to`. An event of unknown length affects one cell.
pub fn touches((began, ended): (Timestamp, Timestamp), from: Timestamp, to: Timestamp) -> bool {
    began < to && (ended > from || (began == ended && began >= from))
}
