//! The database: beliefs, changes, deliveries and coverage in one SQLite file. Contains all SQL.
//!
//! The changes of a poll, the new beliefs and the deliveries commit in one transaction, synced to disk.
//!
//! SQLite runs on a thread of its own, so that a slow disk blocks no task. Each method is one job, and a
//! job is at most one transaction. A caller that is dropped meanwhile does not cancel its job: the job has
//! run wholly or not at all before the next one begins (`tests/it/cancellation.rs`). Other tasks and other
//! processes run between two calls.

mod absent_channels;
mod alarms;
mod attempts;
mod batch;
mod beliefs;
mod cause;
mod change_pages;
mod commit_mark;
mod condition;
mod connection;
mod coverage;
mod database_file;
mod disk;
mod files;
mod kv;
mod metrics;
mod migration;
mod notices;
mod observer;
mod open_database;
mod open_error;
mod outages;
mod outbox;
mod phones;
mod poll_stats;
mod posted;
mod purge;
mod queries;
mod reminders;
mod replacement;
mod rescue;
mod retention;
mod root_pages;
mod rows;
mod worker;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::{SignedDuration, Timestamp};

use crate::model::{Beliefs, Change, ChangeKind, Document, FeedId};
use crate::tracking::Update;
use open_database::OpenDatabase;
use worker::Worker;

pub use alarms::ShownAlarm;
pub use attempts::StoredAttempt;
pub use batch::{Batching, Waiting};
pub use change_pages::ChangePage;
pub use files::{DATABASE, Opened};
pub use metrics::{ChannelBacklog, OutageTally, Tallied};
pub use notices::{Attempt, RenderedNotice};
pub use observer::{Observer, OpenStep};
pub use open_error::OpenError;
pub use outages::{Announced, StoredOutage};
pub use outbox::{DROPPED, Settled};
pub use posted::{HistoryFilter, HistoryKind, HistoryPage, HistoryPlace, KindDelivery, PostedOutage};
pub use purge::purge;
pub use queries::{ChangeFilter, Span, StoredChange, StoredDelivery, Totals};
pub use reminders::Snooze;
pub use retention::{PruneFrom, Pruned};

/// A statusd database. Dropping it finishes the queued jobs and closes the database.
pub struct Store {
    worker: Worker<OpenDatabase>,
    is_read_only: bool,
}

/// The maximum age of [`Store::last_readable`] for a statement about the present. More than an hour,
/// because a quiet feed is recorded only once an hour.
pub const READ_LATELY: SignedDuration = SignedDuration::from_mins(90);

/// The relation of a poll to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// statusd has been polling since the previous poll.
    Continues,
    /// The first poll of a run or after a suspend, with a gap before it.
    Begins,
}

/// Returns the names of the channels for a change.
pub type Routing<'a> = &'a dyn Fn(&Change) -> Vec<String>;

