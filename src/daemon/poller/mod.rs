//! One look at the feed: fetch → parse → track → commit, and when to look next.
//!
//! Reads no clock and never waits; the daemon does. What a document changed is written in slices: each
//! is whole in itself, and what a crash leaves out is seen again.

use jiff::{SignedDuration, Timestamp};
use tokio::task::yield_now;

use crate::cause::Cause as _;
use crate::clock::Elapsed;
use crate::delivery::policy::{self, Route};
use crate::feed::fetch::{Failure, FetchOutcome, Fetcher};
use crate::feed::recording::{Failed, Poll, Recorder, Start};
use crate::model::{Beliefs, Change, Document, Fault, FeedHealth, Outage, ServiceKey};
use crate::phones::late_backup;
use crate::schedule::Schedule;
use crate::store::{Coverage, Store};
use crate::tracking::poll_plan::{AFTER_WAKING_S, Plan, PollResult, next_poll};
use crate::tracking::watchlist::Watch;
use crate::tracking::{self, Pending, Trouble, Update, Verdict};

/// How often the database hears that all is as it was: a power failure costs this much proof.
const CHECKPOINT: SignedDuration = SignedDuration::from_hours(1);
/// "Not modified" is believed for so long after the last document; then one poll proves it.
const PROVEN_FOR: SignedDuration = SignedDuration::from_hours(1);
/// Between two tries to write what could not be written (a full disk).
const STORE_RETRY_S: i64 = 60;

/// What a poller works with; made anew at a reload.
pub struct Poller {
    pub fetcher: Fetcher,
    pub watch: Watch,
    pub plan: Plan,
    /// The channels, and what each hears of.
    pub routes: Vec<Route>,
    pub recorder: Option<Recorder>,
    /// When to say that all is well, even if nothing happened.
    pub liveness: Option<Schedule>,
    /// Whether news of a backup say when phones were last backed up.
    pub tells_of_phones: bool,
    pub state: PollerState,
}

/// What a poller remembers between looks; survives a reload.
pub struct PollerState {
    pub beliefs: Beliefs,
    pending: Pending,
    /// The last document, for when the server says "unchanged".
    document: Option<Document>,
    /// When it came.
    document_at: Option<Timestamp>,
    failures: u32,
    coverage: Coverage,
    last_poll: Option<Timestamp>,
    checkpoint: Option<Timestamp>,
    /// Looks that the database does not know of yet.
    looks: u64,
    /// When the last sign of life was given, once the database was asked.
    liveness_at: Option<Timestamp>,
    /// By how much the clock was set, as far as the database does not know of it yet.
    unwritten_set_by: SignedDuration,
}

impl PollerState {
    pub fn new(beliefs: Beliefs) -> PollerState {
        PollerState {
            beliefs,
            pending: Pending::default(),
            document: None,
            document_at: None,
            failures: 0,
            coverage: Coverage::Begins,
            last_poll: None,
            checkpoint: None,
            looks: 0,
            liveness_at: None,
            unwritten_set_by: SignedDuration::ZERO,
        }
    }

    /// What elapsed since the last look that could account for it.
    fn with_unwritten(&self, elapsed: Elapsed) -> Elapsed {
        let unwritten = self.unwritten_set_by;
        let set_by = match elapsed.set_by {
            Some(by) => Some(by.saturating_add(unwritten)),
            None => (!unwritten.is_zero()).then_some(unwritten),
        };
        Elapsed { set_by, ..elapsed }
    }

    /// The database knows of all looks so far.
    fn is_written(&mut self, now: Timestamp) {
        self.looks = 0;
        self.coverage = Coverage::Continues;
        self.checkpoint = Some(now);
    }

    /// Says in the database until when we have been looking: at a stop, and before a sleep that
    /// nobody looked through.
    pub async fn checkpoint(&mut self, store: &Store) -> rusqlite::Result<()> {
        if let Some(last) = self.last_poll {
            store.checkpoint(&self.beliefs, self.coverage, self.looks, last).await?;
            self.looks = 0;
        }
        Ok(())
    }
}

/// What a look came to.
#[derive(Clone, Debug, PartialEq)]
pub struct PollReport {
    pub verdict: Verdict,
    /// Committed, in order; reminders last.
    pub changes: Vec<Change>,
    /// Why nothing could be seen, or why nothing could be written.
    pub trouble: Option<String>,
    pub next: Timestamp,
}

