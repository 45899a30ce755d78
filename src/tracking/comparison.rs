//! One comparison in progress: the beliefs before it, and the update it builds.
//!
//! Holds no rules. `events`, `services` and `absence` add to it.

use jiff::Timestamp;

use super::confirmation::{Candidate, Confirmation, Pending};
use super::update::Update;
use crate::model::{Beliefs, Change, ChangeKind, Outage, OverBy, Phase};

pub(super) struct Comparison<'a> {
    pub(super) beliefs: &'a Beliefs,
    pub(super) now: Timestamp,
    /// The first document of the database: past events go to the history without a notice.
    pub(super) is_first: bool,
    confirmation: Confirmation,
    pub(super) pending: &'a mut Pending,
    pub(super) update: Update,
    /// Planned and ongoing outages and maintenances, those of the update included.
    pub(super) active: usize,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(
        beliefs: &'a Beliefs,
        pending: &'a mut Pending,
        now: Timestamp,
        update: Update,
    ) -> Comparison<'a> {
        let confirmation = Confirmation::begin(pending);
        let is_first = beliefs.state.first_accepted.is_none();
        let active = beliefs.outages.values().filter(|outage| !outage.is_over()).count();
        Comparison { beliefs, now, is_first, confirmation, pending, update, active }
    }

    pub(super) fn finish(self) -> Update {
        self.confirmation.finish(self.pending);
        self.update
    }

    /// Returns the time of the first observation once a second one has confirmed it.
    pub(super) fn confirmed(&mut self, candidate: Candidate) -> Option<Timestamp> {
        self.confirmation.confirm(candidate, self.now)
    }

    /// Adds an outage and its change. `held` is the belief before it.
    pub(super) fn outage_changed(
        &mut self,
        kind: ChangeKind,
        mut outage: Outage,
        held: Option<&Outage>,
        seen_at: Timestamp,
    ) {
        let serial = outage.counts.entry(kind).or_insert(0);
        *serial += 1;
        let serial = *serial;
        let same = held.filter(|held| held.occurrence == outage.occurrence);
        let ended_at = match &outage.phase {
            // The end of the cancelled plan.
            _ if kind == ChangeKind::Cancelled => held.and_then(|held| held.end),
            // The end of a withdrawn outage is unknown. `seen_at` is when Apple stopped listing it.
            Phase::Over(OverBy::Withdrawal) => None,
            Phase::Ongoing(_) if !outage.kind.is_maintenance() => None,
            // Maintenance announces its end, so that people can plan.
            Phase::Over(OverBy::Apple) | Phase::Ongoing(_) | Phase::Planned(_) => outage.end,
        };
        self.update.changes.push(Change {
            service: outage.service.clone(),
            message_id: Some(outage.message_id.clone()),
            occurrence: Some(outage.occurrence),
            serial,
            outage_kind: Some(outage.kind.clone()),
            was_kind: same.filter(|held| held.kind != outage.kind).map(|held| held.kind.clone()),
            began_at: outage.start,
            ended_at,
            users_affected: outage.users_affected.clone(),
            message: outage.message.clone(),
            ..Change::bare(kind, self.beliefs.feed.clone(), seen_at, self.now)
        });
        self.update.outages.push(outage);
    }

    /// Adds a change about a service and no event.
    pub(super) fn service_changed(
        &mut self,
        kind: ChangeKind,
        service: &str,
        seen_at: Timestamp,
        near: Vec<String>,
    ) {
        let mut change = Change::bare(kind, self.beliefs.feed.clone(), seen_at, self.now);
        change.service = service.to_owned();
        change.near = near;
        self.update.changes.push(change);
    }
}
