//! Collects the data for all checks in parallel, each part within its own time limit.
//!
//! Draws no conclusions. Writes only the cache of Apple's list of iOS versions. A source that hangs does
//! not affect the others. Everything ends within [`TIMEOUT`], except for the requested speed test.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::apple::OutageHistory;
use super::checks::{Group, Selection};
use super::daemon::Database;
use super::network::{self, ClockOffset};
use crate::cause::cannot;
use crate::channel::Channel;
use crate::doctor::probe::{ProbeConfig, ProbeEnvironment};
use crate::feed::fetch::{FetchError, FetchLimits, Fetcher};
use crate::model::{Document, FeedId, Phase, ServiceKey};
use crate::phones::icloud_storage::{self, Storage};
use crate::phones::ios_releases::{self, Releases, Source};
use crate::phones::local_backups::{self, BackupLocation, LocationReport};
use crate::phones::{self, Address, Phone, ReadError};
use crate::status_socket::{self, DaemonStatus};
use crate::store::Store;
use crate::tracking::watchlist::Watchlist;

/// Shorter than the daemon's limits, because a user waits for the result.
pub const FEED_LIMITS: FetchLimits =
    FetchLimits { connect: Duration::from_secs(6), total: Duration::from_secs(12), ..FetchLimits::SHIPPED };
/// The limit for each part; the parts run in parallel.
pub const TIMEOUT: Duration = Duration::from_secs(18);
const PHONE_TIMEOUT: Duration = Duration::from_secs(8);
/// The limit for Apple's list of iOS versions, which is loaded after the phones were read.
pub const RELEASES_TIMEOUT: Duration = Duration::from_secs(8);
/// The limit for the network with a speed test, which runs last because it saturates the connection.
const SPEED_TIMEOUT: Duration = Duration::from_secs(60);
/// The age of the oldest outages that are loaded. A phone's last backup may be months old.
const HISTORY_MAX_AGE: SignedDuration = SignedDuration::from_hours(400 * 24);

/// The configuration and the external resources of a run.
pub struct Inputs {
    pub now: Timestamp,
    pub zone: TimeZone,
    /// The watched names and globs, as configured.
    pub watch: Vec<String>,
    pub feed: FeedId,
    pub fetcher: Fetcher,
    pub state_directory: PathBuf,
    /// Set if the caller may not read the state directory.
    pub private_database: Option<Database>,
    /// The command that queries the system service, if one is installed.
    pub system_service_command: Option<String>,
    /// `None` if desktop notifications are disabled.
    pub desktop: Option<Channel>,
    pub usbmuxd: Address,
    pub releases: Source,
    /// Directories with phone backups on this computer.
    pub backup_locations: Vec<BackupLocation>,
    pub probe: ProbeConfig,
    /// Measure the upload speed.
    pub with_speed: bool,
    /// Include the names and numbers of phones.
    pub identifiers: bool,
}

/// The result of collecting one part of the data.
#[derive(Debug)]
pub enum Collected<T> {
    NotRequested,
    /// The part took longer than this.
    TimedOut(Duration),
    Done(T),
}

impl<T> Collected<T> {
    pub fn done(&self) -> Option<&T> {
        match self {
            Collected::Done(value) => Some(value),
            Collected::NotRequested | Collected::TimedOut(_) => None,
        }
    }
}

/// The collected data.
pub struct Observations {
    pub feed: Collected<Result<Document, FetchError>>,
    pub history: Option<OutageHistory>,
    pub network: Collected<network::NetworkReport>,
    pub phones: Collected<Phones>,
    pub storage: Collected<Storage>,
    pub backups: Collected<Vec<LocationReport>>,
    pub daemon: Collected<Option<DaemonStatus>>,
    pub database: Database,
    pub system_service_command: Option<String>,
    /// A notification server runs on this desktop.
    pub desktop: Collected<bool>,
}

/// The connected devices and, if there is a phone, Apple's list of iOS versions.
pub struct Phones {
    /// iPhones, iPads, and devices that do not report their class.
    pub phones: Result<Vec<Phone>, ReadError>,
    /// Other devices, which the checks do not cover.
    pub others: Vec<Phone>,
    pub releases: Option<Result<Releases, String>>,
}

