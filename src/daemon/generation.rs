//! The loops of one configuration: one that polls, one for phones, one for old rows, the heartbeat.
//!
//! Loops own what they use and return it when they are stopped. They share only the database and
//! channels of messages. No loop here waits for a delivery: delivery loops outlast a configuration
//! (`channel_loops`).

use std::rc::Rc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};

use super::channel_loops::ChannelLoops;
use super::phone_loop::{self, PhoneLoop};
use super::poll_loop::{POLL_TIMEOUT, PollLoop};
use super::progress::{LEEWAY, Progress, run_to_end};
use super::retention_loop::{RetentionLoop, STEP_TIMEOUT};
use super::setup::Setup;
use super::shared::Shared;
use super::start_step::OnStartStep;
use crate::cause::Cause as _;
use crate::channel::SendOutcome;
use crate::clock;
use crate::config::Config;
use crate::daemon::poller::{Poller, PollerState};
use crate::delivery::heartbeat::{Beat, Heartbeat};
use crate::delivery::policy::Route;
use crate::feed::fetch::Fetcher;
use crate::feed::recorder::Recorder;
use crate::phones::backup_check::BackupCheck;
use crate::schedule::jitter_s;
use crate::store::Store;
use crate::tracking::poll_plan::Plan;
use crate::tracking::watchlist::Watchlist;

/// Longest duration of a heartbeat: its own timeout and the leeway.
const BEAT_TIMEOUT: Duration = Duration::from_secs(20).saturating_add(LEEWAY);

pub struct Generation {
    poll: JoinHandle<PollerState>,
    phones: Option<JoinHandle<()>>,
    retention: JoinHandle<()>,
    stop: watch::Sender<bool>,
    /// The reason why a newer configuration was refused.
    refused: watch::Sender<Option<String>>,
}

impl Generation {
    /// Starts the loops; the first poll begins at once, and `on_step` is called after it. A channel that is still
    /// busy for the previous generation joins when it is done. Nothing else waits for that channel.
    pub fn start(
        setup: Setup,
        state: PollerState,
        on_step: Option<OnStartStep>,
        channels: &mut ChannelLoops,
        shared: &Shared,
    ) -> Generation {
        let routes = setup.routes();
        let Setup { config, receivers, heartbeat, fetcher, site: _ } = setup;
        let (stop, stopped) = watch::channel(false);
        let phones = config.phone.enabled.then(|| {
            let backup_check = BackupCheck {
                feed: config.feed.clone(),
                routes: routes.clone(),
                schedule: config.phone.poll.clone(),
                late: config.phone.late(),
                seed: shared.seed,
            };
            let address = config.phone.address.clone();
            let (status, outbox) = (shared.status.clone(), shared.outbox.clone());
            let phones = PhoneLoop::new(address, backup_check, &shared.store, status, outbox);
            let stopped = stopped.clone();
            let progress = shared.loops.register("the phone loop", phone_loop::ROUND_TIMEOUT);
            spawn_local(run_to_end(progress, async move |progress| phones.run(stopped, progress).await))
        });
        let beats = heartbeat.map(|heartbeat| {
            let (sender, beats) = watch::channel(None);
            let progress = shared.loops.register("the heartbeat", BEAT_TIMEOUT);
            spawn_local(run_to_end(progress, async move |progress| {
                beat_loop(heartbeat, beats, progress).await
            }));
            sender
        });
        let retention = retention(config.state_keep.limit, stopped.clone(), shared);
        channels.replace(receivers, shared);
        let (refused, refusal) = watch::channel(None);
        let poll = PollLoop {
            beats,
            zone: config.time_zone.clone(),
            poller: poller(config, fetcher, routes, state, shared.seed),
            store: Rc::clone(&shared.store),
            status: shared.status.clone(),
            activity: shared.activity.clone(),
            outbox: shared.outbox.clone(),
            refusal,
            on_step,
        };
        let progress = shared.loops.register("the poll loop", POLL_TIMEOUT);
        let poll = spawn_local(run_to_end(progress, async move |progress| poll.run(stopped, progress).await));
        Generation { poll, phones, retention, stop, refused }
    }

    /// Adds the rejection of a newer configuration to the status.
    pub fn refuse(&self, reason: String) {
        self.refused.send_replace(Some(reason));
    }

    /// Stops the loops at once: a poll ends between two commits, and a read of the phones is completed.
    pub async fn stop(self, store: &Store) -> Option<PollerState> {
        self.stop.send_replace(true);
        let mut state = self.poll.await.ok();
        if let Some(phones) = self.phones {
            let _ = phones.await;
        }
        let _ = self.retention.await;
        if let Some(state) = &mut state
            && let Err(error) = state.checkpoint(store).await
        {
            tracing::error!("cannot write to the database: {}", error.reason());
        }
        state
    }
}

fn retention(keep: SignedDuration, stopped: watch::Receiver<bool>, shared: &Shared) -> JoinHandle<()> {
    let retention = RetentionLoop::new(keep, &shared.store, shared.status.subscribe());
    let progress = shared.loops.register("the retention loop", STEP_TIMEOUT);
    spawn_local(run_to_end(progress, async move |progress| retention.run(stopped, progress).await))
}

fn poller(config: Config, fetcher: Fetcher, routes: Vec<Route>, state: PollerState, seed: u64) -> Poller {
    let plan = Plan { poll: config.poll, trouble: config.trouble, jitter_s: jitter_s(seed, config.jitter_s) };
    Poller {
        fetcher,
        watch: Watchlist::new(&config.watch),
        plan,
        routes,
        recorder: config.record_file.as_deref().map(|file| Recorder::new(file, config.record_keep.limit)),
        liveness: config.liveness,
        tells_of_phones: config.phone.enabled,
        state,
    }
}

/// Sends the result of the newest poll. A slow server misses beats, and no other task waits for it.
async fn beat_loop(heartbeat: Heartbeat, mut beats: watch::Receiver<Option<Beat>>, progress: &Progress) {
    let mut was_delivered = true;
    loop {
        progress.waiting(None, clock::monotonic_now());
        if beats.changed().await.is_err() {
            return;
        }
        progress.working(BEAT_TIMEOUT, clock::monotonic_now());
        let Some(beat) = beats.borrow_and_update().clone() else { continue };
        let outcome = heartbeat.send(&beat).await;
        let is_delivered = matches!(outcome, SendOutcome::Delivered { .. });
        match (was_delivered, is_delivered) {
            (true, false) => tracing::warn!("heartbeat: failed: {}", outcome.detail()),
            (false, true) => tracing::info!("heartbeat: works again: {}", outcome.detail()),
            (true, true) | (false, false) => {}
        }
        was_delivered = is_delivered;
    }
}
