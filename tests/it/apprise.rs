//! The apprise channel with the real apprise, which posts to an HTTP server on loopback.

use std::fs;
use std::path::Path;
use std::process::Command as Process;
use std::sync::LazyLock;

use crate::common::http_server::{ClosedPort, HttpServer, Reply};
use serde_json::{Value, json};
use statusd::channel::Transport as _;
use statusd::channel::apprise::Apprise;
use statusd::channel::apprise::Settings;
use statusd::channel::{Notice, SendOutcome};
use statusd::model::Severity;
use statusd::secret::Secret;
use tempfile::TempDir;

/// Part of the path and of the password in the URL.
const SECRET: &str = "T000PATHSECRET";

fn notice() -> Notice {
    Notice {
        key: "consumer/en_US/icloud%20backup/1002938/1/began".to_owned(),
        title: "iCloud Backup is down — “Störung”".to_owned(),
        body: "Since 02:10.\n--title=x $(y) \\n <b>バックアップ</b>".to_owned(),
        severity: Severity::Alert,
        payload: String::new(),
        replaces: None,
        follows: None,
    }
}

fn settings() -> Settings {
    let program = "apprise".to_owned();
    Settings { url: None, url_file: None, config_file: None, tag: None, program }
}

fn apprise(settings: &Settings) -> Apprise {
    static IS_INSTALLED: LazyLock<bool> = LazyLock::new(|| {
        let version = Process::new("apprise").arg("--version").output();
        version.is_ok_and(|done| done.status.success())
    });
    assert!(*IS_INSTALLED, "install Debian's package apprise");
    Apprise::new(settings, &|_| panic!("no file to read")).expect("a channel")
}

fn with_url(url: String) -> Apprise {
    apprise(&Settings { url: Some(Secret::new(url)), ..settings() })
}

fn with_config(directory: &TempDir, text: &str, tag: Option<&str>) -> Apprise {
    let file = directory.path().join("apprise.conf");
    fs::write(&file, text).expect("a file");
    apprise(&Settings { config_file: Some(file), tag: tag.map(str::to_owned), ..settings() })
}

#[track_caller]
fn check_detail(outcome: &SendOutcome) {
    let detail = outcome.detail();
    assert!(detail.starts_with("apprise ") && !detail.contains(char::is_control), "{detail}");
    assert!(!detail.contains(SECRET), "{detail}");
}

#[track_caller]
fn check_delivered(outcome: &SendOutcome, expected: &str) {
    check_detail(outcome);
    let SendOutcome::Delivered { receipt: None, detail } = outcome else { panic!("{outcome:?}") };
    assert!(detail.contains(expected), "{detail}");
}

#[track_caller]
fn check_retry(outcome: &SendOutcome, expected: &str) {
    check_detail(outcome);
    let SendOutcome::Transient { after_s: None, reached: true, detail } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(detail.contains(expected), "{detail}");
}

#[track_caller]
fn check_refused(outcome: &SendOutcome, expected: &str) {
    check_detail(outcome);
    let SendOutcome::Permanent { detail } = outcome else { panic!("{outcome:?}") };
    assert!(detail.contains(expected), "{detail}");
}

/// Returns what apprise posted for the next message.
async fn posted(peer: &mut HttpServer) -> Value {
    let request = peer.next().await;
    serde_json::from_slice(&request.body).expect("JSON")
}

#[tokio::test]
async fn delivers_the_message_unchanged() {
    let mut peer = HttpServer::start([Reply::status(200)]).await;
    let outcome = with_url(format!("json://me:{SECRET}@{}/{SECRET}/x", peer.address)).send(&notice()).await;
    check_delivered(&outcome, "apprise exited with 0. Output: Sent JSON POST notification.");
    let request = peer.next().await;
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/T000PATHSECRET/x"));
    let posted: Value = serde_json::from_slice(&request.body).expect("JSON");
    assert_eq!(posted["title"], json!(notice().title));
    assert_eq!(posted["message"], json!(notice().body));
    assert_eq!(posted["type"], json!("failure"));
    assert!(peer.is_quiet(), "one message is one request");
}

#[tokio::test]
async fn maps_severity_to_apprise_type() {
    let mut peer = HttpServer::start([Reply::status(200)]).await;
    let mut apprise = with_url(format!("json://{}", peer.address));
    for (severity, kind) in [(Severity::Resolved, "success"), (Severity::Info, "info")] {
        let outcome = apprise.send(&Notice { severity, body: String::new(), ..notice() }).await;
        check_delivered(&outcome, "Sent JSON");
        assert_eq!(posted(&mut peer).await["type"], json!(kind));
    }
}

