//! A file next to the database with its minimum number of transactions.
//!
//! Written after each commit and never synced. So a mark ahead of the database proves a loss: the database
//! was emptied, deleted or replaced by an older copy. A mark that is unreadable or belongs to another
//! database is ignored (`tests/it/damage.rs`).
//!
//! A clean stop seals a large database with a third line: length and digest of the file. An unchanged
//! sealed file skips the check at the start, which takes seconds.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::disk::{each_chunk, side_file};
use super::observer::{Observer, OpenStep};

/// The file's name in the state directory.
pub const MARK: &str = "statusd.mark";
const MAX_BYTES: u64 = 1_024;
/// Smaller databases are checked at each start.
const SEALED_FROM_BYTES: u64 = 16 * 1024 * 1024;

/// The contents of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The seed of the database, which identifies it.
    pub seed: u64,
    pub transactions: u64,
}

pub struct CommitMark {
    file: Option<File>,
    /// The database, if closing it seals it: only for the process that checked it.
    sealed: Option<PathBuf>,
    noted: Cell<Option<Noted>>,
}

impl CommitMark {
    /// Returns a mark that is never written, for databases in memory and for readers.
    pub fn none() -> CommitMark {
        CommitMark { file: None, sealed: None, noted: Cell::new(None) }
    }

    /// Opens the mark of the daemon.
    pub fn open(database: &Path) -> io::Result<CommitMark> {
        let mut mark = CommitMark::beside(database)?;
        mark.sealed = Some(database.to_owned());
        Ok(mark)
    }

    /// Opens the mark for a process that writes rows and has not checked the file.
    pub fn beside(database: &Path) -> io::Result<CommitMark> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let file = options.open(database.with_file_name(MARK))?;
        let noted = parse(&read(&file));
        Ok(CommitMark { file: Some(file), sealed: None, noted: Cell::new(noted) })
    }

    pub fn noted(&self) -> Option<Noted> {
        self.noted.get()
    }

    /// Writes the mark after a commit.
    pub fn note(&self, noted: Noted) {
        self.noted.set(Some(noted));
        let Some(file) = &self.file else { return };
        if let Err(error) = file.write_all_at(text(noted).as_bytes(), 0) {
            tracing::warn!("cannot write {MARK}: {error}");
        }
    }
}

/// Must be dropped after the connection, which is an earlier field of [`Store`](super::Store).
impl Drop for CommitMark {
    fn drop(&mut self) {
        if let Some(file) = &self.file
            && let Some(database) = &self.sealed
            && let Some(seal) = seal(database, &|| ())
            && let Some(noted) = self.noted.get()
        {
            // Without a seal the next start only takes longer.
            let _ = file.write_all_at(format!("{}{seal}", text(noted)).as_bytes(), 0);
        }
    }
}

/// Returns whether the database is large and unchanged since the last stop.
pub fn is_sealed(database: &Path, observer: &Observer) -> bool {
    let Ok(file) = File::open(database.with_file_name(MARK)) else { return false };
    read(&file).lines().nth(2).is_some_and(|line| {
        seal(database, &|| observer.tick(OpenStep::Checking)).is_some_and(|seal| seal.trim_end() == line)
    })
}

/// Returns length and digest of a large database without a WAL.
fn seal(database: &Path, tick: &dyn Fn()) -> Option<String> {
    let length = fs::metadata(database).ok()?.len();
    if length < SEALED_FROM_BYTES || side_file(database, "-wal").exists() {
        return None;
    }
    let mut digest = DefaultHasher::new();
    let write = |chunk: &[u8]| {
        tick();
        digest.write(chunk);
        Ok(())
    };
    each_chunk(database, write).ok()?;
    Some(format!("{length:020} {:020}\n", digest.finish()))
}

/// Reads a mark. Returns an empty string if it is not text.
fn read(file: &File) -> String {
    let mut text = String::new();
    let _ = file.take(MAX_BYTES).read_to_string(&mut text);
    text
}

/// Returns the same line twice, so that a flipped bit cannot change the meaning.
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn any_change_breaks_a_seal_and_small_files_have_none() {
        let directory = TempDir::new().expect("a directory");
        let database = directory.path().join("statusd.db");
        let large = vec![0x5a; SEALED_FROM_BYTES as usize];
        fs::write(&database, &large).expect("written");
        let sealed = || {
            let mark = CommitMark::open(&database).expect("a mark");
            mark.note(Noted { seed: 1, transactions: 2 });
            drop(mark);
            is_sealed(&database, &Observer::none())
        };
        assert!(sealed());
        let file = OpenOptions::new().write(true).open(&database).expect("a file");
        file.write_all_at(&[0x5b], 12_345_678).expect("written");
        assert!(!is_sealed(&database, &Observer::none()), "changed");
        file.write_all_at(&[0x5a], 12_345_678).expect("written");
        assert!(is_sealed(&database, &Observer::none()), "as it was");
        fs::write(side_file(&database, "-wal"), "more").expect("written");
        assert!(!is_sealed(&database, &Observer::none()), "with a WAL");
        fs::remove_file(side_file(&database, "-wal")).expect("removed");
        fs::write(&database, &large[1..]).expect("written");
        assert!(!sealed(), "small");
    }
}
