//! The channels `ntfy`, `gotify` and `pushover` against an HTTP server on loopback that responds as
//! documented by these services.

use crate::common;
use std::collections::BTreeMap;

use crate::common::http_server::{ClosedPort, HttpServer, Reply, Request};
use serde_json::{Value, json};
use statusd::channel::{Audience, Channel, Notice, SendOutcome, Tables};
use statusd::model::Severity;
use statusd::secret::Secret;

const KINDS: [&str; 3] = ["ntfy", "gotify", "pushover"];
const TOKEN: &str = "t0kent0kent0ken";
const USER: &str = "us3rus3rus3r";
/// `me:t0kent0kent0ken`
const BASIC: &str = "bWU6dDBrZW50MGtlbnQwa2Vu";
/// The topic, or the path prefix of a server behind a proxy.
const PLACE: &str = "T0PICT0PICT0PIC";
const SECRETS: [&str; 4] = [TOKEN, USER, BASIC, PLACE];

fn notice(kind: &str, severity: Severity) -> Notice {
    Notice {
        key: format!("consumer/en_US/icloud%20backup/1002938/1/{kind}"),
        title: format!("iCloud Backup {kind} – “wirklich”"),
        body: "Since 02:10.\nBack up over Wi-Fi later.".to_owned(),
        severity,
        payload: String::new(),
        replaces: None,
        follows: None,
    }
}

fn began() -> Notice {
    notice("began", Severity::Alert)
}

/// Opens the channel of a configuration table, as the daemon does.
fn open(kind: &str, settings: &str) -> Channel {
    let tables: Tables = toml::from_str(&format!("[{kind}.phone]\n{settings}")).expect("settings");
    let name = format!("{kind}.phone");
    let all = tables.all();
    let (_, audience, table) = all.iter().find(|(found, ..)| *found == name).expect("the table");
    let read = |path: &std::path::Path| match path.to_str() {
        Some("/token") => Ok(Secret::new(format!("{TOKEN}\n"))),
        other => panic!("unexpected secret file {other:?}"),
    };
    Channel::new(name, *audience, table.open(&read).expect("a channel"))
}

/// Returns a channel with all its secrets, for a server below a path at `address`.
fn channel(kind: &str, address: std::net::SocketAddr) -> Channel {
    let settings = match kind {
        "ntfy" => format!("url = 'http://{address}/push/{PLACE}'\ntoken_file = '/token'"),
        "gotify" => format!("url = 'http://{address}/{PLACE}/'\ntoken_file = '/token'"),
        "pushover" => {
            format!("url = 'http://{address}/{PLACE}/messages.json'\ntoken_file = '/token'\nuser = '{USER}'")
        }
        other => panic!("unknown kind {other}"),
    };
    open(kind, &settings)
}

/// Sends a notice, and returns the outcome of this reply and the request.
async fn exchange(kind: &str, reply: Reply) -> (SendOutcome, Request) {
    let mut server = HttpServer::start([reply]).await;
    let outcome = channel(kind, server.address).send(&began()).await;
    let request = server.next().await;
    assert!(server.is_quiet(), "one send is one request");
    check_detail(&outcome);
    (outcome, request)
}

#[track_caller]
fn check_detail(outcome: &SendOutcome) {
    let detail = outcome.detail();
    for secret in SECRETS {
        assert!(!detail.contains(secret), "{detail}");
    }
    assert!(detail.starts_with("127.0.0.1 ") && !detail.contains(char::is_control), "{detail}");
}

fn ok(body: &Value) -> Reply {
    Reply::status(200).with_header("Content-Type", "application/json").with_body(body.to_string())
}

#[track_caller]
fn body(request: &Request) -> Value {
    assert_eq!((request.method.as_str(), request.header("content-type")), ("POST", Some("application/json")));
    assert_eq!(request.header("user-agent"), Some(concat!("statusd/", env!("CARGO_PKG_VERSION"))));
    assert!(!request.target.contains(TOKEN) && !request.target.contains(USER), "{}", request.target);
    serde_json::from_slice(&request.body).expect("JSON")
}

