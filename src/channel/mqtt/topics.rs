//! The topics, and the retained messages of a snapshot: states and Home Assistant sensors.
//!
//! Publishes nothing and reads no clock. The topics of a service never change and do not depend on other
//! services (`every_name_has_its_own_topics`). A service's name appears in a topic only as a slug of
//! letters, digits, `_` and `-`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use ring::digest;
use serde_json::{Value, json};

use super::super::snapshot::{ServiceState, Snapshot};
use crate::model::{EventKind, FeedHealth, Outage, Phase, ServiceKey};
use crate::text;

/// Of the JSON below, documented in `docs/channels.md`.
const VERSION: u32 = 1;
/// For so long after the last good look the answer still counts: the feed is only looked at every
/// few minutes anyway, and a sensor that flickers is one that people switch off.
const SIGHT_HOLDS: SignedDuration = SignedDuration::from_mins(15);
/// Characters of a service's name, in a topic and in JSON, and of a text.
const SLUG_MAX: usize = 48;
const NAME_MAX: usize = 200;
const TEXT_MAX: usize = 1_000;

pub const ONLINE: &str = "online";
pub const OFFLINE: &str = "offline";

/// Retained messages: topic and payload. No payload is empty, because that would clear the topic.
pub type Retained = BTreeMap<String, String>;

/// The prefixes of all topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Without a slash at either end.
    pub prefix: String,
    /// Home Assistant's discovery prefix. `None` publishes no sensors.
    pub discovery: Option<String>,
}

/// The answer about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Problem,
    Maintenance,
    Ok,
    Unknown,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Problem => "problem",
            State::Maintenance => "maintenance",
            State::Ok => "ok",
            State::Unknown => "unknown",
        }
    }
}

impl Topics {
    /// The topic whose payload is [`ONLINE`] or [`OFFLINE`].
    pub fn availability(&self) -> String {
        format!("{}/availability", self.prefix)
    }

    /// The topic of changes, which are not retained.
    pub fn change(&self) -> String {
        format!("{}/change", self.prefix)
    }

    /// A filter that matches the states of all services.
    pub fn all_states(&self) -> String {
        format!("{}/service/+/state", self.prefix)
    }

    /// What has to be cleared where `topic` holds a state that should not be there: it and what
    /// belongs to it. Nothing where it is no state of ours.
    pub fn belonging(&self, topic: &str) -> Vec<String> {
        let slug = topic
            .strip_prefix(&format!("{}/service/", self.prefix))
            .and_then(|rest| rest.strip_suffix("/state"))
            .filter(|slug| !slug.is_empty() && !slug.contains('/'));
        let Some(slug) = slug else { return Vec::new() };
        [Some(self.state(slug)), self.config(slug)].into_iter().flatten().collect()
    }

    /// Returns the retained messages of a snapshot, without the availability.
    pub fn retained(&self, snapshot: &Snapshot, now: Timestamp) -> Retained {
        let mut retained = Retained::new();
        for standing in &snapshot.services {
            let slug = slug(&standing.service);
            retained.insert(self.state(&slug), state(standing, snapshot, now).to_string());
            if let Some(topic) = self.config(&slug) {
                retained.insert(topic, self.sensor(standing, &slug, snapshot).to_string());
            }
        }
        retained
    }

    fn state(&self, slug: &str) -> String {
        format!("{}/service/{slug}/state", self.prefix)
    }

    fn config(&self, slug: &str) -> Option<String> {
        let discovery = self.discovery.as_ref()?;
        Some(format!("{discovery}/binary_sensor/{}_{slug}/config", self.id()))
    }

    /// The prefix in the characters that Home Assistant allows in an id.
    fn id(&self) -> String {
        self.prefix.replace(['/', '.'], "_")
    }

