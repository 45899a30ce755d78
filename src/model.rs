//! The words of the domain as types: what Apple publishes, what we believe, what changed.
//!
//! No behaviour beyond naming and comparing names. All times are UTC and hold whole seconds, so
//! that what is stored, compared and printed is the same value.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

/// What the name of a backup has in it: in English and several other languages, in Japanese, in both
/// Chinese scripts, in Korean, French and Spanish.
const BACKUP_WORDS: [&str; 7] =
    ["backup", "バックアップ", "备份", "備份", "백업", "sauvegarde", "copia de seguridad"];

/// Which of Apple's two documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edition {
    /// For everybody: iCloud, App Store, Photos and so on.
    Consumer,
    /// For developers: APNs, App Store Connect and so on. Published in `en_US` only.
    Developer,
}

impl Edition {
    /// The word used in configuration, on the command line and in keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Edition::Consumer => "consumer",
            Edition::Developer => "developer",
        }
    }

    /// Apple's own page about it, for people: the only place that messages lead to.
    pub fn page(self) -> &'static str {
        match self {
            Edition::Consumer => "https://www.apple.com/support/systemstatus/",
            Edition::Developer => "https://developer.apple.com/system-status/",
        }
    }

    /// The edition that a feed's name (`developer/en_US`) or a change's key begins with; the
    /// consumers' for what names none.
    pub fn of(name: &str) -> Edition {
        match name.split('/').next() {
            Some("developer") => Edition::Developer,
            _ => Edition::Consumer,
        }
    }
}

/// One of Apple's documents, in a locale such as `en_US`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedId {
    pub edition: Edition,
    /// `ll_CC`, as in Apple's file name.
    pub locale: String,
}

/// `consumer/en_US`, the form that keys and the database use.
impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.edition.as_str(), self.locale)
    }
}

/// A service's name made comparable: trimmed, white space (no-break spaces too) folded to one
/// blank, case folded. Apple's names carry trailing blanks and no-break spaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceKey(String);

impl ServiceKey {
    pub fn new(name: &str) -> ServiceKey {
        let folded: Vec<String> = name.split_whitespace().map(str::to_lowercase).collect();
        ServiceKey(folded.join(" "))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the service that phones are backed up with, in whatever language the feed is.
    pub fn is_backup(&self) -> bool {
        BACKUP_WORDS.iter().any(|word| self.0.contains(word))
    }
}

/// Apple's `statusType`: how bad an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    Outage,
    Issue,
    Performance,
    /// A word we do not know, as Apple wrote it; empty where Apple wrote nothing.
    Other(String),
    /// Planned work. Never an outage.
    Maintenance,
}

impl EventKind {
    pub fn is_maintenance(&self) -> bool {
        matches!(self, EventKind::Maintenance)
    }

    /// The word for tables, JSON and the database; [`EventKind::parse`] is its inverse.
    pub fn as_str(&self) -> &str {
        match self {
            EventKind::Outage => "Outage",
            EventKind::Issue => "Issue",
            EventKind::Performance => "Performance",
            EventKind::Other(text) if text.is_empty() => "Other",
            EventKind::Other(text) => text,
            EventKind::Maintenance => "Maintenance",
        }
    }

    /// Liberal in case and surrounding blanks; an unknown word is kept.
    pub fn parse(text: &str) -> EventKind {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "outage" => EventKind::Outage,
            "issue" => EventKind::Issue,
            "performance" => EventKind::Performance,
            "maintenance" => EventKind::Maintenance,
            "" | "other" => EventKind::Other(String::new()),
            _ => EventKind::Other(text.to_owned()),
        }
    }
}

/// Apple's `eventStatus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventStatus {
    Upcoming,
    Ongoing,
    /// `resolved` or `completed`.
    Over,
    /// A word we do not know, as Apple wrote it; empty where Apple wrote nothing.
    Unknown(String),
}

/// Apple's entry under a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Apple's `messageId`; made from the start time where Apple gave none.
    pub message_id: String,
    pub kind: EventKind,
    pub status: EventStatus,
    pub start: Option<Timestamp>,
    /// May lie in the future: an end date does not mean "over".
    pub end: Option<Timestamp>,
    pub users_affected: Option<String>,
    /// Apple's text. Hostile until escaped.
    pub message: String,
}

/// A service as one document lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// As Apple writes it, trimmed.
    pub name: String,
    /// In order of `message_id`, each id once.
    pub events: Vec<Event>,
    /// Something in its list of events could not be read: an empty list does not mean "fine".
    pub garbled: bool,
}

