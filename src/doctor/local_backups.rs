//! The check `local-backups`: the newest finished backup of each device on this computer, and whether a
//! later run failed.
//!
//! Pure. Device names, device numbers and paths are shown on request only. "Cannot list" is never "none"
//! (`an_unreadable_directory_is_not_an_empty_one`). A backup with an unknown date, state or encryption is
//! never "ok" (`a_backup_with_missing_data_is_never_ok`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Blame, Finding, Status};
use crate::delivery::message::time_format::{lasted, when};
use crate::doctor::guide::GuideStep;
use crate::phones::DeviceFamily;
use crate::phones::local_backups::{Backup, BackupState, FoundBackups, LocationReport};
use crate::text::counted;

pub const ID: &str = "local-backups";
/// Finder dates Info.plist at the end of a run and Status.plist at its start; `idevicebackup2` dates
/// both at the start. A longer gap between the two dates means that a later run did not finish.
const RUN_MAX: SignedDuration = SignedDuration::from_hours(6);
/// A phone's clock may be slightly ahead of this computer's.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(1);

const FULL_DISK_ACCESS: &str = "To list them, grant Full Disk Access to the program in which you run statusd: System \
                                Settings, Privacy & Security, Full Disk Access.";
const PERMISSIONS: &str = "Check your permissions on that directory.";
const WORKS_WITHOUT_ICLOUD: &str = "A backup on a computer does not need iCloud. An encrypted one also contains health \
                                    data and passwords.";
const SPECIFY_DIRECTORY: &str = "Specify the directory that idevicebackup2 uses: --backups DIR, or phone.backups in the \
                                 configuration. A backup on a computer does not need iCloud.";
const NOT_CONNECTED: &str = "If the directory is on an external disk, connect the disk. Otherwise correct --backups or phone.backups.";
const NOT_ENCRYPTED: &str = "This backup contains no health data or passwords; only encrypted backups do.";
const NOT_FINISHED: &str =
    "If a backup is running, wait until it ends. Otherwise connect the phone and back it up again.";
const BACK_UP_AGAIN: &str = "To be sure, connect the phone and back it up again.";

/// The context of the check and the options for its output.
#[derive(Clone, Copy, Debug)]
pub struct BackupView<'a> {
    pub now: Timestamp,
    pub zone: &'a TimeZone,
    /// Selects the advice about permissions.
    pub is_macos: bool,
    /// Include the names and numbers of devices, and paths.
    pub identifiers: bool,
}

/// Returns a finding for each device and for each unreadable directory. If there are none, the only finding
/// says that there is no backup.
pub fn diagnose(locations: &[LocationReport], view: &BackupView<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        locations.iter().filter_map(|location| unreadable(location, view)).collect();
    let mut devices: BTreeMap<&str, Vec<&Backup>> = BTreeMap::new();
    let mut not_examined = 0;
    for location in locations {
        if let FoundBackups::Backups { backups, skipped, .. } = &location.found {
            not_examined += skipped;
            for backup in backups {
                devices.entry(backup.udid.expose()).or_default().push(backup);
            }
        }
    }
    let is_only_device = devices.len() == 1;
    for (number, backups) in devices.values().enumerate() {
        let subject = subject(backups, number + 1, is_only_device, view.identifiers);
        let finding = device(backups, view).evidence(evidence(backups, view.identifiers));
        findings.push(Finding { subject, ..finding });
    }
    if not_examined > 0 {
        let seen = format!("not examined: {}", counted(not_examined, "more backup folder"));
        findings.push(Finding::new(ID, Status::Skipped, seen));
    }
    if findings.is_empty() {
        findings.push(no_backups(locations));
    }
    findings
}

fn no_backups(locations: &[LocationReport]) -> Finding {
    let (seen, todo) = if locations.is_empty() {
        ("no backup directory is configured", SPECIFY_DIRECTORY)
    } else if locations.iter().all(|report| report.location.is_named) {
        // Other directories may contain backups.
        ("no iPhone backup in the named directories", SPECIFY_DIRECTORY)
    } else {
        ("no iPhone backup on this computer", WORKS_WITHOUT_ICLOUD)
    };
    Finding::new(ID, Status::Skipped, seen).todo(todo).step(GuideStep::LocalBackup)
}

