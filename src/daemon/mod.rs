//! `statusd run`: runtime, readiness, signals, reload, stop.
//!
//! Decides nothing about outages or deliveries. The state is safe at any moment, so a kill loses nothing; a
//! stop waits for the notice in flight. Polls, reloads, the status socket and the watchdog never wait for
//! a channel.

mod channel_loops;
mod delivery_loop;
mod generation;
mod phone_loop;
mod poll_loop;
pub mod poller;
mod progress;
mod retention_loop;
mod service_manager;
mod setup;
mod shared;
mod start_step;
mod wait;
mod watchdog;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_blocking, spawn_local};
use tokio::time::sleep;

use crate::cause::Cause as _;
use crate::clock;
use crate::config::{self, Config, ConfigError, Environment, Overrides};
use crate::daemon::poller::PollerState;
use crate::delivery::policy;
use crate::exit_code::{self, CANNOT_WRITE, FAILED};
use crate::model::Change;
use crate::setting::SettingError;
use crate::status_socket::{self, DaemonStatus, StatusSocket};
use crate::store::{Observer, OpenError, Opened, Store};
use crate::web;
use channel_loops::ChannelLoops;
use generation::Generation;
use progress::{Loops, Progress, StalledTask, run_to_end};
pub use setup::{Setup, all_faults, feed_url, receivers};
use shared::Shared;
pub use start_step::{OnStartStep, StartStep};
use watchdog::Watchdog;

/// The maximum wait for the notice in flight at a stop. The service manager waits for 10 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// The pause after an error of the status socket, for example too many open files.
const STATUS_RETRY: Duration = Duration::from_secs(1);

/// The reason why the daemon did not start or had to stop. `Display` is one line with the next step.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Store(#[from] OpenError),
    #[error("cannot use the database: {}", .0.reason())]
    Database(#[from] rusqlite::Error),
    #[error("cannot start: {}", .0.reason())]
    System(#[from] std::io::Error),
    #[error("{0}")]
    Web(#[from] web::ServerError),
}

impl RunError {
    /// Returns the documented exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            RunError::Config(error) => exit_code::of_config(error),
            RunError::Store(error) => exit_code::of_open(error),
            RunError::Database(_) => CANNOT_WRITE,
            RunError::System(_) | RunError::Web(_) => FAILED,
        }
    }
}

