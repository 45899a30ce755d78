//! A mark beside the database: how many transactions it had at least.
//!
//! Written after each commit and never synced, so it may be behind the database and is never ahead of
//! it, unless the database lost something: it was emptied, deleted, or is an older copy. Invariant: a
//! mark that cannot be read or is of another database says nothing (`tests/damage.rs`).

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The file's name in the state directory.
pub const MARK: &str = "statusd.mark";
const MAX_BYTES: u64 = 1_024;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Of the database; each has its own.
    pub seed: u64,
    pub transactions: u64,
}

pub struct Mark {
    file: Option<File>,
    noted: Cell<Option<Noted>>,
}

impl Mark {
    /// A mark that is never written: of a database that has no file, or of a reader.
    pub fn none() -> Mark {
        Mark { file: None, noted: Cell::new(None) }
    }

    pub fn open(directory: &Path) -> io::Result<Mark> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let file = options.open(directory.join(MARK))?;
        let mut text = String::new();
        // What is no text is no mark.
        let read = (&file).take(MAX_BYTES).read_to_string(&mut text);
        let noted = read.ok().and_then(|_| parse(&text));
        Ok(Mark { file: Some(file), noted: Cell::new(noted) })
    }

    pub fn noted(&self) -> Option<Noted> {
        self.noted.get()
    }

    /// Never backwards: another process may have written a newer one.
    pub fn note(&self, noted: Noted) {
        self.noted.set(Some(noted));
        let Some(file) = &self.file else { return };
        if let Err(error) = file.write_all_at(text(noted).as_bytes(), 0) {
            tracing::warn!("cannot write {MARK}: {error}");
        }
    }
}

/// Twice the same line: one flipped bit must not make a mark that says something else.
fn text(noted: Noted) -> String {
    let line = format!("{:020} {:020}\n", noted.seed, noted.transactions);
    format!("{line}{line}")
}

fn parse(text: &str) -> Option<Noted> {
    let mut lines = text.lines();
    let (first, second) = (lines.next()?, lines.next()?);
    let (seed, transactions) = first.split_once(' ')?;
    (first == second).then_some(Noted { seed: seed.parse().ok()?, transactions: transactions.parse().ok()? })
}
