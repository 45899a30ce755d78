//! The MQTT channel against a real mosquitto, and against servers that are not brokers.

use crate::common;
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::common::apple::Papers;
use crate::common::http_server::Nobody;
use crate::common::mosquitto::{Listener, Message, Mosquitto, retained};
use crate::common::wire::Wire;
use jiff::Timestamp;
use serde_json::{Value, json};
use statusd::channel::Transport as _;
use statusd::channel::mqtt::{Mqtt, Settings};
use statusd::channel::{Notice, SendOutcome, ServiceState, Snapshot};
use statusd::model::{Edition, EventKind, FeedHealth, FeedId, Outage, Phase, Severity};
use statusd::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PASSWORD: &str = "t0kent0kent0ken";
const PAYLOAD: &str =
    r#"{"version":1,"kind":"began","key":"consumer/en_US/icloud%20backup/1002938/1/began"}"#;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn notice() -> Notice {
    Notice {
        key: "consumer/en_US/icloud%20backup/1002938/1/began".to_owned(),
        title: "iCloud Backup is down".to_owned(),
        body: String::new(),
        severity: Severity::Alert,
        payload: PAYLOAD.to_owned(),
        replaces: None,
        follows: None,
    }
}

fn outage(service: &str) -> Outage {
    Outage {
        service: service.to_owned(),
        message_id: "1002938".to_owned(),
        occurrence: 1,
        kind: EventKind::Outage,
        phase: Phase::Ongoing(None),
        start: Some(at("2026-05-05T08:15:00Z")),
        end: None,
        first_seen: at("2026-05-05T10:01:45Z"),
        users_affected: None,
        message: "Users may be unable to back up.".to_owned(),
        counts: BTreeMap::new(),
    }
}

/// A snapshot of these services. A `!` marks a service that is down.
fn snapshot(services: &[&str]) -> Snapshot {
    let standing = |name: &&str| {
        let (service, is_down) = match name.strip_suffix('!') {
            Some(service) => (service, true),
            None => (*name, false),
        };
        let outages = if is_down { vec![outage(service)] } else { Vec::new() };
        ServiceState { service: service.to_owned(), is_listed: true, outages }
    };
    Snapshot {
        feed: FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() },
        health: FeedHealth::Readable { since: at("2026-05-05T08:00:00Z") },
        services: services.iter().map(standing).collect(),
    }
}

fn settings(url: &str) -> Settings {
    toml::from_str(&format!("url = '{url}'")).expect("settings")
}

fn made(settings: &Settings) -> Mqtt {
    Mqtt::new(settings, &|_| Ok(Secret::new(PASSWORD))).expect("a channel")
}

fn channel(port: u16) -> Mqtt {
    made(&settings(&format!("mqtt://127.0.0.1:{port}")))
}

fn with_password(port: u16) -> Mqtt {
    let url = format!("mqtt://127.0.0.1:{port}");
    made(&Settings {
        user: Some("statusd".to_owned()),
        password_file: Some("/run/credentials/password".into()),
        ..settings(&url)
    })
}

#[track_caller]
fn check_delivered(answer: &SendOutcome) {
    assert!(matches!(answer, SendOutcome::Delivered { .. }), "{answer:?}");
}

#[track_caller]
fn check_retry(answer: &SendOutcome, reached: bool, words: &str) {
    let SendOutcome::Transient { after_s: None, reached: was_reached, words: said } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(*was_reached, reached, "{answer:?}");
    assert!(said.starts_with("127.0.0.1 ") && said.contains(words), "{answer:?}");
}

fn state(retained: &BTreeMap<String, String>, slug: &str) -> Value {
    let topic = format!("statusd/service/{slug}/state");
    let payload = retained.get(&topic).unwrap_or_else(|| panic!("{topic} is not in {retained:#?}"));
    serde_json::from_str(payload).expect("JSON")
}

/// Until the broker is told that statusd is there, which is said behind all states.
async fn online(listener: &mut Listener) {
    availability(listener, "online").await;
}

/// The next message that says so. Being there may be said more than once.
async fn availability(listener: &mut Listener, payload: &str) -> Message {
    listener.until(|message| message.topic == "statusd/availability" && message.payload == payload).await
}

