//! Every outcome of a fetch, each against a mock server on loopback.
//!
//! Tests that depend on environment variables (proxies, trust store) run in their own process.

use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::common::apple::{Apple, PATH, Response, ServerCert};
use crate::common::doc::Doc;
use statusd::feed::fetch::{
    FailureKind, FeedUrl, FetchError, FetchLimits, FetchOutcome, Fetcher, RedirectError,
};
use statusd::model::{Fault, ServiceKey};
use statusd::tls::TlsProblem;
use tempfile::TempDir;
use tokio::net::TcpSocket;

const START: i64 = 1_619_449_200;
const LIMIT_BYTES: usize = 1 << 20;

fn down() -> Doc {
    Doc::new()
        .service("iCloud Backup")
        .event("1001", "Outage", "ongoing", START, None)
        .service("Photos")
        .posted("04/26/2021 08:15 PDT")
}

fn fetcher(url: &str) -> Fetcher {
    fetcher_within(url, FetchLimits::default())
}

fn fetcher_within(url: &str, limits: FetchLimits) -> Fetcher {
    Fetcher::new(FeedUrl::parse(url).expect("an address"), limits, None).expect("a fetcher")
}

async fn fetch(url: &str) -> Result<FetchOutcome, FetchError> {
    fetcher(url).fetch().await
}

/// Fetches one response.
async fn fetch_response(response: Response) -> Result<FetchOutcome, FetchError> {
    let apple = Apple::start().await;
    apple.respond(response);
    fetch(&apple.url()).await
}

async fn failure_of(response: Response) -> FetchError {
    fetch_response(response).await.expect_err("an unreadable response")
}

#[track_caller]
fn check_down(outcome: Result<FetchOutcome, FetchError>) {
    let Ok(FetchOutcome::New { document, .. }) = outcome else { panic!("no document: {outcome:?}") };
    let listing = &document.services[&ServiceKey::new("iCloud Backup")];
    assert_eq!(listing.events[0].message_id, "1001");
    assert!(document.stamp.readings.is_some());
}

#[track_caller]
fn check(failure: &FetchError, fault: Fault, word: &str) {
    assert_eq!((failure.fault(), failure.code()), (fault, word), "{failure}");
}

// Readable responses.

