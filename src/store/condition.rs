//! Checks the condition of a database file before anything is written to it.
//!
//! An I/O error is not damage. Damage must be found by several new connections. Moves, repairs and deletes
//! nothing (`tests/it/damage.rs`).

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::disk::{BUSY_TIMEOUT, side_file};
use super::migration::{APPLICATION_ID, identity, known_version, reference};
use super::observer::{Observer, OpenStep};
use super::open_error::OpenError;
use crate::cause::Cause;

/// The number of failed checks that prove damage. One successful check ends them.
const CHECKS: usize = 3;
const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Findings that are requested from SQLite: enough to find an I/O error among them.
const FINDINGS_MAX: u32 = 20;
/// Counts our tables. No other program has all of them.
const OURS: &str = "SELECT count(*) FROM sqlite_schema WHERE type = 'table'
    AND name IN ('meta', 'feed', 'service', 'outage', 'change', 'notice', 'delivery', 'coverage')";
const OURS_COUNT: u32 = 8;
/// Constant parts of the header of our files, as offset and bytes: magic, page size, reserved space and
/// payload fractions, schema format, no auto-vacuum, text encoding.
pub const HEADER: [(usize, &[u8]); 7] = [
    (0, MAGIC),
    (16, &[0x10, 0x00]),
    (20, &[0, 64, 32, 32]),
    (44, &[0, 0, 0, 4]),
    (52, &[0, 0, 0, 0]),
    (56, &[0, 0, 0, 1]),
    (64, &[0, 0, 0, 0]),
];
/// File format versions: for writing and for reading, both 1 (rollback journal) or both 2 (WAL).
pub const FORMATS: std::ops::Range<usize> = 18..20;
const APPLICATION_ID_AT: usize = 68;

pub enum Condition {
    New,
    Sound,
    /// The fault, for the log.
    Damaged(String),
}

/// Checks the file. One successful check is enough; damage needs [`CHECKS`] failed ones.
pub fn inspect(path: &Path, observer: &Observer) -> Result<Condition, OpenError> {
    let mut damage = None;
    let mut failed = None;
    for _ in 0..CHECKS {
        match check(path, observer) {
            Ok(Condition::Damaged(reason)) => damage = Some(reason),
            Ok(sound) => return Ok(sound),
            Err(error) => failed = Some(error),
        }
    }
    match (failed, damage) {
        (Some(error), _) => Err(error),
        (None, damage) => Ok(Condition::Damaged(damage.unwrap_or_default())),
    }
}

fn check(path: &Path, observer: &Observer) -> Result<Condition, OpenError> {
    let cannot_read =
        |error: &dyn Cause| OpenError::CannotRead { path: path.to_owned(), reason: error.reason() };
    let Some(header) = header(path).map_err(|error| cannot_read(&error))? else { return Ok(Condition::New) };
    if let Some(fault) = header_fault(&header) {
        return Ok(Condition::Damaged(fault));
    }
    match examine(path, observer) {
        Ok(Verdict::Empty) => Ok(Condition::New),
        Ok(Verdict::Sound) => Ok(Condition::Sound),
        Ok(Verdict::Damaged(reason)) => Ok(Condition::Damaged(reason)),
        Ok(Verdict::Unreadable(reason)) => Err(OpenError::CannotRead { path: path.to_owned(), reason }),
        Ok(Verdict::Newer(found)) => {
            Err(OpenError::Newer { path: path.to_owned(), found, known: known_version() })
        }
        Ok(Verdict::Foreign) => Err(OpenError::Foreign(path.to_owned())),
        Err(error) if is_damage(&error) || is_ours(&header) && is_schema_error(&error) => {
            Ok(Condition::Damaged(error.to_string()))
        }
        Err(error) if is_schema_error(&error) => Err(OpenError::Foreign(path.to_owned())),
        Err(error) => Err(cannot_read(&error)),
    }
}

/// Returns the header; `None` if the file is missing or empty.
fn header(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut header = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(HEADER_BYTES as u64).read_to_end(&mut header)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok((!header.is_empty()).then_some(header))
}

fn is_ours(header: &[u8]) -> bool {
    header.get(APPLICATION_ID_AT..APPLICATION_ID_AT + 4) == Some(&APPLICATION_ID.to_be_bytes())
}

/// Returns the fault in the header of our file, or of a file that is not a database.
fn header_fault(header: &[u8]) -> Option<String> {
    if header.len() < HEADER_BYTES {
        return Some("the file is truncated".to_owned());
    }
    if !header.starts_with(MAGIC) {
        return Some("the file does not start with an SQLite header".to_owned());
    }
    let is_wrong = |(at, bytes): &(usize, &[u8])| !header[*at..].starts_with(bytes);
    let formats = &header[FORMATS];
    let is_malformed = HEADER.iter().any(is_wrong) || (formats != [1, 1] && formats != [2, 2]);
    (is_ours(header) && is_malformed).then(|| "the header is damaged".to_owned())
}