#[tokio::test]
async fn ntfy_receives_json_at_its_root() {
    let published = json!({"id": "hwQ2YpKdmg", "time": 1, "event": "message", "topic": PLACE});
    let (outcome, request) = exchange("ntfy", ok(&published)).await;
    let message = body(&request);
    assert_eq!((request.target.as_str(), &message["topic"]), ("/push/", &json!(PLACE)));
    assert_eq!(request.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(message["title"], "iCloud Backup began – “wirklich”");
    assert_eq!(message["message"], "Since 02:10.\nBack up over Wi-Fi later.");
    assert_eq!((&message["priority"], &message["tags"]), (&json!(4), &json!(["warning"])));
    assert_eq!(message["click"], "https://www.apple.com/support/systemstatus/");
    let receipt = Some(message["sequence_id"].as_str().expect("an id").to_owned());
    let detail = "127.0.0.1 returned 200 OK. Response: id hwQ2YpKdmg".to_owned();
    assert_eq!(outcome, SendOutcome::Delivered { receipt, detail });
}

#[tokio::test]
async fn ntfy_works_with_a_password_or_without_login() {
    for (login, expected) in
        [("user = 'me'\npassword_file = '/token'", Some(format!("Basic {BASIC}"))), ("", None)]
    {
        let echo = json!({"code": 40301, "error": format!("forbidden: {BASIC} {TOKEN}")});
        let mut server = HttpServer::start([Reply::status(403).with_body(echo.to_string())]).await;
        let settings = format!("url = '{}'\n{login}", server.url(&format!("/{PLACE}")));
        let outcome = open("ntfy", &settings).send(&began()).await;
        assert_eq!(server.next().await.header("authorization"), expected.as_deref());
        if !login.is_empty() {
            check_detail(&outcome);
        }
    }
}

/// The messages on the screens of a client with support for sequence ids and of one without.
#[derive(Default)]
struct Screens {
    by_sequence: BTreeMap<String, String>,
    appended: Vec<String>,
}

impl Screens {
    fn show(&mut self, request: &Request) {
        let message = body(request);
        let text = |key: &str| message[key].as_str().expect("text").to_owned();
        let id = text("sequence_id");
        // The ntfy server responds with 400 to other ids.
        assert!((1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        self.by_sequence.insert(id, text("title"));
        self.appended.push(text("title"));
    }
}

#[tokio::test]
async fn ntfy_shows_one_message_per_outage_despite_resends() {
    let mut server = HttpServer::start([ok(&json!({"id": "a"})), Reply::status(200)]).await;
    let mut channel = channel("ntfy", server.address);
    let mut screens = Screens::default();
    let SendOutcome::Delivered { receipt, .. } = channel.send(&began()).await else {
        panic!("not delivered")
    };
    screens.show(&server.next().await);
    // statusd was killed before it could record the outcome.
    let again = channel.send(&began()).await;
    screens.show(&server.next().await);
    assert!(matches!(again, SendOutcome::Delivered { receipt: same, .. } if same == receipt));

    let ended = Notice { replaces: receipt.clone(), ..notice("ended", Severity::Resolved) };
    for _ in 0..2 {
        let SendOutcome::Delivered { receipt: end_receipt, .. } = channel.send(&ended).await else {
            panic!("not delivered")
        };
        assert_eq!(end_receipt, receipt, "the end replaces the start");
        screens.show(&server.next().await);
    }
    channel.send(&notice("reopened", Severity::Alert)).await;
    screens.show(&server.next().await);

    let titles = |kind: &str| format!("iCloud Backup {kind} – “wirklich”");
    let mut shown: Vec<String> = screens.by_sequence.into_values().collect();
    shown.sort();
    assert_eq!(shown, [titles("ended"), titles("reopened")]);
    let all = ["began", "began", "ended", "ended", "reopened"].map(titles);
    assert_eq!(screens.appended, all, "an older client shows every message");
}

#[tokio::test]
async fn gotify_receives_the_token_in_a_header() {
    let sent = json!({"id": 25, "appid": 5, "message": "m", "title": "t", "priority": 8, "date": "d"});
    let (outcome, request) = exchange("gotify", ok(&sent)).await;
    let message = body(&request);
    assert_eq!(request.target, format!("/{PLACE}/message"));
    assert_eq!((request.header("x-gotify-key"), request.header("authorization")), (Some(TOKEN), None));
    assert_eq!(message["title"], "iCloud Backup began – “wirklich”");
    assert_eq!(message["message"], "Since 02:10.\nBack up over Wi-Fi later.");
    assert_eq!(message["priority"], 8);
    assert_eq!(message["extras"]["client::display"]["contentType"], "text/plain");
    let click = &message["extras"]["client::notification"]["click"]["url"];
    assert_eq!(click, "https://www.apple.com/support/systemstatus/");
    let detail = "127.0.0.1 returned 200 OK. Response: id 25".to_owned();
    assert_eq!(outcome, SendOutcome::Delivered { receipt: None, detail });
}

#[tokio::test]
async fn pushover_receives_only_supported_fields() {
    let (outcome, request) = exchange("pushover", ok(&json!({"status": 1, "request": "647d2300"}))).await;
    assert_eq!(request.target, format!("/{PLACE}/messages.json"));
    assert_eq!(
        body(&request),
        json!({
            "token": TOKEN,
            "user": USER,
            "title": "iCloud Backup began – “wirklich”",
            "message": "Since 02:10.\nBack up over Wi-Fi later.",
            "priority": 1,
            "url": "https://www.apple.com/support/systemstatus/",
        })
    );
    let detail = "127.0.0.1 returned 200 OK. Response: request 647d2300".to_owned();
    assert_eq!(outcome, SendOutcome::Delivered { receipt: None, detail });
}

#[tokio::test]
async fn every_attempt_sends_the_same_bytes() {
    for kind in KINDS {
        let mut server = HttpServer::start([Reply::status(500), Reply::status(200)]).await;
        let mut channel = channel(kind, server.address);
        assert_eq!(channel.audience(), Audience::People);
        assert!(matches!(channel.send(&began()).await, SendOutcome::Transient { .. }), "{kind}");
        assert!(matches!(channel.send(&began()).await, SendOutcome::Delivered { .. }), "{kind}");
        assert_eq!(server.next().await, server.next().await, "{kind}");
    }
}

#[tokio::test]
async fn classifies_every_http_status() {
    for kind in KINDS {
        let server = HttpServer::start((100..=599).map(Reply::status)).await;
        let mut channel = channel(kind, server.address);
        for status in 100..=599 {
            let outcome = channel.send(&began()).await;
            check_detail(&outcome);
            let expected = match status {
                // Interim responses except 101. The final response never arrives.
                100 | 102..=199 => "retry",
                200..=299 => "delivered",
                408 | 409 | 421 | 425 | 429 | 500 | 502..=504 | 506..=599 => "retry",
                _ => "refused",
            };
            let meaning = match &outcome {
                SendOutcome::Delivered { receipt, .. } => {
                    assert_eq!(receipt.is_some(), kind == "ntfy");
                    "delivered"
                }
                SendOutcome::Transient { after_s, reached: true, .. } => {
                    let has_minimum = kind == "pushover" && status >= 500;
                    assert_eq!(*after_s, has_minimum.then_some(5), "{kind} {status}");
                    "retry"
                }
                SendOutcome::Permanent { detail } => {
                    assert!(detail.contains("; "), "the detail gives the next step: {detail}");
                    "refused"
                }
                SendOutcome::Transient { reached: false, .. } | SendOutcome::Unclear { .. } => {
                    panic!("{kind} {status}: {outcome:?}")
                }
            };
            assert_eq!(meaning, expected, "{kind} {status}");
        }
    }
}

#[tokio::test]
async fn honours_retry_after() {
    for kind in KINDS {
        for (status, value, expected) in [
            (429, "3600", Some(3600)),
            (503, " 120 ", Some(120)),
            (503, "Fri, 01 Jan 2100 00:00:00 GMT", None),
            (503, "99999999999999999999999999", Some(u64::MAX)),
        ] {
            let reply = Reply::status(status).with_header("Retry-After", value);
            let (outcome, _) = exchange(kind, reply).await;
            let SendOutcome::Transient { after_s: Some(after_s), reached: true, .. } = outcome else {
                panic!("{kind} {value}: {outcome:?}")
            };
            // The delay until a date depends on the current time.
            assert!(expected.map_or(after_s > 1_000_000, |expected| after_s == expected), "{kind} {value}");
        }
        for absurd in ["-5", "soon", "\u{e9}t\u{e9}", "Thu, 01 Jan 1970 00:00:00 GMT"] {
            let (outcome, _) = exchange(kind, Reply::status(429).with_header("Retry-After", absurd)).await;
            assert!(
                matches!(outcome, SendOutcome::Transient { after_s: None | Some(0), .. }),
                "{kind}: {outcome:?}"
            );
        }
    }
}

#[tokio::test]
async fn honours_the_reset_header_of_pushover() {
    let reset = (jiff::Timestamp::now().as_second() + 86_400).to_string();
    let reply = Reply::status(429).with_header("X-Limit-App-Remaining", "0");
    let (outcome, _) = exchange("pushover", reply.with_header("X-Limit-App-Reset", reset)).await;
    let SendOutcome::Transient { after_s: Some(after_s), reached: true, detail } = &outcome else {
        panic!("{outcome:?}")
    };
    assert!((1..=86_400).contains(after_s) && detail.contains("used up"), "{outcome:?}");
}

#[track_caller]
fn check_refused(outcome: &SendOutcome, detail: &str) {
    assert_eq!(*outcome, SendOutcome::Permanent { detail: detail.to_owned() });
}

#[tokio::test]
async fn quotes_errors_of_the_server_without_links() {
    let error = |status, body: Value| Reply::status(status).with_body(body.to_string());
    let error_body =
        json!({"code": 40101, "http": 401, "error": "unauthorized", "link": "https://ntfy.sh/docs"});
    check_refused(
        &exchange("ntfy", error(401, error_body)).await.0,
        "127.0.0.1 returned 401 Unauthorized; the server requires other credentials; check the token in the \
         config. Response: unauthorized (40101)",
    );
    let error_body = json!({"code": 41303, "http": 413, "error": "JSON body too large"});
    check_refused(
        &exchange("ntfy", error(413, error_body)).await.0,
        "127.0.0.1 returned 413 Payload Too Large; the message is too large for the server; raise its limit. \
         Response: JSON body too large (41303)",
    );
    for (status, code, text) in [
        (429, 42908, "limit reached: daily message quota reached"),
        (507, 50701, "topic is inactive; no device available to receive message"),
    ] {
        let error_body = json!({"code": code, "http": status, "error": text});
        let (outcome, _) = exchange("ntfy", error(status, error_body)).await;
        assert!(
            matches!(outcome, SendOutcome::Transient { after_s: None, reached: true, .. }),
            "{outcome:?}"
        );
        assert!(outcome.detail().ends_with(&format!("Response: {text} ({code})")), "{outcome:?}");
    }
    for status in [400, 401, 403] {
        let error_body =
            json!({"error": "Refused", "errorCode": status, "errorDescription": "you need a valid token"});
        let (outcome, _) = exchange("gotify", error(status, error_body)).await;
        assert!(matches!(outcome, SendOutcome::Permanent { .. }), "{outcome:?}");
        assert!(outcome.detail().ends_with("Response: you need a valid token"), "{outcome:?}");
    }
    let error_body = json!({"user": "invalid", "errors": ["user identifier is invalid"], "status": 0});
    check_refused(
        &exchange("pushover", error(400, error_body)).await.0,
        "127.0.0.1 returned 400; check token, user and device in the config. Response: user identifier is invalid",
    );
}

#[tokio::test]
async fn redacts_secrets_echoed_by_the_server() {
    for kind in KINDS {
        // The secrets that this kind sends.
        let secrets = if kind == "pushover" { vec![TOKEN, PLACE, USER] } else { vec![TOKEN, PLACE] };
        let echo = secrets.join(" and ");
        let error = json!({"error": echo, "errorDescription": echo, "errors": [echo], "status": 0});
        for body in [echo.clone(), error.to_string(), json!({"id": echo, "request": echo}).to_string()] {
            for status in [200, 403, 429, 500] {
                exchange(kind, Reply::status(status).with_body(body.clone())).await;
            }
        }
    }
}

#[tokio::test]
async fn a_web_page_is_not_a_delivery() {
    for kind in KINDS {
        let page = Reply::status(200).with_header("Content-Type", "text/html");
        let (outcome, _) = exchange(kind, page.with_body("<!doctype html><title>Log in</title>")).await;
        // A captive portal cannot be the cause on loopback.
        assert!(matches!(outcome, SendOutcome::Unclear { .. }), "{kind}: {outcome:?}");
        assert!(outcome.detail().contains("with a web page; check the address"), "{outcome:?}");
    }
}

#[tokio::test]
async fn does_not_follow_redirects() {
    for kind in KINDS {
        let elsewhere = HttpServer::start([Reply::status(200)]).await;
        let (outcome, _) =
            exchange(kind, Reply::status(308).with_header("Location", elsewhere.url("/"))).await;
        assert!(matches!(outcome, SendOutcome::Permanent { .. }), "{kind}: {outcome:?}");
        assert!(elsewhere.is_quiet(), "{kind}");
    }
}

#[tokio::test]
async fn distinguishes_unreachable_servers_from_reset_connections() {
    for kind in KINDS {
        let closed_port = ClosedPort::new();
        let outcome = channel(kind, closed_port.address).send(&began()).await;
        check_detail(&outcome);
        assert!(
            matches!(outcome, SendOutcome::Transient { after_s: None, reached: false, .. }),
            "{kind}: {outcome:?}"
        );
        for reply in [Reply::ResetBeforeReading, Reply::ResetAfterReading] {
            let (outcome, _) = exchange(kind, reply).await;
            assert!(
                matches!(outcome, SendOutcome::Transient { after_s: None, reached: true, .. }),
                "{kind}: {outcome:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_status_counts_even_if_its_body_breaks_off() {
    for kind in KINDS {
        let (outcome, _) = exchange(kind, Reply::CutBody(404)).await;
        assert!(
            matches!(&outcome, SendOutcome::Permanent { detail } if detail.ends_with("Response: half")),
            "{outcome:?}"
        );
        let (outcome, _) = exchange(kind, Reply::CutBody(200)).await;
        assert!(matches!(outcome, SendOutcome::Delivered { .. }), "{kind}: {outcome:?}");
    }
}

async fn check_timeout(kind: &str) {
    let mut server = HttpServer::start([Reply::Never]).await;
    let mut channel = channel(kind, server.address);
    let notice = began();
    let pause = async {
        server.next().await;
        // Only the timeout remains, so the paused clock jumps to it.
        tokio::time::pause();
    };
    let (outcome, ()) = tokio::join!(channel.send(&notice), pause);
    let detail = "127.0.0.1 did not respond within 20 s".to_owned();
    assert_eq!(outcome, SendOutcome::Transient { after_s: None, reached: true, detail }, "{kind}");
    tokio::time::resume();
}

#[tokio::test]
async fn times_out_if_the_server_never_responds() {
    for kind in KINDS {
        check_timeout(kind).await;
    }
}

#[tokio::test]
async fn redacts_secrets_in_logs_and_debug_output() {
    let log = common::log::everything();
    let mut printed = String::new();
    for kind in KINDS {
        exchange(kind, Reply::status(200)).await;
        exchange(kind, Reply::status(403).with_body(SECRETS[0])).await;
        exchange(kind, Reply::ResetAfterReading).await;
        let closed_port = ClosedPort::new();
        let mut unreached = channel(kind, closed_port.address);
        unreached.send(&began()).await;
        printed.push_str(&format!("{unreached:?} {unreached:#?}"));
    }
    let logged: String = log.try_iter().collect();
    assert!(logged.contains("127.0.0.1"), "the log contains the lines of libraries: {logged}");
    for secret in SECRETS {
        assert!(!printed.contains(secret), "{printed}");
        assert!(!logged.contains(secret), "{logged}");
    }
}
