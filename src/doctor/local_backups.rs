//! Judges the backups that lie on this computer: the newest finished one of each device.
//!
//! Pure. What identifies a person (a device's name and number, the folder, which holds the user's
//! name) is said on request only. Invariant: "cannot see" is never "none".

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Blame, Finding, Status};
use crate::guide::Step;
use crate::local_backups::{Backup, Found, Root, State};
use crate::message::when::lasted;

pub const ID: &str = "local-backups";
const FULL_DISK_ACCESS: &str = "To see them, give the program you run this in Full Disk Access: System \
                                Settings, Privacy & Security, Full Disk Access.";
const RIGHTS: &str = "Check that you may read that folder.";
const NONE: &str =
    "A backup on a computer needs no iCloud. Encrypted it also keeps health data and passwords.";
const KNOWN: &str = "Name the folder that idevicebackup2 was given: --backups DIR, or phone.backups in the \
                     configuration. A backup on a computer needs no iCloud.";
const NOT_ENCRYPTED: &str = "It has no health data and no passwords: only an encrypted backup keeps those.";

/// One finding a device, and one for each folder that cannot be seen; where there is neither, one
/// that says so. `is_macos` is for the advice.
pub fn judge(roots: &[Root], now: Timestamp, is_macos: bool, identifiers: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut devices: BTreeMap<&str, Vec<&Backup>> = BTreeMap::new();
    let mut left = 0;
    for root in roots {
        match &root.found {
            Found::NotThere => {}
            Found::CannotSee(reason) => {
                findings.push(hidden(root, reason, is_macos, identifiers));
            }
            Found::Backups { backups, left_out } => {
                left += left_out;
                for backup in backups {
                    devices.entry(backup.udid.expose()).or_default().push(backup);
                }
            }
        }
    }
    let is_one = devices.len() == 1;
    for (number, backups) in devices.values().enumerate() {
        let subject = subject(backups, number + 1, is_one, identifiers);
        let finding = device(backups, now).evidence(evidence(backups, identifiers));
        findings.push(Finding { subject, ..finding });
    }
    if left > 0 {
        let seen = format!("{left} more backup folders were not looked into");
        findings.push(Finding::new(ID, Status::Skipped, seen));
    }
    if findings.is_empty() {
        findings.push(none(roots.is_empty()));
    }
    findings
}

/// `is_unknown`: nobody said where to look.
fn none(is_unknown: bool) -> Finding {
    let (seen, todo) = match is_unknown {
        true => ("no folder with backups is known here", KNOWN),
        false => ("no backup of an iPhone on this computer", NONE),
    };
    Finding::new(ID, Status::Skipped, seen).todo(todo).step(Step::LocalBackup)
}

fn hidden(root: &Root, reason: &str, is_macos: bool, identifiers: bool) -> Finding {
    let advice = if is_macos { FULL_DISK_ACCESS } else { RIGHTS };
    let place = identifiers.then(|| root.path.display().to_string());
    Finding::new(ID, Status::CannotTell, "cannot see whether there are backups on this computer")
        .todo(advice)
        .step(Step::LocalBackup)
        .evidence(place.into_iter().chain([format!("the system says: {reason}")]))
}

/// By the newest of its backups that was finished, or by the best that there is.
fn device(backups: &[&Backup], now: Timestamp) -> Finding {
    let finished = backups.iter().filter_map(|backup| match backup.state {
        State::Finished(at) => Some((at, *backup)),
        State::Unfinished | State::Unknown => None,
    });
    if let Some((at, backup)) = finished.max_by_key(|(at, _)| *at) {
        return whole(at, backup, now);
    }
    if backups.iter().any(|backup| backup.state == State::Unfinished) {
        return Finding::new(ID, Status::Warning, "a backup on this computer was begun and not finished")
            .blame(Blame::Computer)
            .todo("Connect the phone and back it up again; do not rely on this one.")
            .step(Step::LocalBackup);
    }
    Finding::new(ID, Status::CannotTell, "a backup on this computer; whether it was finished cannot be read")
        .todo("Connect the phone and back it up again, to be sure.")
        .step(Step::LocalBackup)
}

fn whole(at: Option<Timestamp>, backup: &Backup, now: Timestamp) -> Finding {
    let age = match at {
        Some(at) if at <= now => format!("{} old", lasted(at, now)),
        Some(_) => "dated ahead of this computer's clock".to_owned(),
        None => "of a date that cannot be read".to_owned(),
    };
    let encrypted = match backup.is_encrypted {
        Some(true) => "encrypted",
        Some(false) => "not encrypted",
        None => "perhaps encrypted",
    };
    let finding = Finding::new(ID, Status::Ok, format!("a backup on this computer, {age}, {encrypted}"));
    match backup.is_encrypted {
        Some(false) => finding.todo(NOT_ENCRYPTED).step(Step::LocalBackup),
        Some(true) | None => finding,
    }
}

fn subject(backups: &[&Backup], number: usize, is_one: bool, identifiers: bool) -> Option<String> {
    let name = backups.iter().find_map(|backup| backup.name.clone()).filter(|_| identifiers);
    name.or_else(|| (!is_one).then(|| format!("backup {number}")))
}

