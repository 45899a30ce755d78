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

/// Support scams live on this very subject: no address but Apple's, nothing like a phone number.
#[test]
fn no_text_leads_anywhere_but_to_apple() {
    let said = Said { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    for kind in ChangeKind::ALL {
        for service in ["iCloud Backup", "Photos"] {
            for near in [Vec::new(), vec!["iCloud Backup".to_owned()]] {
                let change =
                    Change { near, users_affected: None, message: String::new(), ..change(kind, service) };
                let message = compose(std::slice::from_ref(&change), None, &said);
                let text = format!("{}\n{}\n{}", message.title, message.body, line(&change, &said));
                assert!(!message.title.is_empty() && !message.body.is_empty(), "{kind:?} says nothing");
                assert_eq!(suspicious(&text), None, "{text}");
            }
        }
    }
    assert!(suspicious("call 1-800-555-0199").is_some());
    assert!(suspicious("see https://icloud-help.example").is_some());
    assert!(suspicious("see support.apple.com.evil.net").is_some());
    assert_eq!(suspicious("see support.apple.com, from 08:15 to 10:04 on 5 May 2026"), None);
}

/// The first thing in a text that is a host other than Apple's or looks like a phone number.
fn suspicious(text: &str) -> Option<String> {
    for word in text.split(|c: char| c.is_whitespace() || "()<>\"“”,;".contains(c)) {
        let word = word.trim_end_matches(['.', ':', '?']);
        let host =
            word.split_once("://").map_or(word, |(_, rest)| rest).split('/').next().unwrap_or_default();
        let dotted = host.split('.').filter(|part| part.chars().any(char::is_alphabetic)).count() >= 2;
        let apple = host == "apple.com" || host.ends_with(".apple.com");
        if (dotted || word.contains("://") || word.contains('@')) && !apple {
            return Some(word.to_owned());
        }
    }
    let mut digits = String::new();
    for c in text.chars().chain(" ;".chars()) {
        match c {
            '0'..='9' => digits.push(c),
            ' ' | '-' | '(' | ')' | '+' | '.' if !digits.is_empty() => {}
            _ => {
                if digits.len() >= 7 {
                    return Some(digits);
                }
                digits.clear();
            }
        }
    }
    None
}
