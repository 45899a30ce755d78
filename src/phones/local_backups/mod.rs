//! Backups of iPhones on this computer, as Finder, iTunes or `idevicebackup2` store them.
//!
//! Finds backups near the configured locations (`search`) and reads three small files of each (`backup`). A
//! folder that cannot be read is reported, and never counts as one without backups
//! (`an_unreadable_folder_is_not_missing`).

mod search;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use plist::{Dictionary, Value};

use crate::cause::Cause as _;
use crate::phones::property_list::{self, ListLimits};
use crate::phones::{DeviceFamily, Udid};
use crate::{regular_file, text};

/// It holds the icons of all apps.
const INFO_MAX_BYTES: u64 = 64 << 20;
const OTHERS_MAX_BYTES: u64 = 4 << 20;
const MAX_BACKUPS: usize = 64;
const MAX_NAME_CHARS: usize = 100;
const MAX_WORD_CHARS: usize = 40;
const MAX_REASON_CHARS: usize = 200;
/// Info.plist has some twenty for each app.
const MAX_EVENTS: usize = 200_000;
/// 2007-01-01: the first iPhone came in that year, so what is older is no backup date.
const FIRST_BACKUP_S: i64 = 1_167_609_600;
/// Into this folder a run writes; a run that finishes takes it away.
const SNAPSHOT: &str = "Snapshot";

/// A folder that may contain backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupPlace {
    pub path: PathBuf,
    /// The user named the folder, so backups are expected there.
    pub is_named: bool,
}

impl BackupPlace {
    /// Where the user says that backups are.
    pub fn named(path: PathBuf) -> BackupPlace {
        BackupPlace { path, is_named: true }
    }

    /// Where the system keeps them, if there are any.
    pub fn of_system(path: PathBuf) -> BackupPlace {
        BackupPlace { path, is_named: false }
    }
}

/// The backups found in a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    pub place: BackupPlace,
    pub found: FoundBackups,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundBackups {
    NotThere,
    /// It may be there: the system's reason. On macOS without Full Disk Access, even for root.
    CannotSee(String),
    /// A folder with nothing at all in it, as the place of a disk that is not connected is.
    Empty,
    /// In order of their folders' names; may be empty.
    Backups {
        backups: Vec<Backup>,
        /// Folders that may hold backups and cannot be looked into, with the reason.
        unseen: Vec<(PathBuf, String)>,
        /// Folders beyond the limit, which were not looked into.
        left_out: usize,
    },
}

/// One backup. `None`: unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Of which device; as the folder is called.
    pub udid: Udid,
    /// What its owner calls it: identifies a person.
    pub name: Option<String>,
    /// `18.4.1`
    pub version: Option<String>,
    /// `iPhone13,2`
    pub model: Option<String>,
    pub family: DeviceFamily,
    pub state: BackupState,
    /// When a run last began or ended (programs differ), whether it finished or not.
    pub last_run: Option<Timestamp>,
    /// The state of what a run left behind that did not come to its end, or goes on.
    pub left_over: Option<BackupState>,
    pub is_encrypted: Option<bool>,
    /// Files that are there and cannot be read, with the reason.
    pub damaged: Vec<(&'static str, String)>,
}

/// How a run ended, as Status.plist has it. With its date, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupState {
    Finished(Option<Timestamp>),
    /// Begun and not finished: there may be nothing to restore from.
    Unfinished(Option<Timestamp>),
    Unknown,
}

/// Where macOS keeps them.
pub fn macos_root(home: &Path) -> PathBuf {
    home.join("Library/Application Support/MobileSync/Backup")
}

/// Looks into each of these places, each of which may have one folder a device.
pub fn look(places: Vec<BackupPlace>) -> Vec<Root> {
    let root = |place: BackupPlace| {
        let found = search::backups_in(&place.path);
        Root { found, place }
    };
    places.into_iter().map(root).collect()
}

