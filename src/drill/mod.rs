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
use mock_feed::Stage;
use scenario::Script;
pub use scenario::{Act, LENGTH_S, service};

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
    pub act: Act,
    /// The time of the play at which it was believed.
    pub at: Timestamp,
    /// What both looks took: fetch, parse, judge and commit.
    pub looks: Duration,
    /// What came of it on each channel, in their order; empty where there was nothing to tell.
    pub told: Vec<Told>,
}

/// The result of a phase on one channel.
#[derive(Clone, Debug)]
pub struct Told {
    pub channel: String,
    pub audience: Audience,
    /// `None` if the policy excludes the change.
    pub message: Option<Sent>,
}

/// One notice and its outcome.
#[derive(Clone, Debug)]
pub struct Sent {
    pub notice: Notice,
    /// `None` in a dry drill.
    pub answer: Option<SendOutcome>,
    pub took: Duration,
}

/// A drill that is being played. Dropping it ends it.
pub struct Play {
    looked: UnboundedReceiver<Polled>,
    told: Vec<UnboundedReceiver<Told>>,
    acts: std::slice::Iter<'static, Act>,
    /// The looks and one task for each channel.
    tasks: JoinSet<Result<()>>,
}

/// A phase after its polls.
struct Polled {
    at: Timestamp,
    looks: Duration,
    is_news: bool,
}

impl Play {
    /// Begins. Must be called within a `LocalSet`.
    pub fn begin(drill: Drill, receivers: Vec<Receiver>) -> Play {
        let mut tasks = JoinSet::new();
        let (mut audience, mut told) = (Vec::new(), Vec::new());
        for receiver in receivers {
            let (news, hear) = unbounded_channel();
            let (tell, heard) = unbounded_channel();
            tasks.spawn_local(deliver_news(receiver, drill.is_dry, hear, tell));
            audience.push(news);
            told.push(heard);
        }
        let (tell, looked) = unbounded_channel();
        tasks.spawn_local(look(drill, audience, tell));
        Play { looked, told, acts: Act::ALL.iter(), tasks }
    }

    /// Returns the next phase when every channel has finished it; `None` after the last one.
    ///
    /// # Errors
    ///
    /// The drill itself failed. An error of a channel is part of its result.
    pub async fn next(&mut self) -> Result<Option<DrillStep>> {
        let Some(act) = self.acts.next() else { return Ok(None) };
        let Some(Polled { at, looks, is_news }) = self.looked.recv().await else {
            return Err(self.reason().await);
        };
        let mut told = Vec::new();
        if is_news {
            for heard in &mut self.told {
                match heard.recv().await {
                    Some(one) => told.push(one),
                    None => return Err(self.reason().await),
                }
            }
        }
        Ok(Some(DrillStep { act: *act, at, looks, told }))
    }

    /// Returns the reason why a task ended early.
    async fn reason(&mut self) -> anyhow::Error {
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(error) => return anyhow!("the drill broke down; please report this: {error}"),
            }
        }
        anyhow!("the drill ended early; please report this")
    }
}

/// Looks at each step twice and hands on what was told of it. Waits for no channel.
async fn look(
    drill: Drill,
    audience: Vec<UnboundedSender<Change>>,
    tell: UnboundedSender<Polled>,
) -> Result<()> {
    let stage = Stage::open().await.context("cannot open a port on 127.0.0.1 for the drill's own feed")?;
    let store = Store::open_in_memory()?;
    let mut poller = poller(&drill, &stage.url)?;
    let script = Script::new(drill.service, drill.now);
    let mut now = script.looks(Act::Calm)[0];
    for act in Act::ALL {
        let document = script.document(act);
        let (mut looks, mut changes) = (Duration::ZERO, Vec::new());
        for at in script.looks(act) {
            let passed_s = at.duration_since(now).as_secs().unsigned_abs();
            now = at;
            sleep(pause(passed_s, drill.speed)).await;
            let begun = Instant::now();
            changes.extend(poll_once(&mut poller, &store, &stage, &document, (now, passed_s)).await?);
            looks += begun.elapsed();
        }
        changes.retain(|change| is_for(change, &poller.watch));
        check(act, &changes)?;
        for change in &changes {
            for news in &audience {
                // A channel whose task is gone is missed by whoever waits for its report.
                let _unheard = news.send(change.clone());
            }
        }
        // Nobody listens any more where the drill was dropped, which ends this task too.
        let _unheard = tell.send(Polled { at: now, looks, is_news: !changes.is_empty() });
    }
    Ok(())
}

/// Polls the mock feed once and returns the changes.
async fn poll_once(
    poller: &mut Poller,
    store: &Store,
    stage: &Stage,
    document: &str,
    (now, awake_s): (Timestamp, u64),
) -> Result<Vec<Change>> {
    let elapsed = Elapsed { awake_s, ..Elapsed::default() };
    let looked = tokio::select! {
        looked = poller.once(store, now, elapsed, 0.0) => looked,
        error = stage.show(document) => return Err(error).context("cannot show the drill's own feed"),
    };
    match looked.trouble {
        Some(trouble) => {
            bail!("cannot read the drill's own feed: {trouble}; check what is in the way on 127.0.0.1")
        }
        None => Ok(looked.changes),
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

/// A drill that tells something else than what it plays would be worse than none.
fn check(act: Act, changes: &[Change]) -> Result<()> {
    let kinds: Vec<_> = changes.iter().map(|change| change.kind).collect();
    if kinds != Vec::from_iter(act.change()) {
        bail!("step {:?} of the drill was taken for {kinds:?}; please report this", act.as_str());
    }
    Ok(())
}

/// Tells on one channel what was believed, one after the other, each in one try.
async fn deliver_news(
    mut receiver: Receiver,
    is_dry: bool,
    mut news: UnboundedReceiver<Change>,
    tell: UnboundedSender<Told>,
) -> Result<()> {
    let store = Store::open_in_memory()?;
    receiver.policy = receiver.policy.without_quiet_hours();
    receiver.is_drill = true;
    while let Some(change) = news.recv().await {
        let told = Told {
            channel: receiver.channel.name().to_owned(),
            audience: receiver.channel.audience(),
            message: deliver_one(&store, &mut receiver, &change, is_dry).await?,
        };
        // Nobody listens any more where the drill was dropped, which ends this task too.
        let _unheard = tell.send(told);
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
    let answer = if is_dry { None } else { Some(receiver.channel.send(&notice).await) };
    let settled = match &answer {
        Some(SendOutcome::Delivered { receipt, words }) => {
            Settled::Sent { receipt: receipt.clone(), words: words.clone() }
        }
        Some(
            SendOutcome::Transient { words, .. }
            | SendOutcome::Unclear { words }
            | SendOutcome::Permanent { words },
        ) => Settled::GivenUp { words: words.clone() },
        None => Settled::Sent { receipt: None, words: String::new() },
    };
    store.settle(attempt.notice_id, &settled, change.at).await?;
    Ok(Some(Sent { notice, answer, took: begun.elapsed() }))
}
