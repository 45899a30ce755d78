//! Short phrases of several commands, for lines and tables: kinds of problems, changes, times, ages.
//!
//! Notices have their own sentences in `delivery::message`.

use jiff::Timestamp;

use crate::delivery::message::phrases;
use crate::delivery::message::time_format::{self, lasted};
use crate::model::{Change, ChangeKind, EventKind};
use crate::text;

use super::terminal::Terminal;

const MAX_SHOWN_CHARS: usize = 2_000;
const MAX_WORD_CHARS: usize = 40;

/// Returns text from outside as one line without control characters. The feed's text is already clean, but
/// another program may have written to the database.
pub fn printable(text: &str) -> String {
    text::plain_line(text, MAX_SHOWN_CHARS)
}

/// Returns the word that notices use, with a limit on the length of an unknown kind.
pub fn kind_word(kind: &EventKind) -> String {
    match kind {
        EventKind::Other(word) => {
            phrases::kind_word(&EventKind::Other(text::plain_line(word, MAX_WORD_CHARS)))
        }
        EventKind::Outage | EventKind::Issue | EventKind::Performance | EventKind::Maintenance => {
            phrases::kind_word(kind)
        }
    }
}

/// Summarizes a change for a table.
pub fn summary(change: &Change) -> String {
    let kind = change.outage_kind.as_ref().map_or("problem".to_owned(), kind_word);
    let is_maintenance = change.outage_kind.as_ref().is_some_and(EventKind::is_maintenance);
    match change.kind {
        ChangeKind::Began => format!("{kind} began"),
        ChangeKind::Reopened => format!("{kind} reopened"),
        ChangeKind::Ended => "fixed".to_owned(),
        ChangeKind::Withdrawn => format!("{kind} no longer listed"),
        ChangeKind::Missed => format!("{kind}, posted late"),
        ChangeKind::Worsened => format!("worse: {kind}"),
        ChangeKind::Eased => format!("better: {kind}"),
        ChangeKind::Planned => "maintenance planned".to_owned(),
        ChangeKind::Moved => "maintenance moved".to_owned(),
        ChangeKind::Cancelled => "maintenance cancelled".to_owned(),
        ChangeKind::Started => "maintenance began".to_owned(),
        ChangeKind::Over => "maintenance over".to_owned(),
        ChangeKind::Unlisted => "not in Apple's list".to_owned(),
        ChangeKind::ListedAgain => "in Apple's list".to_owned(),
        ChangeKind::Unreadable => "feed unreadable".to_owned(),
        ChangeKind::Readable => "feed readable again".to_owned(),
        ChangeKind::HistoryLost => "history lost".to_owned(),
        ChangeKind::Revised => "entry revised".to_owned(),
        ChangeKind::Corrected if is_maintenance => "over (corrected)".to_owned(),
        ChangeKind::Corrected => "fixed (corrected)".to_owned(),
        ChangeKind::Noted => format!("{kind}, before statusd started"),
        ChangeKind::Reminder => format!("{kind} still ongoing (reminder)"),
        ChangeKind::Liveness => "liveness report".to_owned(),
        ChangeKind::BackupLate => "no backup for days".to_owned(),
        ChangeKind::BackupOff => "iCloud Backup is off".to_owned(),
        ChangeKind::Test => "test".to_owned(),
    }
}

/// Formats a past or planned period as far as it is known: `from 08:15 to 10:04 (1 h 49 min)`.
pub fn span(from: Option<Timestamp>, to: Option<Timestamp>, is_over: bool, terminal: &Terminal) -> String {
    time_format::span(from, to, is_over, terminal.now, terminal.zone)
}

/// Formats a start: `since 08:15 (1 h 49 min)`.
pub fn since(from: Timestamp, terminal: &Terminal) -> String {
    time_format::since(from, terminal.now, terminal.zone)
}

/// Formats an ongoing event: `outage since 08:15 (1 h 49 min)`, or
/// `maintenance since 11:00 (1 h), planned until 14:00`.
pub fn under_way(
    kind: &EventKind,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    terminal: &Terminal,
) -> String {
    let planned_end = end.filter(|_| kind.is_maintenance());
    format!("{} {}", kind_word(kind), time_format::under_way(start, planned_end, terminal.now, terminal.zone))
}

/// Formats a duration, in seconds below 2 min: `40 s`, `12 min`, `2 h 5 min`.
pub fn age(from: Timestamp, to: Timestamp) -> String {
    match to.duration_since(from).as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds} s"),
        _ => lasted(from, to),
    }
}