impl PollReport {
    /// The database failed; the next look comes soon.
    fn unwritten(verdict: Verdict, error: &rusqlite::Error, now: Timestamp) -> PollReport {
        let trouble = Some(format!("cannot write to the database: {}", error.reason()));
        let next = now.checked_add(SignedDuration::from_secs(STORE_RETRY_S)).unwrap_or(Timestamp::MAX);
        PollReport { verdict, changes: Vec::new(), trouble, next }
    }
}

/// What a poll brought, before anything of it is believed.
pub struct Fetched {
    /// An error is the database's.
    seen: rusqlite::Result<Result<FetchOutcome, Failure>>,
    elapsed: Elapsed,
}

impl Poller {
    /// One look: [`Poller::fetch`] and [`Poller::digest`].
    pub async fn once(&mut self, store: &Store, now: Timestamp, elapsed: Elapsed, jitter: f64) -> PollReport {
        let fetched = self.fetch(store, now, elapsed).await;
        self.digest(store, fetched, now, jitter).await
    }

    /// Asks the server. `elapsed` is what the clocks did since the look before. Cancel-safe.
    pub async fn fetch(&mut self, store: &Store, now: Timestamp, elapsed: Elapsed) -> Fetched {
        let elapsed = self.state.with_unwritten(elapsed);
        if let Err(error) = self.account_for(store, elapsed).await {
            return Fetched { seen: Err(error), elapsed };
        }
        let is_proven = |at: Timestamp| at <= now && now.duration_since(at) < PROVEN_FOR;
        if !self.state.document_at.is_some_and(is_proven) {
            self.fetcher.ask_anew();
        }
        Fetched { seen: Ok(self.fetcher.fetch().await), elapsed }
    }

