//! The state of a poller between two polls, and its account of sleep and clock changes.

use jiff::{SignedDuration, Timestamp};

use crate::cause::Cause as _;
use crate::clock::Elapsed;
use crate::model::{Beliefs, Change, Document};
use crate::store::{Coverage, Routing, Store};
use crate::tracking::{self, Pending, Update};

/// Longest time between two writes of the coverage. A power failure loses at most this much of it.
const CHECKPOINT: SignedDuration = SignedDuration::from_hours(1);
/// Time for which "not modified" is accepted after the last document; then an unconditional poll follows.
const PROVEN_FOR: SignedDuration = SignedDuration::from_hours(1);

/// The state of a poller. Survives a reload.
pub struct PollerState {
    pub beliefs: Beliefs,
    pub(super) pending: Pending,
    /// The last document, tracked again when the server responds "not modified".
    pub(super) document: Option<Document>,
    /// The time at which it was fetched.
    pub(super) document_at: Option<Timestamp>,
    /// Failed polls in a row.
    pub(super) failures: u32,
    pub(super) coverage: Coverage,
    pub(super) last_poll: Option<Timestamp>,
    checkpoint: Option<Timestamp>,
    /// Polls that are not in the database yet.
    pub(super) unwritten_polls: u64,
    /// The time of the last liveness report, once it was read from the database.
    pub(super) liveness_at: Option<Timestamp>,
    /// The clock change that is not in the database yet.
    unwritten_set_by: SignedDuration,
    /// A commit failed or was not waited for, so the database may be ahead of the beliefs.
    is_behind: bool,
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
            unwritten_polls: 0,
            liveness_at: None,
            unwritten_set_by: SignedDuration::ZERO,
            is_behind: false,
        }
    }

    /// Writes the coverage up to the last poll: at a stop, and before a sleep ends the coverage.
    pub async fn checkpoint(&mut self, store: &Store) -> rusqlite::Result<()> {
        self.checkpoint_as(self.coverage, store).await
    }

    async fn checkpoint_as(&mut self, coverage: Coverage, store: &Store) -> rusqlite::Result<()> {
        if let Some(last) = self.last_poll {
            store.checkpoint(&self.beliefs, coverage, self.unwritten_polls, last).await?;
            self.unwritten_polls = 0;
        }
        Ok(())
    }

    /// Commits an update and applies it. If the commit fails, or if the caller is dropped meanwhile, the
    /// next step reads the beliefs again.
    pub(super) async fn commit(
        &mut self,
        store: &Store,
        update: Update,
        routing: Routing<'_>,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        self.is_behind = true;
        store.commit(&self.beliefs, &update, routing, self.coverage, self.unwritten_polls, now).await?;
        self.is_behind = false;
        self.mark_written(now);
        update.apply(&mut self.beliefs);
        Ok(())
    }

    /// Reads the beliefs again if the database may be ahead of them.
    pub(super) async fn catch_up(&mut self, store: &Store) -> rusqlite::Result<()> {
        if self.is_behind {
            self.beliefs = store.beliefs(&self.beliefs.feed).await?;
            self.is_behind = false;
        }
        Ok(())
    }

    /// Returns `elapsed` with the clock change that is not in the database yet.
    pub(super) fn with_unwritten(&self, elapsed: Elapsed) -> Elapsed {
        let unwritten = self.unwritten_set_by;
        let set_by = match elapsed.set_by {
            Some(by) => Some(by.saturating_add(unwritten)),
            None => (!unwritten.is_zero()).then_some(unwritten),
        };
        Elapsed { set_by, ..elapsed }
    }

    /// Ends the coverage at the previous poll if the machine slept or the clock was set. A clock change
    /// that cannot be written is an error, and is accounted for at the next poll.
    pub(super) async fn account_for(&mut self, store: &Store, elapsed: Elapsed) -> rusqlite::Result<()> {
        let Some(last) = self.last_poll else { return Ok(()) };
        match elapsed.set_by {
            Some(by) => {
                // In whole seconds, like all times.
                let whole = SignedDuration::from_secs(by.as_secs());
                tracing::warn!("the clock was set by {whole:#}; running waits are adjusted");
                let mut pending = self.pending.clone();
                let update = tracking::clock_set(&self.beliefs, &mut pending, whole);
                self.unwritten_set_by = by;
                // If the caller is dropped here, the next poll writes the same times once more.
                let no_channels = |_: &Change| Vec::new();
                store.commit(&self.beliefs, &update, &no_channels, self.coverage, 0, last).await?;
                self.unwritten_set_by = SignedDuration::ZERO;
                self.pending = pending;
                update.apply(&mut self.beliefs);
            }
            None if elapsed.slept => {
                // First, because the caller may be dropped while this waits.
                let coverage = std::mem::replace(&mut self.coverage, Coverage::Begins);
                if let Err(error) = self.checkpoint_as(coverage, store).await {
                    tracing::error!("cannot write to the database: {}", error.reason());
                }
            }
            None => return Ok(()),
        }
        self.coverage = Coverage::Begins;
        Ok(())
    }

    /// Returns true if the last document is recent enough to accept "not modified".
    pub(super) fn has_proof(&self, now: Timestamp) -> bool {
        self.document_at.is_some_and(|at| at <= now && now.duration_since(at) < PROVEN_FOR)
    }

    pub(super) fn count_poll(&mut self, now: Timestamp, has_failed: bool) {
        self.last_poll = Some(now);
        self.unwritten_polls += 1;
        self.failures = if has_failed { self.failures.saturating_add(1) } else { 0 };
    }

    /// Returns true if the coverage is due to be written although nothing changed.
    pub(super) fn needs_checkpoint(&self, now: Timestamp) -> bool {
        self.coverage == Coverage::Begins
            || self.checkpoint.is_none_or(|last| now < last || now.duration_since(last) >= CHECKPOINT)
    }

    /// Notes that the database holds all polls so far.
    pub(super) fn mark_written(&mut self, now: Timestamp) {
        self.unwritten_polls = 0;
        self.coverage = Coverage::Continues;
        self.checkpoint = Some(now);
    }
}