/// Runs until SIGTERM or SIGINT. SIGHUP reloads the configuration with the same overrides.
pub fn run(
    config: Config,
    overrides: &Overrides,
    environment: &Environment<'_>,
    on_step: OnStartStep,
) -> Result<(), RunError> {
    // Before threads start, because it changes the environment.
    let passed = web::Passed::take();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let load = || config::load_usable(overrides, environment);
    let outcome = LocalSet::new().block_on(&runtime, serve(config, &load, environment, passed, on_step));
    // A DNS lookup on another thread must not delay the stop.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

async fn serve(
    config: Config,
    load: &dyn Fn() -> (Config, Option<ConfigError>),
    environment: &Environment<'_>,
    passed: web::Passed,
    on_step: OnStartStep,
) -> Result<(), RunError> {
    let mut signals = Signals::listen()?;
    let setup = Setup::new(config, environment)?;
    let directory = setup.config.state_directory.clone();
    let Some(opened) = open_store(directory.clone(), &mut signals).await else { return Ok(()) };
    let Opened { store, lost } = opened?;
    let store = Rc::new(store);
    let state = PollerState::new(store.beliefs(&setup.config.feed).await?);
    if let Some(kept) = lost {
        let change = Change::history_lost(state.beliefs.feed.clone(), &kept, clock::now());
        let routing = |change: &Change| policy::matching(&setup.routes(), change);
        store.record_change(&change, &routing, clock::now()).await?;
    }
    let shared = Shared {
        seed: store.seed().await?,
        store: Rc::clone(&store),
        status: watch::channel(DaemonStatus::starting(clock::now())).0,
        activity: watch::channel(web::ActivityCounts::none()).0,
        outbox: watch::channel(()).0,
        loops: Loops::new(),
    };
    let mut listener = web::Server::new(passed);
    let live = live_state(&shared);
    let bound = bind(&listener, &setup)?;
    serve_status(&setup.config, &shared);
    tracing::info!("statusd {}: watching {}", env!("CARGO_PKG_VERSION"), setup.config.watch.join(", "));
    service_manager::ready();
    on_step(StartStep::Ready);
    let mut channels = ChannelLoops::new();
    listener.replace(bound, &live);
    let mut current = setup.config.clone();
    let mut generation = Generation::start(setup, state, Some(on_step), &mut channels, &shared);
    if let Some(watchdog) = Watchdog::of(environment, std::process::id()) {
        let store = Rc::clone(&store);
        let check = async move || store.check_readable().await;
        spawn_local(watchdog.run(shared.loops.clone(), check, service_manager::ping));
    }
    while let Some((bound, next)) = until_next(&generation, &mut signals, &shared.status, || {
        let setup = reload(&current, load, environment)?;
        Ok((bind(&listener, &setup)?, setup))
    })
    .await
    {
        listener.replace(bound, &live);
        current = next.config.clone();
        let state = match generation.stop(&store).await {
            Some(state) if state.beliefs.feed == current.feed => state,
            _ => PollerState::new(store.beliefs(&current.feed).await?),
        };
        generation = Generation::start(next, state, None, &mut channels, &shared);
        tracing::info!("reloaded the configuration; watching {}", current.watch.join(", "));
        shared
            .status
            .send_modify(|status| (status.configured_at, status.refused) = (Some(clock::now()), None));
        service_manager::reloaded();
    }
    service_manager::stopping();
    generation.stop(&store).await;
    tokio::join!(channels.stop(STOP_TIMEOUT), listener.stop());
    status_socket::close(&directory);
    tracing::info!("stopped");
    Ok(())
}

/// Opens the database on another thread, because a migration may take minutes. `None` if a signal stopped
/// the daemon meanwhile; the next start resumes the migration.
async fn open_store(directory: PathBuf, signals: &mut Signals) -> Option<Result<Opened, OpenError>> {
    let open =
        move || Store::open_observed(&directory, clock::now(), Observer::new(service_manager::opening));
    tokio::select! {
        opened = spawn_blocking(open) => Some(opened.expect("no panic while opening the database")),
        () = signals.stop() => None,
    }
}

/// Runs a generation until the next configuration is loaded; `None`: until the stop.
async fn until_next<T>(
    generation: &Generation,
    signals: &mut Signals,
    status: &watch::Sender<DaemonStatus>,
    reload: impl Fn() -> Result<T, RunError>,
) -> Option<T> {
    loop {
        match signals.next().await {
            Signalled::Stop => return None,
            Signalled::Reload => {
                service_manager::reloading();
                match reload() {
                    Ok(next) => return Some(next),
                    Err(error) => {
                        tracing::error!("keeping the old configuration: {error}");
                        service_manager::reload_failed(&error.to_string());
                        generation.refuse(error.to_string());
                        status.send_modify(|status| status.refused = Some(error.to_string()));
                    }
                }
            }
        }
    }
}

/// Loads the new configuration. An error keeps the old one.
fn reload(
    current: &Config,
    load: &dyn Fn() -> (Config, Option<ConfigError>),
    environment: &Environment<'_>,
) -> Result<Setup, ConfigError> {
    let (config, error) = load();
    if let Some(error) = error {
        return Err(all_faults(error, config, environment));
    }
    if config.state_directory != current.state_directory {
        let error = SettingError::new("directory", "another directory needs a restart, not a reload");
        return Err(config.error_in("state", error));
    }
    if (config.log_level, config.log_format) != (current.log_level, current.log_format) {
        tracing::warn!("a change of [log] needs a restart, not a reload");
    }
    Setup::new(config, environment)
}

/// Opens the socket of `[web]`, before the loops of an older configuration are stopped.
fn bind(listener: &web::Server, setup: &Setup) -> Result<Option<web::Bound>, web::ServerError> {
    setup.site.clone().map(|site| listener.bind(site)).transpose()
}

/// Returns what the listener shows of the daemon. `/livez` answers with the watchdog's check of the loops.
fn live_state(shared: &Shared) -> web::LiveState {
    let loops = shared.loops.clone();
    let check_loops = move || match progress::check(&loops.statuses(), clock::monotonic_now()) {
        Ok(_) => Ok(()),
        Err(stalled) => Err(stalled.iter().map(StalledTask::without_names).collect()),
    };
    web::LiveState {
        status: shared.status.subscribe(),
        activity: shared.activity.subscribe(),
        check_loops: Arc::new(check_loops),
    }
}

/// Serves `statusd status`. If the socket cannot be opened, the daemon runs without it.
fn serve_status(config: &Config, shared: &Shared) {
    let socket = match StatusSocket::open(&config.state_directory) {
        Ok(socket) => socket,
        Err(error) => {
            let directory = config.state_directory.display();
            tracing::warn!("cannot serve `statusd status`: {directory}: {}", error.reason());
            return;
        }
    };
    let (status, outbox) = (shared.status.subscribe(), shared.outbox.clone());
    let progress = shared.loops.register("the status socket", Duration::ZERO);
    spawn_local(run_to_end(progress, async move |progress| {
        status_loop(socket, status, outbox, progress).await
    }));
}

async fn status_loop(
    socket: StatusSocket,
    status: watch::Receiver<DaemonStatus>,
    outbox: watch::Sender<()>,
    progress: &Progress,
) {
    loop {
        progress.waiting(None, clock::monotonic_now());
        let served = socket.serve(|| status.borrow().clone()).await;
        // The client may have added a delivery to the outbox.
        outbox.send_replace(());
        if served.is_err() {
            sleep(STATUS_RETRY).await;
        }
    }
}

enum Signalled {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn next(&mut self) -> Signalled {
        tokio::select! {
            _ = self.terminate.recv() => Signalled::Stop,
            _ = self.interrupt.recv() => Signalled::Stop,
            _ = self.hang_up.recv() => Signalled::Reload,
        }
    }
}
