//! The configuration: flags and environment over a file over defaults, made into one [`Config`].
//!
//! It finds the file, says who wins and gives errors their place. What a channel's settings mean
//! is decided by the channel. Invariant: a [`Config`] is right as far as that can be known without
//! the network, the secrets and the database, so that nobody checks it again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::channel::Tables;
use crate::delivery::heartbeat;
use crate::delivery::policy::{self, Policy};
use crate::feed::fetch::FeedUrl;
use crate::model::FeedId;
use crate::schedule::Schedule;
use check::at;
use error::{Faults, Origins};
use zone::ZoneFault;

mod check;
mod error;
mod file;
mod merge;
mod paths;
mod phone;
mod rights;
mod show;
mod source_map;
mod syntax;
mod variables;
mod zone;

pub use error::ConfigError;
pub use merge::Overrides;
pub use paths::{config_candidates, credentials_directory, read_secret, state_directory};
pub use phone::{Phone, usbmuxd};
pub use source_map::nearest;
pub use variables::{FLAGS as FLAGS_WITH_VARIABLES, check_names, jitter_s, name as variable};
pub use zone::zone_name;

/// The commented sample, `config/statusd.toml`: all in it is the default.
pub const SAMPLE: &str = include_str!("../../config/statusd.toml");

/// What is watched unless something else is.
pub const DEFAULT_WATCH: &str = "iCloud Backup";
/// The feed that lists the most services.
pub const DEFAULT_LOCALE: &str = "en_US";
/// When to look, as in cron.
pub const DEFAULT_POLL: &str = "*/5 * * * *";
/// When to look while a watched service has trouble.
pub const DEFAULT_TROUBLE: &str = "* * * * *";

/// The environment, as an argument: the value of a variable.
pub type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    const ALL: [LogLevel; 5] =
        [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Journal where stderr is the journal, human otherwise.
    Auto,
    Human,
    Journal,
    Json,
}

impl LogFormat {
    const ALL: [LogFormat; 4] = [LogFormat::Auto, LogFormat::Human, LogFormat::Journal, LogFormat::Json];

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Auto => "auto",
            LogFormat::Human => "human",
            LogFormat::Journal => "journal",
            LogFormat::Json => "json",
        }
    }
}

/// What a person has chosen, and the defaults for the rest. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    pub feed: FeedId,
    /// Where to read the feed instead of Apple's own address.
    pub feed_url: Option<FeedUrl>,
    /// A PEM file with certificate authorities to trust beside the system's. Absolute.
    pub ca_file: Option<PathBuf>,
    /// Names or globs with `*` and `?`; at least one, none of them blank.
    pub watch: Vec<String>,
    /// For what people read and for the schedules. UTC where [`Config::zone_fault`] says why.
    pub time_zone: TimeZone,
    /// Where the zone comes from: `time_zone`, a flag, `TZ`, a file.
    pub zone_source: String,
    /// Why the system's zone is not known. Then nothing that is scheduled depends on it.
    pub zone_fault: Option<String>,
    pub poll: Schedule,
    /// The schedule while a watched service has trouble.
    pub trouble: Schedule,
    /// Each machine adds a part of this, always the same one, to the schedule's times. 0 to 3600.
    pub jitter_s: u64,
    /// Absolute; need not be there.
    pub state_directory: PathBuf,
    /// Where every changed document is appended. Absolute.
    pub record_file: Option<PathBuf>,
    pub log_level: LogLevel,
    pub log_format: LogFormat,
    /// Whom to call after each look.
    pub heartbeat: heartbeat::Settings,
    /// When to give a sign of life.
    pub liveness: Option<Schedule>,
    /// Whether phones are looked at, and what is said of them.
    pub phone: Phone,
    pub channel: Tables,
    /// As written and checked, by channel.
    policy: BTreeMap<String, (policy::Settings, Policy)>,
    /// The file that was read, absolute; `None` if there is none.
    pub source: Option<PathBuf>,
    is_watch_given: bool,
    origins: Origins,
}

impl Config {
    /// The effective values as TOML that [`load`] reads, each with where it came from. Secrets are
    /// `***`, of a webhook's address only scheme, host and port are shown.
    pub fn show(&self) -> String {
        show::text(self)
    }

    /// The policy on which a channel is used.
    pub fn policy(&self, channel: &str) -> Policy {
        self.policy.get(channel).map(|(_, policy)| policy.clone()).unwrap_or_default()
    }

    /// An error about a setting that was found later, by whoever uses it: `table` is the table's
    /// dotted key, and `words` may begin with `key: ` to point at one of its settings.
    pub fn error_in(&self, table: &str, words: &str) -> ConfigError {
        error_in(&self.origins, table, words)
    }
}

fn error_in(origins: &Origins, table: &str, words: &str) -> ConfigError {
    if let Some((key, rest)) = words.split_once(": ") {
        let dotted = format!("{table}.{key}");
        if origins.source_map.line(&dotted).is_some() {
            return origins.error(&dotted, rest);
        }
    }
    origins.error(table, words)
}

/// Finds and reads the file, lays the overrides over it and parses the result. Neither secrets nor
/// certificates are read: who may only look at the history need not be able to.
///
/// # Errors
///
/// All that is wrong, each in one line with its place.
pub fn load(overrides: &Overrides, environment: &Environment<'_>) -> Result<Config, ConfigError> {
    match load_usable(overrides, environment) {
        (config, None) => Ok(config),
        (_, Some(error)) => Err(error),
    }
}

/// The same, with defaults in place of what is wrong: for who only reads what is remembered.
pub fn load_usable(overrides: &Overrides, environment: &Environment<'_>) -> (Config, Option<ConfigError>) {
    load_on(overrides, environment, Path::new(zone::LOCALTIME), jiff::tz::db())
}

fn load_on(
    overrides: &Overrides,
    environment: &Environment<'_>,
    localtime: &Path,
    zones: &TimeZoneDatabase,
) -> (Config, Option<ConfigError>) {
    let mut faults = Faults::default();
    let (mut file, mut origins) = file::read(overrides.config.as_deref(), environment, &mut faults);
    merge::overlay(&mut file, overrides, &mut origins.given);
    let zone = zone_of(file.time_zone.as_deref(), &origins, environment, localtime, zones, &mut faults);
    let config = check::compose(file, origins, environment, zone, &mut faults);
    (config, faults.into_error())
}

/// The system's time zone; UTC where it is not known.
pub fn system_zone(environment: &Environment<'_>) -> TimeZone {
    zone::system(environment, Path::new(zone::LOCALTIME), jiff::tz::db()).0
}

/// The time zone, what says so, and why the system's is not known.
type Zone = (TimeZone, String, Option<ZoneFault>);

fn zone_of(
    given: Option<&str>,
    origins: &Origins,
    environment: &Environment<'_>,
    localtime: &Path,
    zones: &TimeZoneDatabase,
    faults: &mut Faults,
) -> Zone {
    let Some(name) = given else { return zone::system(environment, localtime, zones) };
    let zone = at(origins, "time_zone", zone::named(name, zones));
    (faults.or(zone, || TimeZone::UTC), "time_zone".to_owned(), None)
}

#[cfg(test)]
mod tests;
