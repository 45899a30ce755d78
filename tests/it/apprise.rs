//! The apprise channel with the real apprise, which posts to an HTTP server on loopback.

use std::fs;
use std::path::Path;
use std::process::Command as Process;
use std::sync::LazyLock;

use crate::common::http_server::{HttpServer, Nobody, Reply};
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
    Apprise::new(settings, &|_| panic!("no file to read")).expect("an apprise")
}

fn one(url: String) -> Apprise {
    apprise(&Settings { url: Some(Secret::new(url)), ..settings() })
}

fn configured(directory: &TempDir, text: &str, tag: Option<&str>) -> Apprise {
    let file = directory.path().join("apprise.conf");
    fs::write(&file, text).expect("a file");
    apprise(&Settings { config_file: Some(file), tag: tag.map(str::to_owned), ..settings() })
}

#[track_caller]
fn check_words(answer: &SendOutcome) {
    let words = answer.words();
    assert!(words.starts_with("apprise ") && !words.contains(char::is_control), "{words}");
    assert!(!words.contains(SECRET), "{words}");
}

#[track_caller]
fn check_delivered(answer: &SendOutcome, said: &str) {
    check_words(answer);
    let SendOutcome::Delivered { receipt: None, words } = answer else { panic!("{answer:?}") };
    assert!(words.contains(said), "{words}");
}

#[track_caller]
fn check_retry(answer: &SendOutcome, said: &str) {
    check_words(answer);
    let SendOutcome::Transient { after_s: None, reached: true, words } = answer else { panic!("{answer:?}") };
    assert!(words.contains(said), "{words}");
}

#[track_caller]
fn check_refused(answer: &SendOutcome, said: &str) {
    check_words(answer);
    let SendOutcome::Permanent { words } = answer else { panic!("{answer:?}") };
    assert!(words.contains(said), "{words}");
}

/// Returns what apprise posted for the next message.
async fn posted(peer: &mut HttpServer) -> Value {
    let request = peer.next().await;
    serde_json::from_slice(&request.body).expect("JSON")
}

#[tokio::test]
async fn the_message_arrives_as_it_is() {
    let mut peer = HttpServer::start([Reply::status(200)]).await;
    let answer = one(format!("json://me:{SECRET}@{}/{SECRET}/x", peer.address)).send(&notice()).await;
    check_delivered(&answer, "apprise exited with 0. It says: Sent JSON POST notification.");
    let request = peer.next().await;
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/T000PATHSECRET/x"));
    let posted: Value = serde_json::from_slice(&request.body).expect("JSON");
    assert_eq!(posted["title"], json!(notice().title));
    assert_eq!(posted["message"], json!(notice().body));
    assert_eq!(posted["type"], json!("failure"));
    assert!(peer.is_quiet(), "one message is one request");
}

#[tokio::test]
async fn the_tone_is_the_type() {
    let mut peer = HttpServer::start([Reply::status(200)]).await;
    let mut apprise = one(format!("json://{}", peer.address));
    for (severity, kind) in [(Severity::Resolved, "success"), (Severity::Info, "info")] {
        let answer = apprise.send(&Notice { severity, body: String::new(), ..notice() }).await;
        check_delivered(&answer, "Sent JSON");
        assert_eq!(posted(&mut peer).await["type"], json!(kind));
    }
}

#[tokio::test]
async fn a_service_that_fails_is_tried_again() {
    let peer = HttpServer::start([Reply::status(503), Reply::ResetAfterReading]).await;
    let mut apprise = one(format!("json://{}/{SECRET}", peer.address));
    check_retry(&apprise.send(&notice()).await, "exited with 1. It says: Failed to send JSON");
    check_retry(&apprise.send(&notice()).await, "A Connection error occurred sending JSON notification");
    let nobody = Nobody::new();
    let answer = one(format!("json://{}/{SECRET}", nobody.address)).send(&notice()).await;
    check_retry(&answer, "A Connection error occurred");
}

