//! Apple's list of iOS versions, over TLS on loopback: trust, cache and errors.

#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::apple::{Answer, Apple, Papers};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use statusd::phones::ios_releases::{HOST, Releases, Source, ask};

const LIST: &str = r#"{"PublicAssetSets": {"iOS": [
    {"ProductVersion": "26.6.1", "SupportedDevices": ["iPhone13,2"]},
    {"ProductVersion": "26.5", "SupportedDevices": ["Watch6,1", "AppleTV14,1"]}
]}}"#;

async fn apple() -> Apple {
    let apple = Apple::start_tls(Papers::Of(HOST)).await;
    apple.answer(Answer::status(404));
    apple.at("/v2/pmv", Answer::ok(LIST));
    apple
}

fn source(apple: &Apple, state: Option<&Path>) -> Source {
    let root = CertificateDer::from_pem_slice(apple.authority_pem().as_bytes()).expect("a certificate");
    Source {
        extra_roots: vec![root],
        address: Some(apple.address()),
        state_directory: state.map(Path::to_owned),
        within: Duration::from_secs(60),
    }
}

fn now() -> Timestamp {
    "2026-08-01T00:00:00Z".parse().expect("a time")
}

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

fn newest(releases: &Releases) -> Option<String> {
    releases.newest_for("iPhone13,2").map(ToString::to_string)
}

#[tokio::test]
async fn the_list_is_read_from_apples_own_host() {
    let apple = apple().await;
    let releases = ask(&source(&apple, None), now()).await.expect("a list");
    assert_eq!(newest(&releases).as_deref(), Some("26.6.1"));
    let request = &apple.requests()[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/v2/pmv"));
    assert!(request.header("host").is_some_and(|host| host.starts_with(HOST)), "{request:?}");
}

#[tokio::test]
async fn nobody_else_is_trusted() {
    let apple = apple().await;
    let own = Source { extra_roots: Vec::new(), ..source(&apple, None) };
    let words = ask(&own, now()).await.expect_err("an unknown authority");
    assert!(
        words.starts_with("cannot ask gdmf.apple.com: the certificate was issued by an authority that"),
        "{words}"
    );
    let other = Apple::start_tls(Papers::WrongHost).await;
    other.at("/v2/pmv", Answer::ok(LIST));
    let words = ask(&source(&other, None), now()).await.expect_err("another host");
    assert_eq!(words, "cannot ask gdmf.apple.com: the certificate is for another host");
    assert!(apple.requests().is_empty() && other.requests().is_empty());
}

#[tokio::test]
async fn the_answer_is_kept_for_a_day() {
    let (apple, folder) = (apple().await, tempfile::tempdir().expect("a folder"));
    let source = source(&apple, Some(folder.path()));
    ask(&source, now()).await.expect("a list");
    let again = ask(&source, now() + hours(23)).await.expect("a list");
    assert_eq!((apple.requests().len(), newest(&again).as_deref()), (1, Some("26.6.1")));

    apple.at("/v2/pmv", Answer::ok(LIST.replace("26.6.1", "26.7")));
    let next = ask(&source, now() + hours(24)).await.expect("a list");
    assert_eq!((apple.requests().len(), newest(&next).as_deref()), (2, Some("26.7")));

    // Too old to be taken unasked, and better than nothing.
    apple.at("/v2/pmv", Answer::status(503));
    let old = ask(&source, now() + hours(24 * 9)).await.expect("the kept list");
    assert_eq!((old.at, newest(&old).as_deref()), (now() + hours(24), Some("26.7")));
    assert_eq!(old.stale.as_deref(), Some("gdmf.apple.com answers 503 Service Unavailable"));

    // A corrupt cache file is ignored and replaced.
    fs::write(folder.path().join("releases.json"), "{\"version\":1").expect("written");
    ask(&source, now()).await.expect_err("no list");
    apple.at("/v2/pmv", Answer::ok(LIST));
    assert_eq!(ask(&source, now()).await.expect("a list").stale, None);
    assert_eq!(apple.requests().len(), 5);
    ask(&source, now()).await.expect("the kept list");
    assert_eq!(apple.requests().len(), 5);
}

#[tokio::test]
async fn without_a_place_to_keep_it_it_is_an_answer_all_the_same() {
    let (apple, folder) = (apple().await, tempfile::tempdir().expect("a folder"));
    let nowhere = folder.path().join("nowhere");
    let releases = ask(&source(&apple, Some(&nowhere)), now()).await.expect("a list");
    assert_eq!(newest(&releases).as_deref(), Some("26.6.1"));
    assert!(!nowhere.exists());
}

#[track_caller]
fn check_failure(outcome: Result<Releases, String>, expected: &str) {
    let words = outcome.expect_err("no list");
    assert!(words.contains(expected) && !words.contains('\n') && words.len() < 300, "{words}");
}

#[tokio::test]
async fn what_fails_is_one_line() {
    let apple = apple().await;
    let source = source(&apple, None);
    let mut large = LIST.to_owned();
    large.push_str(&" ".repeat(4 << 20));
    for (answer, expected) in [
        (Answer::status(404), "answers 404 Not Found"),
        (Answer::redirect("https://gdmf.apple.com/v2/pmv"), "answers 302 Found"),
        (Answer::html(), "no list of versions"),
        (Answer::ok("{\"PublicAssetSets\":{\"iOS\":[]}}"), "a list without versions"),
        (Answer::ok(large.as_str()), "more than 4 MiB"),
        (Answer::ok(large.as_str()).gzip(), "more than 4 MiB"),
        (Answer::ok(LIST).cut(), "cannot ask gdmf.apple.com: "),
        (Answer::hang_up(), "cannot ask gdmf.apple.com: "),
        (Answer::raw(b"SSH-2.0-x\r\n"), "cannot ask gdmf.apple.com: "),
    ] {
        apple.at("/v2/pmv", answer);
        check_failure(ask(&source, now()).await, expected);
    }
    let within = Duration::from_millis(200);
    for answer in [Answer::silence(), Answer::ok(LIST).drip()] {
        apple.at("/v2/pmv", answer);
        let hurried = Source { within, ..source.clone() };
        check_failure(ask(&hurried, now()).await, "gdmf.apple.com did not answer within 0.2 s");
    }
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = nobody.local_addr().ok();
    drop(nobody);
    check_failure(ask(&Source { address, ..source }, now()).await, "cannot ask gdmf.apple.com: ");
}
