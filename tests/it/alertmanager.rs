//! The Alertmanager channel against a scripted server (every response) and a real Alertmanager (the
//! resulting alerts).

use std::collections::BTreeMap;
use std::mem::discriminant;

use crate::common::alertmanager::Alertmanager as Real;
use crate::common::http_server::{ClosedPort, HttpServer, Reply, Request};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use statusd::channel::Transport as _;
use statusd::channel::alertmanager::{Alertmanager, Settings};
use statusd::channel::settings::RedactedUrl;
use statusd::channel::{Notice, SendOutcome, ServiceState, Snapshot, classify_status};
use statusd::model::{Edition, EventKind, FeedHealth, FeedId, Outage, Phase, Severity};
use statusd::secret::Secret;

const PASSWORD: &str = "p@ss wörd:t0kent0ken";
const BASE: &str = "/T000PATHSECRET/";

/// A time in whole seconds, as in statusd.
fn ago(minutes: i64) -> Timestamp {
    let now = Timestamp::from_second(Timestamp::now().as_second()).expect("a time");
    now - SignedDuration::from_mins(minutes)
}

fn payload(kind: &str, fields: Value) -> Value {
    let mut payload = json!({
        "version": 1,
        "at": ago(60),
        "kind": kind,
        "service": "iCloud Backup",
        "message_id": "1002938",
        "occurrence": 1,
        "outage_kind": "Issue",
        "began_at": ago(120),
        "ended_at": null,
        "key": "consumer/en_US/icloud%20backup/1002938/1/began",
        "feed": "consumer/en_US",
        "seen_at": ago(61),
        "was_kind": null,
        "users_affected": "Some users are affected",
        "apple_text": "Users may be unable to back up.",
        "did_you_mean": [],
        "text": "Issue: iCloud Backup.",
        "drill": false,
    });
    let Value::Object(fields) = fields else { panic!("no object") };
    payload.as_object_mut().expect("an object").extend(fields);
    payload
}

fn notice(kind: &str, fields: Value) -> Notice {
    Notice {
        key: "consumer/en_US/icloud%20backup/1002938/1/began".to_owned(),
        title: "iCloud Backup is down".to_owned(),
        body: String::new(),
        severity: Severity::Alert,
        payload: payload(kind, fields).to_string(),
        replaces: None,
        follows: None,
    }
}

fn began() -> Notice {
    notice("began", json!({}))
}

fn snapshot() -> Snapshot {
    let outage = Outage {
        service: "iCloud Backup".to_owned(),
        message_id: "1002938".to_owned(),
        occurrence: 1,
        kind: EventKind::Issue,
        phase: Phase::Ongoing(None),
        start: Some(ago(120)),
        end: None,
        first_seen: ago(61),
        users_affected: Some("Some users are affected".to_owned()),
        message: "Users may be unable to back up.".to_owned(),
        counts: BTreeMap::new(),
    };
    Snapshot {
        feed: FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() },
        health: FeedHealth::Readable { since: ago(600) },
        services: vec![ServiceState {
            service: "iCloud Backup".to_owned(),
            is_listed: true,
            outages: vec![outage],
        }],
    }
}

fn channel(urls: &[&str]) -> Alertmanager {
    let settings = Settings {
        urls: urls.iter().map(|url| RedactedUrl::new(*url)).collect(),
        bearer_token: None,
        bearer_token_file: None,
        user: None,
        password: None,
        password_file: None,
        labels: BTreeMap::from([("team".to_owned(), "it".to_owned())]),
        repeat_s: 10,
    };
    Alertmanager::new(&settings, &|_| panic!("no file to read")).expect("a channel")
}

fn with_password(url: &str) -> Alertmanager {
    let settings = Settings {
        urls: vec![RedactedUrl::new(url)],
        bearer_token: None,
        bearer_token_file: None,
        user: Some("statusd".to_owned()),
        password: None,
        password_file: Some("/run/credentials/password".into()),
        labels: BTreeMap::new(),
        repeat_s: 60,
    };
    Alertmanager::new(&settings, &|_| Ok(Secret::new(format!("{PASSWORD}\n")))).expect("a channel")
}

