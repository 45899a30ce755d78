//! What people read, word for word, and what they must never read.

use super::*;
use crate::model::{Edition, EventKind, FeedId, LastBackup};

fn at(text: &str) -> Timestamp {
    format!("2026-05-05T{text}:00Z").parse().expect("a time")
}

fn change(kind: ChangeKind, service: &str) -> Change {
    Change {
        at: at("09:41"),
        seen_at: at("09:40"),
        kind,
        feed: FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() },
        service: service.to_owned(),
        message_id: Some("1001".to_owned()),
        occurrence: Some(1),
        serial: 1,
        outage_kind: Some(EventKind::Outage),
        was_kind: None,
        began_at: Some(at("08:15")),
        ended_at: None,
        users_affected: Some("Some users are affected".to_owned()),
        message: "Users cannot back up.".to_owned(),
        near: Vec::new(),
        phone: None,
    }
}

fn ended(service: &str) -> Change {
    Change { ended_at: Some(at("10:04")), ..change(ChangeKind::Ended, service) }
}

#[track_caller]
fn check(changes: &[Change], title: &str, body: &str) {
    let said = Said { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    let message = compose(changes, None, &said);
    assert_eq!(message.title, title);
    assert_eq!(message.body, body);
}

#[test]
fn a_start_and_an_end() {
    check(
        &[change(ChangeKind::Began, "iCloud Backup")],
        "iCloud Backup: Apple reports an outage",
        "Since 08:15. Some users are affected. Apple writes: “Users cannot back up.” Seen at 09:40, confirmed at \
         09:41.\nWait: your iPhone backs up by itself once Apple has fixed it. Do not reset or erase it.",
    );
    check(
        &[ended("iCloud Backup")],
        "iCloud Backup: Apple says it is fixed",
        "From 08:15 to 10:04 (1 h 49 min). Seen at 09:40, confirmed at 09:41.\nTo back up now: Settings, your name, \
         iCloud, iCloud Backup, Back Up Now.",
    );
}

#[test]
fn a_start_and_an_end_that_both_waited_are_one() {
    check(
        &[
            change(ChangeKind::Began, "iCloud Backup"),
            change(ChangeKind::Worsened, "iCloud Backup"),
            ended("iCloud Backup"),
        ],
        "iCloud Backup had trouble from 08:15 to 10:04",
        "It lasted 1 h 49 min. Some users are affected. Apple writes: “Users cannot back up.” First listed at \
         09:40.\nCheck the date of your last backup: Settings, your name, iCloud, iCloud Backup.",
    );
}

#[test]
fn ten_services_in_one_incident_are_one_message() {
    let names = ["iCloud Backup", "Photos", "iCloud Drive", "iCloud Mail"];
    let changes: Vec<Change> = names.iter().map(|name| change(ChangeKind::Began, name)).collect();
    let said = Said { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    let message = compose(&changes, None, &said);
    assert_eq!(message.title, "iCloud Backup, Photos and 2 more: Apple reports an outage");
    assert!(
        message.body.contains("\nServices: iCloud Backup, Photos, iCloud Drive, iCloud Mail.\n"),
        "{}",
        message.body
    );
    assert_eq!(message.tone, Tone::Alarm);
}

#[test]
fn advice_for_a_backup_is_given_wherever_one_is_among_the_services() {
    let said = Said { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    let message = compose(&[ended("iCloud Account & Sign In"), ended("iCloud Backup")], None, &said);
    assert!(message.body.ends_with("Back Up Now."), "{}", message.body);
}

#[test]
fn different_news_are_listed_the_worst_first() {
    let said = Said { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    let message = compose(&[ended("Photos"), change(ChangeKind::Began, "iCloud Backup")], None, &said);
    assert_eq!(message.title, "iCloud Backup: Apple reports an outage (and 1 more)");
    assert_eq!(message.body.lines().filter(|line| line.starts_with('\u{2022}')).count(), 2);
}

/// With a phone that was backed up at `backup` and said so at `read_at`; `ended` where it is over.
#[track_caller]
fn check_backup(kind: ChangeKind, ended: Option<&str>, backup: &str, read_at: &str, expected: &str) {
    let said = Said { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    let phone = Some(LastBackup { at: backup.parse().expect("a time"), read_at: at(read_at), phones: 1 });
    let change = Change { ended_at: ended.map(at), phone, ..change(kind, "iCloud Backup") };
    let (body, line) = (compose(std::slice::from_ref(&change), None, &said).body, line(&change, &said));
    let sentence = format!(" Your iPhone's last backup{expected}.");
    assert!(body.lines().next().expect("details").ends_with(&sentence), "{body}");
    assert!(line.ends_with(&sentence), "{line}");
}

#[test]
fn the_last_backup_is_said_beside_the_outage() {
    use ChangeKind::{Began, Ended, Missed, Reopened, Withdrawn};
    let night = "2026-05-04T23:15:00Z";
    check_backup(Began, None, night, "09:30", ": 9 h before it began (Mon 4 May 23:15)");
    check_backup(Reopened, None, "2026-05-05T09:00:00Z", "09:30", ": 45 min after it began (09:00)");
    check_backup(Ended, Some("10:04"), night, "09:30", ": 9 h before it began (Mon 4 May 23:15)");
    check_backup(Ended, Some("10:04"), "2026-05-05T09:00:00Z", "09:30", ": while it lasted (09:00)");
    check_backup(Missed, Some("09:00"), "2026-05-05T10:00:00Z", "10:00", ": 1 h after it ended (10:00)");
    check_backup(
        Missed,
        Some("09:00"),
        "2026-05-05T09:00:00Z",
        "10:00",
        ": under a minute after it ended (09:00)",
    );
    check_backup(Withdrawn, None, night, "09:30", ": 9 h before it began (Mon 4 May 23:15)");
    check_backup(Began, None, night, "08:10", ": 9 h before it began (Mon 4 May 23:15)");
    check_backup(Began, None, night, "08:09", ", as of 08:09: 9 h before it began (Mon 4 May 23:15)");
}

#[test]
fn of_several_phones_the_oldest_backup_is_said_once_for_all_services() {
    let said = Said { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    let phone = Some(LastBackup { at: at("03:00"), read_at: at("10:00"), phones: 3 });
    let backup = Change { phone, ..change(ChangeKind::Began, "iCloud Backup") };
    let worse = Change { phone: None, ..change(ChangeKind::Worsened, "iCloud Backup") };
    let body = compose(&[change(ChangeKind::Began, "Photos"), backup, worse], None, &said).body;
    let sentence = "The oldest last backup of your 3 iPhones: 5 h 15 min before it began (03:00).";
    assert_eq!(body.matches(sentence).count(), 1, "{body}");
    assert!(!body.contains("Your iPhone"), "{body}");
}

#[test]
fn what_a_change_does_not_know_of_phones_is_not_said() {
    let said = Said { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    for kind in ChangeKind::ALL.into_iter().filter(|kind| !kind.is_about_a_phone()) {
        let text = line(&change(kind, "iCloud Backup"), &said);
        assert!(!text.contains("iPhone"), "{kind:?}: {text}");
    }
}

#[test]
fn a_late_backup() {
    let last = Some("2026-05-01T23:15:00Z".parse().expect("a time"));
    let late = Change {
        at: at("10:05"),
        began_at: last,
        ..Change::bare(ChangeKind::BackupLate, ended("").feed, at("10:05"), at("10:05"))
    };
    let advice = "Leave it locked, on power and on Wi-Fi tonight. To back up now: Settings, your name, iCloud, iCloud \
                  Backup, Back Up Now. `statusd doctor` looks for the cause.";
    let title = "Your iPhone has not backed up for 3 days";
    let fresh = format!("Not since Fri 1 May 23:15, and Apple reports no outage.\n{advice}");
    check(std::slice::from_ref(&late), title, &fresh);
    // It waited, and so did the one before it.
    let early = Change { at: at("09:59"), seen_at: at("09:59"), serial: 2, ..late.clone() };
    let old = format!("Not since Fri 1 May 23:15, and Apple reported no outage at 09:59.\n{advice}");
    check(&[late, early], title, &old);
    let off = Change::bare(ChangeKind::BackupOff, ended("").feed, at("10:05"), at("10:05"));
    let advice = "To switch it on: Settings, your name, iCloud, iCloud Backup. Whoever backs up to a computer instead \
                  need not.";
    let title = "iCloud Backup is switched off on your iPhone";
    check(std::slice::from_ref(&off), title, &format!("Seen at 10:05.\n{advice}"));
    let dated = Change { began_at: last, ..off };
    check(&[dated], title, &format!("The last backup was at Fri 1 May 23:15.\n{advice}"));
}

fn maintenance(kind: ChangeKind, from: &str, to: Option<&str>) -> Change {
    Change {
        outage_kind: Some(EventKind::Maintenance),
        began_at: Some(at(from)),
        ended_at: to.map(at),
        message: String::new(),
        users_affected: None,
        ..change(kind, "iCloud Backup")
    }
}

#[track_caller]
fn check_words(change: &Change, expected: &str) {
    let said = Said { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    assert_eq!(line(change, &said), expected);
}

#[test]
fn a_plan_that_is_moved_or_cancelled_says_the_times_that_count() {
    check_words(
        &maintenance(ChangeKind::Moved, "20:00", Some("23:30")),
        "iCloud Backup: maintenance moved. Now from 20:00 to 23:30 (3 h 30 min).",
    );
    check_words(
        &maintenance(ChangeKind::Cancelled, "20:00", Some("23:30")),
        "iCloud Backup: planned maintenance cancelled. It was planned from 20:00 to 23:30 (3 h 30 min). Apple \
         dropped it at 09:40.",
    );
    // Both waited: nobody heard of the former times.
    let said = Said { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    let waited = [
        maintenance(ChangeKind::Planned, "18:00", Some("19:00")),
        maintenance(ChangeKind::Moved, "20:00", Some("23:30")),
    ];
    let message = compose(&waited, None, &said);
    assert_eq!(message.title, "iCloud Backup: maintenance planned");
    assert_eq!(message.body, "From 20:00 to 23:30 (3 h 30 min).");
}

#[test]
fn maintenance_is_called_maintenance() {
    check_words(
        &maintenance(ChangeKind::Withdrawn, "08:15", None),
        "iCloud Backup: Apple no longer lists the maintenance. Since 08:15. Not listed since 09:40. Whether it is \
         over Apple does not say.",
    );
    let corrected = maintenance(ChangeKind::Corrected, "08:15", Some("09:00"));
    check_words(
        &corrected,
        "iCloud Backup: Apple lists the maintenance as over after all. From 08:15 to 09:00 (45 min).",
    );
}

#[test]
fn times_claim_no_more_than_apple_gives() {
    let bare = |kind, began: &str, ended: Option<&str>| Change {
        began_at: Some(at(began)),
        ended_at: ended.map(at),
        users_affected: None,
        message: String::new(),
        ..change(kind, "Photos")
    };
    // Over without an end, and with one before its start.
    check_words(
        &bare(ChangeKind::Missed, "08:15", None),
        "Photos had trouble from 08:15; Apple gives no end. First seen at 09:40, when it was already over.",
    );
    check_words(
        &bare(ChangeKind::Ended, "08:15", None),
        "Photos: Apple says it is fixed. From 08:15; Apple gives no end. Seen at 09:40, confirmed at 09:41.",
    );
    check_words(
        &bare(ChangeKind::Ended, "08:15", Some("07:00")),
        "Photos: Apple says it is fixed. From 08:15; Apple gives an end before its start. Seen at 09:40, \
         confirmed at 09:41.",
    );
    // A start that lies ahead.
    check_words(
        &bare(ChangeKind::Began, "15:00", None),
        "Photos: Apple reports an outage. Apple gives 15:00 as its start. Seen at 09:40, confirmed at 09:41.",
    );
    check_words(
        &bare(ChangeKind::Lasts, "15:00", None),
        "Photos: still an outage. Apple gives 15:00 as its start.",
    );
}

#[test]
fn a_plan_among_other_news_is_not_said_to_go_on() {
    let mut changes: Vec<Change> = ["a", "b", "c", "d", "e"].map(ended).to_vec();
    for (index, change) in changes.iter_mut().enumerate() {
        change.message_id = Some(index.to_string());
        change.began_at = Some(at(&format!("0{index}:00")));
    }
    changes.push(maintenance(ChangeKind::Planned, "20:00", Some("23:30")));
    let said = Said { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    let body = compose(&changes, None, &said).body;
    assert!(body.contains("maintenance planned. From 20:00 to 23:30 (3 h 30 min)."), "{body}");
}
