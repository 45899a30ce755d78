//! The reminder step: puts due reminders of ongoing outages into the outbox.

use super::{PollContext, Poller, PollerState};
use crate::cause::Cause as _;
use crate::model::{Change, Outage, ServiceKey};
use crate::tracking::{self, Acceptance};

impl Poller {
    /// Returns the reminders that were written. After an error they are still due at the next poll.
    pub(super) async fn remind(&self, poll: &PollContext<'_>, verdict: Acceptance) -> Vec<Change> {
        match self.due_reminders(poll, verdict).await {
            Ok(reminders) => reminders,
            Err(error) => {
                tracing::error!("cannot write to the database: {}", error.reason());
                Vec::new()
            }
        }
    }

    /// Writes reminders only after an accepted poll without unconfirmed changes, because a reminder
    /// states that the outage is ongoing now.
    async fn due_reminders(
        &self,
        poll: &PollContext<'_>,
        verdict: Acceptance,
    ) -> rusqlite::Result<Vec<Change>> {
        let PollerState { beliefs, pending, .. } = &self.state;
        let mut reminders = Vec::new();
        if verdict != Acceptance::Accepted
            || pending.oldest().is_some()
            || !tracking::has_trouble(beliefs, &self.watch)
        {
            return Ok(reminders);
        }
        for route in &self.routes {
            let Some(every) = route.policy.remind_every else { continue };
            let (policy, watch) = (route.policy.clone(), self.watch.clone());
            let is_wanted =
                move |outage: &Outage| policy.accepts_watched(&ServiceKey::new(&outage.service), &watch);
            let channel = &route.channel;
            let due = poll.store.remind(&beliefs.feed, channel, every, is_wanted, poll.now).await?;
            reminders.extend(due);
        }
        Ok(reminders)
    }
}
