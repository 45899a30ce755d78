//! The real program and a phone: `statusd run` with an emulator of usbmuxd. Covers messages, `statusd
//! status`, reload and stop.
#![cfg(target_os = "linux")]

use std::sync::Arc;

use crate::common::apple::{Answer, Apple};
use crate::common::doc::Doc;
use crate::common::http_server::{HttpServer, Reply, Request};
use crate::common::phone::{Fault, Mux, Phone, Stage};
use crate::common::phone_certs::Papers;
use crate::process::{Home, configuration, within};
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
    Phone::new(UDID, Arc::new(Papers::new())).with("com.apple.mobile.backup", "LastCloudBackupDate", date)
}

fn webhook(peer: &HttpServer) -> String {
    format!("{CHANNELS}[channel.webhook.ops]\nurl = {:?}\n", peer.url("/"))
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
async fn a_late_backup_is_told_and_an_outage_says_when_the_last_one_was() {
    let apple = Apple::start().await;
    apple.answer(Answer::ok(fine()));
    let mut peer = HttpServer::start([Reply::status(200)]).await;
    let mux = Mux::start(vec![iphone(4 * DAY_S)]).await;
    // The address comes from where other programs have it.
    let home = Home::new().with("USBMUXD_SOCKET_ADDRESS", mux.address.clone());
    let text = configuration("iCloud Backup", &apple.url(), &webhook(&peer));
    home.configure(&format!("{text}{PHONE}{LATE}"));
    let daemon = home.start();
    let late = payload(&within("a late backup", peer.next()).await);
    assert_eq!(late["kind"], "backup_late");
    let words = late["text"].as_str().expect("a text");
    assert!(words.starts_with("No backup for 4 days: your iPhone. Last backup: "), "{words}");

    let status = home.ask(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&status.out).expect("JSON");
    let phone = &status["phones"][0];
    assert_eq!((&phone["model"], &phone["backup_enabled"]), (&"iPhone13,2".into(), &true.into()));
    let shown = home.ask(&["status"]).await.out;
    assert!(shown.contains("\niPhone: last backup 4 days ago, seen "), "{shown}");

    apple.answer(Answer::ok(down(now_s() - 3_600)));
    let began = payload(&within("an outage", peer.next()).await);
    let words = began["text"].as_str().expect("a text");
    assert_eq!((&began["kind"], &began["phones"]), (&"began".into(), &1.into()), "and late is told once");
    assert!(words.contains("Your iPhone's last backup: 3 days 23 h before it began ("), "{words}");

    daemon.signal("TERM").await;
    let (code, log) = daemon.end().await;
    assert_eq!(code.code(), Some(0), "{log}");
    let history = home.ask(&["history", "--changes"]).await.out;
    assert!(history.contains("(iPhone)") && history.contains("no backup for days"), "{history}");
    for text in [&log, &shown, &history, &words.to_owned()] {
        for private in [UDID, "000A1B2C3D4E001E", "Zoë", "02:00:00"] {
            assert!(!text.contains(private), "{private}: {text}");
        }
    }
}

#[tokio::test]
async fn a_phone_that_hangs_holds_up_no_look_no_reload_and_no_stop() {
    let apple = Apple::start().await;
    apple.answer(Answer::ok(fine()));
    let mux = Mux::start(vec![iphone(DAY_S).faulty(Stage::QueryType, Fault::Hang)]).await;
    let home = Home::new();
    let text = configuration("iCloud Backup", &apple.url(), CHANNELS);
    let address = format!("usbmuxd = {:?}\n", mux.address);
    home.configure(&format!("{text}{PHONE}{address}"));
    let mut daemon = home.start();
    within("a question", mux.hears("QueryType")).await;
    let looks = apple.requests().len();
    within("two more looks", apple.asked(looks + 2)).await;
    daemon.signal("HUP").await;
    daemon.says("the configuration was read anew").await;
    daemon.signal("TERM").await;
    let (code, log) = daemon.end().await;
    assert_eq!(code.code(), Some(0), "{log}");
    // Had anything waited for the phone, there would be word of its silence.
    assert!(!log.contains("tells nothing"), "{log}");
}

#[tokio::test]
async fn where_nobody_asks_for_phones_none_is_asked() {
    let apple = Apple::start().await;
    apple.answer(Answer::ok(fine()));
    let mux = Mux::start(vec![iphone(DAY_S)]).await;
    let home = Home::new();
    let text = configuration("iCloud Backup", &apple.url(), CHANNELS);
    home.configure(&format!("{text}[phone]\npoll = \"* * * * * *\"\nusbmuxd = {:?}\n", mux.address));
    let daemon = home.start();
    within("three looks", apple.asked(3)).await;
    daemon.signal("TERM").await;
    let (code, log) = daemon.end().await;
    assert_eq!((code.code(), mux.heard().len()), (Some(0), 0), "{log}");
    assert!(!home.ask(&["status"]).await.out.contains("iPhone"));
}

#[tokio::test]
async fn without_usbmuxd_it_is_said_once_and_without_trust_too() {
    let apple = Apple::start().await;
    apple.answer(Answer::ok(fine()));
    let home = Home::new();
    let text = configuration("iCloud Backup", &apple.url(), CHANNELS);
    let nobody = format!("usbmuxd = \"UNIX:{}\"\n", home.path("nobody").display());
    home.configure(&format!("{text}{PHONE}{nobody}"));
    let mut daemon = home.start();
    daemon.says("cannot read phones yet: usbmuxd does not listen at ").await;
    let looks = apple.requests().len();
    within("three more looks", apple.asked(looks + 3)).await;
    let mux = Mux::start(vec![iphone(DAY_S).refusing("InvalidHostID")]).await;
    home.configure(&format!("{text}{PHONE}usbmuxd = {:?}\n", mux.address));
    daemon.signal("HUP").await;
    let line = daemon.says("an iPhone is connected and tells nothing: ").await;
    assert!(line.contains("it no longer trusts this computer; see `statusd doctor`"), "{line}");
    let looks = apple.requests().len();
    within("four more looks", apple.asked(looks + 4)).await;
    assert!(home.ask(&["status"]).await.out.contains("\niPhone: none read yet; see `statusd doctor`\n"));
    daemon.signal("TERM").await;
    let (_, log) = daemon.end().await;
    assert_eq!(log.matches("cannot read phones").count(), 1, "{log}");
    assert_eq!(log.matches("tells nothing").count(), 1, "{log}");
}