/// Collects the data that the selected checks need. Calls `on_collected` with the label of each part that
/// is complete.
pub async fn collect(
    inputs: &mut Inputs,
    selection: &Selection,
    environment: &ProbeEnvironment<'_>,
    on_collected: &dyn Fn(&'static str),
) -> Observations {
    let Inputs { now, with_speed, .. } = *inputs;
    let began = Instant::now();
    let wants_phones = selection.wants_any_of(Group::Phone);
    let wants_network = selection.wants_any_of(Group::Network);
    let (history, database) = match inputs.private_database.take() {
        Some(private) => (None, private),
        None => open_history(&inputs.state_directory, &inputs.feed, &inputs.watch, now).await,
    };
    let network_timeout = if with_speed { SPEED_TIMEOUT } else { TIMEOUT };
    let network = network::collect(&inputs.probe, environment, selection.ids(), with_speed, now);
    let phones = collect_phones(&inputs.usbmuxd, &inputs.releases, selection, now);
    let locations = std::mem::take(&mut inputs.backup_locations);
    let wants_desktop = selection.wants("desktop") && inputs.desktop.is_some();
    // An outage last night may explain the phone's last backup, and the response contains the time.
    let wants_feed = selection.wants("apple") || selection.wants(network::CLOCK) || wants_phones;
    let (feed, mut network, phones, storage, backups, daemon, desktop) = tokio::join!(
        timed("apple", wants_feed, TIMEOUT, on_collected, inputs.fetcher.first_fetch()),
        timed("network", wants_network, network_timeout, on_collected, network),
        timed("phone", wants_phones, TIMEOUT, on_collected, phones),
        timed("storage", selection.wants(super::storage::ID), TIMEOUT, on_collected, icloud_storage::ask()),
        timed(
            "backups",
            selection.wants(super::local_backups::ID),
            TIMEOUT,
            on_collected,
            find_backups(locations)
        ),
        timed(
            "daemon",
            selection.wants("daemon"),
            TIMEOUT,
            on_collected,
            query_daemon(&inputs.state_directory)
        ),
        timed("desktop", wants_desktop, TIMEOUT, on_collected, shows_notifications(&mut inputs.desktop)),
    );
    if let (Collected::Done(report), Some(time)) = (&mut network, inputs.fetcher.server_time()) {
        report.clock.push(ClockOffset { server: "the feed's server", ahead_s: time.ahead_s(now, began) });
    }
    let system_service_command = inputs.system_service_command.take();
    Observations {
        feed,
        history,
        network,
        phones,
        storage,
        backups,
        daemon,
        database,
        system_service_command,
        desktop,
    }
}

async fn shows_notifications(desktop: &mut Option<Channel>) -> bool {
    match desktop {
        Some(channel) => channel.is_reachable().await,
        None => false,
    }
}

async fn timed<T>(
    label: &'static str,
    is_requested: bool,
    limit: Duration,
    on_collected: &dyn Fn(&'static str),
    work: impl Future<Output = T>,
) -> Collected<T> {
    if !is_requested {
        return Collected::NotRequested;
    }
    let result = timeout(limit, work).await;
    on_collected(label);
    result.map_or(Collected::TimedOut(limit), Collected::Done)
}

async fn collect_phones(
    usbmuxd: &Address,
    releases: &Source,
    selection: &Selection,
    now: Timestamp,
) -> Phones {
    let mut phones = phones::read(usbmuxd, PHONE_TIMEOUT).await;
    let is_other = |device: &mut Phone| device.public.family().is_other();
    let others = phones.iter_mut().flat_map(|devices| devices.extract_if(.., is_other)).collect();
    let needs_releases =
        selection.wants(super::ios::ID) && phones.as_ref().is_ok_and(|phones| !phones.is_empty());
    let releases = if needs_releases { Some(ios_releases::load(releases, now).await) } else { None };
    Phones { phones, others, releases }
}

async fn find_backups(locations: Vec<BackupLocation>) -> Vec<LocationReport> {
    // A sleeping disk or a network file system must not delay the rest.
    spawn_blocking(move || local_backups::find(locations)).await.unwrap_or_default()
}

async fn query_daemon(state_directory: &Path) -> Option<status_socket::DaemonStatus> {
    let directory = state_directory.to_owned();
    spawn_blocking(move || status_socket::ask(&directory)).await.ok().flatten()
}

/// Reads the history of the watched services from the database, and the database's state.
async fn open_history(
    state_directory: &Path,
    feed: &FeedId,
    watch: &[String],
    now: Timestamp,
) -> (Option<OutageHistory>, Database) {
    let store = match Store::open_existing(state_directory, false) {
        Ok(None) => return (None, Database::None),
        Err(error) => return (None, Database::Unreadable(error.to_string())),
        Ok(Some(store)) => store,
    };
    let read = async {
        let history = read_history(&store, feed, watch, now).await?;
        let totals = store.totals().await?;
        let database = Database::Open { totals, last_readable: history.last_readable };
        Ok::<_, rusqlite::Error>((Some(history), database))
    };
    read.await.unwrap_or_else(|error| (None, Database::Unreadable(cannot("use the database", &error))))
}

async fn read_history(
    store: &Store,
    feed: &FeedId,
    watch: &[String],
    now: Timestamp,
) -> Result<OutageHistory, rusqlite::Error> {
    let since = now.checked_sub(HISTORY_MAX_AGE).unwrap_or(Timestamp::MIN);
    let watch = Watchlist::new(watch);
    let mut outages = store.outages(feed, since).await?;
    outages.retain(|outage| {
        watch.matches(&ServiceKey::new(&outage.service))
            && !outage.kind.is_maintenance()
            && !matches!(outage.phase, Phase::Planned(_))
    });
    let spans = store.coverage(feed, since).await?;
    let covered =
        spans.iter().filter(|span| span.unreadable.is_none()).map(|span| (span.from, span.to)).collect();
    let state = Some(store.beliefs(feed).await?.state);
    Ok(OutageHistory { outages, covered, state, last_readable: store.last_readable(feed).await? })
}
