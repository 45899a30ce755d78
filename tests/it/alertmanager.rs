//! The Alertmanager channel against a scripted server (every response) and a real Alertmanager (the
//! resulting alerts).

use std::collections::BTreeMap;
use std::mem::discriminant;

use crate::common::alertmanager::Alertmanager as Real;
use crate::common::http_server::{HttpServer, Nobody, Reply, Request};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use statusd::channel::Transport as _;
use statusd::channel::alertmanager::{Alertmanager, Settings};
use statusd::channel::{Notice, SendOutcome, ServiceState, Snapshot, http_answer};
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
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
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
        urls: vec![url.to_owned()],
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
fn check_delivered(answer: &SendOutcome) {
    assert!(matches!(answer, SendOutcome::Delivered { .. }), "{answer:?}");
}

// Responses of a scripted server.

/// Sends one notice. Returns the outcome of this reply and the request.
async fn exchange(reply: Reply) -> (SendOutcome, Request) {
    let mut peer = HttpServer::start([reply]).await;
    let answer = with_password(&peer.url(BASE)).send(&began()).await;
    let request = peer.next().await;
    assert!(peer.is_quiet(), "one send is one request");
    check_words(answer.words());
    (answer, request)
}

#[track_caller]
fn check_words(words: &str) {
    for secret in [PASSWORD, "t0ken", "T000PATHSECRET"] {
        assert!(!words.contains(secret), "{words}");
    }
    assert!(words.starts_with("127.0.0.1") && !words.contains(char::is_control), "{words}");
}

