//! The loop that deletes old rows once a day (`state.keep`).
//!
//! Each transaction is small, and other tasks run in between. New deliveries go first. The age counts from the
//! last readable poll, so that a clock that is years ahead, with which no poll succeeds, deletes nothing.

use std::rc::Rc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::sleep;

use super::progress::{LEEWAY, Progress};
use crate::cause::Cause as _;
use crate::clock;
use crate::status_socket::DaemonStatus;
use crate::store::{PruneFrom, Store};
use crate::text::counted;

/// After the first polls and deliveries.
const FIRST_AFTER: Duration = Duration::from_secs(10 * 60);
const EVERY: Duration = Duration::from_secs(24 * 3_600);
/// The pause between two transactions.
const PAUSE: Duration = Duration::from_millis(100);
/// The pause while there are new deliveries, or no readable poll yet.
const LATER: Duration = Duration::from_secs(60);
/// The age up to which a pending delivery is new. Older ones may wait for days.
const NEW: SignedDuration = SignedDuration::from_mins(5);
/// The pause after a database error.
const STORE_RETRY: Duration = Duration::from_secs(3_600);
/// Longest duration of a transaction.
pub const STEP_TIMEOUT: Duration = LEEWAY;

pub struct RetentionLoop {
    keep: SignedDuration,
    store: Rc<Store>,
    status: watch::Receiver<DaemonStatus>,
    /// The position in the current run.
    from: PruneFrom,
    /// The rows that the current run has deleted.
    rows: usize,
}

impl RetentionLoop {
    pub fn new(
        keep: SignedDuration,
        store: &Rc<Store>,
        status: watch::Receiver<DaemonStatus>,
    ) -> RetentionLoop {
        RetentionLoop { keep, store: Rc::clone(store), status, from: PruneFrom::default(), rows: 0 }
    }

    /// Deletes old rows until it is stopped, which takes at most one transaction.
    pub async fn run(mut self, mut stopped: watch::Receiver<bool>, progress: &Progress) {
        let mut wait = FIRST_AFTER;
        loop {
            progress.waiting(Some(wait), clock::monotonic_now());
            tokio::select! {
                () = sleep(wait) => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
            progress.working(STEP_TIMEOUT, clock::monotonic_now());
            wait = self.step(clock::now()).await.unwrap_or_else(|error| {
                tracing::error!("cannot delete old rows of the database: {}", error.reason());
                STORE_RETRY
            });
        }
    }

    /// Runs one transaction. Returns the pause before the next.
    async fn step(&mut self, now: Timestamp) -> rusqlite::Result<Duration> {
        let polled = self.status.borrow().last_good_poll_at;
        let Some(before) = polled.and_then(|polled| polled.checked_sub(self.keep).ok()) else {
            return Ok(LATER);
        };
        let new = now.checked_sub(NEW).unwrap_or(Timestamp::MIN);
        if self.store.has_news_since(new).await? {
            return Ok(LATER);
        }
        let pruned = self.store.prune(self.from, before).await?;
        self.rows += pruned.rows;
        let Some(next) = pruned.next else {
            if self.rows > 0 {
                tracing::info!("deleted {} older than state.keep", counted(self.rows, "row"));
            }
            (self.from, self.rows) = (PruneFrom::default(), 0);
            return Ok(EVERY);
        };
        self.from = next;
        Ok(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Beliefs, Change, Edition, FeedHealth, FeedId};
    use crate::store::Coverage;

    #[tokio::test]
    async fn a_run_waits_for_a_readable_poll_and_for_new_deliveries() {
        let now: Timestamp = "2027-05-05T12:00:00Z".parse().expect("a time");
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        let store = Rc::new(Store::open_in_memory().expect("a database"));
        let mut beliefs = Beliefs::new(feed.clone());
        beliefs.state.health = FeedHealth::Readable { since: now - days(800) };
        for ago in [800, 700, 1] {
            store.checkpoint(&beliefs, Coverage::Begins, 1, now - days(ago)).await.expect("written");
        }
        let spans = async || store.coverage(&feed, Timestamp::MIN).await.expect("read").len();
        let (status, watched) = watch::channel(DaemonStatus::starting(now));
        let mut retention = RetentionLoop::new(days(400), &store, watched);
        // The clock is years ahead, so that no poll has succeeded.
        assert_eq!(retention.step(now + days(9_000)).await, Ok(LATER));
        status.send_modify(|status| status.last_good_poll_at = Some(now));
        let change = Change::history_lost(feed.clone(), "elsewhere", now);
        store.record_change(&change, &|_| vec!["log".to_owned()], now).await.expect("written");
        assert_eq!(retention.step(now).await, Ok(LATER));
        assert_eq!(spans().await, 3);
        let later = now + SignedDuration::from_mins(6);
        while retention.step(later).await != Ok(EVERY) {}
        assert_eq!(spans().await, 1);
        assert_eq!(retention.from, PruneFrom::default(), "the next run begins again");
    }
}