#[track_caller]
fn check_delivered(outcome: &SendOutcome) {
    assert!(matches!(outcome, SendOutcome::Delivered { .. }), "{outcome:?}");
}

// Responses of a scripted server.

/// Sends one notice. Returns the outcome of this reply and the request.
async fn exchange(reply: Reply) -> (SendOutcome, Request) {
    let mut peer = HttpServer::start([reply]).await;
    let outcome = with_password(&peer.url(BASE)).send(&began()).await;
    let request = peer.next().await;
    assert!(peer.is_quiet(), "one send is one request");
    check_detail(outcome.detail());
    (outcome, request)
}

#[track_caller]
fn check_detail(detail: &str) {
    for secret in [PASSWORD, "t0ken", "T000PATHSECRET"] {
        assert!(!detail.contains(secret), "{detail}");
    }
    assert!(detail.starts_with("127.0.0.1") && !detail.contains(char::is_control), "{detail}");
}

#[tokio::test]
async fn request_matches_the_documentation() {
    let (outcome, request) = exchange(Reply::status(200)).await;
    assert_eq!(
        outcome,
        SendOutcome::Delivered { receipt: None, detail: "127.0.0.1 returned 200 OK".to_owned() }
    );
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/T000PATHSECRET/api/v2/alerts"));
    for (header, value) in [
        ("content-type", "application/json"),
        ("user-agent", concat!("statusd/", env!("CARGO_PKG_VERSION"))),
        ("authorization", "Basic c3RhdHVzZDpwQHNzIHfDtnJkOnQwa2VudDBrZW4="),
    ] {
        assert_eq!(request.header(header), Some(value), "{header}");
    }
    let alerts: Value = serde_json::from_slice(&request.body).expect("JSON");
    assert_eq!(alerts.as_array().map(Vec::len), Some(1), "{alerts}");
    assert_eq!(alerts[0]["labels"]["service"], "iCloud Backup");
}

#[tokio::test]
async fn sends_a_bearer_token() {
    let mut peer = HttpServer::start([Reply::status(200)]).await;
    let url = peer.url("");
    let settings: Settings =
        toml::from_str(&format!("urls = ['{url}']\nbearer_token = 't0kent0ken'")).expect("settings");
    let mut channel = Alertmanager::new(&settings, &|_| panic!("no file to read")).expect("a channel");
    check_delivered(&channel.send(&began()).await);
    let request = peer.next().await;
    assert_eq!(request.header("authorization"), Some("Bearer t0kent0ken"));
    assert_eq!(request.target, "/api/v2/alerts");
}

#[tokio::test]
async fn classifies_every_http_status() {
    let statuses: Vec<u16> = (100..=599).collect();
    let mut peer = HttpServer::start(statuses.iter().map(|status| Reply::status(*status))).await;
    let mut channel = channel(&[&peer.url("")]);
    for status in statuses {
        let outcome = channel.send(&began()).await;
        peer.next().await;
        let is_interim = (100..=199).contains(&status) && status != 101;
        if is_interim {
            // The client waits for the final response until the connection ends.
            assert!(matches!(outcome, SendOutcome::Transient { reached: true, .. }), "{status}: {outcome:?}");
        } else {
            let expected = classify_status(status, None, Timestamp::now());
            assert_eq!(discriminant(&outcome), discriminant(&expected), "{status}: {outcome:?}");
            assert_eq!(outcome.detail(), format!("127.0.0.1 {}", expected.detail()));
        }
    }
}

