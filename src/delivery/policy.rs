//! The policy of a channel: topics, services, quiet hours, reminders, the age of messages and templates.
//!
//! Pure: decides about one change at one time, without the outbox or the channel. A policy leaves a change
//! out or delays it, and never drops a delivery.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::delivery::template::Template;
use crate::model::{Change, ChangeKind, ServiceKey};
use crate::schedule::duration;
use crate::setting::SettingError;
use crate::tracking::watchlist::Watchlist;

/// Protects people and servers from a flood of reminders.
const SHORTEST_REMINDER: SignedDuration = SignedDuration::from_mins(5);
const LONGEST: SignedDuration = SignedDuration::from_hours(365 * 24);
/// The default for people: older changes are sent as one digest.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);

/// The keys that every channel's table may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The topics, see [`topic`]. Default: all.
    pub only: Option<Vec<String>>,
    /// Names or globs that select from the watched services. Default: all.
    pub services: Option<Vec<String>>,
    /// `22:00-07:00`, in the configured time zone; `22:00-07:00 Europe/Berlin` in another.
    pub quiet: Option<String>,
    /// The interval of reminders of an ongoing outage: `6h`. Default: no reminders.
    pub remind_every: Option<String>,
    /// The age after which an unconfirmed message is composed again with all later changes. Default: 1d.
    pub max_age: Option<String>,
    /// A minijinja template for the title.
    pub title: Option<String>,
    /// A minijinja template for the body.
    pub body: Option<String>,
}

/// The keys of [`Settings`].
pub const KEYS: [&str; 7] = ["only", "services", "quiet", "remind_every", "max_age", "title", "body"];

/// The values of `only`.
const TOPICS: [&str; 11] = [
    "began",
    "reopened",
    "worsened",
    "ended",
    "missed",
    "maintenance",
    "unlisted",
    "unreadable",
    "history_lost",
    "liveness",
    "phone",
];

/// Topics of development versions, with their new names.
const RENAMED_TOPICS: [(&str, &str); 2] = [("blind", "unreadable"), ("alive", "liveness")];

/// Returns the topic of a change; `None` for a reminder or a test, which users request separately.
pub fn topic(kind: ChangeKind) -> Option<&'static str> {
    match kind {
        ChangeKind::Began => Some("began"),
        ChangeKind::Reopened => Some("reopened"),
        ChangeKind::Worsened | ChangeKind::Eased => Some("worsened"),
        // A withdrawal is the only end of some outages.
        ChangeKind::Ended | ChangeKind::Withdrawn => Some("ended"),
        ChangeKind::Missed => Some("missed"),
        ChangeKind::Planned
        | ChangeKind::Moved
        | ChangeKind::Cancelled
        | ChangeKind::Started
        | ChangeKind::Over => Some("maintenance"),
        ChangeKind::Unlisted | ChangeKind::ListedAgain => Some("unlisted"),
        ChangeKind::Unreadable | ChangeKind::Readable => Some("unreadable"),
        ChangeKind::HistoryLost => Some("history_lost"),
        ChangeKind::Liveness => Some("liveness"),
        ChangeKind::BackupLate | ChangeKind::BackupOff => Some("phone"),
        ChangeKind::Revised
        | ChangeKind::Corrected
        | ChangeKind::Noted
        | ChangeKind::Reminder
        | ChangeKind::Test => None,
    }
}

/// A channel's policy, validated.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    only: Option<Vec<String>>,
    services: Option<Watchlist>,
    quiet: Option<Quiet>,
    pub remind_every: Option<SignedDuration>,
    max_age: Option<SignedDuration>,
    pub template: Template,
}