/// Reports a location that cannot be read, in whole or in part.
fn unreadable(report: &LocationReport, view: &BackupView<'_>) -> Option<Finding> {
    let permissions = if view.is_macos { FULL_DISK_ACCESS } else { PERMISSIONS };
    let is_named = report.location.is_named;
    let cause = |reason: &str| format!("cause: {reason}");
    let (seen, todo, reasons) = match &report.found {
        FoundBackups::Unreadable(reason) => {
            ("cannot list the backups on this computer", permissions, vec![cause(reason)])
        }
        FoundBackups::Missing if is_named => {
            ("a named backup directory does not exist", NOT_CONNECTED, vec![])
        }
        FoundBackups::Empty if is_named => ("a named backup directory is empty", NOT_CONNECTED, vec![]),
        FoundBackups::Backups { unreadable, .. } if !unreadable.is_empty() => {
            let reason = |(folder, reason): &(PathBuf, String)| {
                let shown = view.identifiers.then(|| format!("{}: ", folder.display()));
                format!("{}{}", shown.unwrap_or_default(), cause(reason))
            };
            let reasons = unreadable.iter().map(reason).collect();
            ("cannot read all backup directories on this computer", permissions, reasons)
        }
        FoundBackups::Missing | FoundBackups::Empty | FoundBackups::Backups { .. } => return None,
    };
    let path = view.identifiers.then(|| report.location.path.display().to_string());
    let finding = Finding::new(ID, Status::CannotTell, seen).todo(todo).step(GuideStep::LocalBackup);
    Some(finding.evidence(path.into_iter().chain(reasons)))
}

/// The state of the runs after the newest finished backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LaterRun {
    None,
    Unknown,
    Unfinished,
}

/// Diagnoses a device by its newest finished backup, else by its other backups.
fn device(backups: &[&Backup], view: &BackupView<'_>) -> Finding {
    if let Some(DeviceFamily::Other(name)) =
        backups.iter().map(|backup| &backup.family).find(|family| family.is_other())
    {
        return Finding::new(
            ID,
            Status::Skipped,
            format!("a backup of another device ({name}), not checked"),
        );
    }
    let finished = backups.iter().filter_map(|backup| match backup.state {
        BackupState::Finished(at) => Some((at, *backup)),
        BackupState::Unfinished(_) | BackupState::Unknown => None,
    });
    if let Some((at, backup)) = finished.max_by_key(|(at, _)| *at) {
        let later = backups.iter().map(|backup| later_run(backup, at)).max().unwrap_or(LaterRun::None);
        return finished_backup(at, backup, later, view);
    }
    if backups.iter().any(|backup| matches!(backup.state, BackupState::Unfinished(_))) {
        return Finding::new(ID, Status::Warning, "a backup on this computer was started but not finished")
            .blame(Blame::Computer)
            .todo("Connect the phone and back it up again; do not rely on this backup.")
            .step(GuideStep::LocalBackup);
    }
    Finding::new(ID, Status::CannotTell, "a backup on this computer; cannot tell whether it finished")
        .todo(BACK_UP_AGAIN)
        .step(GuideStep::LocalBackup)
}

