//! Backups of iPhones on this computer, as Finder, iTunes or `idevicebackup2` store them.
//!
//! Finds backups near the configured locations (`search`) and reads three small files of each (`backup`). A
//! folder that cannot be read is reported, and never counts as one without backups
//! (`an_unreadable_folder_is_not_missing`).

mod backup;
mod search;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use backup::{Backup, BackupState};

const MAX_BACKUPS: usize = 64;

/// A folder that may contain backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupLocation {
    pub path: PathBuf,
    /// The user named the folder, so backups are expected there.
    pub is_named: bool,
}

impl BackupLocation {
    /// A folder that the user named.
    pub fn named(path: PathBuf) -> BackupLocation {
        BackupLocation { path, is_named: true }
    }

    /// The default folder of the system, which need not exist.
    pub fn of_system(path: PathBuf) -> BackupLocation {
        BackupLocation { path, is_named: false }
    }
}

/// The backups found in a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationReport {
    pub location: BackupLocation,
    pub found: FoundBackups,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundBackups {
    Missing,
    /// The folder may exist but cannot be read, with the reason. macOS requires Full Disk Access, even for
    /// root.
    Unreadable(String),
    /// The folder is empty, like the mount point of a disk that is not connected.
    Empty,
    /// In order of their folders' names; may be empty.
    Backups {
        backups: Vec<Backup>,
        /// Folders that may contain backups but cannot be read, with the reason.
        unreadable: Vec<(PathBuf, String)>,
        /// Number of backups beyond the limit, which were not read.
        skipped: usize,
    },
}

/// Returns the folder in which macOS stores backups.
pub fn macos_root(home: &Path) -> PathBuf {
    home.join("Library/Application Support/MobileSync/Backup")
}

/// Finds and reads the backups in each location.
pub fn find(locations: Vec<BackupLocation>) -> Vec<LocationReport> {
    let report = |location: BackupLocation| {
        let found = search::backups_in(&location.path);
        LocationReport { location, found }
    };
    locations.into_iter().map(report).collect()
}
