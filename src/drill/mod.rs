//! A simulated outage through the real parts: fetch, parser, state machine, database, deliveries and the
//! user's channels.
//!
//! `scenario` defines the outage, and `mock_feed` serves it on loopback. The database and the outbox of each
//! channel are in memory; the daemon and its database are not touched. Every message is marked as
//! a drill (`every_message_begins_with_drill`). No channel waits for another.

mod mock_feed;
mod scenario;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::channel::{Audience, Notice, SendOutcome};
use crate::clock::Elapsed;
use crate::daemon::poller::{Poller, PollerState};
use crate::delivery::{self, Begun, Receiver};
use crate::feed::fetch::{FeedUrl, FetchLimits, Fetcher};
use crate::model::{Beliefs, Change, FeedId};
use crate::store::{Settled, Store};
use crate::tracking::is_for;
use crate::tracking::poll_plan::Plan;
use crate::tracking::watchlist::Watchlist;
use mock_feed::MockFeed;
use scenario::Scenario;
pub use scenario::{DrillPhase, LENGTH_S, service};

/// The parameters of a drill.
#[derive(Clone, Debug)]
pub struct Drill {
    pub feed: FeedId,
    /// The name as Apple writes it.
    pub service: String,
    pub plan: Plan,
    /// The time of the last poll.
    pub now: Timestamp,
    /// The factor by which time passes faster; `None`: without waits.
    pub speed: Option<u32>,
    /// Compose every message and send none.
    pub is_dry: bool,
}

/// The result of one phase on all channels.
#[derive(Clone, Debug)]
pub struct DrillStep {
    pub phase: DrillPhase,
    /// The simulated time of the confirmation.
    pub at: Timestamp,
    /// The duration of both polls: fetch, parse, track and commit.
    pub poll_time: Duration,
    /// The result on each channel, in their order; empty if nothing changed.
    pub delivered: Vec<Delivered>,
}

/// The result of a phase on one channel.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub channel: String,
    pub audience: Audience,
    /// `None` if the policy excludes the change.
    pub message: Option<Sent>,
}

/// One notice and its outcome.
#[derive(Clone, Debug)]
pub struct Sent {
    pub notice: Notice,
    /// `None` in a dry run.
    pub outcome: Option<SendOutcome>,
    pub took: Duration,
}

/// A running drill. Dropping it ends it.
pub struct Run {
    polled: UnboundedReceiver<Polled>,
    delivered: Vec<UnboundedReceiver<Delivered>>,
    phases: std::slice::Iter<'static, DrillPhase>,
    /// One task that polls, and one per channel.
    tasks: JoinSet<Result<()>>,
}

/// A phase after its polls.
struct Polled {
    at: Timestamp,
    poll_time: Duration,
    has_changes: bool,
}

impl Run {
    /// Starts the drill. Call within a `LocalSet`.
    pub fn start(drill: Drill, receivers: Vec<Receiver>) -> Run {
        let mut tasks = JoinSet::new();
        let (mut queues, mut delivered) = (Vec::new(), Vec::new());
        for receiver in receivers {
            let (queue, changes) = unbounded_channel();
            let (results, deliveries) = unbounded_channel();
            tasks.spawn_local(deliver_changes(receiver, drill.is_dry, changes, results));
            queues.push(queue);
            delivered.push(deliveries);
        }
        let (results, polled) = unbounded_channel();
        tasks.spawn_local(poll_phases(drill, queues, results));
        Run { polled, delivered, phases: DrillPhase::ALL.iter(), tasks }
    }

    /// Returns the next phase when every channel has finished it; `None` after the last one.
    ///
    /// # Errors
    ///
    /// The drill itself failed. An error of a channel is part of its result.
    pub async fn next(&mut self) -> Result<Option<DrillStep>> {
        let Some(phase) = self.phases.next() else { return Ok(None) };
        let Some(Polled { at, poll_time, has_changes }) = self.polled.recv().await else {
            return Err(self.reason().await);
        };
        let mut delivered = Vec::new();
        if has_changes {
            for deliveries in &mut self.delivered {
                match deliveries.recv().await {
                    Some(one) => delivered.push(one),
                    None => return Err(self.reason().await),
                }
            }
        }
        Ok(Some(DrillStep { phase: *phase, at, poll_time, delivered }))
    }

    /// Returns the reason why a task ended early.
    async fn reason(&mut self) -> anyhow::Error {
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(error) => return anyhow!("the drill crashed; please report this: {error}"),
            }
        }
        anyhow!("the drill ended early; please report this")
    }
}