#[tokio::test]
async fn an_address_that_apprise_cannot_use_is_refused_and_not_repeated() {
    for (url, said) in [
        (format!("nonsense://{SECRET}"), "check url or config_file. It says: Unparseable URL nonsense://…"),
        (format!("slack://{SECRET}"), "Could not load Slack URL: slack://…"),
    ] {
        check_refused(&one(url).send(&notice()).await, said);
    }
}

#[tokio::test]
async fn its_own_configuration_works_with_a_tag_and_without() {
    let directory = TempDir::new().expect("a directory");
    let mut peer = HttpServer::start([Reply::status(200)]).await;
    let text = format!("me=json://{0}/{SECRET}/me\njson://{0}/{SECRET}/all\n", peer.address);
    check_delivered(&configured(&directory, &text, Some("me")).send(&notice()).await, "Sent JSON");
    assert_eq!(peer.next().await.target, "/T000PATHSECRET/me");
    check_delivered(&configured(&directory, &text, None).send(&notice()).await, "Sent JSON");
    assert_eq!(peer.next().await.target, "/T000PATHSECRET/all");
    assert!(peer.is_quiet());

    let answer = configured(&directory, &text, Some("you")).send(&notice()).await;
    check_refused(&answer, "apprise exited with 3; no service is meant; check tag and config_file");
    let answer = configured(&directory, &format!("discord://{SECRET}\n"), None).send(&notice()).await;
    check_refused(&answer, "it can make nothing of the address; check url or config_file");
    let missing = Settings { config_file: Some("/nowhere/apprise.conf".into()), ..settings() };
    check_refused(&apprise(&missing).send(&notice()).await, "It says: File is not accessible");
}

/// A repeat would reach the working service again every few minutes until the other one recovers.
#[tokio::test]
async fn who_was_told_is_not_told_again_because_another_was_not() {
    let directory = TempDir::new().expect("a directory");
    let mut peer = HttpServer::start([Reply::status(200)]).await;
    let nobody = Nobody::new();
    let text = format!("json://{}/works\njson://{}/{SECRET}\n", peer.address, nobody.address);
    let answer = configured(&directory, &text, None).send(&notice()).await;
    check_delivered(&answer, "apprise exited with 1. It says: A Connection error occurred");
    assert_eq!(peer.next().await.target, "/works");
}

#[tokio::test]
async fn a_program_that_is_missing_or_another_is_refused_with_what_to_do() {
    let url = || Some(Secret::new(format!("json://127.0.0.1/{SECRET}")));
    let missing = Settings { url: url(), program: "apprise-that-nobody-has".to_owned(), ..settings() };
    let answer = apprise(&missing).send(&notice()).await;
    let SendOutcome::Permanent { words } = &answer else { panic!("{answer:?}") };
    assert!(words.contains("; install the package apprise, or write its absolute path"), "{words}");

    let directory = TempDir::new().expect("a directory");
    let old = script(&directory, "echo 'Error: no such option: --input-format=text'; exit 2");
    let answer = apprise(&Settings { url: url(), program: old, ..settings() }).send(&notice()).await;
    check_refused(&answer, "install apprise 1.2 or newer. It says: Error: no such option");
}

#[tokio::test]
async fn the_address_is_in_no_argument() {
    let directory = TempDir::new().expect("a directory");
    let program = script(
        &directory,
        "echo \"$APPRISE_URLS\" \"${#}\"; for word; do echo \"$word\"; done >\"$0.words\"",
    );
    let url = format!("json://127.0.0.1/{SECRET}");
    let settings = Settings { url: Some(Secret::new(url)), program: program.clone(), ..settings() };
    let answer = apprise(&settings).send(&notice()).await;
    assert_eq!(answer.words(), "apprise exited with 0. It says: json://… 4");
    let words = fs::read_to_string(format!("{program}.words")).expect("the arguments");
    assert!(words.contains("--title=iCloud Backup is down") && !words.contains(SECRET), "{words}");
    assert!(!words.contains("Since 02:10"), "the body is not in them either: {words}");
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
