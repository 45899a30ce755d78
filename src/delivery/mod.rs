//! Delivers to one channel, one notice at a time: begin, send, finish.
//!
//! The next attempt is recorded before this one is sent, as if this one will fail, and no transaction is
//! open while sending. A kill at any moment loses nothing and repeats at most the notice in flight, with
//! the same key and the same bytes. An outcome that cannot be recorded is kept, and is recorded before
//! anything else is sent (`tests/it/outbox.rs`).

use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::channel::{Audience, Channel, SendOutcome};
use crate::delivery::policy::Policy;
use crate::model::{FeedId, ServiceKey};
use crate::store::{Attempt, Batching, Settled, Snooze, Store, Waiting};
use crate::tracking::watchlist::Watchlist;

mod alarms;
pub mod heartbeat;
pub mod message;
pub mod payload;
pub mod policy;
mod render;
mod retry;
mod state_sync;
pub mod template;

use render::Renderer;
pub use render::notice;
use state_sync::SyncState;

/// The result of one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Round {
    /// Nothing is due before this time; `None`: before the next change.
    Idle { until: Option<Timestamp> },
    /// One notice was attempted.
    Attempted { key: String, attempt: u32, outcome: SendOutcome },
}

/// A channel together with its policy, ready to deliver.
#[derive(Debug)]
pub struct Receiver {
    pub channel: Channel,
    pub policy: Policy,
    /// The feed that is polled, and the watched services.
    pub feed: FeedId,
    pub watch: Watchlist,
    /// The time zone for times in messages.
    pub zone: TimeZone,
    pub is_drill: bool,
    sync_state: SyncState,
    unrecorded: Option<Unrecorded>,
    /// The time of the first check of alarms on the screen.
    alarms_since: Option<Timestamp>,
}

/// The outcome of an attempt that is not in the database yet.
#[derive(Debug)]
struct Unrecorded {
    attempt_id: i64,
    settled: Settled,
    took: Duration,
    at: Timestamp,
    round: Round,
}

impl Receiver {
    pub fn new(channel: Channel, policy: Policy, feed: FeedId, watch: Watchlist, zone: TimeZone) -> Receiver {
        Receiver {
            channel,
            policy,
            feed,
            watch,
            zone,
            is_drill: false,
            sync_state: SyncState::default(),
            unrecorded: None,
            alarms_since: None,
        }
    }

    /// Returns true while the outcome of the newest attempt is not in the database.
    pub fn has_unrecorded_outcome(&self) -> bool {
        self.unrecorded.is_some()
    }

    /// Replaces the channel, for one that keeps its connection across a reload.
    pub fn with_channel(self, channel: Channel) -> Receiver {
        Receiver { channel, ..self }
    }

    fn accepts(&self, service: &ServiceKey) -> bool {
        self.policy.accepts_watched(service, &self.watch)
    }

    fn batching(&self) -> Batching {
        match self.channel.audience() {
            Audience::People => Batching::Digest { max_age: self.policy.max_age() },
            Audience::Desktop => Batching::Incident { max_age: self.policy.max_age() },
            Audience::Programs => Batching::PerChange,
        }
    }

    /// Returns the end of quiet hours or of a snooze. A snooze holds back only channels for people.
    fn held_until(&self, snooze: Option<Snooze>, now: Timestamp) -> Option<Timestamp> {
        let snoozed = snooze
            .filter(|snooze| snooze.covers(now) && self.channel.audience().is_people())
            .map(|snooze| snooze.until);
        self.policy.quiet_until(now).max(snoozed)
    }
}

/// The next step of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Nothing is due before this time; `None`: before the next change.
    Nothing { until: Option<Timestamp> },
    /// A notice waits for its next attempt.
    Later { due_at: Timestamp },
    /// Send this notice.
    Message(Attempt),
}

