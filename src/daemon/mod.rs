//! `statusd run`: runtime, readiness, signals, reload, stop.
//!
//! Decides nothing about outages or deliveries. State is safe at any instant, so a kill is merely
//! rude; a polite stop lets the message in flight arrive.

mod deliveries;
mod generation;
mod looks;
mod manager;
mod phones;
mod progress;
mod setup;
mod waiting;
mod watchdog;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::clock;
use crate::config::{self, Config, ConfigError, Environment, Overrides};
use crate::live::{self, Desk};
use crate::model::Change;
use crate::poll::Memory;
use crate::store::{OpenError, Opened, Store};
use crate::terms;
use crate::track;
use generation::{Generation, Left, Shared};
pub use setup::{Setup, couriers, feed_url};
use watchdog::Watchdog;

/// For the message in flight at a stop; the service manager waits for 10 s.
const STOP_WITHIN: Duration = Duration::from_secs(4);

/// Why the daemon did not start or had to end. `Display` is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Store(#[from] OpenError),
    #[error("the database does not answer: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

impl Failure {
    /// The documented exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_) | Failure::Store(OpenError::Newer { .. } | OpenError::Foreign(_)) => 78,
            Failure::Store(OpenError::Locked(_)) => 75,
            Failure::Store(OpenError::CannotWrite { .. } | OpenError::CannotRead { .. })
            | Failure::Database(_) => 73,
            Failure::System(_) => 1,
        }
    }
}

/// Runs until SIGTERM or SIGINT. SIGHUP reads the configuration anew, with the same overrides.
pub fn run(config: Config, overrides: &Overrides, environment: &Environment<'_>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let load = || config::load(overrides, environment);
    let outcome = LocalSet::new().block_on(&runtime, serve(config, &load, environment));
    // A name being looked up on another thread must not hold up the stop.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

async fn serve(
    config: Config,
    load: &dyn Fn() -> Result<Config, ConfigError>,
    environment: &Environment<'_>,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let mut setup = Setup::new(config, environment)?;
    let directory = setup.config.state_directory.clone();
    let Opened { store, lost } =
        Store::open_observed(&directory, clock::now(), Arc::new(manager::migrating))?;
    let store = Rc::new(store);
    let mut memory = Memory::new(store.beliefs(&setup.config.feed).await?);
    if let Some(kept) = lost {
        let change = track::history_lost(&memory.beliefs, &kept, clock::now());
        let told_to = |change: &Change| terms::hearing(&setup.hearers(), change);
        store.announce(&change, &told_to, clock::now()).await?;
    }
    let desk = open_desk(&setup.config);
    let watchdog = Watchdog::of(environment, std::process::id());
    let shared = Shared { seed: store.seed().await?, store: Rc::clone(&store), watchdog };
    let mut left = Left::default();
    let mut refused = None;
    tracing::info!("statusd {} watches {}", env!("CARGO_PKG_VERSION"), setup.config.watch.join(", "));
    manager::ready();
    loop {
        let config = setup.config.clone();
        let mut generation = Generation::start(setup, memory, left, &shared);
        if let Some(reason) = refused.take() {
            generation.refuse(reason);
        }
        let next =
            until_next(&mut generation, &mut signals, desk.as_ref(), || reload(&config, load, environment));
        let next = next.await;
        if next.is_none() {
            manager::stopping();
        }
        let mut heard = Heard { stop: next.is_none(), reload: false };
        let (remembered, remains) = generation.stop(&store, patience(&mut signals, &mut heard)).await;
        let Some(mut next) = next.filter(|_| !heard.stop) else { break };
        if heard.reload {
            manager::reloading();
            match reload(&config, load, environment) {
                Ok(newer) => next = newer,
                Err(error) => {
                    tracing::error!("the configuration before stays: {error}");
                    refused = Some(error.to_string());
                }
            }
        }
        memory = match remembered {
            Some(memory) if memory.beliefs.feed == next.config.feed => memory,
            _ => Memory::new(store.beliefs(&next.config.feed).await?),
        };
        (setup, left) = (next, remains);
        tracing::info!("the configuration was read anew; watching {}", setup.config.watch.join(", "));
        match &refused {
            Some(reason) => manager::kept_old(reason),
            None => manager::reloaded(),
        }
    }
    live::close(&directory);
    tracing::info!("stopped");
    Ok(())
}

/// Lets a generation work until it has to go: for another configuration, or, `None`, for good.
async fn until_next(
    generation: &mut Generation,
    signals: &mut Signals,
    desk: Option<&Desk>,
    reload: impl Fn() -> Result<Setup, ConfigError>,
) -> Option<Setup> {
    loop {
        match generation.until_signal(signals, desk).await {
            Signalled::Stop => return None,
            Signalled::Reload => {
                manager::reloading();
                match reload() {
                    Ok(next) => return Some(next),
                    Err(error) => {
                        tracing::error!("the old configuration stays: {error}");
                        manager::kept_old(&error.to_string());
                        generation.refuse(error.to_string());
                    }
                }
            }
        }
    }
}

/// Signals that came while messages in flight were waited for.
struct Heard {
    stop: bool,
    reload: bool,
}

/// How long messages in flight may take: at a reload as long as they like, their channels see to
/// that, unless a stop comes in between.
async fn patience(signals: &mut Signals, heard: &mut Heard) {
    while !heard.stop {
        match signals.next().await {
            Signalled::Stop => heard.stop = true,
            Signalled::Reload => heard.reload = true,
        }
    }
    sleep(STOP_WITHIN).await;
}

/// The new configuration, if all of it works.
fn reload(
    current: &Config,
    load: &dyn Fn() -> Result<Config, ConfigError>,
    environment: &Environment<'_>,
) -> Result<Setup, ConfigError> {
    let config = load()?;
    if config.state_directory != current.state_directory {
        return Err(config.error_in("state", "directory: another directory needs a restart, not a reload"));
    }
    if (config.log_level, config.log_format) != (current.log_level, current.log_format) {
        tracing::warn!("[log] changes at the next start, not at a reload");
    }
    Setup::new(config, environment)
}

/// Without it the daemon does its work; `status` then cannot ask it.
fn open_desk(config: &Config) -> Option<Desk> {
    Desk::open(&config.state_directory)
        .inspect_err(|error| {
            tracing::warn!(
                "`statusd status` cannot ask this daemon: {}: {error}",
                config.state_directory.display()
            );
        })
        .ok()
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

    async fn next(&mut self) -> Signalled {
        tokio::select! {
            _ = self.terminate.recv() => Signalled::Stop,
            _ = self.interrupt.recv() => Signalled::Stop,
            _ = self.hang_up.recv() => Signalled::Reload,
        }
    }
}