    /// A binary sensor of Home Assistant that is on while there is a problem and unknown while
    /// nobody can tell.
    fn sensor(&self, standing: &ServiceState, slug: &str, snapshot: &Snapshot) -> Value {
        let id = format!("{}_{slug}", self.id());
        let page = snapshot.feed.edition.page();
        json!({
            "name": text::plain_line(&standing.service, NAME_MAX),
            "unique_id": id,
            // Versions since 2025 read `default_entity_id`, older ones `object_id`; each ignores the other.
            "object_id": id,
            "default_entity_id": format!("binary_sensor.{id}"),
            "device_class": "problem",
            "state_topic": self.state(slug),
            "value_template":
                "{{ {'problem': 'ON', 'unknown': 'None'}.get(value_json.state, 'OFF') }}",
            "payload_on": "ON",
            "payload_off": "OFF",
            "json_attributes_topic": self.state(slug),
            "availability_topic": self.availability(),
            "payload_available": ONLINE,
            "payload_not_available": OFFLINE,
            "qos": 1,
            "device": {
                "identifiers": [self.id()],
                "name": "Apple system status",
                "manufacturer": "statusd",
                "model": snapshot.feed.to_string(),
                "sw_version": env!("CARGO_PKG_VERSION"),
                "configuration_url": page,
            },
            "origin": {"name": "statusd", "sw_version": env!("CARGO_PKG_VERSION")},
        })
    }
}

/// The state of one service as JSON. The same as long as nothing changes: it holds no time of now.
fn state(standing: &ServiceState, snapshot: &Snapshot, now: Timestamp) -> Value {
    let worst = worst(&standing.outages);
    let can_tell = is_in_sight(&snapshot.health, now);
    // What we hold to go on, goes on until Apple says otherwise: silence is not recovery.
    let state = match worst {
        Some(outage) if outage.kind.is_maintenance() => State::Maintenance,
        Some(_) => State::Problem,
        None if !can_tell || !standing.is_listed => State::Unknown,
        None => State::Ok,
    };
    let reason = match (can_tell, standing.is_listed) {
        (false, _) => Some("not_readable"),
        (true, false) => Some("not_listed"),
        (true, true) => None,
    };
    let apple_text = worst.map(|outage| text::plain_text(&outage.message, TEXT_MAX));
    let affected = worst.and_then(|outage| outage.users_affected.as_deref());
    json!({
        "version": VERSION,
        "state": state.as_str(),
        "service": text::plain_line(&standing.service, NAME_MAX),
        "feed": snapshot.feed.to_string(),
        "since": worst.map(began),
        "outage_kind": worst.map(|outage| text::plain_line(outage.kind.as_str(), NAME_MAX)),
        "message_id": worst.map(|outage| text::plain_line(&outage.message_id, NAME_MAX)),
        "occurrence": worst.map(|outage| outage.occurrence),
        "users_affected": affected.map(|affected| text::plain_line(affected, TEXT_MAX)),
        "apple_text": apple_text,
        "reason": reason,
    })
}

/// What goes on and is worst; of those the longest.
fn worst(outages: &[Outage]) -> Option<&Outage> {
    let ongoing = outages.iter().filter(|outage| matches!(outage.phase, Phase::Ongoing(_)));
    ongoing.max_by_key(|outage| (severity(&outage.kind), std::cmp::Reverse(began(outage))))
}

fn severity(kind: &EventKind) -> u8 {
    match kind {
        EventKind::Maintenance => 0,
        EventKind::Performance => 1,
        EventKind::Issue | EventKind::Other(_) => 2,
        EventKind::Outage => 3,
    }
}

fn began(outage: &Outage) -> Timestamp {
    outage.start.unwrap_or(outage.first_seen)
}

fn is_in_sight(health: &FeedHealth, now: Timestamp) -> bool {
    match health {
        FeedHealth::Unknown => false,
        FeedHealth::Readable { .. } => true,
        FeedHealth::Unreadable { since, .. } => now.duration_since(*since) < SIGHT_HOLDS,
    }
}

