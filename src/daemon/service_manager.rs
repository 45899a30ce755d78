//! Notifies the service manager with sd_notify(3). Does nothing without a service manager.
//!
//! Any text becomes one line of the datagram, so text from the feed cannot add a variable
//! (`a_status_cannot_add_another_variable`).

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sd_notify::NotifyState;

use super::progress::PingPermit;
use crate::delivery::message::advice::NO_PROBLEM;
use crate::delivery::message::phrases::kind_word;
use crate::delivery::message::time_format::when;
use crate::model::{Beliefs, Listed, Outage, Phase};
use crate::store::OpenStep;
use crate::text;
use crate::tracking::watchlist::Watchlist;

/// The maximum length of a status. `systemctl status` shows one line.
const STATUS_MAX: usize = 300;
/// The maximum number of services that a status names. Further ones are counted.
const NAMED_MAX: usize = 3;
/// The extension of the start timeout with each report.
const START_EXTENSION: Duration = Duration::from_secs(120);

/// Reports that the daemon is ready. The database is open, and the first poll has not begun.
pub fn ready() {
    notify(&[NotifyState::Ready, status("polling Apple's feed for the first time").state()]);
}

pub fn set_status(text: &str) {
    notify(&[status(text).state()]);
}

/// Reports that a reload begins. Called before the configuration is read. Type=notify-reload requires the
/// time in the same datagram.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(time) => notify(&[NotifyState::Reloading, time]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

pub fn reloaded() {
    notify(&[NotifyState::Ready]);
}

/// Reports the end of a reload whose configuration was rejected.
pub fn reload_failed(reason: &str) {
    notify(&[NotifyState::Ready, status(&format!("keeping the old configuration: {reason}")).state()]);
}

pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Pings the watchdog.
pub fn ping(_: PingPermit) {
    notify(&[NotifyState::Watchdog]);
}

/// Extends the start timeout while the database is checked, recovered or migrated.
pub fn opening(step: OpenStep) {
    let extension_us = u32::try_from(START_EXTENSION.as_micros()).unwrap_or(u32::MAX);
    let status = status(match step {
        OpenStep::Checking => "checking the database",
        OpenStep::Recovering => "recovering the rows of a damaged database",
        OpenStep::Migrating => "migrating the database",
    });
    notify(&[NotifyState::ExtendTimeoutUsec(extension_us), status.state()]);
}

/// Returns the state with the times of the polls. Times of day, because "ago" would become wrong.
pub fn status_line(state: &str, polled: Timestamp, next: Timestamp, zone: &TimeZone) -> String {
    let at = |time| when(time, polled, zone);
    format!("{state}; polled {}; next poll {}", at(polled), at(next))
}

/// Returns the state of the watched services, after a poll of a readable feed.
pub fn summary(beliefs: &Beliefs, watch: &Watchlist, now: Timestamp, zone: &TimeZone) -> String {
    let ongoing = beliefs
        .outages
        .iter()
        .filter(|((key, _), outage)| matches!(outage.phase, Phase::Ongoing(_)) && watch.matches(key));
    let troubled: Vec<String> = ongoing.map(|(_, outage)| trouble(outage, now, zone)).collect();
    let is_listed = |listed: &Listed| matches!(listed, Listed::Yes | Listed::Missing(_));
    let services = beliefs.services.iter();
    let watched = services.filter(|(key, service)| watch.matches(key) && is_listed(&service.listed));
    let names: Vec<String> = watched.map(|(_, service)| service.name.clone()).collect();
    match (troubled.as_slice(), names.as_slice()) {
        ([], []) => "Apple lists none of the watched services".to_owned(),
        ([], names) if names.len() > NAMED_MAX => format!("{NO_PROBLEM} with {} services", names.len()),
        ([], names) => format!("{NO_PROBLEM} with {}", names.join(", ")),
        (troubled, _) => few(troubled),
    }
}

fn trouble(outage: &Outage, now: Timestamp, zone: &TimeZone) -> String {
    let planned_end = outage.end.filter(|_| outage.kind.is_maintenance());
    let until = planned_end.map(|end| format!(", planned until {}", when(end, now, zone)));
    format!("{}: {}{}", outage.service, kind_word(&outage.kind), until.unwrap_or_default())
}

fn few(texts: &[String]) -> String {
    match texts.len().saturating_sub(NAMED_MAX) {
        0 => texts.join(", "),
        more => format!("{} and {more} more", texts[..NAMED_MAX].join(", ")),
    }
}

/// A text of one line.
struct Status(String);

