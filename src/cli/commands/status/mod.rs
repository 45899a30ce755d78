//! `statusd status`: the daemon's state, with the age of the last successful poll first.
//!
//! Beliefs come from the database, polls from the running daemon. The exit code is 0 if the database was
//! read, even during an outage; for monitors there is `statusd check`.

mod json;
mod text;

use jiff::Timestamp;

use crate::model::{Beliefs, KnownPhone, Listed, Outage, Phase, ServiceKey};
use crate::report::coverage::{CoverageShares, coverage, extend_to_now};
use crate::status_socket::{self, DaemonStatus};
use crate::store::{Snooze, Span, StoredDelivery, Totals};

use crate::cli::context::{CommandError, Invocation, Output, block_on, open_store};
use crate::cli::state::{config_with_state, system_service_command};
use crate::cli::terminal::Terminal;
use crate::cli::timeline;

/// The daemon's state at one instant.
struct Status {
    /// Present if the daemon is running.
    daemon: Option<DaemonStatus>,
    /// The command that queries the system service, if there is one and the state is the user's own.
    system_service_command: Option<String>,
    beliefs: Beliefs,
    last_readable: Option<Timestamp>,
    spans: Vec<Span>,
    totals: Totals,
    /// Pending or given up.
    deliveries: Vec<StoredDelivery>,
    /// Ongoing outages that were acknowledged: service and `messageId`.
    acknowledged: Vec<(ServiceKey, String)>,
    snooze: Option<Snooze>,
    /// The most recently read phone first.
    phones: Vec<KnownPhone>,
}

pub fn run(json: bool, invocation: &Invocation) -> Result<Output, CommandError> {
    let config = config_with_state(invocation)?;
    let terminal = invocation.terminal(&config.time_zone);
    let store = open_store(&config, false)?;
    let daemon = status_socket::ask(&config.state_directory);
    let mut status = block_on(async {
        Ok::<_, rusqlite::Error>(Status {
            daemon,
            system_service_command: system_service_command(&config, invocation),
            beliefs: store.beliefs(&config.feed).await?,
            last_readable: store.last_readable(&config.feed).await?,
            spans: store.coverage(&config.feed, timeline::start(&terminal)).await?,
            totals: store.totals().await?,
            deliveries: store.deliveries(false).await?,
            acknowledged: store.acknowledged(&config.feed).await?,
            snooze: store.snoozed().await?.filter(|snooze| snooze.until > terminal.now),
            phones: store.phones().await?,
        })
    })??;
    status.spans = extend_to_now(status.spans, status.daemon.is_some(), terminal.now);
    status.last_readable =
        status.last_readable.max(status.daemon.as_ref().and_then(|daemon| daemon.last_good_poll_at));
    for phone in &mut status.phones {
        let seen_at = status.daemon.as_ref().and_then(|daemon| daemon.phones_seen.get(&phone.id).copied());
        phone.seen_at = seen_at.map_or(phone.seen_at, |seen_at| seen_at.max(phone.seen_at));
    }
    Ok(Output::done(if json {
        format!("{:#}\n", status.json(&config, &terminal))
    } else {
        status.text(&config, &terminal)
    }))
}

impl Status {
    fn listed(&self) -> impl Iterator<Item = (&ServiceKey, &str)> {
        let services = self.beliefs.services.iter();
        let real = services.filter(|(_, service)| !matches!(service.listed, Listed::Never { .. }));
        real.map(|(key, service)| (key, service.name.as_str()))
    }

    fn ongoing_of<'a>(&'a self, key: &'a ServiceKey) -> impl Iterator<Item = &'a Outage> {
        let outages = self.beliefs.outages.iter().filter(move |((service, _), _)| service == key);
        outages.map(|(_, outage)| outage).filter(|outage| matches!(outage.phase, Phase::Ongoing(_)))
    }

    fn planned_for<'a>(&'a self, key: &'a ServiceKey) -> impl Iterator<Item = &'a Outage> {
        let outages = self.beliefs.outages.iter().filter(move |((service, _), _)| service == key);
        outages.map(|(_, outage)| outage).filter(|outage| matches!(outage.phase, Phase::Planned(_)))
    }

    fn is_acknowledged(&self, outage: &Outage) -> bool {
        self.acknowledged.contains(&(ServiceKey::new(&outage.service), outage.message_id.clone()))
    }

