//! The configuration: flags and environment over a file over defaults, made into one [`Config`].
//!
//! It finds the file, says who wins and gives errors their place. What a channel's settings mean
//! is decided by the channel. Invariant: a [`Config`] is right as far as that can be known without
//! the network, the secrets and the database, so that nobody checks it again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{self, Path, PathBuf};

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::cause::Cause as _;
use crate::channel::Tables;
use crate::delivery::heartbeat;
use crate::delivery::policy::{self, Policy};
use crate::feed::fetch::{FeedUrl, valid_locale};
use crate::model::{Edition, FeedId};
use crate::schedule::Schedule;
use error::{Faults, Given, Origins};
use file::File;
use zone::ZoneFault;

mod error;
mod file;
mod paths;
mod phone;
mod rights;
mod show;
mod source_map;
mod syntax;
mod variables;
mod zone;

pub use error::ConfigError;
use paths::is_machines;
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
const JITTER_S: i64 = 30;
/// More would make "every five minutes" a lie.
const MAX_JITTER_S: i64 = 3600;
/// The name is part of keys in the database and of what people type.
const MAX_CHANNEL_NAME_CHARS: usize = 32;

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
        if origins.outline.line(&dotted).is_some() {
            return origins.error(&dotted, rest);
        }
    }
    origins.error(table, words)
}

/// What flags say, each of which an environment variable `STATUSD_…` may stand for: the command
/// line fills this, flags first. Texts are as given; [`load`] parses them like those of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config`: the only file to look at. It must be there.
    pub config: Option<PathBuf>,
    /// `--watch`; empty is "not given".
    pub watch: Vec<String>,
    pub time_zone: Option<String>,
    pub edition: Option<String>,
    pub locale: Option<String>,
    pub feed_url: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub poll: Option<String>,
    pub trouble: Option<String>,
    pub jitter_s: Option<i64>,
    pub state_directory: Option<PathBuf>,
    pub record_file: Option<PathBuf>,
    pub log_level: Option<String>,
    pub log_format: Option<String>,
    /// The flags above that a variable gave and not the command line.
    pub from_variables: BTreeSet<&'static str>,
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
    overlay(&mut file, overrides, &mut origins.given);
    let zone = zone_of(file.time_zone.as_deref(), &origins, environment, localtime, zones, &mut faults);
    let config = compose(file, origins, environment, zone, &mut faults);
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

fn overlay(file: &mut File, overrides: &Overrides, given: &mut BTreeMap<&'static str, Given>) {
    let mut overlay = Overlay { variables: &overrides.from_variables, given };
    let watch = (!overrides.watch.is_empty()).then(|| overrides.watch.clone());
    overlay.lay(&mut file.watch, &watch, "watch", "watch");
    overlay.lay(&mut file.time_zone, &overrides.time_zone, "time_zone", "time-zone");
    overlay.lay(&mut file.feed.edition, &overrides.edition, "feed.edition", "edition");
    overlay.lay(&mut file.feed.locale, &overrides.locale, "feed.locale", "locale");
    overlay.lay(&mut file.feed.url, &overrides.feed_url, "feed.url", "feed-url");
    overlay.lay(&mut file.feed.ca_file, &overrides.ca_file, "feed.ca_file", "ca-file");
    overlay.lay(&mut file.schedule.poll, &overrides.poll, "schedule.poll", "poll");
    overlay.lay(&mut file.schedule.trouble, &overrides.trouble, "schedule.trouble", "trouble");
    overlay.lay(&mut file.schedule.jitter_s, &overrides.jitter_s, "schedule.jitter_s", "jitter-s");
    overlay.lay(&mut file.state.directory, &overrides.state_directory, "state.directory", "state-directory");
    overlay.lay(&mut file.record.file, &overrides.record_file, "record.file", "record-file");
    overlay.lay(&mut file.log.level, &overrides.log_level, "log.level", "log-level");
    overlay.lay(&mut file.log.format, &overrides.log_format, "log.format", "log-format");
}

struct Overlay<'o> {
    variables: &'o BTreeSet<&'static str>,
    given: &'o mut BTreeMap<&'static str, Given>,
}

impl Overlay<'_> {
    fn lay<T: Clone>(
        &mut self,
        setting: &mut Option<T>,
        given: &Option<T>,
        key: &'static str,
        flag: &'static str,
    ) {
        if given.is_some() {
            setting.clone_from(given);
            let is_variable = self.variables.contains(flag);
            self.given.insert(key, if is_variable { Given::Variable(flag) } else { Given::Flag(flag) });
        }
    }
}

