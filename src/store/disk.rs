//! Names, modes, reads and the lock timeout of the database's files.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Short, because the daemon blocks meanwhile and has 5 s in all to stop.
pub const BUSY_TIMEOUT: Duration = Duration::from_millis(500);

/// Returns the path of a file next to the database.
pub fn side_file(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// Reads a whole file, to detect I/O errors.
pub fn read_all(path: &Path) -> io::Result<()> {
    match File::open(path).and_then(|mut file| io::copy(&mut file, &mut io::sink())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Returns the options that create a file for its owner only, or open it.
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    options
}
