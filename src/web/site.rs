//! What the handlers of requests share: the configuration, a read-only database, the daemon's status.
//!
//! No request blocks the thread of the daemon: the database is opened, read and closed on other threads, and
//! every request has a deadline.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::activity::ActivityCounts;
use super::api::STREAMS_MAX;
use super::current::Current;
use super::metrics::Counted;
use super::problem::Problem;
use super::settings::WebConfig;
use crate::cause::Cause as _;
use crate::clock;
use crate::model::FeedId;
use crate::status_socket::DaemonStatus;
use crate::store::{DATABASE, Store};
use crate::tracking::watchlist::Watchlist;

/// The maximum duration of a request's queries. A longer one is interrupted.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The age up to which [`Site::current`] may return what it read for an earlier request.
const CURRENT_MAX_AGE: SignedDuration = SignedDuration::from_secs(1);
/// The age up to which rows may be kept while no process writes to the database.
const ROWS_MAX_AGE: SignedDuration = SignedDuration::from_mins(10);
const UNREADABLE: &str = "the database cannot be read";

/// Returns the names of stalled loops, if there are any.
pub type LoopCheck = Arc<dyn Fn() -> Result<(), Vec<String>> + Send + Sync>;
/// The state of all handlers.
pub type SharedSite = Arc<Site>;

/// The parts of the configuration that pages show or need.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteConfig {
    pub web: WebConfig,
    pub feed: FeedId,
    pub watch: Vec<String>,
    /// The names of the channels, for `/metrics` only.
    pub channels: Vec<String>,
    pub zone: TimeZone,
    /// The name of the zone for programs.
    pub zone_name: String,
    pub state_directory: PathBuf,
}

/// The running daemon, as the handlers see it.
#[derive(Clone)]
pub struct LiveState {
    pub status: watch::Receiver<DaemonStatus>,
    pub activity: watch::Receiver<ActivityCounts>,
    pub check_loops: LoopCheck,
}

/// What the handlers of requests share.
pub struct Site {
    pub config: SiteConfig,
    pub live: LiveState,
    /// True once the daemon stops, or another configuration replaces this one.
    pub stopped: watch::Receiver<bool>,
    /// Limits the open streams.
    pub streams: Arc<Semaphore>,
    /// The counts of `/metrics` so far.
    pub(super) counted: Mutex<Counted>,
    watch: Watchlist,
    reader: Mutex<Option<Arc<Reader>>>,
    current: Mutex<Option<Reading>>,
    /// The database could not be read lately. Logged once.
    is_failing: AtomicBool,
}

/// The result of an attempt to read the state of the world.
struct Reading {
    at: Timestamp,
    outcome: Result<Rows, Problem>,
}

struct Rows {
    current: Arc<Current>,
    /// The time and [`Store::data_version`] of its rows.
    read_at: Timestamp,
    version: i64,
    reader: Arc<Reader>,
}

impl Site {
    pub fn new(config: SiteConfig, live: LiveState, stopped: watch::Receiver<bool>) -> Site {
        Site {
            watch: Watchlist::new(&config.watch),
            config,
            live,
            stopped,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            counted: Mutex::default(),
            reader: Mutex::default(),
            current: Mutex::default(),
            is_failing: AtomicBool::new(false),
        }
    }

    /// Returns the state of the world, at most a second old. Requests that arrive together share one reading,
    /// or its failure.
    pub async fn current(&self) -> Result<Arc<Current>, Problem> {
        let mut cached = self.current.lock().await;
        let now = clock::now();
        let is_fresh = |reading: &&Reading| {
            let age = now.duration_since(reading.at);
            age >= SignedDuration::ZERO && age <= CURRENT_MAX_AGE
        };
        if let Some(reading) = cached.as_ref().filter(is_fresh) {
            return reading.current();
        }
        let older = cached.take().and_then(|reading| reading.outcome.ok());
        let outcome = self.limited(self.read_rows(older, now)).await;
        cached.insert(Reading { at: now, outcome }).current()
    }

