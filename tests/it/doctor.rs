//! Runs `statusd doctor` and `statusd guide` against a mock feed and mock phones: verdict, exit code and
//! output.
//!
//! The checks themselves are tested beside their code.
#![cfg(target_os = "linux")]

use crate::process;
use std::sync::Arc;

use crate::common::apple::{Answer, Apple};
use crate::common::doc::Doc;
use crate::common::phone::{Fault, Mux, Phone, Stage};
use crate::common::phone_certs::Papers;
use crate::process::{Home, Said};
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
fn answer(said: &Said) -> Value {
    assert_eq!(said.err, "", "{said:?}");
    let answer: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(answer["exit_code"].as_i64(), said.code.map(i64::from), "{answer}");
    answer
}

#[track_caller]
fn finding<'a>(answer: &'a Value, id: &str) -> &'a Value {
    let checks = answer["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no {id} in {answer:#}"))
}

#[tokio::test]
async fn an_outage_is_apples() {
    let apple = Apple::start().await;
    let down = Doc::new().service("iCloud Backup").event("1", "Outage", "ongoing", ago(HOUR_S), None);
    apple.show(&down.json());
    let home = configured(&apple, "");
    let said = home.ask(&["doctor", "--only", "apple"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let first = "It is Apple: iCloud Backup: outage since";
    assert!(said.out.starts_with(first), "{said:?}");
    assert!(said.out.contains("Wait: your iPhone backs up by itself"), "{said:?}");
    assert!(said.out.lines().all(|line| line.chars().count() <= 80), "{said:?}");
    let json = answer(&home.ask(&["doctor", "--only", "apple", "--json"]).await);
    assert_eq!((&json["verdict"], &finding(&json, "apple")["status"]), (&"apple".into(), &"problem".into()));
    assert_eq!(finding(&json, "history")["status"], "skipped");
}

#[tokio::test]
async fn a_feed_without_trouble_clears_nobody_and_one_that_cannot_be_read_tells_nothing() {
    let apple = Apple::start().await;
    apple.show(&Doc::new().service("iCloud Backup").json());
    let home = configured(&apple, "");
    let said = home.ask(&["doctor", "--only", "apple"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.starts_with("Nothing found. Apple posts late: in about one hour out of 400"),
        "{said:?}"
    );
    for broken in [Answer::status(503), Answer::ok("<html></html>"), Answer::ok("{")] {
        apple.answer(broken);
        let json = answer(&home.ask(&["doctor", "--only", "apple", "--json"]).await);
        assert_eq!((&json["verdict"], &json["exit_code"]), (&"cannot_tell".into(), &3.into()));
    }
}

/// Returns a healthy phone with its last backup this long ago.
fn phone(backed_up_s_ago: i64) -> Phone {
    let clock = ago(0) as f64;
    Phone::new(UDID, Arc::new(Papers::new()))
        .with(BACKUP, "LastCloudBackupDate", ago(backed_up_s_ago) - PHONE_EPOCH_S)
        .with("", "TimeIntervalSince1970", clock)
}

/// Asks for the phone, with Apple's feed beside it.
async fn ask(apple: &Apple, phones: Vec<Phone>, more: &[&str]) -> (Said, Mux) {
    let mux = Mux::start(phones).await;
    let home = configured(apple, "").with("USBMUXD_SOCKET_ADDRESS", mux.address.clone());
    let arguments = [&["doctor", "--only", "apple,phone", "--skip", "ios"], more].concat();
    (home.ask(&arguments).await, mux)
}

async fn fine() -> Apple {
    let apple = Apple::start().await;
    apple.show(&Doc::new().service("iCloud Backup").json());
    apple
}

#[tokio::test]
async fn a_phone_that_backed_up_last_night_is_fine() {
    let (said, _mux) = ask(&fine().await, vec![phone(9 * HOUR_S)], &["--json"]).await;
    let json = answer(&said);
    assert_eq!(json["verdict"], "nothing_found", "{json:#}");
    let last = finding(&json, "last-backup");
    assert_eq!((&last["status"], &last["subject"]), (&"ok".into(), &"iPhone".into()));
    assert!(
        last["seen"].as_str().is_some_and(|seen| seen.starts_with("last iCloud backup 9 h ago")),
        "{last}"
    );
}

#[tokio::test]
async fn what_the_phone_did_wrong_is_the_phones() {
    let apple = fine().await;
    let off = phone(9 * HOUR_S).with(BACKUP, "CloudBackupEnabled", false);
    let (said, _mux) = ask(&apple, vec![off], &[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.starts_with("It is your phone: iPhone: iCloud Backup is off.\n"), "{said:?}");
    let (said, _mux) = ask(&apple, vec![phone(4 * DAY_S)], &["--json"]).await;
    let json = answer(&said);
    assert_eq!(
        (&json["verdict"], &finding(&json, "last-backup")["blame"]),
        (&"phone".into(), &"phone".into())
    );
}

#[tokio::test]
async fn what_is_no_iphone_is_listed_and_not_judged() {
    let apple = fine().await;
    let vision = || {
        let vision = phone(40 * DAY_S).with("", "DeviceClass", "RealityDevice");
        let vision = vision.with("", "ProductType", "RealityDevice14,1").with("", "ProductVersion", "2.5");
        Phone { udid: "00008112-000A1B2C3D4E001E".to_owned(), ..vision }
    };
    let (said, _mux) = ask(&apple, vec![vision()], &["--json"]).await;
    let json = answer(&said);
    assert_eq!(json["verdict"], "nothing_found", "{json:#}");
    let of_phones: Vec<&Value> =
        json["checks"].as_array().expect("checks").iter().filter(|check| check["group"] == "phone").collect();
    assert!(of_phones.iter().all(|check| check["status"] == "skipped"), "{json:#}");
    let listed = of_phones.iter().find(|check| check["subject"] == "Apple Vision Pro").expect("listed");
    assert_eq!(listed["seen"], "not checked: neither an iPhone nor an iPad");
    // Beside an iPhone it changes nothing of that one's answers.
    let (said, _mux) = ask(&apple, vec![vision(), phone(9 * HOUR_S)], &["--json"]).await;
    let json = answer(&said);
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
    let said = home.ask(&["doctor", "--only", "local-backups", "--backups", named, "--json"]).await;
    finding(&answer(&said), "local-backups").clone()
}

#[tokio::test]
async fn a_failed_backup_to_this_computer_does_not_pass_as_fresh() {
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
        let words = "the last run of a backup on this computer did not finish; the last good one is of ";
        assert!(seen.starts_with(words) && seen.ends_with(", 30 days old, encrypted"), "{seen}");
    }
}

#[tokio::test]
async fn backups_are_found_one_folder_off_and_cannot_see_is_not_none() {
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
    let said = home.ask(&["doctor", "--only", "local-backups", "--json"]).await;
    let found = finding(&answer(&said), "local-backups").clone();
    assert_eq!(found["seen"], "a named backup directory does not exist", "{found:#}");
}

#[tokio::test]
async fn nights_with_an_outage_are_apples() {
    let apple = Apple::start().await;
    let nights =
        Doc::new().service("iCloud Backup").event("1", "Outage", "resolved", ago(4 * DAY_S), Some(ago(60)));
    apple.show(&nights.json());
    let (said, _mux) = ask(&apple, vec![phone(4 * DAY_S)], &["--json"]).await;
    let json = answer(&said);
    assert_eq!(json["verdict"], "apple", "{json:#}");
    let last = finding(&json, "last-backup");
    assert_eq!((&last["status"], &last["blame"]), (&"problem".into(), &"apple".into()));
    // Backed up since: it no longer matters.
    let (said, _mux) = ask(&apple, vec![phone(30)], &["--json"]).await;
    assert_eq!(answer(&said)["verdict"], "nothing_found");
}

#[tokio::test]
async fn who_is_not_trusted_is_told_what_to_tap_and_nothing_is_changed() {
    let apple = fine().await;
    let never = Phone { papers: None, ..phone(HOUR_S) };
    for (phone, seen) in [
        (never, "does not trust this computer yet"),
        (phone(HOUR_S).refusing("InvalidHostID"), "no longer trusts this computer"),
        (phone(HOUR_S).refusing("PasswordProtected"), "has not been unlocked since it started"),
        (phone(HOUR_S).refusing("PairingDialogResponsePending"), "is asking whether to trust this computer"),
        (phone(HOUR_S).refusing("UserDeniedPairing"), "was set not to trust this computer"),
    ] {
        let (said, mux) = ask(&apple, vec![phone], &["--json"]).await;
        let json = answer(&said);
        let found = finding(&json, "phone");
        assert_eq!(found["status"], "warning", "{found}");
        assert!(found["seen"].as_str().is_some_and(|text| text.contains(seen)), "{found}");
        assert!(found["todo"].as_str().is_some_and(|todo| !todo.is_empty()), "{found}");
        assert_eq!(finding(&json, "icloud-backup")["status"], "skipped", "{json:#}");
        let asked: Vec<String> = mux.heard().into_iter().map(|heard| heard.kind).collect();
        assert!(!asked.iter().any(|kind| kind.contains("Pair") && kind != "ReadPairRecord"), "{asked:?}");
    }
}

#[tokio::test]
async fn identifiers_are_shown_to_who_asks_for_them_only() {
    let apple = fine().await;
    let second = Phone { udid: "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432".to_owned(), ..phone(HOUR_S) };
    let phones = || vec![phone(HOUR_S), second.clone()];
    for form in ["-v", "--json"] {
        let (said, _mux) = ask(&apple, phones(), &[form]).await;
        for secret in ["Zoë", "001E", "5432", "02:00:00"] {
            assert!(!said.out.contains(secret), "{secret}: {said:?}");
        }
        assert!(said.out.contains("iPhone 2 (iPhone13,2)"), "{said:?}");
        let (said, _mux) = ask(&apple, phones(), &[form, "--identifiers"]).await;
        assert!(said.out.contains("Zoë’s iPhone") && said.out.contains(UDID), "{said:?}");
    }
}

#[tokio::test]
async fn a_phone_that_hangs_costs_its_own_answers_only() {
    let apple = fine().await;
    let hanging = phone(HOUR_S).faulty(Stage::Connect, Fault::Hang);
    let (said, _mux) = ask(&apple, vec![hanging], &["--json"]).await;
    let json = answer(&said);
    assert_eq!(finding(&json, "phone")["status"], "cannot_tell", "{json:#}");
    assert_eq!(
        (&json["verdict"], &finding(&json, "apple")["status"]),
        (&"nothing_found".into(), &"ok".into())
    );
}

/// Runs in an empty network namespace, as if the cable were unplugged.
#[tokio::test]
async fn without_a_network_it_is_the_network() {
    let home = Home::new();
    home.configure("time_zone = \"UTC\"\n[state]\ndirectory = \"state\"");
    let command = home.command(&["doctor", "--json"]);
    let inner = command.as_std();
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let rights: &[&str] = if is_root { &[] } else { &["--user", "--map-root-user"] };
    let mut apart = tokio::process::Command::new("unshare");
    apart.args(rights).arg("--net").arg(inner.get_program()).args(inner.get_args());
    apart.env_clear().env("HOME", home.path("")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = process::within("an end of the command", apart.output()).await.expect("unshare starts");
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
async fn wrong_words_are_one_line_and_say_what_to_do() {
    let home = Home::new();
    home.configure("");
    for (arguments, words) in [
        (vec!["doctor", "--only", "wifi"], "no check \"wifi\"; `statusd doctor --list-checks` shows them"),
        (
            vec!["doctor", "--skip", "apple,network,phone,backups,statusd"],
            "--skip leaves no check to be made",
        ),
        (vec!["doctor", "--backups", "/nowhere/at/all"], "--backups: /nowhere/at/all: no such directory"),
        (
            vec!["doctor", "--connect-to", "www.apple.com"],
            "--connect-to: \"www.apple.com\" is not HOST:PORT:ADDRESS:PORT, such as www.apple.com:443:192.0.2.1:8443 or …:[2001:db8::1]:8443",
        ),
        (
            vec!["guide", "13"],
            "unknown step \"13\": expected 1 to 12, or one of apple-status, wifi-and-power, storage, \
                               back-up-now, update, restart, free-space, network-reset, sign-out, local-backup, \
                               prevention, apple-support",
        ),
    ] {
        let said = home.ask(&arguments).await;
        assert_eq!(said.code, Some(2), "{said:?}");
        assert_eq!((said.out.as_str(), said.err.as_str()), ("", format!("statusd: {words}\n").as_str()));
    }
}

#[tokio::test]
async fn the_guide_needs_nothing() {
    let home = Home::new();
    home.configure("");
    let said = home.ask(&["guide", "sign-out"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.starts_with(" 9. Sign out of iCloud and back in\n"), "{said:?}");
    assert!(!said.out.contains('\u{1b}'), "{said:?}");
}
