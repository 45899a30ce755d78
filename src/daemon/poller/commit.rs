//! The commit step: writes the update of a poll, with one delivery for each change and channel.

use tokio::task::yield_now;

use super::{PollContext, Poller, Tracked};
use crate::delivery::policy;
use crate::model::{Change, ServiceKey};
use crate::phones::late_backup;
use crate::tracking::{self, Update};

impl Poller {
    /// Returns the changes as committed. If the commit fails, the unconfirmed changes are as before the
    /// poll.
    pub(super) async fn commit(
        &mut self,
        poll: &PollContext<'_>,
        tracked: Tracked,
    ) -> rusqlite::Result<Vec<Change>> {
        let committed = self.write(poll, tracked.update).await;
        if committed.is_err() {
            self.state.pending = tracked.pending_before;
        }
        committed
    }

    /// Writes a large update in slices. A poll without changes writes nothing but an hourly checkpoint.
    async fn write(&mut self, poll: &PollContext<'_>, mut update: Update) -> rusqlite::Result<Vec<Change>> {
        let (store, now) = (poll.store, poll.now);
        if update.left_out > 0 {
            let (more, most) = (update.left_out, tracking::ACTIVE_MAX);
            tracing::warn!("Apple lists {more} more outages than the maximum of {most}; they are ignored");
        }
        self.add_last_backup(poll, &mut update).await?;
        let state = &mut self.state;
        if update.is_empty(&state.beliefs) {
            if state.needs_checkpoint(now) {
                store.checkpoint(&state.beliefs, state.coverage, state.unwritten_polls, now).await?;
                state.mark_written(now);
            }
            return Ok(Vec::new());
        }
        let channels = |change: &Change| match tracking::is_for(change, &self.watch) {
            true => policy::matching(&self.routes, change),
            false => Vec::new(),
        };
        let mut changes = Vec::new();
        for slice in update.slices(&state.beliefs) {
            changes.extend_from_slice(&slice.changes);
            state.commit(store, slice, &channels, now).await?;
            yield_now().await;
        }
        Ok(changes)
    }

    /// Adds the last backup of the phones to changes that concern a backup, because a notice must need
    /// nothing but its rows.
    async fn add_last_backup(&self, poll: &PollContext<'_>, update: &mut Update) -> rusqlite::Result<()> {
        let is_meant = |change: &Change| {
            change.kind.concerns_a_backup()
                && ServiceKey::new(&change.service).is_backup()
                && tracking::is_for(change, &self.watch)
        };
        if !self.tells_of_phones || !update.changes.iter().any(is_meant) {
            return Ok(());
        }
        let last = late_backup::last_backup(&poll.store.phones().await?, poll.now);
        for change in update.changes.iter_mut().filter(|change| is_meant(change)) {
            change.phone = last;
        }
        Ok(())
    }
}