#[tokio::test]
async fn the_request_is_as_documented() {
    let (answer, request) = exchange(Reply::status(200)).await;
    assert_eq!(
        answer,
        SendOutcome::Delivered { receipt: None, words: "127.0.0.1 answers 200 OK".to_owned() }
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
async fn a_token_is_sent_as_such() {
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
async fn every_status_has_its_meaning() {
    let statuses: Vec<u16> = (100..=599).collect();
    let mut peer = HttpServer::start(statuses.iter().map(|status| Reply::status(*status))).await;
    let mut channel = channel(&[&peer.url("")]);
    for status in statuses {
        let answer = channel.send(&began()).await;
        peer.next().await;
        let is_interim = (100..=199).contains(&status) && status != 101;
        if is_interim {
            // An HTTP client waits on for the final one, and the connection ends.
            assert!(matches!(answer, SendOutcome::Transient { reached: true, .. }), "{status}: {answer:?}");
        } else {
            let expected = http_answer(status, None, Timestamp::now());
            assert_eq!(discriminant(&answer), discriminant(&expected), "{status}: {answer:?}");
            assert_eq!(answer.words(), format!("127.0.0.1 {}", expected.words()));
        }
    }
}

#[tokio::test]
async fn a_wish_to_wait_is_passed_on() {
    let (answer, _) = exchange(Reply::status(429).with_header("Retry-After", "3600")).await;
    assert!(
        matches!(answer, SendOutcome::Transient { after_s: Some(3600), reached: true, .. }),
        "{answer:?}"
    );
    let (answer, _) =
        exchange(Reply::status(503).with_header("Retry-After", "Fri, 01 Jan 2100 00:00:00 GMT")).await;
    assert!(matches!(answer, SendOutcome::Transient { after_s: Some(1..), .. }), "{answer:?}");
    let (answer, _) = exchange(Reply::status(503).with_header("Retry-After", "9".repeat(99))).await;
    assert!(matches!(answer, SendOutcome::Transient { after_s: Some(u64::MAX), .. }), "{answer:?}");
}

#[tokio::test]
async fn what_it_says_is_repeated_without_secrets() {
    let body = format!("\"invalid alert at {BASE} for {PASSWORD}\"\n");
    let (answer, _) = exchange(Reply::status(400).with_body(body)).await;
    let words = "127.0.0.1 answers 400 Bad Request; the receiver does not understand the message; check that \
                 the address takes this kind. It says: \"invalid alert at *** for ***\"";
    assert_eq!(answer, SendOutcome::Permanent { words: words.to_owned() });
}

#[tokio::test]
async fn only_a_peer_that_was_never_reached_counts_as_such() {
    let nobody = Nobody::new();
    let answer = with_password(&format!("http://{}{BASE}", nobody.address)).send(&began()).await;
    let SendOutcome::Transient { after_s: None, reached: false, words } = &answer else {
        panic!("{answer:?}")
    };
    check_words(words);
    assert!(words.contains("cannot be reached: connection refused"), "{words}");
    for reply in [Reply::ResetBeforeReading, Reply::ResetAfterReading] {
        let (answer, _) = exchange(reply).await;
        assert!(matches!(answer, SendOutcome::Transient { after_s: None, reached: true, .. }), "{answer:?}");
    }
}

#[tokio::test]
async fn a_peer_that_never_answers_is_left_after_the_deadline() {
    let mut peer = HttpServer::start([Reply::Never]).await;
    let mut channel = channel(&[&peer.url("")]);
    let notice = began();
    let silence = async {
        peer.next().await;
        // Only the deadline is left, so the paused clock jumps to it.
        tokio::time::pause();
    };
    let (answer, ()) = tokio::join!(channel.send(&notice), silence);
    let words = "127.0.0.1 gave no answer within 20 s".to_owned();
    assert_eq!(answer, SendOutcome::Transient { after_s: None, reached: true, words });
}

#[tokio::test]
async fn a_replica_that_hangs_keeps_nobody_waiting() {
    let mut hangs = HttpServer::start([Reply::Never]).await;
    let mut works = HttpServer::start([Reply::status(200)]).await;
    let mut channel = channel(&[&hangs.url(""), &works.url("")]);
    let notice = began();
    let silence = async {
        assert_eq!(hangs.next().await, with_host_of(&hangs, works.next().await), "the same to both");
        tokio::time::pause();
    };
    let (answer, ()) = tokio::join!(channel.send(&notice), silence);
    check_delivered(&answer);
    let words = format!("1 of 2 replicas took it; {} has not answered yet. ", hangs.address);
    assert!(answer.words().starts_with(&words), "{answer:?}");
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
async fn nothing_is_sent_where_there_is_nothing_to_say() {
    let peer = HttpServer::start([Reply::status(500)]).await;
    let mut channel = channel(&[&peer.url("")]);
    for kind in ["planned", "unlisted", "listed_again", "history_lost", "liveness", "brand_new"] {
        let answer = channel.send(&notice(kind, json!({}))).await;
        let words = format!("not sent: there is no alert for \u{201c}{kind}\u{201d}");
        assert_eq!(answer, SendOutcome::Delivered { receipt: None, words });
    }
    let mut over = snapshot();
    over.services[0].outages.clear();
    check_delivered(&channel.sync_state(&over).await);
    let nonsense = Notice { payload: "no JSON".to_owned(), ..began() };
    assert!(matches!(channel.send(&nonsense).await, SendOutcome::Permanent { .. }));
    assert!(peer.is_quiet());
}

// Alerts in a real Alertmanager.

/// What the webhook of a real one was told: firing or resolved, and the one alert.
async fn told(hook: &mut HttpServer) -> (String, Value) {
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
async fn an_outage_fires_once_and_its_end_resolves_it() {
    let mut hook = hook().await;
    let real = Real::start(&hook.url("/hook"));
    let mut channel = channel(&[&real.url()]);

    check_delivered(&channel.send(&began()).await);
    let (status, alert) = told(&mut hook).await;
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
    assert_eq!(alerts.len(), 1, "all of it is one alert: {alerts:#?}");
    assert_eq!(alerts[0]["annotations"]["kind"], "Outage");
    let (updated, ends) = (time(&alerts[0]["updatedAt"]), time(&alerts[0]["endsAt"]));
    let lasts_s = ends.duration_since(updated).as_secs();
    assert!((1..=40).contains(&lasts_s), "four repetitions, less what it took: {alerts:#?}");

    let ended_at = ago(1);
    let end = json!({"outage_kind": "Outage", "ended_at": ended_at});
    check_delivered(&channel.send(&notice("ended", end)).await);
    let (status, alert) = told(&mut hook).await;
    assert_eq!(status, "resolved", "the first thing told after the start is the end");
    assert_eq!((&alert["labels"], time(&alert["endsAt"])), (&labels, ended_at));
    assert_eq!(alert["annotations"]["description"], "Apple says it is fixed.");
    assert_eq!(real.alerts().await, [] as [Value; 0]);
}

#[tokio::test]
async fn what_was_over_before_it_was_seen_is_taken_and_told_nobody() {
    let mut hook = hook().await;
    let real = Real::start(&hook.url("/hook"));
    let mut channel = channel(&[&real.url()]);
    let missed = json!({"message_id": "1", "ended_at": ago(90)});
    check_delivered(&channel.send(&notice("missed", missed)).await);
    check_delivered(&channel.send(&began()).await);
    let (status, alert) = told(&mut hook).await;
    assert_eq!((status.as_str(), &alert["labels"]["message_id"]), ("firing", &json!("1002938")));
    assert_eq!(real.alerts().await.len(), 1);
}

#[tokio::test]
async fn strange_ends_are_taken() {
    let mut hook = hook().await;
    let real = Real::start(&hook.url("/hook"));
    let mut channel = channel(&[&real.url()]);
    for ended_at in [json!(null), json!(ago(-600)), json!(ago(9_000))] {
        check_delivered(&channel.send(&began()).await);
        assert_eq!(told(&mut hook).await.0, "firing");
        check_delivered(&channel.send(&notice("withdrawn", json!({"ended_at": ended_at}))).await);
        assert_eq!(told(&mut hook).await.0, "resolved", "{ended_at}");
    }
}

#[tokio::test]
async fn a_restarted_alertmanager_is_told_again_what_goes_on() {
    let mut hook = hook().await;
    let mut real = Real::start(&hook.url("/hook"));
    let mut channel = channel(&[&real.url()]);
    check_delivered(&channel.send(&began()).await);
    told(&mut hook).await;

    real.kill();
    let answer = channel.sync_state(&snapshot()).await;
    assert!(matches!(answer, SendOutcome::Transient { reached: false, .. }), "{answer:?}");
    real.restart();
    assert_eq!(real.alerts().await, [] as [Value; 0], "it keeps none");
    check_delivered(&channel.sync_state(&snapshot()).await);
    let alerts = real.alerts().await;
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0]["labels"]["team"], "it");
    let end = json!({"ended_at": ago(1)});
    check_delivered(&channel.send(&notice("ended", end)).await);
    assert_eq!(real.alerts().await, [] as [Value; 0], "the end still finds it");
}

#[tokio::test]
async fn one_replica_is_enough_and_the_other_catches_up() {
    let (mut hook, other_hook) = (hook().await, hook().await);
    let lives = Real::start(&hook.url("/hook"));
    let mut dies = Real::start(&other_hook.url("/hook"));
    dies.kill();
    let mut channel = channel(&[&dies.url(), &lives.url()]);

    let answer = channel.send(&began()).await;
    check_delivered(&answer);
    let words = format!("1 of 2 replicas took it; {} cannot be reached: connection refused", dies.address);
    assert!(answer.words().starts_with(&words), "{answer:?}");
    assert_eq!(told(&mut hook).await.0, "firing");

    dies.restart();
    let answer = channel.sync_state(&snapshot()).await;
    assert_eq!(answer.words(), "all 2 replicas took it");
    let labels = |alerts: Vec<Value>| alerts.into_iter().map(|alert| alert["labels"].clone());
    let (here, there): (Vec<_>, Vec<_>) =
        (labels(lives.alerts().await).collect(), labels(dies.alerts().await).collect());
    assert_eq!((here.len(), &here), (1, &there));
}

#[tokio::test]
async fn blindness_drills_and_tests_are_alerts_of_their_own() {
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
    assert_eq!(lasts_s, 60, "the test ends by itself");

    check_delivered(&channel.send(&bare("readable")).await);
    assert_eq!(real.alerts().await.len(), 2);
}
