//! Finds the folders of backups in a location or near it.
//!
//! Users name the folder of one backup, a folder in it, or one above all backups; each is found. Reads only
//! names. A folder that may contain backups but cannot be read is reported with the reason.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{Backup, FoundBackups, Kind, MAX_BACKUPS, MAX_NAME_CHARS, SNAPSHOT, backup, is_missing, reason};
use crate::phones::Udid;
use crate::text;

/// Digits of the time in the name of an archived backup, which follows the UDID: `-20260504-081530`.
const ARCHIVED_DIGITS: [usize; 2] = [8, 6];
/// Where Finder, iTunes and Apple Devices keep them, seen from the folders above.
const KEPT_IN: [&str; 4] = [
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
const DANGLING: &str = "a link to a place that is not there; its disk may not be connected";

pub(super) fn backups_in(root: &Path) -> FoundBackups {
/// Finds and reads the backups in or near a folder.
    let entries = match entries(root) {
        Ok(entries) => entries,
        Err(error) if is_missing(root, &error) => return FoundBackups::NotThere,
        Err(error) => return FoundBackups::CannotSee(trouble(&error)),
    };
    let mut search = Search::default();
    if let Some(folder) = of_one_backup(root) {
        search.backups.push(folder.to_owned());
        return search.found();
    }
    search.below(&entries);
    if search.backups.is_empty() {
        search.further_below(root);
    }
    if search.backups.is_empty() {
        search.backups.extend(root.parent().filter(|parent| holds_backup(parent)).map(Path::to_owned));
    }
    if entries.is_empty() && search.backups.is_empty() && search.unseen.is_empty() {
        return FoundBackups::Empty;
    }
    search.found()
}

/// The folder itself, if it is that of one backup. What a run left behind in there looks like one.
fn of_one_backup(root: &Path) -> Option<&Path> {
    let around = root.parent().filter(|_| root.ends_with(SNAPSHOT));
    around.into_iter().chain([root]).find(|folder| holds_backup(folder))
}

fn holds_backup(folder: &Path) -> bool {
    matches!(what_is(folder), Holds::Backup)
}

#[derive(Default)]
struct Search {
    backups: Vec<PathBuf>,
    unseen: Vec<(PathBuf, String)>,
    /// Folders that are no backup.
    others: Vec<PathBuf>,
}

impl Search {
    fn below(&mut self, folders: &[PathBuf]) {
        for folder in folders {
            match what_is(folder) {
                Holds::Backup => self.backups.push(folder.clone()),
                Holds::Other => self.others.push(folder.clone()),
                Holds::Nothing => {}
                Holds::Unseen(reason) => self.unseen.push((folder.clone(), reason)),
            }
        }
    }

    /// One level deeper, and where the programs keep them.
    fn further_below(&mut self, root: &Path) {
        let kept_in = KEPT_IN.map(|below| root.join(below));
        let kept_in = kept_in.into_iter().filter(|folder| fs::symlink_metadata(folder).is_ok());
        for folder in std::mem::take(&mut self.others).into_iter().chain(kept_in) {
            match entries(&folder) {
                Ok(entries) => self.below(&entries),
                Err(error) => self.unseen.push((folder, trouble(&error))),
            }
        }
    }

    fn found(mut self) -> FoundBackups {
        self.backups.sort();
        self.backups.dedup();
        self.unseen.sort();
        self.unseen.dedup();
        let left_out = self.backups.len().saturating_sub(MAX_BACKUPS);
        self.backups.truncate(MAX_BACKUPS);
        let backups: Vec<Backup> = self.backups.iter().map(|folder| backup(folder)).collect();
        FoundBackups::Backups { backups, unseen: self.unseen, left_out }
    }
}

enum Holds {
    Backup,
    /// A folder that is not a backup.
    Other,
    /// A file, or a folder of the system.
    Nothing,
    Unseen(String),
}

fn what_is(path: &Path) -> Holds {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_of_device = Udid::is_form_of(device_in(&name));
    if (name.starts_with('.') || SYSTEM_FOLDERS.contains(&name.as_ref())) && !is_of_device {
        return Holds::Nothing;
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) if is_of_device => return Holds::Unseen("a file where a folder should be".to_owned()),
        Ok(_) => return Holds::Nothing,
        Err(error) => return Holds::Unseen(trouble(&error)),
    }
    for kind in Kind::ALL {
        match fs::symlink_metadata(path.join(kind.name())) {
            Ok(_) => return Holds::Backup,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Holds::Unseen(trouble(&error)),
        }
    }
    // Without any of its files it is a backup of which nothing is known.
    if is_of_device { Holds::Backup } else { Holds::Other }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.take(MAX_ENTRIES).map(|entry| Ok(entry?.path())).collect()
}

fn trouble(error: &io::Error) -> String {
    // It was there a moment ago.
    if error.kind() == ErrorKind::NotFound { DANGLING.to_owned() } else { reason(error) }
}

/// Returns the UDID of the device that a backup folder belongs to.
pub(super) fn udid(folder: &Path) -> Udid {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    Udid::new(text::plain_line(device_in(&name), MAX_NAME_CHARS))
}

/// Returns the name of a backup folder without the time of archiving.
fn device_in(name: &str) -> &str {
    let mut parts: Vec<&str> = name.rsplitn(3, '-').collect();
    parts.reverse();
    let is_number = |(part, digits): (&&str, usize)| {
        part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_archived = parts.len() == 3 && parts[1..].iter().zip(ARCHIVED_DIGITS).all(is_number);
    if is_archived { parts[0] } else { name }
}