/// Returns the state of the runs of a backup directory after `good`, the date of the newest finished backup.
fn later_run(backup: &Backup, good: Option<Timestamp>) -> LaterRun {
    let is_before = |run: Option<Timestamp>| run.zip(good).is_some_and(|(run, good)| run < good);
    let is_after = |run: Option<Timestamp>| run.zip(good).is_some_and(|(run, good)| run > good);
    let own = match backup.state {
        BackupState::Unfinished(at) if is_before(at.max(backup.last_run)) => LaterRun::None,
        BackupState::Unfinished(_) => LaterRun::Unfinished,
        BackupState::Unknown if is_before(backup.last_run) => LaterRun::None,
        BackupState::Unknown => LaterRun::Unknown,
        // The undated backup may be newer than the dated one.
        BackupState::Finished(None) if good.is_some() => LaterRun::Unknown,
        BackupState::Finished(_) => LaterRun::None,
    };
    let unfinished_run = match backup.unfinished_run {
        Some(BackupState::Unfinished(at)) if !is_before(at) => LaterRun::Unfinished,
        // The run completed, but its files did not replace the previous backup.
        Some(BackupState::Finished(at)) if is_after(at) => LaterRun::Unfinished,
        Some(BackupState::Unknown) => LaterRun::Unknown,
        Some(BackupState::Unfinished(_) | BackupState::Finished(_)) | None => LaterRun::None,
    };
    let gap = backup.last_run.zip(good).map(|(run, good)| run.duration_since(good));
    let by_date = if gap.is_some_and(|gap| gap > RUN_MAX) { LaterRun::Unfinished } else { LaterRun::None };
    let is_info_damaged = backup.damaged.iter().any(|(file, _)| *file == "Info.plist");
    let by_damage = if is_info_damaged { LaterRun::Unknown } else { LaterRun::None };
    [own, unfinished_run, by_date, by_damage].into_iter().max().unwrap_or(LaterRun::None)
}

fn finished_backup(
    at: Option<Timestamp>,
    backup: &Backup,
    later: LaterRun,
    view: &BackupView<'_>,
) -> Finding {
    let now = view.now;
    let is_dated = at.is_some_and(|at| at.duration_since(now) <= CLOCK_TOLERANCE);
    let age = match at {
        Some(at) if is_dated => format!("{} old", lasted(at, now.max(at))),
        Some(_) => "dated in the future".to_owned(),
        None => "date unreadable".to_owned(),
    };
    let encrypted = match backup.is_encrypted {
        Some(true) => "encrypted",
        Some(false) => "not encrypted",
        None => "possibly encrypted",
    };
    if later == LaterRun::Unfinished {
        let date = match at.filter(|_| is_dated) {
            Some(at) => format!("{}, {age}", when(at, now, view.zone)),
            None => age,
        };
        let seen = format!(
            "the last run of a backup on this computer did not finish; last good backup: {date}, {encrypted}"
        );
        return Finding::new(ID, Status::Warning, seen)
            .blame(Blame::Computer)
            .todo(NOT_FINISHED)
            .step(GuideStep::LocalBackup);
    }
    let seen = format!("a backup on this computer, {age}, {encrypted}");
    if later == LaterRun::Unknown {
        let seen = format!("{seen}; cannot tell whether a later run finished");
        return Finding::new(ID, Status::CannotTell, seen).todo(BACK_UP_AGAIN).step(GuideStep::LocalBackup);
    }
    let is_known = is_dated && backup.is_encrypted.is_some();
    let finding = Finding::new(ID, if is_known { Status::Ok } else { Status::CannotTell }, seen);
    match backup.is_encrypted {
        Some(false) => finding.todo(NOT_ENCRYPTED).step(GuideStep::LocalBackup),
        Some(true) | None => finding,
    }
}

fn subject(backups: &[&Backup], number: usize, is_only_device: bool, identifiers: bool) -> Option<String> {
    let name = backups.iter().find_map(|backup| backup.name.clone()).filter(|_| identifiers);
    name.or_else(|| (!is_only_device).then(|| format!("backup {number}")))
}

fn evidence(backups: &[&Backup], identifiers: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for backup in backups {
        let system = if backup.family.is_other() { "version" } else { "iOS" };
        let version = backup.version.as_ref().map(|version| format!("{system} {version}"));
        let known = [backup.model.clone(), version];
        let mut parts: Vec<String> = known.into_iter().flatten().collect();
        if identifiers {
            parts.push(backup.udid.expose().to_owned());
        }
        parts.push(state_text(backup.state));
        parts.extend(backup.last_run.map(|run| format!("last run {run}")));
        parts.extend(backup.unfinished_run.map(|state| format!("unfinished run: {}", state_text(state))));
        lines.push(parts.join(", "));
        lines.extend(backup.damaged.iter().map(|(file, reason)| format!("{file}: {reason}")));
    }
    lines
}