#[tokio::test]
async fn retries_after_a_service_fails() {
    let peer = HttpServer::start([Reply::status(503), Reply::ResetAfterReading]).await;
    let mut apprise = with_url(format!("json://{}/{SECRET}", peer.address));
    check_retry(&apprise.send(&notice()).await, "exited with 1. Output: Failed to send JSON");
    check_retry(&apprise.send(&notice()).await, "A Connection error occurred sending JSON notification");
    let closed_port = ClosedPort::new();
    let outcome = with_url(format!("json://{}/{SECRET}", closed_port.address)).send(&notice()).await;
    check_retry(&outcome, "A Connection error occurred");
}

#[tokio::test]
async fn rejects_an_unusable_url_without_quoting_it() {
    for (url, expected) in [
        (format!("nonsense://{SECRET}"), "check url or config_file. Output: Unparseable URL nonsense://…"),
        (format!("slack://{SECRET}"), "Could not load Slack URL: slack://…"),
    ] {
        check_refused(&with_url(url).send(&notice()).await, expected);
    }
}

#[tokio::test]
async fn supports_apprise_config_with_and_without_a_tag() {
    let directory = TempDir::new().expect("a directory");
    let mut peer = HttpServer::start([Reply::status(200)]).await;
    let text = format!("me=json://{0}/{SECRET}/me\njson://{0}/{SECRET}/all\n", peer.address);
    check_delivered(&with_config(&directory, &text, Some("me")).send(&notice()).await, "Sent JSON");
    assert_eq!(peer.next().await.target, "/T000PATHSECRET/me");
    check_delivered(&with_config(&directory, &text, None).send(&notice()).await, "Sent JSON");
    assert_eq!(peer.next().await.target, "/T000PATHSECRET/all");
    assert!(peer.is_quiet());

    let outcome = with_config(&directory, &text, Some("you")).send(&notice()).await;
    check_refused(&outcome, "apprise exited with 3: no service is selected; check tag and config_file");
    let outcome = with_config(&directory, &format!("discord://{SECRET}\n"), None).send(&notice()).await;
    check_refused(&outcome, "the address or configuration is unusable; check url or config_file");
    let missing = Settings { config_file: Some("/nowhere/apprise.conf".into()), ..settings() };
    check_refused(&apprise(&missing).send(&notice()).await, "Output: File is not accessible");
}

/// A repeat would reach the working service again every few minutes until the other one recovers.
#[tokio::test]
async fn partial_failure_does_not_repeat_to_delivered_services() {
    let directory = TempDir::new().expect("a directory");
    let mut peer = HttpServer::start([Reply::status(200)]).await;
    let closed_port = ClosedPort::new();
    let text = format!("json://{}/works\njson://{}/{SECRET}\n", peer.address, closed_port.address);
    let outcome = with_config(&directory, &text, None).send(&notice()).await;
    check_delivered(&outcome, "apprise exited with 1. Output: A Connection error occurred");
    assert_eq!(peer.next().await.target, "/works");
}

#[tokio::test]
async fn rejects_a_missing_or_outdated_program_with_advice() {
    let url = || Some(Secret::new(format!("json://127.0.0.1/{SECRET}")));
    let missing = Settings { url: url(), program: "apprise-that-nobody-has".to_owned(), ..settings() };
    let outcome = apprise(&missing).send(&notice()).await;
    let SendOutcome::Permanent { detail } = &outcome else { panic!("{outcome:?}") };
    assert!(detail.contains("; install the package apprise, or write its absolute path"), "{detail}");

    let directory = TempDir::new().expect("a directory");
    let old = script(&directory, "echo 'Error: no such option: --input-format=text'; exit 2");
    let outcome = apprise(&Settings { url: url(), program: old, ..settings() }).send(&notice()).await;
    check_refused(&outcome, "install apprise 1.2 or newer. Output: Error: no such option");
}

#[tokio::test]
async fn url_is_not_passed_as_an_argument() {
    let directory = TempDir::new().expect("a directory");
    let program = script(
        &directory,
        "echo \"$APPRISE_URLS\" \"${#}\"; for word; do echo \"$word\"; done >\"$0.words\"",
    );
    let url = format!("json://127.0.0.1/{SECRET}");
    let settings = Settings { url: Some(Secret::new(url)), program: program.clone(), ..settings() };
    let outcome = apprise(&settings).send(&notice()).await;
    assert_eq!(outcome.detail(), "apprise exited with 0. Output: json://… 4");
    let arguments = fs::read_to_string(format!("{program}.words")).expect("the arguments");
    assert!(
        arguments.contains("--title=iCloud Backup is down") && !arguments.contains(SECRET),
        "{arguments}"
    );
    assert!(!arguments.contains("Since 02:10"), "the body is not in them either: {arguments}");
}

/// Writes a script named apprise. Another process writes it, see `program` in `command.rs`.
fn script(directory: &TempDir, text: &str) -> String {
    let path = directory.path().join("apprise");
    let path = path.to_str().expect("a path in UTF-8").to_owned();
    let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
    let status = Process::new("/bin/sh").args(["-c", write, &path, text]).status().expect("a shell");
    assert!(status.success() && Path::new(&path).exists());
    path
}
