//! Reports that the opening of a database goes on, so that a service manager does not end a long one.
//!
//! Reports come from the work itself (`the_check_and_the_recovery_of_a_large_database_are_reported`): a work that hangs is not
//! reported.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

/// Virtual machine steps of SQLite, or pages that it checks, between two looks at the clock.
const STEPS: c_int = 1_000;
const EVERY: Duration = Duration::from_secs(1);

/// The work that takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenStep {
    /// Looks for damage.
    Checking,
    /// Copies the rows of a damaged database to a new one.
    Recovering,
    Migrating,
}

/// A callback during the opening of a database. May be called from any thread.
#[derive(Clone)]
pub struct Observer {
    report: Arc<dyn Fn(OpenStep) + Send + Sync>,
    every: Duration,
    start: Instant,
    /// The time of the last report in milliseconds since the start.
    last_ms: Arc<AtomicU64>,
}

impl Observer {
    /// Returns an observer that calls `report` at each migration step, and about once a second during any
    /// other work. A quick start has no report.
    pub fn new(report: impl Fn(OpenStep) + Send + Sync + 'static) -> Observer {
        Observer {
            report: Arc::new(report),
            every: EVERY,
            start: Instant::now(),
            last_ms: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Returns an observer that reports nothing.
    pub fn none() -> Observer {
        Observer { every: Duration::MAX, ..Observer::new(|_| ()) }
    }

    /// Reports the beginning of a step.
    pub(super) fn begin(&self, step: OpenStep) {
        self.last_ms.store(self.now_ms(), Ordering::Relaxed);
        (self.report)(step);
    }

    /// Reports a step, if the last report is old.
    pub(super) fn tick(&self, step: OpenStep) {
        let since = self.now_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed));
        if Duration::from_millis(since) >= self.every {
            self.begin(step);
        }
    }

    /// Reports the step also within one long statement of `connection`.
    pub(super) fn attach(&self, connection: &mut Connection, step: OpenStep) -> rusqlite::Result<()> {
        let observer = self.clone();
        let goes_on = move || {
            observer.tick(step);
            // Tells SQLite not to interrupt the statement.
            false
        };
        connection.progress_handler(STEPS, Some(goes_on))
    }

    pub(super) fn detach(connection: &mut Connection) -> rusqlite::Result<()> {
        connection.progress_handler(0, None::<fn() -> bool>)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns an observer that reports as often as possible, or at the beginning of steps only.
    #[cfg(test)]
    pub(super) fn every(report: impl Fn(OpenStep) + Send + Sync + 'static, every: Duration) -> Observer {
        Observer { every, ..Observer::new(report) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use jiff::Timestamp;
    use tempfile::TempDir;

    use super::super::commit_mark::MARK;
    use super::super::files::{DATABASE, open};
    use super::*;

    /// Opens the database in `directory`. Returns the steps that were reported, and their number.
    fn steps(directory: &TempDir, every: Duration) -> (BTreeSet<&'static str>, usize) {
        let seen = Arc::new(Mutex::new((BTreeSet::new(), 0)));
        let record = Arc::clone(&seen);
        let report = move |step: OpenStep| {
            let word = match step {
                OpenStep::Checking => "checking",
                OpenStep::Recovering => "recovering",
                OpenStep::Migrating => "migrating",
            };
            let mut seen = record.lock().expect("steps");
            seen.0.insert(word);
            seen.1 += 1;
        };
        assert!(open(directory.path(), Timestamp::UNIX_EPOCH, &Observer::every(report, every)).is_ok());
        let seen = seen.lock().expect("steps");
        (seen.0.clone(), seen.1)
    }

    /// Otherwise systemd ends the start of a large database after `TimeoutStartSec=`, again and again.
    #[test]
    fn the_check_and_the_recovery_of_a_large_database_are_reported() {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join(DATABASE);
        assert_eq!(steps(&directory, Duration::ZERO), (BTreeSet::new(), 0), "a new database");
        let connection = Connection::open(&path).expect("a database");
        let rows = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
            INSERT INTO notice (channel, key, title, body, severity, payload, created_at)
            SELECT 'log', i, '', '', 'info', '', '2026-05-05T09:41:00Z' FROM n";
        connection.execute_batch(rows).expect("rows");
        drop(connection);
        let (seen, few) = steps(&directory, Duration::ZERO);
        assert_eq!(seen, BTreeSet::from(["checking"]));
        assert!(few > 100, "{few} reports");
        assert_eq!(steps(&directory, Duration::MAX).1, 0, "a quick start has no report");
        let mut bytes = std::fs::read(&path).expect("a database");
        let page = bytes.len() / 4_096 / 2 * 4_096;
        bytes[page..page + 64].fill(0xff);
        std::fs::write(&path, bytes).expect("damaged");
        std::fs::remove_file(directory.path().join(MARK)).expect("removed");
        let (seen, _) = steps(&directory, Duration::ZERO);
        assert_eq!(seen, BTreeSet::from(["checking", "recovering"]));
    }

    #[tokio::test]
    async fn the_digest_of_a_large_file_is_reported() {
        let directory = TempDir::new().expect("a directory");
        let opened = open(directory.path(), Timestamp::UNIX_EPOCH, &Observer::none())
            .unwrap_or_else(|error| panic!("{error}"));
        let row = "INSERT INTO notice (channel, key, title, body, severity, payload, created_at)
            VALUES ('log', '', '', '', 'info', hex(zeroblob(16000000)), '2026-05-05T09:41:00Z')";
        let other = Connection::open(directory.path().join(DATABASE)).expect("the same database");
        other.execute_batch(row).expect("a row");
        drop(other);
        opened.store.snooze(Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH).await.expect("a transaction");
        // A stop writes the digest, which the next start compares.
        drop(opened);
        let (seen, reports) = steps(&directory, Duration::ZERO);
        assert_eq!(seen, BTreeSet::from(["checking"]));
        assert!(reports > 300, "{reports} reports");
    }
}
