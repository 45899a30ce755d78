//! Replaces the database file: by its recovered rows if it is damaged, or by a complete copy.
//!
//! The new file is complete before it gets its name, so a kill at any step loses nothing. The old file is
//! moved aside, never deleted.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::Connection;

use super::disk::{each_chunk, private, side_file};
use super::migration::migrate;
use super::observer::{Observer, OpenStep};
use super::open_error::OpenError;
use super::{kv, rescue};
use crate::cause::Cause;

/// Suffixes of a new database that is being filled, and of a complete one that is to be renamed.
/// Name in `meta`: the path of the damaged database, until the loss is announced.
pub const LOST: &str = "lost";
pub const PART: &str = ".part";
pub const COMPLETE: &str = ".new";
pub const SCRATCH: &str = ".scratch";

/// Replaces a damaged database by a new one with all readable rows.
pub fn replace(path: &Path, reason: &str, now: Timestamp, observer: &Observer) -> Result<(), OpenError> {
    let wal = side_file(path, "-wal");
    for file in [path, &wal] {
        read_all(file, observer).map_err(|error| OpenError::CannotRead {
            path: file.to_owned(),
            reason: format!("{error}; nothing was changed, check the disk"),
        })?;
    }
    let cannot_write = |reason: String| OpenError::CannotWrite { path: path.to_owned(), reason };
    let kept = kept_as(path, now);
    let part = side_file(path, PART);
    let recovered = remove(&part)
        .and_then(|()| private().open(&part))
        .map_err(|error| cannot_write(error.reason()))
        .and_then(|_| {
            let mut new = Connection::open(&part).map_err(|error| cannot_write(error.reason()))?;
            migrate(&mut new, observer)
                .and_then(|()| observer.attach(&mut new, OpenStep::Recovering))
                .map_err(|error| cannot_write(error.reason()))?;
            let recovered = rescue::recover(path, &wal, &side_file(path, SCRATCH), &new, observer)
                .map_err(|error| cannot_write(error.reason()))?;
            if recovered.lost > 0 || recovered.rows == 0 {
                kv::set(&new, LOST, kept.display())
                    .and_then(|()| treat_as_new(&new))
                    .map_err(|error| cannot_write(error.reason()))?;
            }
            Ok(recovered)
        })?;
    tracing::error!(
        "the database was damaged ({reason}); kept as {}; rows recovered into a new database: {}, lost: {}",
        kept.display(),
        recovered.rows,
        recovered.lost
    );
    fs::rename(&part, side_file(path, COMPLETE))
        .and_then(|()| put_in_place(path, now))
        .map_err(|error| cannot_write(error.reason()))
}

/// Reads a whole file, to detect I/O errors. A missing file has none.
fn read_all(path: &Path, observer: &Observer) -> io::Result<()> {
    let read = each_chunk(path, |_| {
        observer.tick(OpenStep::Recovering);
        Ok(())
    });
    match read {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Moves the old database aside and renames a complete new one, also after a kill between these steps.
pub fn put_in_place(path: &Path, now: Timestamp) -> io::Result<()> {
    let complete = side_file(path, COMPLETE);
    if !complete.try_exists()? {
        return Ok(());
    }
    set_aside(path, now)?;
    fs::rename(&complete, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Copies an open database to the file that [`put_in_place`] renames.
pub fn copy_complete(
    connection: &Connection,
    path: &Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let part = side_file(path, PART);
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    remove(&part)?;
    private().open(&part)?;
    connection.execute("VACUUM INTO ?1", [part.display().to_string()])?;
    Ok(fs::rename(&part, side_file(path, COMPLETE))?)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn kept_as(path: &Path, now: Timestamp) -> PathBuf {
    side_file(path, &format!(".damaged-{}", now.strftime("%Y%m%dT%H%M%SZ")))
}

/// Renames the file and SQLite's side files, if they exist, to names with the time.
fn set_aside(path: &Path, now: Timestamp) -> io::Result<()> {
    for suffix in ["-wal", "-shm", ""] {
        let side = side_file(path, suffix);
        match fs::rename(&side, kept_as(&side, now)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Treats the feeds as new: past events go to the history silently.
pub fn treat_as_new(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE feed SET first_accepted_at = NULL", []).map(drop)
}