    /// Returns the coverage of the last 30 days, or since the first poll if that is later.
    fn coverage(&self, terminal: &Terminal) -> (Timestamp, CoverageShares) {
        let first = self.spans.first().map_or(terminal.now, |span| span.from);
        let from = timeline::start(terminal).max(first);
        (from, coverage(&self.spans, from, terminal.now))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::cli::documents::check_documented;
    use crate::cli::terminal::tests::UTC;
    use crate::config::{self, Config};
    use crate::model::{Edition, EventKind, Fault, FeedHealth, FeedId, Missing, Service};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn config() -> Config {
        let variables = |name: &str| match name {
            "HOME" => Some("/home/me".to_owned()),
            _ => None,
        };
        let watch = ["iCloud Backup", "iCloud Bakup", "*mail*"].map(str::to_owned).to_vec();
        let overrides = config::Overrides {
            watch,
            config: Some("/dev/null".into()),
            time_zone: Some("UTC".to_owned()),
            ..Default::default()
        };
        config::load(&overrides, &variables).expect("a configuration")
    }

    fn outage(service: &str, kind: EventKind, missing: Option<Missing>) -> Outage {
        Outage {
            service: service.to_owned(),
            message_id: "100".to_owned(),
            occurrence: 1,
            kind,
            phase: Phase::Ongoing(missing),
            start: Some(at("2026-05-05T10:11:00Z")),
            end: None,
            first_seen: at("2026-05-05T11:00:00Z"),
            users_affected: None,
            message: "Users…".to_owned(),
            counts: BTreeMap::new(),
        }
    }

    fn status() -> Status {
        let mut beliefs = Beliefs::new(FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() });
        for (name, listed) in [
            ("iCloud Backup", Listed::Yes),
            ("iCloud Bakup", Listed::Never { since: at("2026-05-04T08:00:00Z") }),
            ("iCloud Mail", Listed::Yes),
            ("Mail Drop", Listed::Yes),
            ("Photos", Listed::Yes),
        ] {
            let service = Service { name: name.to_owned(), first_seen: at("2026-05-04T08:00:00Z"), listed };
            beliefs.services.insert(ServiceKey::new(name), service);
        }
        let missing = Missing { since: at("2026-05-05T11:30:00Z"), fetches: 2 };
        for outage in [
            outage("iCloud Backup", EventKind::Outage, Some(missing)),
            outage("Photos", EventKind::Issue, None),
        ] {
            beliefs.outages.insert((ServiceKey::new(&outage.service), "100".to_owned()), outage);
        }
        beliefs.state.health = FeedHealth::Readable { since: at("2026-05-04T08:00:00Z") };
        let span =
            Span { from: at("2026-05-04T08:00:00Z"), to: at("2026-05-05T11:59:20Z"), unreadable: None };
        Status {
            daemon: Some(DaemonStatus {
                pid: 4711,
                version: "0.1.0".to_owned(),
                started_at: at("2026-05-04T08:00:00Z"),
                polled_at: Some(at("2026-05-05T11:59:20Z")),
                last_good_poll_at: Some(at("2026-05-05T11:59:20Z")),
                next_poll_at: Some(at("2026-05-05T12:00:20Z")),
                trouble: None,
                polls: 12,
                stale_polls: 0,
                configured_at: None,
                refused: None,
                phones_seen: BTreeMap::new(),
            }),
            system_service_command: None,
            beliefs,
            last_readable: Some(at("2026-05-05T11:59:20Z")),
            spans: vec![span],
            totals: Totals { pending: 0, sent: 3, given_up: 1 },
            deliveries: Vec::new(),
            acknowledged: Vec::new(),
            snooze: None,
            phones: Vec::new(),
        }
    }

    fn phone(last_backup: Option<&str>, backup_enabled: Option<bool>, seen_at: &str) -> KnownPhone {
        KnownPhone {
            id: "0123456789abcdef".to_owned(),
            model: Some("iPhone13,2".to_owned()),
            seen_at: at(seen_at),
            last_backup: last_backup.map(at),
            backup_enabled,
            off_since: None,
            judged_at: at(seen_at),
        }
    }

