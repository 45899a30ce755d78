//! The settings of a connection to the database.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::disk::BUSY_TIMEOUT;
use super::root_pages;

/// Checkpoints after each commit, so that a lost or damaged WAL costs at most the newest commit. Writes
/// are rare, so the second sync is cheap.
pub const AUTOCHECKPOINT_PAGES: u32 = 1;

/// Opens the database that [`put_in_place`](super::replacement::put_in_place) left at `path`.
pub fn reopen(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    prepare(&connection)?;
    root_pages::note(&connection)?;
    Ok(connection)
}

/// Applies the settings of every connection of the daemon.
pub fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Otherwise SQLite replans each cached statement when a bound value changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // With WAL and NORMAL a committed transaction can be lost at power loss.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", AUTOCHECKPOINT_PAGES)?;
    connection.pragma_update(None, "foreign_keys", true)
}
