//! The MQTT channel against a real mosquitto, and against servers that are not brokers.

use crate::common;
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::common::apple::ServerCert;
use crate::common::http_server::ClosedPort;
use crate::common::mosquitto::{Message, Mosquitto, Subscriber, retained};
use crate::common::mqtt_proxy::MqttProxy;
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
    let state_of = |name: &&str| {
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
        services: services.iter().map(state_of).collect(),
    }
}

fn settings(url: &str) -> Settings {
    toml::from_str(&format!("url = '{url}'")).expect("settings")
}

fn new_channel(settings: &Settings) -> Mqtt {
    Mqtt::new(settings, &|_| Ok(Secret::new(PASSWORD))).expect("a channel")
}

fn channel(port: u16) -> Mqtt {
    new_channel(&settings(&format!("mqtt://127.0.0.1:{port}")))
}

fn with_password(port: u16) -> Mqtt {
    let url = format!("mqtt://127.0.0.1:{port}");
    new_channel(&Settings {
        user: Some("statusd".to_owned()),
        password_file: Some("/run/credentials/password".into()),
        ..settings(&url)
    })
}

#[track_caller]
fn check_delivered(outcome: &SendOutcome) {
    assert!(matches!(outcome, SendOutcome::Delivered { .. }), "{outcome:?}");
}

#[track_caller]
fn check_retry(outcome: &SendOutcome, reached: bool, detail: &str) {
    let SendOutcome::Transient { after_s: None, reached: was_reached, detail: text } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(*was_reached, reached, "{outcome:?}");
    assert!(text.starts_with("127.0.0.1 ") && text.contains(detail), "{outcome:?}");
}

fn state(retained: &BTreeMap<String, String>, slug: &str) -> Value {
    let topic = format!("statusd/service/{slug}/state");
    let payload = retained.get(&topic).unwrap_or_else(|| panic!("{topic} is not in {retained:#?}"));
    serde_json::from_str(payload).expect("JSON")
}

/// Waits until the channel is online, which is published after all states.
async fn online(subscriber: &mut Subscriber) {
    availability(subscriber, "online").await;
}

/// Waits for the next availability message with this payload. "online" may be repeated.
async fn availability(subscriber: &mut Subscriber, payload: &str) -> Message {
    subscriber.wait_for(|message| message.topic == "statusd/availability" && message.payload == payload).await
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
async fn publishes_only_changed_states() {
    let broker = Mosquitto::start();
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&["iCloud Backup!", "Photos"])).await);
    let mut subscriber = Subscriber::start(broker.port).await;
    subscriber.received_so_far().await;
    check_delivered(&channel.sync_state(&snapshot(&["iCloud Backup", "Photos"])).await);
    let received = subscriber.received_so_far().await;
    let topics: Vec<&str> = received.iter().map(|message| message.topic.as_str()).collect();
    assert_eq!(topics, ["statusd/service/icloud_backup/state", "statusd/availability"]);
}

#[tokio::test]
async fn publishes_a_change_once() {
    let broker = Mosquitto::start();
    let mut subscriber = Subscriber::start(broker.port).await;
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&["Photos"])).await);
    let outcome = channel.send(&notice()).await;
    assert_eq!(
        outcome,
        SendOutcome::Delivered { receipt: None, detail: "127.0.0.1 confirmed it".to_owned() }
    );
    let expected =
        Message { topic: "statusd/change".to_owned(), payload: PAYLOAD.to_owned(), retain: false, qos: 1 };
    assert_eq!(subscriber.next("statusd/change").await, expected);
    assert!(!subscriber.received_so_far().await.contains(&expected));
    assert!(!retained(broker.port).await.contains_key("statusd/change"));
}

#[tokio::test]
async fn supports_many_services_and_long_changes() {
    let broker = Mosquitto::start();
    let names: Vec<String> = (0..150).map(|number| format!("Service {number:03}!")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&names)).await);
    assert_eq!(retained(broker.port).await.len(), 2 * 150 + 1);

    let mut subscriber = Subscriber::start(broker.port).await;
    let long = Notice { payload: "x".repeat(300_000), ..notice() };
    check_delivered(&channel.send(&long).await);
    assert_eq!(subscriber.next("statusd/change").await.payload.len(), 300_000);
}