/// The files that tell of a backup.
#[derive(Clone, Copy)]
enum Kind {
    Info,
    Status,
    Manifest,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Info, Kind::Status, Kind::Manifest];

    fn name(self) -> &'static str {
        match self {
            Kind::Info => "Info.plist",
            Kind::Status => "Status.plist",
            Kind::Manifest => "Manifest.plist",
        }
    }

    fn max_bytes(self) -> u64 {
        match self {
            Kind::Info => INFO_MAX_BYTES,
            Kind::Status | Kind::Manifest => OTHERS_MAX_BYTES,
        }
    }
}

fn backup(folder: &Path) -> Backup {
    let mut damaged = Vec::new();
    let mut read = |kind: Kind| {
        dictionary(&folder.join(kind.name()), kind.max_bytes()).unwrap_or_else(|reason| {
            damaged.push((kind.name(), reason));
            Dictionary::new()
        })
    };
    let [info, status, manifest] = Kind::ALL.map(&mut read);
    let left_over = left_over(folder).unwrap_or_else(|reason| {
        damaged.push((SNAPSHOT, reason));
        Some(BackupState::Unknown)
    });
    let model = word(&info, "Product Type", MAX_WORD_CHARS);
    Backup {
        udid: search::udid(folder),
        name: word(&info, "Device Name", MAX_NAME_CHARS),
        version: word(&info, "Product Version", MAX_WORD_CHARS),
        family: DeviceFamily::of(None, model.as_deref()),
        model,
        state: state(&status),
        last_run: date(&info, "Last Backup Date"),
        left_over,
        is_encrypted: manifest.get("IsEncrypted").and_then(yes_or_no),
        damaged,
    }
}

/// Only Status.plist tells how a run ended, and when: Info.plist is written whether the run finishes
/// or not, and Manifest.plist has the date of the first backup.
fn state(status: &Dictionary) -> BackupState {
    let at = date(status, "Date");
    match status.get("SnapshotState").and_then(Value::as_string) {
        Some("finished") => BackupState::Finished(at),
        Some(_) => BackupState::Unfinished(at),
        None => BackupState::Unknown,
    }
}

/// `None` where no run left anything behind.
fn left_over(folder: &Path) -> Result<Option<BackupState>, String> {
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
    let status = dictionary(&snapshot.join(Kind::Status.name()), Kind::Status.max_bytes())?;
    Ok(Some(state(&status)))
}

/// A file that is not there has no facts; every other trouble is an error, in words.
fn dictionary(path: &Path, max_bytes: u64) -> Result<Dictionary, String> {
    let bytes = match regular_file::read(path, max_bytes) {
        Ok(bytes) => bytes,
        Err(error) if is_missing(path, &error) => return Ok(Dictionary::new()),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => return Err(too_large(max_bytes)),
        Err(error) => return Err(reason(&error)),
    };
    let limits = ListLimits { events: MAX_EVENTS, content_bytes: bytes.len() };
    property_list::read(&bytes, limits)
        .ok_or_else(|| "not a property list of this kind, or a damaged one".to_owned())
}

/// Whether nothing is there at all. A link whose target is gone is there: its disk may not be.
fn is_missing(path: &Path, error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound && fs::symlink_metadata(path).is_err()
}

fn too_large(max_bytes: u64) -> String {
    format!("larger than {} MiB", max_bytes >> 20)
}

