//! Opens the database file: lock, permissions, identity, damage.
//!
//! The database of a newer statusd or of another program is rejected unchanged. A damaged one is replaced
//! (`replacement`).

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _, OpenOptionsExt, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};

use super::commit_mark::{self, CommitMark, MARK, Noted};
use super::condition::{Condition, inspect, is_damage, read_all, side_file};
use super::database_file::DatabaseFile;
use super::{Store, kv, rescue, root_pages};
use crate::cause::Cause;
use crate::regular_file;

/// The file's name in the state directory.
pub const DATABASE: &str = "statusd.db";
pub(super) const LOCK: &str = "statusd.lock";
/// "stsd" in the file's header; identifies our files.
pub(super) const APPLICATION_ID: i32 = 0x7374_7364;
/// The migrations to schema 1, 2 and so on.
const MIGRATIONS: [&str; 5] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    concat!(include_str!("schema/5.sql"), include_str!("renamed-words.sql")),
];
/// Short, because the daemon blocks meanwhile and has 5 s in all to stop.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_millis(500);
/// Checkpoints after each commit, so that a lost or damaged WAL costs at most the newest commit. Writes
/// are rare, so the second sync is cheap.
const AUTOCHECKPOINT_PAGES: u32 = 1;
/// Virtual machine steps of SQLite between two calls of an [`Observer`]: about a second.
const OBSERVED_STEPS: i32 = 20_000_000;
/// Prefixes of our files in the state directory.
const OURS: [&str; 2] = ["statusd.", "releases.json"];
/// The maximum lead of a stamp. A newest stamp further ahead would make all documents stale.
const STAMP_AHEAD_MAX: SignedDuration = SignedDuration::from_hours(26);
/// Name in `meta`: the path of the damaged database, until the loss is announced.
const LOST: &str = "lost";
/// Suffixes of a new database that is being filled, and of a complete one that is to be renamed.
const PART: &str = ".part";
const COMPLETE: &str = ".new";
const SCRATCH: &str = ".scratch";
const SIDE_FILES: [&str; 6] = ["-wal", "-shm", "-journal", PART, COMPLETE, SCRATCH];

/// Callback during a migration. May be called from any thread.
pub type Observer = Arc<dyn Fn() + Send + Sync>;

/// An open database, and a loss to announce.
pub struct Opened {
    pub store: Store,
    /// A loss that is not announced yet; record it with [`Store::record_change`]. Holds the path of the
    /// damaged database; empty if the file was deleted, emptied or replaced by an older copy.
    pub lost: Option<String>,
}

/// The reason why the database cannot be opened. `Display` is one line with the next step.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another statusd is running on {0}; stop it first, or configure another state directory")]
    Locked(PathBuf),
    #[error(
        "{path} was written by a newer statusd (schema {found}; this version supports up to {known}); upgrade statusd"
    )]
    Newer { path: PathBuf, found: i32, known: i32 },
    #[error("{0} is not a statusd database; move it away or choose another state directory")]
    Foreign(PathBuf),
    #[error("cannot write {path}: {reason}")]
    CannotWrite { path: PathBuf, reason: String },
    #[error("cannot read {path}: {reason}")]
    CannotRead { path: PathBuf, reason: String },
}

