//! Titles: the deciding word, then the subject.
//!
//! Phones and desktops cut titles after about twenty characters. "Outage: iCloud Backup" and "Fixed: iCloud
//! Backup" fit everywhere, and a longer title is understood without its end
//! (`the_deciding_word_comes_first`).

use super::News;
use crate::model::{Change, ChangeKind, EventKind};

/// Returns the headline of one line, without a full stop.
pub fn headline(news: &News) -> String {
    headed(&label(news.change), &subject(news))
}

/// Returns `Outage: iCloud Backup`, or the label alone if there is no subject.
pub fn headed(label: &str, subject: &str) -> String {
    if subject.is_empty() { label.to_owned() } else { format!("{label}: {subject}") }
}

/// Returns the news in a word or two, to precede the subject.
pub fn label(change: &Change) -> String {
    let kind = change.outage_kind.as_ref();
    match change.kind {
        ChangeKind::Began => noun(kind).to_owned(),
        ChangeKind::Reopened => format!("{} again", noun(kind)),
        ChangeKind::Ended => "Fixed".to_owned(),
        ChangeKind::Withdrawn => "Possibly over".to_owned(),
        ChangeKind::Missed => was(kind).to_owned(),
        ChangeKind::Worsened => "Worse".to_owned(),
        ChangeKind::Eased => "Better".to_owned(),
        ChangeKind::Planned => "Maintenance planned".to_owned(),
        ChangeKind::Started => "Maintenance started".to_owned(),
        ChangeKind::Over => "Maintenance over".to_owned(),
        ChangeKind::Unlisted if change.near.is_empty() => "Not listed".to_owned(),
        ChangeKind::Unlisted => "Unknown service".to_owned(),
        ChangeKind::ListedAgain => "Now listed".to_owned(),
        ChangeKind::Unreadable => "Unreadable".to_owned(),
        ChangeKind::Readable => "Readable again".to_owned(),
        ChangeKind::HistoryLost => "statusd lost its history".to_owned(),
        ChangeKind::Revised => "Revised".to_owned(),
        ChangeKind::Corrected if kind.is_some_and(EventKind::is_maintenance) => {
            "Maintenance over after all".to_owned()
        }
        ChangeKind::Corrected => "Fixed after all".to_owned(),
        ChangeKind::Noted => "Already over".to_owned(),
        ChangeKind::Moved => "Maintenance moved".to_owned(),
        ChangeKind::Cancelled => "Maintenance cancelled".to_owned(),
        ChangeKind::Reminder => still(kind).to_owned(),
        ChangeKind::Liveness if change.service.is_empty() => "All quiet".to_owned(),
        ChangeKind::Liveness => "Ongoing problem".to_owned(),
        ChangeKind::BackupLate => format!("No backup for {}", whole_days(change)),
        ChangeKind::BackupOff => "Backups off".to_owned(),
        ChangeKind::Test => "Test from statusd".to_owned(),
    }
}

/// Returns the subject; empty if the label needs none.
fn subject(news: &News) -> String {
    match news.change.kind {
        ChangeKind::Unreadable | ChangeKind::Readable => "Apple's status".to_owned(),
        ChangeKind::BackupLate | ChangeKind::BackupOff => "your iPhone".to_owned(),
        ChangeKind::HistoryLost | ChangeKind::Test => String::new(),
        _ => news.names(),
    }
}

/// Returns the deciding word of a title.
fn noun(kind: Option<&EventKind>) -> &'static str {
    match kind {
        Some(EventKind::Outage) => "Outage",
        Some(EventKind::Issue) => "Issue",
        Some(EventKind::Performance) => "Slow",
        Some(EventKind::Maintenance) => "Maintenance",
        Some(EventKind::Other(_)) | None => "Problem",
    }
}

/// Returns the deciding words while an outage is ongoing.
pub fn still(kind: Option<&EventKind>) -> &'static str {
    match kind {
        Some(EventKind::Outage) => "Still down",
        Some(EventKind::Issue) => "Still an issue",
        Some(EventKind::Performance) => "Still slow",
        Some(EventKind::Maintenance) => "Still in maintenance",
        Some(EventKind::Other(_)) | None => "Still a problem",
    }
}

fn was(kind: Option<&EventKind>) -> &'static str {
    match kind {
        Some(EventKind::Outage) => "Was down",
        Some(EventKind::Issue) => "Had an issue",
        Some(EventKind::Performance) => "Was slow",
        Some(EventKind::Maintenance) => "Was in maintenance",
        Some(EventKind::Other(_)) | None => "Had a problem",
    }
}

/// Returns `3 days`: lateness is counted in whole days.
fn whole_days(change: &Change) -> String {
    let since = change.began_at.unwrap_or(change.at);
    match change.at.duration_since(since).as_hours() / 24 {
        1 => "a day".to_owned(),
        days => format!("{days} days"),
    }
}
