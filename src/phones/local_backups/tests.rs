//! Tests of finding and reading backups, with folders written as the programs write them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::backup::{INFO_MAX_BYTES, MAX_NAME_CHARS, OTHERS_MAX_BYTES, too_large};
use super::search::backups_in;
use super::*;
use crate::phones::{DeviceFamily, Udid};

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

/// Returns a binary property list of these objects, with at most 255 bytes before its offset table.
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
    match backups_in(root) {
        FoundBackups::Backups { mut backups, unreadable, skipped: 0 }
            if backups.len() == 1 && unreadable.is_empty() =>
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
fn a_complete_backup_is_read_without_personal_numbers() {
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
        unfinished_run: None,
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
fn the_state_and_its_date_come_from_status_plist() {
    let old = info("2026-05-01T00:00:00Z");
    let newer = info("2026-05-06T00:00:00Z");
    // 2026-05-04T08:00:00Z
    let status = binary_status("finished", 799_574_400.5);
    let good = finished("2026-05-04T08:00:00Z");
    check_state(&[("Status.plist", &status)], good);
    // A failed run leaves its date in Info.plist.
    for info in [&old, &newer, &info("")] {
        check_state(&[("Info.plist", info), ("Status.plist", &status)], good);
    }
    let bare = self::status(FINISHED);
    check_state(&[("Info.plist", &newer), ("Status.plist", &bare)], BackupState::Finished(None));
    for word in ["uploading", "new", "moving", "something else"] {
        let unfinished = binary_status(word, 799_574_400.0);
        let at = Some("2026-05-04T08:00:00Z".parse().expect("a time"));
        check_state(&[("Info.plist", &newer), ("Status.plist", &unfinished)], BackupState::Unfinished(at));
    }
    check_state(&[("Info.plist", &old)], BackupState::Unknown);
    check_state(&[("Info.plist", &old), ("Status.plist", &self::status(""))], BackupState::Unknown);
    let no_date = binary_status("finished", f64::NAN);
    check_state(&[("Status.plist", &no_date)], BackupState::Unknown);
    assert_eq!(backup_of(&[("Status.plist", &no_date)]).damaged.len(), 1);
    check_state(&[("Status.plist", &binary_status("finished", 1e300))], BackupState::Unknown);
    // 2001-01-01 is not a plausible date.
    check_state(&[("Status.plist", &binary_status("finished", 0.0))], BackupState::Finished(None));
    let full = xml(&format!("<key>IsFullBackup</key><true/>{FINISHED}"));
    check_state(&[("Status.plist", &full)], BackupState::Finished(None));
}

#[test]
fn an_unfinished_run_is_found() {
    let home = TempDir::new().expect("a folder");
    let folder = home.path().join(UDID);
    let snapshot = folder.join("Snapshot");
    fs::create_dir_all(&snapshot).expect("a folder");
    fs::write(folder.join("Status.plist"), binary_status("finished", 799_574_400.0)).expect("written");
    assert_eq!(only(home.path()).unfinished_run, None, "an empty folder");
    fs::write(snapshot.join("Manifest.db"), "").expect("written");
    assert_eq!(only(home.path()).unfinished_run, Some(BackupState::Unknown));
    let status = snapshot.join("Status.plist");
    fs::write(&status, binary_status("uploading", 799_660_800.0)).expect("written");
    let began = Some("2026-05-05T08:00:00Z".parse().expect("a time"));
    assert_eq!(only(home.path()).unfinished_run, Some(BackupState::Unfinished(began)));
    assert_eq!(only(home.path()).state, finished("2026-05-04T08:00:00Z"));
    // The Snapshot folder itself is not taken for a backup.
    assert_eq!(only(&snapshot), only(home.path()));
    fs::write(&status, "damaged").expect("written");
    let backup = only(home.path());
    assert_eq!((backup.unfinished_run, backup.damaged[0].0), (Some(BackupState::Unknown), "Snapshot"));
    fs::remove_dir_all(&snapshot).expect("removed");
    fs::write(&snapshot, "").expect("written");
    assert_eq!(only(home.path()).unfinished_run, Some(BackupState::Unknown), "a file in its place");
}

#[test]
fn encryption_is_unknown_without_a_valid_value() {
    let encrypted = |bytes: &[u8]| backup_of(&[("Manifest.plist", bytes)]).is_encrypted;
    assert_eq!(encrypted(&binary_manifest(false)), Some(false));
    assert_eq!(encrypted(&xml("<key>IsEncrypted</key><true/>")), Some(true));
    assert_eq!(encrypted(&xml("<key>IsEncrypted</key><integer>1</integer>")), Some(true));
    assert_eq!(encrypted(&xml("<key>IsEncrypted</key><string>yes</string>")), None);
    assert_eq!(encrypted(&xml("")), None);
}

#[test]
fn a_damaged_file_affects_no_other_file() {
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
    // Any flipped byte gives a result.
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0xff;
        let _ = backup_of(&[("Manifest.plist", &flipped)]);
    }
}

#[test]
fn files_backups_and_names_are_limited() {
    let home = TempDir::new().expect("a folder");
    let folder = home.path().join(UDID);
    fs::create_dir(&folder).expect("a folder");
    // Sparse files.
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
    let FoundBackups::Backups { backups, skipped, .. } = backups_in(home.path()) else {
        panic!("no backups")
    };
    assert_eq!((backups.len(), skipped), (64, 7));
    let long = xml(&format!("<key>Device Name</key><string>{}\u{202e}\n</string>", "x".repeat(5_000)));
    let name = backup_of(&[("Info.plist", &long)]).name.expect("a name");
    assert_eq!(name.chars().count(), MAX_NAME_CHARS);
}

#[test]
fn other_devices_are_recognised_by_their_model() {
    let info = xml("<key>Product Type</key><string>RealityDevice14,1</string>");
    assert!(backup_of(&[("Info.plist", &info)]).family.is_other());
    assert_eq!(backup_of(&[("Info.plist", &xml(""))]).family, DeviceFamily::Unknown);
}

fn none(unreadable: Vec<(PathBuf, String)>) -> FoundBackups {
    FoundBackups::Backups { backups: Vec::new(), unreadable, skipped: 0 }
}

#[test]
fn folders_without_a_backup_contain_none() {
    let home = TempDir::new().expect("a folder");
    assert_eq!(backups_in(home.path()), FoundBackups::Empty);
    fs::write(home.path().join(".DS_Store"), "").expect("written");
    fs::create_dir(home.path().join("empty")).expect("a folder");
    fs::create_dir(home.path().join("lost+found")).expect("a folder");
    assert_eq!(backups_in(home.path()), none(Vec::new()));
    assert_eq!(backups_in(&home.path().join("nowhere")), FoundBackups::Missing);
    let locations = [home.path().join("nowhere"), home.path().to_owned()].map(BackupLocation::named);
    let found: Vec<BackupLocation> =
        find(locations.to_vec()).into_iter().map(|report| report.location).collect();
    assert_eq!(found, locations);
}

#[test]
fn a_backup_is_found_from_folders_above_and_below() {
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
fn a_device_folder_without_known_files_is_an_unknown_backup() {
    assert_eq!(backup_of(&[]).state, BackupState::Unknown);
    assert_eq!(backup_of(&[("Manifest.db", b"")]).state, BackupState::Unknown);
}

#[test]
fn an_unreadable_folder_is_not_missing() {
    let home = TempDir::new().expect("a folder");
    let file = home.path().join("file");
    fs::write(&file, "").expect("written");
    assert!(matches!(backups_in(&file), FoundBackups::Unreadable(_)));
    let cycle = home.path().join("cycle");
    symlink(&cycle, &cycle).expect("a link");
    assert!(matches!(backups_in(&cycle), FoundBackups::Unreadable(_)));
    fs::remove_file(&cycle).expect("removed");
    let folder = home.path().join(UDID);
    fs::create_dir_all(folder.join("Info.plist")).expect("a folder");
    assert_eq!(only(home.path()).damaged, [("Info.plist", "a directory, not a regular file".to_owned())]);
}

#[test]
fn a_dangling_link_is_not_missing() {
    let home = TempDir::new().expect("a folder");
    let nowhere = home.path().join("Volumes/Backups");
    let link = home.path().join("Backup");
    symlink(&nowhere, &link).expect("a link");
    let reason = "the target of the link does not exist; its disk may not be connected".to_owned();
    assert_eq!(backups_in(&link), FoundBackups::Unreadable(reason.clone()));
    // Inside the folder, named as a device or otherwise.
    assert_eq!(backups_in(home.path()), none(vec![(link.clone(), reason.clone())]));
    fs::remove_file(&link).expect("removed");
    let file = home.path().join("00008101001A2B3C4D5E001E");
    fs::write(&file, "").expect("written");
    let reason = "not a directory".to_owned();
    assert_eq!(backups_in(home.path()), none(vec![(file, reason)]));
    // In place of a file of a backup.
    let folder = home.path().join("device");
    fs::create_dir(&folder).expect("a folder");
    symlink(&nowhere, folder.join("Status.plist")).expect("a link");
    let FoundBackups::Backups { backups, .. } = backups_in(&folder) else { panic!("no backup") };
    assert_eq!((backups[0].state, backups[0].damaged.len()), (BackupState::Unknown, 1));
}

#[test]
fn an_archived_backup_has_the_udid_of_its_device() {
    for (name, device) in [
        (UDID, UDID),
        ("00008101001A2B3C4D5E001E", UDID),
        ("00008101001a2b3c4d5e001e-20260504-081530", UDID),
        ("00008101-001A2B3C4D5E001E-20260504-081530", UDID),
        ("0123456789abcdef0123456789abcdef01234567", "0123456789abcdef0123456789abcdef01234567"),
        ("a-20260504-08153", "a-20260504-08153"),
        ("20260504-081530", "20260504-081530"),
    ] {
        assert_eq!(backup::udid(Path::new("/x").join(name).as_path()).expose(), device);
    }
}
