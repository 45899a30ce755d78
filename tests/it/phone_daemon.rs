//! The real program and a phone: `statusd run` with an emulator of usbmuxd. Covers messages, `statusd
//! status`, reload and stop.
#![cfg(target_os = "linux")]

use std::sync::Arc;

use crate::common::apple::{Apple, Response};
use crate::common::doc::Doc;
use crate::common::http_server::{HttpServer, Reply, Request};
use crate::common::phone::{Fault, MockUsbmuxd, Phone, Stage};
use crate::common::phone_certs::Pairing;
use crate::process::{Home, configuration, wait_for};
use serde_json::Value;

const UDID: &str = "00008101-000A1B2C3D4E001E";
const DAY_S: i64 = 86_400;
/// iOS counts from 2001.
const IOS_EPOCH_S: i64 = 978_307_200;
/// Reads phones and checks for late backups every second.
const PHONE: &str = "[phone]\nenabled = true\npoll = \"* * * * * *\"\n";
const LATE: &str = "late_after = \"3d\"\nlate_check = \"* * * * * *\"\n";
const CHANNELS: &str = "[channel.desktop]\nenabled = false\n";

fn now_s() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Returns a paired phone whose last backup was `ago_s` seconds ago.
fn iphone(ago_s: i64) -> Phone {
    let date = now_s() - ago_s - IOS_EPOCH_S;
    Phone::new(UDID, Arc::new(Pairing::new())).with("com.apple.mobile.backup", "LastCloudBackupDate", date)
}

fn webhook(server: &HttpServer) -> String {
    format!("{CHANNELS}[channel.webhook.ops]\nurl = {:?}\n", server.url("/"))
}

fn fine() -> String {
    Doc::new().service("iCloud Backup").json()
}

fn down(since_s: i64) -> String {
    Doc::new().service("iCloud Backup").event("1001", "Outage", "ongoing", since_s, None).json()
}

fn payload(request: &Request) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

#[tokio::test]
async fn reports_a_late_backup_and_the_last_backup_before_an_outage() {
    let apple = Apple::start().await;
    apple.respond(Response::ok(fine()));
    let mut server = HttpServer::start([Reply::status(200)]).await;
    let mux = MockUsbmuxd::start(vec![iphone(4 * DAY_S)]).await;
    // The same variable as other programs use.
    let home = Home::new().with("USBMUXD_SOCKET_ADDRESS", mux.address.clone());
    let text = configuration("iCloud Backup", &apple.url(), &webhook(&server));
    home.configure(&format!("{text}{PHONE}{LATE}"));
    let daemon = home.start();
    let late = payload(&wait_for("a late backup", server.next()).await);
    assert_eq!(late["kind"], "backup_late");
    let message = late["text"].as_str().expect("a text");
    assert!(message.starts_with("No backup for 4 days: your iPhone. Last backup: "), "{message}");

    let status = home.run(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&status.out).expect("JSON");
    let phone = &status["phones"][0];
    assert_eq!((&phone["model"], &phone["backup_enabled"]), (&"iPhone13,2".into(), &true.into()));
    let shown = home.run(&["status"]).await.out;
    assert!(shown.contains("\niPhone: last backup 4 days ago, seen "), "{shown}");

    apple.respond(Response::ok(down(now_s() - 3_600)));
    let began = payload(&wait_for("an outage", server.next()).await);
    let message = began["text"].as_str().expect("a text");
    assert_eq!(
        (&began["kind"], &began["phones"]),
        (&"began".into(), &1.into()),
        "the late backup was reported once"
    );
    assert!(message.contains("Your iPhone's last backup: 3 days 23 h before it began ("), "{message}");

    daemon.signal("TERM").await;
    let (code, log) = daemon.end().await;
    assert_eq!(code.code(), Some(0), "{log}");
    let history = home.run(&["history", "--changes"]).await.out;
    assert!(history.contains("(iPhone)") && history.contains("no backup for days"), "{history}");
    for text in [&log, &shown, &history, &message.to_owned()] {
        for private in [UDID, "000A1B2C3D4E001E", "Zoë", "02:00:00"] {
            assert!(!text.contains(private), "{private}: {text}");
        }
    }
}