#[tokio::test]
async fn states_and_sensors_are_retained() {
    let broker = Mosquitto::start();
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&["iCloud Backup!", "Photos"])).await);

    let all = retained(broker.port).await;
    let topics: Vec<&str> = all.keys().map(String::as_str).collect();
    let expected = [
        "homeassistant/binary_sensor/statusd_icloud_backup/config",
        "homeassistant/binary_sensor/statusd_photos/config",
        "statusd/availability",
        "statusd/service/icloud_backup/state",
        "statusd/service/photos/state",
    ];
    assert_eq!(topics, expected);
    assert_eq!(all["statusd/availability"], "online");
    assert_eq!(state(&all, "icloud_backup")["state"], "problem");
    assert_eq!(state(&all, "icloud_backup")["since"], "2026-05-05T08:15:00Z");
    assert_eq!(state(&all, "photos")["state"], "ok");
    let sensor: Value =
        serde_json::from_str(&all["homeassistant/binary_sensor/statusd_photos/config"]).expect("JSON");
    assert_eq!(sensor["state_topic"], "statusd/service/photos/state");
    assert_eq!(sensor["availability_topic"], "statusd/availability");
}

#[tokio::test]
async fn only_what_differs_is_published_again() {
    let broker = Mosquitto::start();
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&["iCloud Backup!", "Photos"])).await);
    let mut listener = Listener::start(broker.port).await;
    listener.so_far().await;
    check_delivered(&channel.sync_state(&snapshot(&["iCloud Backup", "Photos"])).await);
    let heard = listener.so_far().await;
    let topics: Vec<&str> = heard.iter().map(|message| message.topic.as_str()).collect();
    assert_eq!(topics, ["statusd/service/icloud_backup/state", "statusd/availability"]);
}

#[tokio::test]
async fn a_change_is_published_once_and_confirmed() {
    let broker = Mosquitto::start();
    let mut listener = Listener::start(broker.port).await;
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&["Photos"])).await);
    let answer = channel.send(&notice()).await;
    assert_eq!(answer, SendOutcome::Delivered { receipt: None, words: "127.0.0.1 confirmed it".to_owned() });
    let expected =
        Message { topic: "statusd/change".to_owned(), payload: PAYLOAD.to_owned(), retain: false, qos: 1 };
    assert_eq!(listener.next("statusd/change").await, expected);
    assert!(!listener.so_far().await.contains(&expected));
    assert!(!retained(broker.port).await.contains_key("statusd/change"));
}

#[tokio::test]
async fn many_services_and_long_changes_fit() {
    let broker = Mosquitto::start();
    let names: Vec<String> = (0..150).map(|number| format!("Service {number:03}!")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&names)).await);
    assert_eq!(retained(broker.port).await.len(), 2 * 150 + 1);

    let mut listener = Listener::start(broker.port).await;
    let long = Notice { payload: "x".repeat(300_000), ..notice() };
    check_delivered(&channel.send(&long).await);
    assert_eq!(listener.next("statusd/change").await.payload.len(), 300_000);
}

#[tokio::test]
async fn a_message_before_the_first_picture_is_a_visit() {
    let broker = Mosquitto::start();
    let mut listener = Listener::start(broker.port).await;
    // The daemon, which holds its connection, and a test message from another process.
    let mut daemon = channel(broker.port);
    check_delivered(&daemon.sync_state(&snapshot(&["Photos!"])).await);
    listener.so_far().await;
    let mut visitor = channel(broker.port);
    let answer = visitor.send(&notice()).await;
    check_delivered(&answer);
    assert_eq!(answer.words(), "127.0.0.1 confirmed it on statusd/change");
    drop(visitor);
    check_delivered(&daemon.sync_state(&snapshot(&["Photos!"])).await);
    let heard: Vec<(String, String)> =
        listener.so_far().await.into_iter().map(|message| (message.topic, message.payload)).collect();
    let expected = [("statusd/change", PAYLOAD), ("statusd/availability", "online")];
    assert_eq!(heard, expected.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())));
}

#[tokio::test]
async fn a_lost_connection_is_announced_and_all_comes_back() {
    let broker = Mosquitto::start();
    let wire = Wire::to(broker.port).await;
    let mut listener = Listener::start(broker.port).await;
    let mut channel = channel(wire.port);
    check_delivered(&channel.sync_state(&snapshot(&["Photos!"])).await);
    online(&mut listener).await;

    wire.cut();
    availability(&mut listener, "offline").await;
    // Nobody asks for it.
    let again = listener.next("statusd/service/photos/state").await;
    assert!(again.payload.contains("\"problem\""), "{again:?}");
    online(&mut listener).await;
    check_delivered(&channel.send(&notice()).await);
}

