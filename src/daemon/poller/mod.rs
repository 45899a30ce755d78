//! One poll of the feed: fetch, record, track, commit, remind, report liveness, plan the next poll.
//!
//! Reads no clock and waits for no time; the poll loop does both. The changes of a document are committed
//! in slices. The next poll sees again what a crash left uncommitted.

mod commit;
mod liveness;
mod record;
mod reminders;
mod state;

use jiff::{SignedDuration, Timestamp};
use tokio::task::yield_now;

use crate::cause::Cause as _;
use crate::clock::Elapsed;
use crate::delivery::policy::Route;
use crate::feed::fetch::{FetchError, FetchOutcome, Fetcher};
use crate::feed::recorder::Recorder;
use crate::model::{Change, Fault};
use crate::schedule::Schedule;
use crate::store::Store;
use crate::tracking::poll_plan::{AFTER_WAKING_S, Plan, PollResult, next_poll};
use crate::tracking::watchlist::Watchlist;
use crate::tracking::{self, Acceptance, FeedFailure, Pending, Update};

pub use state::PollerState;

/// Time between two attempts to write to a database that fails (a full disk).
const STORE_RETRY_S: i64 = 60;

/// The configuration of one poller, rebuilt on reload, with its state.
pub struct Poller {
    pub fetcher: Fetcher,
    pub watch: Watchlist,
    pub plan: Plan,
    /// The channels with their policies.
    pub routes: Vec<Route>,
    pub recorder: Option<Recorder>,
    /// The schedule of liveness reports.
    pub liveness: Option<Schedule>,
    /// Adds the last backup of the phones to changes that concern a backup.
    pub tells_of_phones: bool,
    pub state: PollerState,
}

/// The result of a poll.
#[derive(Clone, Debug, PartialEq)]
pub struct PollReport {
    pub verdict: Acceptance,
    /// Committed, in order; reminders last.
    pub changes: Vec<Change>,
    /// The reason why the feed was unreadable, or why the database could not be written.
    pub trouble: Option<String>,
    /// The time of the next poll.
    pub next: Timestamp,
}

impl PollReport {
    /// A poll that the database failed. The next one follows soon.
    fn unwritten(verdict: Acceptance, error: &rusqlite::Error, now: Timestamp) -> PollReport {
        let trouble = Some(format!("cannot write to the database: {}", error.reason()));
        let next = now.checked_add(SignedDuration::from_secs(STORE_RETRY_S)).unwrap_or(Timestamp::MAX);
        PollReport { verdict, changes: Vec::new(), trouble, next }
    }
}

/// The server's response, before anything was done with it.
type Fetch = Result<FetchOutcome, FetchError>;

/// A fetch that [`Poller::complete`] has not processed yet.
pub struct Fetched {
    /// An error is the database's.
    response: rusqlite::Result<Fetch>,
    elapsed: Elapsed,
}

impl Fetched {
    /// Returns true if the server answered that the document is the same.
    pub fn is_unchanged(&self) -> bool {
        matches!(self.response, Ok(Ok(FetchOutcome::Unchanged)))
    }
}

/// The inputs that all steps of one poll share.
struct PollContext<'a> {
    store: &'a Store,
    now: Timestamp,
    elapsed: Elapsed,
}

/// A tracked response that is not committed yet.
struct Tracked {
    update: Update,
    /// The unconfirmed changes before this poll, restored if the commit fails.
    pending_before: Pending,
    /// The response changes nothing, not even what is unconfirmed.
    is_idle: bool,
}

impl Poller {
    /// Polls once: [`Poller::fetch`], then [`Poller::complete`].
    pub async fn once(&mut self, store: &Store, now: Timestamp, elapsed: Elapsed, jitter: f64) -> PollReport {
        let fetched = self.fetch(store, now, elapsed).await;
        self.complete(store, fetched, now, jitter).await
    }

    /// Fetches the feed. `elapsed` is the time since the previous poll. Cancel-safe.
    pub async fn fetch(&mut self, store: &Store, now: Timestamp, elapsed: Elapsed) -> Fetched {
        let elapsed = self.state.with_unwritten(elapsed);
        let accounted = async {
            self.state.catch_up(store).await?;
            self.state.account_for(store, elapsed).await
        };
        if let Err(error) = accounted.await {
            return Fetched { response: Err(error), elapsed };
        }
        if !self.state.has_proof(now) {
            self.fetcher.clear_validators();
        }
        Fetched { response: Ok(self.fetcher.fetch().await), elapsed }
    }