pub fn open(directory: &Path, now: Timestamp, observer: Option<&Observer>) -> Result<Opened, OpenError> {
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
    if !commit_mark::is_sealed(&path)
        && let Condition::Damaged(reason) = inspect(&path)?
    {
        replace(&path, &reason, now)?;
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
    Ok(Opened { store: Store::new(connection, mark, Some(file), Some(lock)), lost })
}

/// Replaces a damaged database by a new one with all readable rows.
fn replace(path: &Path, reason: &str, now: Timestamp) -> Result<(), OpenError> {
    let wal = side_file(path, "-wal");
    for file in [path, &wal] {
        read_all(file).map_err(|error| OpenError::CannotRead {
            path: file.to_owned(),
            reason: format!("{error}; nothing was changed, check the disk"),
        })?;
    }
    let cannot_write = |reason: String| OpenError::CannotWrite { path: path.to_owned(), reason };
    let kept = kept_as(path, now);
    let part = side_file(path, PART);
    let carried = remove(&part)
        .and_then(|()| private().open(&part))
        .map_err(|error| cannot_write(error.reason()))
        .and_then(|_| {
            let mut new = Connection::open(&part).map_err(|error| cannot_write(error.reason()))?;
            migrate(&mut new, None).map_err(|error| cannot_write(error.reason()))?;
            let carried = rescue::carry_over(path, &wal, &side_file(path, SCRATCH), &new)
                .map_err(|error| cannot_write(error.reason()))?;
            if carried.lost > 0 || carried.rows == 0 {
                kv::set(&new, LOST, kept.display())
                    .and_then(|()| begin_anew(&new))
                    .map_err(|error| cannot_write(error.reason()))?;
            }
            Ok(carried)
        })?;
    tracing::error!(
        "the database was damaged ({reason}); kept as {}; rows recovered into a new database: {}, lost: {}",
        kept.display(),
        carried.rows,
        carried.lost
    );
    std::fs::rename(&part, side_file(path, COMPLETE))
        .and_then(|()| put_in_place(path, now))
        .map_err(|error| cannot_write(error.reason()))
}

/// Moves the old database aside and renames a complete new one, also after a kill between these steps.
pub(super) fn put_in_place(path: &Path, now: Timestamp) -> io::Result<()> {
    let complete = side_file(path, COMPLETE);
    if !complete.try_exists()? {
        return Ok(());
    }
    set_aside(path, now)?;
    std::fs::rename(&complete, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Copies an open database to the file that [`put_in_place`] renames.
pub(super) fn copy_complete(
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
    Ok(std::fs::rename(&part, side_file(path, COMPLETE))?)
}

/// Opens the database that [`put_in_place`] left at `path`.
pub(super) fn reopen(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    prepare(&connection)?;
    root_pages::note(&connection)?;
    Ok(connection)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Returns the loss to announce; see [`Opened::lost`].
fn lost(connection: &Connection, noted: Option<Noted>) -> rusqlite::Result<Option<String>> {
    if let Some(kept) = kv::get(connection, LOST)? {
        return Ok(Some(kept));
    }
    let Some(noted) = noted else { return Ok(None) };
    let found = super::noted(connection)?;
    let is_older = noted.seed == found.seed && noted.transactions > found.transactions;
    let is_anew = noted.seed != found.seed && found.transactions == 0;
    if !is_older && !is_anew {
        return Ok(None);
    }
    tracing::error!(
        "the database {}; the rows written since are lost",
        if is_anew { "was deleted or emptied" } else { "is an older copy, or its WAL was lost" }
    );
    begin_anew(connection)?;
    Ok(Some(String::new()))
}

/// Treats the feeds as new: past events go to the history silently.
fn begin_anew(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE feed SET first_accepted_at = NULL", []).map(drop)
}

/// Marks the loss as announced.
pub(super) fn told_of_loss(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM meta WHERE name = ?1", [LOST]).map(drop)
}

/// Removes newest stamps too far ahead, because they would make every document stale.
fn limit_stamps(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let limit = now.checked_add(STAMP_AHEAD_MAX).unwrap_or(Timestamp::MAX);
    let sql = "UPDATE feed SET stamp = NULL WHERE stamp > ?1";
    connection.execute(sql, [limit.to_string()]).map(drop)
}

/// Returns an empty database in memory with the schema of a version.
pub(super) fn reference(version: i32) -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    for sql in MIGRATIONS.iter().take(usize::try_from(version).unwrap_or_default()) {
        connection.execute_batch(sql)?;
    }
    Ok(connection)
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
    migrate(&mut connection, None)?;
    Ok(Store::new(connection, CommitMark::none(), None, None))
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
    refuse_strangers(&path, id, version)?;
    if version < known_version() {
        // Only the daemon migrates; a reader would not find all columns.
        let reason =
            "the schema is older than this version; start `statusd run` once to migrate it".to_owned();
        return Err(OpenError::CannotRead { path, reason });
    }
    let mark = if writable {
        connection.pragma_update(None, "wal_autocheckpoint", AUTOCHECKPOINT_PAGES).map_err(cannot_use)?;
        // The row is written even without a mark.
        CommitMark::beside(&path).unwrap_or_else(|_| CommitMark::none())
    } else {
        CommitMark::none()
    };
    Ok(Some(Store::new(connection, mark, None, None)))
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

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    options
}

pub(super) fn identity(connection: &Connection) -> rusqlite::Result<(i32, i32)> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), params![], |row| row.get(0));
    Ok((pragma("application_id")?, pragma("user_version")?))
}