/// The settings of a file, each that is wrong replaced by its default.
fn compose(
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
    let path = |key, path, faults: &mut Faults| faults.or(whole_path(&origins, key, path), || None);
    let feed_url = file.feed.url.as_deref().map(FeedUrl::parse).transpose();
    let levels = LogLevel::ALL.map(|level| (level.as_str(), level));
    let formats = LogFormat::ALL.map(|format| (format.as_str(), format));
    let level = word(&origins, "log.level", file.log.level, LogLevel::Info, &levels);
    let format = word(&origins, "log.format", file.log.format, LogFormat::Auto, &formats);
    let liveness = file.liveness.when.as_deref().map(|when| Schedule::parse(when, &time_zone)).transpose();
    for error in channel_names(&origins, &file.channel) {
        faults.add(error);
    }
    // A service of the machine has no desktop session.
    file.channel.desktop.enabled.get_or_insert(!is_machines(environment));
    let watch = file.watch.map(|names| at(&origins, "watch", watch(names))).transpose();
    let watch = faults.or(watch, || None);
    let feed = feed_id(&origins, file.feed.edition, file.feed.locale, faults);
    let config = Config {
        phone: Phone::new(&origins, file.phone, feed.edition, &time_zone, environment, faults),
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
        record_file: path("record.file", file.record.file, faults),
        log_level: faults.or(level, || LogLevel::Info),
        log_format: faults.or(format, || LogFormat::Auto),
        heartbeat: file.heartbeat,
        liveness: faults.or(at(&origins, "liveness.when", liveness), || None),
        channel: file.channel,
        policy: terms_of(&origins, file.policy, &time_zone, faults),
        source: origins.file.clone(),
        zone_fault: zone_fault.as_ref().map(ZoneFault::to_string),
        zone_source: origins.given.get("time_zone").map_or(zone_source, |_| origins.describe("time_zone")),
        time_zone,
        origins,
    };
    if let Some(fault) = zone_fault {
        for key in config.zoned() {
            faults.add(fault.refuse(&key));
        }
    }
    config
}

impl Config {
    /// What of the settings needs the system's time zone: the keys of schedules that name hours or days,
    /// and of quiet hours without a zone of their own.
    fn zoned(&self) -> Vec<String> {
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

    /// Whether the file, a flag or a variable says what is watched, in a way that can be understood.
    pub fn is_watch_given(&self) -> bool {
        self.is_watch_given
    }
}

/// Gives what went wrong with a setting its place.
fn at<T>(origins: &Origins, key: &str, parsed: Result<T, impl std::fmt::Display>) -> Result<T, ConfigError> {
    parsed.map_err(|error| origins.error(key, error))
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
        Err("Apple publishes the developer feed in en_US only; write \"en_US\"".to_owned())
    } else {
        Ok(locale)
    };
    let locale = faults.or(at(origins, "feed.locale", checked), || DEFAULT_LOCALE.to_owned());
    FeedId { edition, locale }
}

/// One of a closed set of words.
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
    let help = match nearest(&given, &words) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("write one of {}", words.join(", ")),
    };
    Err(origins.error(key, format!("unknown word {given:?}; {help}")))
}

fn watch(names: Vec<String>) -> Result<Vec<String>, &'static str> {
    if names.is_empty() {
        return Err("the list is empty; name at least one service");
    }
    if names.iter().any(|name| name.trim().is_empty()) {
        return Err("a name is blank; write a service's name, or \"*\" for all");
    }
    Ok(names)
}

fn jitter(seconds: Option<i64>) -> Result<u64, String> {
    let seconds = seconds.unwrap_or(JITTER_S);
    let fits = (0..=MAX_JITTER_S).contains(&seconds);
    let wrong = || format!("invalid number {seconds}: expected 0 to {MAX_JITTER_S} seconds");
    u64::try_from(seconds).ok().filter(|_| fits).ok_or_else(wrong)
}

/// A path of the file is taken from the file's directory, a path of a flag from the current one.
fn whole_path(origins: &Origins, key: &str, given: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
    let Some(given) = given else { return Ok(None) };
    at(origins, key, paths::refuse_tilde(&given))?;
    let base = origins.file.as_deref().and_then(Path::parent).filter(|_| !origins.given.contains_key(key));
    let whole = match base {
        Some(directory) => Ok(directory.join(&given)),
        None => path::absolute(&given).map_err(|error| error.reason()),
    };
    at(origins, key, whole).map(Some)
}