/// A service's name as part of a topic. Names of plain words keep their letters; of any other name
/// they say too little ("iCloudバックアップ", "A & B", "A-B"), so a hash of it follows. Plain words
/// have no `-`, so no name can take another's place.
fn slug(service: &str) -> String {
    let key = ServiceKey::new(service);
    let mut slug = String::new();
    for c in key.as_str().chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('_') {
            slug.push('_');
        }
    }
    let is_plain = slug == key.as_str().replace(' ', "_") && !key.as_str().contains('_');
    if is_plain && (1..=SLUG_MAX).contains(&slug.len()) {
        return slug;
    }
    slug.truncate(SLUG_MAX);
    let hash = digest::digest(&digest::SHA256, key.as_str().as_bytes());
    let hash: String = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    match slug.trim_end_matches('_') {
        "" => format!("service-{hash}"),
        words => format!("{words}-{hash}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Edition, Fault, FeedId, OverBy};

    fn at(text: &str) -> Timestamp {
        format!("2026-05-05T{text}:00Z").parse().expect("a time")
    }

    fn topics() -> Topics {
        Topics { prefix: "home/statusd".to_owned(), discovery: Some("homeassistant".to_owned()) }
    }

    fn outage(kind: EventKind, start: &str) -> Outage {
        Outage {
            service: "iCloud Backup".to_owned(),
            message_id: "1002938".to_owned(),
            occurrence: 1,
            kind,
            phase: Phase::Ongoing(None),
            start: Some(at(start)),
            end: None,
            first_seen: at("10:01"),
            users_affected: Some("Some users are affected".to_owned()),
            message: "Users may be unable to back up.".to_owned(),
            counts: BTreeMap::new(),
        }
    }

    fn snapshot(service: &str, is_listed: bool, health: FeedHealth, outages: Vec<Outage>) -> Snapshot {
        Snapshot {
            feed: FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() },
            health,
            services: vec![ServiceState { service: service.to_owned(), is_listed, outages }],
        }
    }

    fn sighted() -> FeedHealth {
        FeedHealth::Readable { since: at("08:00") }
    }

    fn blind_since(since: &str) -> FeedHealth {
        FeedHealth::Unreadable {
            since: at(since),
            fault: Fault::Ours,
            reason: "no network".to_owned(),
            told: false,
        }
    }

    fn json_of(snapshot: &Snapshot, topic: &str) -> Value {
        let retained = topics().retained(snapshot, at("12:00"));
        serde_json::from_str(retained.get(topic).expect(topic)).expect("JSON")
    }

    #[track_caller]
    fn check(is_listed: bool, health: FeedHealth, outages: Vec<Outage>, state: &str, reason: Option<&str>) {
        let snapshot = snapshot("iCloud Backup", is_listed, health, outages);
        let json = json_of(&snapshot, "home/statusd/service/icloud_backup/state");
        assert_eq!((&json["state"], &json["reason"]), (&json!(state), &json!(reason)), "{snapshot:?}");
    }

    #[test]
    fn the_state_of_a_service() {
        use EventKind::{Issue, Maintenance, Outage as Down, Performance};
        let planned = Outage { phase: Phase::Planned(None), ..outage(Maintenance, "13:00") };
        let over = Outage { phase: Phase::Over(OverBy::Apple), ..outage(Down, "08:00") };
        check(true, sighted(), vec![], "ok", None);
        check(true, sighted(), vec![planned, over], "ok", None);
        check(true, sighted(), vec![outage(Issue, "08:00")], "problem", None);
        check(true, sighted(), vec![outage(EventKind::Other(String::new()), "08:00")], "problem", None);
        check(true, sighted(), vec![outage(Maintenance, "08:00")], "maintenance", None);
        let both = vec![outage(Maintenance, "08:00"), outage(Performance, "09:00")];
        check(true, sighted(), both, "problem", None);
        check(false, sighted(), vec![], "unknown", Some("not_listed"));
        check(false, sighted(), vec![outage(Down, "08:00")], "problem", Some("not_listed"));
        check(true, FeedHealth::Unknown, vec![], "unknown", Some("not_readable"));
    }

    #[test]
    fn blindness_counts_after_a_while_and_ends_no_outage() {
        check(true, blind_since("11:46"), vec![], "ok", None);
        check(true, blind_since("11:45"), vec![], "unknown", Some("not_readable"));
        let down = || vec![outage(EventKind::Outage, "08:00")];
        check(true, blind_since("08:00"), down(), "problem", Some("not_readable"));
        check(true, blind_since("11:59"), down(), "problem", None);
    }

    #[test]
    fn the_worst_and_longest_outage_is_shown() {
        let mut second = outage(EventKind::Outage, "09:00");
        second.message_id = "second".to_owned();
        let mut first = Outage { start: None, first_seen: at("08:30"), ..second.clone() };
        first.message_id = "first".to_owned();
        let outages = vec![second, outage(EventKind::Issue, "07:00"), first];
        let snapshot = snapshot("iCloud Backup", true, sighted(), outages);
        let expected = json!({
            "version": 1,
            "state": "problem",
            "service": "iCloud Backup",
            "feed": "consumer/en_US",
            "since": "2026-05-05T08:30:00Z",
            "outage_kind": "Outage",
            "message_id": "first",
            "occurrence": 1,
            "users_affected": "Some users are affected",
            "apple_text": "Users may be unable to back up.",
            "reason": null,
        });
        assert_eq!(json_of(&snapshot, "home/statusd/service/icloud_backup/state"), expected);
    }

    #[test]
    fn home_assistant_is_told_of_a_sensor() {
        let snapshot = snapshot("iCloud\u{a0}Backup", true, sighted(), vec![]);
        let sensor = json_of(&snapshot, "homeassistant/binary_sensor/home_statusd_icloud_backup/config");
        let expected = json!({
            "name": "iCloud Backup",
            "unique_id": "home_statusd_icloud_backup",
            "object_id": "home_statusd_icloud_backup",
            "default_entity_id": "binary_sensor.home_statusd_icloud_backup",
            "device_class": "problem",
            "state_topic": "home/statusd/service/icloud_backup/state",
            "value_template": "{{ {'problem': 'ON', 'unknown': 'None'}.get(value_json.state, 'OFF') }}",
            "payload_on": "ON",
            "payload_off": "OFF",
            "json_attributes_topic": "home/statusd/service/icloud_backup/state",
            "availability_topic": "home/statusd/availability",
            "payload_available": "online",
            "payload_not_available": "offline",
            "qos": 1,
            "device": {
                "identifiers": ["home_statusd"],
                "name": "Apple system status",
                "manufacturer": "statusd",
                "model": "consumer/en_US",
                "sw_version": env!("CARGO_PKG_VERSION"),
                "configuration_url": "https://www.apple.com/support/systemstatus/",
            },
            "origin": {"name": "statusd", "sw_version": env!("CARGO_PKG_VERSION")},
        });
        assert_eq!(sensor, expected);

        let silent = Topics { discovery: None, ..topics() };
        let topics: Vec<String> = silent.retained(&snapshot, at("12:00")).into_keys().collect();
        assert_eq!(topics, ["home/statusd/service/icloud_backup/state"]);
    }

    #[test]
    fn every_name_has_topics_of_its_own() {
        let names = [
            "iCloud Backup",
            "iCloudBackup",
            "iCloud_Backup",
            "iCloud-Backup",
            "iCloud & Backup",
            "iCloud Backup+",
            "iCloudバックアップ",
            "iCloud バックアップ",
            "バックアップ",
            "写真",
            "",
            "_",
            "+/#",
            "service",
            "Резервные копии",
        ];
        let slugs: std::collections::BTreeSet<String> = names.map(slug).into();
        assert_eq!(slugs.len(), names.len(), "{slugs:?}");
        for slug in &slugs {
            let is_safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
            assert!(!slug.is_empty() && slug.chars().all(is_safe), "{slug}");
        }
        assert_eq!(slug(" ICLOUD\u{a0}backup\n"), "icloud_backup");
        // A literal, because a topic must not change between versions.
        assert_eq!(slug("iCloudバックアップ"), "icloud-c6ea141e");
        assert!(slug(&"x".repeat(500)).len() < 64);
        assert_ne!(slug(&"x".repeat(500)), slug(&"x".repeat(501)));
    }

    #[test]
    fn states_that_are_left_over_are_recognised() {
        let belonging = topics().belonging("home/statusd/service/icloud_backup/state");
        let expected = [
            "home/statusd/service/icloud_backup/state",
            "homeassistant/binary_sensor/home_statusd_icloud_backup/config",
        ];
        assert_eq!(belonging, expected);
        for foreign in [
            "home/statusd/availability",
            "home/statusd/service/state",
            "home/statusd/service//state",
            "home/statusd/service/a/b/state",
            "other/service/icloud_backup/state",
        ] {
            assert_eq!(topics().belonging(foreign), Vec::<String>::new(), "{foreign}");
        }
    }

    #[test]
    fn apples_words_are_cut_and_cleaned() {
        let mut hostile = outage(EventKind::Outage, "08:00");
        hostile.message = "x\u{1b}[2J".repeat(5_000);
        let snapshot = snapshot(&"n\u{202e}".repeat(900), true, sighted(), vec![hostile]);
        for payload in topics().retained(&snapshot, at("12:00")).into_values() {
            assert!(payload.len() < 4_000 && !payload.contains(['\u{1b}', '\u{202e}']), "{payload}");
        }
    }
}