    /// Writes down what the answer means. `jitter` is a throw of the dice in `0.0..1.0`. Waits for nobody
    /// outside, and lets others have their turn between two commits.
    pub async fn digest(
        &mut self,
        store: &Store,
        fetched: Fetched,
        now: Timestamp,
        jitter: f64,
    ) -> PollReport {
        let Fetched { seen, elapsed } = fetched;
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => return PollReport::unwritten(Verdict::Unreadable, &error, now),
        };
        if let Err(error) = self.prepare(store, &seen, now).await {
            return PollReport::unwritten(Verdict::Unreadable, &error, now);
        }
        yield_now().await;
        let trouble = self.read(&seen, now);
        let pending = self.state.pending.clone();
        let update = self.track(trouble.as_ref(), elapsed.awake_s, now);
        let is_idle = update.is_empty(&self.state.beliefs) && pending == self.state.pending;
        yield_now().await;
        self.record(&seen, trouble, elapsed, is_idle, now).await;
        self.state.last_poll = Some(now);
        self.state.looks += 1;
        self.state.failures = if seen.is_err() { self.state.failures.saturating_add(1) } else { 0 };
        let verdict = update.verdict;
        let mut changes = match self.write(store, update, now).await {
            Ok(changes) => changes,
            Err(error) => {
                // What was seen stays seen; only writing it down has to wait.
                self.state.pending = pending;
                return PollReport::unwritten(verdict, &error, now);
            }
        };
        match self.remind(store, verdict, now).await {
            Ok(reminders) => changes.extend(reminders),
            // They are still due at the next look.
            Err(error) => tracing::error!("cannot write to the database: {}", error.reason()),
        }
        if let Err(error) = self.report_liveness(store, now).await {
            tracing::error!("cannot write a sign of life to the database: {}", error.reason());
        }
        let next = next_poll(&self.plan, &self.poll_result(&seen, jitter), now);
        PollReport { verdict, changes, trouble: seen.err().map(|failure| failure.to_string()), next }
    }

    /// Sees to the database, and recalls what it knows of the events in the document.
    async fn prepare(
        &mut self,
        store: &Store,
        seen: &Result<FetchOutcome, Failure>,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        store.keep_file().await?;
        let configured: Vec<&str> = self.routes.iter().map(|route| route.channel.as_str()).collect();
        store.give_up_absent(&configured, now).await?;
        match seen {
            Ok(FetchOutcome::New { document, .. }) => store.recall(&mut self.state.beliefs, document).await,
            Ok(FetchOutcome::Unchanged) | Err(_) => Ok(()),
        }
    }

    /// When to look after waking or after the clock was set: soon, once, whatever was missed.
    pub fn after_jump(now: Timestamp) -> Timestamp {
        now.checked_add(SignedDuration::from_secs(AFTER_WAKING_S)).unwrap_or(Timestamp::MAX)
    }

    /// A sleep and a set clock both end what we can vouch for at the look before. A set clock that
    /// cannot be written down is an error, and is accounted for at the next look.
    async fn account_for(&mut self, store: &Store, elapsed: Elapsed) -> rusqlite::Result<()> {
        let Some(last) = self.state.last_poll else { return Ok(()) };
        let state = &mut self.state;
        match elapsed.set_by {
            Some(by) => {
                // In whole seconds, like all times.
                let whole = SignedDuration::from_secs(by.as_secs());
                tracing::warn!("the clock was set by {whole:#}; running waits go on from where they were");
                let mut pending = state.pending.clone();
                let update = tracking::clock_set(&state.beliefs, &mut pending, whole);
                state.unwritten_set_by = by;
                let nobody = |_: &Change| Vec::new();
                store.commit(&state.beliefs, &update, &nobody, state.coverage, 0, last).await?;
                state.unwritten_set_by = SignedDuration::ZERO;
                state.pending = pending;
                update.apply(&mut state.beliefs);
            }
            None if elapsed.slept => {
                if let Err(error) = state.checkpoint(store).await {
                    tracing::error!("cannot write to the database: {}", error.reason());
                }
            }
            None => return Ok(()),
        }
        state.coverage = Coverage::Begins;
        Ok(())
    }

    /// Keeps the document of a poll. Returns why there is none.
    fn read(&mut self, seen: &Result<FetchOutcome, Failure>, now: Timestamp) -> Option<Trouble> {
        let state = &mut self.state;
        match seen {
            Ok(FetchOutcome::New { document, .. }) => {
                state.document = Some(document.clone());
                state.document_at = Some(now);
                None
            }
            Ok(FetchOutcome::Unchanged) if state.document.is_some() => None,
            Ok(FetchOutcome::Unchanged) => {
                let reason = "the server says \u{201c}unchanged\u{201d} to a first question".to_owned();
                Some(Trouble { fault: Fault::Apple, reason })
            }
            Err(failure) => Some(Trouble { fault: failure.fault(), reason: failure.to_string() }),
        }
    }

    fn track(&mut self, trouble: Option<&Trouble>, awake_s: u64, now: Timestamp) -> Update {
        let PollerState { beliefs, pending, document, .. } = &mut self.state;
        match (trouble, document) {
            (None, Some(document)) => tracking::compare(beliefs, pending, document, &self.watch, now),
            (Some(trouble), _) => tracking::unreadable(beliefs, pending, trouble, awake_s, now),
            (None, None) => unreachable!("a poll without a document is trouble"),
        }
    }

    /// Written before the update is committed: after a crash in between the poll is done again.
    async fn record(
        &mut self,
        seen: &Result<FetchOutcome, Failure>,
        trouble: Option<Trouble>,
        elapsed: Elapsed,
        is_idle: bool,
        now: Timestamp,
    ) {
        let Some(recorder) = &mut self.recorder else { return };
        let state = &self.state;
        let start = match (state.last_poll, state.beliefs.state.first_accepted) {
            (Some(_), _) => None,
            (None, None) => Some(Start::New),
            (None, Some(_)) => Some(Start::Resumed),
        };
        let clock_set_s = elapsed.set_by.filter(|_| start.is_none()).map(|by| by.as_secs());
        let failure = trouble.map(|trouble| Failed {
            ours: trouble.fault == Fault::Ours,
            reason: trouble.reason,
            awake_s: elapsed.awake_s,
        });
        let is_idle = is_idle && start.is_none() && clock_set_s.is_none();
        let body = match seen {
            Ok(FetchOutcome::New { body, .. }) => Some(body.as_str()),
            Ok(FetchOutcome::Unchanged) | Err(_) => None,
        };
        if let Err(error) = recorder.record(now, body, Poll { start, clock_set_s, failure }, is_idle).await {
            tracing::error!("cannot write the recording: {}", error.reason());
        }
    }

    /// Returns the changes as they were written, in slices if they are many. A quiet look writes nothing,
    /// but for a mark once an hour.
    async fn write(
        &mut self,
        store: &Store,
        mut update: Update,
        now: Timestamp,
    ) -> rusqlite::Result<Vec<Change>> {
        if update.left_out > 0 {
            let (more, most) = (update.left_out, tracking::ACTIVE_MAX);
            tracing::warn!("Apple lists {more} more outages than the {most} that statusd follows at a time");
        }
        self.add_last_backup(store, &mut update, now).await?;
        let state = &mut self.state;
        let is_due = state.checkpoint.is_none_or(|last| now < last || now.duration_since(last) >= CHECKPOINT);
        if update.is_empty(&state.beliefs) {
            if is_due || state.coverage == Coverage::Begins {
                store.checkpoint(&state.beliefs, state.coverage, state.looks, now).await?;
                state.is_written(now);
            }
            return Ok(Vec::new());
        }
        let told_to = |change: &Change| match tracking::is_for(change, &self.watch) {
            true => policy::matching(&self.routes, change),
            false => Vec::new(),
        };
        let mut changes = Vec::new();
        for slice in update.slices(&state.beliefs) {
            store.commit(&state.beliefs, &slice, &told_to, state.coverage, state.looks, now).await?;
            state.is_written(now);
            changes.extend_from_slice(&slice.changes);
            slice.apply(&mut state.beliefs);
            yield_now().await;
        }
        Ok(changes)
    }

    /// Says beside news of a backup what is remembered of phones: a notice needs nothing but its
    /// rows, whatever the phone does until it is sent.
    async fn add_last_backup(
        &self,
        store: &Store,
        update: &mut Update,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let is_meant = |change: &Change| {
            change.kind.concerns_a_backup()
                && ServiceKey::new(&change.service).is_backup()
                && tracking::is_for(change, &self.watch)
        };
        if !self.tells_of_phones || !update.changes.iter().any(is_meant) {
            return Ok(());
        }
        let last = late_backup::last_backup(&store.phones().await?, now);
        for change in update.changes.iter_mut().filter(|change| is_meant(change)) {
            change.phone = last;
        }
        Ok(())
    }

    /// When the schedule has come round since the last one.
    async fn report_liveness(&mut self, store: &Store, now: Timestamp) -> rusqlite::Result<()> {
        let Some(schedule) = &self.liveness else { return Ok(()) };
        let last = match self.state.liveness_at {
            Some(last) => last,
            None => store.last_liveness_report(now).await?,
        };
        self.state.liveness_at = Some(last);
        // A clock that was set back must not silence it for years.
        if last <= now && schedule.next_after(last).is_none_or(|due| due > now) {
            return Ok(());
        }
        self.state.checkpoint(store).await?;
        let beliefs = &self.state.beliefs;
        let last_good = match beliefs.state.health {
            FeedHealth::Readable { .. } => Some(now),
            FeedHealth::Unreadable { .. } | FeedHealth::Unknown => store.last_readable(&beliefs.feed).await?,
        };
        let sign = |looks: u64| Change {
            message: looks.to_string(),
            began_at: Some(last),
            ended_at: last_good,
            ..tracking::liveness_report(beliefs, &self.watch, now)
        };
        store.report_liveness(&sign, &|change| policy::matching(&self.routes, change), now).await?;
        self.state.liveness_at = Some(now);
        Ok(())
    }

    /// Puts due reminders into the outbox and returns them. "It still lasts" is a claim about now, so
    /// a look must have seen it, with nothing in it that waits for its second sight.
    async fn remind(&self, store: &Store, verdict: Verdict, now: Timestamp) -> rusqlite::Result<Vec<Change>> {
        let PollerState { beliefs, pending, .. } = &self.state;
        let mut reminders = Vec::new();
        if verdict != Verdict::Accepted
            || pending.oldest().is_some()
            || !tracking::has_trouble(beliefs, &self.watch)
        {
            return Ok(reminders);
        }
        for route in &self.routes {
            let Some(every) = route.policy.remind_every else { continue };
            yield_now().await;
            let is_wanted = |outage: &Outage| {
                route.policy.accepts_watched(&ServiceKey::new(&outage.service), &self.watch)
            };
            reminders.extend(store.remind(&beliefs.feed, &route.channel, every, &is_wanted, now).await?);
        }
        Ok(reminders)
    }

    fn poll_result(&self, seen: &Result<FetchOutcome, Failure>, jitter: f64) -> PollResult {
        match seen {
            Ok(_) => PollResult::Observation {
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
