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

use crate::common::apple::{Answer, Apple, PATH, Papers};
use crate::common::doc::Doc;
use statusd::feed::fetch::{
    Detour, FailureKind, FeedUrl, FetchError, FetchLimits, FetchOutcome, Fetcher, TlsProblem,
};
use statusd::model::{Fault, ServiceKey};
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

async fn look(url: &str) -> Result<FetchOutcome, FetchError> {
    fetcher(url).fetch().await
}

/// What one such answer comes to.
async fn look_at(answer: Answer) -> Result<FetchOutcome, FetchError> {
    let apple = Apple::start().await;
    apple.answer(answer);
    look(&apple.url()).await
}

async fn failure_of(answer: Answer) -> FetchError {
    look_at(answer).await.expect_err("an answer that is no feed")
}

#[track_caller]
fn check_down(look: Result<FetchOutcome, FetchError>) {
    let Ok(FetchOutcome::New { document, .. }) = look else { panic!("no document: {look:?}") };
    let listing = &document.services[&ServiceKey::new("iCloud Backup")];
    assert_eq!(listing.events[0].message_id, "1001");
    assert!(document.stamp.readings.is_some());
}

#[track_caller]
fn check(failure: &FetchError, fault: Fault, word: &str) {
    assert_eq!((failure.fault(), failure.word()), (fault, word), "{failure}");
}

// Readable responses.

