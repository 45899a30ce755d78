//! The stored facts about phones.

use jiff::Timestamp;

/// The stored facts about a phone that this computer has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPhone {
    /// A keyed hash of its UDID, from which the UDID cannot be recovered.
    pub id: String,
    /// `iPhone13,2`
    pub model: Option<String>,
    /// The time of the last read, rounded to the hour.
    pub seen_at: Timestamp,
    /// The time of the last successful iCloud backup. `None` if unknown.
    pub last_backup: Option<Timestamp>,
    pub backup_enabled: Option<bool>,
    /// The first read that found iCloud Backup switched off since it was last on.
    pub off_since: Option<Timestamp>,
    /// The time of the last check for a late backup.
    pub judged_at: Timestamp,
}

/// The newest known backup state of the user's phones at the time of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBackup {
    /// The last backup. If several phones are known, the oldest of their last backups.
    pub at: Timestamp,
    /// The time at which that phone was read.
    pub read_at: Timestamp,
    /// The number of known phones, at least 1.
    pub phones: u32,
}
