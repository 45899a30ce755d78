//! The result of one poll: what to believe from now on, and what changed.
//!
//! The store writes an [`Update`] in one transaction, or in several [`Update::slices`]. Nothing is
//! decided here.

use std::collections::BTreeMap;

use crate::model::{Beliefs, Change, FeedState, Outage, Service, ServiceKey};

/// Outages that one transaction writes, with their changes and deliveries.
const SLICE_OUTAGES: usize = 100;

/// The result of the comparison for the document as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    Accepted,
    /// Older than one already accepted. Changed nothing.
    Stale,
    /// Older, but accepted because nothing newer came for hours.
    AcceptedOlder,
    /// No document could be read.
    Unreadable,
}

/// The effect of one poll. Write it in one transaction, then apply it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub verdict: Acceptance,
    pub state: FeedState,
    /// New or changed outages.
    pub outages: Vec<Outage>,
    /// New or changed services.
    pub services: Vec<(ServiceKey, Service)>,
    /// Watched names that no longer need to be remembered.
    pub forgotten: Vec<ServiceKey>,
    /// In the order in which people should read them.
    pub changes: Vec<Change>,
    /// Number of events ignored because [`ACTIVE_MAX`](super::ACTIVE_MAX) others are active.
    pub left_out: usize,
}

impl Update {
    pub(super) fn new(verdict: Acceptance, state: FeedState) -> Update {
        let (outages, services, forgotten, changes, left_out) = Default::default();
        Update { verdict, state, outages, services, forgotten, changes, left_out }
    }

    /// Splits a large update into parts with at most 100 outages each, to be written and applied in
    /// order. A change is in the same part as its outage. `first_accepted` of a first document is set
    /// by the last part, because past events stay silent until then.
    pub fn slices(mut self, before: &Beliefs) -> Vec<Update> {
        if self.outages.len() <= SLICE_OUTAGES {
            return vec![self];
        }
        let outages = std::mem::take(&mut self.outages);
        let mut about: BTreeMap<(ServiceKey, String), Vec<Change>> = BTreeMap::new();
        let mut others = Vec::new();
        for change in std::mem::take(&mut self.changes) {
            match change.message_id.clone() {
                Some(id) => about.entry((ServiceKey::new(&change.service), id)).or_default().push(change),
                None => others.push(change),
            }
        }
        let last_state = self.state.clone();
        self.state.first_accepted = before.state.first_accepted;
        let (verdict, state) = (self.verdict, self.state.clone());
        let mut slices = vec![Update { changes: others, ..self }];
        for (index, outages) in outages.chunks(SLICE_OUTAGES).enumerate() {
            if index > 0 {
                slices.push(Update::new(verdict, state.clone()));
            }
            let slice = &mut slices[index];
            let identity = |outage: &Outage| (ServiceKey::new(&outage.service), outage.message_id.clone());
            let changes = outages.iter().filter_map(|outage| about.remove(&identity(outage)));
            slice.changes.extend(changes.flatten());
            slice.outages = outages.to_vec();
        }
        slices.iter_mut().last().expect("one at least").state = last_state;
        slices
    }

    /// Returns whether there is nothing to write.
    pub fn is_empty(&self, beliefs: &Beliefs) -> bool {
        self.state == beliefs.state
            && self.outages.is_empty()
            && self.services.is_empty()
            && self.forgotten.is_empty()
            && self.changes.is_empty()
    }

    /// Applies the update in memory. Call after the transaction has committed.
    pub fn apply(self, beliefs: &mut Beliefs) {
        beliefs.state = self.state;
        for outage in self.outages {
            beliefs.outages.insert((ServiceKey::new(&outage.service), outage.message_id.clone()), outage);
        }
        for key in &self.forgotten {
            beliefs.services.remove(key);
        }
        beliefs.services.extend(self.services);
    }
}