/// In which order the numbers of a date stand. Apple's locales differ, and `05/06/2026` does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DateOrder {
    MonthFirst,
    DayFirst,
    YearFirst,
}

impl DateOrder {
    pub const ALL: [DateOrder; 3] = [DateOrder::MonthFirst, DateOrder::DayFirst, DateOrder::YearFirst];

    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            DateOrder::MonthFirst => "month_first",
            DateOrder::DayFirst => "day_first",
            DateOrder::YearFirst => "year_first",
        }
    }

    pub fn parse(text: &str) -> Option<DateOrder> {
        DateOrder::ALL.into_iter().find(|order| order.as_str() == text)
    }
}

/// The newest `datePosted` of a document, before it is known in which order its numbers stand.
/// Which reading counts depends on the time of the fetch and on the feed's past: `track` decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// One reading for each of [`DateOrder::ALL`], all the same where the text leaves no choice.
    /// `None`: the document has no date.
    pub readings: Option<[Timestamp; 3]>,
    /// The order that the document itself proves.
    pub order: Option<DateOrder>,
}

impl Stamp {
    /// A stamp with one reading.
    pub fn at(time: Timestamp) -> Stamp {
        Stamp { readings: Some([time; 3]), order: None }
    }
}

/// One fetched copy of a feed, in canonical order: two copies that mean the same are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The publish time of the whole document, where it has any.
    pub stamp: Stamp,
    /// Apple's `drMessage`, a text for everybody; never seen in the wild.
    pub banner: Option<String>,
    pub services: BTreeMap<ServiceKey, Listing>,
}

/// Something we knew is not in the accepted documents any more, and not for long enough to say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The first accepted document without it.
    pub since: Timestamp,
    /// Accepted documents without it, counted no further than needed.
    pub fetches: u32,
}

/// Where an outage or a maintenance stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    Planned(Option<Missing>),
    Ongoing(Option<Missing>),
    Over(OverBy),
}

/// Why we hold an outage to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverBy {
    /// Apple says so.
    Apple,
    /// Apple stopped listing it.
    Withdrawal,
}

/// What we hold true of one occurrence of an event: an outage or a maintenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// As Apple writes it.
    pub service: String,
    pub message_id: String,
    /// Counts from 1; the next one is another outage under the same id.
    pub occurrence: u32,
    pub kind: EventKind,
    pub phase: Phase,
    pub start: Option<Timestamp>,
    /// While planned or ongoing Apple's announcement, then the end that we hold true.
    pub end: Option<Timestamp>,
    /// When we first saw this occurrence.
    pub first_seen: Timestamp,
    pub users_affected: Option<String>,
    pub message: String,
    /// How often each kind of change happened to this occurrence: tells repeats apart.
    pub counts: BTreeMap<ChangeKind, u32>,
}

impl Outage {
    /// The stable key, with which the keys of its changes begin: `consumer/en_US/icloud%20backup/1002938/1`.
    pub fn key(&self, feed: &FeedId) -> String {
        format!("{}/{}", event_key(feed, &self.service, &self.message_id), self.occurrence)
    }

    /// Whether it is neither planned nor going on.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over(_))
    }

    /// Whether it is a maintenance that was planned and did not take place.
    pub fn was_cancelled(&self) -> bool {
        let has = |kind| self.counts.contains_key(&kind);
        has(ChangeKind::Cancelled) && !has(ChangeKind::Corrected)
    }
}

/// Whether Apple lists a service that we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    Yes,
    /// Not in the newest documents; too early to say so.
    Missing(Missing),
    /// Told as unlisted at this time.
    No {
        since: Timestamp,
    },
    /// A name or glob from the watch that no document ever had; told at this time.
    Never {
        since: Timestamp,
    },
}

/// What we hold true of a service (or of a watched name that Apple does not know).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub first_seen: Timestamp,
    pub listed: Listed,
}

/// Whose fault it is that we cannot see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No network, DNS, captive portal, a clock so wrong that TLS fails: shown, told nobody.
    Ours,
    /// HTTP errors, timeouts with the network up, an unreadable document: told after an hour.
    Apple,
}

impl Fault {
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Ours => "ours",
            Fault::Apple => "apple",
        }
    }
}

