//! The JSON of a change for readers of the listener, who may be strangers: the documented form, without what
//! concerns phones, files and hosts (`phones_files_and_hosts_are_left_out`).

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::delivery::message::{Context, RenderContext, compose, line};
use crate::delivery::payload;
use crate::model::{Change, ChangeKind};
use crate::store::StoredChange;

/// Returns the kinds that are published: everything but messages that statusd sends without a change, and
/// changes about phones.
pub fn kinds() -> Vec<ChangeKind> {
    let is_message = |kind| matches!(kind, ChangeKind::Reminder | ChangeKind::Liveness | ChangeKind::Test);
    ChangeKind::ALL.into_iter().filter(|kind| !is_message(*kind) && !kind.is_about_a_phone()).collect()
}

/// Returns an element of `history --changes --json` with the `id` of the change. The text is that of the
/// notice at the time of the change, so that it never changes.
pub fn json(stored: &StoredChange, zone: &TimeZone) -> Value {
    let ctx = RenderContext { now: stored.change.at, zone, is_drill: false };
    let change = published(&stored.change);
    let text = match change.kind {
        // The sentence would name a file, or a host.
        ChangeKind::HistoryLost | ChangeKind::Unreadable => {
            format!("{}.", compose(std::slice::from_ref(&change), &Context::default(), &ctx).title)
        }
        _ => line(&change, &ctx),
    };
    let mut value = payload::with_text(&change, &text, &ctx);
    value["id"] = json!(stored.id);
    value
}

/// Returns a change without what only its owner may see.
pub fn published(change: &Change) -> Change {
    let mut change = Change { phone: None, ..change.clone() };
    if change.kind.is_about_us() {
        change.message.clear();
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Edition, FeedId, LastBackup};
    use jiff::Timestamp;

    #[test]
    fn phones_files_and_hosts_are_left_out() {
        let at: Timestamp = "2026-05-05T10:02:30Z".parse().expect("a time");
        let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
        for kind in kinds() {
            let change = Change {
                message: if kind.is_about_us() { "/srv/canary" } else { "Apple's text" }.to_owned(),
                phone: Some(LastBackup { at, read_at: at, phones: 7 }),
                service: if kind.is_about_us() { "" } else { "iCloud Backup" }.to_owned(),
                message_id: Some("1".to_owned()),
                began_at: Some(at),
                ..Change::bare(kind, feed.clone(), at, at)
            };
            let value = json(&StoredChange { id: 5, change }, &TimeZone::UTC);
            assert_eq!((&value["id"], &value["phones"]), (&json!(5), &Value::Null));
            assert_eq!(value["phone_backup_at"], Value::Null);
            let text = value.to_string();
            assert!(!text.contains("canary") && !text.contains("iPhone's last"), "{kind:?}: {text}");
            assert!(value["text"].as_str().is_some_and(|text| text.len() > 5), "{text}");
        }
        assert!(!kinds().iter().any(|kind| kind.is_about_a_phone()));
    }
}