impl Policy {
    /// Validates the settings. `zone` is the time zone of quiet hours that name none.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn new(settings: &Settings, zone: &TimeZone) -> Result<Policy, SettingError> {
        let (policy, errors) = Policy::usable(settings, zone);
        errors.into_iter().next().map_or(Ok(policy), Err)
    }

    /// Like [`Policy::new`], but ignores invalid settings and returns a line for each.
    pub fn usable(settings: &Settings, zone: &TimeZone) -> (Policy, Vec<SettingError>) {
        fn take<T>(parsed: Result<Option<T>, SettingError>, errors: &mut Vec<SettingError>) -> Option<T> {
            parsed.unwrap_or_else(|error| {
                errors.push(error);
                None
            })
        }
        let Settings { only, services, quiet, remind_every, max_age, title, body } = settings;
        let length = |key: &str, text: &Option<String>, least: SignedDuration| {
            let parsed = text.as_deref().map(|text| bounded(text, least)).transpose();
            parsed.map_err(|error| error.under(key))
        };
        let errors = &mut Vec::new();
        let policy = Policy {
            only: take(only.as_deref().map(topics).transpose(), errors),
            services: take(services.as_deref().map(globs).transpose(), errors),
            quiet: take(quiet.as_deref().map(|text| Quiet::parse(text, zone)).transpose(), errors),
            remind_every: take(length("remind_every", remind_every, SHORTEST_REMINDER), errors),
            max_age: take(length("max_age", max_age, SignedDuration::from_mins(1)), errors),
            template: template(title.as_deref(), body.as_deref(), errors),
        };
        (policy, std::mem::take(errors))
    }

    /// Rejects settings that a channel for programs ignores, because it sends every change as JSON.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn check_machine_channel(&self) -> Result<(), SettingError> {
        if self.max_age.is_some() {
            return Err(SettingError::new(
                "max_age",
                "not supported here, because programs get every change at any age",
            )
            .hint("remove the key"));
        }
        if self.template.has_body() {
            return Err(SettingError::new("body", "not supported here, because programs get JSON")
                .hint("set `title` for its \"text\", and remove this key"));
        }
        Ok(())
    }

    /// Returns true if the channel sends the change.
    pub fn accepts(&self, change: &Change) -> bool {
        let is_topic = match (&self.only, topic(change.kind)) {
            (Some(only), Some(topic)) => only.iter().any(|wanted| wanted == topic),
            _ => true,
        };
        // A liveness report names services with trouble but is about all of them.
        let concerns_all = change.service.is_empty() || change.kind == ChangeKind::Liveness;
        is_topic && (concerns_all || self.accepts_service(&ServiceKey::new(&change.service)))
    }

    fn accepts_service(&self, service: &ServiceKey) -> bool {
        self.services.as_ref().is_none_or(|services| services.matches(service))
    }

    /// Returns true if the service is watched and the channel accepts it.
    pub fn accepts_watched(&self, service: &ServiceKey, watch: &Watchlist) -> bool {
        watch.matches(service) && self.accepts_service(service)
    }

    /// Returns the end of the quiet hours if `now` is within them.
    pub fn quiet_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.quiet.as_ref()?.until(now)
    }

    /// Returns true if the quiet hours use the configured time zone.
    pub fn depends_on_zone(&self) -> bool {
        self.quiet.as_ref().is_some_and(|quiet| !quiet.names_zone)
    }

    /// Removes the quiet hours, for a message that the user requests now.
    pub fn without_quiet_hours(self) -> Policy {
        Policy { quiet: None, ..self }
    }

    /// Returns the age at which an unconfirmed message for people is composed again.
    pub fn max_age(&self) -> SignedDuration {
        self.max_age.unwrap_or(MAX_AGE)
    }
}

/// The name of a channel with its policy.
#[derive(Clone, Debug)]
pub struct Route {
    pub channel: String,
    pub policy: Policy,
}

/// Returns the names of the channels that send the change.
pub fn matching(routes: &[Route], change: &Change) -> Vec<String> {
    routes.iter().filter(|route| route.policy.accepts(change)).map(|route| route.channel.clone()).collect()
}

/// Returns no template at all if one of the two is invalid.
fn template(title: Option<&str>, body: Option<&str>, errors: &mut Vec<SettingError>) -> Template {
    let halves = [Template::new(title, None), Template::new(None, body)];
    errors.extend(halves.into_iter().filter_map(Result::err));
    Template::new(title, body).unwrap_or_default()
}

fn topics(only: &[String]) -> Result<Vec<String>, SettingError> {
    if only.is_empty() {
        return Err(SettingError::new(
            "only",
            format!("empty list: expected one or more of {}", TOPICS.join(", ")),
        ));
    }
    match only.iter().find(|word| !TOPICS.contains(&word.as_str())) {
        Some(word) if let Some((_, now)) = RENAMED_TOPICS.iter().find(|(before, _)| before == word) => {
            Err(SettingError::new("only", format!("unknown topic {word:?}"))
                .hint(format!("renamed to {now:?}")))
        }
        Some(word) => Err(SettingError::new(
            "only",
            format!("unknown topic {word:?}: expected one or more of {}", TOPICS.join(", ")),
        )),
        None => Ok(only.to_vec()),
    }
}

fn globs(services: &[String]) -> Result<Watchlist, SettingError> {
    if services.is_empty() || services.iter().any(|name| name.trim().is_empty()) {
        return Err(SettingError::new(
            "services",
            "invalid list: expected at least one name and no blank names",
        ));
    }
    Ok(Watchlist::new(services))
}

