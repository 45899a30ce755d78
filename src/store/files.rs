//! Opens the database file: lock, permissions, identity, damage.
//!
//! The database of a newer statusd or of another program is rejected unchanged. A damaged one is replaced
//! (`replacement`).

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OpenFlags};

use super::commit_mark::{self, CommitMark, MARK, Noted};
use super::condition::{Condition, inspect, is_damage};
use super::connection::{AUTOCHECKPOINT_PAGES, prepare};
use super::database_file::DatabaseFile;
use super::disk::{BUSY_TIMEOUT, private, side_file};
use super::migration::{APPLICATION_ID, identity, known_version, migrate};
use super::observer::Observer;
use super::open_database::{self, OpenDatabase};
use super::open_error::OpenError;
use super::replacement::{COMPLETE, LOST, PART, SCRATCH, put_in_place, replace, treat_as_new};
use super::{Store, kv, root_pages};
use crate::cause::Cause;
use crate::regular_file;

/// The file's name in the state directory.
pub const DATABASE: &str = "statusd.db";
pub(super) const LOCK: &str = "statusd.lock";
/// Prefixes of our files in the state directory.
const OURS: [&str; 2] = ["statusd.", "releases.json"];
/// The maximum lead of a stamp. A newest stamp further ahead would make all documents stale.
const STAMP_AHEAD_MAX: SignedDuration = SignedDuration::from_hours(26);
const SIDE_FILES: [&str; 6] = ["-wal", "-shm", "-journal", PART, COMPLETE, SCRATCH];

/// An open database, and a loss to announce.
pub struct Opened {
    pub store: Store,
    /// A loss that is not announced yet; record it with [`Store::record_change`]. Holds the path of the
    /// damaged database; empty if the file was deleted, emptied or replaced by an older copy.
    pub lost: Option<String>,
}

pub fn open(directory: &Path, now: Timestamp, observer: &Observer) -> Result<Opened, OpenError> {
    let cannot_write = |path: &Path, error: &dyn Cause| OpenError::CannotWrite {
        path: path.to_owned(),
        reason: error.reason(),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| cannot_write(directory, &error))?;
    let path = directory.join(DATABASE);
    if let Some((path, error)) = irregular(&path) {
        return Err(cannot_write(&path, &error));
    }
    let lock = lock(directory)?;
    make_private(directory).map_err(|error| cannot_write(directory, &error))?;
    put_in_place(&path, now).map_err(|error| cannot_write(&path, &error))?;
    if !commit_mark::is_sealed(&path, observer)
        && let Condition::Damaged(reason) = inspect(&path, observer)?
    {
        replace(&path, &reason, now, observer)?;
    }
    let mark = CommitMark::open(&path).map_err(|error| cannot_write(&directory.join(MARK), &error))?;
    // SQLite copies the permissions of the main file to its side files, so the main file comes first.
    private().open(&path).map_err(|error| cannot_write(&path, &error))?;
    let mut connection = Connection::open(&path).map_err(|error| cannot_write(&path, &error))?;
    let lost = prepare(&connection)
        .and_then(|()| migrate(&mut connection, observer))
        .and_then(|()| root_pages::note(&connection))
        .and_then(|()| limit_stamps(&connection, now))
        .and_then(|()| lost(&connection, mark.noted()))
        .map_err(|error| cannot_write(&path, &error))?;
    let file = DatabaseFile::of(&path).map_err(|error| cannot_write(&path, &error))?;
    let database = OpenDatabase::new(connection, mark, Some(file), Some(lock));
    Ok(Opened { store: Store::new(database, false), lost })
}

/// Returns the loss to announce; see [`Opened::lost`].
fn lost(connection: &Connection, noted: Option<Noted>) -> rusqlite::Result<Option<String>> {
    if let Some(kept) = kv::get(connection, LOST)? {
        return Ok(Some(kept));
    }
    let Some(noted) = noted else { return Ok(None) };
    let found = open_database::noted(connection)?;
    let is_older = noted.seed == found.seed && noted.transactions > found.transactions;
    let is_new = noted.seed != found.seed && found.transactions == 0;
    if !is_older && !is_new {
        return Ok(None);
    }
    tracing::error!(
        "the database {}; the rows written since are lost",
        if is_new { "was deleted or emptied" } else { "is an older copy, or its WAL was lost" }
    );
    treat_as_new(connection)?;
    Ok(Some(String::new()))
}