fn refuse_strangers(path: &Path, id: i32, version: i32) -> Result<(), OpenError> {
    if id != APPLICATION_ID {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    if version > known_version() {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known: known_version() });
    }
    Ok(())
}

pub(super) fn known_version() -> i32 {
    MIGRATIONS.len() as i32
}

fn kept_as(path: &Path, now: Timestamp) -> PathBuf {
    side_file(path, &format!(".damaged-{}", now.strftime("%Y%m%dT%H%M%SZ")))
}

/// Renames the file and SQLite's side files, if they exist, to names with the time.
fn set_aside(path: &Path, now: Timestamp) -> io::Result<()> {
    for suffix in ["-wal", "-shm", ""] {
        let side = side_file(path, suffix);
        match std::fs::rename(&side, kept_as(&side, now)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Otherwise SQLite replans each cached statement when a bound value changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // With WAL and NORMAL a committed transaction can be lost at power loss.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", AUTOCHECKPOINT_PAGES)?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn migrate(connection: &mut Connection, observer: Option<&Observer>) -> rusqlite::Result<()> {
    let (_, version) = identity(connection)?;
    // A new database takes no time.
    match observer.filter(|_| (1..known_version()).contains(&version)) {
        Some(observer) => {
            observed(connection, observer, |connection| migrate_from(version, connection, &|| observer()))
        }
        None => migrate_from(version, connection, &|| ()),
    }
}

/// Runs `work` and calls the observer periodically, also within one long statement.
fn observed(
    connection: &mut Connection,
    observer: &Observer,
    work: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let observer = Arc::clone(observer);
    let goes_on = move || {
        observer();
        // Tells SQLite not to interrupt the statement.
        false
    };
    connection.progress_handler(OBSERVED_STEPS, Some(goes_on))?;
    let worked = work(connection);
    connection.progress_handler(0, None::<fn() -> bool>)?;
    worked
}

/// Runs each step in its own transaction together with its number, so that a killed migration resumes
/// at the right step.
fn migrate_from(version: i32, connection: &Connection, begins: &dyn Fn()) -> rusqlite::Result<()> {
    for (number, sql) in (1..).zip(MIGRATIONS).filter(|(number, _)| *number > version) {
        begins();
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(sql)?;
        if number == 1 {
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            let seed = fastrand::u64(..).to_string();
            transaction.execute("INSERT INTO meta (name, value) VALUES ('seed', ?1)", [seed])?;
        }
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tempfile::TempDir;

    use super::*;

    fn counting() -> (Observer, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let counting = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        (Arc::new(counting), count)
    }

    /// Checks how often the observer is called when a database of schema `version` is opened.
    #[track_caller]
    fn check(version: usize, expected: usize) {
        let directory = TempDir::new().expect("a directory");
        if version > 0 {
            let connection = Connection::open(directory.path().join(DATABASE)).expect("a database");
            for sql in &MIGRATIONS[..version] {
                connection.execute_batch(sql).expect("a schema");
            }
            connection.pragma_update(None, "application_id", APPLICATION_ID).expect("written");
            connection.pragma_update(None, "user_version", version as i32).expect("written");
        }
        let (observer, count) = counting();
        assert!(open(directory.path(), Timestamp::UNIX_EPOCH, Some(&observer)).is_ok());
        assert_eq!(count.load(Ordering::Relaxed), expected, "schema {version}");
    }

    #[test]
    fn the_observer_is_called_before_each_migration_step() {
        check(0, 0);
        check(1, MIGRATIONS.len() - 1);
        check(2, MIGRATIONS.len() - 2);
        check(MIGRATIONS.len(), 0);
    }

    #[test]
    fn the_observer_is_called_during_a_long_statement() {
        let (observer, count) = counting();
        let mut connection = Connection::open_in_memory().expect("a database");
        let long = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000000)
            SELECT max(i) FROM n";
        let counted = observed(&mut connection, &observer, |connection| {
            connection.query_row(long, params![], |row| row.get::<_, i64>(0)).map(drop)
        });
        assert!(counted.is_ok());
        let heard = count.load(Ordering::Relaxed);
        assert!(heard > 0);
        connection.query_row(long, params![], |row| row.get::<_, i64>(0)).expect("a number");
        assert_eq!(count.load(Ordering::Relaxed), heard, "not called afterwards");
    }
}