fn state_text(state: BackupState) -> String {
    match state {
        BackupState::Finished(Some(at)) => format!("finished {at}"),
        BackupState::Finished(None) => "finished".to_owned(),
        BackupState::Unfinished(Some(at)) => format!("not finished {at}"),
        BackupState::Unfinished(None) => "not finished".to_owned(),
        BackupState::Unknown => "state unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phones::Udid;
    use crate::phones::local_backups::BackupLocation;

    static UTC: TimeZone = TimeZone::UTC;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn backup(udid: &str, state: BackupState, is_encrypted: Option<bool>) -> Backup {
        Backup {
            udid: Udid::new(udid),
            name: Some("Anna's iPhone".to_owned()),
            version: Some("18.4.1".to_owned()),
            model: Some("iPhone13,2".to_owned()),
            family: DeviceFamily::IPhone,
            state,
            last_run: None,
            unfinished_run: None,
            is_encrypted,
            damaged: Vec::new(),
        }
    }

    fn finished(text: &str) -> BackupState {
        BackupState::Finished(Some(at(text)))
    }

    fn locations(found: Vec<FoundBackups>) -> Vec<LocationReport> {
        let report = |found| LocationReport {
            location: BackupLocation::of_system(PathBuf::from("/Users/anna/Backup")),
            found,
        };
        found.into_iter().map(report).collect()
    }

    fn named(found: FoundBackups) -> LocationReport {
        LocationReport { location: BackupLocation::named(PathBuf::from("/Volumes/annas disk")), found }
    }

    fn view(is_macos: bool, identifiers: bool) -> BackupView<'static> {
        BackupView { now: at("2026-05-08T12:00:00Z"), zone: &UTC, is_macos, identifiers }
    }

    fn backups(backups: Vec<Backup>) -> FoundBackups {
        FoundBackups::Backups { backups, unreadable: Vec::new(), skipped: 0 }
    }

    /// Compares the status, subject and text of each finding.
    #[track_caller]
    fn check(found: Vec<FoundBackups>, expected: &[(Status, Option<&str>, &str)]) {
        check_locations(&locations(found), expected);
    }

    #[track_caller]
    fn check_locations(locations: &[LocationReport], expected: &[(Status, Option<&str>, &str)]) {
        let findings = diagnose(locations, &view(true, false));
        let found: Vec<_> =
            findings.iter().map(|f| (f.status, f.subject.as_deref(), f.seen.as_str())).collect();
        assert_eq!(found, expected);
        let printed = format!("{findings:?}");
        assert!(!printed.contains("nna") && !printed.contains("0000-1111"), "{printed}");
    }

    #[test]
    fn an_unreadable_directory_is_not_an_empty_one() {
        let none = (Status::Skipped, None, "no iPhone backup on this computer");
        check(vec![], &[(Status::Skipped, None, "no backup directory is configured")]);
        check(vec![FoundBackups::Missing], &[none]);
        check(vec![backups(vec![]), FoundBackups::Missing], &[none]);
        let unreadable = (Status::CannotTell, None, "cannot list the backups on this computer");
        check(
            vec![FoundBackups::Missing, FoundBackups::Unreadable("Operation not permitted".to_owned())],
            &[unreadable],
        );
        let findings =
            diagnose(&locations(vec![FoundBackups::Unreadable("x".to_owned())]), &view(true, false));
        assert!(
            findings[0]
                .todo
                .as_deref()
                .is_some_and(|todo| todo.contains("Privacy & Security, Full Disk Access"))
        );
        let elsewhere =
            diagnose(&locations(vec![FoundBackups::Unreadable("x".to_owned())]), &view(false, false));
        assert_eq!(elsewhere[0].todo.as_deref(), Some(PERMISSIONS));
    }

    #[test]
    fn a_named_directory_is_expected_to_contain_backups() {
        let missing = "a named backup directory does not exist";
        check_locations(&[named(FoundBackups::Missing)], &[(Status::CannotTell, None, missing)]);
        let empty = "a named backup directory is empty";
        check_locations(&[named(FoundBackups::Empty)], &[(Status::CannotTell, None, empty)]);
        check(vec![FoundBackups::Empty], &[(Status::Skipped, None, "no iPhone backup on this computer")]);
        let none = "no iPhone backup in the named directories";
        check_locations(&[named(backups(vec![]))], &[(Status::Skipped, None, none)]);
        let unreadable =
            vec![(PathBuf::from("/Users/anna/Backup/0000-1111"), "Permission denied".to_owned())];
        let found = FoundBackups::Backups { backups: Vec::new(), unreadable, skipped: 0 };
        let words = "cannot read all backup directories on this computer";
        check(vec![found.clone()], &[(Status::CannotTell, None, words)]);
        let shown = diagnose(&locations(vec![found]), &view(true, true));
        let line = "/Users/anna/Backup/0000-1111: cause: Permission denied";
        assert_eq!(shown[0].evidence.last().map(String::as_str), Some(line));
    }

    #[test]
    fn the_newest_finished_backup_counts() {
        let one = vec![
            backup("0000-1111", finished("2026-05-01T12:00:00Z"), Some(false)),
            backup("0000-1111", finished("2026-05-05T12:00:00Z"), Some(true)),
            backup("0000-1111", BackupState::Unfinished(Some(at("2026-05-04T12:00:00Z"))), None),
        ];
        check(vec![backups(one)], &[(Status::Ok, None, "a backup on this computer, 3 days old, encrypted")]);
        let two = vec![
            backup("0000-1111", finished("2026-05-08T10:00:00Z"), Some(false)),
            backup("2222-3333", finished("2026-05-08T12:59:00Z"), Some(true)),
        ];
        let expected = [
            (Status::Ok, Some("backup 1"), "a backup on this computer, 2 h old, not encrypted"),
            (Status::Ok, Some("backup 2"), "a backup on this computer, under a minute old, encrypted"),
        ];
        check(vec![backups(two)], &expected);
    }

    #[test]
    fn two_spellings_of_a_number_are_one_device() {
        let both = vec![
            backup("00008101-001A2B3C4D5E001E", finished("2026-05-01T12:00:00Z"), Some(false)),
            backup("00008101001a2b3c4d5e001e", finished("2026-05-05T12:00:00Z"), Some(true)),
        ];
        check(vec![backups(both)], &[(Status::Ok, None, "a backup on this computer, 3 days old, encrypted")]);
    }

    #[test]
    fn a_backup_with_missing_data_is_never_ok() {
        let one = |state, encrypted| vec![backups(vec![backup("0000-1111", state, encrypted)])];
        let cannot_tell = |words| [(Status::CannotTell, None, words)];
        let ahead = "a backup on this computer, dated in the future, encrypted";
        check(one(finished("2026-05-08T13:00:01Z"), Some(true)), &cannot_tell(ahead));
        let undated = "a backup on this computer, date unreadable, encrypted";
        check(one(BackupState::Finished(None), Some(true)), &cannot_tell(undated));
        let perhaps = "a backup on this computer, 3 days old, possibly encrypted";
        check(one(finished("2026-05-05T12:00:00Z"), None), &cannot_tell(perhaps));
        let unread =
            "a backup on this computer, 3 days old, encrypted; cannot tell whether a later run finished";
        let good = backup("0000-1111", finished("2026-05-05T12:00:00Z"), Some(true));
        let unknown = backup("0000-1111", BackupState::Unknown, None);
        check(vec![backups(vec![good.clone(), unknown.clone()])], &cannot_tell(unread));
        let damaged = vec![("Info.plist", "damaged".to_owned())];
        check(vec![backups(vec![Backup { damaged, ..good.clone() }])], &cannot_tell(unread));
        let unfinished_run = Some(BackupState::Unknown);
        check(vec![backups(vec![Backup { unfinished_run, ..good.clone() }])], &cannot_tell(unread));
        let undated = backup("0000-1111", BackupState::Finished(None), None);
        check(vec![backups(vec![good.clone(), undated])], &cannot_tell(unread));
        // An archived copy, older than the finished backup.
        let archived = Backup { last_run: Some(at("2026-05-01T12:00:00Z")), ..unknown };
        let fine = "a backup on this computer, 3 days old, encrypted";
        check(vec![backups(vec![good, archived])], &[(Status::Ok, None, fine)]);
    }

    #[test]
    fn a_failed_run_after_a_finished_one_is_a_warning() {
        let good = backup("0000-1111", finished("2026-05-05T12:00:00Z"), Some(true));
        let run = |time: &str| Backup { last_run: Some(at(time)), ..good.clone() };
        let with_run = |state| Backup { unfinished_run: Some(state), ..good.clone() };
        let unfinished = |time| backup("0000-1111", BackupState::Unfinished(time), None);
        let words = "the last run of a backup on this computer did not finish; last good backup: \
                     Tue 5 May 12:00, 3 days old, encrypted";
        for failed in [
            vec![run("2026-05-08T02:00:00Z")],
            vec![run("2026-05-06T12:00:00Z")],
            vec![run("2026-05-05T18:00:01Z")],
            vec![with_run(BackupState::Unfinished(None))],
            vec![with_run(BackupState::Unfinished(Some(at("2026-05-08T02:00:00Z"))))],
            vec![with_run(BackupState::Finished(Some(at("2026-05-08T02:00:00Z"))))],
            // An archived copy is the finished backup.
            vec![good.clone(), unfinished(None)],
            vec![good.clone(), unfinished(Some(at("2026-05-08T02:00:00Z")))],
        ] {
            check(vec![backups(failed)], &[(Status::Warning, None, words)]);
        }
        let fine = "a backup on this computer, 3 days old, encrypted";
        for good in [
            // Info.plist dated at the start of the run and at its end.
            run("2026-05-05T11:58:00Z"),
            run("2026-05-05T18:00:00Z"),
            with_run(BackupState::Unfinished(Some(at("2026-05-04T12:00:00Z")))),
            with_run(BackupState::Finished(Some(at("2026-05-05T12:00:00Z")))),
        ] {
            check(vec![backups(vec![good])], &[(Status::Ok, None, fine)]);
        }
        let undated =
            Backup { state: BackupState::Finished(None), ..with_run(BackupState::Unfinished(None)) };
        let words = "the last run of a backup on this computer did not finish; last good backup: \
                     date unreadable, encrypted";
        check(vec![backups(vec![undated])], &[(Status::Warning, None, words)]);
    }

    #[test]
    fn a_backup_of_another_device_is_listed_but_not_checked() {
        let family = DeviceFamily::Other("Apple Vision Pro".to_owned());
        let other = Backup { family, ..backup("0000-1111", BackupState::Unfinished(None), None) };
        let words = "a backup of another device (Apple Vision Pro), not checked";
        check(vec![backups(vec![other])], &[(Status::Skipped, None, words)]);
    }

    #[test]
    fn an_unfinished_backup_is_a_warning() {
        let words = "a backup on this computer was started but not finished";
        check(
            vec![backups(vec![
                backup("0000-1111", BackupState::Unfinished(None), None),
                backup("0000-1111", BackupState::Unknown, None),
            ])],
            &[(Status::Warning, None, words)],
        );
        let words = "a backup on this computer; cannot tell whether it finished";
        check(
            vec![backups(vec![backup("0000-1111", BackupState::Unknown, None)])],
            &[(Status::CannotTell, None, words)],
        );
    }

    #[test]
    fn an_unencrypted_backup_has_advice() {
        let found = vec![backups(vec![backup("0000-1111", finished("2026-05-05T12:00:00Z"), Some(false))])];
        let findings = diagnose(&locations(found), &view(true, false));
        assert_eq!(findings[0].todo.as_deref(), Some(NOT_ENCRYPTED));
        assert_eq!(findings[0].step, Some(GuideStep::LocalBackup));
    }

    #[test]
    fn identifiers_are_shown_on_request() {
        let found = vec![
            backups(vec![backup("0000-1111", finished("2026-05-05T12:00:00Z"), Some(true))]),
            FoundBackups::Unreadable("no".to_owned()),
        ];
        let findings = diagnose(&locations(found), &view(true, true));
        assert_eq!(findings[1].subject.as_deref(), Some("Anna's iPhone"));
        assert!(findings[1].evidence[0].contains("0000-1111"), "{findings:?}");
        assert_eq!(findings[0].evidence[0], "/Users/anna/Backup");
    }
}
