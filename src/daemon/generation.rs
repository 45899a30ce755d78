//! The loops of one configuration: one that polls, one that delivers for each channel.
//!
//! Loops own what they use and give it back when they are stopped; between them there are only
//! the database and messages.

use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::phones::PhoneLoop;
use super::waiting::wait;
use super::{Setup, Signalled, Signals, notify, summary};
use crate::channel::Answer;
use crate::channel::heartbeat::{Heartbeat, Pulse};
use crate::checkup::Checkup;
use crate::clock::{self, Jumps, Reading};
use crate::deliver::{self, Courier, Round};
use crate::live::{Desk, Live};
use crate::message::when::when;
use crate::plan::Plan;
use crate::poll::{Looked, Memory, Poller};
use crate::record::Recorder;
use crate::schedule::jitter_s;
use crate::store::Store;
use crate::track::Verdict;
use crate::watch::Watch;

/// Between two tries at a database that refuses.
const STORE_RETRY: Duration = Duration::from_secs(60);

/// What a stopped generation leaves to the next.
#[derive(Default)]
pub struct Left {
    couriers: Vec<Courier>,
    live: Option<Live>,
}

pub struct Generation {
    poll: JoinHandle<Memory>,
    deliver: Vec<JoinHandle<Courier>>,
    phones: Option<JoinHandle<()>>,
    live: watch::Receiver<Live>,
    /// Ticks when there may be something to deliver.
    outbox: watch::Sender<()>,
    stop: watch::Sender<bool>,
}

impl Generation {
    pub fn start(setup: Setup, memory: Memory, left: Left, store: &Rc<Store>, seed: u64) -> Generation {
        let hearers = setup.hearers();
        let Setup { config, couriers, heartbeat, fetcher } = setup;
        let (stop, stopped) = watch::channel(false);
        let (outbox, outbox_ticks) = watch::channel(());
        let (live_out, live) = watch::channel(left.live.unwrap_or_else(|| Live::starting(clock::now())));
        let plan = Plan {
            poll: config.poll.clone(),
            trouble: config.trouble.clone(),
            jitter_s: jitter_s(seed, config.jitter_s),
        };
        let phones = config.phone.enabled.then(|| {
            let checkup = Checkup {
                feed: config.feed.clone(),
                hearers: hearers.clone(),
                look: config.phone.look.clone(),
                late: config.phone.late(),
                seed,
            };
            let address = config.phone.address.clone();
            let phones = PhoneLoop::new(address, checkup, store, live_out.clone(), outbox.clone());
            spawn_local(phones.run(stopped.clone()))
        });
        let poller = Poller {
            fetcher,
            watch: Watch::new(&config.watch),
            plan,
            hearers,
            recorder: config.record_file.as_deref().map(Recorder::new),
            alive: config.alive,
            tells_of_phones: config.phone.enabled,
            memory,
        };
        let zone = config.time_zone;
        let (pulse, pulses) = watch::channel(None);
        if let Some(heartbeat) = heartbeat {
            spawn_local(beat_loop(heartbeat, pulses));
        }
        let poll =
            PollLoop { pulse, poller, store: Rc::clone(store), zone, live: live_out, outbox: outbox.clone() };
        let deliver: Vec<_> = reuse(couriers, left.couriers)
            .into_iter()
            .map(|courier| {
                let (ticks, stopped) = (outbox_ticks.clone(), stopped.clone());
                spawn_local(deliver_loop(courier, Rc::clone(store), ticks, stopped))
            })
            .collect();
        let poll = spawn_local(poll.run(stopped));
        Generation { deliver, poll, phones, live, outbox, stop }
    }

