//! The heartbeat against an HTTP server on loopback.

use crate::common::http_server::{HttpServer, Reply, Request};
use statusd::channel::SendOutcome;
use statusd::delivery::heartbeat::{Heartbeat, Pulse, Settings};
use statusd::secret::Secret;

const PATH: &str = "/ping/UUIDSECRET";

async fn beat(pulse: &Pulse, reply: Reply) -> (SendOutcome, Request) {
    let mut peer = HttpServer::start([reply]).await;
    let settings = Settings { url: Some(Secret::new(peer.url(PATH))), url_file: None };
    let heartbeat = Heartbeat::new(&settings, &|_| panic!("no file to read")).expect("good").expect("one");
    let answer = heartbeat.beat(pulse).await;
    assert!(!answer.words().contains("UUIDSECRET"), "{answer:?}");
    (answer, peer.next().await)
}

#[tokio::test]
async fn a_good_look_calls_the_address() {
    let (answer, request) = beat(&Pulse::Good, Reply::status(200)).await;
    assert!(matches!(answer, SendOutcome::Delivered { .. }), "{answer:?}");
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", PATH));
    assert!(request.body.is_empty());
}

#[tokio::test]
async fn a_blind_one_calls_the_failing_address_with_the_reason() {
    let pulse = Pulse::Blind("no network: there is no way to www.apple.com from here".to_owned());
    let (_, request) = beat(&pulse, Reply::status(200)).await;
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/ping/UUIDSECRET/fail"));
    assert_eq!(request.body, b"no network: there is no way to www.apple.com from here");
}

#[tokio::test]
async fn a_watcher_that_refuses_is_quoted_without_the_secret() {
    let reply = Reply::status(404).with_body(format!("not found: {PATH}"));
    let (answer, _) = beat(&Pulse::Good, reply).await;
    assert!(matches!(&answer, SendOutcome::Permanent { words } if words.contains("404")), "{answer:?}");
}