fn evidence(backups: &[&Backup], identifiers: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for backup in backups {
        let known = [backup.model.clone(), backup.version.as_ref().map(|version| format!("iOS {version}"))];
        let mut parts: Vec<String> = known.into_iter().flatten().collect();
        if identifiers {
            parts.push(backup.udid.expose().to_owned());
        }
        parts.push(match backup.state {
            State::Finished(Some(at)) => format!("finished {at}"),
            State::Finished(None) => "finished".to_owned(),
            State::Unfinished => "not finished".to_owned(),
            State::Unknown => "state unknown".to_owned(),
        });
        lines.push(parts.join(", "));
        lines.extend(backup.damaged.iter().map(|(file, reason)| format!("{file}: {reason}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::phone::Udid;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn backup(udid: &str, state: State, is_encrypted: Option<bool>) -> Backup {
        Backup {
            udid: Udid::new(udid),
            name: Some("Anna's iPhone".to_owned()),
            version: Some("18.4.1".to_owned()),
            model: Some("iPhone13,2".to_owned()),
            state,
            is_encrypted,
            damaged: Vec::new(),
        }
    }

    fn finished(text: &str) -> State {
        State::Finished(Some(at(text)))
    }

    fn roots(found: Vec<Found>) -> Vec<Root> {
        found.into_iter().map(|found| Root { path: PathBuf::from("/Users/anna/Backup"), found }).collect()
    }

    fn backups(backups: Vec<Backup>) -> Found {
        Found::Backups { backups, left_out: 0 }
    }

    /// A line a finding: status, subject, what was seen.
    #[track_caller]
    fn check(found: Vec<Found>, expected: &[(Status, Option<&str>, &str)]) {
        let findings = judge(&roots(found), at("2026-05-08T12:00:00Z"), true, false);
        let drawn: Vec<_> =
            findings.iter().map(|f| (f.status, f.subject.as_deref(), f.seen.as_str())).collect();
        assert_eq!(drawn, expected);
        let printed = format!("{findings:?}");
        assert!(!printed.contains("nna") && !printed.contains("0000-1111"), "{printed}");
    }

    #[test]
    fn none_is_apart_from_hidden() {
        let none = (Status::Skipped, None, "no backup of an iPhone on this computer");
        check(vec![], &[(Status::Skipped, None, "no folder with backups is known here")]);
        check(vec![Found::NotThere], &[none]);
        check(vec![backups(vec![]), Found::NotThere], &[none]);
        let hidden = (Status::CannotTell, None, "cannot see whether there are backups on this computer");
        check(vec![Found::NotThere, Found::CannotSee("Operation not permitted".to_owned())], &[hidden]);
        let findings =
            judge(&roots(vec![Found::CannotSee("x".to_owned())]), at("2026-05-08T12:00:00Z"), true, false);
        assert!(
            findings[0]
                .todo
                .as_deref()
                .is_some_and(|todo| todo.contains("Privacy & Security, Full Disk Access"))
        );
        let elsewhere =
            judge(&roots(vec![Found::CannotSee("x".to_owned())]), at("2026-05-08T12:00:00Z"), false, false);
        assert_eq!(elsewhere[0].todo.as_deref(), Some(RIGHTS));
    }

    #[test]
    fn the_newest_finished_one_counts() {
        let one = vec![
            backup("0000-1111", finished("2026-05-01T12:00:00Z"), Some(false)),
            backup("0000-1111", finished("2026-05-05T12:00:00Z"), Some(true)),
            backup("0000-1111", State::Unfinished, None),
        ];
        check(vec![backups(one)], &[(Status::Ok, None, "a backup on this computer, 3 days old, encrypted")]);
        let two = vec![
            backup("0000-1111", finished("2026-05-08T10:00:00Z"), Some(false)),
            backup("2222-3333", State::Finished(None), None),
            backup("2222-3333", State::Unfinished, Some(true)),
        ];
        let expected = [
            (Status::Ok, Some("backup 1"), "a backup on this computer, 2 h old, not encrypted"),
            (
                Status::Ok,
                Some("backup 2"),
                "a backup on this computer, of a date that cannot be read, perhaps encrypted",
            ),
        ];
        check(vec![backups(two)], &expected);
        let ahead = vec![backup("0000-1111", finished("2027-05-01T12:00:00Z"), Some(true))];
        let words = "a backup on this computer, dated ahead of this computer's clock, encrypted";
        check(vec![backups(ahead)], &[(Status::Ok, None, words)]);
    }

    #[test]
    fn what_was_not_finished_is_no_backup() {
        let words = "a backup on this computer was begun and not finished";
        check(
            vec![backups(vec![
                backup("0000-1111", State::Unfinished, None),
                backup("0000-1111", State::Unknown, None),
            ])],
            &[(Status::Warning, None, words)],
        );
        let words = "a backup on this computer; whether it was finished cannot be read";
        check(
            vec![backups(vec![backup("0000-1111", State::Unknown, None)])],
            &[(Status::CannotTell, None, words)],
        );
    }

    #[test]
    fn not_encrypted_says_what_it_lacks() {
        let found = vec![backups(vec![backup("0000-1111", finished("2026-05-05T12:00:00Z"), Some(false))])];
        let findings = judge(&roots(found), at("2026-05-08T12:00:00Z"), true, false);
        assert_eq!(findings[0].todo.as_deref(), Some(NOT_ENCRYPTED));
        assert_eq!(findings[0].step, Some(Step::LocalBackup));
    }

    #[test]
    fn identifiers_are_shown_to_who_asks() {
        let found = vec![
            backups(vec![backup("0000-1111", finished("2026-05-05T12:00:00Z"), Some(true))]),
            Found::CannotSee("no".to_owned()),
        ];
        let findings = judge(&roots(found), at("2026-05-08T12:00:00Z"), true, true);
        assert_eq!(findings[1].subject.as_deref(), Some("Anna's iPhone"));
        assert!(findings[1].evidence[0].contains("0000-1111"), "{findings:?}");
        assert_eq!(findings[0].evidence[0], "/Users/anna/Backup");
    }
}
