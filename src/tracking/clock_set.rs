//! Shifts the running counts after the system clock was set.

use jiff::{SignedDuration, Timestamp};

use super::confirmation::Pending;
use super::update::{Acceptance, Update};
use crate::model::{Beliefs, FeedHealth, Listed, Phase, Service};

/// Shifts the start of everything that is being timed by the amount the clock was set. The store
/// writes the result like any update, so that a restart does not find the old times.
pub fn clock_set(beliefs: &Beliefs, pending: &mut Pending, by: SignedDuration) -> Update {
    let shift = |time: &mut Timestamp| *time = time.checked_add(by).unwrap_or(*time);
    pending.first_seen.values_mut().for_each(shift);
    let mut update = Update::new(Acceptance::Accepted, beliefs.state.clone());
    if let Some(run) = &mut update.state.stale {
        shift(&mut run.since);
    }
    if let FeedHealth::Readable { since } | FeedHealth::Unreadable { since, .. } = &mut update.state.health {
        shift(since);
    }
    for outage in beliefs.outages.values() {
        let mut outage = outage.clone();
        if let Phase::Planned(Some(missing)) | Phase::Ongoing(Some(missing)) = &mut outage.phase {
            shift(&mut missing.since);
            update.outages.push(outage);
        }
    }
    for (key, service) in &beliefs.services {
        if let Listed::Missing(missing) = &service.listed {
            let mut missing = missing.clone();
            shift(&mut missing.since);
            update
                .services
                .push((key.clone(), Service { listed: Listed::Missing(missing), ..service.clone() }));
        }
    }
    update
}
