//! Builds alerts for Alertmanager's API v2 from changes and snapshots.
//!
//! Sends nothing and reads no clock. A change and a snapshot give an outage the same labels from start to
//! end, so that each update replaces the existing alert (`a_change_and_a_snapshot_give_the_same_alert`).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::snapshot::Snapshot;
use super::subject::{Subject, is_maintenance};
use crate::model::{Edition, FeedHealth, Phase};

const TEST: &str = "StatusdTest";
const TEST_LASTS: SignedDuration = SignedDuration::from_mins(1);

/// An element of the list that `POST /api/v2/alerts` accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// The identity of the alert.
    pub labels: BTreeMap<String, String>,
    /// Each update replaces all annotations.
    pub annotations: BTreeMap<&'static str, String>,
    /// Never later than `ends_at`, because Alertmanager would reject the alert.
    pub starts_at: Timestamp,
    /// A future time: firing until then unless repeated. A past time: resolved.
    pub ends_at: Timestamp,
    #[serde(rename = "generatorURL")]
    pub generator_url: &'static str,
}

/// The reason why a change gives no alert.
#[derive(Debug, PartialEq, Eq)]
pub enum NoAlert {
    /// A change of this kind starts, updates and ends nothing.
    NotForAlerts(String),
    /// The payload does not have the documented form.
    InvalidPayload(String),
}

/// Builds alerts at one point in time.
#[derive(Debug)]
pub struct AlertBuilder<'a> {
    /// Labels from the configuration, added to every alert.
    pub labels: &'a BTreeMap<String, String>,
    /// In whole seconds.
    pub now: Timestamp,
    /// The time until an alert resolves unless it is repeated.
    pub lifetime: SignedDuration,
}

/// The fields of a change's documented JSON that an alert needs.
#[derive(Debug, Deserialize)]
struct Change {
    kind: String,
    at: Timestamp,
    #[serde(default)]
    drill: bool,
    feed: Option<String>,
    service: Option<String>,
    message_id: Option<String>,
    occurrence: Option<u32>,
    outage_kind: Option<String>,
    began_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    seen_at: Option<Timestamp>,
    users_affected: Option<String>,
    apple_text: Option<String>,
}

/// The effect of a change on its alert.
enum Effect {
    Fires,
    /// Resolves, with this description.
    Resolves(&'static str),
    Test,
    Nothing,
}

fn effect(kind: &str, is_maintenance: bool) -> Effect {
    match kind {
        "began" | "reopened" | "worsened" | "eased" | "reminder" | "started" | "unreadable" => Effect::Fires,
        "ended" => Effect::Resolves("Apple reports the problem as fixed."),
        "withdrawn" if is_maintenance => {
            Effect::Resolves("Apple no longer lists the maintenance and does not say whether it is over.")
        }
        "withdrawn" => {
            Effect::Resolves("Apple no longer lists the problem and does not say whether it is fixed.")
        }
        "missed" => Effect::Resolves("The outage was already over when Apple first listed it."),
        "over" => Effect::Resolves("The maintenance is over."),
        "readable" => Effect::Resolves("Apple's status is readable again."),
        "test" => Effect::Test,
        // `docs/json.md` allows new kinds.
        _ => Effect::Nothing,
    }
}

impl AlertBuilder<'_> {
    /// Returns the alert for a change. `payload` is its documented JSON.
    ///
    /// # Errors
    ///
    /// The reason why there is no alert.
    pub fn change_alert(&self, payload: &str) -> Result<Alert, NoAlert> {
        let change: Change =
            serde_json::from_str(payload).map_err(|error| NoAlert::InvalidPayload(error.to_string()))?;
        let began = change.began_at.or(change.seen_at).unwrap_or(change.at);
        let fires = || self.alert(&change.subject(), change.feed(), began, self.expiry());
        let is_maintenance = change.outage_kind.as_deref().is_some_and(is_maintenance);
        let mut alert = match effect(&change.kind, is_maintenance) {
            Effect::Fires => fires(),
            Effect::Resolves(description) => {
                // With a future end, the alert would keep firing until then.
                let ended = change.ended_at.unwrap_or(change.at).min(self.now);
                let mut alert = Alert { ends_at: ended, ..fires() };
                // Alertmanager rejects an end before the start, which Apple has published at times.
                alert.ends_at = alert.ends_at.max(alert.starts_at);
                alert.annotations.insert("description", description.to_owned());
                alert
            }
            Effect::Test => self.test(change.feed()),
            Effect::Nothing => return Err(NoAlert::NotForAlerts(change.kind)),
        };
        if change.drill {
            alert.labels.insert("drill".to_owned(), "true".to_owned());
            if let Some(summary) = alert.annotations.get_mut("summary") {
                summary.insert_str(0, "DRILL: ");
            }
        }
        Ok(alert)
    }