fn bounded(text: &str, least: SignedDuration) -> Result<SignedDuration, SettingError> {
    let length = duration(text).ok_or_else(|| {
        SettingError::new("", format!("invalid duration {text:?}: use for example 90m, 6h or 2d"))
    })?;
    if !(least..=LONGEST).contains(&length) {
        return Err(SettingError::new(
            "",
            format!("invalid duration {text:?}: expected {} min to 365 days", least.as_mins()),
        ));
    }
    Ok(length)
}

/// Daily hours without messages.
#[derive(Clone, Debug)]
struct Quiet {
    from: Time,
    to: Time,
    zone: TimeZone,
    /// The setting names the zone.
    names_zone: bool,
}

impl Quiet {
    fn parse(text: &str, zone: &TimeZone) -> Result<Quiet, SettingError> {
        let how = "expected two times and an optional time zone, for example \"22:00-07:00\" or \"22:00-07:00 Europe/Berlin\"";
        let wrong = || SettingError::new("quiet", format!("invalid quiet hours {text:?}: {how}"));
        let (hours, zone_name) = match text.trim().split_once(' ') {
            Some((hours, name)) => (hours, Some(name.trim())),
            None => (text.trim(), None),
        };
        let (from, to) = hours.split_once('-').ok_or_else(wrong)?;
        let clock = |text: &str| Time::strptime("%H:%M", text.trim()).map_err(|_| wrong());
        let (from, to) = (clock(from)?, clock(to)?);
        let names_zone = zone_name.is_some();
        let zone = match zone_name {
            Some(name) => TimeZone::get(name).map_err(|_| match jiff::tz::db().available().next() {
                None => SettingError::new("quiet", "this machine has no time zone database")
                    .hint("install tzdata"),
                Some(_) => SettingError::new("quiet", format!("unknown time zone {name:?}: {how}")),
            })?,
            None => zone.clone(),
        };
        if from == to {
            return Err(SettingError::new(
                "quiet",
                format!("invalid quiet hours {text:?}: both times are the same"),
            )
            .hint("to disable the channel, remove its table"));
        }
        Ok(Quiet { from, to, zone, names_zone })
    }

