//! Apple's list of iOS versions, over TLS on loopback: trust, cache and errors.

#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::apple::{Apple, Response, ServerCert};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use statusd::phones::ios_releases::{HOST, Releases, Source, load};

const LIST: &str = r#"{"PublicAssetSets": {"iOS": [
    {"ProductVersion": "26.6.1", "SupportedDevices": ["iPhone13,2"]},
    {"ProductVersion": "26.5", "SupportedDevices": ["Watch6,1", "AppleTV14,1"]}
]}}"#;

async fn apple() -> Apple {
    let apple = Apple::start_tls(ServerCert::ValidFor(HOST)).await;
    apple.respond(Response::status(404));
    apple.at("/v2/pmv", Response::ok(LIST));
    apple
}

fn source(apple: &Apple, state: Option<&Path>) -> Source {
    let root = CertificateDer::from_pem_slice(apple.authority_pem().as_bytes()).expect("a certificate");
    Source {
        extra_roots: vec![root],
        address: Some(apple.address()),
        state_directory: state.map(Path::to_owned),
        timeout: Duration::from_secs(60),
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
async fn reads_the_list_from_apples_host() {
    let apple = apple().await;
    let releases = load(&source(&apple, None), now()).await.expect("a list");
    assert_eq!(newest(&releases).as_deref(), Some("26.6.1"));
    let request = &apple.requests()[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/v2/pmv"));
    assert!(request.header("host").is_some_and(|host| host.starts_with(HOST)), "{request:?}");
}

#[tokio::test]
async fn trusts_no_other_authority_or_host() {
    let apple = apple().await;
    let own = Source { extra_roots: Vec::new(), ..source(&apple, None) };
    let error = load(&own, now()).await.expect_err("an unknown authority");
    assert!(
        error.starts_with("cannot reach gdmf.apple.com: the certificate was issued by an unknown authority"),
        "{error}"
    );
    let other = Apple::start_tls(ServerCert::WrongHost).await;
    other.at("/v2/pmv", Response::ok(LIST));
    let error = load(&source(&other, None), now()).await.expect_err("another host");
    assert_eq!(error, "cannot reach gdmf.apple.com: the certificate is for another host");
    assert!(apple.requests().is_empty() && other.requests().is_empty());
}

#[tokio::test]
async fn caches_the_list_for_a_day() {
    let (apple, folder) = (apple().await, tempfile::tempdir().expect("a folder"));
    let source = source(&apple, Some(folder.path()));
    load(&source, now()).await.expect("a list");
    let again = load(&source, now() + hours(23)).await.expect("a list");
    assert_eq!((apple.requests().len(), newest(&again).as_deref()), (1, Some("26.6.1")));

    apple.at("/v2/pmv", Response::ok(LIST.replace("26.6.1", "26.7")));
    let next = load(&source, now() + hours(24)).await.expect("a list");
    assert_eq!((apple.requests().len(), newest(&next).as_deref()), (2, Some("26.7")));

    // An expired list, used because the server fails.
    apple.at("/v2/pmv", Response::status(503));
    let old = load(&source, now() + hours(24 * 9)).await.expect("the cached list");
    assert_eq!((old.at, newest(&old).as_deref()), (now() + hours(24), Some("26.7")));
    assert_eq!(old.stale.as_deref(), Some("gdmf.apple.com returned HTTP 503 Service Unavailable"));

    // A corrupt cache file is ignored and replaced.
    fs::write(folder.path().join("releases.json"), "{\"version\":1").expect("written");
    load(&source, now()).await.expect_err("no list");
    apple.at("/v2/pmv", Response::ok(LIST));
    assert_eq!(load(&source, now()).await.expect("a list").stale, None);
    assert_eq!(apple.requests().len(), 5);
    load(&source, now()).await.expect("the cached list");
    assert_eq!(apple.requests().len(), 5);
}

#[tokio::test]
async fn works_without_a_cache_directory() {
    let (apple, folder) = (apple().await, tempfile::tempdir().expect("a folder"));
    let nowhere = folder.path().join("nowhere");
    let releases = load(&source(&apple, Some(&nowhere)), now()).await.expect("a list");
    assert_eq!(newest(&releases).as_deref(), Some("26.6.1"));
    assert!(!nowhere.exists());
}

#[track_caller]
fn check_failure(outcome: Result<Releases, String>, expected: &str) {
    let error = outcome.expect_err("no list");
    assert!(error.contains(expected) && !error.contains('\n') && error.len() < 300, "{error}");
}

#[tokio::test]
async fn each_error_is_one_line() {
    let apple = apple().await;
    let source = source(&apple, None);
    let mut large = LIST.to_owned();
    large.push_str(&" ".repeat(4 << 20));
    for (response, expected) in [
        (Response::status(404), "returned HTTP 404 Not Found"),
        (Response::redirect("https://gdmf.apple.com/v2/pmv"), "returned HTTP 302 Found"),
        (Response::html(), "unknown format"),
        (Response::ok("{\"PublicAssetSets\":{\"iOS\":[]}}"), "it contains no versions"),
        (Response::ok(large.as_str()), "larger than 4 MiB"),
        (Response::ok(large.as_str()).gzip(), "larger than 4 MiB"),
        (Response::ok(LIST).cut(), "cannot reach gdmf.apple.com: "),
        (Response::close(), "cannot reach gdmf.apple.com: "),
        (Response::raw(b"SSH-2.0-x\r\n"), "cannot reach gdmf.apple.com: "),
    ] {
        apple.at("/v2/pmv", response);
        check_failure(load(&source, now()).await, expected);
    }
    let timeout = Duration::from_millis(200);
    for response in [Response::silence(), Response::ok(LIST).drip()] {
        apple.at("/v2/pmv", response);
        let source = Source { timeout, ..source.clone() };
        check_failure(load(&source, now()).await, "gdmf.apple.com did not respond within 0.2 s");
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().ok();
    drop(listener);
    check_failure(load(&Source { address, ..source }, now()).await, "cannot reach gdmf.apple.com: ");
}
