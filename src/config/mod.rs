//! The configuration: flags and environment over a file over defaults, made into one [`Config`].
//!
//! Three steps: `file` reads the file, `merge` applies flags and variables, `check` parses every
//! value. Each channel defines and checks its own table. A [`Config`] needs no further checks, except for
//! what depends on the network, the secrets or the database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::channel::Tables;
use crate::delivery::heartbeat;
use crate::delivery::policy::{self, Policy};
use crate::feed::fetch::FeedUrl;
use crate::model::FeedId;
use crate::schedule::Schedule;
use crate::setting::SettingError;
use crate::web;
use error::{Faults, Origins, at};
use zone::ZoneFault;

mod check;
mod error;
mod file;
mod keep;
mod merge;
mod paths;
mod phone;
mod reader;
mod rights;
mod show;
mod source_map;
mod syntax;
mod variables;
mod zone;

pub use error::{ConfigError, variable};
pub use keep::Keep;
pub use merge::Overrides;
pub use paths::{config_candidates, credentials_directory, read_secret, state_directory};
pub use phone::{PhoneConfig, usbmuxd};
pub use variables::{FLAGS as FLAGS_WITH_VARIABLES, check_names, jitter_s};
pub use zone::zone_name;

/// The commented sample, `config/statusd.toml`. All values in it are the defaults.
pub const SAMPLE: &str = include_str!("../../config/statusd.toml");

/// The watchlist.
pub const DEFAULT_WATCH: &str = "iCloud Backup";
/// The feed that lists the most services.
pub const DEFAULT_LOCALE: &str = "en_US";
/// The poll schedule, a cron expression.
pub const DEFAULT_POLL: &str = "*/5 * * * *";
/// The poll schedule while a watched service has an outage.
pub const DEFAULT_TROUBLE: &str = "* * * * *";

/// The environment as an argument: returns the value of a variable.
pub type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// The log level.
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

    /// Returns the word in the configuration.
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

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `Journal` if stderr is the journal, else `Human`.
    Auto,
    Human,
    Journal,
    Json,
}

impl LogFormat {
    const ALL: [LogFormat; 4] = [LogFormat::Auto, LogFormat::Human, LogFormat::Journal, LogFormat::Json];

    /// Returns the word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Auto => "auto",
            LogFormat::Human => "human",
            LogFormat::Journal => "journal",
            LogFormat::Json => "json",
        }
    }
}

/// The checked settings. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    pub feed: FeedId,
    /// Replaces Apple's address of the feed.
    pub feed_url: Option<FeedUrl>,
    /// A PEM file with authorities to trust in addition to the system's. Absolute.
    pub ca_file: Option<PathBuf>,
    /// Names or globs with `*` and `?`; at least one, none of them blank.
    pub watch: Vec<String>,
    /// The zone of schedules and of times in messages. UTC if [`Config::zone_fault`] is set.
    pub time_zone: TimeZone,
    /// The source of the zone: `time_zone`, a flag, `TZ`, a file.
    pub zone_source: String,
    /// The reason why the system's zone is unknown. No schedule depends on the zone in this case.
    pub zone_fault: Option<String>,
    pub poll: Schedule,
    /// The schedule while a watched service has an outage.
    pub trouble: Schedule,
    /// The most that a machine adds to the schedule's times; constant per machine. 0 to 3600.
    pub jitter_s: u64,
    /// Absolute; may not exist yet.
    pub state_directory: PathBuf,
    /// The age after which deliveries, notices and coverage are deleted.
    pub state_keep: Keep<SignedDuration>,
    /// The recording to which every changed document is appended. Absolute.
    pub record_file: Option<PathBuf>,
    /// The maximum size of the recording, in bytes.
    pub record_keep: Keep<u64>,
    pub log_level: LogLevel,
    pub log_format: LogFormat,
    /// The URL to call after each poll.
    pub heartbeat: heartbeat::Settings,
    /// The table `[web]`; `None` without it.
    pub web: Option<web::Settings>,
    /// The schedule of liveness reports.
    pub liveness: Option<Schedule>,
    /// The settings for reading phones and for late backups.
    pub phone: PhoneConfig,
    pub channel: Tables,
    /// The policy of each channel, as written and as validated.
    policy: BTreeMap<String, (policy::Settings, Policy)>,
    /// The file that was read, absolute.
    pub source: Option<PathBuf>,
    is_watch_given: bool,
    origins: Origins,
}

impl Config {
    /// Returns the effective values as TOML that [`load`] accepts, each with its source. Secrets are
    /// `***`; a webhook's URL is cut to scheme, host and port.
    pub fn show(&self) -> String {
        show::text(self)
    }

    /// Returns the delivery policy of a channel.
    pub fn policy(&self, channel: &str) -> Policy {
        self.policy.get(channel).map(|(_, policy)| policy.clone()).unwrap_or_default()
    }

    /// Adds the source of the value to an error that was found after loading. The error's key is relative
    /// to `table`.
    pub fn error_in(&self, table: &str, error: SettingError) -> ConfigError {
        self.origins.error(error.under(table))
    }
}

/// Finds and reads the file, applies the overrides and checks the result. Reads neither secrets nor
/// certificates, because `history` must work for users who cannot read these files.
///
/// # Errors
///
/// All faults, each in one line with its location.
pub fn load(overrides: &Overrides, environment: &Environment<'_>) -> Result<Config, ConfigError> {
    match load_usable(overrides, environment) {
        (config, None) => Ok(config),
        (_, Some(error)) => Err(error),
    }
}

/// Like [`load`], with defaults in place of invalid values, for commands that only read the database.
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

/// Returns the system's time zone; UTC if it is unknown.
pub fn system_zone(environment: &Environment<'_>) -> TimeZone {
    zone::system(environment, Path::new(zone::LOCALTIME), jiff::tz::db()).0
}

/// The time zone, its source, and the reason why the system's zone is unknown.
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
