//! Runs `statusd doctor` and `statusd guide` against a mock feed and mock phones: verdict, exit code and
//! output.
//!
//! The checks themselves are tested beside their code.
#![cfg(target_os = "linux")]

use crate::process;
use std::sync::Arc;

use crate::common::apple::{Apple, Response};
use crate::common::doc::Doc;
use crate::common::phone::{Fault, MockUsbmuxd, Phone, Stage};
use crate::common::phone_certs::Pairing;
use crate::process::{CommandOutput, Home};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;
/// Seconds from 1970 to 2001, where the phone's dates begin.
const PHONE_EPOCH_S: i64 = 978_307_200;
const UDID: &str = "00008101-000A1B2C3D4E001E";
const BACKUP: &str = "com.apple.mobile.backup";

fn configured(apple: &Apple, more: &str) -> Home {
    let home = Home::new();
    home.configure(&format!(
        "time_zone = \"UTC\"\n[feed]\nurl = {:?}\n[state]\ndirectory = \"state\"\n{more}",
        apple.url()
    ));
    home
}

fn ago(seconds: i64) -> i64 {
    Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).expect("a time").as_second()
}

/// Parses the JSON report and checks its exit code.
#[track_caller]
fn report(output: &CommandOutput) -> Value {
    assert_eq!(output.err, "", "{output:?}");
    let report: Value = serde_json::from_str(&output.out).expect("JSON");
    assert_eq!(report["exit_code"].as_i64(), output.code.map(i64::from), "{report}");
    report
}

#[track_caller]
fn finding<'a>(report: &'a Value, id: &str) -> &'a Value {
    let checks = report["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no {id} in {report:#}"))
}

