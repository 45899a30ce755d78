//! The webhook channel against an HTTP server on loopback.

use crate::common;
use std::path::Path;

use crate::common::http_server::{HttpServer, Nobody, Reply, Request};
use statusd::channel::Transport as _;
use statusd::channel::webhook::{Settings, Webhook};
use statusd::channel::{Notice, SendOutcome};
use statusd::model::Severity;
use statusd::secret::Secret;

const TOKEN: &str = "t0kent0kent0ken";
const KEY: &str = "key";
const PATH: &str = "/hook/T000PATHSECRET?room=QUERYSECRET";
/// HMAC-SHA256 under "key" is f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8.
const PAYLOAD: &str = "The quick brown fox jumps over the lazy dog";

fn notice() -> Notice {
    Notice {
        key: "consumer/en_US/icloud%20backup/1002938/1/began".to_owned(),
        title: "iCloud Backup is down".to_owned(),
        body: "Since 02:10.".to_owned(),
        severity: Severity::Alert,
        payload: PAYLOAD.to_owned(),
        replaces: None,
        follows: None,
    }
}

fn webhook(url: &str) -> Webhook {
    let settings = Settings {
        url: url.to_owned(),
        bearer_token: None,
        bearer_token_file: Some("/run/credentials/token".into()),
        hmac_secret: Some(Secret::new(KEY)),
        hmac_secret_file: None,
    };
    let read = |path: &Path| {
        assert_eq!(path, Path::new("/run/credentials/token"));
        Ok(Secret::new(format!("{TOKEN}\n")))
    };
    Webhook::new(&settings, &read).expect("a webhook")
}

/// Sends a notice, and returns the outcome of this reply and the request.
async fn exchange(reply: Reply) -> (SendOutcome, Request) {
    let mut peer = HttpServer::start([reply]).await;
    let mut webhook = webhook(&peer.url(PATH));
    let answer = webhook.send(&notice()).await;
    let request = peer.next().await;
    assert!(peer.is_quiet(), "one send is one request");
    check_words(answer.words());
    (answer, request)
}

#[track_caller]
fn check_words(words: &str) {
    for secret in [TOKEN, "T000PATHSECRET", "QUERYSECRET"] {
        assert!(!words.contains(secret), "{words}");
    }
    assert!(words.starts_with("127.0.0.1 ") && !words.contains(char::is_control), "{words}");
}

#[tokio::test]
async fn the_request_is_as_documented() {
    let (answer, request) = exchange(Reply::status(204)).await;
    let words = "127.0.0.1 answers 204 No Content".to_owned();
    assert_eq!(answer, SendOutcome::Delivered { receipt: None, words });
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", PATH));
    assert_eq!(request.body, PAYLOAD.as_bytes());
    for (header, value) in [
        ("content-type", "application/json"),
        ("user-agent", concat!("statusd/", env!("CARGO_PKG_VERSION"))),
        ("idempotency-key", "consumer/en_US/icloud%20backup/1002938/1/began"),
        ("authorization", "Bearer t0kent0kent0ken"),
        ("x-statusd-signature", "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"),
    ] {
        assert_eq!(request.header(header), Some(value), "{header}");
    }
}

#[tokio::test]
async fn without_secrets_nothing_is_signed_or_claimed() {
    let mut peer = HttpServer::start([Reply::status(200)]).await;
    let settings = Settings {
        url: peer.url("/"),
        bearer_token: None,
        bearer_token_file: None,
        hmac_secret: None,
        hmac_secret_file: None,
    };
    let mut webhook = Webhook::new(&settings, &|_| panic!("no file to read")).expect("a webhook");
    webhook.send(&notice()).await;
    let request = peer.next().await;
    assert_eq!((request.header("authorization"), request.header("x-statusd-signature")), (None, None));
}

#[tokio::test]
async fn every_try_sends_the_same_bytes() {
    let mut peer = HttpServer::start([Reply::status(500), Reply::status(200)]).await;
    let mut webhook = webhook(&peer.url(PATH));
    assert!(matches!(webhook.send(&notice()).await, SendOutcome::Transient { .. }));
    assert!(matches!(webhook.send(&notice()).await, SendOutcome::Delivered { .. }));
    assert_eq!(peer.next().await, peer.next().await);
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

    let (answer, _) = exchange(Reply::status(503).with_header("Retry-After", "\u{e9}t\u{e9}")).await;
    assert!(matches!(answer, SendOutcome::Transient { after_s: None, .. }), "{answer:?}");
}