/// Marks the loss as announced.
pub(super) fn mark_loss_announced(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM meta WHERE name = ?1", [LOST]).map(drop)
}

/// Removes newest stamps too far ahead, because they would make every document stale.
fn limit_stamps(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let limit = now.checked_add(STAMP_AHEAD_MAX).unwrap_or(Timestamp::MAX);
    let sql = "UPDATE feed SET stamp = NULL WHERE stamp > ?1";
    connection.execute(sql, [limit.to_string()]).map(drop)
}

/// Restricts an existing directory to its owner. If it also contains other files, it may be shared on
/// purpose, so this only logs a warning.
fn make_private(directory: &Path) -> io::Result<()> {
    let metadata = fs::metadata(directory)?;
    let mode = metadata.permissions().mode() & 0o7777;
    let shown = directory.display();
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        tracing::warn!(
            "{shown} belongs to another user, who can change the database; choose another state directory"
        );
    } else if mode & 0o077 == 0 {
        // Private already.
    } else if mode & 0o1000 == 0
        && holds_only_ours(directory)?
        && fs::set_permissions(directory, Permissions::from_mode(0o700)).is_ok()
    {
        tracing::warn!(
            "changed the mode of {shown} from {mode:04o} to 0700, so that no other user can read or change it"
        );
    } else {
        tracing::warn!(
            "{shown} has mode {mode:04o}, so that other users may read or change the database; \
             use a separate state directory"
        );
    }
    Ok(())
}

fn holds_only_ours(directory: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !OURS.iter().any(|start| name.as_encoded_bytes().starts_with(start.as_bytes())) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the first file that is not regular, with the reason. SQLite would block on a FIFO.
fn irregular(database: &Path) -> Option<(PathBuf, io::Error)> {
    let side = SIDE_FILES.map(|suffix| side_file(database, suffix));
    let others = [LOCK, MARK].map(|name| database.with_file_name(name));
    let files = [database.to_owned()].into_iter().chain(others).chain(side);
    files.into_iter().find_map(|file| regular_file::check(&file).err().map(|error| (file, error)))
}

pub fn open_in_memory() -> rusqlite::Result<Store> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection, &Observer::none())?;
    Ok(Store::new(OpenDatabase::new(connection, CommitMark::none(), None, None), false))
}

pub fn open_existing(directory: &Path, writable: bool) -> Result<Option<Store>, OpenError> {
    let path = directory.join(DATABASE);
    let cannot_read =
        |error: &dyn Cause| OpenError::CannotRead { path: path.clone(), reason: error.reason() };
    if !path.try_exists().map_err(|error| cannot_read(&error))? {
        return Ok(None);
    }
    if let Some((path, error)) = irregular(&path) {
        return Err(OpenError::CannotRead { path, reason: error.reason() });
    }
    let cannot_use = |error: rusqlite::Error| match is_damage(&error) {
        true => cannot_read(&"the database is damaged; `statusd run` moves it aside and creates a new one"),
        false => cannot_read(&error),
    };
    let mode = if writable { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let connection =
        Connection::open_with_flags(&path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(cannot_use)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(cannot_use)?;
    let (id, version) = identity(&connection).map_err(cannot_use)?;
    check_identity(&path, id, version)?;
    if version < known_version() {
        // Only the daemon migrates; a reader would not find all columns.
        let reason =
            "the schema is older than this version; start `statusd run` once to migrate it".to_owned();
        return Err(OpenError::CannotRead { path, reason });
    }
    let database = if writable {
        connection.pragma_update(None, "wal_autocheckpoint", AUTOCHECKPOINT_PAGES).map_err(cannot_use)?;
        // The row is written even without a mark.
        let mark = CommitMark::beside(&path).unwrap_or_else(|_| CommitMark::none());
        OpenDatabase::new(connection, mark, None, None)
    } else {
        OpenDatabase::read_only(connection).map_err(cannot_use)?
    };
    Ok(Some(Store::new(database, !writable)))
}

/// Takes the lock of a directory: one daemon each.
pub(super) fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK);
    let reason = |error: io::Error| OpenError::CannotWrite { path: path.clone(), reason: error.reason() };
    let file = private().open(&path).map_err(reason)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(reason(error)),
    }
}

fn check_identity(path: &Path, id: i32, version: i32) -> Result<(), OpenError> {
    if id != APPLICATION_ID {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    if version > known_version() {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known: known_version() });
    }
    Ok(())
}