/// Whether we can read the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedHealth {
    /// No look yet.
    Unknown,
    Readable {
        since: Timestamp,
    },
    Unreadable {
        since: Timestamp,
        fault: Fault,
        /// For people, one line, without secrets.
        reason: String,
        /// Whether people have been told.
        told: bool,
    },
}

/// A run of documents older than the newest accepted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleRun {
    pub since: Timestamp,
    /// The newest stamp among them.
    pub newest: Timestamp,
    /// Fetches in the run, counted no further than needed.
    pub fetches: u32,
}

/// What we hold true of the feed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedState {
    /// When the first document of this database was accepted.
    pub first_accepted: Option<Timestamp>,
    /// The newest accepted stamp.
    pub stamp: Option<Timestamp>,
    /// The order of dates that the newest document with a proof of it had.
    pub date_order: Option<DateOrder>,
    pub stale: Option<StaleRun>,
    pub health: FeedHealth,
    /// Apple's text for everybody, if it ever comes.
    pub banner: Option<String>,
}

/// All that we hold true of one feed. Durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beliefs {
    pub feed: FeedId,
    pub state: FeedState,
    pub services: BTreeMap<ServiceKey, Service>,
    /// The latest occurrence of each event: of all that are planned or going on, and of those over that
    /// a document listed lately.
    pub outages: BTreeMap<(ServiceKey, String), Outage>,
}

impl Beliefs {
    /// A database that has seen nothing yet.
    pub fn new(feed: FeedId) -> Beliefs {
        Beliefs {
            feed,
            state: FeedState {
                first_accepted: None,
                stamp: None,
                date_order: None,
                stale: None,
                health: FeedHealth::Unknown,
                banner: None,
            },
            services: BTreeMap::new(),
            outages: BTreeMap::new(),
        }
    }
}

/// What happened. The first group is told to those who watch the service, the second goes to
/// history only, the third no document brings about: statusd says it of itself.
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
    /// The times that were announced for a maintenance have changed.
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

    /// Text, times or users affected were changed.
    Revised,
    /// A withdrawn outage came back as resolved.
    Corrected,
    /// Found already over: in the first document, or a maintenance nobody announced.
    Noted,

    /// A reminder: an outage that was told of is still going on.
    Reminder,
    /// Proof of life: statusd looks, and this is how things are.
    Liveness,
    /// A phone has not backed up for days, and nothing at Apple explains it.
    BackupLate,
    /// iCloud Backup is switched off on a phone.
    BackupOff,
    /// Somebody tries whether messages arrive.
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

    /// The word for JSON, keys and the database.
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

    /// Whether it is told to all who watch the service.
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

    /// Whether it is about the feed, about statusd or about a phone, and so told to everybody.
    pub fn is_about_us(self) -> bool {
        matches!(self, ChangeKind::Unreadable | ChangeKind::Readable | ChangeKind::HistoryLost)
            || self.is_about_a_phone()
    }

    /// Whether it is about a phone, and not about anything at Apple.
    pub fn is_about_a_phone(self) -> bool {
        matches!(self, ChangeKind::BackupLate | ChangeKind::BackupOff)
    }

    /// Whether people want to know how their last backup lies to it.
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

/// What kind of news it is: decides how loudly it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something began or got worse.
    Alert,
    /// Something is over.
    Resolved,
    /// News that is neither: a plan, a reminder.
    Info,
}

impl Severity {
    pub const ALL: [Severity; 3] = [Severity::Alert, Severity::Resolved, Severity::Info];

    /// The word in the database.
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

/// What is remembered of a phone that this computer once read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPhone {
    /// Made from its number, from which nobody finds the number again.
    pub id: String,
    /// `iPhone13,2`
    pub model: Option<String>,
    /// When it was last read, to the hour.
    pub seen_at: Timestamp,
    /// The last iCloud backup that succeeded. `None`: unknown.
    pub last_backup: Option<Timestamp>,
    pub backup_enabled: Option<bool>,
    /// When it was first read as switched off, since it was last on.
    pub off_since: Option<Timestamp>,
    /// When it was last considered whether its backup is late.
    pub judged_at: Timestamp,
}

/// What was known of people's phones when something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBackup {
    /// Of several phones the oldest one.
    pub at: Timestamp,
    /// When the phone said so.
    pub read_at: Timestamp,
    /// How many phones are known; at least one.
    pub phones: u32,
}

