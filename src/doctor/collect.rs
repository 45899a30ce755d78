//! Collects the data for all checks in parallel, each part within its own time limit.
//!
//! Draws no conclusions. Writes only the cache of Apple's list of iOS versions. A source that hangs does
//! not affect the others. Everything ends within [`TIMEOUT`], except for the requested speed test.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::apple::Past;
use super::checks::{Group, Selection};
use super::network;
use super::program::Database;
use crate::cause::cannot;
use crate::channel::Channel;
use crate::doctor::probe::{Net, ProbeEnvironment};
use crate::feed::fetch::{FetchError, FetchLimits, Fetcher};
use crate::model::{Document, FeedId, Phase, ServiceKey};
use crate::phones::icloud_storage::{self, Storage};
use crate::phones::ios_releases::{self, Releases, Source};
use crate::phones::local_backups::{self, BackupPlace, Root};
use crate::phones::{self, Address, Phone, ReadTrouble};
use crate::status_socket::{self, DaemonStatus};
use crate::store::Store;
use crate::tracking::watchlist::Watchlist;

/// Shorter than the daemon's limits, because a user waits for the result.
pub const FEED_LIMITS: FetchLimits =
    FetchLimits { connect: Duration::from_secs(6), total: Duration::from_secs(12), ..FetchLimits::SHIPPED };
/// For all of it.
pub const WITHIN: Duration = Duration::from_secs(18);
const PHONE_WITHIN: Duration = Duration::from_secs(8);
/// Of Apple's list of iOS versions, which is asked for behind a phone.
pub const RELEASES_WITHIN: Duration = Duration::from_secs(8);
/// Measuring an upload fills the line, so it comes after everything else.
const SPEED_WITHIN: Duration = Duration::from_secs(60);
/// How far back outages are asked for: a phone's last backup may be months old.
const HISTORY: SignedDuration = SignedDuration::from_hours(400 * 24);

/// All that the doctor looks at; everything from outside is here.
pub struct World {
    pub now: Timestamp,
    pub zone: TimeZone,
    /// The watched names and globs, as configured.
    pub watch: Vec<String>,
    pub feed: FeedId,
    pub fetcher: Fetcher,
    pub state_directory: PathBuf,
    /// Where that is known not to be for the caller.
    pub private: Option<Database>,
    /// The command that asks the service of the machine, where there is one beside this.
    pub beside: Option<String>,
    /// `None`: nobody wants notices on the desktop.
    pub desktop: Option<Channel>,
    pub usbmuxd: Address,
    pub releases: Source,
    /// Folders with backups of phones to this computer.
    pub backup_roots: Vec<BackupPlace>,
    pub net: Net,
    /// Whether to measure the upload.
    pub with_speed: bool,
    /// Include the names and numbers of phones.
    pub identifiers: bool,
}

/// The result of collecting one part of the data.
#[derive(Debug)]
pub enum Collected<T> {
    /// Nobody asked for it.
    Unwanted,
    /// It took longer than this.
    Late(Duration),
    Seen(T),
}

impl<T> Collected<T> {
    pub fn seen(&self) -> Option<&T> {
        match self {
            Collected::Seen(seen) => Some(seen),
            Collected::Unwanted | Collected::Late(_) => None,
        }
    }
}

/// What was seen.
pub struct Seen {
    pub feed: Collected<Result<Document, FetchError>>,
    pub past: Option<Past>,
    pub network: Collected<network::NetworkReport>,
    pub phones: Collected<Phones>,
    pub storage: Collected<Storage>,
    pub backups: Collected<Vec<Root>>,
    pub live: Collected<Option<DaemonStatus>>,
    pub database: Database,
    pub beside: Option<String>,
    /// Whether somebody shows notices on this desktop.
    pub desktop: Collected<bool>,
}

/// The connected devices and, if there is a phone, Apple's list of iOS versions.
pub struct Phones {
    /// iPhones and iPads, and what does not say what it is.
    pub found: Result<Vec<Phone>, ReadTrouble>,
    /// Other devices, for which no rule of these holds.
    pub others: Vec<Phone>,
    pub releases: Option<Result<Releases, String>>,
}