#[tokio::test]
async fn a_hanging_phone_delays_no_poll_reload_or_stop() {
    let apple = Apple::start().await;
    apple.respond(Response::ok(fine()));
    let mux = MockUsbmuxd::start(vec![iphone(DAY_S).faulty(Stage::QueryType, Fault::Hang)]).await;
    let home = Home::new();
    let text = configuration("iCloud Backup", &apple.url(), CHANNELS);
    let address = format!("usbmuxd = {:?}\n", mux.address);
    home.configure(&format!("{text}{PHONE}{address}"));
    let mut daemon = home.start();
    wait_for("a request", mux.wait_for_request("QueryType")).await;
    let polls = apple.requests().len();
    wait_for("two more polls", apple.wait_for_requests(polls + 2)).await;
    daemon.signal("HUP").await;
    daemon.wait_for_log("reloaded the configuration").await;
    daemon.signal("TERM").await;
    let (code, log) = daemon.end().await;
    assert_eq!(code.code(), Some(0), "{log}");
    // A task that waited for the phone would have logged a timeout.
    assert!(!log.contains("cannot read the backup status"), "{log}");
}

#[tokio::test]
async fn reads_no_phone_unless_enabled() {
    let apple = Apple::start().await;
    apple.respond(Response::ok(fine()));
    let mux = MockUsbmuxd::start(vec![iphone(DAY_S)]).await;
    let home = Home::new();
    let text = configuration("iCloud Backup", &apple.url(), CHANNELS);
    home.configure(&format!("{text}[phone]\npoll = \"* * * * * *\"\nusbmuxd = {:?}\n", mux.address));
    let daemon = home.start();
    wait_for("three polls", apple.wait_for_requests(3)).await;
    daemon.signal("TERM").await;
    let (code, log) = daemon.end().await;
    assert_eq!((code.code(), mux.requests().len()), (Some(0), 0), "{log}");
    assert!(!home.run(&["status"]).await.out.contains("iPhone"));
}

#[tokio::test]
async fn logs_missing_usbmuxd_and_missing_trust_once() {
    let apple = Apple::start().await;
    apple.respond(Response::ok(fine()));
    let home = Home::new();
    let text = configuration("iCloud Backup", &apple.url(), CHANNELS);
    let no_usbmuxd = format!("usbmuxd = \"UNIX:{}\"\n", home.path("missing").display());
    home.configure(&format!("{text}{PHONE}{no_usbmuxd}"));
    let mut daemon = home.start();
    daemon.wait_for_log("cannot read phones yet: usbmuxd does not listen at ").await;
    let polls = apple.requests().len();
    wait_for("three more polls", apple.wait_for_requests(polls + 3)).await;
    let mux = MockUsbmuxd::start(vec![iphone(DAY_S).refusing("InvalidHostID")]).await;
    home.configure(&format!("{text}{PHONE}usbmuxd = {:?}\n", mux.address));
    daemon.signal("HUP").await;
    let line = daemon.wait_for_log("cannot read the backup status of an iPhone: ").await;
    assert!(line.contains("it no longer trusts this computer; see `statusd doctor`"), "{line}");
    let polls = apple.requests().len();
    wait_for("four more polls", apple.wait_for_requests(polls + 4)).await;
    assert!(home.run(&["status"]).await.out.contains("\niPhone: none read yet; see `statusd doctor`\n"));
    daemon.signal("TERM").await;
    let (_, log) = daemon.end().await;
    assert_eq!(log.matches("cannot read phones").count(), 1, "{log}");
    assert_eq!(log.matches("cannot read the backup status").count(), 1, "{log}");
}
