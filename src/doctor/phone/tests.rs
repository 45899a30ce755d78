//! Table tests: a phone's data and the findings about it.

use std::time::Duration;

use super::*;
use crate::phones::{AccessError, Link, Udid};

const UDID: &str = "00008101-000A1B2C3D4E001E";
const NAME: &str = "Zoë’s phone";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn now() -> Timestamp {
    at("2026-05-06T08:15:00Z")
}

fn good() -> PrivateInfo {
    PrivateInfo {
        backup_enabled: Some(true),
        last_backup: Some(at("2026-05-05T23:15:00Z")),
        capacity_bytes: Some(128 * GB),
        free_bytes: Some(31 * GB),
        battery_percent: Some(87),
        is_charging: Some(true),
        has_power: Some(true),
        shows_paired_key: true,
        ..PrivateInfo::default()
    }
}

fn phone(private: Result<PrivateInfo, AccessError>) -> Phone {
    let text = |text: &str| Some(text.to_owned());
    let public = PublicInfo {
        name: text(NAME),
        class: text("iPhone"),
        model: text("iPhone13,2"),
        version: text("18.4.1"),
        build: text("22E252"),
        clock: Some(now()),
    };
    Phone { udid: Udid::new(UDID), link: Link::Usb, public, private }
}

fn findings(phones: &Result<Vec<Phone>, ReadError>, identifiers: bool) -> Vec<Finding> {
    let view = PhoneView { now: now(), zone: &TimeZone::UTC, identifiers };
    diagnose(phones, &Nights::new(&[], &[], &TimeZone::UTC, now()), &view)
}

/// Compares the status, a part of the observation and a part of the advice (empty: no advice).
#[track_caller]
fn check(finding: &Finding, status: Status, seen: &str, todo: &str) {
    assert_eq!(finding.status, status, "{finding:?}");
    assert!(finding.seen.contains(seen), "{finding:?}");
    match &finding.todo {
        None => assert_eq!(todo, "", "{finding:?}"),
        Some(found) => assert!(!todo.is_empty() && found.contains(todo), "{finding:?}"),
    }
    let needs_advice = matches!(status, Status::Warning | Status::Problem);
    assert_eq!(finding.blame.is_some(), needs_advice, "{finding:?}");
    assert!(!needs_advice || finding.todo.is_some(), "no advice: {finding:?}");
    let texts = [&finding.seen].into_iter().chain(&finding.todo).chain(&finding.evidence);
    assert!(texts.into_iter().all(|text| !text.contains(['\n', '\r'])), "{finding:?}");
}

#[test]
fn all_checks_of_a_good_phone_are_ok() {
    let findings = findings(&Ok(vec![phone(Ok(good()))]), false);
    assert_eq!(findings.iter().map(|found| found.id).collect::<Vec<_>>(), IDS);
    for found in &findings {
        assert_eq!((found.status, found.subject.as_deref()), (Status::Ok, Some("iPhone")), "{found:?}");
    }
    check(&findings[0], Status::Ok, "iPhone connected; it trusts this computer", "");
    for line in ["model: iPhone13,2", "iOS: 18.4.1", "build: 22E252", "connected by: USB"] {
        assert!(findings[0].evidence.iter().any(|found| found == line), "{line}");
    }
}

#[test]
fn no_phone_is_no_problem() {
    let after = Duration::from_secs(5);
    let cases = [
        (Ok(Vec::new()), Status::Skipped, "no iPhone is connected", "tap Trust"),
        (Err(ReadError::NoUsbmuxd), Status::Skipped, "usbmuxd is not running", "the package usbmuxd"),
        (Err(ReadError::Forbidden), Status::CannotTell, "has no permission", "as a user with access"),
        (Err(ReadError::TimedOut { after }), Status::CannotTell, "within 5 s", "plug it in again"),
        (
            Err(ReadError::Malformed("x".to_owned())),
            Status::CannotTell,
            "usbmuxd protocol",
            "configured address",
        ),
    ];
    for (seen, status, words, todo) in cases {
        let findings = findings(&seen, false);
        check(&findings[0], status, words, todo);
        assert_eq!(findings.len(), IDS.len());
        for other in &findings[1..] {
            check(other, Status::Skipped, "no iPhone to check", "");
        }
    }
}

