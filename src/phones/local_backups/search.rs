//! Finds the folders of backups in a location or near it.
//!
//! Users name the folder of one backup, a folder in it, or one above all backups; each is found. Reads only
//! names. A folder that may contain backups but cannot be read is reported with the reason.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::backup::{self, Backup, BackupFile, SNAPSHOT, device_in, is_missing, reason};
use super::{FoundBackups, MAX_BACKUPS};
use crate::phones::Udid;

/// Where Finder, iTunes and Apple Devices store backups, relative to folders above.
const STANDARD_FOLDERS: [&str; 4] = [
    "MobileSync/Backup",
    "Apple/MobileSync/Backup",
    "Apple Computer/MobileSync/Backup",
    "Library/Application Support/MobileSync/Backup",
];
/// Limit for one folder. Entries beyond it are ignored.
const MAX_ENTRIES: usize = 10_000;
/// Folders of the file system or the operating system at the top of a disk. They contain no backups, and
/// users often cannot read them.
const SYSTEM_FOLDERS: [&str; 3] = ["lost+found", "System Volume Information", "$RECYCLE.BIN"];
const DANGLING: &str = "the target of the link does not exist; its disk may not be connected";

/// Finds and reads the backups in or near a folder.
pub(super) fn backups_in(root: &Path) -> FoundBackups {
    let entries = match entries(root) {
        Ok(entries) => entries,
        Err(error) if is_missing(root, &error) => return FoundBackups::Missing,
        Err(error) => return FoundBackups::Unreadable(reason_of(&error)),
    };
    let mut search = Search::default();
    if let Some(folder) = enclosing_backup(root) {
        search.backups.push(folder.to_owned());
        return search.found();
    }
    search.add(&entries);
    if search.backups.is_empty() {
        search.search_deeper(root);
    }
    if search.backups.is_empty() {
        search.backups.extend(root.parent().filter(|parent| is_backup(parent)).map(Path::to_owned));
    }
    if entries.is_empty() && search.backups.is_empty() && search.unreadable.is_empty() {
        return FoundBackups::Empty;
    }
    search.found()
}

/// Returns the folder itself if it is a backup, or its parent if the folder is the snapshot of a run, which
/// looks like a backup.
fn enclosing_backup(root: &Path) -> Option<&Path> {
    let parent = root.parent().filter(|_| root.ends_with(SNAPSHOT));
    parent.into_iter().chain([root]).find(|folder| is_backup(folder))
}

fn is_backup(folder: &Path) -> bool {
    matches!(contents(folder), Contents::Backup)
}

#[derive(Default)]
struct Search {
    backups: Vec<PathBuf>,
    unreadable: Vec<(PathBuf, String)>,
    /// Folders that are not a backup.
    others: Vec<PathBuf>,
}

impl Search {
    /// Adds these folders.
    fn add(&mut self, folders: &[PathBuf]) {
        for folder in folders {
            match contents(folder) {
                Contents::Backup => self.backups.push(folder.clone()),
                Contents::Other => self.others.push(folder.clone()),
                Contents::Nothing => {}
                Contents::Unreadable(reason) => self.unreadable.push((folder.clone(), reason)),
            }
        }
    }

    /// Searches one level deeper, and in the standard folders.
    fn search_deeper(&mut self, root: &Path) {
        let standard = STANDARD_FOLDERS.map(|folder| root.join(folder));
        let standard = standard.into_iter().filter(|folder| fs::symlink_metadata(folder).is_ok());
        for folder in std::mem::take(&mut self.others).into_iter().chain(standard) {
            match entries(&folder) {
                Ok(entries) => self.add(&entries),
                Err(error) => self.unreadable.push((folder, reason_of(&error))),
            }
        }
    }

    fn found(mut self) -> FoundBackups {
        self.backups.sort();
        self.backups.dedup();
        self.unreadable.sort();
        self.unreadable.dedup();
        let skipped = self.backups.len().saturating_sub(MAX_BACKUPS);
        self.backups.truncate(MAX_BACKUPS);
        let backups: Vec<Backup> = self.backups.iter().map(|folder| backup::read(folder)).collect();
        FoundBackups::Backups { backups, unreadable: self.unreadable, skipped }
    }
}

enum Contents {
    Backup,
    /// A folder that is not a backup.
    Other,
    /// A file, or a folder of the system.
    Nothing,
    Unreadable(String),
}

fn contents(path: &Path) -> Contents {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_of_device = Udid::is_valid(device_in(&name));
    if (name.starts_with('.') || SYSTEM_FOLDERS.contains(&name.as_ref())) && !is_of_device {
        return Contents::Nothing;
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) if is_of_device => return Contents::Unreadable("not a directory".to_owned()),
        Ok(_) => return Contents::Nothing,
        Err(error) => return Contents::Unreadable(reason_of(&error)),
    }
    for file in BackupFile::ALL {
        match fs::symlink_metadata(path.join(file.name())) {
            Ok(_) => return Contents::Backup,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Contents::Unreadable(reason_of(&error)),
        }
    }
    // A device folder without known files is a backup with unknown values.
    if is_of_device { Contents::Backup } else { Contents::Other }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.take(MAX_ENTRIES).map(|entry| Ok(entry?.path())).collect()
}

fn reason_of(error: &io::Error) -> String {
    // The entry exists, so a missing file means a dangling link.
    if error.kind() == ErrorKind::NotFound { DANGLING.to_owned() } else { reason(error) }
}
