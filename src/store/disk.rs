//! Names, modes, reads and the lock timeout of the database's files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Short, because all jobs wait meanwhile and the daemon has 5 s in all to stop.
pub const BUSY_TIMEOUT: Duration = Duration::from_millis(500);

/// The size of one read.
const CHUNK_BYTES: usize = 64 * 1024;

/// Returns the path of a file next to the database.
pub fn side_file(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// Passes a whole file to `take`, in chunks.
pub fn each_chunk(path: &Path, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(()),
            read => take(&chunk[..read])?,
        }
    }
}

/// Returns the options that create a file for its owner only, or open it.
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    options
}