#[tokio::test]
async fn message_before_the_first_snapshot_uses_a_one_off_connection() {
    let broker = Mosquitto::start();
    let mut subscriber = Subscriber::start(broker.port).await;
    // The daemon keeps its connection while another process sends a test message.
    let mut daemon = channel(broker.port);
    check_delivered(&daemon.sync_state(&snapshot(&["Photos!"])).await);
    subscriber.received_so_far().await;
    let mut one_off = channel(broker.port);
    let outcome = one_off.send(&notice()).await;
    check_delivered(&outcome);
    assert_eq!(outcome.detail(), "127.0.0.1 confirmed it on statusd/change");
    drop(one_off);
    check_delivered(&daemon.sync_state(&snapshot(&["Photos!"])).await);
    let received: Vec<(String, String)> = subscriber
        .received_so_far()
        .await
        .into_iter()
        .map(|message| (message.topic, message.payload))
        .collect();
    let expected = [("statusd/change", PAYLOAD), ("statusd/availability", "online")];
    assert_eq!(received, expected.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())));
}

#[tokio::test]
async fn last_will_announces_a_lost_connection_and_states_return() {
    let broker = Mosquitto::start();
    let proxy = MqttProxy::start(broker.port).await;
    let mut subscriber = Subscriber::start(broker.port).await;
    let mut channel = channel(proxy.port);
    check_delivered(&channel.sync_state(&snapshot(&["Photos!"])).await);
    online(&mut subscriber).await;

    proxy.disconnect_all();
    availability(&mut subscriber, "offline").await;
    // The states return without another sync.
    let again = subscriber.next("statusd/service/photos/state").await;
    assert!(again.payload.contains("\"problem\""), "{again:?}");
    online(&mut subscriber).await;
    check_delivered(&channel.send(&notice()).await);
}

#[tokio::test]
async fn republishes_everything_after_a_broker_restart() {
    let mut broker = Mosquitto::start();
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&["Photos!", "iCloudバックアップ"])).await);
    let before = retained(broker.port).await;
    assert_eq!(before.len(), 5);
    broker.restart();
    let mut subscriber = Subscriber::start(broker.port).await;
    online(&mut subscriber).await;
    assert_eq!(retained(broker.port).await, before);
}

#[tokio::test]
async fn reconnects_as_soon_as_the_broker_returns() {
    let mut broker = Mosquitto::start();
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&["Photos"])).await);
    broker.kill();
    // If the channel has not noticed the end of the connection yet, the message is lost.
    let outcome = channel.send(&notice()).await;
    assert!(matches!(outcome, SendOutcome::Transient { .. }), "{outcome:?}");
    for _ in 0..3 {
        check_retry(&channel.send(&notice()).await, false, "cannot be reached: connection refused");
    }
    let outcome = channel.sync_state(&snapshot(&["Photos!"])).await;
    check_retry(&outcome, false, "cannot be reached: connection refused");
    broker.restart();
    // A send does not wait for the next reconnect attempt.
    check_delivered(&channel.send(&notice()).await);
    assert_eq!(state(&retained(broker.port).await, "photos")["state"], "problem", "of the newest snapshot");
}