fn reason(error: &io::Error) -> String {
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

fn yes_or_no(value: &Value) -> Option<bool> {
    value.as_boolean().or_else(|| value.as_unsigned_integer().map(|number| number != 0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    const UDID: &str = "00008101-001A2B3C4D5E001E";
    const FINISHED: &str = "<key>SnapshotState</key><string>finished</string>";

    fn xml(body: &str) -> Vec<u8> {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
             \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\"><dict>{body}</dict></plist>"
        )
        .into_bytes()
    }

    fn info(date: &str) -> Vec<u8> {
        let date = if date.is_empty() {
            String::new()
        } else {
            format!("<key>Last Backup Date</key><date>{date}</date>")
        };
        xml(&format!(
            "<key>Device Name</key><string>Anna's iPhone</string>\
             <key>IMEI</key><string>351234567890123</string>\
             <key>Phone Number</key><string>+49 151 2345678</string>\
             <key>Serial Number</key><string>C02SERIAL</string>\
             <key>Product Type</key><string>iPhone13,2</string>\
             <key>Product Version</key><string>18.4.1</string>\
             <key>Applications</key><dict><key>a</key><data>AAAA</data></dict>{date}"
        ))
    }

    fn status(body: &str) -> Vec<u8> {
        xml(&format!("<key>IsFullBackup</key><false/><key>BackupState</key><string>new</string>{body}"))
    }

    /// `{"SnapshotState": "finished", "Date": …}`, `{"IsEncrypted": true}` and so on, object by
    /// object: what stands in it is at most a table of 255 bytes.
    fn binary(objects: &[&[u8]]) -> Vec<u8> {
        let mut bytes = b"bplist00".to_vec();
        let mut offsets = Vec::new();
        for object in objects {
            offsets.push(u8::try_from(bytes.len()).expect("a small list"));
            bytes.extend_from_slice(object);
        }
        let table = bytes.len() as u64;
        bytes.extend(offsets);
        bytes.extend([0, 0, 0, 0, 0, 0, 1, 1]);
        for number in [objects.len() as u64, 0, table] {
            bytes.extend(number.to_be_bytes());
        }
        bytes
    }

    fn text_object(text: &str) -> Vec<u8> {
        [&[0x5f, 0x10, u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat()
    }

    /// Seconds since 2001.
    fn date_object(seconds: f64) -> Vec<u8> {
        [&[0x33][..], &seconds.to_be_bytes()].concat()
    }

    fn binary_status(state: &str, seconds: f64) -> Vec<u8> {
        let (key, value) = (text_object("SnapshotState"), text_object(state));
        let (date_key, date) = (text_object("Date"), date_object(seconds));
        binary(&[&[0xd2, 1, 2, 3, 4], &key, &date_key, &value, &date])
    }

    fn binary_manifest(encrypted: bool) -> Vec<u8> {
        let key = text_object("IsEncrypted");
        binary(&[&[0xd1, 1, 2], &key, &[if encrypted { 9 } else { 8 }]])
    }

    fn backup_of(files: &[(&str, &[u8])]) -> Backup {
        let home = TempDir::new().expect("a folder");
        let folder = home.path().join(UDID);
        fs::create_dir(&folder).expect("a folder");
        for (name, bytes) in files {
            fs::write(folder.join(name), bytes).expect("written");
        }
        only(home.path())
    }

    #[track_caller]
    fn only(root: &Path) -> Backup {
        match search::backups_in(root) {
            FoundBackups::Backups { mut backups, unseen, left_out: 0 }
                if backups.len() == 1 && unseen.is_empty() =>
            {
                backups.remove(0)
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check_state(files: &[(&str, &[u8])], expected: BackupState) {
        assert_eq!(backup_of(files).state, expected);
    }

    fn finished(text: &str) -> BackupState {
        BackupState::Finished(Some(text.parse().expect("a time")))
    }

    #[test]
    fn a_whole_backup_is_read_and_no_number_of_its_owner() {
        let backup = backup_of(&[
            ("Info.plist", &info("2026-05-04T08:15:30Z")),
            ("Status.plist", &binary_status("finished", 799_574_400.0)),
            ("Manifest.plist", &binary_manifest(true)),
        ]);
        let expected = Backup {
            udid: Udid::new(UDID),
            name: Some("Anna's iPhone".to_owned()),
            version: Some("18.4.1".to_owned()),
            model: Some("iPhone13,2".to_owned()),
            family: DeviceFamily::IPhone,
            state: finished("2026-05-04T08:00:00Z"),
            last_run: Some("2026-05-04T08:15:30Z".parse().expect("a time")),
            left_over: None,
            is_encrypted: Some(true),
            damaged: Vec::new(),
        };
        assert_eq!(backup, expected);
        let printed = format!("{backup:?}");
        for number in ["3512345", "2345678", "C02SERIAL", UDID] {
            assert!(!printed.contains(number), "{printed}");
        }
    }

    #[test]
    fn how_a_run_ended_and_when_is_a_fact_of_status_plist() {
        let old = info("2026-05-01T00:00:00Z");
        let newer = info("2026-05-06T00:00:00Z");
        // 2026-05-04T08:00:00Z
        let status = binary_status("finished", 799_574_400.5);
        let good = finished("2026-05-04T08:00:00Z");
        check_state(&[("Status.plist", &status)], good);
        // A run that failed leaves its date in Info.plist.
        for info in [&old, &newer, &info("")] {
            check_state(&[("Info.plist", info), ("Status.plist", &status)], good);
        }
        let bare = self::status(FINISHED);
        check_state(&[("Info.plist", &newer), ("Status.plist", &bare)], BackupState::Finished(None));
        for word in ["uploading", "new", "moving", "something else"] {
            let unfinished = binary_status(word, 799_574_400.0);
            let at = Some("2026-05-04T08:00:00Z".parse().expect("a time"));
            check_state(
                &[("Info.plist", &newer), ("Status.plist", &unfinished)],
                BackupState::Unfinished(at),
            );
        }
        check_state(&[("Info.plist", &old)], BackupState::Unknown);
        check_state(&[("Info.plist", &old), ("Status.plist", &self::status(""))], BackupState::Unknown);
        let no_date = binary_status("finished", f64::NAN);
        check_state(&[("Status.plist", &no_date)], BackupState::Unknown);
        assert_eq!(backup_of(&[("Status.plist", &no_date)]).damaged.len(), 1);
        check_state(&[("Status.plist", &binary_status("finished", 1e300))], BackupState::Unknown);
        // 2001-01-01: no backup date.
        check_state(&[("Status.plist", &binary_status("finished", 0.0))], BackupState::Finished(None));
        let full = xml(&format!("<key>IsFullBackup</key><true/>{FINISHED}"));
        check_state(&[("Status.plist", &full)], BackupState::Finished(None));
    }

    #[test]
    fn what_a_run_left_behind_is_seen() {
        let home = TempDir::new().expect("a folder");
        let folder = home.path().join(UDID);
        let snapshot = folder.join("Snapshot");
        fs::create_dir_all(&snapshot).expect("a folder");
        fs::write(folder.join("Status.plist"), binary_status("finished", 799_574_400.0)).expect("written");
        assert_eq!(only(home.path()).left_over, None, "an empty one says nothing");
        fs::write(snapshot.join("Manifest.db"), "").expect("written");
        assert_eq!(only(home.path()).left_over, Some(BackupState::Unknown));
        let status = snapshot.join("Status.plist");
        fs::write(&status, binary_status("uploading", 799_660_800.0)).expect("written");
        let began = Some("2026-05-05T08:00:00Z".parse().expect("a time"));
        assert_eq!(only(home.path()).left_over, Some(BackupState::Unfinished(began)));
        assert_eq!(only(home.path()).state, finished("2026-05-04T08:00:00Z"));
        // Named itself, it is not taken for the backup.
        assert_eq!(only(&snapshot), only(home.path()));
        fs::write(&status, "damaged").expect("written");
        let backup = only(home.path());
        assert_eq!((backup.left_over, backup.damaged[0].0), (Some(BackupState::Unknown), "Snapshot"));
        fs::remove_dir_all(&snapshot).expect("removed");
        fs::write(&snapshot, "").expect("written");
        assert_eq!(only(home.path()).left_over, Some(BackupState::Unknown), "a file in its place");
    }

    #[test]
    fn encryption_is_unknown_where_nobody_says() {
        let encrypted = |bytes: &[u8]| backup_of(&[("Manifest.plist", bytes)]).is_encrypted;
        assert_eq!(encrypted(&binary_manifest(false)), Some(false));
        assert_eq!(encrypted(&xml("<key>IsEncrypted</key><true/>")), Some(true));
        assert_eq!(encrypted(&xml("<key>IsEncrypted</key><integer>1</integer>")), Some(true));
        assert_eq!(encrypted(&xml("<key>IsEncrypted</key><string>yes</string>")), None);
        assert_eq!(encrypted(&xml("")), None);
    }

    #[test]
    fn damage_costs_its_own_file_only() {
        let whole = binary_manifest(true);
        let deep = xml(&format!("<key>a</key>{}{}", "<array>".repeat(100_000), "</array>".repeat(100_000)));
        let mut damaged: Vec<Vec<u8>> = vec![
            Vec::new(),
            b"bplist00".to_vec(),
            b"<plist><array/></plist>".to_vec(),
            b"\xff\xfe\0garbage".to_vec(),
            xml("<key>IsEncrypted</key><date>soon</date>"),
            b"<?xml version=\"1.0\"?><plist><string>x</string></plist>".to_vec(),
            deep,
        ];
        damaged.extend((0..whole.len()).map(|length| whole[..length].to_vec()));
        for bytes in &damaged {
            let backup = backup_of(&[
                ("Manifest.plist", bytes),
                ("Info.plist", &info("")),
                ("Status.plist", &status(FINISHED)),
            ]);
            assert_eq!(backup.is_encrypted, None, "{bytes:?}");
            assert_eq!(backup.damaged.len(), 1, "{bytes:?}");
            assert_eq!(
                (backup.state, backup.model.as_deref()),
                (BackupState::Finished(None), Some("iPhone13,2"))
            );
        }
        // Whatever a flipped byte brings about, it is an answer.
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0xff;
            let _ = backup_of(&[("Manifest.plist", &flipped)]);
        }
    }

    #[test]
    fn there_are_limits() {
        let home = TempDir::new().expect("a folder");
        let folder = home.path().join(UDID);
        fs::create_dir(&folder).expect("a folder");
        // Without a byte on the disk.
        for (name, bytes) in [("Info.plist", INFO_MAX_BYTES + 1), ("Status.plist", OTHERS_MAX_BYTES + 1)] {
            fs::File::create(folder.join(name)).and_then(|file| file.set_len(bytes)).expect("a sparse file");
        }
        let damaged = only(home.path()).damaged;
        assert_eq!(
            damaged,
            [("Info.plist", too_large(INFO_MAX_BYTES)), ("Status.plist", too_large(OTHERS_MAX_BYTES))]
        );
        assert_eq!(damaged[0].1, "larger than 64 MiB");
        for number in 0..70 {
            let folder = home.path().join(format!("device-{number}"));
            fs::create_dir(&folder).expect("a folder");
            fs::write(folder.join("Manifest.plist"), binary_manifest(false)).expect("written");
        }
        let FoundBackups::Backups { backups, left_out, .. } = search::backups_in(home.path()) else {
            panic!("no backups")
        };
        assert_eq!((backups.len(), left_out), (64, 7));
        let long = xml(&format!("<key>Device Name</key><string>{}\u{202e}\n</string>", "x".repeat(5_000)));
        let name = backup_of(&[("Info.plist", &long)]).name.expect("a name");
        assert_eq!(name.chars().count(), MAX_NAME_CHARS);
    }

    #[test]
    fn a_device_that_is_no_iphone_is_known_by_its_model() {
        let info = xml("<key>Product Type</key><string>RealityDevice14,1</string>");
        assert!(backup_of(&[("Info.plist", &info)]).family.is_other());
        assert_eq!(backup_of(&[("Info.plist", &xml(""))]).family, DeviceFamily::Unknown);
    }

    fn none(unseen: Vec<(PathBuf, String)>) -> FoundBackups {
        FoundBackups::Backups { backups: Vec::new(), unseen, left_out: 0 }
    }

    #[test]
    fn what_is_no_backup_is_none() {
        let home = TempDir::new().expect("a folder");
        assert_eq!(search::backups_in(home.path()), FoundBackups::Empty);
        fs::write(home.path().join(".DS_Store"), "").expect("written");
        fs::create_dir(home.path().join("empty")).expect("a folder");
        fs::create_dir(home.path().join("lost+found")).expect("a folder");
        assert_eq!(search::backups_in(home.path()), none(Vec::new()));
        assert_eq!(search::backups_in(&home.path().join("nowhere")), FoundBackups::NotThere);
        let places = [home.path().join("nowhere"), home.path().to_owned()].map(BackupPlace::named);
        let seen: Vec<BackupPlace> = look(places.to_vec()).into_iter().map(|root| root.place).collect();
        assert_eq!(seen, places);
    }

    #[test]
    fn a_backup_is_found_from_the_folders_around_it() {
        let home = TempDir::new().expect("a folder");
        let kept = macos_root(home.path());
        let folder = kept.join(UDID);
        fs::create_dir_all(folder.join("00")).expect("a folder");
        fs::write(folder.join("Status.plist"), status(FINISHED)).expect("written");
        for named in [
            kept.as_path(),
            &folder,
            &folder.join("00"),
            kept.parent().expect("MobileSync"),
            kept.parent().and_then(Path::parent).expect("Application Support"),
            home.path(),
        ] {
            assert_eq!(only(named).udid, Udid::new(UDID), "{}", named.display());
        }
    }

    #[test]
    fn a_folder_of_a_device_without_its_files_is_a_backup_of_which_nothing_is_known() {
        assert_eq!(backup_of(&[]).state, BackupState::Unknown);
        assert_eq!(backup_of(&[("Manifest.db", b"")]).state, BackupState::Unknown);
    }

    #[test]
    fn what_cannot_be_seen_is_not_none() {
        let home = TempDir::new().expect("a folder");
        let file = home.path().join("file");
        fs::write(&file, "").expect("written");
        assert!(matches!(search::backups_in(&file), FoundBackups::CannotSee(_)));
        let circle = home.path().join("circle");
        symlink(&circle, &circle).expect("a link");
        assert!(matches!(search::backups_in(&circle), FoundBackups::CannotSee(_)));
        fs::remove_file(&circle).expect("removed");
        let folder = home.path().join(UDID);
        fs::create_dir_all(folder.join("Info.plist")).expect("a folder");
        assert_eq!(only(home.path()).damaged, [("Info.plist", "a directory, not a regular file".to_owned())]);
    }

    #[test]
    fn a_link_to_a_disk_that_is_not_connected_is_not_none() {
        let home = TempDir::new().expect("a folder");
        let nowhere = home.path().join("Volumes/Backups");
        let link = home.path().join("Backup");
        symlink(&nowhere, &link).expect("a link");
        let words = "a link to a place that is not there; its disk may not be connected".to_owned();
        assert_eq!(search::backups_in(&link), FoundBackups::CannotSee(words.clone()));
        // In the folder, under the number of a device or under another name.
        assert_eq!(search::backups_in(home.path()), none(vec![(link.clone(), words.clone())]));
        fs::remove_file(&link).expect("removed");
        let file = home.path().join("00008101001A2B3C4D5E001E");
        fs::write(&file, "").expect("written");
        let words = "a file where a folder should be".to_owned();
        assert_eq!(search::backups_in(home.path()), none(vec![(file, words)]));
        // A file of a backup.
        let folder = home.path().join("device");
        fs::create_dir(&folder).expect("a folder");
        symlink(&nowhere, folder.join("Status.plist")).expect("a link");
        let FoundBackups::Backups { backups, .. } = search::backups_in(&folder) else { panic!("no backup") };
        assert_eq!((backups[0].state, backups[0].damaged.len()), (BackupState::Unknown, 1));
    }

    #[test]
    fn an_archived_backup_is_one_of_the_same_device() {
        for (name, device) in [
            (UDID, UDID),
            ("00008101001A2B3C4D5E001E", UDID),
            ("00008101001a2b3c4d5e001e-20260504-081530", UDID),
            ("00008101-001A2B3C4D5E001E-20260504-081530", UDID),
            ("0123456789abcdef0123456789abcdef01234567", "0123456789abcdef0123456789abcdef01234567"),
            ("a-20260504-08153", "a-20260504-08153"),
            ("20260504-081530", "20260504-081530"),
        ] {
            assert_eq!(search::udid(Path::new("/x").join(name).as_path()).expose(), device);
        }
    }
}
