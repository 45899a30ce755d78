//! The channels `ntfy`, `gotify` and `pushover` against an HTTP server on loopback that responds as
//! documented by these services.

use crate::common;
use std::collections::BTreeMap;

use crate::common::http_server::{HttpServer, Nobody, Reply, Request};
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

/// The channel of that table, made as the daemon makes it.
fn opened(kind: &str, settings: &str) -> Channel {
    let tables: Tables = toml::from_str(&format!("[{kind}.phone]\n{settings}")).expect("settings");
    let name = format!("{kind}.phone");
    let all = tables.all();
    let (_, table) = all.iter().find(|(found, _)| *found == name).expect("the table");
    let read = |path: &std::path::Path| match path.to_str() {
        Some("/token") => Ok(Secret::new(format!("{TOKEN}\n"))),
        other => panic!("{other:?} is no file of a secret"),
    };
    Channel::new(name, table.audience(), table.open(&read).expect("a channel"))
}

/// With the service at `address`, below a path, and with all of its secrets.
fn phone(kind: &str, address: std::net::SocketAddr) -> Channel {
    let settings = match kind {
        "ntfy" => format!("url = 'http://{address}/push/{PLACE}'\ntoken_file = '/token'"),
        "gotify" => format!("url = 'http://{address}/{PLACE}/'\ntoken_file = '/token'"),
        "pushover" => {
            format!("url = 'http://{address}/{PLACE}/messages.json'\ntoken_file = '/token'\nuser = '{USER}'")
        }
        other => panic!("{other} is no kind"),
    };
    opened(kind, &settings)
}

/// Sends a notice, and returns the outcome of this reply and the request.
async fn exchange(kind: &str, reply: Reply) -> (SendOutcome, Request) {
    let mut peer = HttpServer::start([reply]).await;
    let answer = phone(kind, peer.address).send(&began()).await;
    let request = peer.next().await;
    assert!(peer.is_quiet(), "one send is one request");
    check_words(&answer);
    (answer, request)
}