    /// Serves visitors until a signal comes.
    pub async fn until_signal(&mut self, signals: &mut Signals, desk: Option<&Desk>) -> Signalled {
        loop {
            let visit = async {
                match desk {
                    Some(desk) => desk.serve(|| self.live.borrow().clone()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                signalled = signals.next() => return signalled,
                served = visit => {
                    // Whoever came may have put something into the outbox.
                    self.outbox.send_replace(());
                    if served.is_err() {
                        sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        }
    }

    /// Lets the messages in flight arrive, until `patience` ends, and collects what remains.
    pub async fn stop(self, store: &Store, patience: impl Future<Output = ()>) -> (Option<Memory>, Left) {
        self.stop.send_replace(true);
        let live = Some(self.live.borrow().clone());
        // Gives up waiting between two commits, so it ends at once.
        let mut memory = self.poll.await.ok();
        if let Some(phones) = self.phones {
            // Writes in one piece and has nothing to leave.
            let _ = phones.await;
        }
        let mut couriers = Vec::new();
        let mut patience = std::pin::pin!(patience);
        let mut is_over = false;
        for mut task in self.deliver {
            if !is_over {
                tokio::select! {
                    biased;
                    stopped = &mut task => couriers.extend(stopped.ok()),
                    () = &mut patience => is_over = true,
                }
            }
            // Sent or not, nobody knows: it will be sent again under the same key.
            task.abort();
        }
        if let Some(memory) = &mut memory
            && let Err(error) = memory.checkpoint(store).await
        {
            tracing::error!("cannot write to the database: {error}");
        }
        (memory, Left { couriers, live })
    }
}

/// Channels that keep something (a connection, what they showed) go on across a reload.
fn reuse(new: Vec<Courier>, mut old: Vec<Courier>) -> Vec<Courier> {
    let keep = |fresh: Courier| match old.iter().position(|old| fresh.channel.continues(&old.channel)) {
        Some(index) => fresh.through(old.swap_remove(index).channel),
        None => fresh,
    };
    new.into_iter().map(keep).collect()
}

struct PollLoop {
    /// How the last look went. Goes with the loop, and the heartbeat with it.
    pulse: watch::Sender<Option<Pulse>>,
    poller: Poller,
    store: Rc<Store>,
    zone: TimeZone,
    live: watch::Sender<Live>,
    outbox: watch::Sender<()>,
}

impl PollLoop {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) -> Memory {
        let jumps = Jumps::watch();
        let mut reading = Reading::take();
        let mut next = clock::now();
        loop {
            let waited = tokio::select! {
                passed = wait(&reading, next, &jumps) => passed,
                _ = stopped.wait_for(|stop| *stop) => return self.poller.memory,
            };
            reading = Reading::take();
            let now = clock::now();
            let looked = tokio::select! {
                looked = self.poller.once(&self.store, now, waited, fastrand::f64()) => looked,
                _ = stopped.wait_for(|stop| *stop) => return self.poller.memory,
            };
            next = looked.next;
            self.report(&looked, now);
            self.pulse.send_replace(Some(match (&looked.verdict, &looked.trouble) {
                (Verdict::Blind, trouble) => Pulse::Blind(trouble.clone().unwrap_or_default()),
                // Whoever cannot write will not remember.
                (_, Some(trouble)) => Pulse::Blind(trouble.clone()),
                (_, None) => Pulse::Good,
            }));
            // Also without changes to tell: who mirrors a state shows that we went blind.
            self.outbox.send_replace(());
        }
    }

    fn report(&self, looked: &Looked, now: Timestamp) {
        let before = self.live.borrow().trouble.clone();
        match (&before, &looked.trouble) {
            (Some(trouble), None) => tracing::info!("over: {trouble}"),
            (before, Some(trouble)) if before.as_ref() != Some(trouble) => tracing::warn!("{trouble}"),
            _ => {}
        }
        if looked.verdict == Verdict::AcceptedOlder {
            tracing::warn!(
                "for hours Apple has served nothing but older copies; the newest of them is believed now"
            );
        }
        tracing::debug!(verdict = ?looked.verdict, next = %looked.next, "looked");
        self.live.send_modify(|live| {
            live.looks += 1;
            live.stale_looks += u64::from(looked.verdict == Verdict::Stale);
            live.looked_at = Some(now);
            live.next_look_at = Some(looked.next);
            live.trouble = looked.trouble.clone();
            if looked.verdict != Verdict::Blind {
                live.sighted_at = Some(now);
            }
        });
        let at = |time| when(time, now, &self.zone);
        let state = match &looked.trouble {
            Some(trouble) if looked.verdict == Verdict::Blind => format!("cannot tell: {trouble}"),
            Some(trouble) => trouble.clone(),
            None => summary(&self.poller.memory.beliefs, &self.poller.watch),
        };
        notify(&[NotifyState::Status(&format!(
            "{state}; looked {}, next look {}",
            at(now),
            at(looked.next)
        ))]);
    }
}

/// Only the newest look counts: a watcher that is slow misses beats, and nobody waits for it.
async fn beat_loop(heartbeat: Heartbeat, mut pulses: watch::Receiver<Option<Pulse>>) {
    let mut was_heard = true;
    while pulses.changed().await.is_ok() {
        let Some(pulse) = pulses.borrow_and_update().clone() else { continue };
        let answer = heartbeat.beat(&pulse).await;
        let is_heard = matches!(answer, Answer::Delivered { .. });
        match (was_heard, is_heard) {
            (true, false) => tracing::warn!("heartbeat: not heard: {}", answer.words()),
            (false, true) => tracing::info!("heartbeat: heard again: {}", answer.words()),
            (true, true) | (false, false) => {}
        }
        was_heard = is_heard;
    }
}

async fn deliver_loop(
    mut courier: Courier,
    store: Rc<Store>,
    mut ticks: watch::Receiver<()>,
    mut stopped: watch::Receiver<bool>,
) -> Courier {
    while !*stopped.borrow() {
        let wait = match deliver::once(&store, &mut courier, fastrand::f64(), &clock::now).await {
            Ok(Round::Tried { key, attempt, answer }) => {
                report(courier.channel.name(), &key, attempt, &answer);
                continue;
            }
            Ok(Round::Idle { until }) => until.map(clock::time_until),
            Err(error) => {
                tracing::error!("{}: cannot use the database: {error}", courier.channel.name());
                Some(STORE_RETRY)
            }
        };
        let due = async {
            match wait {
                Some(wait) => sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            _ = ticks.changed() => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
    }
    courier
}

/// The first failure and what ends a delivery are news; the tries between them are not.
fn report(channel: &str, key: &str, attempt: u32, answer: &Answer) {
    let words = answer.words();
    match answer {
        Answer::Delivered { .. } => tracing::debug!(key, "{channel}: delivered: {words}"),
        Answer::Refused { .. } => {
            tracing::error!(key, "{channel}: refused for good: {words}; see `statusd outbox`")
        }
        Answer::Retry { .. } if attempt == 1 => {
            tracing::warn!(key, "{channel}: not delivered yet, trying again: {words}");
        }
        Answer::Retry { .. } => tracing::debug!(key, attempt, "{channel}: not delivered yet: {words}"),
    }
}