#[tokio::test]
async fn honours_retry_after() {
    let (outcome, _) = exchange(Reply::status(429).with_header("Retry-After", "3600")).await;
    assert!(
        matches!(outcome, SendOutcome::Transient { after_s: Some(3600), reached: true, .. }),
        "{outcome:?}"
    );
    let (outcome, _) =
        exchange(Reply::status(503).with_header("Retry-After", "Fri, 01 Jan 2100 00:00:00 GMT")).await;
    assert!(matches!(outcome, SendOutcome::Transient { after_s: Some(1..), .. }), "{outcome:?}");
    let (outcome, _) = exchange(Reply::status(503).with_header("Retry-After", "9".repeat(99))).await;
    assert!(matches!(outcome, SendOutcome::Transient { after_s: Some(u64::MAX), .. }), "{outcome:?}");
}

#[tokio::test]
async fn quotes_the_response_without_secrets() {
    let body = format!("\"invalid alert at {BASE} for {PASSWORD}\"\n");
    let (outcome, _) = exchange(Reply::status(400).with_body(body)).await;
    let detail = "127.0.0.1 returned 400 Bad Request; the server cannot read the message; check that \
                 the address matches the kind of channel. Response: \"invalid alert at *** for ***\"";
    assert_eq!(outcome, SendOutcome::Permanent { detail: detail.to_owned() });
}