#[tokio::test]
async fn clears_topics_of_removed_services() {
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
async fn clears_topics_of_an_earlier_run() {
    let broker = Mosquitto::start();
    let mut subscriber = Subscriber::start(broker.port).await;
    for topic in [
        "statusd/service/siri/state",
        "homeassistant/binary_sensor/statusd_siri/config",
        "statusd/service/photos/state",
        // Topics of other programs.
        "statusd/service/siri/other",
        "homeassistant/binary_sensor/siri/config",
        "other/service/siri/state",
    ] {
        subscriber.publish(topic, "left", true).await;
    }
    subscriber.received_so_far().await;
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&["Photos"])).await);
    for topic in ["statusd/service/siri/state", "homeassistant/binary_sensor/statusd_siri/config"] {
        assert_eq!(subscriber.next(topic).await.payload, "", "{topic}");
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
async fn announces_offline_on_shutdown() {
    let mut broker = Mosquitto::start();
    let mut subscriber = Subscriber::start(broker.port).await;
    let mut channel = channel(broker.port);
    check_delivered(&channel.sync_state(&snapshot(&["Photos"])).await);
    online(&mut subscriber).await;
    drop(channel);
    availability(&mut subscriber, "offline").await;
    // mosquitto logs this for a clean disconnect.
    broker.wait_for_log(&["Received DISCONNECT from statusd"]).await;
    assert_eq!(retained(broker.port).await["statusd/availability"], "offline");
}

#[tokio::test]
async fn replacing_connection_stays_online() {
    let broker = Mosquitto::start();
    let mut older = channel(broker.port);
    check_delivered(&older.sync_state(&snapshot(&["Photos"])).await);
    let mut newer = channel(broker.port);
    assert!(newer.can_reuse(&older), "a reload would keep the older one");
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
async fn retries_the_same_message_without_a_puback() {
    let broker = Mosquitto::start();
    let proxy = MqttProxy::start(broker.port).await;
    let mut subscriber = Subscriber::start(broker.port).await;
    let mut channel = channel(proxy.port);
    check_delivered(&channel.sync_state(&snapshot(&["Photos"])).await);

    proxy.drop_pubacks(true);
    let notice = notice();
    let lost = async {
        let first = subscriber.next("statusd/change").await;
        // Only the deadline is left, so the paused clock jumps to it.
        tokio::time::pause();
        first
    };
    let (outcome, first) = tokio::join!(channel.send(&notice), lost);
    tokio::time::resume();
    check_retry(&outcome, true, "confirmed nothing within 10 s");
    proxy.drop_pubacks(false);
    check_delivered(&channel.send(&notice).await);
    assert_eq!(subscriber.next("statusd/change").await, first);
}

#[tokio::test]
async fn retries_after_the_connection_breaks_before_the_puback() {
    let broker = Mosquitto::start();
    let proxy = MqttProxy::start(broker.port).await;
    let mut subscriber = Subscriber::start(broker.port).await;
    let mut connected = channel(proxy.port);
    check_delivered(&connected.sync_state(&snapshot(&["Photos"])).await);
    proxy.drop_pubacks(true);
    let notice = notice();
    let cut = async |subscriber: &mut Subscriber| {
        subscriber.next("statusd/change").await;
        proxy.disconnect_all();
    };
    let (outcome, ()) = tokio::join!(connected.send(&notice), cut(&mut subscriber));
    check_retry(&outcome, true, "closed the connection before it confirmed the message");
    let mut one_off = channel(proxy.port);
    let (outcome, ()) = tokio::join!(one_off.send(&notice), cut(&mut subscriber));
    check_retry(&outcome, true, "closed the connection before it confirmed the message");
}

#[tokio::test]
async fn rejected_login_carries_advice() {
    let broker = Mosquitto::start_for("statusd", PASSWORD);
    let port = broker.port;
    let detail = "127.0.0.1 does not authorize this login; check user and password in the config, and the broker's \
                 access rules";
    let refused = SendOutcome::Permanent { detail: detail.to_owned() };
    let mut anonymous = channel(port);
    assert_eq!(anonymous.send(&notice()).await, refused, "over a one-off connection");
    assert_eq!(anonymous.sync_state(&snapshot(&["Photos"])).await, refused);
    assert_eq!(anonymous.send(&notice()).await, refused);

    let mut known = with_password(port);
    check_delivered(&known.send(&notice()).await);
    check_delivered(&known.sync_state(&snapshot(&["Photos"])).await);
    check_delivered(&known.send(&notice()).await);
}

#[tokio::test]
async fn tls_accepts_only_trusted_certificates() {
    let broker = Mosquitto::start_tls(ServerCert::Valid);
    let url = format!("mqtts://127.0.0.1:{}", broker.port);
    let with = |ca_file: Option<PathBuf>| new_channel(&Settings { ca_file, ..settings(&url) });
    let mut with_ca = with(Some(broker.ca_file()));
    check_delivered(&with_ca.send(&notice()).await);
    check_delivered(&with_ca.sync_state(&snapshot(&["Photos"])).await);
    check_delivered(&with_ca.send(&notice()).await);

    let mut without_ca = with(None);
    for outcome in [without_ca.send(&notice()).await, without_ca.sync_state(&snapshot(&["Photos"])).await] {
        check_retry(
            &outcome,
            false,
            "failed the TLS handshake: the certificate was issued by an unknown authority;",
        );
    }
    let elsewhere = Mosquitto::start_tls(ServerCert::WrongHost);
    let url = format!("mqtts://127.0.0.1:{}", elsewhere.port);
    let mut wrong_host = new_channel(&Settings { ca_file: Some(elsewhere.ca_file()), ..settings(&url) });
    check_retry(
        &wrong_host.send(&notice()).await,
        false,
        "failed the TLS handshake: the certificate is for another host;",
    );
}

#[tokio::test]
async fn detects_servers_that_are_not_brokers() {
    let closed_port = ClosedPort::new();
    for outcome in both(closed_port.address.port()).await {
        check_retry(&outcome, false, "cannot be reached: connection refused");
    }
    // A broker that requires TLS, without TLS.
    let secure = Mosquitto::start_tls(ServerCert::Valid);
    for outcome in both(secure.port).await {
        check_retry(&outcome, false, "check host and port, and whether the broker requires mqtts");
        assert!(!outcome.detail().contains("os error"), "{outcome:?}");
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
    let (outcomes, ()) = tokio::join!(both(port), greets);
    for outcome in outcomes {
        check_retry(&outcome, false, "check host and port");
    }
}

/// Sends over a one-off connection, then over a lasting one.
async fn both(port: u16) -> [SendOutcome; 2] {
    let mut channel = channel(port);
    [channel.send(&notice()).await, channel.sync_state(&snapshot(&["Photos"])).await]
}

#[tokio::test]
async fn times_out_if_the_server_never_responds() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
    let port = silent.local_addr().expect("a bound address").port();
    let mut channel = channel(port);
    let notice = notice();
    for is_snapshot in [false, true] {
        let silence = async {
            let connection = silent.accept().await.expect("a connection");
            // Nothing is left to happen but the deadline: the clock jumps there.
            tokio::time::pause();
            connection
        };
        let send = async {
            if is_snapshot {
                channel.sync_state(&snapshot(&["Photos"])).await
            } else {
                channel.send(&notice).await
            }
        };
        let (outcome, _open) = tokio::join!(send, silence);
        tokio::time::resume();
        check_retry(&outcome, false, "did not respond within 10 s");
    }
}

#[tokio::test]
async fn redacts_secrets_in_logs_and_debug_output() {
    let log = common::log::everything();
    let broker = Mosquitto::start_for("statusd", PASSWORD);
    let mut channel = with_password(broker.port);
    check_delivered(&channel.send(&notice()).await);
    check_delivered(&channel.sync_state(&snapshot(&["Photos"])).await);
    check_delivered(&channel.send(&notice()).await);
    let other = Mosquitto::start_for("statusd", "another");
    let mut refused = with_password(other.port);
    let outcome = refused.sync_state(&snapshot(&["Photos"])).await;
    assert!(matches!(outcome, SendOutcome::Permanent { .. }), "{outcome:?}");

    let logged: String = log.try_iter().collect();
    assert!(
        logged.contains("Publish. Topic = statusd/change"),
        "the log contains lines of dependencies: {logged}"
    );
    let printed = format!("{channel:?} {refused:#?} {outcome:?} {logged}");
    assert!(!printed.contains(PASSWORD), "{printed}");
}

/// Starts a broker that accepts a client and then sends these bytes repeatedly.
async fn broker_that_says(bytes: &'static [u8], times: usize) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut received = [0; 4096];
            let _connect = stream.read(&mut received).await.expect("a client");
            stream.write_all(b"\x20\x02\x00\x00").await.expect("a client");
            let _packets = stream.read(&mut received).await.expect("a client");
            // The client may disconnect.
            for _ in 0..times {
                if stream.write_all(bytes).await.is_err() {
                    break;
                }
            }
            let _gone = stream.read(&mut received).await;
        }
    });
    port
}

#[tokio::test]
async fn response_that_is_not_mqtt_is_unclear() {
    // An unknown packet type, and a PUBACK for an unknown packet.
    for bytes in [&b"\x00\x00"[..], b"\x40\x02\x00\x63"] {
        let mut channel = channel(broker_that_says(bytes, 1).await);
        let outcome = channel.send(&notice()).await;
        let SendOutcome::Unclear { detail } = &outcome else { panic!("{outcome:?}") };
        assert!(detail.contains("received the message, but did not respond with MQTT"), "{detail}");
    }
}

#[tokio::test]
async fn disconnects_from_an_endless_broker() {
    // A message on a topic without a subscription, and a retained state of an earlier run.
    for packet in [&b"\x30\x05\x00\x01axx"[..], b"\x31\x1b\x00\x17statusd/service/a/statexx"] {
        let mut channel = channel(broker_that_says(packet, 1 << 20).await);
        let outcome = channel.sync_state(&snapshot(&["Photos"])).await;
        check_retry(&outcome, true, "sent more than 20,000 packets within 60 s");
    }
}
