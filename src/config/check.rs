//! Parses and checks the merged settings, with a default in place of each invalid one.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::error::{ConfigError, Faults, Origins, at};
use super::file::File;
use super::paths::absolute_path;
use super::reader::unknown_word;
use super::zone::ZoneFault;
use super::{
    Config, DEFAULT_LOCALE, DEFAULT_POLL, DEFAULT_TROUBLE, DEFAULT_WATCH, Environment, LogFormat, LogLevel,
    PhoneConfig, Zone, keep, paths, source_map, state_directory,
};
use crate::channel::Tables;
use crate::delivery::policy::{self, Policy};
use crate::feed::fetch::{FeedUrl, valid_locale};
use crate::model::{Edition, FeedId};
use crate::schedule::Schedule;
use crate::setting::SettingError;

const JITTER_S: i64 = 30;
/// More would contradict "every five minutes".
const MAX_JITTER_S: i64 = 3600;
/// The name is part of database keys, and users type it.
const MAX_CHANNEL_NAME_CHARS: usize = 32;

/// Returns the checked settings. Adds invalid ones to `faults` and uses their defaults.
pub(super) fn compose(
    mut file: File,
    origins: Origins,
    environment: &Environment<'_>,
    (time_zone, zone_source, zone_fault): Zone,
    faults: &mut Faults,
) -> Config {
    let schedule = |key, expression: Option<String>, default: &str, faults: &mut Faults| {
        let parsed = Schedule::parse(expression.as_deref().unwrap_or(default), &time_zone);
        faults.or(at(&origins, key, parsed), || Schedule::of_default(default, &time_zone))
    };
    let path = |key, path, faults: &mut Faults| faults.or(absolute_path(&origins, key, path), || None);
    let feed_url = file.feed.url.as_deref().map(FeedUrl::parse).transpose();
    let levels = LogLevel::ALL.map(|level| (level.as_str(), level));
    let formats = LogFormat::ALL.map(|format| (format.as_str(), format));
    let level = word(&origins, "log.level", file.log.level, LogLevel::Info, &levels);
    let format = word(&origins, "log.format", file.log.format, LogFormat::Auto, &formats);
    let liveness = file.liveness.when.as_deref().map(|when| Schedule::parse(when, &time_zone)).transpose();
    for error in channel_names(&origins, &file.channel) {
        faults.add(error);
    }
    file.channel.fill_defaults(paths::is_system_service(environment));
    let watch = file.watch.map(|names| at(&origins, "watch", watch(names))).transpose();
    let watch = faults.or(watch, || None);
    let feed = feed_id(&origins, file.feed.edition, file.feed.locale, faults);
    let config = Config {
        phone: PhoneConfig::new(&origins, file.phone, feed.edition, &time_zone, environment, faults),
        feed,
        feed_url: faults.or(at(&origins, "feed.url", feed_url), || None),
        ca_file: path("feed.ca_file", file.feed.ca_file, faults),
        is_watch_given: watch.is_some(),
        watch: watch.unwrap_or_else(|| vec![DEFAULT_WATCH.to_owned()]),
        poll: schedule("schedule.poll", file.schedule.poll, DEFAULT_POLL, faults),
        trouble: schedule("schedule.trouble", file.schedule.trouble, DEFAULT_TROUBLE, faults),
        jitter_s: faults.or(at(&origins, "schedule.jitter_s", jitter(file.schedule.jitter_s)), || {
            JITTER_S.unsigned_abs()
        }),
        state_directory: path("state.directory", file.state.directory, faults)
            .unwrap_or_else(|| state_directory(environment)),
        state_keep: keep::state(&origins, file.state.keep, faults),
        record_file: path("record.file", file.record.file, faults),
        record_keep: keep::record(&origins, file.record.keep, faults),
        log_level: faults.or(level, || LogLevel::Info),
        log_format: faults.or(format, || LogFormat::Auto),
        heartbeat: file.heartbeat,
        web: file.web,
        liveness: faults.or(at(&origins, "liveness.when", liveness), || None),
        channel: file.channel,
        policy: policies_of(&origins, file.policy, &time_zone, faults),
        source: origins.file.clone(),
        zone_fault: zone_fault.as_ref().map(ZoneFault::to_string),
        zone_source: origins.given.get("time_zone").map_or(zone_source, |_| origins.describe("time_zone")),
        time_zone,
        origins,
    };
    if let Some(fault) = zone_fault {
        for key in config.zone_dependent_keys() {
            faults.add(fault.refuse(&key));
        }
    }
    config
}