    /// Returns the end of the quiet hours if `now` is within them.
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let local = now.to_zoned_datetime(self.zone.clone());
        let time = local.time();
        let is_quiet = if self.from < self.to {
            (self.from..self.to).contains(&time)
        } else {
            time >= self.from || time < self.to
        };
        if !is_quiet {
            return None;
        }
        let day = if time < self.to { local.date() } else { local.date().tomorrow().ok()? };
        let end = self.zone.to_ambiguous_timestamp(day.to_datetime(self.to));
        // When clocks are set back, the end occurs twice, and the first one may be past.
        let first = end.compatible().ok()?;
        if first > now { Some(first) } else { end.later().ok().filter(|later| *later > now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Edition, FeedId};

    fn policy(toml: &str) -> Result<Policy, String> {
        Policy::new(&toml::from_str(toml).expect("settings"), &TimeZone::UTC)
            .map_err(|error| error.to_string())
    }

    fn change(kind: ChangeKind, service: &str) -> Change {
        let at = Timestamp::UNIX_EPOCH;
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        Change { service: service.to_owned(), ..Change::bare(kind, feed, at, at) }
    }

    #[track_caller]
    fn check_accepts(toml: &str, kind: ChangeKind, service: &str, expected: bool) {
        assert_eq!(policy(toml).expect(toml).accepts(&change(kind, service)), expected, "{toml}");
    }

    #[test]
    fn a_channel_sends_the_selected_topics_and_services() {
        check_accepts("", ChangeKind::Began, "Photos", true);
        check_accepts("only = ['began', 'ended']", ChangeKind::Began, "Photos", true);
        check_accepts("only = ['began', 'ended']", ChangeKind::Withdrawn, "Photos", true);
        check_accepts("only = ['began', 'ended']", ChangeKind::Missed, "Photos", false);
        check_accepts("only = ['maintenance']", ChangeKind::Over, "Photos", true);
        check_accepts("only = ['maintenance']", ChangeKind::Moved, "Photos", true);
        check_accepts("only = ['maintenance']", ChangeKind::Cancelled, "Photos", true);
        check_accepts("only = ['began']", ChangeKind::Cancelled, "Photos", false);
        check_accepts("only = ['unreadable']", ChangeKind::Readable, "", true);
        check_accepts("only = ['began']", ChangeKind::Unreadable, "", false);
        check_accepts("only = ['began']", ChangeKind::Reminder, "Photos", true);
        check_accepts("only = ['began']", ChangeKind::Test, "", true);
        check_accepts("services = ['iCloud*']", ChangeKind::Began, "iCloud Mail", true);
        check_accepts("services = ['iCloud*']", ChangeKind::Began, "Photos", false);
        check_accepts("services = ['iCloud*']", ChangeKind::Unreadable, "", true);
    }

    #[test]
    fn every_announced_change_has_a_known_topic() {
        for kind in ChangeKind::ALL.into_iter().filter(|kind| kind.is_told()) {
            assert!(topic(kind).is_some_and(|topic| TOPICS.contains(&topic)), "{kind:?}");
        }
        for word in TOPICS {
            assert!(ChangeKind::ALL.into_iter().any(|kind| topic(kind) == Some(word)), "{word}");
        }
    }

    #[track_caller]
    fn check_quiet(quiet: &str, now: &str, expected: Option<&str>) {
        let quiet = Quiet::parse(quiet, &TimeZone::UTC).expect(quiet);
        let time = |text: &str| text.parse::<Timestamp>().expect(text);
        assert_eq!(quiet.until(time(now)), expected.map(time), "{now}");
    }

    #[test]
    fn quiet_hours_end_at_the_configured_time() {
        check_quiet("22:00-07:00", "2026-05-05T21:59:59Z", None);
        check_quiet("22:00-07:00", "2026-05-05T22:00:00Z", Some("2026-05-06T07:00:00Z"));
        check_quiet("22:00-07:00", "2026-05-06T06:59:59Z", Some("2026-05-06T07:00:00Z"));
        check_quiet("22:00-07:00", "2026-05-06T07:00:00Z", None);
        check_quiet("12:00-13:30", "2026-05-06T12:10:00Z", Some("2026-05-06T13:30:00Z"));
        check_quiet("12:00-13:30", "2026-05-06T11:59:00Z", None);
        check_quiet("22:00-07:00 Europe/Berlin", "2026-05-05T20:30:00Z", Some("2026-05-06T05:00:00Z"));
    }

    #[test]
    fn quiet_hours_end_once_when_clocks_change() {
        // 02:00 to 03:00 does not exist in the first night, and occurs twice in the second.
        check_quiet("22:00-02:30 Europe/Berlin", "2026-03-28T22:00:00Z", Some("2026-03-29T01:30:00Z"));
        check_quiet("22:00-02:30 Europe/Berlin", "2026-10-24T23:00:00Z", Some("2026-10-25T00:30:00Z"));
        check_quiet("22:00-02:30 Europe/Berlin", "2026-10-25T01:10:00Z", Some("2026-10-25T01:30:00Z"));
    }

    #[test]
    fn an_invalid_setting_is_rejected_with_its_key() {
        for (toml, key) in [
            ("only = []", "only: empty list: expected one or more of began, "),
            ("only = ['begun']", "only: unknown topic \"begun\": expected "),
            ("services = ['']", "services: "),
            ("quiet = '22-7'", "quiet: "),
            ("quiet = '22:00'", "quiet: "),
            ("quiet = '07:00-07:00'", "quiet: invalid quiet hours \"07:00-07:00\": both times are the same"),
            ("quiet = '22:00-07:00 Mars/Base'", "quiet: unknown time zone"),
            ("remind_every = '1m'", "remind_every: invalid duration \"1m\": expected 5 min to 365 days"),
            ("remind_every = 'often'", "remind_every: invalid duration \"often\""),
            ("max_age = '9999d'", "max_age: invalid duration"),
            ("title = '{{ titel }}'", "title: "),
            ("body = '{% if %}'", "body: "),
        ] {
            let error = policy(toml).expect_err(toml);
            assert!(error.starts_with(key), "{error}");
        }
        assert!(policy("max_age = '2d'").expect("policy").check_machine_channel().is_err());
        assert!(policy("body = 'x'").expect("policy").check_machine_channel().is_err());
        assert_eq!(
            policy("title = 'x'\nquiet = '22:00-07:00'").expect("policy").check_machine_channel(),
            Ok(())
        );
    }

    #[test]
    fn the_list_of_keys_is_complete() {
        let error = toml::from_str::<Settings>("zzz = 1").expect_err("unknown");
        let known: Vec<&str> = error.message().split('`').skip(3).step_by(2).collect();
        assert_eq!(known, KEYS);
    }
}