#[test]
fn each_access_error_says_what_to_tap() {
    let after = Duration::from_secs(8);
    let cases = [
        (AccessError::NotPaired, Status::Warning, "does not trust this computer yet", "tap Trust"),
        (AccessError::NoLongerTrusted, Status::Warning, "no longer trusts", "tap Trust"),
        (AccessError::Locked, Status::Warning, "has not been unlocked since", "Unlock it once"),
        (AccessError::TrustDialogOpen, Status::Warning, "is asking whether to trust", "Tap Trust"),
        (AccessError::TrustDenied, Status::Warning, "was set not to trust", "tap Trust this time"),
        (AccessError::TimedOut { after }, Status::CannotTell, "did not respond within 8 s", "restart it"),
        (AccessError::Other(format!("odd {UDID}")), Status::CannotTell, "unexpected response", "restart it"),
    ];
    for (error, status, seen, todo) in cases {
        let findings = findings(&Ok(vec![phone(Err(error))]), false);
        check(&findings[0], status, seen, todo);
        for other in &findings[1..5] {
            check(other, Status::Skipped, "does not report this", "");
        }
        // The phone reports its clock without trust.
        check(&findings[5], Status::Ok, "agrees", "");
    }
}

#[test]
fn icloud_backup() {
    let with = |backup_enabled| diagnose_icloud_backup(&PrivateInfo { backup_enabled, ..good() });
    check(&with(Some(true)), Status::Ok, "iCloud Backup is on", "");
    check(&with(Some(false)), Status::Problem, "iCloud Backup is off", "turn on Back Up This iPhone");
    check(&with(None), Status::CannotTell, "does not report", "iCloud, iCloud Backup");
    assert_eq!(
        (with(Some(false)).blame, with(Some(false)).step),
        (Some(Blame::Phone), Some(GuideStep::BackUpNow))
    );
}

#[test]
fn last_backup_date() {
    let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
    let with =
        |last: Option<&str>, backup_status| diagnose_last_backup(last.map(at), backup_status, now(), &berlin);
    let last = Some("2026-05-05T23:15:00Z");
    let old = Some("2026-05-03T01:00:00Z");
    check(&with(last, BackupStatus::UpToDate), Status::Ok, "last iCloud backup 9 h ago (01:15)", "");
    let late = with(old, BackupStatus::LateByApple);
    check(
        &late,
        Status::Problem,
        "3 days 7 h ago (Sun 3 May 03:00); Apple had an outage",
        "catches up by itself",
    );
    assert_eq!(late.blame, Some(Blame::Apple));
    let late = with(old, BackupStatus::LateOtherwise);
    check(&late, Status::Problem, "3 days 7 h ago", "Back Up Now");
    assert_eq!(late.blame, Some(Blame::Phone));
    check(&with(old, BackupStatus::Unknown), Status::CannotTell, "unknown whether", "");
    check(&with(old, BackupStatus::Off), Status::Skipped, "is off", "");
    check(&with(None, BackupStatus::Off), Status::Skipped, "is off", "");
    for backup_status in [
        BackupStatus::UpToDate,
        BackupStatus::LateByApple,
        BackupStatus::LateOtherwise,
        BackupStatus::Unknown,
    ] {
        check(&with(None, backup_status), Status::CannotTell, "does not report", "Check on the iPhone");
        check(
            &with(Some("2026-05-07T08:15:00Z"), backup_status),
            Status::CannotTell,
            "in the future",
            "clocks",
        );
        let ahead = with(Some("2026-05-06T09:00:00Z"), backup_status);
        assert!(ahead.seen.contains("under a minute ago"), "{ahead:?}");
    }
}

#[test]
fn space() {
    let with = |free, capacity| {
        diagnose_space(&PrivateInfo { free_bytes: free, capacity_bytes: capacity, ..PrivateInfo::default() })
    };
    let cases = [
        (31 * GB, Some(128 * GB), Status::Ok, "31 GB of 128 GB free"),
        // A twentieth of the capacity, within the two bounds.
        (3 * GB, Some(64 * GB), Status::Warning, "3.0 GB of 64 GB free"),
        (4 * GB, Some(64 * GB), Status::Ok, "4.0 GB of 64 GB"),
        (6 * GB, Some(512 * GB), Status::Ok, "6.0 GB of 512 GB"),
        (4_999_999_999, Some(512 * GB), Status::Warning, "4.9 GB"),
        (999_999_999, Some(16 * GB), Status::Warning, "0.9 GB of 16 GB"),
        (GB, Some(16 * GB), Status::Ok, "1.0 GB of 16 GB"),
        (0, Some(64 * GB), Status::Warning, "0.0 GB of 64 GB"),
        (GB, None, Status::Ok, "1.0 GB free"),
        (999_999_999, None, Status::Warning, "0.9 GB free"),
        (u64::MAX, Some(u64::MAX), Status::Ok, "free"),
    ];
    for (free, capacity, status, seen) in cases {
        let todo = if status == Status::Ok { "" } else { "iPhone Storage" };
        check(&with(Some(free), capacity), status, seen, todo);
    }
    check(&with(None, Some(64 * GB)), Status::CannotTell, "does not report", "iPhone Storage");
}