#[tokio::test]
async fn blames_apple_for_an_outage() {
    let apple = Apple::start().await;
    let down = Doc::new().service("iCloud Backup").event("1", "Outage", "ongoing", ago(HOUR_S), None);
    apple.show(&down.json());
    let home = configured(&apple, "");
    let output = home.run(&["doctor", "--only", "apple"]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    let first = "It is Apple: iCloud Backup: outage since";
    assert!(output.out.starts_with(first), "{output:?}");
    assert!(output.out.contains("Wait: your iPhone backs up by itself"), "{output:?}");
    assert!(output.out.lines().all(|line| line.chars().count() <= 80), "{output:?}");
    let json = report(&home.run(&["doctor", "--only", "apple", "--json"]).await);
    assert_eq!((&json["verdict"], &finding(&json, "apple")["status"]), (&"apple".into(), &"problem".into()));
    assert_eq!(finding(&json, "history")["status"], "skipped");
}

#[tokio::test]
async fn finds_nothing_in_a_calm_feed_and_cannot_tell_from_a_broken_one() {
    let apple = Apple::start().await;
    apple.show(&Doc::new().service("iCloud Backup").json());
    let home = configured(&apple, "");
    let output = home.run(&["doctor", "--only", "apple"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.out.starts_with("Nothing found. Apple posts late: in about one hour out of 400"),
        "{output:?}"
    );
    for broken in [Response::status(503), Response::ok("<html></html>"), Response::ok("{")] {
        apple.respond(broken);
        let json = report(&home.run(&["doctor", "--only", "apple", "--json"]).await);
        assert_eq!((&json["verdict"], &json["exit_code"]), (&"cannot_tell".into(), &3.into()));
    }
}

/// Returns a healthy phone with its last backup this long ago.
fn phone(backed_up_s_ago: i64) -> Phone {
    let clock = ago(0) as f64;
    Phone::new(UDID, Arc::new(Pairing::new()))
        .with(BACKUP, "LastCloudBackupDate", ago(backed_up_s_ago) - PHONE_EPOCH_S)
        .with("", "TimeIntervalSince1970", clock)
}

/// Runs the checks of the feed and the phones.
async fn run_doctor(apple: &Apple, phones: Vec<Phone>, more: &[&str]) -> (CommandOutput, MockUsbmuxd) {
    let mux = MockUsbmuxd::start(phones).await;
    let home = configured(apple, "").with("USBMUXD_SOCKET_ADDRESS", mux.address.clone());
    let arguments = [&["doctor", "--only", "apple,phone", "--skip", "ios"], more].concat();
    (home.run(&arguments).await, mux)
}

async fn fine() -> Apple {
    let apple = Apple::start().await;
    apple.show(&Doc::new().service("iCloud Backup").json());
    apple
}

#[tokio::test]
async fn recent_backup_is_ok() {
    let (output, _mux) = run_doctor(&fine().await, vec![phone(9 * HOUR_S)], &["--json"]).await;
    let json = report(&output);
    assert_eq!(json["verdict"], "nothing_found", "{json:#}");
    let last = finding(&json, "last-backup");
    assert_eq!((&last["status"], &last["subject"]), (&"ok".into(), &"iPhone".into()));
    assert!(
        last["seen"].as_str().is_some_and(|seen| seen.starts_with("last iCloud backup 9 h ago")),
        "{last}"
    );
}

#[tokio::test]
async fn blames_the_phone_for_its_settings() {
    let apple = fine().await;
    let off = phone(9 * HOUR_S).with(BACKUP, "CloudBackupEnabled", false);
    let (output, _mux) = run_doctor(&apple, vec![off], &[]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.out.starts_with("It is your phone: iPhone: iCloud Backup is off.\n"), "{output:?}");
    let (output, _mux) = run_doctor(&apple, vec![phone(4 * DAY_S)], &["--json"]).await;
    let json = report(&output);
    assert_eq!(
        (&json["verdict"], &finding(&json, "last-backup")["blame"]),
        (&"phone".into(), &"phone".into())
    );
}

#[tokio::test]
async fn lists_other_devices_without_checking_them() {
    let apple = fine().await;
    let vision = || {
        let vision = phone(40 * DAY_S).with("", "DeviceClass", "RealityDevice");
        let vision = vision.with("", "ProductType", "RealityDevice14,1").with("", "ProductVersion", "2.5");
        Phone { udid: "00008112-000A1B2C3D4E001E".to_owned(), ..vision }
    };
    let (output, _mux) = run_doctor(&apple, vec![vision()], &["--json"]).await;
    let json = report(&output);
    assert_eq!(json["verdict"], "nothing_found", "{json:#}");
    let of_phones: Vec<&Value> =
        json["checks"].as_array().expect("checks").iter().filter(|check| check["group"] == "phone").collect();
    assert!(of_phones.iter().all(|check| check["status"] == "skipped"), "{json:#}");
    let listed = of_phones.iter().find(|check| check["subject"] == "Apple Vision Pro").expect("listed");
    assert_eq!(listed["seen"], "not checked: neither an iPhone nor an iPad");
    // It does not affect the checks of an iPhone beside it.
    let (output, _mux) = run_doctor(&apple, vec![vision(), phone(9 * HOUR_S)], &["--json"]).await;
    let json = report(&output);
    assert_eq!(json["verdict"], "nothing_found", "{json:#}");
    let last = finding(&json, "last-backup");
    assert_eq!((&last["status"], &last["subject"]), (&"ok".into(), &"iPhone".into()));
}

/// Writes the property lists of a backup.
fn backup_files(home: &Home, folder: &str, files: &[(&str, String)]) {
    for (name, body) in files {
        let path = home.path(&format!("{folder}/{name}"));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, format!("<plist version=\"1.0\"><dict>{body}</dict></plist>")).expect("written");
    }
}

fn status_list(state: &str, seconds_ago: i64) -> String {
    let at = Timestamp::from_second(ago(seconds_ago)).expect("a time");
    format!("<key>SnapshotState</key><string>{state}</string><key>Date</key><date>{at}</date>")
}

fn info_list(seconds_ago: i64) -> String {
    let at = Timestamp::from_second(ago(seconds_ago)).expect("a time");
    format!("<key>Last Backup Date</key><date>{at}</date>")
}

async fn backups_in(home: &Home, folder: &str) -> Value {
    let folder = home.path(folder);
    let named = folder.to_str().expect("UTF-8");
    let output = home.run(&["doctor", "--only", "local-backups", "--backups", named, "--json"]).await;
    finding(&report(&output), "local-backups").clone()
}

#[tokio::test]
async fn failed_local_backup_does_not_count_as_recent() {
    let home = Home::new();
    home.configure("time_zone = \"UTC\"\n[state]\ndirectory = \"state\"");
    let manifest = ("Manifest.plist", "<key>IsEncrypted</key><true/>".to_owned());
    let status = ("Status.plist", status_list("finished", 30 * DAY_S));
    let good = |info: i64| [manifest.clone(), status.clone(), ("Info.plist", info_list(info))];
    backup_files(&home, "good/00008101-000A1B2C3D4E001E", &good(30 * DAY_S));
    let found = backups_in(&home, "good").await;
    assert_eq!(
        (&found["status"], &found["seen"]),
        (&"ok".into(), &"a backup on this computer, 30 days old, encrypted".into())
    );
    // A backup writes Info.plist at its start.
    backup_files(&home, "failed/00008101-000A1B2C3D4E001E", &good(HOUR_S));
    // An unfinished backup is stored beside the last good one.
    backup_files(&home, "left/00008101-000A1B2C3D4E001E", &good(30 * DAY_S));
    let left = [("Status.plist", status_list("uploading", HOUR_S))];
    backup_files(&home, "left/00008101-000A1B2C3D4E001E/Snapshot", &left);
    for folder in ["failed", "left"] {
        let found = backups_in(&home, folder).await;
        assert_eq!(found["status"], "warning", "{found:#}");
        let seen = found["seen"].as_str().expect("words");
        let words = "the last run of a backup on this computer did not finish; last good backup: ";
        assert!(seen.starts_with(words) && seen.ends_with(", 30 days old, encrypted"), "{seen}");
    }
}

#[tokio::test]
async fn finds_backups_in_nearby_folders_and_reports_unreadable_ones() {
    let home = Home::new();
    home.configure("time_zone = \"UTC\"\n[state]\ndirectory = \"state\"");
    let files = [
        ("Manifest.plist", "<key>IsEncrypted</key><true/>".to_owned()),
        ("Status.plist", status_list("finished", DAY_S)),
    ];
    backup_files(&home, "disk/MobileSync/Backup/00008101000A1B2C3D4E001E", &files);
    let kept = "disk/MobileSync/Backup";
    for folder in ["disk", "disk/MobileSync", kept, &format!("{kept}/00008101000A1B2C3D4E001E")] {
        assert_eq!(backups_in(&home, folder).await["status"], "ok", "{folder}");
    }
    std::fs::create_dir(home.path("unmounted")).expect("a folder");
    std::fs::create_dir(home.path("links")).expect("a folder");
    let link = home.path("links/00008101-000A1B2C3D4E001E");
    std::os::unix::fs::symlink(home.path("nowhere"), link).expect("a link");
    std::os::unix::fs::symlink(home.path("nowhere"), home.path("link")).expect("a link");
    for folder in ["unmounted", "links", "link"] {
        assert_eq!(backups_in(&home, folder).await["status"], "cannot_tell", "{folder}");
    }
    // A missing directory from the configuration.
    let away = home.path("away");
    home.configure(&format!(
        "time_zone = \"UTC\"\n[state]\ndirectory = \"state\"\n[phone]\nbackups = [{away:?}]"
    ));
    let output = home.run(&["doctor", "--only", "local-backups", "--json"]).await;
    let found = finding(&report(&output), "local-backups").clone();
    assert_eq!(found["seen"], "a named backup directory does not exist", "{found:#}");
}

#[tokio::test]
async fn blames_apple_for_a_late_backup_during_an_outage() {
    let apple = Apple::start().await;
    let nights =
        Doc::new().service("iCloud Backup").event("1", "Outage", "resolved", ago(4 * DAY_S), Some(ago(60)));
    apple.show(&nights.json());
    let (output, _mux) = run_doctor(&apple, vec![phone(4 * DAY_S)], &["--json"]).await;
    let json = report(&output);
    assert_eq!(json["verdict"], "apple", "{json:#}");
    let last = finding(&json, "last-backup");
    assert_eq!((&last["status"], &last["blame"]), (&"problem".into(), &"apple".into()));
    // After a newer backup the outage no longer matters.
    let (output, _mux) = run_doctor(&apple, vec![phone(30)], &["--json"]).await;
    assert_eq!(report(&output)["verdict"], "nothing_found");
}

#[tokio::test]
async fn untrusted_computer_gets_advice_and_never_pairs() {
    let apple = fine().await;
    let never = Phone { pairing: None, ..phone(HOUR_S) };
    for (phone, seen) in [
        (never, "does not trust this computer yet"),
        (phone(HOUR_S).refusing("InvalidHostID"), "no longer trusts this computer"),
        (phone(HOUR_S).refusing("PasswordProtected"), "has not been unlocked since it started"),
        (phone(HOUR_S).refusing("PairingDialogResponsePending"), "is asking whether to trust this computer"),
        (phone(HOUR_S).refusing("UserDeniedPairing"), "was set not to trust this computer"),
    ] {
        let (output, mux) = run_doctor(&apple, vec![phone], &["--json"]).await;
        let json = report(&output);
        let found = finding(&json, "phone");
        assert_eq!(found["status"], "warning", "{found}");
        assert!(found["seen"].as_str().is_some_and(|text| text.contains(seen)), "{found}");
        assert!(found["todo"].as_str().is_some_and(|todo| !todo.is_empty()), "{found}");
        assert_eq!(finding(&json, "icloud-backup")["status"], "skipped", "{json:#}");
        let requests: Vec<String> = mux.requests().into_iter().map(|request| request.kind).collect();
        assert!(
            !requests.iter().any(|kind| kind.contains("Pair") && kind != "ReadPairRecord"),
            "{requests:?}"
        );
    }
}

#[tokio::test]
async fn shows_identifiers_only_on_request() {
    let apple = fine().await;
    let second = Phone { udid: "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432".to_owned(), ..phone(HOUR_S) };
    let phones = || vec![phone(HOUR_S), second.clone()];
    for form in ["-v", "--json"] {
        let (output, _mux) = run_doctor(&apple, phones(), &[form]).await;
        for secret in ["Zoë", "001E", "5432", "02:00:00"] {
            assert!(!output.out.contains(secret), "{secret}: {output:?}");
        }
        assert!(output.out.contains("iPhone 2 (iPhone13,2)"), "{output:?}");
        let (output, _mux) = run_doctor(&apple, phones(), &[form, "--identifiers"]).await;
        assert!(output.out.contains("Zoë’s iPhone") && output.out.contains(UDID), "{output:?}");
    }
}

#[tokio::test]
async fn hanging_phone_affects_only_its_own_checks() {
    let apple = fine().await;
    let hanging = phone(HOUR_S).faulty(Stage::Connect, Fault::Hang);
    let (output, _mux) = run_doctor(&apple, vec![hanging], &["--json"]).await;
    let json = report(&output);
    assert_eq!(finding(&json, "phone")["status"], "cannot_tell", "{json:#}");
    assert_eq!(
        (&json["verdict"], &finding(&json, "apple")["status"]),
        (&"nothing_found".into(), &"ok".into())
    );
}

#[tokio::test]
async fn two_servers_must_agree_about_the_clock() {
    let (page, feed) = (Apple::start().await, Apple::start().await);
    let home = configured(&feed, "");
    let to_page = format!("captive.apple.com:80:{}", page.address());
    let dated = |response: Response, ahead_s: Option<i64>| match ahead_s {
        Some(ahead_s) => {
            let time = Timestamp::from_second(ago(ahead_s)).expect("a time");
            response.header("Date", &time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        }
        None => response,
    };
    const YEARS_S: i64 = 3 * 365 * DAY_S;
    let success = "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>";
    for (ahead_of_page_s, ahead_of_feed_s, status, seen) in [
        (Some(0), Some(0), "ok", "this computer's clock is correct"),
        (Some(630), Some(630), "problem", "this computer's clock is 10 min ahead"),
        (Some(-630), Some(-630), "problem", "this computer's clock is 10 min behind"),
        (Some(YEARS_S), Some(0), "cannot_tell", "the servers sent different times"),
        (Some(0), Some(-YEARS_S), "cannot_tell", "the servers sent different times"),
        (None, Some(630), "cannot_tell", "only one server sent the time"),
        (None, None, "cannot_tell", "no server sent the time"),
    ] {
        page.respond(dated(Response::ok(success), ahead_of_page_s));
        feed.respond(dated(Response::status(503), ahead_of_feed_s));
        let output = home.run(&["doctor", "--only", "clock", "--connect-to", &to_page, "--json"]).await;
        let json = report(&output);
        let clock = finding(&json, "clock");
        assert_eq!(clock["status"], status, "{json:#}");
        assert!(clock["seen"].as_str().is_some_and(|text| text.ends_with(seen)), "{clock}");
    }
    assert_eq!((page.requests().len(), feed.requests().len()), (7, 7), "one request each");
}

/// Runs in an empty network namespace, as if the cable were unplugged.
#[tokio::test]
async fn blames_the_network_when_offline() {
    let home = Home::new();
    home.configure("time_zone = \"UTC\"\n[state]\ndirectory = \"state\"");
    let command = home.command(&["doctor", "--json"]);
    let inner = command.as_std();
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let rights: &[&str] = if is_root { &[] } else { &["--user", "--map-root-user"] };
    let mut isolated = tokio::process::Command::new("unshare");
    isolated.args(rights).arg("--net").arg(inner.get_program()).args(inner.get_args());
    isolated.env_clear().env("HOME", home.path("")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output =
        process::wait_for("the end of the command", isolated.output()).await.expect("unshare starts");
    let json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("namespaces are not permitted here: {output:?}"));
    assert_eq!((&json["verdict"], output.status.code()), (&"network".into(), Some(1)), "{json:#}");
    let checks: Vec<&str> =
        json["checks"].as_array().expect("checks").iter().filter_map(|check| check["id"].as_str()).collect();
    let all: Vec<&str> = statusd::doctor::CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(checks, all, "each once, in order");
    assert_eq!(finding(&json, "apple")["status"], "cannot_tell");
    let offline =
        "It is your network: this computer is offline: neither Apple's hosts nor example.com can be reached";
    assert!(json["text"].as_str().is_some_and(|text| text.starts_with(offline)), "{json:#}");
}

#[tokio::test]
async fn usage_errors_are_one_line_with_the_next_step() {
    let home = Home::new();
    home.configure("");
    for (arguments, words) in [
        (
            vec!["doctor", "--only", "wifi"],
            "unknown check \"wifi\": `statusd doctor --list-checks` lists all checks",
        ),
        (vec!["doctor", "--skip", "apple,network,phone,backups,statusd"], "--skip leaves no check to run"),
        (
            vec!["doctor", "--backups", "/nowhere/at/all"],
            "invalid --backups /nowhere/at/all: no such directory",
        ),
        (
            vec!["doctor", "--connect-to", "www.apple.com"],
            "--connect-to: invalid value \"www.apple.com\": expected HOST:PORT:ADDRESS:PORT, for example www.apple.com:443:192.0.2.1:8443 or …:[2001:db8::1]:8443",
        ),
        (
            vec!["guide", "13"],
            "unknown step \"13\": expected 1 to 12, or one of apple-status, wifi-and-power, storage, \
                               back-up-now, update, restart, free-space, network-reset, sign-out, local-backup, \
                               prevention, apple-support",
        ),
    ] {
        let output = home.run(&arguments).await;
        assert_eq!(output.code, Some(2), "{output:?}");
        assert_eq!((output.out.as_str(), output.err.as_str()), ("", format!("statusd: {words}\n").as_str()));
    }
}

#[tokio::test]
async fn guide_needs_no_network() {
    let home = Home::new();
    home.configure("");
    let output = home.run(&["guide", "sign-out"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.out.starts_with(" 9. Sign out of iCloud and back in\n"), "{output:?}");
    assert!(!output.out.contains('\u{1b}'), "{output:?}");
}