#[tokio::test]
async fn a_feed_is_read_in_every_form_of_delivery() {
    let doc = down();
    for answer in [
        Answer::ok(doc.json()),
        Answer::ok(doc.jsonp()),
        Answer::ok(doc.json()).chunked(),
        Answer::ok(doc.json()).gzip(),
        Answer::ok(doc.jsonp()).gzip().chunked(),
        Answer::ok(doc.json()).header("Content-Type", "text/html"),
    ] {
        check_down(look_at(answer).await);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// The lines of a head, then the body as it is.
fn raw(head: &[&str], body: &[u8]) -> Answer {
    Answer::raw(&[format!("{}\r\n\r\n", head.join("\r\n")).as_bytes(), body].concat())
}

/// RFC 9110, 8.4; RFC 1952.
#[tokio::test]
async fn gzip_is_understood_in_every_form() {
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
            look_at(raw(&["HTTP/1.1 200 OK", header], &body)).await
        else {
            panic!("{header}: no document")
        };
        assert_eq!(kept, doc, "{header}");
    }
}

/// RFC 9112.
#[tokio::test]
async fn http_is_understood_in_every_form() {
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
        let outcome = look_at(raw(&head, &body)).await;
        assert!(matches!(outcome, Ok(FetchOutcome::New { .. })), "{head:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_encoding_that_was_not_asked_for_is_named() {
    // A brotli stream of `{}` and the like.
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
        let failure = look_at(raw(&["HTTP/1.1 200 OK", &head], &packed)).await.expect_err("no feed");
        if name.is_empty() {
            // Not a valid header.
            check(&failure, Fault::Apple, "no_services");
            continue;
        }
        check(&failure, Fault::Apple, "encoding");
        let words = format!("127.0.0.1 sent the feed in the encoding {name:?}, which was not asked for");
        assert_eq!(failure.to_string(), words);
    }
    let packed = raw(&["HTTP/1.1 200 OK", "Content-Encoding: gzip"], b"\x00 neither gzip nor JSON");
    check(&failure_of(packed).await, Fault::Apple, "garbled");
    // A login page is one whatever its label says.
    check(&failure_of(Answer::html().header("Content-Encoding", "br")).await, Fault::Ours, "html");
}

#[tokio::test]
async fn a_proxy_that_changed_the_feed_says_203_and_304() {
    let apple = Apple::start().await;
    let mut fetcher = fetcher(&apple.url());
    let body = down().json();
    apple.once(Answer::status(203).body(&body).etag("\"v1\""));
    check_down(fetcher.fetch().await);
    apple.answer(Answer::ok(body).etag("\"v1\""));
    assert_eq!(fetcher.fetch().await, Ok(FetchOutcome::Unchanged));
}

#[tokio::test]
async fn the_body_is_kept_as_it_came() {
    let text = down().jsonp();
    let Ok(FetchOutcome::New { body, .. }) = look_at(Answer::ok(text.clone()).gzip()).await else {
        panic!("no document")
    };
    assert_eq!(body, text);
}

#[tokio::test]
async fn a_wrong_charset_and_a_broken_byte_cost_nothing() {
    let japanese = Doc::new().service("iCloudバックアップ").json();
    let answer = Answer::ok(japanese).header("Content-Type", "text/javascript; charset=ISO-8859-1");
    let Ok(FetchOutcome::New { document, .. }) = look_at(answer).await else { panic!("no document") };
    assert!(document.services.contains_key(&ServiceKey::new("iCloudバックアップ")));

    let mut latin = down().saying("Caf~").json().into_bytes();
    *latin.iter_mut().find(|byte| **byte == b'~').expect("the byte") = 0xe9;
    check_down(look_at(Answer::ok(latin)).await);
}

#[tokio::test]
async fn the_request_says_who_asks_and_for_what() {
    let apple = Apple::start().await;
    apple.show(&down().json());
    check_down(look(&apple.url_of("/feed?token=s3cret")).await);
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
async fn validators_are_sent_back_and_304_means_unchanged() {
    const MODIFIED: &str = "Mon, 26 Apr 2021 15:15:00 GMT";
    let apple = Apple::start().await;
    let mut fetcher = fetcher(&apple.url());

    apple.answer(Answer::ok(down().json()).etag("\"v1\"").last_modified(MODIFIED));
    check_down(fetcher.fetch().await);
    assert_eq!(fetcher.fetch().await, Ok(FetchOutcome::Unchanged));
    let asked = apple.requests().pop().expect("a request");
    assert_eq!(asked.header("If-None-Match"), Some("\"v1\""));
    assert_eq!(asked.header("If-Modified-Since"), Some(MODIFIED));

    apple.answer(Answer::ok(down().json()).last_modified(MODIFIED).etag("\"v2\""));
    check_down(fetcher.fetch().await);
    assert_eq!(fetcher.fetch().await, Ok(FetchOutcome::Unchanged));

    // After a response without validators, none are sent.
    apple.show(&down().json());
    check_down(fetcher.fetch().await);
    check_down(fetcher.fetch().await);
    let asked = apple.requests().pop().expect("a request");
    assert_eq!((asked.header("If-None-Match"), asked.header("If-Modified-Since")), (None, None));
}

#[tokio::test]
async fn last_modified_alone_will_do() {
    let apple = Apple::start().await;
    let mut fetcher = fetcher(&apple.url());
    apple.answer(Answer::ok(down().json()).last_modified("Mon, 26 Apr 2021 15:15:00 GMT"));
    check_down(fetcher.fetch().await);
    assert_eq!(fetcher.fetch().await, Ok(FetchOutcome::Unchanged));
}

#[tokio::test]
async fn an_unreadable_answer_leaves_no_validators() {
    let apple = Apple::start().await;
    let mut fetcher = fetcher(&apple.url());
    let good = Answer::ok(down().json()).etag("\"good\"");
    apple.answer(good.clone());
    check_down(fetcher.fetch().await);
    apple.answer(Answer::html().etag("\"page\""));
    fetcher.fetch().await.expect_err("a page");
    fetcher.fetch().await.expect_err("the page again, never \"unchanged\"");
    apple.answer(good);
    check_down(fetcher.fetch().await);
    assert_eq!(apple.requests().pop().expect("a request").header("If-None-Match"), None);
}

#[tokio::test]
async fn a_failed_request_leaves_the_validators() {
    let apple = Apple::start().await;
    let mut fetcher = fetcher(&apple.url());
    apple.answer(Answer::ok(down().json()).etag("\"good\""));
    check_down(fetcher.fetch().await);
    apple.once(Answer::status(503).etag("\"error\""));
    apple.once(Answer::reset());
    fetcher.fetch().await.expect_err("503");
    fetcher.fetch().await.expect_err("a reset");
    assert_eq!(fetcher.fetch().await, Ok(FetchOutcome::Unchanged));
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_a_failure() {
    let failure = failure_of(Answer::status(304)).await;
    check(&failure, Fault::Apple, "http");
    assert_eq!(failure.to_string(), "127.0.0.1 answered 304 (Not Modified)");
}

// Unreadable responses.

#[tokio::test]
async fn unreadable_answers() {
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
        let failure = failure_of(Answer::ok(body)).await;
        check(&failure, Fault::Apple, word);
        assert!(failure.to_string().starts_with("127.0.0.1 sent no feed: "), "{failure}");
    }
}

#[tokio::test]
async fn http_errors_carry_the_servers_wish() {
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
        let failure = failure_of(Answer::status(status).header("Retry-After", "120")).await;
        check(&failure, fault, "http");
        assert_eq!(failure.kind, FailureKind::Http(status));
        assert_eq!(failure.retry_after_s, Some(120));
    }
}

#[tokio::test]
async fn a_web_page_is_the_networks_doing_unless_it_came_over_verified_tls() {
    check(&failure_of(Answer::html()).await, Fault::Ours, "html");

    let apple = Apple::start_tls(Papers::Good).await;
    apple.answer(Answer::html());
    let failure = look_trusting(&apple.url(), apple.authority_pem()).await.expect_err("a page");
    check(&failure, Fault::Apple, "html");
}

// Limits.

#[tokio::test]
async fn one_mib_and_not_a_byte_more() {
    let padded = |bytes: usize| {
        let mut body = down().json();
        body.push_str(&" ".repeat(bytes - body.len()));
        Answer::ok(body)
    };
    check_down(look_at(padded(LIMIT_BYTES)).await);
    check_down(look_at(padded(LIMIT_BYTES).gzip()).await);
    for answer in [
        padded(LIMIT_BYTES + 1),
        padded(LIMIT_BYTES + 1).chunked(),
        padded(LIMIT_BYTES + 1).gzip(),
        padded(LIMIT_BYTES * 4).gzip(),
    ] {
        let failure = failure_of(answer).await;
        check(&failure, Fault::Apple, "too_large");
        assert_eq!(failure.to_string(), "the answer of 127.0.0.1 is larger than 1024 KiB");
    }
}

#[tokio::test]
async fn silence_and_a_slow_drip_end_in_time() {
    let limits = FetchLimits { total: Duration::from_millis(300), ..FetchLimits::default() };
    let doc = down().json();
    for answer in [Answer::silence(), Answer::ok(doc.clone()).drip(), Answer::ok(doc).gzip().drip()] {
        let apple = Apple::start().await;
        apple.answer(answer);
        let failure = fetcher_within(&apple.url(), limits).fetch().await.expect_err("a timeout");
        check(&failure, Fault::Apple, "timeout");
        assert_eq!(failure.to_string(), "no whole answer from 127.0.0.1 within 0.3 s");
    }
}

#[tokio::test]
async fn a_held_answer_comes_when_released() {
    let apple = Apple::start().await;
    apple.answer(Answer::ok(down().json()).held());
    let mut fetcher = fetcher(&apple.url());
    let (look, ()) = tokio::join!(fetcher.fetch(), async {
        apple.asked(1).await;
        apple.release();
    });
    check_down(look);
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_is_our_own_trouble() {
    // Takes the connection and waits for a request, while we wait for TLS.
    let apple = Apple::start().await;
    let url = apple.url().replace("http:", "https:");
    let limits = FetchLimits { connect: Duration::from_millis(300), ..FetchLimits::default() };
    let failure = fetcher_within(&url, limits).fetch().await.expect_err("a timeout");
    check(&failure, Fault::Ours, "connect_timeout");
    assert_eq!(failure.to_string(), "no connection to 127.0.0.1 within 0.3 s: is this computer online?");
}

// Broken connections.

#[tokio::test]
async fn refused() {
    // Bound but not listening: nobody else can take the port meanwhile.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let address = socket.local_addr().expect("a port");
    for scheme in ["http", "https"] {
        let failure = look(&format!("{scheme}://{address}/")).await.expect_err("nobody there");
        check(&failure, Fault::Apple, "refused");
    }
}

#[tokio::test]
async fn cut_off() {
    let doc = down().json();
    for answer in [
        Answer::reset(),
        Answer::hang_up(),
        Answer::raw(b"HTTP/1.1 200 OK\r\nContent-"),
        Answer::raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"),
        Answer::ok(doc.clone()).cut(),
        Answer::ok(doc).gzip().cut(),
    ] {
        let failure = failure_of(answer.clone()).await;
        assert_eq!(failure.kind, FailureKind::CutOff, "{answer:?}");
        check(&failure, Fault::Apple, "cut_off");
    }
}

#[tokio::test]
async fn a_gzip_stream_that_ends_early_is_cut_off() {
    let failure = failure_of(Answer::ok(down().json()).gzip().truncated(20)).await;
    assert_eq!(failure.kind, FailureKind::CutOff);
}

#[tokio::test]
async fn garbled() {
    for answer in [
        Answer::ok("\u{0} neither gzip nor JSON").header("Content-Encoding", "gzip"),
        Answer::raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
    ] {
        check(&failure_of(answer).await, Fault::Apple, "garbled");
    }
}

#[tokio::test]
async fn not_http() {
    check(&failure_of(Answer::raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")).await, Fault::Apple, "not_http");
}

// Redirects.

#[tokio::test]
async fn three_redirects_are_followed_and_no_more() {
    let apple = Apple::start().await;
    for hop in 0..4 {
        apple.at(&format!("/{hop}"), Answer::redirect(&format!("/{}", hop + 1)));
    }
    apple.at("/4", Answer::ok(down().json()));
    check_down(look(&apple.url_of("/1")).await);

    let failure = look(&apple.url_of("/0")).await.expect_err("four redirects");
    check(&failure, Fault::Apple, "redirect");
    assert_eq!(failure.kind, FailureKind::Redirect(Detour::TooMany));
    let asked: Vec<String> = apple.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(asked, ["/1", "/2", "/3", "/4", "/0", "/1", "/2", "/3"]);
}

#[tokio::test]
async fn validators_follow_a_redirect() {
    let apple = Apple::start().await;
    apple.answer(Answer::redirect("/moved"));
    apple.at("/moved", Answer::ok(down().json()).etag("\"v1\""));
    let mut fetcher = fetcher(&apple.url());
    check_down(fetcher.fetch().await);
    assert_eq!(fetcher.fetch().await, Ok(FetchOutcome::Unchanged));
}

#[tokio::test]
async fn no_redirect_leads_to_another_host_port_or_kind_of_connection() {
    let apple = Apple::start().await;
    let elsewhere = Apple::start().await;
    elsewhere.show(&down().json());
    let other_host = elsewhere.url().replace("127.0.0.1", "localhost");
    let other_scheme = apple.url().replace("http:", "https:");
    for (location, detour) in [
        (other_host, Detour::OtherHost),
        (other_scheme, Detour::OtherScheme),
        (elsewhere.url(), Detour::OtherPort),
        ("http://127.0.0.1/".to_owned(), Detour::OtherPort),
        (format!("//{}/", elsewhere.address()), Detour::OtherPort),
        ("ftp://127.0.0.1/".to_owned(), Detour::OtherScheme),
    ] {
        apple.answer(Answer::redirect(&location));
        let failure = look(&apple.url()).await.expect_err("a detour");
        assert_eq!(failure.kind, FailureKind::Redirect(detour), "{location}");
    }

    let secure = Apple::start_tls(Papers::Good).await;
    secure.answer(Answer::redirect(&elsewhere.url()));
    let failure = look_trusting(&secure.url(), secure.authority_pem()).await.expect_err("a detour");
    assert_eq!(failure.kind, FailureKind::Redirect(Detour::OtherScheme));
    assert_eq!(elsewhere.requests(), []);
}

#[tokio::test]
async fn a_redirect_to_nowhere_is_an_http_failure() {
    assert_eq!(failure_of(Answer::status(302)).await.kind, FailureKind::Http(302));
}

// TLS.

/// Writes a CA file. The caller keeps the directory.
fn ca_file(pem: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("authority.pem");
    std::fs::write(&file, pem).expect("a file");
    (dir, file)
}

async fn look_trusting(url: &str, authority_pem: &str) -> Result<FetchOutcome, FetchError> {
    let (_dir, file) = ca_file(authority_pem);
    let url = FeedUrl::parse(url).expect("an address");
    Fetcher::new(url, FetchLimits::default(), Some(&file)).expect("a fetcher").fetch().await
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_when_given() {
    let apple = Apple::start_tls(Papers::Good).await;
    apple.show(&down().json());
    check_down(look_trusting(&apple.url(), apple.authority_pem()).await);
}

#[tokio::test]
async fn bad_certificates_are_our_own_trouble_and_named() {
    for (papers, problem) in [
        (Papers::Expired, TlsProblem::Expired),
        (Papers::NotYetValid, TlsProblem::NotYetValid),
        (Papers::WrongHost, TlsProblem::WrongHost),
    ] {
        let apple = Apple::start_tls(papers).await;
        apple.show(&down().json());
        let failure = look_trusting(&apple.url(), apple.authority_pem()).await.expect_err("bad papers");
        check(&failure, Fault::Ours, "tls");
        assert_eq!(failure.kind, FailureKind::Tls(problem));
        assert_eq!(apple.requests(), []);
    }
}

#[tokio::test]
async fn an_unknown_authority_is_not_trusted() {
    let apple = Apple::start_tls(Papers::Good).await;
    let other = Apple::start_tls(Papers::Good).await;
    let failure = look_trusting(&apple.url(), other.authority_pem()).await.expect_err("a stranger");
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
            stream.write_all(bytes).expect("somebody listens");
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    format!("https://{address}{PATH}")
}

#[tokio::test]
async fn what_does_not_speak_tls_and_what_hangs_up_on_it() {
    let failure = look(&speaks_first(b"HTTP/1.1 302 Found\r\n\r\n")).await.expect_err("no TLS");
    assert_eq!(failure.kind, FailureKind::Tls(TlsProblem::NotTls));
    let failure = look(&speaks_first(b"")).await.expect_err("a hang-up");
    assert_eq!(failure.kind, FailureKind::Tls(TlsProblem::CutOff));
    check(&failure, Fault::Ours, "tls");
}

#[test]
fn a_ca_file_without_certificates_is_refused_in_words() {
    let new = |file: PathBuf| {
        let url = FeedUrl::parse("https://127.0.0.1/").expect("an address");
        Fetcher::new(url, FetchLimits::default(), Some(&file)).expect_err("no certificates")
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
fn again_with(test: &str, environment: &[(&str, &str)]) {
    let output = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", &format!("fetch::{test}"), "--nocapture"])
        .env_clear()
        .env(CHILD, "1")
        .envs(environment.iter().copied())
        .output()
        .expect("this program runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "no test is called {test}");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn no_network() {
    if !is_child() {
        return again_with("no_network", &[]);
    }
    // TCP to a multicast address: Linux answers "network unreachable" and sends nothing.
    let failure = look("https://224.0.0.1/").await.expect_err("no way");
    check(&failure, Fault::Ours, "no_network");
}

#[tokio::test]
async fn a_proxy_that_wants_a_login() {
    if is_child() {
        let failure = look("https://feed.invalid/").await.expect_err("no login");
        assert_eq!(failure.kind, FailureKind::ProxyLogin);
        return check(&failure, Fault::Ours, "proxy");
    }
    let proxy = Apple::start().await;
    proxy.answer(Answer::status(407));
    again_with("a_proxy_that_wants_a_login", &[("HTTPS_PROXY", &proxy.url_of(""))]);
    assert_eq!(proxy.requests()[0].method, "CONNECT");
}

#[tokio::test]
async fn a_proxy_that_refuses() {
    if is_child() {
        let failure = look("https://feed.invalid/").await.expect_err("no way through");
        assert_eq!(failure.kind, FailureKind::Proxy);
        return check(&failure, Fault::Ours, "proxy");
    }
    let proxy = Apple::start().await;
    proxy.answer(Answer::status(502));
    again_with("a_proxy_that_refuses", &[("HTTPS_PROXY", &proxy.url_of(""))]);
}

/// Starts a SOCKS 5 proxy (RFC 1928) for one client. Returns its address and the requested host name.
fn socks(reply: u8) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("socks5h://{}", listener.local_addr().expect("an address"));
    let asked = thread::spawn(move || {
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
    (address, asked)
}

#[tokio::test]
async fn a_socks_proxy_is_asked_for_the_name() {
    const OPEN: &str = "STATUSD_TEST_OPEN";
    if is_child() {
        let failure = look("https://feed.invalid/").await.expect_err("no feed behind it");
        // Let through, and then cut off; or not let through.
        let word = if env::var_os(OPEN).is_some() { "tls" } else { "proxy" };
        return check(&failure, Fault::Ours, word);
    }
    let name = "a_socks_proxy_is_asked_for_the_name";
    let (address, asked) = socks(0);
    again_with(name, &[("HTTPS_PROXY", ""), ("ALL_PROXY", &address), (OPEN, "1")]);
    assert_eq!(asked.join().expect("asked"), "feed.invalid");
    let (address, asked) = socks(5);
    again_with(name, &[("https_proxy", &address)]);
    assert_eq!(asked.join().expect("asked"), "feed.invalid");
    // Nothing listens there any more.
    again_with(name, &[("https_proxy", &address)]);
}

#[tokio::test]
async fn an_empty_variable_hides_no_other() {
    if is_child() {
        let failure = look("https://feed.invalid/").await.expect_err("no login");
        return assert_eq!(failure.kind, FailureKind::ProxyLogin);
    }
    let proxy = Apple::start().await;
    proxy.answer(Answer::status(407));
    let name = "an_empty_variable_hides_no_other";
    again_with(name, &[("HTTPS_PROXY", ""), ("https_proxy", &proxy.url_of(""))]);
    assert_eq!(proxy.requests()[0].method, "CONNECT");
}

#[tokio::test]
async fn no_proxy_stands_between_this_computer_and_itself() {
    if is_child() {
        return check_down(look_at(Answer::ok(down().json())).await);
    }
    let proxy = Apple::start().await;
    let address = proxy.url_of("");
    let name = "no_proxy_stands_between_this_computer_and_itself";
    again_with(name, &[("HTTP_PROXY", &address), ("http_proxy", &address), ("ALL_PROXY", &address)]);
    assert_eq!(proxy.requests(), []);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn the_systems_trust_can_be_replaced() {
    const URL: &str = "STATUSD_TEST_URL";
    if is_child() {
        return check_down(look(&env::var(URL).expect("the parent's server")).await);
    }
    let apple = Apple::start_tls(Papers::Good).await;
    apple.show(&down().json());
    let (_dir, file) = ca_file(apple.authority_pem());
    let file = file.to_str().expect("a path in UTF-8");
    again_with("the_systems_trust_can_be_replaced", &[("SSL_CERT_FILE", file), (URL, &apple.url())]);
}
