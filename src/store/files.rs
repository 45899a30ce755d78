//! The database as a file: lock, rights, age of its schema, damage.
//!
//! A database that a newer statusd wrote, or that is not ours, is refused untouched. A damaged one
//! is moved aside whole, never deleted.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _, OpenOptionsExt, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::Store;
use crate::cause::Cause;
use crate::regular_file;

/// The file's name in the state directory.
pub const DATABASE: &str = "statusd.db";
pub(super) const LOCK: &str = "statusd.lock";
/// "stsd", in the file's header: tells our files from other people's.
const APPLICATION_ID: i32 = 0x7374_7364;
/// From nothing to schema 1, from 1 to 2 and so on.
const MIGRATIONS: [&str; 4] = [
    include_str!("schema-1.sql"),
    include_str!("schema-2.sql"),
    include_str!("schema-3.sql"),
    include_str!("schema-4.sql"),
];
/// The daemon stands still meanwhile, and has 5 s in all to stop.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);
/// Steps of SQLite's machine between two words to an [`Observer`]: about a second.
const OBSERVED_STEPS: i32 = 20_000_000;
/// What the names of our files in the state directory begin with.
const OURS: [&str; 2] = ["statusd.", "releases.json"];
const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];
const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Hears that a migration goes on; on whatever thread it likes.
pub type Observer = Arc<dyn Fn() + Send + Sync>;

/// An open database, and whether it had to start anew.
pub struct Opened {
    pub store: Store,
    /// Where a damaged one was moved, now or by a run that told nobody.
    pub damaged: Option<PathBuf>,
}

/// Why the database could not be opened. `Display` is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "another statusd is running on {0}; stop it first, or give this one a state directory of its own"
    )]
    Locked(PathBuf),
    #[error(
        "{path} was written by a newer statusd (schema {found}, this one knows {known}); upgrade statusd"
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
    let damaged = match inspect(&path)? {
        Condition::Sound | Condition::New => None,
        Condition::Damaged => {
            let kept = set_aside(&path, now).map_err(|error| cannot_write(&path, &error))?;
            Some(kept)
        }
    };
    // SQLite gives its side files the rights of the main file, so that has to exist first.
    private().open(&path).map_err(|error| cannot_write(&path, &error))?;
    let mut connection = Connection::open(&path).map_err(|error| cannot_write(&path, &error))?;
    prepare(&connection)
        .and_then(|()| migrate(&mut connection, observer))
        .map_err(|error| cannot_write(&path, &error))?;
    // A history without a single line beside a damaged one: we died before we could say so.
    let is_blank = is_blank(&connection).map_err(|error| cannot_write(&path, &error))?;
    let damaged = damaged.or_else(|| if is_blank { newest_set_aside(directory) } else { None });
    Ok(Opened { store: Store { connection, _lock: Some(lock) }, damaged })
}

/// Takes the rights of other users away from a directory that was there before. One that holds other
/// files too may be shared on purpose: a warning.
fn make_private(directory: &Path) -> io::Result<()> {
    let metadata = fs::metadata(directory)?;
    let mode = metadata.permissions().mode() & 0o7777;
    let shown = directory.display();
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        tracing::warn!(
            "{shown} belongs to another user, who can change what statusd remembers; choose another state directory"
        );
    } else if mode & 0o077 == 0 {
        // As it should be.
    } else if mode & 0o1000 == 0
        && holds_only_ours(directory)?
        && fs::set_permissions(directory, Permissions::from_mode(0o700)).is_ok()
    {
        tracing::warn!(
            "{shown} had mode {mode:04o}; it has 0700 now, so that no other user can read or change it"
        );
    } else {
        tracing::warn!(
            "{shown} has mode {mode:04o}, so that other users may read or change what statusd remembers; \
             give it a state directory of its own"
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

/// What would be waited for: SQLite opens its files without a look. The first, with the reason.
fn irregular(database: &Path) -> Option<(PathBuf, io::Error)> {
    let side = SIDE_FILES.map(|suffix| PathBuf::from(format!("{}{suffix}", database.display())));
    let lock = database.with_file_name(LOCK);
    let files = [database.to_owned(), lock].into_iter().chain(side);
    files.into_iter().find_map(|file| regular_file::check(&file).err().map(|error| (file, error)))
}

pub fn throw_away() -> rusqlite::Result<Store> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection, None)?;
    Ok(Store { connection, _lock: None })
}