    /// Reads the rows again only if a process has written to the database.
    async fn read_rows(&self, older: Option<Rows>, now: Timestamp) -> Result<Rows, Problem> {
        let reader = self.reader().await?;
        let version = self.noted(reader.store().data_version().await).await?;
        let status = self.live.status.borrow().clone();
        if let Some(older) = older
            && Arc::ptr_eq(&older.reader, &reader)
            && older.version == version
            && (SignedDuration::ZERO..ROWS_MAX_AGE).contains(&now.duration_since(older.read_at))
        {
            let current = Arc::unwrap_or_clone(older.current).at(status, now);
            return Ok(Rows { current: Arc::new(current), ..older });
        }
        let SiteConfig { feed, zone, .. } = &self.config;
        let loaded = Current::load(reader.store(), feed, zone, &self.watch, status, now).await;
        let current = Arc::new(self.noted(loaded).await?);
        Ok(Rows { current, read_at: now, version, reader })
    }

    /// Reads the database within the time limit.
    pub async fn read<T>(&self, read: impl AsyncFnOnce(&Store) -> rusqlite::Result<T>) -> Result<T, Problem> {
        let read = async {
            let reader = self.reader().await?;
            self.noted(read(reader.store()).await).await
        };
        self.limited(read).await
    }

    async fn limited<T>(&self, read: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
        match timeout(READ_TIMEOUT, read).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.note_failure("it takes too long");
                Err(Problem::unavailable("the database is too slow"))
            }
        }
    }

    /// Notes whether the database works. After an error it is opened again.
    async fn noted<T>(&self, outcome: rusqlite::Result<T>) -> Result<T, Problem> {
        match outcome {
            Ok(value) => {
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("web: the database can be read again");
                }
                Ok(value)
            }
            Err(error) => {
                self.note_failure(&error.reason());
                self.reader.lock().await.take();
                Err(Problem::unavailable(UNREADABLE))
            }
        }
    }

    fn note_failure(&self, reason: &str) {
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!("web: cannot read the database: {reason}");
        }
    }

    /// Returns the open database. Opens it at the first request, after an error, and after the daemon has
    /// rewritten a file that was deleted or replaced.
    async fn reader(&self) -> Result<Arc<Reader>, Problem> {
        let mut kept = self.reader.lock().await;
        let (directory, known) =
            (self.config.state_directory.clone(), kept.as_ref().map(|reader| reader.file));
        let opened = spawn_blocking(move || Reader::open(directory, known)).await;
        match opened.expect("no panic while opening the database") {
            Ok(Opening::Same) => Ok(Arc::clone(kept.as_ref().expect("its file is known"))),
            Ok(Opening::New(reader)) => Ok(Arc::clone(kept.insert(Arc::new(reader)))),
            Ok(Opening::Missing) => Err(Problem::unavailable("there is no database yet")),
            Err(reason) => {
                self.note_failure(&reason);
                Err(Problem::unavailable(UNREADABLE))
            }
        }
    }
}

impl Reading {
    fn current(&self) -> Result<Arc<Current>, Problem> {
        match &self.outcome {
            Ok(rows) => Ok(Arc::clone(&rows.current)),
            Err(problem) => Err(problem.clone()),
        }
    }
}

/// An open database and the file that it was opened from.
struct Reader {
    /// `None` while dropping.
    store: Option<Store>,
    file: (u64, u64),
}

enum Opening {
    Same,
    New(Reader),
    Missing,
}

impl Reader {
    /// Opens the database unless its file is `known`. Blocks the thread.
    fn open(directory: PathBuf, known: Option<(u64, u64)>) -> Result<Opening, String> {
        let Ok(metadata) = fs::metadata(directory.join(DATABASE)) else { return Ok(Opening::Missing) };
        let file = (metadata.dev(), metadata.ino());
        if known == Some(file) {
            return Ok(Opening::Same);
        }
        match Store::open_existing(&directory, false) {
            Ok(Some(store)) => Ok(Opening::New(Reader { store: Some(store), file })),
            Ok(None) => Ok(Opening::Missing),
            Err(error) => Err(error.to_string()),
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("open until it is dropped")
    }
}

/// Closing waits for a query, which a slow disk can delay.
impl Drop for Reader {
    fn drop(&mut self) {
        let store = self.store.take();
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(store))),
            Err(_) => drop(store),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::super::settings::Settings;
    use super::*;
    use crate::model::{Change, Edition};