#[tokio::test]
async fn reads_the_feed_in_every_transfer_form() {
    let doc = down();
    for response in [
        Response::ok(doc.json()),
        Response::ok(doc.jsonp()),
        Response::ok(doc.json()).chunked(),
        Response::ok(doc.json()).gzip(),
        Response::ok(doc.jsonp()).gzip().chunked(),
        Response::ok(doc.json()).header("Content-Type", "text/html"),
    ] {
        check_down(fetch_response(response).await);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Returns a raw response with these header lines and this body.
fn raw(head: &[&str], body: &[u8]) -> Response {
    Response::raw(&[format!("{}\r\n\r\n", head.join("\r\n")).as_bytes(), body].concat())
}

/// RFC 9110, 8.4; RFC 1952.
#[tokio::test]
async fn decodes_every_form_of_gzip() {
    let doc = down().json();
    let (first, second) = doc.as_bytes().split_at(40);
    for (header, body) in [
        ("Content-Encoding: GZIP", gzip(doc.as_bytes())),
        ("content-encoding: Gzip", gzip(doc.as_bytes())),
        ("CONTENT-ENCODING:x-gzip", gzip(doc.as_bytes())),
        ("Content-Encoding:   gzip , identity ", gzip(doc.as_bytes())),
        ("Content-Encoding: identity, gzip", gzip(doc.as_bytes())),
        ("Content-Encoding: gzip\r\nContent-Encoding: identity", gzip(doc.as_bytes())),
        ("Content-Encoding: gzip, gzip", gzip(&gzip(doc.as_bytes()))),
        ("Content-Encoding: gzip", [gzip(first), gzip(second)].concat()),
        ("Content-Encoding: gzip", [gzip(doc.as_bytes()), vec![0; 1024]].concat()),
        // Wrong labels, which are ignored.
        ("X-Nothing: 1", gzip(doc.as_bytes())),
        ("Content-Encoding: identity", gzip(doc.as_bytes())),
        ("Content-Encoding: gzip", doc.clone().into_bytes()),
        ("Content-Encoding: utf-8", doc.clone().into_bytes()),
        ("Content-Encoding: br", doc.clone().into_bytes()),
        ("Content-Encoding: none", doc.clone().into_bytes()),
        ("Content-Encoding:", doc.clone().into_bytes()),
        ("Content-Encoding: \u{e9}", doc.clone().into_bytes()),
    ] {
        let Ok(FetchOutcome::New { body: kept, .. }) =
            fetch_response(raw(&["HTTP/1.1 200 OK", header], &body)).await
        else {
            panic!("{header}: no document")
        };
        assert_eq!(kept, doc, "{header}");
    }
}

/// RFC 9112.
#[tokio::test]
async fn parses_every_form_of_http() {
    const OK: &str = "HTTP/1.1 200 OK";
    let doc = down().json();
    let chunks = |end: &str| {
        let (first, second) = doc.split_at(20);
        let chunks = [
            format!("{:X};name=value;other=\"quoted \\\" text\"\r\n{first}\r\n", first.len()),
            format!("{:x} \r\n{second}\r\n{end}", second.len()),
        ];
        chunks.concat().into_bytes()
    };
    let whole = || doc.clone().into_bytes();
    let length = format!("cOnTeNt-LeNgTh: {}", doc.len());
    for (head, body) in [
        (vec![OK, "transfer-encoding: CHUNKED"], chunks("0\r\n\r\n")),
        (vec![OK, "Transfer-Encoding: chunked"], chunks("000;last\r\nX-Trailer: 1\r\nEtag: \"x\"\r\n\r\n")),
        (vec![OK, "Transfer-Encoding: chunked", "Content-Length: 3"], chunks("0\r\n\r\n")),
        (vec![OK, &length], whole()),
        (vec![OK, &length, &length], whole()),
        (vec![OK, &length, "Content-Type: text/html; charset=utf-16"], whole()),
        (vec![OK, &length, "Content-Type: nonsense"], whole()),
        (vec![OK, "X-Folded: one\r\n  two\r\n\tthree"], whole()),
        (vec![OK, "X-Spaced : one"], whole()),
        (vec![OK, "no header at all", "X-Caf\u{e9}: 1", "X-Value: caf\u{e9}"], whole()),
        (vec!["HTTP/1.1 200"], whole()),
        (vec!["HTTP/1.1 200 Alles in Ordnung \u{e4}"], whole()),
        (vec!["HTTP/1.0 200 OK"], whole()),
        (vec!["HTTP/1.0 200 OK", &length, "Connection: keep-alive"], whole()),
        (vec!["HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK"], whole()),
        (vec!["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"], whole()),
        (vec!["HTTP/1.1 203 Non-Authoritative Information", &length], whole()),
    ] {
        let outcome = fetch_response(raw(&head, &body)).await;
        assert!(matches!(outcome, Ok(FetchOutcome::New { .. })), "{head:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn names_an_unsupported_encoding() {
    // A brotli stream.
    let packed = b"\x8b\x00\x80\x7b\x7d\x03 \xff\xfe".to_vec();
    for (header, name) in [
        ("br", "br"),
        ("BR", "br"),
        ("zstd", "zstd"),
        ("deflate", "deflate"),
        ("gzip, br", "br"),
        ("\u{1b}x", ""),
    ] {
        let head = format!("Content-Encoding: {header}");
        let failure = fetch_response(raw(&["HTTP/1.1 200 OK", &head], &packed)).await.expect_err("no feed");
        if name.is_empty() {
            // Not a valid header.
            check(&failure, Fault::Apple, "no_services");
            continue;
        }
        check(&failure, Fault::Apple, "encoding");
        let words = format!("127.0.0.1 sent the feed with an unsupported content encoding: {name:?}");
        assert_eq!(failure.to_string(), words);
    }
    let packed = raw(&["HTTP/1.1 200 OK", "Content-Encoding: gzip"], b"\x00 neither gzip nor JSON");
    check(&failure_of(packed).await, Fault::Apple, "malformed");
    // A login page is recognised despite its label.
    check(&failure_of(Response::html().header("Content-Encoding", "br")).await, Fault::Ours, "html");
}

#[tokio::test]
async fn accepts_203_and_304_from_a_proxy() {
    let apple = Apple::start().await;
    let mut fetcher = fetcher(&apple.url());
    let body = down().json();
    apple.once(Response::status(203).body(&body).etag("\"v1\""));
    check_down(fetcher.fetch().await);
    apple.respond(Response::ok(body).etag("\"v1\""));
    assert_eq!(fetcher.fetch().await, Ok(FetchOutcome::Unchanged));
}

#[tokio::test]
async fn keeps_the_body_unchanged() {
    let text = down().jsonp();
    let Ok(FetchOutcome::New { body, .. }) = fetch_response(Response::ok(text.clone()).gzip()).await else {
        panic!("no document")
    };
    assert_eq!(body, text);
}

#[tokio::test]
async fn tolerates_a_wrong_charset_and_invalid_utf8() {
    let japanese = Doc::new().service("iCloudバックアップ").json();
    let response = Response::ok(japanese).header("Content-Type", "text/javascript; charset=ISO-8859-1");
    let Ok(FetchOutcome::New { document, .. }) = fetch_response(response).await else {
        panic!("no document")
    };
    assert!(document.services.contains_key(&ServiceKey::new("iCloudバックアップ")));

    let mut latin = down().saying("Caf~").json().into_bytes();
    *latin.iter_mut().find(|byte| **byte == b'~').expect("the byte") = 0xe9;
    check_down(fetch_response(Response::ok(latin)).await);
}

#[tokio::test]
async fn sends_the_expected_request_headers() {
    let apple = Apple::start().await;
    apple.show(&down().json());
    check_down(fetch(&apple.url_of("/feed?token=s3cret")).await);
    let request = &apple.requests()[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/feed?token=s3cret"));
    assert_eq!(request.header("User-Agent"), Some(concat!("statusd/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(request.header("Accept-Encoding"), Some("gzip"));
    assert_eq!(request.header("Cache-Control"), Some("no-cache"));
    assert!(request.header("Accept").is_some_and(|accept| accept.contains("application/json")));
    assert_eq!((request.header("If-None-Match"), request.header("If-Modified-Since")), (None, None));
}

// Conditional requests.

#[tokio::test]
async fn sends_validators_and_treats_304_as_unchanged() {
    const MODIFIED: &str = "Mon, 26 Apr 2021 15:15:00 GMT";
    let apple = Apple::start().await;
    let mut fetcher = fetcher(&apple.url());

    apple.respond(Response::ok(down().json()).etag("\"v1\"").last_modified(MODIFIED));
    check_down(fetcher.fetch().await);
    assert_eq!(fetcher.fetch().await, Ok(FetchOutcome::Unchanged));
    let request = apple.requests().pop().expect("a request");
    assert_eq!(request.header("If-None-Match"), Some("\"v1\""));
    assert_eq!(request.header("If-Modified-Since"), Some(MODIFIED));

    apple.respond(Response::ok(down().json()).last_modified(MODIFIED).etag("\"v2\""));
    check_down(fetcher.fetch().await);
    assert_eq!(fetcher.fetch().await, Ok(FetchOutcome::Unchanged));

    // After a response without validators, none are sent.
    apple.show(&down().json());
    check_down(fetcher.fetch().await);
    check_down(fetcher.fetch().await);
    let request = apple.requests().pop().expect("a request");
    assert_eq!((request.header("If-None-Match"), request.header("If-Modified-Since")), (None, None));
}

#[tokio::test]
async fn last_modified_alone_suffices() {
    let apple = Apple::start().await;
    let mut fetcher = fetcher(&apple.url());
    apple.respond(Response::ok(down().json()).last_modified("Mon, 26 Apr 2021 15:15:00 GMT"));
    check_down(fetcher.fetch().await);
    assert_eq!(fetcher.fetch().await, Ok(FetchOutcome::Unchanged));
}

#[tokio::test]
async fn unreadable_response_clears_validators() {
    let apple = Apple::start().await;
    let mut fetcher = fetcher(&apple.url());
    let good = Response::ok(down().json()).etag("\"good\"");
    apple.respond(good.clone());
    check_down(fetcher.fetch().await);
    apple.respond(Response::html().etag("\"page\""));
    fetcher.fetch().await.expect_err("a page");
    fetcher.fetch().await.expect_err("the page again, never \"unchanged\"");
    apple.respond(good);
    check_down(fetcher.fetch().await);
    assert_eq!(apple.requests().pop().expect("a request").header("If-None-Match"), None);
}

#[tokio::test]
async fn failed_request_keeps_validators() {
    let apple = Apple::start().await;
    let mut fetcher = fetcher(&apple.url());
    apple.respond(Response::ok(down().json()).etag("\"good\""));
    check_down(fetcher.fetch().await);
    apple.once(Response::status(503).etag("\"error\""));
    apple.once(Response::reset());
    fetcher.fetch().await.expect_err("503");
    fetcher.fetch().await.expect_err("a reset");
    assert_eq!(fetcher.fetch().await, Ok(FetchOutcome::Unchanged));
}

#[tokio::test]
async fn unsolicited_304_is_an_error() {
    let failure = failure_of(Response::status(304)).await;
    check(&failure, Fault::Apple, "http");
    assert_eq!(failure.to_string(), "127.0.0.1 returned HTTP 304 (Not Modified)");
}

// Unreadable responses.

#[tokio::test]
async fn classifies_unreadable_bodies() {
    for (body, word) in [
        ("", "empty"),
        (" \r\n", "empty"),
        ("OK", "not_json"),
        ("{\"services\": nonsense}", "no_services"),
        ("{]}", "not_json"),
        ("{\"services\": [{\"serviceName\": \"A\", \"events\": []}", "cut_off"),
        ("{\"dashboard\": {}, \"detailedTimeline\": []}", "old_schema"),
        ("{\"drpost\": false}", "no_services"),
        ("{\"services\": []}", "no_services"),
        ("{\"services\": [{\"serviceName\": \"A\", \"events\": 7}]}", "no_events"),
    ] {
        let failure = failure_of(Response::ok(body)).await;
        check(&failure, Fault::Apple, word);
        assert!(failure.to_string().starts_with("cannot read the feed from 127.0.0.1: "), "{failure}");
    }
}

#[tokio::test]
async fn http_errors_carry_retry_after() {
    for (status, fault) in [
        (201, Fault::Apple),
        (202, Fault::Apple),
        (204, Fault::Apple),
        (205, Fault::Apple),
        (226, Fault::Apple),
        (206, Fault::Apple),
        (403, Fault::Apple),
        (404, Fault::Apple),
        (407, Fault::Ours),
        (429, Fault::Apple),
        (500, Fault::Apple),
        (503, Fault::Apple),
        (511, Fault::Ours),
    ] {
        let failure = failure_of(Response::status(status).header("Retry-After", "120")).await;
        check(&failure, fault, "http");
        assert_eq!(failure.kind, FailureKind::Http(status));
        assert_eq!(failure.retry_after_s, Some(120));
    }
}

#[tokio::test]
async fn blames_the_network_for_a_web_page_without_verified_tls() {
    check(&failure_of(Response::html()).await, Fault::Ours, "html");

    let apple = Apple::start_tls(ServerCert::Valid).await;
    apple.respond(Response::html());
    let failure = fetch_with_ca(&apple.url(), apple.authority_pem()).await.expect_err("a page");
    check(&failure, Fault::Apple, "html");
}

// Limits.

#[tokio::test]
async fn limits_the_body_to_one_mib() {
    let padded = |bytes: usize| {
        let mut body = down().json();
        body.push_str(&" ".repeat(bytes - body.len()));
        Response::ok(body)
    };
    check_down(fetch_response(padded(LIMIT_BYTES)).await);
    check_down(fetch_response(padded(LIMIT_BYTES).gzip()).await);
    for response in [
        padded(LIMIT_BYTES + 1),
        padded(LIMIT_BYTES + 1).chunked(),
        padded(LIMIT_BYTES + 1).gzip(),
        padded(LIMIT_BYTES * 4).gzip(),
    ] {
        let failure = failure_of(response).await;
        check(&failure, Fault::Apple, "too_large");
        assert_eq!(failure.to_string(), "the response from 127.0.0.1 is larger than 1024 KiB");
    }
}

#[tokio::test]
async fn times_out_on_silent_and_slow_responses() {
    let limits = FetchLimits { total: Duration::from_millis(300), ..FetchLimits::default() };
    let doc = down().json();
    for response in [Response::silence(), Response::ok(doc.clone()).drip(), Response::ok(doc).gzip().drip()] {
        let apple = Apple::start().await;
        apple.respond(response);
        let failure = fetcher_within(&apple.url(), limits).fetch().await.expect_err("a timeout");
        check(&failure, Fault::Apple, "timeout");
        assert_eq!(failure.to_string(), "no complete response from 127.0.0.1 within 0.3 s");
    }
}

#[tokio::test]
async fn reads_a_delayed_response() {
    let apple = Apple::start().await;
    apple.respond(Response::ok(down().json()).held());
    let mut fetcher = fetcher(&apple.url());
    let (outcome, ()) = tokio::join!(fetcher.fetch(), async {
        apple.wait_for_requests(1).await;
        apple.release();
    });
    check_down(outcome);
}

#[tokio::test]
async fn connect_timeout_is_our_fault() {
    // The server waits for a request while the client waits for TLS.
    let apple = Apple::start().await;
    let url = apple.url().replace("http:", "https:");
    let limits = FetchLimits { connect: Duration::from_millis(300), ..FetchLimits::default() };
    let failure = fetcher_within(&url, limits).fetch().await.expect_err("a timeout");
    check(&failure, Fault::Ours, "connect_timeout");
    assert_eq!(failure.to_string(), "cannot connect to 127.0.0.1 within 0.3 s: is this computer online?");
}

// Broken connections.

#[tokio::test]
async fn connection_refused() {
    // Bound and not listening, so that no other process can take the port.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let address = socket.local_addr().expect("a port");
    for scheme in ["http", "https"] {
        let failure = fetch(&format!("{scheme}://{address}/")).await.expect_err("connection refused");
        check(&failure, Fault::Apple, "refused");
    }
}

#[tokio::test]
async fn connection_cut_off() {
    let doc = down().json();
    for response in [
        Response::reset(),
        Response::close(),
        Response::raw(b"HTTP/1.1 200 OK\r\nContent-"),
        Response::raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"),
        Response::ok(doc.clone()).cut(),
        Response::ok(doc).gzip().cut(),
    ] {
        let failure = failure_of(response.clone()).await;
        assert_eq!(failure.kind, FailureKind::CutOff, "{response:?}");
        check(&failure, Fault::Apple, "cut_off");
    }
}

#[tokio::test]
async fn truncated_gzip_is_cut_off() {
    let failure = failure_of(Response::ok(down().json()).gzip().truncated(20)).await;
    assert_eq!(failure.kind, FailureKind::CutOff);
}

#[tokio::test]
async fn malformed_response() {
    for response in [
        Response::ok("\u{0} neither gzip nor JSON").header("Content-Encoding", "gzip"),
        Response::raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
    ] {
        check(&failure_of(response).await, Fault::Apple, "malformed");
    }
}

#[tokio::test]
async fn response_is_not_http() {
    check(&failure_of(Response::raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")).await, Fault::Apple, "not_http");
}

// Redirects.

#[tokio::test]
async fn follows_at_most_three_redirects() {
    let apple = Apple::start().await;
    for hop in 0..4 {
        apple.at(&format!("/{hop}"), Response::redirect(&format!("/{}", hop + 1)));
    }
    apple.at("/4", Response::ok(down().json()));
    check_down(fetch(&apple.url_of("/1")).await);

    let failure = fetch(&apple.url_of("/0")).await.expect_err("four redirects");
    check(&failure, Fault::Apple, "redirect");
    assert_eq!(failure.kind, FailureKind::Redirect(RedirectError::TooMany));
    let paths: Vec<String> = apple.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/1", "/2", "/3", "/4", "/0", "/1", "/2", "/3"]);
}

#[tokio::test]
async fn sends_validators_after_a_redirect() {
    let apple = Apple::start().await;
    apple.respond(Response::redirect("/moved"));
    apple.at("/moved", Response::ok(down().json()).etag("\"v1\""));
    let mut fetcher = fetcher(&apple.url());
    check_down(fetcher.fetch().await);
    assert_eq!(fetcher.fetch().await, Ok(FetchOutcome::Unchanged));
}

#[tokio::test]
async fn rejects_redirects_to_another_origin() {
    let apple = Apple::start().await;
    let elsewhere = Apple::start().await;
    elsewhere.show(&down().json());
    let other_host = elsewhere.url().replace("127.0.0.1", "localhost");
    let other_scheme = apple.url().replace("http:", "https:");
    for (location, detour) in [
        (other_host, RedirectError::OtherHost),
        (other_scheme, RedirectError::OtherScheme),
        (elsewhere.url(), RedirectError::OtherPort),
        ("http://127.0.0.1/".to_owned(), RedirectError::OtherPort),
        (format!("//{}/", elsewhere.address()), RedirectError::OtherPort),
        ("ftp://127.0.0.1/".to_owned(), RedirectError::OtherScheme),
    ] {
        apple.respond(Response::redirect(&location));
        let failure = fetch(&apple.url()).await.expect_err("a rejected redirect");
        assert_eq!(failure.kind, FailureKind::Redirect(detour), "{location}");
    }

    let secure = Apple::start_tls(ServerCert::Valid).await;
    secure.respond(Response::redirect(&elsewhere.url()));
    let failure =
        fetch_with_ca(&secure.url(), secure.authority_pem()).await.expect_err("a rejected redirect");
    assert_eq!(failure.kind, FailureKind::Redirect(RedirectError::OtherScheme));
    assert_eq!(elsewhere.requests(), []);
}

#[tokio::test]
async fn redirect_without_location_is_an_http_error() {
    assert_eq!(failure_of(Response::status(302)).await.kind, FailureKind::Http(302));
}

// TLS.

/// Writes a CA file. The caller keeps the directory.
fn ca_file(pem: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("authority.pem");
    std::fs::write(&file, pem).expect("a file");
    (dir, file)
}

async fn fetch_with_ca(url: &str, authority_pem: &str) -> Result<FetchOutcome, FetchError> {
    let (_dir, file) = ca_file(authority_pem);
    let url = FeedUrl::parse(url).expect("an address");
    Fetcher::new(url, FetchLimits::default(), Some(&file)).expect("a fetcher").fetch().await
}

#[tokio::test]
async fn trusts_the_configured_authority() {
    let apple = Apple::start_tls(ServerCert::Valid).await;
    apple.show(&down().json());
    check_down(fetch_with_ca(&apple.url(), apple.authority_pem()).await);
}

#[tokio::test]
async fn names_the_certificate_problem() {
    for (cert, problem) in [
        (ServerCert::Expired, TlsProblem::Expired),
        (ServerCert::NotYetValid, TlsProblem::NotYetValid),
        (ServerCert::WrongHost, TlsProblem::WrongHost),
    ] {
        let apple = Apple::start_tls(cert).await;
        apple.show(&down().json());
        let failure =
            fetch_with_ca(&apple.url(), apple.authority_pem()).await.expect_err("a bad certificate");
        check(&failure, Fault::Ours, "tls");
        assert_eq!(failure.kind, FailureKind::Tls(problem));
        assert_eq!(apple.requests(), []);
    }
}

#[tokio::test]
async fn rejects_an_unknown_authority() {
    let apple = Apple::start_tls(ServerCert::Valid).await;
    let other = Apple::start_tls(ServerCert::Valid).await;
    let failure = fetch_with_ca(&apple.url(), other.authority_pem()).await.expect_err("an unknown authority");
    check(&failure, Fault::Ours, "tls");
    assert_eq!(failure.kind, FailureKind::Tls(TlsProblem::UnknownIssuer));
}

/// Accepts one connection, sends `bytes` at once, and closes after the client.
fn speaks_first(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a port");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        if !bytes.is_empty() {
            stream.write_all(bytes).expect("the client reads");
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    format!("https://{address}{PATH}")
}

#[tokio::test]
async fn distinguishes_plain_text_from_a_closed_handshake() {
    let failure = fetch(&speaks_first(b"HTTP/1.1 302 Found\r\n\r\n")).await.expect_err("no TLS");
    assert_eq!(failure.kind, FailureKind::Tls(TlsProblem::NotTls));
    let failure = fetch(&speaks_first(b"")).await.expect_err("a closed connection");
    assert_eq!(failure.kind, FailureKind::Tls(TlsProblem::CutOff));
    check(&failure, Fault::Ours, "tls");
}

#[test]
fn rejects_a_ca_file_without_certificates() {
    let new = |file: PathBuf| {
        let url = FeedUrl::parse("https://127.0.0.1/").expect("an address");
        Fetcher::new(url, FetchLimits::default(), Some(&file)).expect_err("no certificates").to_string()
    };
    let (dir, file) = ca_file("nothing here");
    assert!(new(file).contains("contains no certificate"));
    assert!(new(dir.path().join("absent.pem")).starts_with("ca_file: cannot read "));
    let (_dir, file) = ca_file(&"x".repeat((1 << 20) + 1));
    assert!(new(file).contains("larger than 1 MiB"));
}

// Tests that depend on the environment. Each runs itself again in a child process.

const CHILD: &str = "STATUSD_TEST_CHILD";

fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Runs one test of this file in a child process with only this environment.
#[track_caller]
fn rerun_with(test: &str, environment: &[(&str, &str)]) {
    let output = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", &format!("fetch::{test}"), "--nocapture"])
        .env_clear()
        .env(CHILD, "1")
        .envs(environment.iter().copied())
        .output()
        .expect("this program runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "no such test: {test}");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn reports_no_network() {
    if !is_child() {
        return rerun_with("reports_no_network", &[]);
    }
    // For TCP to a multicast address Linux returns "network unreachable" without sending.
    let failure = fetch("https://224.0.0.1/").await.expect_err("no network");
    check(&failure, Fault::Ours, "no_network");
}

#[tokio::test]
async fn proxy_requires_a_login() {
    if is_child() {
        let failure = fetch("https://feed.invalid/").await.expect_err("no login");
        assert_eq!(failure.kind, FailureKind::ProxyLogin);
        return check(&failure, Fault::Ours, "proxy");
    }
    let proxy = Apple::start().await;
    proxy.respond(Response::status(407));
    rerun_with("proxy_requires_a_login", &[("HTTPS_PROXY", &proxy.url_of(""))]);
    assert_eq!(proxy.requests()[0].method, "CONNECT");
}

#[tokio::test]
async fn proxy_rejects_the_connection() {
    if is_child() {
        let failure = fetch("https://feed.invalid/").await.expect_err("the proxy refuses");
        assert_eq!(failure.kind, FailureKind::Proxy);
        return check(&failure, Fault::Ours, "proxy");
    }
    let proxy = Apple::start().await;
    proxy.respond(Response::status(502));
    rerun_with("proxy_rejects_the_connection", &[("HTTPS_PROXY", &proxy.url_of(""))]);
}

/// Starts a SOCKS 5 proxy (RFC 1928) for one client. Returns its address and the requested host name.
fn socks(reply: u8) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("socks5h://{}", listener.local_addr().expect("an address"));
    let requested_host = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let read = |length: usize| {
            let mut bytes = vec![0; length];
            (&stream).read_exact(&mut bytes).expect("more");
            bytes
        };
        let greeting = read(2);
        read(usize::from(greeting[1]));
        (&stream).write_all(&[5, 0]).expect("taken");
        let request = read(5);
        assert_eq!(request[..4], [5, 1, 0, 3], "connect to a name");
        let name = read(usize::from(request[4]));
        read(2);
        (&stream).write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]).expect("taken");
        String::from_utf8(name).expect("UTF-8")
    });
    (address, requested_host)
}

#[tokio::test]
async fn socks_proxy_resolves_the_name() {
    const OPEN: &str = "STATUSD_TEST_OPEN";
    if is_child() {
        let failure = fetch("https://feed.invalid/").await.expect_err("no feed");
        // With OPEN the proxy connects and then closes. Otherwise it refuses.
        let word = if env::var_os(OPEN).is_some() { "tls" } else { "proxy" };
        return check(&failure, Fault::Ours, word);
    }
    let name = "socks_proxy_resolves_the_name";
    let (address, requested_host) = socks(0);
    rerun_with(name, &[("HTTPS_PROXY", ""), ("ALL_PROXY", &address), (OPEN, "1")]);
    assert_eq!(requested_host.join().expect("a host name"), "feed.invalid");
    let (address, requested_host) = socks(5);
    rerun_with(name, &[("https_proxy", &address)]);
    assert_eq!(requested_host.join().expect("a host name"), "feed.invalid");
    // The proxy has ended.
    rerun_with(name, &[("https_proxy", &address)]);
}

#[tokio::test]
async fn empty_variable_does_not_hide_another() {
    if is_child() {
        let failure = fetch("https://feed.invalid/").await.expect_err("no login");
        return assert_eq!(failure.kind, FailureKind::ProxyLogin);
    }
    let proxy = Apple::start().await;
    proxy.respond(Response::status(407));
    let name = "empty_variable_does_not_hide_another";
    rerun_with(name, &[("HTTPS_PROXY", ""), ("https_proxy", &proxy.url_of(""))]);
    assert_eq!(proxy.requests()[0].method, "CONNECT");
}

#[tokio::test]
async fn bypasses_the_proxy_for_loopback() {
    if is_child() {
        return check_down(fetch_response(Response::ok(down().json())).await);
    }
    let proxy = Apple::start().await;
    let address = proxy.url_of("");
    let name = "bypasses_the_proxy_for_loopback";
    rerun_with(name, &[("HTTP_PROXY", &address), ("http_proxy", &address), ("ALL_PROXY", &address)]);
    assert_eq!(proxy.requests(), []);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn ssl_cert_file_replaces_the_system_roots() {
    const URL: &str = "STATUSD_TEST_URL";
    if is_child() {
        return check_down(fetch(&env::var(URL).expect("the parent's server")).await);
    }
    let apple = Apple::start_tls(ServerCert::Valid).await;
    apple.show(&down().json());
    let (_dir, file) = ca_file(apple.authority_pem());
    let file = file.to_str().expect("a path in UTF-8");
    rerun_with("ssl_cert_file_replaces_the_system_roots", &[("SSL_CERT_FILE", file), (URL, &apple.url())]);
}
