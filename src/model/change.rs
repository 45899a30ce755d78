//! A change of the state, its kind and its key.

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{EventKind, FeedId, LastBackup, Outage, ServiceKey};

/// The kind of a change. The first group is announced to the channels that watch the service. The second
/// appears only in the history. The third does not come from a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    Began,
    Reopened,
    Ended,
    Withdrawn,
    Missed,
    Worsened,
    Eased,
    Planned,
    /// The announced times of a maintenance have changed.
    Moved,
    /// A planned maintenance was dropped before it began.
    Cancelled,
    Started,
    Over,
    Unlisted,
    ListedAgain,
    Unreadable,
    Readable,
    HistoryLost,

    /// Apple changed the text, the times or the affected users.
    Revised,
    /// A withdrawn outage came back as resolved.
    Corrected,
    /// Already over when first observed: in the first document, or an unannounced maintenance.
    Noted,

    /// An announced outage is still ongoing.
    Reminder,
    /// A report that statusd polls, with the current state.
    Liveness,
    /// A phone has not backed up for days, and no outage explains it.
    BackupLate,
    /// iCloud Backup is switched off on a phone.
    BackupOff,
    /// A test message, sent by `statusd test-notice`.
    Test,
}

impl ChangeKind {
    pub const ALL: [ChangeKind; 25] = [
        ChangeKind::Began,
        ChangeKind::Reopened,
        ChangeKind::Ended,
        ChangeKind::Withdrawn,
        ChangeKind::Missed,
        ChangeKind::Worsened,
        ChangeKind::Eased,
        ChangeKind::Planned,
        ChangeKind::Moved,
        ChangeKind::Cancelled,
        ChangeKind::Started,
        ChangeKind::Over,
        ChangeKind::Unlisted,
        ChangeKind::ListedAgain,
        ChangeKind::Unreadable,
        ChangeKind::Readable,
        ChangeKind::HistoryLost,
        ChangeKind::Revised,
        ChangeKind::Corrected,
        ChangeKind::Noted,
        ChangeKind::Reminder,
        ChangeKind::Liveness,
        ChangeKind::BackupLate,
        ChangeKind::BackupOff,
        ChangeKind::Test,
    ];

    /// Returns true for a change about something that is over, which must not read as ongoing without an end.
    pub fn is_over(self) -> bool {
        matches!(
            self,
            ChangeKind::Ended
                | ChangeKind::Missed
                | ChangeKind::Over
                | ChangeKind::Noted
                | ChangeKind::Corrected
                | ChangeKind::Readable
        )
    }

    /// Returns the word for JSON, keys and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Began => "began",
            ChangeKind::Reopened => "reopened",
            ChangeKind::Ended => "ended",
            ChangeKind::Withdrawn => "withdrawn",
            ChangeKind::Missed => "missed",
            ChangeKind::Worsened => "worsened",
            ChangeKind::Eased => "eased",
            ChangeKind::Planned => "planned",
            ChangeKind::Moved => "moved",
            ChangeKind::Cancelled => "cancelled",
            ChangeKind::Started => "started",
            ChangeKind::Over => "over",
            ChangeKind::Unlisted => "unlisted",
            ChangeKind::ListedAgain => "listed_again",
            ChangeKind::Unreadable => "unreadable",
            ChangeKind::Readable => "readable",
            ChangeKind::HistoryLost => "history_lost",
            ChangeKind::Revised => "revised",
            ChangeKind::Corrected => "corrected",
            ChangeKind::Noted => "noted",
            ChangeKind::Reminder => "reminder",
            ChangeKind::Liveness => "liveness",
            ChangeKind::BackupLate => "backup_late",
            ChangeKind::BackupOff => "backup_off",
            ChangeKind::Test => "test",
        }
    }

    pub fn parse(text: &str) -> Option<ChangeKind> {
        ChangeKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Returns true if the change is announced to all channels that watch the service.
    pub fn is_told(self) -> bool {
        match self {
            ChangeKind::Began
            | ChangeKind::Reopened
            | ChangeKind::Ended
            | ChangeKind::Withdrawn
            | ChangeKind::Missed
            | ChangeKind::Worsened
            | ChangeKind::Eased
            | ChangeKind::Planned
            | ChangeKind::Moved
            | ChangeKind::Cancelled
            | ChangeKind::Started
            | ChangeKind::Over
            | ChangeKind::Unlisted
            | ChangeKind::ListedAgain
            | ChangeKind::Unreadable
            | ChangeKind::Readable
            | ChangeKind::HistoryLost
            | ChangeKind::BackupLate
            | ChangeKind::BackupOff => true,
            ChangeKind::Revised
            | ChangeKind::Corrected
            | ChangeKind::Noted
            | ChangeKind::Reminder
            | ChangeKind::Liveness
            | ChangeKind::Test => false,
        }
    }

    /// Returns true if the change is about the feed, statusd or a phone. Such a change is announced
    /// whatever a channel watches.
    pub fn is_about_us(self) -> bool {
        matches!(self, ChangeKind::Unreadable | ChangeKind::Readable | ChangeKind::HistoryLost)
            || self.is_about_a_phone()
    }

    /// Returns true if the change is about a phone and not about Apple.
    pub fn is_about_a_phone(self) -> bool {
        matches!(self, ChangeKind::BackupLate | ChangeKind::BackupOff)
    }

    /// Returns true if the announcement relates the change to the last backup.
    pub fn concerns_a_backup(self) -> bool {
        matches!(
            self,
            ChangeKind::Began
                | ChangeKind::Reopened
                | ChangeKind::Ended
                | ChangeKind::Withdrawn
                | ChangeKind::Missed
        )
    }
}

