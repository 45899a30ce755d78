//! The vocabulary as types: Apple's documents, the beliefs of statusd, changes and phones.
//!
//! Types name and compare; they decide nothing. All times are UTC in whole seconds, so that stored,
//! compared and printed values are equal.

mod beliefs;
mod change;
mod document;
mod outage_key;
mod phone;
mod slug;

use std::fmt;

pub use beliefs::{
    Beliefs, Fault, FeedHealth, FeedState, Listed, Missing, Outage, OverBy, Phase, Service, StaleRun,
};
pub use change::{Change, ChangeKind, Severity};
pub use document::{DateOrder, Document, Event, EventKind, EventStatus, Listing, Stamp};
pub use outage_key::OutageKey;
pub use phone::{KnownPhone, LastBackup};

/// Parts of the name of iCloud Backup: English and languages that borrow the word, Japanese, both
/// Chinese scripts, Korean, French and Spanish.
const BACKUP_WORDS: [&str; 7] =
    ["backup", "バックアップ", "备份", "備份", "백업", "sauvegarde", "copia de seguridad"];

/// One of Apple's two documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edition {
    /// For users: iCloud, App Store, Photos and so on.
    Consumer,
    /// For developers: APNs, App Store Connect and so on. Published in `en_US` only.
    Developer,
}

impl Edition {
    /// Returns the word for the configuration, the command line and keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Edition::Consumer => "consumer",
            Edition::Developer => "developer",
        }
    }

    /// Returns Apple's status page, the only link in messages.
    pub fn page(self) -> &'static str {
        match self {
            Edition::Consumer => "https://www.apple.com/support/systemstatus/",
            Edition::Developer => "https://developer.apple.com/system-status/",
        }
    }

    /// Returns the edition at the beginning of a feed's name (`developer/en_US`) or of a key. Without
    /// one, the consumer edition.
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

/// A service's name in comparable form: trimmed, white space folded to single blanks, lower case.
/// Apple's names contain trailing blanks and no-break spaces.
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

    /// Returns true for iCloud Backup, in any language of the feed.
    pub fn is_backup(&self) -> bool {
        BACKUP_WORDS.iter().any(|word| self.0.contains(word))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

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
