//! The advice for people, and the severity of each kind of change.
//!
//! All advice is in this file. None contains a link or a telephone number, because support scams use
//! this subject.

use super::News;
use crate::model::{ChangeKind, ServiceKey, Severity};

const WAIT_FOR_BACKUP: &str =
    "Wait: your iPhone backs up by itself once Apple has fixed it. Do not reset or erase it.";
/// Left out in one-line news.
pub const WAIT: &str = "There is nothing to do but wait.";
const BACK_UP_NOW: &str = "To back up now: Settings, your name, iCloud, iCloud Backup, Back Up Now.";
const CHECK_BACKUP: &str = "Check the date of your last backup: Settings, your name, iCloud, iCloud Backup.";
const CHECK_WATCH: &str =
    "Correct the watch list in the configuration; `statusd services` shows Apple's names.";
const CHECK_RENAMED: &str = "Apple may have renamed it: `statusd services` lists the current names.";
const CANNOT_TELL: &str =
    "Until it is readable again, statusd cannot tell whether Apple has an outage. There is nothing to do.";
const SEEK_CAUSE: &str = "Tonight, leave it locked, plugged in and on Wi-Fi. To back up now: Settings, your name, iCloud, \
     iCloud Backup, Back Up Now. To find the cause, run `statusd doctor`.";
const SWITCH_ON: &str = "To switch it on: Settings, your name, iCloud, iCloud Backup. If you back up to a computer \
     instead, there is nothing to do.";
/// The reliability of "Apple lists no problem", measured on 38 outages of iCloud Backup.
pub const POSTS_LATE: &str = "Apple posts late: in about one hour out of 400, iCloud Backup is down but Apple lists \
     nothing. Half to two thirds of an outage pass before Apple posts it (measured over 4.5 years).";
/// A shorter form of [`POSTS_LATE`].
pub const POSTS_LATE_SHORT: &str =
    "Apple posts late: in about one hour out of 400, iCloud Backup is down but Apple lists nothing.";
/// The state of a service without an event in the feed; not "fine", because Apple posts late.
pub const NO_PROBLEM: &str = "Apple lists no problem";
const DAMAGED: &str = "All readable data was kept. Ongoing outages may be announced again, and waiting \
     messages may be lost.";

/// Returns the advice; empty if there is none.
pub fn advice(kind: ChangeKind, service: &str) -> &'static str {
    let is_backup = ServiceKey::new(service).is_backup();
    match kind {
        ChangeKind::Began
        | ChangeKind::Reopened
        | ChangeKind::Worsened
        | ChangeKind::Eased
        | ChangeKind::Reminder => {
            if is_backup {
                WAIT_FOR_BACKUP
            } else {
                WAIT
            }
        }
        ChangeKind::Ended if is_backup => BACK_UP_NOW,
        ChangeKind::Missed | ChangeKind::Withdrawn if is_backup => CHECK_BACKUP,
        ChangeKind::Unlisted => CHECK_RENAMED,
        ChangeKind::Unreadable => CANNOT_TELL,
        ChangeKind::HistoryLost => DAMAGED,
        ChangeKind::BackupLate => SEEK_CAUSE,
        ChangeKind::BackupOff => SWITCH_ON,
        ChangeKind::Ended
        | ChangeKind::Missed
        | ChangeKind::Withdrawn
        | ChangeKind::Planned
        | ChangeKind::Started
        | ChangeKind::Over
        | ChangeKind::Moved
        | ChangeKind::Cancelled
        | ChangeKind::ListedAgain
        | ChangeKind::Readable
        | ChangeKind::Revised
        | ChangeKind::Corrected
        | ChangeKind::Noted
        | ChangeKind::Liveness
        | ChangeKind::Test => "",
    }
}

/// Returns the advice for one piece of news. For several services, the backup decides, because the others
/// need no action.
pub fn advice_for(news: &News) -> &'static str {
    let backup = news.services.iter().find(|service| ServiceKey::new(service).is_backup());
    let service = backup.or(news.services.first()).copied().unwrap_or_default();
    match news.change.kind {
        ChangeKind::Unlisted if !news.change.near.is_empty() => CHECK_WATCH,
        kind => advice(kind, service),
    }
}

/// Returns true if an outage is ongoing after the change.
pub fn is_trouble(kind: ChangeKind) -> bool {
    matches!(
        kind,
        ChangeKind::Began
            | ChangeKind::Reopened
            | ChangeKind::Worsened
            | ChangeKind::Eased
            | ChangeKind::Reminder
    )
}

/// Returns the severity of a change: bad news, good news or neither.
pub fn severity(kind: ChangeKind) -> Severity {
    match kind {
        ChangeKind::Began | ChangeKind::Reopened | ChangeKind::Worsened => Severity::Alert,
        ChangeKind::Ended
        | ChangeKind::Withdrawn
        | ChangeKind::Eased
        | ChangeKind::Over
        | ChangeKind::ListedAgain
        | ChangeKind::Readable => Severity::Resolved,
        ChangeKind::Missed
        | ChangeKind::Planned
        | ChangeKind::Started
        | ChangeKind::Moved
        | ChangeKind::Unlisted
        | ChangeKind::Unreadable
        | ChangeKind::HistoryLost
        | ChangeKind::Revised
        | ChangeKind::Corrected
        | ChangeKind::Noted
        | ChangeKind::Cancelled
        | ChangeKind::Reminder
        | ChangeKind::Liveness
        // A backup is days late, so the message is not urgent.
        | ChangeKind::BackupLate
        | ChangeKind::BackupOff
        | ChangeKind::Test => Severity::Info,
    }
}