/// Polls twice in each phase and passes the changes to the channels. Waits for no channel.
async fn poll_phases(
    drill: Drill,
    queues: Vec<UnboundedSender<Change>>,
    results: UnboundedSender<Polled>,
) -> Result<()> {
    let mock_feed = MockFeed::start().await.context("cannot open a port on 127.0.0.1 for the mock feed")?;
    let store = Store::open_in_memory()?;
    let mut poller = poller(&drill, &mock_feed.url)?;
    let scenario = Scenario::new(drill.service, drill.now);
    let mut now = scenario.polls(DrillPhase::Calm)[0];
    for phase in DrillPhase::ALL {
        let document = scenario.document(phase);
        let (mut poll_time, mut changes) = (Duration::ZERO, Vec::new());
        for at in scenario.polls(phase) {
            let passed_s = at.duration_since(now).as_secs().unsigned_abs();
            now = at;
            sleep(pause(passed_s, drill.speed)).await;
            let begun = Instant::now();
            changes.extend(poll_once(&mut poller, &store, &mock_feed, &document, (now, passed_s)).await?);
            poll_time += begun.elapsed();
        }
        changes.retain(|change| is_for(change, &poller.watch));
        check(phase, &changes)?;
        for change in &changes {
            for queue in &queues {
                // If the channel's task has ended, `Run::next` reports it.
                let _ = queue.send(change.clone());
            }
        }
        // Fails if the drill was dropped, which ends this task too.
        let _ = results.send(Polled { at: now, poll_time, has_changes: !changes.is_empty() });
    }
    Ok(())
}

/// Polls the mock feed once and returns the changes.
async fn poll_once(
    poller: &mut Poller,
    store: &Store,
    mock_feed: &MockFeed,
    document: &str,
    (now, awake_s): (Timestamp, u64),
) -> Result<Vec<Change>> {
    let elapsed = Elapsed { awake_s, ..Elapsed::default() };
    let polled = tokio::select! {
        polled = poller.once(store, now, elapsed, 0.0) => polled,
        error = mock_feed.serve(document) => return Err(error).context("cannot serve the mock feed"),
    };
    match polled.trouble {
        Some(trouble) => {
            bail!("cannot read the mock feed: {trouble}; check that 127.0.0.1 is not blocked")
        }
        None => Ok(polled.changes),
    }
}

/// Returns the real duration of simulated seconds.
fn pause(seconds: u64, speed: Option<u32>) -> Duration {
    speed.and_then(|speed| Duration::from_secs(seconds).checked_div(speed)).unwrap_or_default()
}

/// Returns a real poller with its own feed and database. It has no routes, because each channel has its own
/// outbox; a channel that hangs would otherwise combine later changes.
fn poller(drill: &Drill, url: &str) -> Result<Poller> {
    let url = FeedUrl::parse(url).map_err(anyhow::Error::msg)?;
    Ok(Poller {
        fetcher: Fetcher::new(url, FetchLimits::default(), None).map_err(anyhow::Error::msg)?,
        // Only this service, because a watched service that is not listed would be reported.
        watch: Watchlist::new(&[&drill.service]),
        plan: drill.plan.clone(),
        routes: Vec::new(),
        liveness: None,
        tells_of_phones: false,
        recorder: None,
        state: PollerState::new(Beliefs::new(drill.feed.clone())),
    })
}

/// Checks that a phase had the expected change, because a wrong drill is worse than none.
fn check(phase: DrillPhase, changes: &[Change]) -> Result<()> {
    let kinds: Vec<_> = changes.iter().map(|change| change.kind).collect();
    if kinds != Vec::from_iter(phase.change()) {
        bail!("the drill detected {kinds:?} in phase {:?}; please report this", phase.as_str());
    }
    Ok(())
}

/// Delivers changes on one channel, one after another, with one attempt each.
async fn deliver_changes(
    mut receiver: Receiver,
    is_dry: bool,
    mut changes: UnboundedReceiver<Change>,
    results: UnboundedSender<Delivered>,
) -> Result<()> {
    let store = Store::open_in_memory()?;
    receiver.policy = receiver.policy.without_quiet_hours();
    receiver.is_drill = true;
    while let Some(change) = changes.recv().await {
        let delivered = Delivered {
            channel: receiver.channel.name().to_owned(),
            audience: receiver.channel.audience(),
            message: deliver_one(&store, &mut receiver, &change, is_dry).await?,
        };
        // Fails if the drill was dropped, which ends this task too.
        let _ = results.send(delivered);
    }
    Ok(())
}

/// Delivers one change like the daemon, but gives up after the first attempt, so that the next phase does not
/// wait.
async fn deliver_one(
    store: &Store,
    receiver: &mut Receiver,
    change: &Change,
    is_dry: bool,
) -> Result<Option<Sent>> {
    if !receiver.policy.accepts(change) {
        return Ok(None);
    }
    let name = receiver.channel.name().to_owned();
    let begun = Instant::now();
    store.record_change(change, &|_| vec![name.clone()], change.at).await?;
    let Begun::Message(attempt) = delivery::begin(store, receiver, 0.0, change.at, false).await? else {
        bail!("{name}: nothing was composed; please report this");
    };
    let notice = delivery::notice(&attempt);
    let outcome = if is_dry { None } else { Some(receiver.channel.send(&notice).await) };
    let settled = match &outcome {
        Some(SendOutcome::Delivered { receipt, detail }) => {
            Settled::Sent { receipt: receipt.clone(), detail: detail.clone() }
        }
        Some(
            SendOutcome::Transient { detail, .. }
            | SendOutcome::Unclear { detail }
            | SendOutcome::Permanent { detail },
        ) => Settled::GivenUp { detail: detail.clone() },
        None => Settled::Sent { receipt: None, detail: String::new() },
    };
    store.settle(attempt.id, &settled, begun.elapsed(), change.at).await?;
    Ok(Some(Sent { notice, outcome, took: begun.elapsed() }))
}