#[tokio::test]
async fn a_restarted_broker_is_told_all_anew() {
    let mut broker = Mosquitto::start();
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&["Photos!", "iCloudバックアップ"])).await);
    let before = retained(broker.port).await;
    assert_eq!(before.len(), 5);
    broker.restart();
    let mut listener = Listener::start(broker.port).await;
    online(&mut listener).await;
    assert_eq!(retained(broker.port).await, before);
}

#[tokio::test]
async fn a_dead_broker_is_not_reached_and_a_returned_one_is_at_once() {
    let mut broker = Mosquitto::start();
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&["Photos"])).await);
    broker.kill();
    // The end of the connection may not have been noticed yet; then the message is lost with it.
    let answer = channel.send(&notice()).await;
    assert!(matches!(answer, SendOutcome::Transient { .. }), "{answer:?}");
    for _ in 0..3 {
        check_retry(&channel.send(&notice()).await, false, "cannot be reached: connection refused");
    }
    let answer = channel.sync_state(&snapshot(&["Photos!"])).await;
    check_retry(&answer, false, "cannot be reached: connection refused");
    broker.restart();
    // A send does not wait for the next reconnect attempt.
    check_delivered(&channel.send(&notice()).await);
    assert_eq!(state(&retained(broker.port).await, "photos")["state"], "problem", "of the newest snapshot");
}

#[tokio::test]
async fn what_a_service_leaves_is_cleared() {
    let broker = Mosquitto::start();
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&["iCloud Backup", "Photos"])).await);
    check_delivered(&channel.sync_state(&snapshot(&["Photos"])).await);
    let topics: Vec<String> = retained(broker.port).await.into_keys().collect();
    let expected = [
        "homeassistant/binary_sensor/statusd_photos/config",
        "statusd/availability",
        "statusd/service/photos/state",
    ];
    assert_eq!(topics, expected);
}

#[tokio::test]
async fn what_an_earlier_run_left_is_cleared() {
    let broker = Mosquitto::start();
    let mut listener = Listener::start(broker.port).await;
    for topic in [
        "statusd/service/siri/state",
        "homeassistant/binary_sensor/statusd_siri/config",
        "statusd/service/photos/state",
        // Topics of other programs.
        "statusd/service/siri/other",
        "homeassistant/binary_sensor/siri/config",
        "other/service/siri/state",
    ] {
        listener.publish(topic, "left", true).await;
    }
    listener.so_far().await;
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&["Photos"])).await);
    for topic in ["statusd/service/siri/state", "homeassistant/binary_sensor/statusd_siri/config"] {
        assert_eq!(listener.next(topic).await.payload, "", "{topic}");
    }
    let all = retained(broker.port).await;
    assert_eq!(state(&all, "photos")["state"], "ok");
    let topics: Vec<String> = all.into_keys().collect();
    let expected = [
        "homeassistant/binary_sensor/siri/config",
        "homeassistant/binary_sensor/statusd_photos/config",
        "other/service/siri/state",
        "statusd/availability",
        "statusd/service/photos/state",
        "statusd/service/siri/other",
    ];
    assert_eq!(topics, expected);
}

#[tokio::test]
async fn who_goes_says_so() {
    let mut broker = Mosquitto::start();
    let mut listener = Listener::start(broker.port).await;
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&["Photos"])).await);
    online(&mut listener).await;
    drop(channel);
    availability(&mut listener, "offline").await;
    // mosquitto's words for a client that said goodbye.
    broker.logged(&["Received DISCONNECT from statusd"]).await;
    assert_eq!(retained(broker.port).await["statusd/availability"], "offline");
}

#[tokio::test]
async fn who_takes_over_is_there() {
    let broker = Mosquitto::start();
    let mut older = channel(broker.port);
    check_delivered(&older.sync_state(&snapshot(&["Photos"])).await);
    let mut newer = channel(broker.port);
    assert!(newer.continues(&older), "a reload would keep the older one");
    drop(older);
    check_delivered(&newer.sync_state(&snapshot(&["Photos!"])).await);
    check_delivered(&newer.sync_state(&snapshot(&["Photos!"])).await);
    let all = retained(broker.port).await;
    assert_eq!(
        (all["statusd/availability"].as_str(), &state(&all, "photos")["state"]),
        ("online", &json!("problem"))
    );
}