    fn terminal() -> Terminal<'static> {
        Terminal { width: 80, color: false, zone: &UTC, now: at("2026-05-05T12:00:00Z") }
    }

    #[test]
    fn the_age_of_the_last_successful_poll_comes_first() {
        let expected = "\
Last successful poll 40 s ago (11:59:20), next at 12:00:20
statusd 0.1.0, running since Mon 4 May 08:00 (process 4711)

Watched
  iCloud Backup: outage since 10:11 (1 h 49 min), not listed since 11:30
  iCloud Bakup: not in Apple's list; did you mean iCloud Backup or iCloud Mail?
  *mail*: Apple lists no problem with 2 matching services
  Apple posts late: in about one hour out of 400, iCloud Backup is down but
  Apple lists nothing.

Other services
  Photos: issue since 10:11 (1 h 49 min)

Messages: 0 pending, 1 given up, 3 sent; see `statusd outbox`
Coverage since Mon 4 May 08:00: 99.9 % readable, 0.0 % unreadable, 0.1 % not
polling
Time zone: UTC (--time-zone)
Feed: consumer/en_US
Configuration: /dev/null
Database: /home/me/.local/state/statusd/statusd.db
";
        assert_eq!(status().text(&config(), &terminal()), expected);
        check_documented("status", &status().json(&config(), &terminal()));
    }

    #[test]
    fn an_unreadable_feed_and_a_stopped_daemon_are_shown() {
        let mut status = status();
        status.daemon = None;
        let reason = "cannot reach www.apple.com: no network connection".to_owned();
        status.beliefs.state.health = FeedHealth::Unreadable {
            since: at("2026-05-05T11:00:00Z"),
            fault: Fault::Ours,
            reason,
            told: false,
        };
        let text = status.text(&config(), &terminal());
        let expected = "\
Last successful poll 40 s ago (11:59:20)
statusd is not running; start it with `statusd run` or `statusd service install`
Feed unreadable since 11:00 (1 h), local fault: cannot reach www.apple.com: no
network connection
";
        assert_eq!(text.split_once("\n\n").map(|(head, _)| format!("{head}\n")).as_deref(), Some(expected));
        let json = status.json(&config(), &terminal());
        assert_eq!((&json["running"], &json["feed_health"]["fault"]), (&Value::Null, &json!("ours")));
        assert_eq!(json["ongoing"][0]["not_listed_since"], json!("2026-05-05T11:30:00Z"));
    }

    #[test]
    fn next_to_a_system_service_the_advice_is_not_to_start_another() {
        let command = "sudo statusd status --state-directory /var/lib/statusd";
        let status = Status { system_service_command: Some(command.to_owned()), ..status() };
        let text = status.text(&config(), &terminal());
        assert!(text.contains("\nstatusd 0.1.0, running since ") && !text.contains("sudo"), "{text}");
        let text = Status { daemon: None, ..status }.text(&config(), &terminal());
        let expected =
            format!("\nstatusd is not running for this user; to query the system service:\n  {command}\n");
        assert!(text.contains(&expected), "{text}");
    }

    #[test]
    fn acknowledgements_and_a_snooze_are_shown() {
        let mut status = status();
        status.acknowledged = vec![(ServiceKey::new("Photos"), "100".to_owned())];
        status.snooze = Some(Snooze { from: at("2026-05-05T11:00:00Z"), until: at("2026-05-05T14:00:00Z") });
        let text = status.text(&config(), &terminal());
        assert!(text.contains("  Photos: issue since 10:11 (1 h 49 min), acknowledged\n"), "{text}");
        assert!(
            text.contains(
                "\nSnoozed: no messages to people until 14:00; to end it, use `statusd snooze off`\n"
            ),
            "{text}"
        );
        let json = status.json(&config(), &terminal());
        assert_eq!(json["snoozed_until"], json!("2026-05-05T14:00:00Z"));
        let acknowledged = json["ongoing"].as_array().expect("a list").iter();
        let acknowledged: Vec<&Value> = acknowledged.map(|outage| &outage["is_acknowledged"]).collect();
        assert_eq!(acknowledged, [&json!(false), &json!(true)]);
    }

    #[test]
    fn phones_are_shown_only_if_enabled() {
        let mut status = status();
        let mut config = config();
        status.phones = vec![phone(Some("2026-05-05T03:00:00Z"), Some(true), "2026-05-05T11:50:00Z")];
        assert!(!status.text(&config, &terminal()).contains("iPhone"), "phones are disabled");
        assert_eq!(status.json(&config, &terminal())["phones"], Value::Null);
        config.phone.enabled = true;
        let text = status.text(&config, &terminal());
        assert!(text.contains("\niPhone: last backup 9 h ago, seen 10 min ago\nCoverage"), "{text}");
        let json = status.json(&config, &terminal());
        check_documented("status", &json);
        assert!(!json.to_string().contains("0123456789abcdef"), "{json}");
        for (last_backup, enabled, expected) in [
            (None, None, "last backup unknown"),
            (None, Some(false), "iCloud Backup is off"),
            (Some("2026-05-02T12:00:00Z"), Some(false), "iCloud Backup is off, last backup 3 days ago"),
        ] {
            status.phones = vec![phone(last_backup, enabled, "2026-05-05T11:59:20Z")];
            let text = status.text(&config, &terminal());
            assert!(text.contains(&format!("\niPhone: {expected}, seen 40 s ago\n")), "{text}");
        }
        status.phones.clear();
        let text = status.text(&config, &terminal());
        assert!(text.contains("\niPhone: none read yet; see `statusd doctor`\n"), "{text}");
    }
}
