//! The webhook channel against an HTTP server on loopback.

use crate::common;
use std::path::Path;

use crate::common::http_server::{ClosedPort, HttpServer, Reply, Request};
use statusd::channel::Transport as _;
use statusd::channel::settings::RedactedUrl;
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
        url: RedactedUrl::new(url),
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
    let mut server = HttpServer::start([reply]).await;
    let mut webhook = webhook(&server.url(PATH));
    let outcome = webhook.send(&notice()).await;
    let request = server.next().await;
    assert!(server.is_quiet(), "one send is one request");
    check_detail(outcome.detail());
    (outcome, request)
}

#[track_caller]
fn check_detail(detail: &str) {
    for secret in [TOKEN, "T000PATHSECRET", "QUERYSECRET"] {
        assert!(!detail.contains(secret), "{detail}");
    }
    assert!(detail.starts_with("127.0.0.1 ") && !detail.contains(char::is_control), "{detail}");
}

#[tokio::test]
async fn request_matches_the_documentation() {
    let (outcome, request) = exchange(Reply::status(204)).await;
    let detail = "127.0.0.1 returned 204 No Content".to_owned();
    assert_eq!(outcome, SendOutcome::Delivered { receipt: None, detail });
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
async fn sends_no_credentials_or_signature_without_secrets() {
    let mut server = HttpServer::start([Reply::status(200)]).await;
    let settings = Settings {
        url: RedactedUrl::new(server.url("/")),
        bearer_token: None,
        bearer_token_file: None,
        hmac_secret: None,
        hmac_secret_file: None,
    };
    let mut webhook = Webhook::new(&settings, &|_| panic!("no file to read")).expect("a webhook");
    webhook.send(&notice()).await;
    let request = server.next().await;
    assert_eq!((request.header("authorization"), request.header("x-statusd-signature")), (None, None));
}

#[tokio::test]
async fn every_attempt_sends_the_same_bytes() {
    let mut server = HttpServer::start([Reply::status(500), Reply::status(200)]).await;
    let mut webhook = webhook(&server.url(PATH));
    assert!(matches!(webhook.send(&notice()).await, SendOutcome::Transient { .. }));
    assert!(matches!(webhook.send(&notice()).await, SendOutcome::Delivered { .. }));
    assert_eq!(server.next().await, server.next().await);
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

    let (outcome, _) = exchange(Reply::status(503).with_header("Retry-After", "\u{e9}t\u{e9}")).await;
    assert!(matches!(outcome, SendOutcome::Transient { after_s: None, .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_refusal_is_permanent_and_quotes_a_redacted_reason() {
    let body = format!("Cannot POST {PATH}:\r\n\u{1b}[31mtoken {TOKEN} is unknown");
    let (outcome, _) = exchange(Reply::status(401).with_body(body)).await;
    let detail = "127.0.0.1 returned 401 Unauthorized; the server requires other credentials; check the token in \
                 the config. Response: Cannot POST ***?***: [31mtoken *** is unknown";
    assert_eq!(outcome, SendOutcome::Permanent { detail: detail.to_owned() });
}

#[tokio::test]
async fn does_not_follow_redirects() {
    let elsewhere = HttpServer::start([Reply::status(200)]).await;
    let (outcome, _) =
        exchange(Reply::status(307).with_header("Location", elsewhere.url("/T000PATHSECRET"))).await;
    assert!(matches!(outcome, SendOutcome::Permanent { .. }), "{outcome:?}");
    assert!(outcome.detail().contains("write the final address into the config"), "{outcome:?}");
    assert!(elsewhere.is_quiet());
}

#[tokio::test]
async fn truncates_and_sanitises_the_reason() {
    let (outcome, _) = exchange(Reply::status(500).with_body("\u{202e}long ".repeat(1_000_000))).await;
    assert!(outcome.detail().chars().count() < 300 && outcome.detail().ends_with('…'), "{outcome:?}");

    let late = format!("{}late", "\u{1}".repeat(4096));
    let (outcome, _) = exchange(Reply::status(500).with_body(late)).await;
    assert!(!outcome.detail().contains("late"), "no more than 4 KiB are read: {outcome:?}");

    let (outcome, _) = exchange(Reply::status(500).with_body([0xff, 0x00, 0x1b, b'x'])).await;
    assert!(outcome.detail().ends_with("Response: \u{fffd}x"), "{outcome:?}");
}

#[tokio::test]
async fn distinguishes_unreachable_servers_from_reset_connections() {
    let closed_port = ClosedPort::new();
    let outcome = webhook(&format!("http://{}{PATH}", closed_port.address)).send(&notice()).await;
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
async fn malformed_responses_are_unclear_and_broken_connections_transient() {
    for bytes in
        [&b"220 mail.test ESMTP\r\n"[..], b"HTTP/1.1 two hundred\r\n\r\n", b"\xff\xfe\r\n\r\n", b"ok\n\n"]
    {
        let (outcome, _) = exchange(Reply::Raw(bytes)).await;
        let SendOutcome::Unclear { detail } = &outcome else { panic!("{bytes:?}: {outcome:?}") };
        check_detail(detail);
        assert!(detail.contains("did not respond with HTTP"), "{detail}");
    }
    for bytes in [&b""[..], b"HTTP/1.1 20"] {
        let (outcome, _) = exchange(Reply::Raw(bytes)).await;
        assert!(matches!(outcome, SendOutcome::Transient { reached: true, .. }), "{bytes:?}: {outcome:?}");
    }
    // Only the status counts, even if the rest is malformed.
    for bytes in [
        &b"HTTP/1.1 200 OK\r\nno header\r\nX-Folded: a\r\n b\r\nX : y\r\n\r\nthanks"[..],
        b"HTTP/1.0 202\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 \xe4\r\n\r\n",
    ] {
        let (outcome, _) = exchange(Reply::Raw(bytes)).await;
        assert!(matches!(outcome, SendOutcome::Delivered { .. }), "{bytes:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn times_out_if_the_server_never_responds() {
    let mut server = HttpServer::start([Reply::Never]).await;
    let mut webhook = webhook(&server.url(PATH));
    let notice = notice();
    let pause = async {
        server.next().await;
        // Only the timeout remains, so the paused clock jumps to it.
        tokio::time::pause();
    };
    let (outcome, ()) = tokio::join!(webhook.send(&notice), pause);
    let detail = "127.0.0.1 did not respond within 20 s".to_owned();
    assert_eq!(outcome, SendOutcome::Transient { after_s: None, reached: true, detail });
}

#[tokio::test]
async fn a_status_counts_even_if_its_body_breaks_off() {
    let (outcome, _) = exchange(Reply::CutBody(404)).await;
    assert!(
        matches!(&outcome, SendOutcome::Permanent { detail } if detail.ends_with("Response: half")),
        "{outcome:?}"
    );
    assert!(matches!(exchange(Reply::CutBody(200)).await.0, SendOutcome::Delivered { .. }));
}

#[tokio::test]
async fn redacts_secrets_in_logs_and_debug_output() {
    let log = common::log::everything();
    exchange(Reply::status(200)).await;
    exchange(Reply::status(403).with_body(TOKEN)).await;
    exchange(Reply::ResetAfterReading).await;
    let closed_port = ClosedPort::new();
    let mut unreached = webhook(&format!("http://{}{PATH}", closed_port.address));
    unreached.send(&notice()).await;

    let logged: String = log.try_iter().collect();
    assert!(logged.contains("127.0.0.1"), "the log contains the lines of libraries: {logged}");
    let printed = format!("{unreached:?} {unreached:#?} {logged}");
    for secret in [TOKEN, "T000PATHSECRET", "QUERYSECRET"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