impl Config {
    /// Returns the keys that need the system's time zone: schedules that name hours or days, and quiet
    /// hours without a zone of their own.
    fn zone_dependent_keys(&self) -> Vec<String> {
        let late = self.phone.late().map(|late| ("phone.late_check", late.check));
        let schedules = [
            Some(("schedule.poll", self.poll.clone())),
            Some(("schedule.trouble", self.trouble.clone())),
            self.liveness.clone().map(|liveness| ("liveness.when", liveness)),
            Some(("phone.poll", self.phone.poll.clone())).filter(|_| self.phone.enabled),
            late.filter(|_| self.phone.enabled),
        ];
        let schedules = schedules.into_iter().flatten().filter(|(_, schedule)| schedule.depends_on_zone());
        let quiet = self.policy.iter().filter(|(_, (_, policy))| policy.depends_on_zone());
        let quiet = quiet.map(|(channel, _)| format!("channel.{channel}.quiet"));
        schedules.map(|(key, _)| key.to_owned()).chain(quiet).collect()
    }

    /// Returns whether the file, a flag or a variable gives a valid watchlist.
    pub fn is_watch_given(&self) -> bool {
        self.is_watch_given
    }
}

fn feed_id(
    origins: &Origins,
    edition: Option<String>,
    locale: Option<String>,
    faults: &mut Faults,
) -> FeedId {
    let editions = [Edition::Consumer, Edition::Developer].map(|edition| (edition.as_str(), edition));
    let edition = word(origins, "feed.edition", edition, Edition::Consumer, &editions);
    let edition = faults.or(edition, || Edition::Consumer);
    let locale = locale.unwrap_or_else(|| DEFAULT_LOCALE.to_owned());
    let checked = if !valid_locale(&locale) {
        Err(format!("invalid locale {locale:?}: expected language and country like \"en_US\" or \"de_DE\""))
    } else if edition == Edition::Developer && locale != DEFAULT_LOCALE {
        Err(format!("invalid locale {locale:?}: expected \"en_US\", the only locale of the developer feed"))
    } else {
        Ok(locale)
    };
    let locale = faults.or(at(origins, "feed.locale", checked), || DEFAULT_LOCALE.to_owned());
    FeedId { edition, locale }
}

/// Parses one of a closed set of words.
fn word<T: Copy>(
    origins: &Origins,
    key: &str,
    given: Option<String>,
    default: T,
    known: &[(&str, T)],
) -> Result<T, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    if let Some((_, value)) = known.iter().find(|(word, _)| *word == given) {
        return Ok(*value);
    }
    let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
    Err(origins.error(unknown_word(key, &given, &words)))
}

fn watch(names: Vec<String>) -> Result<Vec<String>, String> {
    if names.is_empty() {
        return Err("the list is empty: expected at least one service name".to_owned());
    }
    if let Some(name) = names.iter().find(|name| name.trim().is_empty()) {
        return Err(format!("invalid name {name:?}: expected a service name, or \"*\" for all services"));
    }
    Ok(names)
}

fn jitter(seconds: Option<i64>) -> Result<u64, String> {
    let seconds = seconds.unwrap_or(JITTER_S);
    let fits = (0..=MAX_JITTER_S).contains(&seconds);
    let wrong = || format!("invalid number {seconds}: expected 0 to {MAX_JITTER_S} seconds");
    u64::try_from(seconds).ok().filter(|_| fits).ok_or_else(wrong)
}

fn policies_of(
    origins: &Origins,
    written: BTreeMap<String, policy::Settings>,
    zone: &TimeZone,
    faults: &mut Faults,
) -> BTreeMap<String, (policy::Settings, Policy)> {
    let checked = written.into_iter().map(|(channel, settings)| {
        let (policy, errors) = Policy::usable(&settings, zone);
        for error in errors {
            faults.add(origins.error(error.under(&format!("channel.{channel}"))));
        }
        (channel, (settings, policy))
    });
    checked.collect()
}

/// Returns an error for each invalid NAME of a channel `KIND.NAME`.
fn channel_names(origins: &Origins, tables: &Tables) -> Vec<ConfigError> {
    let usable = |name: &str| {
        (1..=MAX_CHANNEL_NAME_CHARS).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let names = tables.all().into_iter().map(|(name, ..)| name);
    let wrong =
        names.filter_map(|name| name.split_once('.').map(|(kind, name)| (kind.to_owned(), name.to_owned())));
    let error = |(kind, name): (String, String)| {
        origins.error(SettingError::new(
            source_map::joined(&format!("channel.{kind}"), &name),
            format!(
                "invalid name {name:?}: expected 1 to {MAX_CHANNEL_NAME_CHARS} of a-z, A-Z, 0-9, - and _"
            ),
        ))
    };
    wrong.filter(|(_, name)| !usable(name)).map(error).collect()
}
