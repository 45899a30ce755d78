//! The open database, as the jobs of [`Store`](super::Store) use it on its thread.

use std::fs::File;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Result, Row, ToSql, Transaction, TransactionBehavior};

use super::commit_mark::{CommitMark, Noted};
use super::database_file::{Connections, DatabaseFile};
use super::kv;

/// Name in `meta`: the number of transactions so far.
const TRANSACTIONS: &str = "transactions";
/// Virtual machine steps of SQLite between two checks for an interrupt: well below a millisecond.
const INTERRUPT_STEPS: i32 = 1_000;

/// An open database. Dropping it closes the connection first, then the other files.
pub struct OpenDatabase {
    connection: Connections,
    mark: CommitMark,
    /// The daemon's file. `None` for readers, which exit too soon to miss a deleted file.
    file: Option<DatabaseFile>,
    /// Held while the daemon runs. `None` for readers.
    _lock: Option<File>,
    running: Running,
}

/// The flag that interrupts the running job.
type Running = Arc<Mutex<Arc<AtomicBool>>>;

impl Deref for OpenDatabase {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl OpenDatabase {
    pub fn new(
        connection: Connection,
        mark: CommitMark,
        file: Option<DatabaseFile>,
        lock: Option<File>,
    ) -> OpenDatabase {
        let running = Running::default();
        OpenDatabase { connection: Connections::new(connection), mark, file, _lock: lock, running }
    }

    /// Returns a database whose jobs can be interrupted.
    pub fn read_only(mut connection: Connection) -> Result<OpenDatabase> {
        let running = Running::default();
        let shared = Arc::clone(&running);
        let is_cancelled =
            move || shared.lock().unwrap_or_else(PoisonError::into_inner).load(Ordering::Relaxed);
        connection.progress_handler(INTERRUPT_STEPS, Some(is_cancelled))?;
        Ok(OpenDatabase { running, ..OpenDatabase::new(connection, CommitMark::none(), None, None) })
    }

    /// Rewrites the file if it was deleted or replaced since it was opened.
    pub fn keep_file(&self) -> Result<()> {
        match &self.file {
            Some(file) => file.keep(&self.connection),
            None => Ok(()),
        }
    }

    pub fn transaction(&self) -> Result<Writing<'_>> {
        self.keep_file()?;
        // IMMEDIATE takes the write lock at once; otherwise two writers can deadlock.
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let before = noted(&transaction)?;
        let noted = Noted { transactions: before.transactions + 1, ..before };
        kv::set(&transaction, TRANSACTIONS, noted.transactions)?;
        Ok(Writing { transaction, mark: &self.mark, noted })
    }

    /// Runs a job whose statements fail once `cancelled` is set. Only for [`OpenDatabase::read_only`].
    pub fn interruptible<T>(&self, cancelled: Arc<AtomicBool>, job: impl FnOnce(&OpenDatabase) -> T) -> T {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = cancelled;
        job(self)
    }

    pub fn list<T>(
        &self,
        sql: &str,
        arguments: &[&dyn ToSql],
        read: impl FnMut(&Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.prepare_cached(sql)?;
        statement.query_map(arguments, read)?.collect()
    }
}

/// A write transaction.
pub struct Writing<'a> {
    transaction: Transaction<'a>,
    mark: &'a CommitMark,
    noted: Noted,
}

impl Writing<'_> {
    pub fn commit(self) -> Result<()> {
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
pub fn noted(connection: &Connection) -> Result<Noted> {
    let number = |name| kv::get(connection, name).map(Option::unwrap_or_default);
    Ok(Noted { seed: number("seed")?, transactions: number(TRANSACTIONS)? })
}
