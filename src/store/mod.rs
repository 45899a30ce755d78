//! The only SQL: beliefs, changes, deliveries and coverage in one SQLite file.
//!
//! What a look changed, its rows in the history and the deliveries they cause commit in one
//! transaction, synced to disk. The methods are `async` though SQLite answers at once, since a
//! server database comes behind the same surface later; none of them waits inside, so two tasks
//! never interleave within one.
//! Invariant: a delivery and the change that it is about are never apart.

mod absent;
mod alarms;
mod batch;
mod beliefs;
mod cause;
mod condition;
mod coverage;
mod files;
mod kv;
mod mark;
mod outages;
mod outbox;
mod phones;
mod place;
mod poll_stats;
mod purge;
mod queries;
mod reminders;
mod rescue;
mod roots;
mod rows;

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::model::{Beliefs, Change, ChangeKind, Document, FeedId};
use crate::tracking::Update;
use mark::{Mark, Noted};
use place::{Connections, Place};

pub use alarms::ShownAlarm;
pub use batch::{Batching, Waiting};
pub use files::{DATABASE, Observer, OpenError, Opened};
pub use outages::{Announced, StoredOutage};
pub use outbox::{Attempt, DROPPED, RenderedNotice, Settled};
pub use purge::forget;
pub use queries::{ChangeFilter, Span, StoredChange, StoredDelivery, Totals};
pub use reminders::Snooze;

/// A statusd database. Dropping it closes it.
pub struct Store {
    connection: Connections,
    mark: Mark,
    /// Where the daemon's own is; readers come and go too soon to miss a file.
    place: Option<Place>,
    /// Held for as long as the daemon lives; readers have none.
    _lock: Option<File>,
}

/// In `meta`: how many transactions the database had.
const TRANSACTIONS: &str = "transactions";

/// A transaction that is to write.
struct Writing<'a> {
    transaction: Transaction<'a>,
    mark: &'a Mark,
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

/// What a mark of the database as it is now would say.
fn noted(connection: &Connection) -> rusqlite::Result<Noted> {
    let number = |name| kv::get(connection, name).map(Option::unwrap_or_default);
    Ok(Noted { seed: number("seed")?, transactions: number(TRANSACTIONS)? })
}

/// A feed that was last read longer ago, by [`Store::last_readable`], tells nothing of what goes on now:
/// the database hears once an hour that it was read.
pub const READ_LATELY: SignedDuration = SignedDuration::from_mins(90);

/// How a look joins the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// We have been looking since the look before.
    Continues,
    /// The first look of a run, or the first after a sleep: nobody looked in between.
    Begins,
}

/// Says to which channels a change goes, by their names.
pub type Routing<'a> = &'a dyn Fn(&Change) -> Vec<String>;

impl Store {
    fn new(connection: Connection, mark: Mark, place: Option<Place>, lock: Option<File>) -> Store {
        Store { connection: Connections::new(connection), mark, place, _lock: lock }
    }

    /// Opens the daemon's database in `directory`, creating, migrating or replacing it as needed.
    /// Takes the lock: one daemon a directory.
    pub fn open(directory: &Path, now: Timestamp) -> Result<Opened, OpenError> {
        files::open(directory, now, None)
    }

    /// The same, telling `observer` while the database is migrated: before each step, and about once a
    /// second within a long one.
    pub fn open_observed(directory: &Path, now: Timestamp, observer: Observer) -> Result<Opened, OpenError> {
        files::open(directory, now, Some(&observer))
    }

    /// A database in memory that is gone when it is dropped: for tests of channels, and for drills.
    pub fn throw_away() -> rusqlite::Result<Store> {
        files::throw_away()
    }

    /// Opens an existing database beside a running daemon. `None` where there is none yet.
    pub fn attach(directory: &Path, writable: bool) -> Result<Option<Store>, OpenError> {
        files::attach(directory, writable)
    }

    /// What we hold true of `feed`; an unknown feed has a fresh start. Of its outages those that are
    /// planned or going on; [`Store::recall`] adds older ones.
    pub async fn beliefs(&self, feed: &FeedId) -> rusqlite::Result<Beliefs> {
        beliefs::load(&self.connection, feed)
    }

    /// Makes `beliefs` hold, of what is over, the newest occurrence of each event of `document` and no
    /// other: a history of years is not kept in memory for the few ids that come back.
    pub async fn recall(&self, beliefs: &mut Beliefs, document: &Document) -> rusqlite::Result<()> {
        beliefs::recall(&self.connection, beliefs, document)
    }

    /// Makes one update durable: beliefs, history, deliveries and coverage, all or nothing. `looks`
    /// is how often we have looked since something was last written.
    pub async fn commit(
        &self,
        before: &Beliefs,
        update: &Update,
        routing: Routing<'_>,
        coverage: Coverage,
        looks: u64,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let transaction = self.transaction()?;
        beliefs::save(&transaction, before, update)?;
        for change in &update.changes {
            outbox::enqueue(&transaction, change, routing, now)?;
        }
        coverage::mark(&transaction, &before.feed, &update.state.health, coverage, now)?;
        poll_stats::add_polls(&transaction, looks)?;
        transaction.commit()
    }

    /// Records a change that no look brought about.
    pub async fn announce(
        &self,
        change: &Change,
        routing: Routing<'_>,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let transaction = self.transaction()?;
        outbox::enqueue(&transaction, change, routing, now)?;
        if change.kind == ChangeKind::HistoryLost {
            files::told_of_loss(&transaction)?;
        }
        transaction.commit()
    }

    /// Says that the newest span of coverage lasted until `now`: once an hour and at the stop, so
    /// that a power failure costs at most an hour of proof and a quiet poll writes nothing.
    pub async fn checkpoint(
        &self,
        beliefs: &Beliefs,
        coverage: Coverage,
        looks: u64,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let transaction = self.transaction()?;
        coverage::mark(&transaction, &beliefs.feed, &beliefs.state.health, coverage, now)?;
        poll_stats::add_polls(&transaction, looks)?;
        transaction.commit()
    }

    /// A random number made when the database was, the same ever after; for jitter.
    pub async fn seed(&self) -> rusqlite::Result<u64> {
        Ok(kv::get(&self.connection, "seed")?.unwrap_or_default())
    }

    /// Writes the file anew where it was deleted or replaced since it was opened.
    pub async fn keep_file(&self) -> rusqlite::Result<()> {
        match &self.place {
            Some(place) => place.keep(&self.connection),
            None => Ok(()),
        }
    }

    /// Whether the database answers: reads one value and writes nothing.
    pub async fn answers(&self) -> rusqlite::Result<()> {
        kv::get::<u64>(&self.connection, "seed").map(drop)
    }

    fn transaction(&self) -> rusqlite::Result<Writing<'_>> {
        if let Some(place) = &self.place {
            place.keep(&self.connection)?;
        }
        // IMMEDIATE: whoever will write says so at once, or two writers meet half-way.
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let before = noted(&transaction)?;
        let noted = Noted { transactions: before.transactions + 1, ..before };
        kv::set(&transaction, TRANSACTIONS, noted.transactions)?;
        Ok(Writing { transaction, mark: &self.mark, noted })
    }
}