#[tokio::test]
async fn a_confirmation_that_never_comes_is_a_retry_and_the_repeat_is_the_same() {
    let broker = Mosquitto::start();
    let wire = Wire::to(broker.port).await;
    let mut listener = Listener::start(broker.port).await;
    let mut channel = channel(wire.port);
    check_delivered(&channel.sync_state(&snapshot(&["Photos"])).await);

    wire.lose_confirmations(true);
    let notice = notice();
    let lost = async {
        let first = listener.next("statusd/change").await;
        // Nothing is left to happen but the deadline: the clock jumps there.
        tokio::time::pause();
        first
    };
    let (answer, first) = tokio::join!(channel.send(&notice), lost);
    tokio::time::resume();
    check_retry(&answer, true, "confirmed nothing within 10 s");
    wire.lose_confirmations(false);
    check_delivered(&channel.send(&notice).await);
    assert_eq!(listener.next("statusd/change").await, first);
}

#[tokio::test]
async fn a_connection_cut_before_the_confirmation_is_a_retry() {
    let broker = Mosquitto::start();
    let wire = Wire::to(broker.port).await;
    let mut listener = Listener::start(broker.port).await;
    let mut residing = channel(wire.port);
    check_delivered(&residing.sync_state(&snapshot(&["Photos"])).await);
    wire.lose_confirmations(true);
    let notice = notice();
    let cut = async |listener: &mut Listener| {
        listener.next("statusd/change").await;
        wire.cut();
    };
    let (answer, ()) = tokio::join!(residing.send(&notice), cut(&mut listener));
    check_retry(&answer, true, "broke off before it confirmed the message");
    let mut visiting = channel(wire.port);
    let (answer, ()) = tokio::join!(visiting.send(&notice), cut(&mut listener));
    check_retry(&answer, true, "broke off before it confirmed the message");
}

#[tokio::test]
async fn who_is_not_let_in_is_told_what_to_do() {
    let broker = Mosquitto::start_for("statusd", PASSWORD);
    let port = broker.port;
    let words = "127.0.0.1 lets nobody in with this user and password; check them in the config and what the \
                 broker allows";
    let refused = SendOutcome::Permanent { words: words.to_owned() };
    let mut nameless = channel(port);
    assert_eq!(nameless.send(&notice()).await, refused, "on a visit");
    assert_eq!(nameless.sync_state(&snapshot(&["Photos"])).await, refused);
    assert_eq!(nameless.send(&notice()).await, refused);

    let mut known = with_password(port);
    check_delivered(&known.send(&notice()).await);
    check_delivered(&known.sync_state(&snapshot(&["Photos"])).await);
    check_delivered(&known.send(&notice()).await);
}

#[tokio::test]
async fn tls_takes_whom_an_authority_vouches_for() {
    let broker = Mosquitto::start_tls(Papers::Good);
    let url = format!("mqtts://127.0.0.1:{}", broker.port);
    let with = |ca_file: Option<PathBuf>| made(&Settings { ca_file, ..settings(&url) });
    let mut trusting = with(Some(broker.ca_file()));
    check_delivered(&trusting.send(&notice()).await);
    check_delivered(&trusting.sync_state(&snapshot(&["Photos"])).await);
    check_delivered(&trusting.send(&notice()).await);

    let mut wary = with(None);
    for answer in [wary.send(&notice()).await, wary.sync_state(&snapshot(&["Photos"])).await] {
        check_retry(
            &answer,
            false,
            "cannot be trusted: the certificate was issued by an authority that this computer does not trust;",
        );
    }
    let elsewhere = Mosquitto::start_tls(Papers::WrongHost);
    let url = format!("mqtts://127.0.0.1:{}", elsewhere.port);
    let mut misled = made(&Settings { ca_file: Some(elsewhere.ca_file()), ..settings(&url) });
    check_retry(
        &misled.send(&notice()).await,
        false,
        "cannot be trusted: the certificate is for another host;",
    );
}

