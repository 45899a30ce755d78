//! Applies `transition` to one listed event: confirmation, the limit and the first document.
//!
//! The rules for the event itself are in `transition`, those for events no longer listed in `absence`.

use super::ACTIVE_MAX;
use super::comparison::Comparison;
use super::transition::{Transition, observe, transition};
use crate::model::{ChangeKind, Event, Outage, Phase, ServiceKey};

impl Comparison<'_> {
    /// Compares one event. Returns whether the document still lists the outage held under its id.
    pub(super) fn event_seen(&mut self, key: &ServiceKey, service: &str, event: &Event) -> bool {
        let held = self.beliefs.outages.get(&(key.clone(), event.message_id.clone()));
        let Some(seen) = observe(event, held, self.now) else { return false };
        let (kind, mut outage) = match transition(held, &seen, service, self.now) {
            Transition::Absent => return false,
            Transition::Same => return self.seen_again(held),
            // Over before the first poll: history only.
            Transition::Changed(ChangeKind::Missed, outage) if self.is_first => (ChangeKind::Noted, outage),
            Transition::Changed(kind, outage) => (kind, outage),
        };
        let begins = !outage.is_over() && held.is_none_or(Outage::is_over);
        if begins && self.active >= ACTIVE_MAX {
            self.update.left_out += 1;
            return false;
        }
        let times = (kind == ChangeKind::Moved).then_some((outage.start, outage.end));
        let candidate = (key.clone(), outage.message_id.clone(), outage.occurrence, kind, times);
        let first_seen = match kind {
            ChangeKind::Noted if self.is_first => Some(self.now),
            _ => self.confirmed(candidate),
        };
        let Some(first_seen) = first_seen else { return self.seen_again(held) };
        if held.is_none_or(|held| held.occurrence != outage.occurrence) {
            outage.first_seen = first_seen;
        }
        self.active += usize::from(begins);
        self.outage_changed(kind, outage, held, first_seen);
        true
    }

    /// Clears the mark of absence. Always returns true.
    fn seen_again(&mut self, held: Option<&Outage>) -> bool {
        let phase = match held.map(|held| &held.phase) {
            Some(Phase::Planned(Some(_))) => Phase::Planned(None),
            Some(Phase::Ongoing(Some(_))) => Phase::Ongoing(None),
            Some(Phase::Planned(None) | Phase::Ongoing(None) | Phase::Over(_)) | None => return true,
        };
        self.update.outages.extend(held.map(|held| Outage { phase, ..held.clone() }));
        true
    }
}