#[test]
fn power() {
    let with = |battery_percent, is_charging, has_power| {
        diagnose_power(&PrivateInfo { battery_percent, is_charging, has_power, ..PrivateInfo::default() })
    };
    let (yes, no) = (Some(true), Some(false));
    check(&with(Some(87), yes, yes), Status::Ok, "battery 87 %, charging", "");
    check(&with(Some(100), no, yes), Status::Ok, "battery 100 %, on power", "");
    check(&with(Some(20), yes, None), Status::Ok, "battery 20 %, charging", "");
    check(&with(Some(20), no, no), Status::Warning, "battery 20 %, not on power", "Connect it to power");
    check(&with(Some(21), no, no), Status::Ok, "battery 21 %, not on power", "");
    check(&with(Some(5), None, None), Status::CannotTell, "unknown whether it is on power", "is charging");
    check(&with(Some(80), None, None), Status::Ok, "battery 80 %", "");
    check(&with(None, None, yes), Status::Ok, "on power", "");
    check(&with(None, None, None), Status::CannotTell, "does not report", "");
}

#[test]
fn clock() {
    let with = |clock: Option<&str>| {
        diagnose_clock(&PublicInfo { clock: clock.map(at), ..PublicInfo::default() }, now())
    };
    check(&with(Some("2026-05-06T08:20:00Z")), Status::Ok, "agrees", "");
    check(&with(Some("2026-05-06T08:10:00Z")), Status::Ok, "agrees", "");
    let todo = "Set Automatically";
    check(&with(Some("2026-05-06T08:20:01Z")), Status::Warning, "5 min ahead of", todo);
    check(&with(Some("2026-05-06T08:09:59Z")), Status::Warning, "5 min behind", todo);
    check(&with(Some("2026-05-07T08:15:00Z")), Status::Warning, "1 day ahead of", todo);
    check(&with(Some("2026-05-07T08:15:01Z")), Status::Problem, "1 day ahead of", todo);
    check(&with(Some("1970-01-01T00:00:00Z")), Status::Problem, "behind", todo);
    check(&with(None), Status::CannotTell, "does not report", "");
}

#[test]
fn the_evidence_names_the_outage_in_a_night_without_a_backup() {
    use crate::phones::backup_status::Downtime;
    let outage = Downtime { from: at("2026-05-05T21:00:00Z"), to: Some(at("2026-05-06T02:00:00Z")) };
    let nights = Nights::new(&[outage], &[], &TimeZone::UTC, now());
    let view = PhoneView { now: now(), zone: &TimeZone::UTC, identifiers: false };
    let private = PrivateInfo { last_backup: Some(at("2026-05-04T08:00:00Z")), ..good() };
    let finding = last_backup(&private, &nights, &view);
    check(&finding, Status::Problem, "Apple had an outage since", "catches up by itself");
    let named = "Apple had an outage in the last night without a backup, from Tue 5 May 21:00 to 02:00";
    assert_eq!(finding.evidence.last().map(String::as_str), Some(named));
    assert_eq!(last_backup(&good(), &nights, &view).evidence.len(), 1, "no night without a backup");
}

#[test]
fn several_phones_are_numbered_without_names() {
    let mut pad = phone(Err(AccessError::Locked));
    pad.public = PublicInfo { class: Some("iPad".to_owned()), ..PublicInfo::default() };
    let phones = vec![phone(Ok(good())), pad];
    assert_eq!(subject(&phones, 0, false), "iPhone 1 (iPhone13,2)");
    assert_eq!(subject(&phones, 1, false), "iPad 2");
    assert_eq!(subject(&phones, 0, true), format!("iPhone 1 (iPhone13,2) “{NAME}” {UDID}"));
    let findings = findings(&Ok(phones), false);
    assert_eq!(findings.len(), 2 * IDS.len());
    check(&findings[6], Status::Warning, "the iPad has not been unlocked", "Unlock it once");
    assert_eq!(findings[6].subject.as_deref(), Some("iPad 2"));
}

#[test]
fn identifiers_are_shown_on_request() {
    let odd = AccessError::Other(format!("no such thing as {UDID}"));
    for private in [Ok(good()), Ok(PrivateInfo::default()), Err(AccessError::NotPaired), Err(odd)] {
        for phones in [vec![phone(private.clone())], vec![phone(private.clone()), phone(private.clone())]] {
            let text = format!("{:?}", findings(&Ok(phones.clone()), false));
            let tail = &UDID[UDID.len() - 4..];
            for identifier in [NAME, UDID, tail] {
                assert!(!text.contains(identifier), "{identifier}: {text}");
            }
            let text = format!("{:?}", findings(&Ok(phones), true));
            assert!(text.contains(NAME) && text.contains(UDID), "{text}");
        }
    }
}