    fn now() -> Timestamp {
        clock::now()
    }

    fn site(directory: &std::path::Path) -> Site {
        let web = Settings::default()
            .check(&|_| Err(crate::setting::SettingError::new("", "no secrets")))
            .expect("the defaults");
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        let config = SiteConfig {
            web,
            feed,
            watch: vec!["*".to_owned()],
            channels: Vec::new(),
            zone: TimeZone::UTC,
            zone_name: "UTC".to_owned(),
            state_directory: directory.to_owned(),
        };
        let live = LiveState {
            status: watch::channel(DaemonStatus::starting(now())).1,
            activity: watch::channel(ActivityCounts::none()).1,
            check_loops: Arc::new(|| Ok(())),
        };
        Site::new(config, live, watch::channel(false).1)
    }

    async fn record(store: &Store, site: &Site, number: i64) {
        let at = now() + SignedDuration::from_secs(number);
        let change = Change::history_lost(site.config.feed.clone(), "elsewhere", at);
        store.record_change(&change, &|_| vec!["log".to_owned()], now()).await.expect("written");
    }

    async fn pending(site: &Site) -> Result<u32, Problem> {
        site.read(async |store| store.totals().await.map(|totals| totals.pending)).await
    }

    #[tokio::test]
    async fn a_database_that_appears_or_is_replaced_is_opened_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let site = site(folder.path());
        assert_eq!(pending(&site).await.expect_err("none").detail(), "there is no database yet");
        let daemon = Store::open(folder.path(), now()).expect("a database").store;
        record(&daemon, &site, 1).await;
        assert_eq!(pending(&site).await.expect("read"), 1);
        for entry in std::fs::read_dir(folder.path()).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.to_string_lossy().contains(DATABASE) {
                std::fs::remove_file(path).expect("deleted");
            }
        }
        // The daemon writes the file again. The deleted one, which is still open, gets no news.
        record(&daemon, &site, 2).await;
        assert_eq!(pending(&site).await.expect("read"), 2);
        std::fs::remove_file(folder.path().join(DATABASE)).expect("deleted");
        std::fs::write(folder.path().join(DATABASE), "not a database").expect("written");
        assert_eq!(pending(&site).await.expect_err("damaged").detail(), UNREADABLE);
        record(&daemon, &site, 3).await;
        assert_eq!(pending(&site).await.expect("read"), 3);
    }

    #[tokio::test]
    async fn rows_are_read_again_only_after_a_commit() {
        let folder = tempfile::tempdir().expect("a folder");
        let daemon = Store::open(folder.path(), now()).expect("a database").store;
        let site = site(folder.path());
        let rows = async |older: Option<Rows>, after_s: i64| {
            site.read_rows(older, now() + SignedDuration::from_secs(after_s)).await.expect("read")
        };
        let first = rows(None, 0).await;
        let (read_at, first_now) = (first.read_at, first.current.now);
        let second = rows(Some(first), 60).await;
        assert_eq!(second.read_at, read_at, "kept");
        assert!(second.current.now > first_now);
        record(&daemon, &site, 1).await;
        let third = rows(Some(second), 61).await;
        assert!(third.read_at > read_at);
        assert_eq!(third.current.totals.pending, 1);
        let old = third.read_at;
        let fourth = rows(Some(third), 61 + ROWS_MAX_AGE.as_secs()).await;
        assert!(fourth.read_at > old, "too old");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_database_is_answered_with_503() {
        let folder = tempfile::tempdir().expect("a folder");
        let _daemon = Store::open(folder.path(), now()).expect("a database").store;
        let site = site(folder.path());
        let begun = Instant::now();
        let slow = site.limited(std::future::pending::<Result<(), Problem>>()).await;
        assert_eq!(slow.expect_err("too slow").detail(), "the database is too slow");
        assert_eq!(begun.elapsed(), READ_TIMEOUT);
    }
}