    /// Does the steps that follow from a fetch. `jitter` is random in `0.0..1.0`. Uses the database only
    /// and yields to other tasks between two commits.
    pub async fn complete(
        &mut self,
        store: &Store,
        fetched: Fetched,
        now: Timestamp,
        jitter: f64,
    ) -> PollReport {
        let poll = PollContext { store, now, elapsed: fetched.elapsed };
        let fetch = match fetched.response {
            Ok(fetch) => fetch,
            Err(error) => return PollReport::unwritten(Acceptance::Unreadable, &error, now),
        };
        if let Err(error) = self.prepare(&poll, &fetch).await {
            return PollReport::unwritten(Acceptance::Unreadable, &error, now);
        }
        yield_now().await;
        let trouble = self.keep_document(&poll, &fetch);
        let tracked = self.track(&poll, trouble.as_ref());
        let verdict = tracked.update.verdict;
        yield_now().await;
        self.record(&poll, &fetch, trouble, tracked.is_idle).await;
        self.state.count_poll(now, fetch.is_err());
        let mut changes = match self.commit(&poll, tracked).await {
            Ok(changes) => changes,
            Err(error) => return PollReport::unwritten(verdict, &error, now),
        };
        changes.extend(self.remind(&poll, verdict).await);
        self.report_liveness(&poll).await;
        let next = next_poll(&self.plan, &self.poll_result(&fetch, jitter), now);
        PollReport { verdict, changes, trouble: fetch.err().map(|failure| failure.to_string()), next }
    }

    /// Returns the time of the poll after waking or after the clock was set, whatever was missed.
    pub fn after_jump(now: Timestamp) -> Timestamp {
        now.checked_add(SignedDuration::from_secs(AFTER_WAKING_S)).unwrap_or(Timestamp::MAX)
    }

    /// Prepares the database, and loads its outages for the events in the document.
    async fn prepare(&mut self, poll: &PollContext<'_>, fetch: &Fetch) -> rusqlite::Result<()> {
        let store = poll.store;
        store.keep_file().await?;
        let configured: Vec<&str> = self.routes.iter().map(|route| route.channel.as_str()).collect();
        store.give_up_absent(&configured, poll.now).await?;
        match fetch {
            Ok(FetchOutcome::New { document, .. }) => store.recall(&mut self.state.beliefs, document).await,
            Ok(FetchOutcome::Unchanged) | Err(_) => Ok(()),
        }
    }

    /// Keeps a new document. Returns the reason if there is no document to track.
    fn keep_document(&mut self, poll: &PollContext<'_>, fetch: &Fetch) -> Option<FeedFailure> {
        let state = &mut self.state;
        match fetch {
            Ok(FetchOutcome::New { document, .. }) => {
                state.document = Some(document.clone());
                state.document_at = Some(poll.now);
                None
            }
            Ok(FetchOutcome::Unchanged) if state.document.is_some() => None,
            Ok(FetchOutcome::Unchanged) => {
                let reason =
                    "the server responds \u{201c}not modified\u{201d} to an unconditional request".to_owned();
                Some(FeedFailure { fault: Fault::Apple, reason })
            }
            Err(failure) => Some(FeedFailure { fault: failure.fault(), reason: failure.to_string() }),
        }
    }

    fn track(&mut self, poll: &PollContext<'_>, trouble: Option<&FeedFailure>) -> Tracked {
        let PollerState { beliefs, pending, document, .. } = &mut self.state;
        let pending_before = pending.clone();
        let update = match (trouble, document) {
            (None, Some(document)) => tracking::compare(beliefs, pending, document, &self.watch, poll.now),
            (Some(trouble), _) => {
                tracking::unreadable(beliefs, pending, trouble, poll.elapsed.awake_s, poll.now)
            }
            (None, None) => unreachable!("a poll without a document is trouble"),
        };
        let is_idle = update.is_empty(beliefs) && pending_before == *pending;
        Tracked { update, pending_before, is_idle }
    }

    fn poll_result(&self, fetch: &Fetch, jitter: f64) -> PollResult {
        match fetch {
            Ok(_) => PollResult::Succeeded {
                has_trouble: tracking::has_trouble(&self.state.beliefs, &self.watch),
                unconfirmed_since: self.state.pending.oldest(),
            },
            Err(failure) => PollResult::Failed {
                failures: self.state.failures,
                retry_after_s: failure.retry_after_s,
                jitter,
            },
        }
    }
}