    /// Returns the alerts that fire: ongoing outages, running maintenance, and an unreadable feed once
    /// it was announced.
    pub fn snapshot_alerts(&self, snapshot: &Snapshot) -> Vec<Alert> {
        let feed = snapshot.feed.to_string();
        let outages = snapshot.services.iter().flat_map(|service| &service.outages);
        let ongoing = outages.filter(|outage| matches!(outage.phase, Phase::Ongoing(_)));
        let mut alerts: Vec<Alert> = ongoing
            .map(|outage| {
                let began = outage.start.unwrap_or(outage.first_seen);
                self.alert(&Subject::of(outage), &feed, began, self.expiry())
            })
            .collect();
        if let FeedHealth::Unreadable { since, reason, told: true, .. } = &snapshot.health {
            alerts.push(self.alert(&Subject::Unreadable { reason }, &feed, *since, self.expiry()));
        }
        alerts
    }

    fn expiry(&self) -> Timestamp {
        self.now.checked_add(self.lifetime).unwrap_or(Timestamp::MAX)
    }

    fn alert(&self, subject: &Subject<'_>, feed: &str, began: Timestamp, ends_at: Timestamp) -> Alert {
        let mut labels = subject.labels();
        labels.push(("feed", feed.to_owned()));
        Alert {
            labels: self.with_configured(labels),
            annotations: subject.annotations(),
            // Apple may publish a future start, but the alert fires now.
            starts_at: began.min(self.now),
            ends_at,
            generator_url: Edition::of(feed).page(),
        }
    }

    fn test(&self, feed: &str) -> Alert {
        let annotations = [
            ("summary", "statusd: test alert"),
            ("description", "This is a test. No service is down. The alert resolves within a minute."),
            ("kind", "test"),
        ];
        Alert {
            labels: self.with_configured(vec![("alertname", TEST.to_owned())]),
            annotations: annotations.map(|(name, text)| (name, text.to_owned())).into(),
            starts_at: self.now,
            ends_at: self.now.checked_add(TEST_LASTS).unwrap_or(Timestamp::MAX),
            generator_url: Edition::of(feed).page(),
        }
    }

    fn with_configured(&self, own: Vec<(&str, String)>) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
        labels
    }
}

impl Change {
    fn feed(&self) -> &str {
        self.feed.as_deref().unwrap_or_default()
    }

