//! The database: beliefs, changes, deliveries and coverage in one SQLite file. Contains all SQL.
//!
//! The changes of a poll, the new beliefs and the deliveries commit in one transaction, synced to disk.
//! The methods are `async` although SQLite blocks, because a server database is to come behind the same
//! interface. None of them awaits, so two tasks never interleave within one.

mod absent_channels;
mod alarms;
mod batch;
mod beliefs;
mod cause;
mod commit_mark;
mod condition;
mod connection;
mod coverage;
mod database_file;
mod disk;
mod files;
mod kv;
mod migration;
mod notices;
mod observer;
mod open_error;
mod outages;
mod outbox;
mod phones;
mod poll_stats;
mod purge;
mod queries;
mod reminders;
mod replacement;
mod rescue;
mod retention;
mod root_pages;
mod rows;

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::model::{Beliefs, Change, ChangeKind, Document, FeedId};
use crate::tracking::Update;
use commit_mark::{CommitMark, Noted};
use database_file::{Connections, DatabaseFile};

pub use alarms::ShownAlarm;
pub use batch::{Batching, Waiting};
pub use files::{DATABASE, Opened};
pub use notices::{Attempt, RenderedNotice};
pub use observer::{Observer, OpenStep};
pub use open_error::OpenError;
pub use outages::{Announced, StoredOutage};
pub use outbox::{DROPPED, Settled};
pub use purge::purge;
pub use queries::{ChangeFilter, Span, StoredChange, StoredDelivery, Totals};
pub use reminders::Snooze;
pub use retention::{PruneFrom, Pruned};

/// A statusd database. Dropping it closes it.
pub struct Store {
    connection: Connections,
    mark: CommitMark,
    /// The daemon's file. `None` for readers, which exit too soon to miss a deleted file.
    file: Option<DatabaseFile>,
    /// Held while the daemon runs. `None` for readers.
    _lock: Option<File>,
}

/// Name in `meta`: the number of transactions so far.
const TRANSACTIONS: &str = "transactions";

/// A write transaction.
struct Writing<'a> {
    transaction: Transaction<'a>,
    mark: &'a CommitMark,
    noted: Noted,
}

impl Writing<'_> {
    fn commit(self) -> rusqlite::Result<()> {
        self.transaction.commit()?;
        self.mark.note(self.noted);
        Ok(())
    }
}

impl<'a> Deref for Writing<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.transaction
    }
}

/// Returns the mark for the current state of the database.
fn noted(connection: &Connection) -> rusqlite::Result<Noted> {
    let number = |name| kv::get(connection, name).map(Option::unwrap_or_default);
    Ok(Noted { seed: number("seed")?, transactions: number(TRANSACTIONS)? })
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

impl Store {
    fn new(
        connection: Connection,
        mark: CommitMark,
        file: Option<DatabaseFile>,
        lock: Option<File>,
    ) -> Store {
        Store { connection: Connections::new(connection), mark, file, _lock: lock }
    }

    /// Opens the daemon's database in `directory`. Creates, migrates or replaces the database as needed,
    /// and takes the lock: one daemon per directory.
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
    pub fn open_existing(directory: &Path, writable: bool) -> Result<Option<Store>, OpenError> {
        files::open_existing(directory, writable)
    }

    /// Returns the beliefs about `feed`, which are empty for an unknown feed. Includes planned and ongoing
    /// outages; [`Store::recall`] adds older ones.
    pub async fn beliefs(&self, feed: &FeedId) -> rusqlite::Result<Beliefs> {
        beliefs::load(&self.connection, feed)
    }

    /// Loads the newest occurrence of each event of `document` into `beliefs`, and drops all other
    /// outages that are over, so that years of history do not stay in memory.
    pub async fn recall(&self, beliefs: &mut Beliefs, document: &Document) -> rusqlite::Result<()> {
        beliefs::recall(&self.connection, beliefs, document)
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
        let transaction = self.transaction()?;
        beliefs::save(&transaction, before, update)?;
        for change in &update.changes {
            outbox::enqueue(&transaction, change, routing, now)?;
        }
        coverage::mark(&transaction, &before.feed, &update.state.health, coverage, now)?;
        poll_stats::add_polls(&transaction, polls)?;
        transaction.commit()
    }

    /// Records a change that is not the result of a poll, with its deliveries.
    pub async fn record_change(
        &self,
        change: &Change,
        routing: Routing<'_>,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let transaction = self.transaction()?;
        outbox::enqueue(&transaction, change, routing, now)?;
        if change.kind == ChangeKind::HistoryLost {
            files::mark_loss_announced(&transaction)?;
        }
        transaction.commit()
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
        let transaction = self.transaction()?;
        coverage::mark(&transaction, &beliefs.feed, &beliefs.state.health, coverage, now)?;
        poll_stats::add_polls(&transaction, polls)?;
        transaction.commit()
    }

    /// Returns a random number that is fixed for the life of the database, for jitter.
    pub async fn seed(&self) -> rusqlite::Result<u64> {
        Ok(kv::get(&self.connection, "seed")?.unwrap_or_default())
    }

    /// Rewrites the file if it was deleted or replaced since it was opened.
    pub async fn keep_file(&self) -> rusqlite::Result<()> {
        match &self.file {
            Some(file) => file.keep(&self.connection),
            None => Ok(()),
        }
    }

    /// Reads one value, to verify that the database works. Writes nothing.
    pub async fn check_readable(&self) -> rusqlite::Result<()> {
        kv::get::<u64>(&self.connection, "seed").map(drop)
    }

    fn transaction(&self) -> rusqlite::Result<Writing<'_>> {
        if let Some(file) = &self.file {
            file.keep(&self.connection)?;
        }
        // IMMEDIATE takes the write lock at once; otherwise two writers can deadlock.
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let before = noted(&transaction)?;
        let noted = Noted { transactions: before.transactions + 1, ..before };
        kv::set(&transaction, TRANSACTIONS, noted.transactions)?;
        Ok(Writing { transaction, mark: &self.mark, noted })
    }
}