fn terms_of(
    origins: &Origins,
    written: BTreeMap<String, policy::Settings>,
    zone: &TimeZone,
    faults: &mut Faults,
) -> BTreeMap<String, (policy::Settings, Policy)> {
    let checked = written.into_iter().map(|(channel, settings)| {
        let (policy, wrong) = Policy::usable(&settings, zone);
        for words in wrong {
            faults.add(error_in(origins, &format!("channel.{channel}"), &words));
        }
        (channel, (settings, policy))
    });
    checked.collect()
}

/// A channel of a kind that there can be several of is called KIND.NAME; those that are not.
fn channel_names(origins: &Origins, tables: &Tables) -> Vec<ConfigError> {
    let usable = |name: &str| {
        (1..=MAX_CHANNEL_NAME_CHARS).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let names = tables.all().into_iter().map(|(name, _)| name);
    let wrong =
        names.filter_map(|name| name.split_once('.').map(|(kind, name)| (kind.to_owned(), name.to_owned())));
    let error = |(kind, name): (String, String)| {
        origins.error(
            &source_map::joined(&format!("channel.{kind}"), &name),
            format!("a name has 1 to {MAX_CHANNEL_NAME_CHARS} letters a to z, digits, - and _"),
        )
    };
    wrong.filter(|(_, name)| !usable(name)).map(error).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::phones::Address;

    const REFERENCE: &str = include_str!("../../docs/configuration.md");

    /// A home with `text` as the user's file.
    struct Home(TempDir);

    impl Home {
        fn new(text: impl AsRef<[u8]>) -> Home {
            let home = Home(TempDir::new().expect("a directory"));
            fs::create_dir_all(home.file().parent().expect("a parent")).expect("created");
            fs::write(home.file(), text).expect("written");
            home
        }

        fn file(&self) -> PathBuf {
            config_candidates(&self.environment()).swap_remove(0)
        }

        fn environment(&self) -> impl Fn(&str) -> Option<String> {
            let home = self.0.path().to_str().expect("UTF-8").to_owned();
            move |variable| (variable == "HOME").then(|| home.clone())
        }

        fn load(&self, overrides: &Overrides) -> Result<Config, ConfigError> {
            load(overrides, &self.environment())
        }
    }

    #[track_caller]
    fn good(text: &str) -> Config {
        Home::new(text).load(&Overrides::default()).expect("a good file")
    }

    /// The error's line, with `FILE` for the file's path.
    #[track_caller]
    fn error_of(text: impl AsRef<[u8]>, overrides: &Overrides) -> String {
        let home = Home::new(text);
        let error = home.load(overrides).expect_err("a bad file").to_string();
        error.replace(home.file().to_str().expect("UTF-8"), "FILE")
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(error_of(text, &Overrides::default()), expected, "{text}");
    }

    /// The values that `show` gives, without where they come from.
    fn values(config: &Config) -> toml::Table {
        toml::from_str(&config.show()).expect("TOML")
    }

    #[test]
    fn unknown_keys_are_named_with_their_nearest() {
        check("watchs = []", r#"FILE:1: unknown key "watchs"; did you mean "watch"?"#);
        check("\n[feeds]", r#"FILE:2: unknown key "feeds"; did you mean "feed"?"#);
        check("[feed]\n\nedtion = ''", r#"FILE:3: unknown key "edtion" in [feed]; did you mean "edition"?"#);
        check("log.levl = 1", r#"FILE:1: unknown key "levl" in [log]; did you mean "level"?"#);
        check(
            "[channel.log]\nenable = 1",
            r#"FILE:2: unknown key "enable" in [channel.log]; did you mean "enabled"?"#,
        );
        check("[channel.webhok.a]", r#"FILE:1: unknown key "webhok" in [channel]; did you mean "webhook"?"#);
        check(
            "[channel.webhook.a]\nurl = ''\nbearer-token = 'hunter2'",
            r#"FILE:3: unknown key "bearer-token" in [channel.webhook.a]; did you mean "bearer_token"?"#,
        );
        check(
            "[feed]\nzzz = 1",
            r#"FILE:2: unknown key "zzz" in [feed]; known here: edition, locale, url, ca_file"#,
        );
        check(
            "[feed]\nwatch = ['a']",
            r#"FILE:2: unknown key "watch" in [feed]; "watch" belongs at the top of the file, above every [table]"#,
        );
        check("[alive]", r#"FILE:1: unknown key "alive": it is called "liveness" now"#);
        check("[phone]\nlook = 'x'", r#"FILE:2: unknown key "look" in [phone]: it is called "poll" now"#);
        check(
            "phone.late_look = 'x'",
            r#"FILE:1: unknown key "late_look" in [phone]: it is called "late_check" now"#,
        );
        check(
            "channel.log.only = ['began', 'blind']",
            r#"FILE:1: channel.log.only: unknown word "blind": it is called "unreadable" now"#,
        );
        check("wach = ['a']", r#"FILE:1: unknown key "wach"; did you mean "watch"?"#);
        check("\"wat\\nch\" = 1", r#"FILE:1: unknown key "wat\nch"; did you mean "watch"?"#);
    }

    #[test]
    fn wrong_types_are_said_in_plain_words() {
        check("watch = 'a'", "FILE:1: watch: expected an array, found a string");
        check("watch = ['a',\n 3]", "FILE:2: watch: expected a string, found an integer");
        check("time_zone = 2020-01-01", "FILE:1: time_zone: expected a string, found a date or time");
        check("feed = 3", "FILE:1: feed: expected a table, found an integer");
        check("[feed]\nca_file = true", "FILE:2: feed.ca_file: expected a string, found true");
        check(
            "[schedule]\njitter_s = '30'",
            "FILE:2: schedule.jitter_s: expected a whole number, found a string",
        );
        check(
            "[schedule]\njitter_s = 1.5",
            "FILE:2: schedule.jitter_s: expected a whole number, found a number with a fraction",
        );
        check(
            "[schedule]\njitter_s = 99999999999999999999",
            "FILE:2: schedule.jitter_s: the number is out of range",
        );
        check(
            "[channel.desktop]\nenabled = 'yes, expected no'",
            "FILE:2: channel.desktop.enabled: expected true or false, found a string",
        );
        check(
            "[channel.webhook]\nurl = 'https://hooks.example/hunter2'",
            "FILE:2: channel.webhook.url: expected a table, found a string; \
             a channel of this kind has a name: write [channel.webhook.NAME]",
        );
        check("\n[channel.webhook.a]\n", r#"FILE:2: channel.webhook.a: the key "url" is missing"#);
        check(
            "channel.webhook.a.bearer_token = 'hunter2'",
            r#"FILE:1: channel.webhook.a: the key "url" is missing"#,
        );
    }

    #[test]
    fn an_array_is_no_table() {
        for text in ["[[feed]]\nedition = 'consumer'", "feed = ['consumer']", "feed = []"] {
            check(text, "FILE:1: feed: expected a single value or [table], found an array");
        }
        check(
            "[channel]\nlog = [false]",
            "FILE:2: channel.log: expected a single value or [table], found an array",
        );
    }

    #[test]
    fn wrong_values_say_what_is_right() {
        check("\nwatch = []", "FILE:2: watch: the list is empty; name at least one service");
        check(
            "watch = ['a', ' ']",
            r#"FILE:1: watch: a name is blank; write a service's name, or "*" for all"#,
        );
        check(
            "time_zone = 'Europe/Berln'",
            r#"FILE:1: time_zone: unknown time zone "Europe/Berln"; did you mean "Europe/Berlin"?"#,
        );
        check("[log]\nlevel = 'inf'", r#"FILE:2: log.level: unknown word "inf"; did you mean "info"?"#);
        check("[log]\nlevel = 'INFO'", r#"FILE:2: log.level: unknown word "INFO"; did you mean "info"?"#);
        check(
            "[log]\nformat = 'xyzzy'",
            r#"FILE:2: log.format: unknown word "xyzzy"; write one of auto, human, journal, json"#,
        );
        check(
            "[feed]\nedition = 'dev'",
            r#"FILE:2: feed.edition: unknown word "dev"; did you mean "developer"?"#,
        );
        check(
            "[feed]\nlocale = 'de'",
            r#"FILE:2: feed.locale: invalid locale "de": expected language and country like "en_US" or "de_DE""#,
        );
        check(
            "[feed]\nedition = 'developer'\nlocale = 'de_DE'",
            r#"FILE:3: feed.locale: Apple publishes the developer feed in en_US only; write "en_US""#,
        );
        check(
            "[schedule]\n\npoll = '61 * * * *'",
            r#"FILE:3: schedule.poll: invalid minute "61": expected 0 to 59"#,
        );
        for bad in ["-1", "3601"] {
            let text = format!("schedule = {{ jitter_s = {bad} }}");
            let expected = "FILE:1: schedule.jitter_s: invalid number {bad}: expected 0 to 3600 seconds";
            check(&text, &expected.replace("{bad}", bad));
        }
        check("[feed]\nca_file = ''", "FILE:2: feed.ca_file: the path is empty; write one or remove the key");
        check(
            "[state]\ndirectory = '~/x'",
            "FILE:2: state.directory: ~/x: ~ stands for nothing here; write the whole path",
        );
        check(
            "[channel.webhook.'my phone']\nurl = ''",
            r#"FILE:1: channel.webhook."my phone": a name has 1 to 32 letters a to z, digits, - and _"#,
        );
        let other = error_of("[schedule]\ntrouble = '* *'", &Overrides::default());
        assert!(other.starts_with("FILE:2: schedule.trouble: "), "{other}");
        let other = error_of("[feed]\nurl = 'http://mirror.example/'", &Overrides::default());
        assert!(other.starts_with("FILE:2: feed.url: "), "{other}");
    }

    #[test]
    fn phones_are_off_and_what_is_said_of_them_makes_sense() {
        let config = good("");
        assert!(!config.phone.enabled && config.phone.late().is_none());
        assert_eq!(config.phone.address, Address::standard());
        let late = good("[phone]\nlate_after = '3d'").phone.late().expect("a threshold");
        assert_eq!((late.after.as_hours(), late.check.as_str()), (72, "0 19 * * *"));
        check("[phone]\npoll = '*'", &format!("FILE:2: phone.poll: {}", five_fields("*")));
        check("[phone]\nlate_check = '*'", &format!("FILE:2: phone.late_check: {}", five_fields("*")));
        check(
            "[phone]\nlate_after = 'soon'",
            r#"FILE:2: phone.late_after: invalid duration "soon": use for example 3d or 1w"#,
        );
        for bad in ["23h", "366d"] {
            let expected = "FILE:2: phone.late_after: must be 1 to 365 days; a phone backs up once a day";
            check(&format!("[phone]\nlate_after = '{bad}'"), expected);
        }
        check(
            "[feed]\nedition = 'developer'\n[phone]\nlate_after = '3d'",
            "FILE:4: phone.late_after: the developer feed has no iCloud Backup; remove the key",
        );
        let wrong = error_of("[phone]\nusbmuxd = 'nowhere'", &Overrides::default());
        assert!(wrong.starts_with("FILE:2: phone.usbmuxd: "), "{wrong}");
    }

    fn five_fields(text: &str) -> String {
        Schedule::parse(text, &TimeZone::UTC).expect_err("no schedule").to_string()
    }

    #[test]
    fn the_address_of_usbmuxd_is_configured_before_it_is_the_environments() {
        let address = |text: &str, variable: &str| {
            let home = Home::new(text);
            let own = home.environment();
            let environment = |name: &str| match name {
                "USBMUXD_SOCKET_ADDRESS" => Some(variable.to_owned()),
                other => own(other),
            };
            load(&Overrides::default(), &environment).map(|config| config.phone.address)
        };
        let enabled = "[phone]\nenabled = true\n";
        assert_eq!(
            address(enabled, "127.0.0.1:27015"),
            Address::parse("127.0.0.1:27015").map_err(|_| unreachable!())
        );
        let written = format!("{enabled}usbmuxd = 'UNIX:/run/usbmuxd'");
        assert_eq!(address(&written, "127.0.0.1:27015"), Ok(Address::Unix("/run/usbmuxd".into())));
        assert_eq!(address(enabled, ""), Ok(Address::standard()));
        let error = address(enabled, "nowhere").expect_err("no address").to_string();
        assert!(error.starts_with("USBMUXD_SOCKET_ADDRESS: "), "{error}");
        assert_eq!(address("", "nowhere"), Ok(Address::standard()), "nobody asked for phones");
    }

    #[test]
    fn what_is_no_toml_has_line_and_column() {
        check("\n[feed", "FILE:2:6: invalid TOML: the closing ] is missing");
        check("a = 1\n a = 2", "FILE:2:2: invalid TOML: this key is there twice; remove one of them");
        check("watch = [ 'ü' 'b' ]", "FILE:1:15: invalid TOML: a comma is missing");
        let defaults = Overrides::default();
        assert_eq!(error_of(b"\n\n# \xff", &defaults), "FILE:3: not UTF-8 text; save the file as UTF-8");
        for deep in [format!("[{}a]", "a.".repeat(100_000)), format!("a = {}", "[".repeat(100_000))] {
            error_of(deep, &defaults);
        }
        let largest = "\n".repeat(1024 * 1024);
        good(&largest);
        assert_eq!(error_of(largest + "\n", &defaults), "FILE: larger than 1 MiB; is it the right file?");
    }

    #[test]
    fn no_error_and_no_output_holds_a_secret() {
        let table = "[channel.webhook.a]\nurl = 'https://u:7654321@hooks.example:8443/7654321?t=7654321'\n";
        for slip in [
            "bearer_token = 7654321",
            "bearer_token = '7654321",
            "bearer_token = 7654321x",
            "bearer_token = [7654321]",
            "bearer_token = ['7654321', 1]",
            "bearer_token = { a = '7654321' }",
            "bearer_token = 7654321.5",
            "hmac_secret = 7654321",
            "hmac_secret = 'a' '7654321'",
            "hmac_secret_file = 7654321",
            "url = '7654321'",
            "nonsense = '7654321'",
        ] {
            let error = error_of(format!("{table}{slip}"), &Overrides::default());
            assert!(error.starts_with("FILE:3:"), "{error}");
            assert!(!error.contains("7654321"), "{error}");
        }
        let url = error_of("[channel.webhook.a]\nurl = 7654321", &Overrides::default());
        assert_eq!(url, "FILE:2: channel.webhook.a.url: expected a string, found an integer");

        let feed = "[feed]\nurl = 'https://mirror.example/feed?t=7654321'\n";
        let config = good(&format!("{feed}{table}bearer_token = '7654321'\nhmac_secret_file = 'key'"));
        let shown = config.show();
        assert!(shown.contains("bearer_token = \"***\" # line 5\n"), "{shown}");
        assert!(shown.contains("hmac_secret_file = \"key\" # line 6\n"), "{shown}");
        assert!(shown.contains("https://hooks.example:8443/"), "{shown}");
        assert!(!shown.contains("7654321"), "{shown}");
        let debug = format!("{config:#?}");
        assert!(!debug.contains("7654321"), "{debug}");
    }

    #[test]
    fn without_a_file_or_with_an_empty_one_it_is_the_defaults() {
        let config = good("");
        assert_eq!(config.feed.to_string(), "consumer/en_US");
        assert_eq!(config.feed_url, None);
        assert_eq!(config.watch, ["iCloud Backup"]);
        assert_eq!((config.poll.as_str(), config.trouble.as_str()), ("*/5 * * * *", "* * * * *"));
        assert_eq!(config.jitter_s, 30);
        assert_eq!((config.log_level, config.log_format), (LogLevel::Info, LogFormat::Auto));
        assert!(config.channel.desktop.enabled == Some(true) && config.channel.log.enabled);
        assert!(config.channel.webhook.is_empty());

        // Without a home the machine's own file is the only candidate.
        if !Path::new("/etc/statusd/statusd.toml").exists() {
            let none = load(&Overrides::default(), &|_| None).expect("the defaults");
            assert_eq!(none.source, None);
            assert!(none.show().starts_with("# The settings in effect; there is no configuration file.\n"));
        }
    }

    #[test]
    fn a_file_that_was_asked_for_is_the_only_one() {
        let home = Home::new("watch = ['home']");
        let own = home.0.path().join("own.toml");
        let asked = Overrides { config: Some(own.clone()), ..Overrides::default() };
        let missing = home.load(&asked).expect_err("it is not there").to_string();
        assert_eq!(missing, format!("{}: no such file; `statusd config init` writes one", own.display()));
        fs::write(&own, "watch = ['own']").expect("written");
        let config = home.load(&asked).expect("it is there");
        assert_eq!((config.watch, config.source), (vec!["own".to_owned()], Some(own)));
        assert_eq!(home.load(&Overrides::default()).expect("a file").source, Some(home.file()));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_passed_over() {
        let home = Home::new("");
        fs::remove_file(home.file()).expect("removed");
        fs::create_dir(home.file()).expect("a directory in its place");
        let error = home.load(&Overrides::default()).expect_err("not a file").to_string();
        assert!(error.starts_with(&format!("{}: cannot be read: ", home.file().display())), "{error}");
    }

    /// All of them, different from the defaults.
    fn all_overrides() -> Overrides {
        Overrides {
            config: None,
            watch: vec!["Photos".to_owned(), "iCloud *".to_owned()],
            time_zone: Some("UTC".to_owned()),
            edition: Some("developer".to_owned()),
            locale: Some("en_US".to_owned()),
            feed_url: Some("https://mirror.example/flag.js".to_owned()),
            ca_file: Some("/flag/ca.pem".into()),
            poll: Some("1 * * * *".to_owned()),
            trouble: Some("2 * * * *".to_owned()),
            jitter_s: Some(3),
            state_directory: Some("/flag/state".into()),
            record_file: Some("/flag/record.jsonl".into()),
            log_level: Some("trace".to_owned()),
            log_format: Some("json".to_owned()),
            from_variables: BTreeSet::new(),
        }
    }

    #[test]
    fn flags_beat_the_file_and_the_file_beats_the_defaults() {
        let file = "watch = ['file']\ntime_zone = 'Asia/Tokyo'\n\
            [feed]\nedition = 'consumer'\nlocale = 'de_DE'\nurl = 'https://mirror.example/file.js'\n\
            ca_file = '/file/ca'\n\
            [schedule]\npoll = '11 * * * *'\ntrouble = '12 * * * *'\njitter_s = 13\n\
            [state]\ndirectory = '/file/state'\n[record]\nfile = '/file/record'\n\
            [log]\nlevel = 'debug'\nformat = 'human'\n";
        let home = Home::new(file);
        let of_file = home.load(&Overrides::default()).expect("a good file");
        let mut written: toml::Table = toml::from_str(file).expect("TOML");
        for table in ["channel", "phone"] {
            written.insert(table.to_owned(), values(&of_file)[table].clone());
        }
        assert_eq!(values(&of_file), written);

        let of_flags = home.load(&all_overrides()).expect("good flags");
        let alone = Home::new("").load(&all_overrides()).expect("good flags");
        assert_eq!(values(&of_flags), values(&alone));
        let shown = of_flags.show();
        assert!(shown.contains("edition = \"developer\" # --edition\n"), "{shown}");
        assert!(!shown.contains(" # line "), "nothing is left of the file's settings:\n{shown}");
    }

    #[test]
    fn the_state_is_configured_before_it_is_systemds() {
        let directory = |text: &str, flag: Option<&str>| {
            let home = Home::new(text);
            let own = home.environment();
            let environment = |variable: &str| match variable {
                "STATE_DIRECTORY" => Some("/systemd".to_owned()),
                other => own(other),
            };
            let overrides = Overrides { state_directory: flag.map(PathBuf::from), ..Overrides::default() };
            load(&overrides, &environment).expect("good").state_directory
        };
        assert_eq!(directory("", None), Path::new("/systemd"));
        assert_eq!(directory("[state]\ndirectory = '/file'", None), Path::new("/file"));
        assert_eq!(directory("[state]\ndirectory = '/file'", Some("/flag")), Path::new("/flag"));
    }

    #[test]
    fn only_the_service_of_the_machine_has_no_desktop_by_default() {
        #[track_caller]
        fn check(text: &str, state: &str, expected: bool) {
            let home = Home::new(text);
            let own = home.environment();
            let environment = |variable: &str| match variable {
                "STATE_DIRECTORY" => Some(state.to_owned()).filter(|state| !state.is_empty()),
                other => own(other),
            };
            let config = load(&Overrides::default(), &environment).expect("good");
            assert_eq!(config.channel.desktop.enabled, Some(expected), "{text:?} {state}");
        }
        check("", "", true);
        check("", "/home/me/.local/state/statusd", true);
        check("", "/var/lib/statusd", false);
        check("[channel.desktop]", "/var/lib/private/statusd", false);
        check("[channel.desktop]\nenabled = true", "/var/lib/statusd", true);
        check("[channel.desktop]\nenabled = false", "", false);
    }

    #[test]
    fn a_bad_flag_is_named_and_not_the_file() {
        for (overrides, expected) in [
            (
                Overrides { log_level: Some("inf".to_owned()), ..Overrides::default() },
                r#"--log-level: unknown word "inf"; did you mean "info"?"#,
            ),
            (
                Overrides {
                    watch: vec![String::new()],
                    from_variables: BTreeSet::from(["watch"]),
                    ..Overrides::default()
                },
                r#"STATUSD_WATCH: a name is blank; write a service's name, or "*" for all"#,
            ),
        ] {
            let home = Home::new("watch = ['a']\n[log]\nlevel = 'warn'");
            let error = home.load(&overrides).expect_err("a bad flag");
            assert_eq!(error.to_string(), expected);
            assert!(error.is_usage());
        }
        assert!(!Home::new("a = 1").load(&Overrides::default()).expect_err("a bad file").is_usage());
    }

    #[test]
    fn relative_paths_belong_to_the_file_or_to_whoever_types_them() {
        let home = Home::new("[record]\nfile = 'record.jsonl'\n[feed]\nca_file = 'ca.pem'");
        let overrides = Overrides { ca_file: Some("ca.pem".into()), ..Overrides::default() };
        let config = home.load(&overrides).expect("good");
        assert_eq!(config.record_file, Some(home.file().with_file_name("record.jsonl")));
        assert_eq!(config.ca_file, path::absolute("ca.pem").ok());
    }

    #[test]
    fn what_a_channel_finds_wrong_gets_its_line() {
        let home = Home::new("[channel.webhook.a]\nurl = 'ftp://x'\n");
        let config = home.load(&Overrides::default()).expect("good so far");
        let file = home.file();
        let error = |words| config.error_in("channel.webhook.a", words).to_string();
        assert_eq!(error("url: no"), format!("{}:2: channel.webhook.a.url: no", file.display()));
        assert_eq!(error("TLS: no"), format!("{}:1: channel.webhook.a: TLS: no", file.display()));
    }

    #[test]
    fn what_is_shown_loads_as_the_same() {
        let home = Home::new("[channel.desktop]\nenabled = false");
        let config = home.load(&all_overrides()).expect("good");
        let again = Home::new(config.show());
        assert_eq!(values(&again.load(&Overrides::default()).expect("good")), values(&config));
    }

    /// Settings are commented out without a blank behind the `#`, prose with one.
    fn sample_with_all_settings() -> String {
        let is_setting = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
        let uncommented = SAMPLE.lines().map(|line| if is_setting(line) { &line[1..] } else { line });
        uncommented.flat_map(|line| [line, "\n"]).collect()
    }

    #[test]
    fn the_sample_is_the_defaults() {
        let home = Home::new(SAMPLE);
        let sample = home.load(&Overrides::default()).expect("the sample loads");
        fs::write(home.file(), "").expect("written");
        assert_eq!(values(&sample), values(&home.load(&Overrides::default()).expect("an empty file")));
    }

    #[test]
    fn the_sample_loads_with_every_setting_and_says_each_default() {
        let all = sample_with_all_settings();
        let (shown, default) = (good(&all).show(), good("").show());
        assert!(!shown.contains("# default"), "not in the sample:\n{shown}");
        for line in default.lines().filter(|line| line.contains(" # default")) {
            let setting = line.trim_end_matches(" # default");
            let is_example = ["time_zone = ", "directory = "].iter().any(|key| setting.starts_with(key));
            assert!(is_example || all.lines().any(|line| line == setting), "{setting}");
        }
        for key in known_keys("") {
            let name = key.rsplit('.').next().expect("a name");
            assert!(all.contains(&format!("{name} = ")), "{key} is not in the sample");
        }
    }

    /// The dotted keys of all settings under a table, as the loader itself lists them.
    fn known_keys(table: &str) -> BTreeSet<String> {
        let header = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
        let error = error_of(format!("{header}zzzz = 1"), &Overrides::default());
        if error.contains("a channel of this kind has a name") {
            return known_keys(&format!("{table}.NAME"));
        }
        let keys_of = |name: &str| match policy::KEYS.contains(&name) {
            // The same in every channel's table, and explained once.
            true => BTreeSet::from([format!("channel.ANY.{name}")]),
            false => known_keys(&source_map::joined(table, name)),
        };
        match error.split_once("; known here: ") {
            Some((_, names)) => names.split(", ").flat_map(keys_of).collect(),
            None => BTreeSet::from([table.to_owned()]),
        }
    }

    #[test]
    fn the_reference_has_every_key_and_no_other() {
        let row = |line: &str| Some(line.strip_prefix("| `")?.split_once("` |")?.0.to_owned());
        let documented: BTreeSet<String> = REFERENCE.lines().filter_map(row).collect();
        assert_eq!(documented, known_keys(""));
        assert!(documented.len() > 15, "{documented:?}");

        let mut flags = BTreeMap::new();
        overlay(&mut File::default(), &all_overrides(), &mut flags);
        for (key, given) in flags {
            let Given::Flag(flag) = given else { panic!("{key}") };
            let variable = format!("STATUSD_{}", flag.to_uppercase().replace('-', "_"));
            let wanted = format!("`--{flag}`, `{variable}`");
            let is_row = |line: &&str| line.starts_with(&format!("| `{key}` |"));
            let row = REFERENCE.lines().find(is_row).expect(key);
            assert!(row.contains(&wanted), "{key}: {wanted}");
        }
    }
}