#[tokio::test]
async fn a_refusal_is_final_and_repeats_the_reason_without_secrets() {
    let body = format!("Cannot POST {PATH}:\r\n\u{1b}[31mtoken {TOKEN} is unknown");
    let (answer, _) = exchange(Reply::status(401).with_body(body)).await;
    let words = "127.0.0.1 answers 401 Unauthorized; the receiver wants other credentials; check the token in \
                 the config. It says: Cannot POST ***?***: [31mtoken *** is unknown";
    assert_eq!(answer, SendOutcome::Permanent { words: words.to_owned() });
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = HttpServer::start([Reply::status(200)]).await;
    let (answer, _) =
        exchange(Reply::status(307).with_header("Location", elsewhere.url("/T000PATHSECRET"))).await;
    assert!(matches!(answer, SendOutcome::Permanent { .. }), "{answer:?}");
    assert!(answer.words().contains("write the final address into the config"), "{answer:?}");
    assert!(elsewhere.is_quiet());
}

#[tokio::test]
async fn a_long_or_binary_reason_is_harmless() {
    let (answer, _) = exchange(Reply::status(500).with_body("\u{202e}long ".repeat(1_000_000))).await;
    assert!(answer.words().chars().count() < 300 && answer.words().ends_with('…'), "{answer:?}");

    let late = format!("{}late", "\u{1}".repeat(4096));
    let (answer, _) = exchange(Reply::status(500).with_body(late)).await;
    assert!(!answer.words().contains("late"), "no more than 4 KiB are read: {answer:?}");

    let (answer, _) = exchange(Reply::status(500).with_body([0xff, 0x00, 0x1b, b'x'])).await;
    assert!(answer.words().ends_with("It says: \u{fffd}x"), "{answer:?}");
}

#[tokio::test]
async fn only_a_peer_that_was_never_reached_counts_as_such() {
    let nobody = Nobody::new();
    let answer = webhook(&format!("http://{}{PATH}", nobody.address)).send(&notice()).await;
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
async fn an_answer_that_is_no_http_is_unclear_and_one_that_breaks_off_is_not() {
    for bytes in
        [&b"220 mail.test ESMTP\r\n"[..], b"HTTP/1.1 two hundred\r\n\r\n", b"\xff\xfe\r\n\r\n", b"ok\n\n"]
    {
        let (answer, _) = exchange(Reply::Raw(bytes)).await;
        let SendOutcome::Unclear { words } = &answer else { panic!("{bytes:?}: {answer:?}") };
        check_words(words);
        assert!(words.contains("got it and answers what is not HTTP"), "{words}");
    }
    for bytes in [&b""[..], b"HTTP/1.1 20"] {
        let (answer, _) = exchange(Reply::Raw(bytes)).await;
        assert!(matches!(answer, SendOutcome::Transient { reached: true, .. }), "{bytes:?}: {answer:?}");
    }
    // Only the status counts, even if the rest is malformed.
    for bytes in [
        &b"HTTP/1.1 200 OK\r\nno header\r\nX-Folded: a\r\n b\r\nX : y\r\n\r\nthanks"[..],
        b"HTTP/1.0 202\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 \xe4\r\n\r\n",
    ] {
        let (answer, _) = exchange(Reply::Raw(bytes)).await;
        assert!(matches!(answer, SendOutcome::Delivered { .. }), "{bytes:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_peer_that_never_answers_is_left_after_the_deadline() {
    let mut peer = HttpServer::start([Reply::Never]).await;
    let mut webhook = webhook(&peer.url(PATH));
    let notice = notice();
    let silence = async {
        peer.next().await;
        // Nothing is left to happen but the deadline: the clock jumps there.
        tokio::time::pause();
    };
    let (answer, ()) = tokio::join!(webhook.send(&notice), silence);
    let words = "127.0.0.1 gave no answer within 20 s".to_owned();
    assert_eq!(answer, SendOutcome::Transient { after_s: None, reached: true, words });
}

#[tokio::test]
async fn a_status_counts_even_if_its_body_breaks_off() {
    let (answer, _) = exchange(Reply::CutBody(404)).await;
    assert!(
        matches!(&answer, SendOutcome::Permanent { words } if words.ends_with("It says: half")),
        "{answer:?}"
    );
    assert!(matches!(exchange(Reply::CutBody(200)).await.0, SendOutcome::Delivered { .. }));
}

#[tokio::test]
async fn no_secret_is_logged_or_printed() {
    let log = common::log::everything();
    exchange(Reply::status(200)).await;
    exchange(Reply::status(403).with_body(TOKEN)).await;
    exchange(Reply::ResetAfterReading).await;
    let nobody = Nobody::new();
    let mut unreached = webhook(&format!("http://{}{PATH}", nobody.address));
    unreached.send(&notice()).await;

    let logged: String = log.try_iter().collect();
    assert!(logged.contains("127.0.0.1"), "the libraries' lines are seen: {logged}");
    let printed = format!("{unreached:?} {unreached:#?} {logged}");
    for secret in [TOKEN, "T000PATHSECRET", "QUERYSECRET"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