pub fn attach(directory: &Path, writable: bool) -> Result<Option<Store>, OpenError> {
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
        true => cannot_read(&"it is damaged; `statusd run` moves it aside and starts a new one"),
        false => cannot_read(&error),
    };
    let mode = if writable { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let connection =
        Connection::open_with_flags(&path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(cannot_use)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(cannot_use)?;
    let (id, version) = identity(&connection).map_err(cannot_use)?;
    refuse_strangers(&path, id, version)?;
    if version < known_version() {
        // The daemon migrates; a reader that comes first would find half of what it asks for.
        let reason = "it is of an older schema; start `statusd run` once to bring it up to date".to_owned();
        return Err(OpenError::CannotRead { path, reason });
    }
    Ok(Some(Store { connection, _lock: None }))
}

/// One daemon a directory, and nobody else who writes more than rows.
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

enum Condition {
    New,
    Sound,
    Damaged,
}

/// Looks at the file before anything writes to it.
fn inspect(path: &Path) -> Result<Condition, OpenError> {
    let cannot_read =
        |error: &dyn Cause| OpenError::CannotRead { path: path.to_owned(), reason: error.reason() };
    let mut header = Vec::new();
    match File::open(path) {
        Ok(file) => {
            file.take(HEADER_BYTES as u64).read_to_end(&mut header).map_err(|error| cannot_read(&error))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Condition::New),
        Err(error) => return Err(cannot_read(&error)),
    };
    if header.is_empty() {
        return Ok(Condition::New);
    }
    if !header.starts_with(MAGIC) {
        return Ok(Condition::Damaged);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let has_wal = PathBuf::from(format!("{}-wal", path.display())).exists();
    let checked = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Closing would move a leftover WAL into the file, which may not be ours.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_wal)?;
        let (id, version) = identity(&connection)?;
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", params![], |row| row.get(0))?;
        let tables: u32 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", params![], |row| row.get(0))?;
        Ok((id, version, tables, verdict == "ok"))
    });
    match checked {
        Ok((_, _, _, false)) => Ok(Condition::Damaged),
        // Nothing in it: we died while creating it.
        Ok((0, 0, 0, true)) => Ok(Condition::New),
        Ok((id, version, _, true)) => refuse_strangers(path, id, version).map(|()| Condition::Sound),
        Err(error) if is_damage(&error) => Ok(Condition::Damaged),
        Err(error) => Err(cannot_read(&error)),
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

fn identity(connection: &Connection) -> rusqlite::Result<(i32, i32)> {
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

fn known_version() -> i32 {
    MIGRATIONS.len() as i32
}

/// Moves the file and SQLite's side files to names that carry the time.
fn set_aside(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let renamed = |suffix: &str| PathBuf::from(format!("{}{suffix}.damaged-{stamp}", path.display()));
    for suffix in ["-wal", "-shm"] {
        let side = PathBuf::from(format!("{}{suffix}", path.display()));
        match std::fs::rename(&side, renamed(suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    std::fs::rename(path, renamed(""))?;
    Ok(renamed(""))
}

fn is_blank(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM change)", params![], |row| row.get(0))
}

fn newest_set_aside(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?.flatten();
    let prefix = format!("{DATABASE}.damaged-");
    entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
        .max()
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // With WAL and NORMAL a committed transaction can be lost at power loss.
    connection.pragma_update(None, "synchronous", "FULL")?;
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

/// Does `work`, which may be one long statement, and says again and again that it goes on.
fn observed(
    connection: &mut Connection,
    observer: &Observer,
    work: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let observer = Arc::clone(observer);
    let goes_on = move || {
        observer();
        // To SQLite: do not break off.
        false
    };
    connection.progress_handler(OBSERVED_STEPS, Some(goes_on))?;
    let worked = work(connection);
    connection.progress_handler(0, None::<fn() -> bool>)?;
    worked
}

/// Each step in a transaction of its own together with its number, so that a kill between two
/// steps resumes at the right one.
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

    /// How often an observer hears of it that a database of schema `version` is opened.
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
    fn each_step_of_a_migration_is_told_before_it_begins() {
        check(0, 0);
        check(1, MIGRATIONS.len() - 1);
        check(2, MIGRATIONS.len() - 2);
        check(MIGRATIONS.len(), 0);
    }

    #[test]
    fn a_long_statement_is_heard_to_go_on() {
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
        assert_eq!(count.load(Ordering::Relaxed), heard, "nobody listens afterwards");
    }
}