/// Looks at what the checks that were asked for need. `tell` hears the word of each look that is
/// over.
pub async fn look(
    world: &mut World,
    asked: &Selection,
    environment: &ProbeEnvironment<'_>,
    tell: &dyn Fn(&'static str),
) -> Seen {
    let World { now, with_speed, .. } = *world;
    let wants_phones = asked.wants_some_of(Group::Phone);
    let wants_network = asked.wants_some_of(Group::Network);
    let (past, database) = match world.private.take() {
        Some(private) => (None, private),
        None => history(&world.state_directory, &world.feed, &world.watch, now).await,
    };
    let network_within = if with_speed { SPEED_WITHIN } else { WITHIN };
    let network = network::look(&world.net, environment, asked.ids(), with_speed, now);
    let phones = look_at_phones(&world.usbmuxd, &world.releases, asked, now);
    let roots = std::mem::take(&mut world.backup_roots);
    let wants_desktop = asked.wants("desktop") && world.desktop.is_some();
    // Also for the phone: what the feed says of last night may explain its last backup.
    let wants_feed = asked.wants("apple") || wants_phones;
    let (feed, network, phones, storage, backups, live, desktop) = tokio::join!(
        timed("apple", wants_feed, WITHIN, tell, world.fetcher.first_fetch()),
        timed("network", wants_network, network_within, tell, network),
        timed("phone", wants_phones, WITHIN, tell, phones),
        timed("storage", asked.wants(super::storage::ID), WITHIN, tell, icloud_storage::look()),
        timed("backups", asked.wants(super::local_backups::ID), WITHIN, tell, look_at_backups(roots)),
        timed("daemon", asked.wants("daemon"), WITHIN, tell, ask_daemon(&world.state_directory)),
        timed("desktop", wants_desktop, WITHIN, tell, is_shown(&mut world.desktop)),
    );
    let beside = world.beside.take();
    Seen { feed, past, network, phones, storage, backups, live, database, beside, desktop }
}

async fn is_shown(desktop: &mut Option<Channel>) -> bool {
    match desktop {
        Some(channel) => channel.is_reachable().await,
        None => false,
    }
}

async fn timed<T>(
    word: &'static str,
    is_wanted: bool,
    within: Duration,
    tell: &dyn Fn(&'static str),
    look: impl Future<Output = T>,
) -> Collected<T> {
    if !is_wanted {
        return Collected::Unwanted;
    }
    let seen = timeout(within, look).await;
    tell(word);
    seen.map_or(Collected::Late(within), Collected::Seen)
}

async fn look_at_phones(usbmuxd: &Address, releases: &Source, asked: &Selection, now: Timestamp) -> Phones {
    let mut found = phones::look(usbmuxd, PHONE_WITHIN).await;
    let is_other = |device: &mut Phone| device.general.family().is_other();
    let others = found.iter_mut().flat_map(|devices| devices.extract_if(.., is_other)).collect();
    let is_wanted = asked.wants(super::ios::ID) && found.as_ref().is_ok_and(|phones| !phones.is_empty());
    let releases = if is_wanted { Some(ios_releases::ask(releases, now).await) } else { None };
    Phones { found, others, releases }
}

async fn look_at_backups(places: Vec<BackupPlace>) -> Vec<Root> {
    // A folder on a disk that sleeps, or on one that is far away, must not hold up the rest.
    spawn_blocking(move || local_backups::look(places)).await.unwrap_or_default()
}

async fn ask_daemon(state_directory: &Path) -> Option<status_socket::DaemonStatus> {
    let directory = state_directory.to_owned();
    spawn_blocking(move || status_socket::ask(&directory)).await.ok().flatten()
}

/// What the database of a state directory remembers of the watched services, and how it is.
async fn history(
    state_directory: &Path,
    feed: &FeedId,
    watch: &[String],
    now: Timestamp,
) -> (Option<Past>, Database) {
    let store = match Store::open_existing(state_directory, false) {
        Ok(None) => return (None, Database::None),
        Err(error) => return (None, Database::Closed(error.to_string())),
        Ok(Some(store)) => store,
    };
    let read = async {
        let past = past(&store, feed, watch, now).await?;
        let database = Database::Open { totals: store.totals().await?, last_readable: past.last_readable };
        Ok::<_, rusqlite::Error>((Some(past), database))
    };
    read.await.unwrap_or_else(|error| (None, Database::Closed(cannot("use the database", &error))))
}

async fn past(
    store: &Store,
    feed: &FeedId,
    watch: &[String],
    now: Timestamp,
) -> Result<Past, rusqlite::Error> {
    let since = now.checked_sub(HISTORY).unwrap_or(Timestamp::MIN);
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
    Ok(Past { outages, covered, state, last_readable: store.last_readable(feed).await? })
}