#[tokio::test]
async fn distinguishes_unreachable_servers_from_reset_connections() {
    let closed_port = ClosedPort::new();
    let outcome = with_password(&format!("http://{}{BASE}", closed_port.address)).send(&began()).await;
    let SendOutcome::Transient { after_s: None, reached: false, detail } = &outcome else {
        panic!("{outcome:?}")
    };
    check_detail(detail);
    assert!(detail.contains("cannot be reached: connection refused"), "{detail}");
    for reply in [Reply::ResetBeforeReading, Reply::ResetAfterReading] {
        let (outcome, _) = exchange(reply).await;
        assert!(
            matches!(outcome, SendOutcome::Transient { after_s: None, reached: true, .. }),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn times_out_if_the_server_never_responds() {
    let mut peer = HttpServer::start([Reply::Never]).await;
    let mut channel = channel(&[&peer.url("")]);
    let notice = began();
    let silence = async {
        peer.next().await;
        // Only the deadline is left, so the paused clock jumps to it.
        tokio::time::pause();
    };
    let (outcome, ()) = tokio::join!(channel.send(&notice), silence);
    let detail = "127.0.0.1 did not respond within 20 s".to_owned();
    assert_eq!(outcome, SendOutcome::Transient { after_s: None, reached: true, detail });
}

#[tokio::test]
async fn hanging_replica_does_not_delay_the_other() {
    let mut hangs = HttpServer::start([Reply::Never]).await;
    let mut works = HttpServer::start([Reply::status(200)]).await;
    let mut channel = channel(&[&hangs.url(""), &works.url("")]);
    let notice = began();
    let silence = async {
        assert_eq!(hangs.next().await, with_host_of(&hangs, works.next().await), "the same to both");
        tokio::time::pause();
    };
    let (outcome, ()) = tokio::join!(channel.send(&notice), silence);
    check_delivered(&outcome);
    let detail = format!("1 of 2 replicas accepted it; {} has not responded yet. ", hangs.address);
    assert!(outcome.detail().starts_with(&detail), "{outcome:?}");
}

/// Returns `request` with the Host header of `peer`.
fn with_host_of(peer: &HttpServer, mut request: Request) -> Request {
    for (name, value) in &mut request.headers {
        if name == "host" {
            *value = peer.address.to_string();
        }
    }
    request
}

#[tokio::test]
async fn sends_nothing_for_kinds_without_an_alert() {
    let peer = HttpServer::start([Reply::status(500)]).await;
    let mut channel = channel(&[&peer.url("")]);
    for kind in ["planned", "unlisted", "listed_again", "history_lost", "liveness", "brand_new"] {
        let outcome = channel.send(&notice(kind, json!({}))).await;
        let detail = format!("not sent: changes of kind \u{201c}{kind}\u{201d} give no alert");
        assert_eq!(outcome, SendOutcome::Delivered { receipt: None, detail });
    }
    let mut over = snapshot();
    over.services[0].outages.clear();
    check_delivered(&channel.sync_state(&over).await);
    let nonsense = Notice { payload: "no JSON".to_owned(), ..began() };
    assert!(matches!(channel.send(&nonsense).await, SendOutcome::Permanent { .. }));
    assert!(peer.is_quiet());
}

// Alerts in a real Alertmanager.

/// Waits for a webhook notification. Returns its status (firing or resolved) and its only alert.
async fn webhook_alert(hook: &mut HttpServer) -> (String, Value) {
    let request = hook.next().await;
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    assert_eq!(body["alerts"].as_array().map(Vec::len), Some(1), "{body}");
    (body["status"].as_str().expect("a status").to_owned(), body["alerts"][0].clone())
}

async fn hook() -> HttpServer {
    HttpServer::start([Reply::status(200)]).await
}

fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no time"))
}

#[tokio::test]
async fn outage_fires_once_and_resolves_at_its_end() {
    let mut hook = hook().await;
    let real = Real::start(&hook.url("/hook"));
    let mut channel = channel(&[&real.url()]);

    check_delivered(&channel.send(&began()).await);
    let (status, alert) = webhook_alert(&mut hook).await;
    assert_eq!(status, "firing");
    let labels = json!({
        "alertname": "AppleServiceTrouble",
        "feed": "consumer/en_US",
        "message_id": "1002938",
        "occurrence": "1",
        "service": "iCloud Backup",
        "team": "it",
    });
    assert_eq!(alert["labels"], labels);
    assert_eq!(alert["annotations"]["summary"], "iCloud Backup: Apple reports trouble (Issue)");
    assert_eq!(alert["generatorURL"], "https://www.apple.com/support/systemstatus/");

    check_delivered(&channel.send(&began()).await);
    check_delivered(&channel.sync_state(&snapshot()).await);
    let worse = json!({"outage_kind": "Outage", "was_kind": "Issue"});
    check_delivered(&channel.send(&notice("worsened", worse)).await);
    let alerts = real.alerts().await;
    assert_eq!(alerts.len(), 1, "one alert for all of them: {alerts:#?}");
    assert_eq!(alerts[0]["annotations"]["kind"], "Outage");
    let (updated, ends) = (time(&alerts[0]["updatedAt"]), time(&alerts[0]["endsAt"]));
    let lasts_s = ends.duration_since(updated).as_secs();
    assert!((1..=40).contains(&lasts_s), "at most four repetitions: {alerts:#?}");

    let ended_at = ago(1);
    let end = json!({"outage_kind": "Outage", "ended_at": ended_at});
    check_delivered(&channel.send(&notice("ended", end)).await);
    let (status, alert) = webhook_alert(&mut hook).await;
    assert_eq!(status, "resolved", "no other notification comes between start and end");
    assert_eq!((&alert["labels"], time(&alert["endsAt"])), (&labels, ended_at));
    assert_eq!(alert["annotations"]["description"], "Apple reports the problem as fixed.");
    assert_eq!(real.alerts().await, [] as [Value; 0]);
}

#[tokio::test]
async fn missed_outage_is_accepted_without_a_notification() {
    let mut hook = hook().await;
    let real = Real::start(&hook.url("/hook"));
    let mut channel = channel(&[&real.url()]);
    let missed = json!({"message_id": "1", "ended_at": ago(90)});
    check_delivered(&channel.send(&notice("missed", missed)).await);
    check_delivered(&channel.send(&began()).await);
    let (status, alert) = webhook_alert(&mut hook).await;
    assert_eq!((status.as_str(), &alert["labels"]["message_id"]), ("firing", &json!("1002938")));
    assert_eq!(real.alerts().await.len(), 1);
}

#[tokio::test]
async fn accepts_missing_and_future_ends() {
    let mut hook = hook().await;
    let real = Real::start(&hook.url("/hook"));
    let mut channel = channel(&[&real.url()]);
    for ended_at in [json!(null), json!(ago(-600)), json!(ago(9_000))] {
        check_delivered(&channel.send(&began()).await);
        assert_eq!(webhook_alert(&mut hook).await.0, "firing");
        check_delivered(&channel.send(&notice("withdrawn", json!({"ended_at": ended_at}))).await);
        assert_eq!(webhook_alert(&mut hook).await.0, "resolved", "{ended_at}");
    }
}

#[tokio::test]
async fn resends_ongoing_alerts_after_a_restart() {
    let mut hook = hook().await;
    let mut real = Real::start(&hook.url("/hook"));
    let mut channel = channel(&[&real.url()]);
    check_delivered(&channel.send(&began()).await);
    webhook_alert(&mut hook).await;

    real.kill();
    let outcome = channel.sync_state(&snapshot()).await;
    assert!(matches!(outcome, SendOutcome::Transient { reached: false, .. }), "{outcome:?}");
    real.restart();
    assert_eq!(real.alerts().await, [] as [Value; 0], "a restart loses all alerts");
    check_delivered(&channel.sync_state(&snapshot()).await);
    let alerts = real.alerts().await;
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0]["labels"]["team"], "it");
    let end = json!({"ended_at": ago(1)});
    check_delivered(&channel.send(&notice("ended", end)).await);
    assert_eq!(real.alerts().await, [] as [Value; 0], "the end still resolves the alert");
}

