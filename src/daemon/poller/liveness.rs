//! The liveness step: writes the liveness report when its schedule is due.

use super::{PollContext, Poller};
use crate::cause::Cause as _;
use crate::delivery::policy;
use crate::model::{Change, FeedHealth};
use crate::tracking;

impl Poller {
    /// Writes a due liveness report. After an error the report is still due at the next poll.
    pub(super) async fn report_liveness(&mut self, poll: &PollContext<'_>) {
        if let Err(error) = self.write_liveness(poll).await {
            tracing::error!("cannot write a liveness report to the database: {}", error.reason());
        }
    }

    async fn write_liveness(&mut self, poll: &PollContext<'_>) -> rusqlite::Result<()> {
        let (store, now) = (poll.store, poll.now);
        let Some(schedule) = &self.liveness else { return Ok(()) };
        let last = match self.state.liveness_at {
            Some(last) => last,
            None => store.last_liveness_report(now).await?,
        };
        self.state.liveness_at = Some(last);
        // A clock that was set back must not suppress the reports for years.
        if last <= now && schedule.next_after(last).is_none_or(|due| due > now) {
            return Ok(());
        }
        self.state.checkpoint(store).await?;
        let beliefs = &self.state.beliefs;
        let last_good = match beliefs.state.health {
            FeedHealth::Readable { .. } => Some(now),
            FeedHealth::Unreadable { .. } | FeedHealth::Unknown => store.last_readable(&beliefs.feed).await?,
        };
        let report = Change {
            began_at: Some(last),
            ended_at: last_good,
            ..Change::liveness(beliefs.feed.clone(), &tracking::troubled_services(beliefs, &self.watch), now)
        };
        store.report_liveness(report, &|change| policy::matching(&self.routes, change), now).await?;
        self.state.liveness_at = Some(now);
        Ok(())
    }
}
