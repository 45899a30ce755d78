//! The topics, and the retained messages of a snapshot: states and Home Assistant sensors.
//!
//! Publishes nothing and reads no clock. The topics of a service never change and do not depend on other
//! services (`every_name_has_its_own_topics`). A service's name appears in a topic only as a slug of
//! letters, digits, `_` and `-`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::snapshot::{ServiceState, Snapshot};
use super::state::{NAME_MAX_CHARS, state};
use crate::model::ServiceKey;
use crate::text;

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

    /// Returns the topics to clear if the state under `topic` is obsolete: the state and its sensor. Empty
    /// if `topic` is not a state of this prefix.
    pub fn to_clear(&self, topic: &str) -> Vec<String> {
        let slug = topic
            .strip_prefix(&format!("{}/service/", self.prefix))
            .and_then(|rest| rest.strip_suffix("/state"))
            .filter(|slug| !slug.is_empty() && !slug.contains('/'));
        let Some(slug) = slug else { return Vec::new() };
        [Some(self.state_topic(slug)), self.sensor_topic(slug)].into_iter().flatten().collect()
    }

    /// Returns the retained messages of a snapshot, without the availability.
    pub fn retained(&self, snapshot: &Snapshot, now: Timestamp) -> Retained {
        let mut retained = Retained::new();
        for service in &snapshot.services {
            let slug = slug(&service.service);
            retained.insert(self.state_topic(&slug), state(service, snapshot, now).to_string());
            if let Some(topic) = self.sensor_topic(&slug) {
                retained.insert(topic, self.sensor(service, &slug, snapshot).to_string());
            }
        }
        retained
    }

    fn state_topic(&self, slug: &str) -> String {
        format!("{}/service/{slug}/state", self.prefix)
    }

    fn sensor_topic(&self, slug: &str) -> Option<String> {
        let discovery = self.discovery.as_ref()?;
        Some(format!("{discovery}/binary_sensor/{}_{slug}/config", self.id()))
    }

    /// The prefix in the characters that Home Assistant allows in an id.
    fn id(&self) -> String {
        self.prefix.replace(['/', '.'], "_")
    }

    /// Returns the configuration of a Home Assistant binary sensor. The sensor is on during a problem and
    /// unknown while the state is unknown.
    fn sensor(&self, service: &ServiceState, slug: &str, snapshot: &Snapshot) -> Value {
        let id = format!("{}_{slug}", self.id());
        let page = snapshot.feed.edition.page();
        json!({
            "name": text::plain_line(&service.service, NAME_MAX_CHARS),
            "unique_id": id,
            // Versions since 2025 read `default_entity_id`, older ones `object_id`; each ignores the other.
            "object_id": id,
            "default_entity_id": format!("binary_sensor.{id}"),
            "device_class": "problem",
            "state_topic": self.state_topic(slug),
            "value_template":
                "{{ {'problem': 'ON', 'unknown': 'None'}.get(value_json.state, 'OFF') }}",
            "payload_on": "ON",
            "payload_off": "OFF",
            "json_attributes_topic": self.state_topic(slug),
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

/// Returns a service's name as one topic level.
fn slug(service: &str) -> String {
    ServiceKey::new(service).slug('_', '-')
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::{at, outage, readable, snapshot};
    use super::*;
    use crate::model::EventKind;

    fn topics() -> Topics {
        Topics { prefix: "home/statusd".to_owned(), discovery: Some("homeassistant".to_owned()) }
    }

    fn json_of(snapshot: &Snapshot, topic: &str) -> Value {
        let retained = topics().retained(snapshot, at("12:00"));
        serde_json::from_str(retained.get(topic).expect(topic)).expect("JSON")
    }

    #[test]
    fn a_service_has_a_state_and_a_sensor() {
        let snapshot = snapshot("iCloud\u{a0}Backup", true, readable(), vec![]);
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
        assert_eq!(json_of(&snapshot, "home/statusd/service/icloud_backup/state")["state"], "ok");

        let without_discovery = Topics { discovery: None, ..topics() };
        let topics: Vec<String> = without_discovery.retained(&snapshot, at("12:00")).into_keys().collect();
        assert_eq!(topics, ["home/statusd/service/icloud_backup/state"]);
    }

    #[test]
    fn every_name_has_its_own_topics() {
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
    fn only_states_of_the_own_prefix_are_cleared() {
        let obsolete = topics().to_clear("home/statusd/service/icloud_backup/state");
        let expected = [
            "home/statusd/service/icloud_backup/state",
            "homeassistant/binary_sensor/home_statusd_icloud_backup/config",
        ];
        assert_eq!(obsolete, expected);
        for foreign in [
            "home/statusd/availability",
            "home/statusd/service/state",
            "home/statusd/service//state",
            "home/statusd/service/a/b/state",
            "other/service/icloud_backup/state",
        ] {
            assert_eq!(topics().to_clear(foreign), Vec::<String>::new(), "{foreign}");
        }
    }

    #[test]
    fn texts_from_apple_are_truncated_and_sanitised() {
        let mut hostile = outage(EventKind::Outage, "08:00");
        hostile.message = "x\u{1b}[2J".repeat(5_000);
        let snapshot = snapshot(&"n\u{202e}".repeat(900), true, readable(), vec![hostile]);
        for payload in topics().retained(&snapshot, at("12:00")).into_values() {
            assert!(payload.len() < 4_000 && !payload.contains(['\u{1b}', '\u{202e}']), "{payload}");
        }
    }
}