/// Does what is due on a channel, and sends at most one notice. `jitter` is a random number in `0.0..1.0`.
/// `clock` is read before and after sending, which may take as long as the channel's timeout.
pub async fn once(
    store: &Store,
    receiver: &mut Receiver,
    jitter: f64,
    clock: &dyn Fn() -> Timestamp,
) -> rusqlite::Result<Round> {
    if let Some(round) = record_outcome(store, receiver).await? {
        return Ok(round);
    }
    let now = clock();
    let mut begun = begin(store, receiver, jitter, now, false).await?;
    if matches!(begun, Begun::Later { .. }) && has_recovered(&mut receiver.channel, now).await {
        begun = begin(store, receiver, jitter, clock(), true).await?;
    }
    let until = match begun {
        Begun::Nothing { until } => until,
        Begun::Later { due_at } => {
            receiver.channel.reachability.probe_at(clock()).into_iter().chain([due_at]).min()
        }
        Begun::Message(attempt) => {
            let begun = Instant::now();
            let outcome = receiver.channel.send(&notice(&attempt)).await;
            let (took, now) = (begun.elapsed(), clock());
            receiver.channel.reachability.record_attempt(&outcome, now);
            let settled = retry::settled(&attempt, &outcome, jitter, now);
            let round = Round::Attempted { key: attempt.notice.key, attempt: attempt.number, outcome };
            receiver.unrecorded =
                Some(Unrecorded { attempt_id: attempt.id, settled, took, at: now, round: round.clone() });
            record_outcome(store, receiver).await?;
            return Ok(round);
        }
    };
    let refresh_at = state_sync::sync_state(store, receiver, clock()).await?;
    let alarms_at = alarms::keep(store, receiver, clock()).await?;
    Ok(Round::Idle { until: until.into_iter().chain(refresh_at).chain(alarms_at).min() })
}

/// Records the outcome of the newest attempt if that was not possible before, and returns it. On an error
/// the outcome is kept, because a notice with a known outcome must not be sent again.
async fn record_outcome(store: &Store, receiver: &mut Receiver) -> rusqlite::Result<Option<Round>> {
    if let Some(Unrecorded { attempt_id, settled, took, at, .. }) = &receiver.unrecorded {
        store.settle(*attempt_id, settled, *took, *at).await?;
    }
    Ok(receiver.unrecorded.take().map(|outcome| outcome.round))
}

/// Composes the notice that is due and records the attempt: the first half of [`once`]. The caller sends
/// and settles. `early`: a notice that waits for its next attempt is due now.
pub async fn begin(
    store: &Store,
    receiver: &Receiver,
    jitter: f64,
    now: Timestamp,
    early: bool,
) -> rusqlite::Result<Begun> {
    let snooze = store.snoozed().await?;
    if let Some(until) = receiver.held_until(snooze, now) {
        return Ok(Begun::Nothing { until: Some(until) });
    }
    let name = receiver.channel.name().to_owned();
    let batching = receiver.batching();
    match store.due_at(&name, batching, retry::LONGEST_WAIT_S, now).await? {
        None => return Ok(Begun::Nothing { until: None }),
        Some(due_at) if due_at > now && !early => return Ok(Begun::Later { due_at }),
        Some(_) => {}
    }
    let ongoing = render::ongoing(store, receiver, now).await?;
    let renderer = Renderer::of(receiver, ongoing, snooze, now);
    let compose = move |waiting: &Waiting| renderer.render(waiting);
    let next = move |number| retry::next_attempt_at(number, jitter, now);
    Ok(match store.begin(&name, batching, compose, next, now).await? {
        Some(attempt) => Begun::Message(attempt),
        None => Begun::Nothing { until: None },
    })
}

/// Probes a channel that the newest attempt did not reach, if a probe is due. Returns true if the channel
/// is reachable again.
async fn has_recovered(channel: &mut Channel, now: Timestamp) -> bool {
    if channel.reachability.probe_at(now).is_none_or(|probe_at| probe_at > now) {
        return false;
    }
    let is_answered = channel.is_reachable().await;
    channel.reachability.record_probe(is_answered, now)
}
