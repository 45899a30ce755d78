//! Reads one backup: its device, its state and its encryption, from three small files.
//!
//! Reads nothing of the backed-up data. The files contain the serial number, IMEI and phone number, which
//! are never extracted. A file that is missing, damaged or too large affects no other file
//! (`a_damaged_file_affects_no_other_file`).

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use plist::{Dictionary, Value};

use crate::cause::Cause as _;
use crate::phones::property_list::{self, ListLimits};
use crate::phones::{DeviceFamily, Udid};
use crate::{regular_file, text};

/// Info.plist contains the icons of all apps.
pub(super) const INFO_MAX_BYTES: u64 = 64 << 20;
pub(super) const OTHERS_MAX_BYTES: u64 = 4 << 20;
/// Digits of the time in the name of an archived backup, which follows the UDID: `-20260504-081530`.
const ARCHIVED_DIGITS: [usize; 2] = [8, 6];
pub(super) const MAX_NAME_CHARS: usize = 100;
const MAX_WORD_CHARS: usize = 40;
const MAX_REASON_CHARS: usize = 200;
/// Info.plist has about twenty per app.
const MAX_EVENTS: usize = 200_000;
/// 2007-01-01, the earliest plausible date: the first iPhone came in that year.
const FIRST_BACKUP_S: i64 = 1_167_609_600;
/// The folder that a run writes to. A run that finishes removes it.
pub(super) const SNAPSHOT: &str = "Snapshot";

/// One backup. `None`: unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The device, from the name of the folder.
    pub udid: Udid,
    /// The device name that its owner chose; identifies a person.
    pub name: Option<String>,
    /// `18.4.1`
    pub version: Option<String>,
    /// `iPhone13,2`
    pub model: Option<String>,
    pub family: DeviceFamily,
    pub state: BackupState,
    /// When a run last began or ended (programs differ), finished or not.
    pub last_run: Option<Timestamp>,
    /// The state of a run that was interrupted or is in progress.
    pub unfinished_run: Option<BackupState>,
    pub is_encrypted: Option<bool>,
    /// Files that exist but cannot be read, with the reason.
    pub damaged: Vec<(&'static str, String)>,
}

/// The state of a run in Status.plist, with its date if known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupState {
    Finished(Option<Timestamp>),
    /// Begun and not finished: there may be nothing to restore.
    Unfinished(Option<Timestamp>),
    Unknown,
}

/// A file that describes a backup.
#[derive(Clone, Copy)]
pub(super) enum BackupFile {
    Info,
    Status,
    Manifest,
}

impl BackupFile {
    pub(super) const ALL: [BackupFile; 3] = [BackupFile::Info, BackupFile::Status, BackupFile::Manifest];

    pub(super) fn name(self) -> &'static str {
        match self {
            BackupFile::Info => "Info.plist",
            BackupFile::Status => "Status.plist",
            BackupFile::Manifest => "Manifest.plist",
        }
    }

    fn max_bytes(self) -> u64 {
        match self {
            BackupFile::Info => INFO_MAX_BYTES,
            BackupFile::Status | BackupFile::Manifest => OTHERS_MAX_BYTES,
        }
    }
}

/// Reads the backup in a folder.
pub(super) fn read(folder: &Path) -> Backup {
    let mut damaged = Vec::new();
    let mut read = |file: BackupFile| {
        dictionary(&folder.join(file.name()), file.max_bytes()).unwrap_or_else(|reason| {
            damaged.push((file.name(), reason));
            Dictionary::new()
        })
    };
    let [info, status, manifest] = BackupFile::ALL.map(&mut read);
    let unfinished_run = unfinished_run(folder).unwrap_or_else(|reason| {
        damaged.push((SNAPSHOT, reason));
        Some(BackupState::Unknown)
    });
    let model = word(&info, "Product Type", MAX_WORD_CHARS);
    Backup {
        udid: udid(folder),
        name: word(&info, "Device Name", MAX_NAME_CHARS),
        version: word(&info, "Product Version", MAX_WORD_CHARS),
        family: DeviceFamily::of(None, model.as_deref()),
        model,
        state: state(&status),
        last_run: date(&info, "Last Backup Date"),
        unfinished_run,
        is_encrypted: manifest.get("IsEncrypted").and_then(flag),
        damaged,
    }
}

