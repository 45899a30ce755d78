//! `statusd run`: runtime, readiness, signals, reload, stop.
//!
//! Decides nothing about outages or deliveries. State is safe at any instant, so a kill is merely
//! rude; a polite stop lets the message in flight arrive.

mod generation;
mod phones;
mod setup;
mod waiting;

use std::rc::Rc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::clock;
use crate::config::{self, Config, ConfigError, Environment, Overrides};
use crate::live::{self, Desk};
use crate::model::{Beliefs, Change};
use crate::poll::Memory;
use crate::store::{OpenError, Opened, Store};
use crate::terms;
use crate::track;
use generation::{Generation, Left};
pub use setup::{Setup, couriers, feed_url};

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
            Failure::Store(OpenError::CannotWrite { .. } | OpenError::CannotRead { .. }) => 73,
            Failure::Database(_) | Failure::System(_) => 1,
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
    let Opened { store, damaged } = Store::open(&directory, clock::now())?;
    let store = Rc::new(store);
    let mut memory = Memory::new(store.beliefs(&setup.config.feed).await?);
    if let Some(kept) = damaged {
        tracing::error!("the database was damaged; it is kept as {}, a new one is started", kept.display());
        let change = track::history_lost(&memory.beliefs, &kept.display().to_string(), clock::now());
        let told_to = |change: &Change| terms::hearing(&setup.hearers(), change);
        store.announce(&change, &told_to, clock::now()).await?;
    }
    let desk = open_desk(&setup.config);
    let seed = store.seed().await?;
    let mut left = Left::default();
    tracing::info!("statusd {} watches {}", env!("CARGO_PKG_VERSION"), setup.config.watch.join(", "));
    notify(&[NotifyState::Ready, NotifyState::Status("looking at Apple's feed for the first time")]);
    loop {
        let config = setup.config.clone();
        let mut generation = Generation::start(setup, memory, left, &store, seed);
        let next = loop {
            match generation.until_signal(&mut signals, desk.as_ref()).await {
                Signalled::Stop => break None,
                Signalled::Reload => match reload(&config, load, environment) {
                    Ok(next) => break Some(next),
                    Err(error) => {
                        tracing::error!("the old configuration stays: {error}");
                        notify(&[NotifyState::Status(&format!("the old configuration stays: {error}"))]);
                    }
                },
            }
        };
        let stopping = if next.is_some() { NotifyState::Reloading } else { NotifyState::Stopping };
        notify(&[stopping]);
        let mut heard = Heard { stop: next.is_none(), reload: false };
        let (remembered, remains) = generation.stop(&store, patience(&mut signals, &mut heard)).await;
        let Some(mut next) = next.filter(|_| !heard.stop) else { break };
        if heard.reload {
            match reload(&config, load, environment) {
                Ok(newer) => next = newer,
                Err(error) => tracing::error!("the configuration before stays: {error}"),
            }
        }
        memory = match remembered {
            Some(memory) if memory.beliefs.feed == next.config.feed => memory,
            _ => Memory::new(store.beliefs(&next.config.feed).await?),
        };
        (setup, left) = (next, remains);
        tracing::info!("the configuration was read anew; watching {}", setup.config.watch.join(", "));
        notify(&[NotifyState::Ready]);
    }
    live::close(&directory);
    tracing::info!("stopped");
    Ok(())
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

/// Tells the service manager; without one, nobody.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager does not listen: {error}");
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

    async fn next(&mut self) -> Signalled {
        tokio::select! {
            _ = self.terminate.recv() => Signalled::Stop,
            _ = self.interrupt.recv() => Signalled::Stop,
            _ = self.hang_up.recv() => Signalled::Reload,
        }
    }
}

/// One line for `systemctl status`: how the watched services are.
fn summary(beliefs: &Beliefs, watch: &crate::watch::Watch) -> String {
    let troubled: Vec<&str> = beliefs
        .outages
        .iter()
        .filter(|((key, _), outage)| {
            matches!(outage.phase, crate::model::Phase::Ongoing(_)) && watch.matches(key)
        })
        .map(|(_, outage)| outage.service.as_str())
        .collect();
    match troubled.as_slice() {
        [] => "no trouble with what is watched".to_owned(),
        names => format!("trouble with {}", names.join(", ")),
    }
}
