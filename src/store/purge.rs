//! Deletes the database when statusd is uninstalled.
//!
//! Deletes only files with our names, and none while a daemon holds the lock
//! (`our_files_are_deleted_and_others_stay`).

use std::fs;
use std::io;
use std::path::Path;

use crate::cause::Cause as _;

use super::commit_mark::MARK;
use super::files::{DATABASE, LOCK, lock};
use super::open_error::OpenError;

/// The socket of the daemon, and the iOS releases that `doctor` caches.
const BESIDE: [&str; 4] = [LOCK, MARK, "statusd.sock", "releases.json"];

/// Deletes the database, damaged ones that were moved aside, and all other files of statusd in
/// `directory`; then the directory, if it is empty. A missing directory is not an error.
pub fn purge(directory: &Path) -> Result<(), OpenError> {
    let cannot_write = |path: &Path, error: io::Error| OpenError::CannotWrite {
        path: path.to_owned(),
        reason: error.reason(),
    };
    let Some(real) = directory.canonicalize().ok().filter(|real| real.is_dir()) else { return Ok(()) };
    let held = lock(&real)?;
    let entries = fs::read_dir(&real).map_err(|error| cannot_write(&real, error))?;
    let is_ours = |name: &str| name.starts_with(DATABASE) || BESIDE.contains(&name);
    for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_ours)) {
        fs::remove_file(entry.path()).map_err(|error| cannot_write(&entry.path(), error))?;
    }
    drop(held);
    match fs::remove_dir(&real) {
        // With DynamicUser=, systemd makes the directory a symbolic link.
        Ok(()) if fs::symlink_metadata(directory).is_ok_and(|metadata| metadata.is_symlink()) => {
            fs::remove_file(directory).map_err(|error| cannot_write(directory, error))
        }
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(cannot_write(&real, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::Store;
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn our_files_are_deleted_and_others_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("real");
        let linked = folder.path().join("state");
        symlink(&state, &linked).expect("a link");
        let now = "2026-05-05T09:41:00Z".parse().expect("a time");
        for foreign in [true, false] {
            let opened = Store::open(&state, now).expect("a database");
            for name in ["statusd.sock", "releases.json", "statusd.db.damaged-20260505T094100Z"] {
                fs::write(state.join(name), "").expect("written");
            }
            let held = purge(&linked).expect_err("a daemon is there");
            assert!(matches!(held, OpenError::Locked(_)), "{held}");
            drop(opened);
            if foreign {
                fs::write(state.join("statusd.toml"), "").expect("written");
                fs::write(state.join("diary"), "").expect("written");
            }
            purge(&linked).expect("deleted");
            if foreign {
                assert_eq!(names(&state), ["diary", "statusd.toml"]);
                fs::remove_file(state.join("statusd.toml")).expect("removed");
                fs::remove_file(state.join("diary")).expect("removed");
            }
        }
        assert_eq!(names(folder.path()), [""; 0]);
        assert!(purge(&linked).is_ok(), "nothing is left to delete");
    }
}