/// The severity of a notice, from which channels derive priority and sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// An outage began or got worse.
    Alert,
    /// An outage is over.
    Resolved,
    /// Everything else, such as a planned maintenance.
    Info,
}

impl Severity {
    pub const ALL: [Severity; 3] = [Severity::Alert, Severity::Resolved, Severity::Info];

    /// Returns the word for the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Alert => "alert",
            Severity::Resolved => "resolved",
            Severity::Info => "info",
        }
    }

    pub fn parse(text: &str) -> Option<Severity> {
        Severity::ALL.into_iter().find(|severity| severity.as_str() == text)
    }
}

/// One change of the beliefs, with everything that its message needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The time of the confirmation.
    pub at: Timestamp,
    /// The time of the first observation, before the confirmation.
    pub seen_at: Timestamp,
    pub kind: ChangeKind,
    pub feed: FeedId,
    /// The name as Apple writes it, or the watched name; empty if the change concerns no service.
    pub service: String,
    /// For a phone, its name in messages.
    pub message_id: Option<String>,
    pub occurrence: Option<u32>,
    /// Numbers changes of one kind within one occurrence, from 1.
    pub serial: u32,
    pub outage_kind: Option<EventKind>,
    /// The previous kind, if the kind changed.
    pub was_kind: Option<EventKind>,
    pub began_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub users_affected: Option<String>,
    /// Apple's text, or the reason of a problem of statusd. Hostile until escaped.
    pub message: String,
    /// For a watched name that Apple does not list, the nearest listed names.
    pub near: Vec<String>,
    /// The last backup, if the change concerns iCloud Backup and a phone is known.
    pub phone: Option<LastBackup>,
}

impl Change {
    /// Creates a change that concerns no outage.
    pub fn bare(kind: ChangeKind, feed: FeedId, seen_at: Timestamp, at: Timestamp) -> Change {
        Change {
            at,
            seen_at,
            kind,
            feed,
            service: String::new(),
            message_id: None,
            occurrence: None,
            serial: 1,
            outage_kind: None,
            was_kind: None,
            began_at: None,
            ended_at: None,
            users_affected: None,
            message: String::new(),
            near: Vec::new(),
            phone: None,
        }
    }

    /// Creates the change for an unreadable database, after which the history starts again. `kept_as` is
    /// the path of the old file.
    pub fn history_lost(feed: FeedId, kept_as: &str, now: Timestamp) -> Change {
        Change { message: kept_as.to_owned(), ..Change::bare(ChangeKind::HistoryLost, feed, now, now) }
    }

    /// Creates a liveness report that names the watched services with an outage.
    pub fn liveness(feed: FeedId, troubled_services: &[String], now: Timestamp) -> Change {
        let service = troubled_services.join(", ");
        Change { service, ..Change::bare(ChangeKind::Liveness, feed, now, now) }
    }

    /// Creates the `serial`th reminder of an announced outage that is still ongoing.
    pub fn reminder(feed: FeedId, outage: &Outage, serial: u32, now: Timestamp) -> Change {
        Change {
            service: outage.service.clone(),
            message_id: Some(outage.message_id.clone()),
            occurrence: Some(outage.occurrence),
            serial,
            outage_kind: Some(outage.kind.clone()),
            began_at: outage.start,
            users_affected: outage.users_affected.clone(),
            message: outage.message.clone(),
            ..Change::bare(ChangeKind::Reminder, feed, outage.first_seen, now)
        }
    }

    /// Returns the stable key. A change has the same key in every attempt, in every run of statusd and
    /// for every channel. The key is ASCII, so that it fits an HTTP header:
    /// `consumer/en_US/icloud%20backup/1002938/1/began`. A repeat of the same kind in one outage appends
    /// `/2`, `/3` and so on.
    pub fn key(&self) -> String {
        let occurrence = match self.occurrence {
            Some(number) => number.to_string(),
            // A late backup is the same one until a newer backup exists.
            None if self.kind == ChangeKind::BackupLate => {
                self.began_at.map_or("-".to_owned(), |backup| backup.to_string())
            }
            None => self.seen_at.to_string(),
        };
        let of = event_key(&self.feed, &self.service, self.message_id.as_deref().unwrap_or("-"));
        let mut key = format!("{of}/{occurrence}/{}", self.kind.as_str());
        if self.serial > 1 {
            key.push_str(&format!("/{}", self.serial));
        }
        key
    }
}

/// Returns the common prefix of the keys of an event's changes.
pub(super) fn event_key(feed: &FeedId, service: &str, message_id: &str) -> String {
    let service = percent_encoded(ServiceKey::new(service).as_str());
    format!("{feed}/{service}/{}", percent_encoded(message_id))
}

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes everything but the unreserved characters of RFC 3986. Returns `-` for empty text.
fn percent_encoded(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { utf8_percent_encode(text, RESERVED).to_string() }
}
