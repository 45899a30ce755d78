//! Restores the database file if it is deleted or replaced while the daemon has it open.
//!
//! The open connection still has all rows, but they would be lost at the stop. The next write restores
//! the file under its name with all rows (`tests/it/damage.rs`).

use std::cell::{Cell, OnceCell};
use std::fs;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, Result, ffi};

use super::connection::reopen;
use super::replacement::{copy_complete, put_in_place};

/// The connection to the database; the newest one, if the file was rewritten.
pub struct Connections {
    connection: Connection,
    next: OnceCell<Box<Connections>>,
}

impl Connections {
    pub fn new(connection: Connection) -> Connections {
        Connections { connection, next: OnceCell::new() }
    }

    fn push(&self, connection: Connection) {
        match self.next.get() {
            Some(next) => next.push(connection),
            None => drop(self.next.set(Box::new(Connections::new(connection)))),
        }
    }
}

impl Deref for Connections {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.next.get().map_or(&self.connection, |next| next)
    }
}

/// A path, and the file that had it when the database was opened.
pub struct DatabaseFile {
    path: PathBuf,
    file: Cell<(u64, u64)>,
}

impl DatabaseFile {
    pub fn of(path: &Path) -> io::Result<DatabaseFile> {
        Ok(DatabaseFile { path: path.to_owned(), file: Cell::new(file_at(path)?) })
    }

    /// Rewrites the file if it is missing or another one. Moves a replacement aside.
    pub fn keep(&self, connections: &Connections) -> Result<()> {
        match file_at(&self.path) {
            Ok(file) if file == self.file.get() => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failure(&error)),
            Ok(_) | Err(_) => {}
        }
        copy_complete(connections, &self.path).map_err(|error| failure(&*error))?;
        // Otherwise closing the old connection deletes the WAL of the new file.
        connections.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        put_in_place(&self.path, Timestamp::now()).map_err(|error| failure(&error))?;
        connections.push(reopen(&self.path)?);
        self.file.set(file_at(&self.path).map_err(|error| failure(&error))?);
        tracing::error!(
            "{} was deleted or replaced while statusd was running; it was rewritten, nothing is lost",
            self.path.display()
        );
        Ok(())
    }
}

/// Returns device and inode.
fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn failure(error: &dyn std::fmt::Display) -> Error {
    let reason = format!("the database file is gone and cannot be rewritten: {error}");
    Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CANTOPEN), Some(reason))
}