    fn subject(&self) -> Subject<'_> {
        fn text(text: &Option<String>) -> &str {
            text.as_deref().unwrap_or_default()
        }
        match self.kind.as_str() {
            "unreadable" | "readable" => Subject::Unreadable { reason: text(&self.apple_text) },
            _ => Subject::Event {
                service: text(&self.service),
                message_id: text(&self.message_id),
                occurrence: self.occurrence.unwrap_or(1),
                kind: text(&self.outage_kind),
                users_affected: text(&self.users_affected),
                apple_text: text(&self.apple_text),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::subject::{NAME_MAX, TEXT_MAX, TROUBLE, UNREADABLE};
    use super::*;
    use crate::channel::ServiceState;
    use crate::model::{Edition, EventKind, Fault, FeedId, Outage};

    fn at(text: &str) -> Timestamp {
        format!("2026-05-05T{text}Z").parse().expect("a time")
    }

    fn build(payload: &Value) -> Result<Alert, NoAlert> {
        let labels = BTreeMap::from([("team".to_owned(), "it".to_owned())]);
        let lifetime = SignedDuration::from_mins(4);
        AlertBuilder { labels: &labels, now: at("10:02:31"), lifetime }.change_alert(&payload.to_string())
    }

    #[track_caller]
    fn alert(payload: &Value) -> Value {
        serde_json::to_value(build(payload).expect("an alert")).expect("JSON")
    }

    fn began() -> Value {
        json!({
            "version": 1,
            "at": "2026-05-05T10:02:30Z",
            "kind": "began",
            "service": "iCloud Backup",
            "message_id": "1002938",
            "occurrence": 1,
            "outage_kind": "Outage",
            "began_at": "2026-05-05T08:15:00Z",
            "ended_at": null,
            "key": "consumer/en_US/icloud%20backup/1002938/1/began",
            "feed": "consumer/en_US",
            "seen_at": "2026-05-05T10:01:45Z",
            "was_kind": null,
            "users_affected": "Some users are affected",
            "apple_text": "Users may be unable to back up\ntheir devices.",
            "did_you_mean": [],
            "text": "iCloud Backup: Apple reports an outage.",
        })
    }

    fn with(fields: Value) -> Value {
        let (mut payload, Value::Object(fields)) = (began(), fields) else { panic!("no object") };
        payload.as_object_mut().expect("an object").extend(fields);
        payload
    }

    fn outage() -> Outage {
        Outage {
            service: "iCloud Backup".to_owned(),
            message_id: "1002938".to_owned(),
            occurrence: 1,
            kind: EventKind::Outage,
            phase: Phase::Ongoing(None),
            start: Some(at("08:15:00")),
            end: None,
            first_seen: at("10:01:45"),
            users_affected: Some("Some users are affected".to_owned()),
            message: "Users may be unable to back up\ntheir devices.".to_owned(),
            counts: BTreeMap::new(),
        }
    }

    fn snapshot(outages: Vec<Outage>, health: FeedHealth) -> Snapshot {
        let service = "iCloud Backup".to_owned();
        Snapshot {
            feed: FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() },
            health,
            services: vec![ServiceState { service, is_listed: true, outages }],
        }
    }

    #[test]
    fn a_start_fires_an_alert() {
        let expected = json!({
            "labels": {
                "alertname": "AppleServiceTrouble",
                "feed": "consumer/en_US",
                "message_id": "1002938",
                "occurrence": "1",
                "service": "iCloud Backup",
                "team": "it",
            },
            "annotations": {
                "apple_text": "Users may be unable to back up their devices.",
                "description": "Some users are affected. Apple writes: \u{201c}Users may be unable to back \
                                up their devices.\u{201d}",
                "kind": "Outage",
                "summary": "iCloud Backup: Apple reports trouble (Outage)",
                "users_affected": "Some users are affected",
            },
            "startsAt": "2026-05-05T08:15:00Z",
            "endsAt": "2026-05-05T10:06:31Z",
            "generatorURL": "https://www.apple.com/support/systemstatus/",
        });
        assert_eq!(alert(&began()), expected);
    }

    #[test]
    fn a_change_and_a_snapshot_give_the_same_alert() {
        let labels = BTreeMap::from([("team".to_owned(), "it".to_owned())]);
        let lifetime = SignedDuration::from_mins(4);
        let builder = AlertBuilder { labels: &labels, now: at("10:02:31"), lifetime };
        let over = Outage { phase: Phase::Over(crate::model::OverBy::Apple), ..outage() };
        let planned = Outage { phase: Phase::Planned(None), ..outage() };
        let snapshot =
            snapshot(vec![outage(), over, planned], FeedHealth::Readable { since: at("08:00:00") });
        let alerts = builder.snapshot_alerts(&snapshot);
        assert_eq!(alerts, [build(&began()).expect("an alert")]);
    }

    #[test]
    fn later_changes_keep_the_labels() {
        let began = alert(&began());
        for fields in [
            json!({"kind": "worsened", "outage_kind": "Outage", "was_kind": "Issue"}),
            json!({"kind": "eased", "outage_kind": "Performance", "apple_text": "Better."}),
            json!({"kind": "reminder", "seen_at": "2026-05-05T11:00:00Z"}),
            json!({"kind": "ended", "ended_at": "2026-05-05T10:00:00Z"}),
            json!({"kind": "withdrawn", "users_affected": null}),
        ] {
            let other = alert(&with(fields));
            assert_eq!(other["labels"], began["labels"]);
            assert_eq!(other["startsAt"], began["startsAt"]);
        }
        let again = alert(&with(json!({"kind": "reopened", "occurrence": 2})));
        assert_ne!(again["labels"], began["labels"], "another occurrence is another alert");
    }

    #[test]
    fn an_end_resolves_the_alert() {
        for (kind, ended, ends_at) in [
            ("ended", json!("2026-05-05T10:00:00Z"), "2026-05-05T10:00:00Z"),
            ("missed", json!("2026-05-05T09:00:00Z"), "2026-05-05T09:00:00Z"),
            ("over", json!("2026-05-05T09:00:00Z"), "2026-05-05T09:00:00Z"),
            // Without an end from Apple, the time of the change counts.
            ("withdrawn", json!(null), "2026-05-05T10:02:30Z"),
            // Apple's end is in the future, or before the start.
            ("ended", json!("2026-05-06T10:00:00Z"), "2026-05-05T10:02:31Z"),
            ("ended", json!("2026-05-05T07:00:00Z"), "2026-05-05T08:15:00Z"),
        ] {
            let alert = alert(&with(json!({"kind": kind, "ended_at": ended})));
            assert_eq!(alert["endsAt"], ends_at, "{kind} {ended}");
            assert!(
                alert["annotations"]["description"].as_str().is_some_and(|text| !text.contains("writes"))
            );
        }
        let ahead = alert(&with(json!({"kind": "ended", "began_at": "2026-05-06T00:00:00Z"})));
        assert_eq!(ahead["startsAt"], "2026-05-05T10:02:31Z");
        assert_eq!(ahead["endsAt"], "2026-05-05T10:02:31Z");
    }

    #[test]
    fn maintenance_has_its_own_alert_name() {
        let fields = json!({"kind": "started", "outage_kind": "Maintenance", "users_affected": null, "apple_text": ""});
        let alert = alert(&with(fields));
        assert_eq!(alert["labels"]["alertname"], "AppleServiceMaintenance");
        assert_eq!(alert["annotations"]["summary"], "iCloud Backup: maintenance at Apple");
        assert_eq!(alert["annotations"]["description"], "Apple gives no details.");
        assert_eq!(alert["annotations"].get("users_affected"), None);
    }

    #[test]
    fn an_unreadable_feed_fires_after_its_notice_and_resolves() {
        let fields = json!({"service": null, "message_id": null, "occurrence": null, "outage_kind": null,
                          "users_affected": null, "apple_text": "HTTP 503", "feed": "developer/en_US"});
        let mut change = with(fields);
        change["kind"] = json!("unreadable");
        let fired = alert(&change);
        let labels = json!({"alertname": "AppleStatusUnreadable", "feed": "developer/en_US", "team": "it"});
        assert_eq!(fired["labels"], labels);
        assert_eq!(fired["annotations"]["description"], "Reason: HTTP 503.");
        assert_eq!(fired["generatorURL"], "https://developer.apple.com/system-status/");
        change["kind"] = json!("readable");
        change["ended_at"] = json!("2026-05-05T10:01:00Z");
        change["apple_text"] = json!("");
        let resolved = alert(&change);
        assert_eq!((&resolved["labels"], &resolved["endsAt"]), (&labels, &json!("2026-05-05T10:01:00Z")));

        let labels = BTreeMap::new();
        let lifetime = SignedDuration::from_mins(4);
        let builder = AlertBuilder { labels: &labels, now: at("10:02:31"), lifetime };
        let health = |told| FeedHealth::Unreadable {
            since: at("08:15:00"),
            fault: Fault::Apple,
            reason: "HTTP 503".to_owned(),
            told,
        };
        let alerts = builder.snapshot_alerts(&snapshot(vec![outage()], health(true)));
        let names: Vec<&str> = alerts.iter().map(|alert| alert.labels["alertname"].as_str()).collect();
        assert_eq!(names, [TROUBLE, UNREADABLE], "the outage still fires");
        assert_eq!(alerts[1].annotations["description"], "Reason: HTTP 503.");
        assert_eq!(builder.snapshot_alerts(&snapshot(Vec::new(), health(false))), []);
    }

    #[test]
    fn a_drill_is_labelled_and_a_test_resolves_by_itself() {
        let drill = alert(&with(json!({"drill": true})));
        assert_eq!(drill["labels"]["drill"], "true");
        assert_eq!(drill["annotations"]["summary"], "DRILL: iCloud Backup: Apple reports trouble (Outage)");
        assert_eq!(alert(&with(json!({"drill": false})))["labels"].get("drill"), None);

        let test =
            alert(&json!({"version": 1, "at": "2026-05-05T10:02:30Z", "kind": "test", "service": null,
                                 "key": "test/2026-05-05T10:02:30Z", "text": "This is a test."}));
        assert_eq!(test["labels"], json!({"alertname": "StatusdTest", "team": "it"}));
        assert_eq!(test["startsAt"], "2026-05-05T10:02:31Z");
        assert_eq!(test["endsAt"], "2026-05-05T10:03:31Z");
    }

    #[test]
    fn other_kinds_give_no_alert() {
        for kind in [
            "planned",
            "moved",
            "cancelled",
            "unlisted",
            "listed_again",
            "history_lost",
            "liveness",
            "a new kind",
        ] {
            let none = build(&with(json!({"kind": kind}))).expect_err(kind);
            assert_eq!(none, NoAlert::NotForAlerts(kind.to_owned()));
        }
        for wrong in [json!([]), json!({"kind": "began"}), json!({"kind": "began", "at": "soon"})] {
            assert!(matches!(build(&wrong), Err(NoAlert::InvalidPayload(_))), "{wrong}");
        }
    }

    #[test]
    fn apples_text_is_cut_and_cleaned() {
        let long = "x".repeat(9_000);
        let alert = alert(&with(
            json!({"service": "a\u{202e}b\nc", "message_id": long, "users_affected": long, "apple_text": long}),
        ));
        assert_eq!(alert["labels"]["service"], "ab c");
        assert_eq!(alert["labels"]["message_id"].as_str().map(|id| id.chars().count()), Some(NAME_MAX));
        for annotation in ["users_affected", "apple_text"] {
            let text = alert["annotations"][annotation].as_str().expect("a text");
            assert_eq!(text.chars().count(), TEXT_MAX, "{annotation}");
        }
    }
}