/// Sets the flag when it is dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Store {
    fn new(database: OpenDatabase, is_read_only: bool) -> Store {
        Store { worker: Worker::start("store", database), is_read_only }
    }

    /// Runs a job after all earlier ones. On a read-only database, dropping the future interrupts the job.
    async fn run<T: Send + 'static>(&self, job: impl FnOnce(&OpenDatabase) -> T + Send + 'static) -> T {
        if !self.is_read_only {
            return self.worker.run(job).await;
        }
        let cancelled = CancelOnDrop(Arc::default());
        let flag = Arc::clone(&cancelled.0);
        self.worker.run(move |database| database.interruptible(flag, job)).await
    }

    /// Opens the daemon's database in `directory`. Creates, migrates or replaces the database as needed,
    /// and takes the lock: one daemon per directory. Blocks the thread.
    pub fn open(directory: &Path, now: Timestamp) -> Result<Opened, OpenError> {
        files::open(directory, now, &Observer::none())
    }

    /// Like [`Store::open`]. Calls `observer` before each migration step, and about once a second during a long
    /// check, migration or recovery.
    pub fn open_observed(directory: &Path, now: Timestamp, observer: Observer) -> Result<Opened, OpenError> {
        files::open(directory, now, &observer)
    }

    /// Opens an empty database in memory, for `test-notice`, `drill` and tests.
    pub fn open_in_memory() -> rusqlite::Result<Store> {
        files::open_in_memory()
    }

    /// Opens an existing database, also beside a running daemon. `None` if there is none yet.
    ///
    /// If it is not `writable`, dropping the future of a query interrupts the query, so that a caller can
    /// limit its time with [`tokio::time::timeout`].
    pub fn open_existing(directory: &Path, writable: bool) -> Result<Option<Store>, OpenError> {
        files::open_existing(directory, writable)
    }

    /// Returns the beliefs about `feed`, which are empty for an unknown feed. Includes planned and ongoing
    /// outages; [`Store::recall`] adds older ones.
    pub async fn beliefs(&self, feed: &FeedId) -> rusqlite::Result<Beliefs> {
        let feed = feed.clone();
        self.run(move |database| beliefs::load(database, &feed)).await
    }

    /// Loads the newest occurrence of each event of `document` into `beliefs`, and drops all other
    /// outages that are over, so that years of history do not stay in memory.
    pub async fn recall(&self, beliefs: &mut Beliefs, document: &Document) -> rusqlite::Result<()> {
        let unknown = beliefs::forget_unlisted(beliefs, document);
        let feed = beliefs.feed.clone();
        let found = self.run(move |database| beliefs::newest(database, &feed, unknown)).await?;
        beliefs.outages.extend(found);
        Ok(())
    }

    /// Commits one update: beliefs, history, deliveries and coverage. `polls` is the number of polls since
    /// the last write.
    pub async fn commit(
        &self,
        before: &Beliefs,
        update: &Update,
        routing: Routing<'_>,
        coverage: Coverage,
        polls: u64,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let (feed, is_same_state) = (before.feed.clone(), update.state == before.state);
        let channels: Vec<Vec<String>> = update.changes.iter().map(routing).collect();
        let update = update.clone();
        let commit = move |database: &OpenDatabase| {
            let transaction = database.transaction()?;
            beliefs::save(&transaction, &feed, &update, is_same_state)?;
            for (change, channels) in update.changes.iter().zip(&channels) {
                outbox::enqueue(&transaction, change, channels, now)?;
            }
            coverage::mark(&transaction, &feed, &update.state.health, coverage, now)?;
            poll_stats::add_polls(&transaction, polls)?;
            transaction.commit()
        };
        self.run(commit).await
    }

    /// Records a change that is not the result of a poll, with its deliveries.
    pub async fn record_change(
        &self,
        change: &Change,
        routing: Routing<'_>,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let (change, channels) = (change.clone(), routing(change));
        let record = move |database: &OpenDatabase| {
            let transaction = database.transaction()?;
            outbox::enqueue(&transaction, &change, &channels, now)?;
            if change.kind == ChangeKind::HistoryLost {
                files::mark_loss_announced(&transaction)?;
            }
            transaction.commit()
        };
        self.run(record).await
    }

    /// Extends the newest span of coverage to `now`. Called once an hour and at the stop, so that a quiet
    /// poll writes nothing and a power failure loses at most an hour of coverage.
    pub async fn checkpoint(
        &self,
        beliefs: &Beliefs,
        coverage: Coverage,
        polls: u64,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let (feed, health) = (beliefs.feed.clone(), beliefs.state.health.clone());
        let write = move |database: &OpenDatabase| {
            let transaction = database.transaction()?;
            coverage::mark(&transaction, &feed, &health, coverage, now)?;
            poll_stats::add_polls(&transaction, polls)?;
            transaction.commit()
        };
        self.run(write).await
    }

    /// Returns a random number that is fixed for the life of the database, for jitter.
    pub async fn seed(&self) -> rusqlite::Result<u64> {
        self.run(|database| Ok(kv::get(database, "seed")?.unwrap_or_default())).await
    }

    /// Rewrites the file if it was deleted or replaced since it was opened.
    pub async fn keep_file(&self) -> rusqlite::Result<()> {
        self.run(OpenDatabase::keep_file).await
    }

    /// Reads one value, to verify that the database works. Writes nothing.
    pub async fn check_readable(&self) -> rusqlite::Result<()> {
        self.run(|database| kv::get::<u64>(database, "seed").map(drop)).await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    const ENDLESS: &str =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

    fn existing(directory: &Path, writable: bool) -> Store {
        Store::open_existing(directory, writable).expect("readable").expect("a database")
    }

    #[tokio::test]
    async fn a_dropped_query_of_a_reader_ends_and_the_next_one_runs() {
        let directory = tempfile::tempdir().expect("a directory");
        drop(Store::open(directory.path(), Timestamp::UNIX_EPOCH).expect("a database"));
        let reader = existing(directory.path(), false);
        let query = |sql: &'static str| {
            reader.run(move |database| database.query_row(sql, [], |row| row.get::<_, i64>(0)))
        };
        for _ in 0..3 {
            assert!(pin!(query(ENDLESS)).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(query("SELECT 1").await, Ok(1));
        let limited = tokio::time::timeout(std::time::Duration::from_millis(1), query(ENDLESS));
        assert!(limited.await.is_err());
        assert_eq!(query("SELECT 2").await, Ok(2));
    }

    #[tokio::test]
    async fn a_database_without_its_values_is_not_readable() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path(), Timestamp::UNIX_EPOCH).expect("a database").store;
        assert_eq!(store.check_readable().await, Ok(()));
        let other = rusqlite::Connection::open(directory.path().join(DATABASE)).expect("the same database");
        other.execute("DROP TABLE meta", []).expect("dropped");
        assert!(store.check_readable().await.is_err());
    }
}