fn status(text: &str) -> Status {
    Status(text::plain_line(text, STATUS_MAX))
}

impl Status {
    fn state(&self) -> NotifyState<'_> {
        NotifyState::Status(&self.0)
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("cannot notify the service manager: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Edition, EventKind, FeedId, OverBy, Service, ServiceKey};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    /// Returns beliefs about services: `Mail` has no outage, `Mail!` has one, `Mail~` had one, `Mail?` is not
    /// listed.
    fn believed(services: &[&str]) -> Beliefs {
        let first_seen = at("2026-05-05T08:00:00Z");
        let mut beliefs = Beliefs::new(FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() });
        for word in services {
            let name = word.trim_end_matches(['!', '~', '?']);
            let key = ServiceKey::new(name);
            let listed = if word.ends_with('?') { Listed::Never { since: first_seen } } else { Listed::Yes };
            let phase = match word.strip_prefix(name) {
                Some("!") => Phase::Ongoing(None),
                _ => Phase::Over(OverBy::Apple),
            };
            if word.ends_with(['!', '~']) {
                let outage = Outage {
                    service: name.to_owned(),
                    message_id: "1".to_owned(),
                    occurrence: 1,
                    kind: EventKind::Outage,
                    phase,
                    start: None,
                    end: None,
                    first_seen,
                    users_affected: None,
                    message: String::new(),
                    counts: BTreeMap::new(),
                };
                beliefs.outages.insert((key.clone(), "1".to_owned()), outage);
            }
            beliefs.services.insert(key, Service { name: name.to_owned(), first_seen, listed });
        }
        beliefs
    }

    #[track_caller]
    fn check(services: &[&str], watch: &[&str], expected: &str) {
        let watch: Vec<String> = watch.iter().map(|&glob| glob.to_owned()).collect();
        let now = at("2026-05-05T10:00:00Z");
        assert_eq!(summary(&believed(services), &Watchlist::new(&watch), now, &TimeZone::UTC), expected);
    }

    #[test]
    fn a_summary_covers_watched_and_listed_services() {
        check(&["iCloud Backup", "Photos!"], &["iCloud Backup"], "Apple lists no problem with iCloud Backup");
        check(&["iCloud Backup~", "Photos"], &["*"], "Apple lists no problem with iCloud Backup, Photos");
        check(&["iCloud Backup!", "Photos"], &["*"], "iCloud Backup: outage");
        check(&["a", "b", "c", "d", "e?"], &["*"], "Apple lists no problem with 4 services");
        check(&["a!", "b!", "c!", "d!", "e!"], &["*"], "a: outage, b: outage, c: outage and 2 more");
        check(&["iCloud Bakcup?", "Photos"], &["iCloud Bakcup"], "Apple lists none of the watched services");
        check(&[], &["iCloud Backup"], "Apple lists none of the watched services");
    }

    #[test]
    fn maintenance_has_its_planned_end() {
        let mut beliefs = believed(&["Mail!"]);
        for outage in beliefs.outages.values_mut() {
            outage.kind = EventKind::Maintenance;
            outage.end = Some(at("2026-05-05T14:00:00Z"));
        }
        let watch = Watchlist::new(&["*".to_owned()]);
        let line = summary(&beliefs, &watch, at("2026-05-05T10:00:00Z"), &TimeZone::UTC);
        assert_eq!(line, "Mail: maintenance, planned until 14:00");
    }

    #[test]
    fn a_status_line_names_the_day_if_it_is_another() {
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        let polled = at("2026-05-05T10:00:20Z");
        let line = status_line(
            "Apple lists no problem with iCloud Backup",
            polled,
            at("2026-05-05T10:05:11Z"),
            &berlin,
        );
        assert_eq!(line, "Apple lists no problem with iCloud Backup; polled 12:00; next poll 12:05");
        let line = status_line(
            "Apple lists no problem with iCloud Backup",
            polled,
            at("2026-05-06T10:00:00Z"),
            &berlin,
        );
        assert_eq!(
            line,
            "Apple lists no problem with iCloud Backup; polled 12:00; next poll Wed 6 May 12:00"
        );
    }

    #[test]
    fn a_status_cannot_add_another_variable() {
        let sent = status("Mail\nWATCHDOG=1\r\u{2028}STOPPING=1").state().to_string();
        assert_eq!(sent, "STATUS=Mail WATCHDOG=1 STOPPING=1");
        let sent = status(&"\u{1f34f}".repeat(9_000)).state().to_string();
        assert!(sent.chars().count() <= "STATUS=".len() + STATUS_MAX);
    }
}
