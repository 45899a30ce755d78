//! The loops of one configuration: one that polls, one that delivers for each channel.
//!
//! Loops own what they use and give it back when they are stopped; between them there are only
//! the database and messages.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::deliveries::{deliver_loop, round_within};
use super::looks::{LOOK_WITHIN, PollLoop};
use super::manager;
use super::phones::{self, PhoneLoop};
use super::progress::{Progress, Watched};
use super::watchdog::Watchdog;
use super::{Setup, Signalled, Signals};
use crate::channel::Answer;
use crate::channel::heartbeat::{Heartbeat, Pulse};
use crate::checkup::Checkup;
use crate::clock;
use crate::config::Config;
use crate::deliver::Courier;
use crate::fetch::Fetcher;
use crate::live::{Desk, Live};
use crate::plan::Plan;
use crate::poll::{Memory, Poller};
use crate::record::Recorder;
use crate::schedule::jitter_s;
use crate::store::Store;
use crate::terms::Hearer;
use crate::watch::Watch;

/// What a loop may take for all that ends by itself at once: the database, and a machine that is slow.
pub(super) const LEEWAY: Duration = Duration::from_secs(60);
/// The heartbeat's own deadline is the first of them.
const BEAT_WITHIN: Duration = Duration::from_secs(20).saturating_add(LEEWAY);

/// What a stopped generation leaves to the next.
#[derive(Default)]
pub struct Left {
    couriers: Vec<Courier>,
    live: Option<Live>,
}

/// What all generations work with.
pub struct Shared {
    pub store: Rc<Store>,
    pub seed: u64,
    pub watchdog: Option<Watchdog>,
}

pub struct Generation {
    poll: JoinHandle<Memory>,
    deliver: Vec<JoinHandle<Courier>>,
    phones: Option<JoinHandle<()>>,
    live: watch::Receiver<Live>,
    /// Ticks when there may be something to deliver.
    outbox: watch::Sender<()>,
    stop: watch::Sender<bool>,
    /// Why a newer configuration is not in use.
    refused: watch::Sender<Option<String>>,
    watchdog: Option<JoinHandle<()>>,
}

impl Generation {
    pub fn start(setup: Setup, memory: Memory, left: Left, shared: &Shared) -> Generation {
        let hearers = setup.hearers();
        let Setup { config, couriers, heartbeat, fetcher } = setup;
        let (stop, stopped) = watch::channel(false);
        let (outbox, ticks) = watch::channel(());
        let (live_out, live) = watch::channel(left.live.unwrap_or_else(|| Live::starting(clock::now())));
        let mut loops = Loops(Vec::new());
        let phones = config.phone.enabled.then(|| {
            let checkup = Checkup {
                feed: config.feed.clone(),
                hearers: hearers.clone(),
                look: config.phone.look.clone(),
                late: config.phone.late(),
                seed: shared.seed,
            };
            let address = config.phone.address.clone();
            let phones = PhoneLoop::new(address, checkup, &shared.store, live_out.clone(), outbox.clone());
            let stopped = stopped.clone();
            let progress = loops.begin("the loop of phones", phones::ROUND_WITHIN);
            spawn_local(tended(progress, async move |progress| phones.run(stopped, progress).await))
        });
        let pulse = heartbeat.map(|heartbeat| {
            let (pulse, pulses) = watch::channel(None);
            let progress = loops.begin("the heartbeat", BEAT_WITHIN);
            spawn_local(tended(progress, async move |progress| beat_loop(heartbeat, pulses, progress).await));
            pulse
        });
        let deliver = reuse(couriers, left.couriers).into_iter().map(|courier| {
            let (store, ticks, stopped) = (Rc::clone(&shared.store), ticks.clone(), stopped.clone());
            let name = format!("the loop of {}", courier.channel.name());
            let progress = loops.begin(name, round_within(&courier));
            spawn_local(tended(progress, async move |progress| {
                deliver_loop(courier, store, ticks, stopped, progress).await
            }))
        });
        let deliver: Vec<_> = deliver.collect();
        let (refused, refusal) = watch::channel(None);
        let poll = PollLoop {
            pulse,
            zone: config.time_zone.clone(),
            poller: poller(config, fetcher, hearers, memory, shared.seed),
            store: Rc::clone(&shared.store),
            live: live_out,
            outbox: outbox.clone(),
            refusal,
        };
        let progress = loops.begin("the loop that looks", LOOK_WITHIN);
        let poll = spawn_local(tended(progress, async move |progress| poll.run(stopped, progress).await));
        let watchdog = shared
            .watchdog
            .map(|watchdog| spawn_local(watchdog.run(loops.0, Rc::clone(&shared.store), manager::ping)));
        Generation { deliver, poll, phones, live, outbox, stop, refused, watchdog }
    }

    /// A newer configuration was refused; from now on that stands beside how things are.
    pub fn refuse(&self, reason: String) {
        self.refused.send_replace(Some(reason));
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
        // Until here: messages in flight may outlast the service manager's patience.
        if let Some(watchdog) = self.watchdog {
            watchdog.abort();
        }
        (memory, Left { couriers, live })
    }
}

/// The loops of a generation, as who watches over them sees them.
struct Loops(Vec<Watched>);

impl Loops {
    /// A loop that begins with something that takes no longer than `within`.
    fn begin(&mut self, name: impl Into<String>, within: Duration) -> Progress {
        let (progress, watched) = Progress::begins(name, within, clock::awake());
        self.0.push(watched);
        progress
    }
}

/// A loop to its end, which is as good as progress; one that falls down leaves `progress` dropped.
async fn tended<T>(progress: Progress, work: impl AsyncFnOnce(&Progress) -> T) -> T {
    let left = work(&progress).await;
    progress.ends(clock::awake());
    left
}

fn poller(config: Config, fetcher: Fetcher, hearers: Vec<Hearer>, memory: Memory, seed: u64) -> Poller {
    let plan = Plan { poll: config.poll, trouble: config.trouble, jitter_s: jitter_s(seed, config.jitter_s) };
    Poller {
        fetcher,
        watch: Watch::new(&config.watch),
        plan,
        hearers,
        recorder: config.record_file.as_deref().map(Recorder::new),
        alive: config.alive,
        tells_of_phones: config.phone.enabled,
        memory,
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

/// Only the newest look counts: a watcher that is slow misses beats, and nobody waits for it.
async fn beat_loop(heartbeat: Heartbeat, mut pulses: watch::Receiver<Option<Pulse>>, progress: &Progress) {
    let mut was_heard = true;
    loop {
        progress.waits(None, clock::awake());
        if pulses.changed().await.is_err() {
            return;
        }
        progress.works(BEAT_WITHIN, clock::awake());
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