#[tokio::test]
async fn one_replica_suffices_and_the_other_catches_up() {
    let (mut hook, other_hook) = (hook().await, hook().await);
    let lives = Real::start(&hook.url("/hook"));
    let mut dies = Real::start(&other_hook.url("/hook"));
    dies.kill();
    let mut channel = channel(&[&dies.url(), &lives.url()]);

    let outcome = channel.send(&began()).await;
    check_delivered(&outcome);
    let detail =
        format!("1 of 2 replicas accepted it; {} cannot be reached: connection refused", dies.address);
    assert!(outcome.detail().starts_with(&detail), "{outcome:?}");
    assert_eq!(webhook_alert(&mut hook).await.0, "firing");

    dies.restart();
    let outcome = channel.sync_state(&snapshot()).await;
    assert_eq!(outcome.detail(), "all 2 replicas accepted it");
    let labels = |alerts: Vec<Value>| alerts.into_iter().map(|alert| alert["labels"].clone());
    let (here, there): (Vec<_>, Vec<_>) =
        (labels(lives.alerts().await).collect(), labels(dies.alerts().await).collect());
    assert_eq!((here.len(), &here), (1, &there));
}

#[tokio::test]
async fn unreadable_feed_drills_and_tests_are_separate_alerts() {
    let hook = hook().await;
    let real = Real::start(&hook.url("/hook"));
    let mut channel = channel(&[&real.url()]);
    let bare = |kind: &str| {
        let nothing = json!({"service": null, "message_id": null, "occurrence": null, "outage_kind": null,
                             "users_affected": null, "apple_text": "HTTP 503"});
        notice(kind, nothing)
    };
    check_delivered(&channel.send(&bare("unreadable")).await);
    check_delivered(&channel.send(&notice("began", json!({"drill": true}))).await);
    check_delivered(&channel.send(&bare("test")).await);
    let alerts = real.alerts().await;
    let names: Vec<&str> =
        alerts.iter().map(|alert| alert["labels"]["alertname"].as_str().expect("a name")).collect();
    assert_eq!(names, ["AppleServiceTrouble", "AppleStatusUnreadable", "StatusdTest"]);
    assert_eq!(alerts[0]["labels"]["drill"], "true");
    let summary = "DRILL: iCloud Backup: Apple reports trouble (Issue)";
    assert_eq!(alerts[0]["annotations"]["summary"], summary);
    let lasts_s = time(&alerts[2]["endsAt"]).duration_since(time(&alerts[2]["startsAt"])).as_secs();
    assert_eq!(lasts_s, 60, "the test alert expires");

    check_delivered(&channel.send(&bare("readable")).await);
    assert_eq!(real.alerts().await.len(), 2);
}