#[track_caller]
fn check_words(answer: &SendOutcome) {
    let words = answer.words();
    for secret in SECRETS {
        assert!(!words.contains(secret), "{words}");
    }
    assert!(words.starts_with("127.0.0.1 ") && !words.contains(char::is_control), "{words}");
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
async fn ntfy_is_sent_json_at_its_root() {
    let published = json!({"id": "hwQ2YpKdmg", "time": 1, "event": "message", "topic": PLACE});
    let (answer, request) = exchange("ntfy", ok(&published)).await;
    let message = body(&request);
    assert_eq!((request.target.as_str(), &message["topic"]), ("/push/", &json!(PLACE)));
    assert_eq!(request.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(message["title"], "iCloud Backup began – “wirklich”");
    assert_eq!(message["message"], "Since 02:10.\nBack up over Wi-Fi later.");
    assert_eq!((&message["priority"], &message["tags"]), (&json!(4), &json!(["warning"])));
    assert_eq!(message["click"], "https://www.apple.com/support/systemstatus/");
    let receipt = Some(message["sequence_id"].as_str().expect("an id").to_owned());
    let words = "127.0.0.1 answers 200 OK. It says: id hwQ2YpKdmg".to_owned();
    assert_eq!(answer, SendOutcome::Delivered { receipt, words });
}

#[tokio::test]
async fn ntfy_takes_a_password_or_nobody() {
    for (login, expected) in
        [("user = 'me'\npassword_file = '/token'", Some(format!("Basic {BASIC}"))), ("", None)]
    {
        let echo = json!({"code": 40301, "error": format!("forbidden: {BASIC} {TOKEN}")});
        let mut peer = HttpServer::start([Reply::status(403).with_body(echo.to_string())]).await;
        let settings = format!("url = '{}'\n{login}", peer.url(&format!("/{PLACE}")));
        let answer = opened("ntfy", &settings).send(&began()).await;
        assert_eq!(peer.next().await.header("authorization"), expected.as_deref());
        if !login.is_empty() {
            check_words(&answer);
        }
    }
}

/// The messages on the screens of a client with support for sequence ids and of one without.
#[derive(Default)]
struct Screens {
    by_sequence: BTreeMap<String, String>,
    one_by_one: Vec<String>,
}

impl Screens {
    fn show(&mut self, request: &Request) {
        let message = body(request);
        let text = |key: &str| message[key].as_str().expect("text").to_owned();
        let id = text("sequence_id");
        // The ntfy server responds with 400 to other ids.
        assert!((1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        self.by_sequence.insert(id, text("title"));
        self.one_by_one.push(text("title"));
    }
}

#[tokio::test]
async fn on_ntfy_an_outage_is_one_message_even_if_repeated() {
    let mut peer = HttpServer::start([ok(&json!({"id": "a"})), Reply::status(200)]).await;
    let mut channel = phone("ntfy", peer.address);
    let mut screens = Screens::default();
    let SendOutcome::Delivered { receipt, .. } = channel.send(&began()).await else {
        panic!("not delivered")
    };
    screens.show(&peer.next().await);
    // statusd was killed before it could write that down.
    let again = channel.send(&began()).await;
    screens.show(&peer.next().await);
    assert!(matches!(again, SendOutcome::Delivered { receipt: same, .. } if same == receipt));

    let ended = Notice { replaces: receipt.clone(), ..notice("ended", Severity::Resolved) };
    for _twice in 0..2 {
        let SendOutcome::Delivered { receipt: ends, .. } = channel.send(&ended).await else {
            panic!("not delivered")
        };
        assert_eq!(ends, receipt, "what comes after an end takes the same place");
        screens.show(&peer.next().await);
    }
    channel.send(&notice("reopened", Severity::Alert)).await;
    screens.show(&peer.next().await);

    let titles = |kind: &str| format!("iCloud Backup {kind} – “wirklich”");
    let mut shown: Vec<String> = screens.by_sequence.into_values().collect();
    shown.sort();
    assert_eq!(shown, [titles("ended"), titles("reopened")]);
    let all = ["began", "began", "ended", "ended", "reopened"].map(titles);
    assert_eq!(screens.one_by_one, all, "an older app shows the end after the start");
}

#[tokio::test]
async fn gotify_is_sent_a_message_with_the_key_in_a_header() {
    let sent = json!({"id": 25, "appid": 5, "message": "m", "title": "t", "priority": 8, "date": "d"});
    let (answer, request) = exchange("gotify", ok(&sent)).await;
    let message = body(&request);
    assert_eq!(request.target, format!("/{PLACE}/message"));
    assert_eq!((request.header("x-gotify-key"), request.header("authorization")), (Some(TOKEN), None));
    assert_eq!(message["title"], "iCloud Backup began – “wirklich”");
    assert_eq!(message["message"], "Since 02:10.\nBack up over Wi-Fi later.");
    assert_eq!(message["priority"], 8);
    assert_eq!(message["extras"]["client::display"]["contentType"], "text/plain");
    let click = &message["extras"]["client::notification"]["click"]["url"];
    assert_eq!(click, "https://www.apple.com/support/systemstatus/");
    let words = "127.0.0.1 answers 200 OK. It says: id 25".to_owned();
    assert_eq!(answer, SendOutcome::Delivered { receipt: None, words });
}

#[tokio::test]
async fn pushover_is_sent_no_more_than_it_takes() {
    let (answer, request) = exchange("pushover", ok(&json!({"status": 1, "request": "647d2300"}))).await;
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
    let words = "127.0.0.1 answers 200 OK. It says: request 647d2300".to_owned();
    assert_eq!(answer, SendOutcome::Delivered { receipt: None, words });
}

#[tokio::test]
async fn people_are_told_and_every_try_sends_the_same_bytes() {
    for kind in KINDS {
        let mut peer = HttpServer::start([Reply::status(500), Reply::status(200)]).await;
        let mut channel = phone(kind, peer.address);
        assert_eq!(channel.audience(), Audience::People);
        assert!(matches!(channel.send(&began()).await, SendOutcome::Transient { .. }), "{kind}");
        assert!(matches!(channel.send(&began()).await, SendOutcome::Delivered { .. }), "{kind}");
        assert_eq!(peer.next().await, peer.next().await, "{kind}");
    }
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    for kind in KINDS {
        let peer = HttpServer::start((100..=599).map(Reply::status)).await;
        let mut channel = phone(kind, peer.address);
        for status in 100..=599 {
            let answer = channel.send(&began()).await;
            check_words(&answer);
            let expected = match status {
                // Interim responses except 101. The final response never arrives.
                100 | 102..=199 => "retry",
                200..=299 => "delivered",
                408 | 409 | 421 | 425 | 429 | 500 | 502..=504 | 506..=599 => "retry",
                _ => "refused",
            };
            let meaning = match &answer {
                SendOutcome::Delivered { receipt, .. } => {
                    assert_eq!(receipt.is_some(), kind == "ntfy");
                    "delivered"
                }
                SendOutcome::Transient { after_s, reached: true, .. } => {
                    let asks_for_patience = kind == "pushover" && status >= 500;
                    assert_eq!(*after_s, asks_for_patience.then_some(5), "{kind} {status}");
                    "retry"
                }
                SendOutcome::Permanent { words } => {
                    assert!(words.contains("; "), "a refusal says what to do: {words}");
                    "refused"
                }
                SendOutcome::Transient { reached: false, .. } | SendOutcome::Unclear { .. } => {
                    panic!("{kind} {status}: {answer:?}")
                }
            };
            assert_eq!(meaning, expected, "{kind} {status}");
        }
    }
}

#[tokio::test]
async fn a_wish_to_wait_is_passed_on() {
    for kind in KINDS {
        for (status, value, expected) in [
            (429, "3600", Some(3600)),
            (503, " 120 ", Some(120)),
            (503, "Fri, 01 Jan 2100 00:00:00 GMT", None),
            (503, "99999999999999999999999999", Some(u64::MAX)),
        ] {
            let reply = Reply::status(status).with_header("Retry-After", value);
            let (answer, _) = exchange(kind, reply).await;
            let SendOutcome::Transient { after_s: Some(after_s), reached: true, .. } = answer else {
                panic!("{kind} {value}: {answer:?}")
            };
            // The delay until a date depends on the current time.
            assert!(expected.map_or(after_s > 1_000_000, |expected| after_s == expected), "{kind} {value}");
        }
        for absurd in ["-5", "soon", "\u{e9}t\u{e9}", "Thu, 01 Jan 1970 00:00:00 GMT"] {
            let (answer, _) = exchange(kind, Reply::status(429).with_header("Retry-After", absurd)).await;
            assert!(
                matches!(answer, SendOutcome::Transient { after_s: None | Some(0), .. }),
                "{kind}: {answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn pushovers_own_word_for_the_wait_is_understood() {
    let reset = (jiff::Timestamp::now().as_second() + 86_400).to_string();
    let reply = Reply::status(429).with_header("X-Limit-App-Remaining", "0");
    let (answer, _) = exchange("pushover", reply.with_header("X-Limit-App-Reset", reset)).await;
    let SendOutcome::Transient { after_s: Some(after_s), reached: true, words } = &answer else {
        panic!("{answer:?}")
    };
    assert!((1..=86_400).contains(after_s) && words.contains("used up"), "{answer:?}");
}

#[track_caller]
fn check_refused(answer: &SendOutcome, words: &str) {
    assert_eq!(*answer, SendOutcome::Permanent { words: words.to_owned() });
}

#[tokio::test]
async fn errors_are_repeated_in_the_services_own_words_without_their_links() {
    let error = |status, body: Value| Reply::status(status).with_body(body.to_string());
    let said = json!({"code": 40101, "http": 401, "error": "unauthorized", "link": "https://ntfy.sh/docs"});
    check_refused(
        &exchange("ntfy", error(401, said)).await.0,
        "127.0.0.1 answers 401 Unauthorized; the receiver wants other credentials; check the token in the \
         config. It says: unauthorized (40101)",
    );
    let said = json!({"code": 41303, "http": 413, "error": "JSON body too large"});
    check_refused(
        &exchange("ntfy", error(413, said)).await.0,
        "127.0.0.1 answers 413 Payload Too Large; the message is too large for the receiver; raise its limit. \
         It says: JSON body too large (41303)",
    );
    for (status, code, text) in [
        (429, 42908, "limit reached: daily message quota reached"),
        (507, 50701, "topic is inactive; no device available to receive message"),
    ] {
        let said = json!({"code": code, "http": status, "error": text});
        let (answer, _) = exchange("ntfy", error(status, said)).await;
        assert!(matches!(answer, SendOutcome::Transient { after_s: None, reached: true, .. }), "{answer:?}");
        assert!(answer.words().ends_with(&format!("It says: {text} ({code})")), "{answer:?}");
    }
    for status in [400, 401, 403] {
        let said =
            json!({"error": "Refused", "errorCode": status, "errorDescription": "you need a valid token"});
        let (answer, _) = exchange("gotify", error(status, said)).await;
        assert!(matches!(answer, SendOutcome::Permanent { .. }), "{answer:?}");
        assert!(answer.words().ends_with("It says: you need a valid token"), "{answer:?}");
    }
    let said = json!({"user": "invalid", "errors": ["user identifier is invalid"], "status": 0});
    check_refused(
        &exchange("pushover", error(400, said)).await.0,
        "127.0.0.1 answers 400; check token, user and device in the config. It says: user identifier is invalid",
    );
}

#[tokio::test]
async fn no_answer_of_a_service_gives_a_secret_away() {
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
async fn a_web_page_is_nobody_who_was_told() {
    for kind in KINDS {
        let page = Reply::status(200).with_header("Content-Type", "text/html");
        let (answer, _) = exchange(kind, page.with_body("<!doctype html><title>Log in</title>")).await;
        // On this computer no network can have put it there.
        assert!(matches!(answer, SendOutcome::Unclear { .. }), "{kind}: {answer:?}");
        assert!(answer.words().contains("with a web page; check the address"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for kind in KINDS {
        let elsewhere = HttpServer::start([Reply::status(200)]).await;
        let (answer, _) =
            exchange(kind, Reply::status(308).with_header("Location", elsewhere.url("/"))).await;
        assert!(matches!(answer, SendOutcome::Permanent { .. }), "{kind}: {answer:?}");
        assert!(elsewhere.is_quiet(), "{kind}");
    }
}

#[tokio::test]
async fn only_a_service_that_was_never_reached_counts_as_such() {
    for kind in KINDS {
        let nobody = Nobody::new();
        let answer = phone(kind, nobody.address).send(&began()).await;
        check_words(&answer);
        assert!(
            matches!(answer, SendOutcome::Transient { after_s: None, reached: false, .. }),
            "{kind}: {answer:?}"
        );
        for reply in [Reply::ResetBeforeReading, Reply::ResetAfterReading] {
            let (answer, _) = exchange(kind, reply).await;
            assert!(
                matches!(answer, SendOutcome::Transient { after_s: None, reached: true, .. }),
                "{kind}: {answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_status_counts_even_if_its_body_breaks_off() {
    for kind in KINDS {
        let (answer, _) = exchange(kind, Reply::CutBody(404)).await;
        assert!(
            matches!(&answer, SendOutcome::Permanent { words } if words.ends_with("It says: half")),
            "{answer:?}"
        );
        let (answer, _) = exchange(kind, Reply::CutBody(200)).await;
        assert!(matches!(answer, SendOutcome::Delivered { .. }), "{kind}: {answer:?}");
    }
}

async fn check_left_after_the_deadline(kind: &str) {
    let mut peer = HttpServer::start([Reply::Never]).await;
    let mut channel = phone(kind, peer.address);
    let notice = began();
    let silence = async {
        peer.next().await;
        // Nothing is left to happen but the deadline: the clock jumps there.
        tokio::time::pause();
    };
    let (answer, ()) = tokio::join!(channel.send(&notice), silence);
    let words = "127.0.0.1 gave no answer within 20 s".to_owned();
    assert_eq!(answer, SendOutcome::Transient { after_s: None, reached: true, words }, "{kind}");
    tokio::time::resume();
}

#[tokio::test]
async fn a_service_that_never_answers_is_left_after_the_deadline() {
    for kind in KINDS {
        check_left_after_the_deadline(kind).await;
    }
}

#[tokio::test]
async fn no_secret_is_logged_or_printed() {
    let log = common::log::everything();
    let mut printed = String::new();
    for kind in KINDS {
        exchange(kind, Reply::status(200)).await;
        exchange(kind, Reply::status(403).with_body(SECRETS[0])).await;
        exchange(kind, Reply::ResetAfterReading).await;
        let nobody = Nobody::new();
        let mut unreached = phone(kind, nobody.address);
        unreached.send(&began()).await;
        printed.push_str(&format!("{unreached:?} {unreached:#?}"));
    }
    let logged: String = log.try_iter().collect();
    assert!(logged.contains("127.0.0.1"), "the libraries' lines are seen: {logged}");
    for secret in SECRETS {
        assert!(!printed.contains(secret), "{printed}");
        assert!(!logged.contains(secret), "{logged}");
    }
}