#[tokio::test]
async fn who_is_no_broker_is_not_waited_for() {
    let nobody = Nobody::new();
    for answer in both(nobody.address.port()).await {
        check_retry(&answer, false, "cannot be reached: connection refused");
    }
    // A broker that wants TLS, spoken to without.
    let secure = Mosquitto::start_tls(Papers::Good);
    for answer in both(secure.port).await {
        check_retry(&answer, false, "check host and port, and whether it wants mqtts");
    }
    // A server with another protocol.
    let plain = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
    let port = plain.local_addr().expect("a bound address").port();
    let greets = async {
        use tokio::io::AsyncWriteExt;
        for _ in 0..2 {
            let (mut stream, _) = plain.accept().await.expect("a connection");
            stream.write_all(b"220 mail.example ESMTP\r\n").await.expect("the client reads");
        }
    };
    let (answers, ()) = tokio::join!(both(port), greets);
    for answer in answers {
        check_retry(&answer, false, "check host and port");
    }
}

/// Sends over a one-off connection, then over a lasting one.
async fn both(port: u16) -> [SendOutcome; 2] {
    let mut channel = channel(port);
    [channel.send(&notice()).await, channel.sync_state(&snapshot(&["Photos"])).await]
}

#[tokio::test]
async fn a_peer_that_never_answers_is_left_after_the_deadline() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
    let port = silent.local_addr().expect("a bound address").port();
    let mut channel = channel(port);
    let notice = notice();
    for is_picture in [false, true] {
        let silence = async {
            let connection = silent.accept().await.expect("a connection");
            // Nothing is left to happen but the deadline: the clock jumps there.
            tokio::time::pause();
            connection
        };
        let asked = async {
            if is_picture {
                channel.sync_state(&snapshot(&["Photos"])).await
            } else {
                channel.send(&notice).await
            }
        };
        let (answer, _open) = tokio::join!(asked, silence);
        tokio::time::resume();
        check_retry(&answer, false, "gave no answer within 10 s");
    }
}

#[tokio::test]
async fn no_secret_is_logged_or_printed() {
    let log = common::log::everything();
    let broker = Mosquitto::start_for("statusd", PASSWORD);
    let mut channel = with_password(broker.port);
    check_delivered(&channel.send(&notice()).await);
    check_delivered(&channel.sync_state(&snapshot(&["Photos"])).await);
    check_delivered(&channel.send(&notice()).await);
    let other = Mosquitto::start_for("statusd", "another");
    let mut refused = with_password(other.port);
    let answer = refused.sync_state(&snapshot(&["Photos"])).await;
    assert!(matches!(answer, SendOutcome::Permanent { .. }), "{answer:?}");

    let logged: String = log.try_iter().collect();
    assert!(logged.contains("Publish. Topic = statusd/change"), "the libraries' lines are seen: {logged}");
    let printed = format!("{channel:?} {refused:#?} {answer:?} {logged}");
    assert!(!printed.contains(PASSWORD), "{printed}");
}

/// Starts a broker that accepts a client and then sends these bytes repeatedly.
async fn broker_that_says(bytes: &'static [u8], times: usize) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut heard = [0; 4096];
            let _connect = stream.read(&mut heard).await.expect("a client");
            stream.write_all(b"\x20\x02\x00\x00").await.expect("a client");
            let _packets = stream.read(&mut heard).await.expect("a client");
            // The client may have enough and go.
            for _ in 0..times {
                if stream.write_all(bytes).await.is_err() {
                    break;
                }
            }
            let _gone = stream.read(&mut heard).await;
        }
    });
    port
}

#[tokio::test]
async fn an_answer_that_is_no_mqtt_is_unclear() {
    // A packet type that does not exist, and a confirmation of something that was never sent.
    for bytes in [&b"\x00\x00"[..], b"\x40\x02\x00\x63"] {
        let mut channel = channel(broker_that_says(bytes, 1).await);
        let answer = channel.send(&notice()).await;
        let SendOutcome::Unclear { words } = &answer else { panic!("{answer:?}") };
        assert!(words.contains("got the message and answers what is not MQTT"), "{words}");
    }
}

#[tokio::test]
async fn a_broker_that_talks_without_end_is_left() {
    // A message to a topic that was not asked for, and one to a state that another run may have left.
    for packet in [&b"\x30\x05\x00\x01axx"[..], b"\x31\x1b\x00\x17statusd/service/a/statexx"] {
        let mut channel = channel(broker_that_says(packet, 1 << 20).await);
        let answer = channel.sync_state(&snapshot(&["Photos"])).await;
        check_retry(&answer, true, "sends more than anybody asked for");
    }
}
