//! The heartbeat against an HTTP server on loopback.

use crate::common::http_server::{HttpServer, Reply, Request};
use statusd::channel::SendOutcome;
use statusd::delivery::heartbeat::{Beat, Heartbeat, Settings};
use statusd::secret::Secret;

const PATH: &str = "/ping/UUIDSECRET";

async fn send(beat: &Beat, reply: Reply) -> (SendOutcome, Request) {
    let mut peer = HttpServer::start([reply]).await;
    let settings = Settings { url: Some(Secret::new(peer.url(PATH))), url_file: None };
    let heartbeat = Heartbeat::new(&settings, &|_| panic!("no file to read")).expect("good").expect("one");
    let outcome = heartbeat.send(beat).await;
    assert!(!outcome.detail().contains("UUIDSECRET"), "{outcome:?}");
    (outcome, peer.next().await)
}

#[tokio::test]
async fn successful_poll_calls_the_url() {
    let (outcome, request) = send(&Beat::Success, Reply::status(200)).await;
    assert!(matches!(outcome, SendOutcome::Delivered { .. }), "{outcome:?}");
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", PATH));
    assert!(request.body.is_empty());
}

#[tokio::test]
async fn unreadable_feed_calls_the_fail_url_with_the_reason() {
    let beat = Beat::Failure("cannot reach www.apple.com: no network connection".to_owned());
    let (_, request) = send(&beat, Reply::status(200)).await;
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/ping/UUIDSECRET/fail"));
    assert_eq!(request.body, b"cannot reach www.apple.com: no network connection");
}

#[tokio::test]
async fn quotes_a_rejection_without_the_secret() {
    let reply = Reply::status(404).with_body(format!("not found: {PATH}"));
    let (outcome, _) = send(&Beat::Success, reply).await;
    assert!(matches!(&outcome, SendOutcome::Permanent { detail } if detail.contains("404")), "{outcome:?}");
}
