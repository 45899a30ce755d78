//! What people read, word for word, and what they must never read.

use super::*;
use crate::model::{Edition, EventKind, FeedId};

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
