//! Rules 6 and 11: outages and services that accepted documents no longer list.
//!
//! Silence is not recovery. An absence counts after several accepted documents and hours.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::comparison::Comparison;
use crate::model::{
    Beliefs, ChangeKind, Document, Listed, Missing, Outage, OverBy, Phase, Service, ServiceKey,
};

pub(super) const WITHDRAWN_AFTER: SignedDuration = SignedDuration::from_hours(2);
const UNLISTED_AFTER: SignedDuration = SignedDuration::from_hours(24);
const ABSENT_FETCHES: u32 = 3;

impl Comparison<'_> {
    /// Rule 6: counts how long each active outage has been absent.
    pub(super) fn events_absent(&mut self, document: &Document, present: &BTreeSet<(&ServiceKey, &str)>) {
        for ((key, id), held) in &self.beliefs.outages {
            let (Phase::Planned(missing) | Phase::Ongoing(missing)) = &held.phase else { continue };
            // An unreadable entry of this service may be this event.
            let is_malformed = document.services.get(key).is_some_and(|listing| listing.malformed);
            if is_malformed || present.contains(&(key, id.as_str())) {
                continue;
            }
            let mut outage = held.clone();
            match absent(missing.as_ref(), WITHDRAWN_AFTER, self.now) {
                Absence::Counted(missing) => {
                    match &mut outage.phase {
                        Phase::Planned(slot) | Phase::Ongoing(slot) => *slot = Some(missing),
                        Phase::Over(_) => continue,
                    }
                    if outage != *held {
                        self.update.outages.push(outage);
                    }
                }
                Absence::Long { since } => {
                    let (kind, by) = dropped(held, since, self.now);
                    outage.phase = Phase::Over(by);
                    if by == OverBy::Withdrawal {
                        outage.end = Some(since);
                    }
                    self.outage_changed(kind, outage, Some(held), since);
                }
            }
        }
    }

    /// Rule 11: counts how long a service that was listed before has been absent.
    pub(super) fn service_absent(&mut self, key: &ServiceKey) {
        let Some(held) = self.beliefs.services.get(key) else { return };
        let missing = match &held.listed {
            Listed::Yes => None,
            Listed::Missing(missing) => Some(missing),
            Listed::No { .. } | Listed::Never { .. } => return,
        };
        let listed = match absent(missing, UNLISTED_AFTER, self.now) {
            Absence::Counted(missing) => Listed::Missing(missing),
            Absence::Long { since } => {
                self.service_changed(ChangeKind::Unlisted, &held.name, since, Vec::new());
                Listed::No { since }
            }
        };
        if listed != held.listed {
            self.update.services.push((key.clone(), Service { listed, ..held.clone() }));
        }
    }
}

/// Returns the change that an outage absent `since` then amounts to.
fn dropped(held: &Outage, since: Timestamp, now: Timestamp) -> (ChangeKind, OverBy) {
    let end_passed = held.end.is_some_and(|end| end <= now);
    match held.phase {
        // Dropped before its planned start.
        Phase::Planned(_) if held.start.is_none_or(|start| since < start) => {
            (ChangeKind::Cancelled, OverBy::Withdrawal)
        }
        // Maintenance whose announced end has passed is over, as announced.
        _ if held.kind.is_maintenance() && end_passed => (ChangeKind::Over, OverBy::Apple),
        Phase::Planned(_) | Phase::Ongoing(_) | Phase::Over(_) => (ChangeKind::Withdrawn, OverBy::Withdrawal),
    }
}

pub(super) enum Absence {
    Counted(Missing),
    Long { since: Timestamp },
}

/// Counts one more accepted document without the outage or service.
pub(super) fn absent(missing: Option<&Missing>, long: SignedDuration, now: Timestamp) -> Absence {
    // A first absence in the future means that the clock was set back: start again.
    let missing = match missing.filter(|missing| missing.since <= now) {
        None => Missing { since: now, fetches: 1 },
        Some(missing) => Missing { fetches: (missing.fetches + 1).min(ABSENT_FETCHES), ..*missing },
    };
    if missing.fetches >= ABSENT_FETCHES && now.duration_since(missing.since) >= long {
        return Absence::Long { since: missing.since };
    }
    Absence::Counted(missing)
}

/// Returns when each absence lasts long enough to count.
pub(super) fn deadlines(beliefs: &Beliefs) -> impl Iterator<Item = Timestamp> {
    let outages = beliefs.outages.values().filter_map(|outage| match &outage.phase {
        Phase::Planned(Some(missing)) | Phase::Ongoing(Some(missing)) => {
            Some(missing.since + WITHDRAWN_AFTER)
        }
        Phase::Planned(None) | Phase::Ongoing(None) | Phase::Over(_) => None,
    });
    let services = beliefs.services.values().filter_map(|service| match &service.listed {
        Listed::Missing(missing) => Some(missing.since + UNLISTED_AFTER),
        Listed::Yes | Listed::No { .. } | Listed::Never { .. } => None,
    });
    outages.chain(services)
}