/// Reads the state from Status.plist. Info.plist is written by every run, finished or not, and
/// Manifest.plist has the date of the first backup.
fn state(status: &Dictionary) -> BackupState {
    let at = date(status, "Date");
    match status.get("SnapshotState").and_then(Value::as_string) {
        Some("finished") => BackupState::Finished(at),
        Some(_) => BackupState::Unfinished(at),
        None => BackupState::Unknown,
    }
}

/// Returns the state of an unfinished run, or `None` if there is none.
fn unfinished_run(folder: &Path) -> Result<Option<BackupState>, String> {
    let snapshot = folder.join(SNAPSHOT);
    match fs::read_dir(&snapshot) {
        Ok(mut entries) => {
            if entries.next().is_none() {
                return Ok(None);
            }
        }
        Err(error) if is_missing(&snapshot, &error) => return Ok(None),
        Err(error) => return Err(reason(&error)),
    }
    let status = dictionary(&snapshot.join(BackupFile::Status.name()), BackupFile::Status.max_bytes())?;
    Ok(Some(state(&status)))
}

/// Reads a property list. A missing file is empty; any other error is returned as text.
fn dictionary(path: &Path, max_bytes: u64) -> Result<Dictionary, String> {
    let bytes = match regular_file::read(path, max_bytes) {
        Ok(bytes) => bytes,
        Err(error) if is_missing(path, &error) => return Ok(Dictionary::new()),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => return Err(too_large(max_bytes)),
        Err(error) => return Err(reason(&error)),
    };
    let limits = ListLimits { events: MAX_EVENTS, content_bytes: bytes.len() };
    property_list::read(&bytes, limits).ok_or_else(|| "damaged, or not a property list".to_owned())
}

/// Returns whether nothing exists at a path. A dangling link exists, because its disk may not be connected.
pub(super) fn is_missing(path: &Path, error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound && fs::symlink_metadata(path).is_err()
}

pub(super) fn too_large(max_bytes: u64) -> String {
    format!("larger than {} MiB", max_bytes >> 20)
}

pub(super) fn reason(error: &io::Error) -> String {
    text::plain_line(&error.reason(), MAX_REASON_CHARS)
}

fn word(dictionary: &Dictionary, key: &str, max_chars: usize) -> Option<String> {
    let word = text::plain_line(dictionary.get(key)?.as_string()?, max_chars);
    (!word.is_empty()).then_some(word)
}

fn date(dictionary: &Dictionary, key: &str) -> Option<Timestamp> {
    let time = Timestamp::try_from(SystemTime::from(dictionary.get(key)?.as_date()?)).ok()?;
    let at = Timestamp::from_second(time.as_second()).ok()?;
    (at.as_second() >= FIRST_BACKUP_S).then_some(at)
}

fn flag(value: &Value) -> Option<bool> {
    value.as_boolean().or_else(|| value.as_unsigned_integer().map(|number| number != 0))
}

/// Returns the UDID of the device that a backup folder belongs to.
pub(super) fn udid(folder: &Path) -> Udid {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    Udid::new(text::plain_line(device_in(&name), MAX_NAME_CHARS))
}

/// Returns the name of a backup folder without the time of archiving.
pub(super) fn device_in(name: &str) -> &str {
    let mut parts: Vec<&str> = name.rsplitn(3, '-').collect();
    parts.reverse();
    let is_number = |(part, digits): (&&str, usize)| {
        part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_archived = parts.len() == 3 && parts[1..].iter().zip(ARCHIVED_DIGITS).all(is_number);
    if is_archived { parts[0] } else { name }
}