/// What the newest document changed in our beliefs. Holds all that its message needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When we held it confirmed.
    pub at: Timestamp,
    /// When we first saw it; earlier than `at` by the confirmation.
    pub seen_at: Timestamp,
    pub kind: ChangeKind,
    pub feed: FeedId,
    /// As Apple writes it, or the watched name; empty where no service is concerned.
    pub service: String,
    /// Of a phone the name under which messages know it.
    pub message_id: Option<String>,
    pub occurrence: Option<u32>,
    /// Tells changes of one kind in one occurrence apart; 1 for the first.
    pub serial: u32,
    pub outage_kind: Option<EventKind>,
    /// Where the kind changed: what it was.
    pub was_kind: Option<EventKind>,
    pub began_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub users_affected: Option<String>,
    /// Apple's text, or for our own troubles the reason. Hostile until escaped.
    pub message: String,
    /// For a watched name that Apple does not list: the nearest names that it does.
    pub near: Vec<String>,
    /// For a backup service, where a phone is known: its last backup.
    pub phone: Option<LastBackup>,
}

impl Change {
    /// A change that is about no outage.
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

    /// Another database could not be read, so the history starts again. `kept_as`: where the old file is.
    pub fn history_lost(feed: FeedId, kept_as: &str, now: Timestamp) -> Change {
        Change { message: kept_as.to_owned(), ..Change::bare(ChangeKind::HistoryLost, feed, now, now) }
    }

    /// A liveness report that names the watched services with an outage.
    pub fn liveness(feed: FeedId, troubled_services: &[String], now: Timestamp) -> Change {
        let service = troubled_services.join(", ");
        Change { service, ..Change::bare(ChangeKind::Liveness, feed, now, now) }
    }

    /// The `serial`th reminder of an announced outage that is still ongoing.
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

    /// The stable key: the same change has the same key on every try, in every run of statusd
    /// and for every channel. ASCII, so that it fits an HTTP header:
    /// `consumer/en_US/icloud%20backup/1002938/1/began`, with `/2` and so on behind it where one
    /// outage has the same kind of change again.
    pub fn key(&self) -> String {
        let occurrence = match self.occurrence {
            Some(number) => number.to_string(),
            // A backup that is late is the same one until there is a newer.
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

/// What the keys of an event's changes begin with.
fn event_key(feed: &FeedId, service: &str, message_id: &str) -> String {
    let service = percent_encoded(ServiceKey::new(service).as_str());
    format!("{feed}/{service}/{}", percent_encoded(message_id))
}

/// RFC 3986: all but the unreserved characters as `%XX`; `-` for nothing.
fn percent_encoded(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_trimmed_folded_and_without_case() {
        for same in ["iCloud Backup", " icloud  BACKUP ", "iCloud\u{a0}Backup", "iCloud\tBackup\n"] {
            assert_eq!(ServiceKey::new(same), ServiceKey::new("iCloud Backup"), "{same:?}");
        }
        assert_ne!(ServiceKey::new("iCloudバックアップ"), ServiceKey::new("iCloud バックアップ"));
    }

    #[test]
    fn each_edition_has_a_page_of_its_own() {
        for edition in [Edition::Consumer, Edition::Developer] {
            let feed = FeedId { edition, locale: "en_US".to_owned() };
            let at = Timestamp::UNIX_EPOCH;
            let key = Change::bare(ChangeKind::Test, feed.clone(), at, at).key();
            assert_eq!((Edition::of(&feed.to_string()), Edition::of(&key)), (edition, edition));
        }
        assert_ne!(Edition::Consumer.page(), Edition::Developer.page());
        assert_eq!(Edition::of("k"), Edition::Consumer);
    }

    #[test]
    fn a_backup_is_known_in_other_languages() {
        for name in
            ["iCloud Backup", "ICLOUD-BACKUP", "iCloudバックアップ", "iCloud 云备份", "Sauvegarde iCloud"]
        {
            assert!(ServiceKey::new(name).is_backup(), "{name}");
        }
        for name in ["Photos", "iCloud Drive", "iCloudメール", ""] {
            assert!(!ServiceKey::new(name).is_backup(), "{name}");
        }
    }

    #[test]
    fn words_survive_a_round_trip() {
        for order in DateOrder::ALL {
            assert_eq!(DateOrder::parse(order.as_str()), Some(order));
        }
        for kind in ["Outage", "Issue", "Performance", "Maintenance", "Other", "Degraded"] {
            assert_eq!(EventKind::parse(kind).as_str(), kind);
        }
        for kind in ChangeKind::ALL {
            assert_eq!(ChangeKind::parse(kind.as_str()), Some(kind));
        }
    }
}