enum Verdict {
    /// Without tables: statusd was killed while it created the file.
    Empty,
    Sound,
    Damaged(String),
    /// An I/O error during the check.
    Unreadable(String),
    Newer(i32),
    Foreign,
}

fn examine(path: &Path, observer: &Observer) -> rusqlite::Result<Verdict> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let has_wal = side_file(path, "-wal").exists();
    let mut connection = Connection::open_with_flags(path, flags)?;
    observer.attach(&mut connection, OpenStep::Checking)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Otherwise closing checkpoints a leftover WAL into a file that may not be ours.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_wal)?;
    let (id, version) = identity(&connection)?;
    let count = |sql: &str| connection.query_row(sql, params![], |row| row.get::<_, u32>(0));
    let has_our_tables = count(OURS)? == OURS_COUNT;
    let findings = findings(&connection)?;
    if let Some(finding) = unreadable(&findings) {
        return Ok(Verdict::Unreadable(finding));
    }
    if !findings.is_empty() {
        return Ok(Verdict::Damaged(findings.join("; ")));
    }
    if id == APPLICATION_ID {
        return schema_verdict(&connection, version);
    }
    let is_empty = (id, version) == (0, 0) && count("SELECT count(*) FROM sqlite_schema")? == 0;
    Ok(match has_our_tables.then(|| schema_verdict(&connection, version)).transpose()? {
        Some(Verdict::Sound) => Verdict::Damaged("the application id is damaged".to_owned()),
        _ if is_empty => Verdict::Empty,
        _ => Verdict::Foreign,
    })
}

/// Derives the version from the schema itself, so that a version with a flipped bit is not mistaken for that
/// of a newer statusd.
fn schema_verdict(connection: &Connection, version: i32) -> rusqlite::Result<Verdict> {
    let found = schema(connection)?;
    let fits = |known: &i32| -> rusqlite::Result<bool> {
        let expected = schema(&reference(*known)?)?;
        Ok(expected.iter().all(|entry| found.contains(entry))
            && (version == *known || expected.len() == found.len()))
    };
    for known in (1..=known_version()).rev() {
        if fits(&known)? {
            return Ok(if version == known {
                Verdict::Sound
            } else if version > known_version() && (version ^ known).count_ones() > 1 {
                Verdict::Newer(version)
            } else {
                Verdict::Damaged(format!("the schema is version {known}, but the header says {version}"))
            });
        }
    }
    Ok(if version > known_version() {
        Verdict::Newer(version)
    } else {
        Verdict::Damaged("the schema is damaged".to_owned())
    })
}

/// Type, name, table and SQL of a schema entry.
type Entry = (String, String, String, Option<String>);

fn schema(connection: &Connection) -> rusqlite::Result<Vec<Entry>> {
    let sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'";
    let mut statement = connection.prepare(sql)?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?.collect()
}

/// Returns the faults that SQLite finds; empty if there are none.
fn findings(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = format!("PRAGMA integrity_check({FINDINGS_MAX})");
    let mut findings: Vec<String> =
        connection.prepare(&sql)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    findings.retain(|finding| finding != "ok");
    let orphans = connection.prepare("PRAGMA foreign_key_check")?.exists([])?;
    findings.extend(orphans.then(|| "a referenced row is missing".to_owned()));
    Ok(findings)
}

/// Returns the finding that is an I/O error. `error code=11` and 26 are damage, others are not.
fn unreadable(findings: &[String]) -> Option<String> {
    let is_io = |finding: &&String| {
        finding.split("error code=").skip(1).any(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u32>().is_ok_and(|code| !matches!(code & 0xff, 11 | 26))
        })
    };
    findings.iter().find(is_io).cloned()
}

pub fn is_damage(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(code, ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt),
        // An error of rusqlite: a value has an unexpected type, size or encoding.
        None => !is_schema_error(error),
    }
}

/// Returns whether a correct statement failed, so that the schema must be damaged.
fn is_schema_error(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqlInputError { .. })
        || matches!(error.sqlite_error_code(), Some(ErrorCode::Unknown))
        || matches!(error.sqlite_error().map(|error| error.extended_code), Some(1))
}

/// Overwrites the constant parts of the header, and the number of pages.
pub fn repair_header(path: &Path, has_wal: bool) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let format = if has_wal { 2 } else { 1 };
    let pages = u32::try_from(length / 4_096).unwrap_or(u32::MAX).to_be_bytes();
    let parts = HEADER.iter().map(|(at, bytes)| (*at, bytes.to_vec()));
    for (at, bytes) in parts.chain([(FORMATS.start, vec![format; FORMATS.len()]), (28, pages.to_vec())]) {
        file.seek(SeekFrom::Start(at as u64))?;
        file.write_all(&bytes)?;
    }
    Ok(())
}
