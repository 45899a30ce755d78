//! Opens files that flags and settings name, and only regular ones.
//!
//! Opening a FIFO blocks until another process writes to it, and opening a device can have side
//! effects. `/dev/null` is accepted as an empty file: `--config /dev/null` means no configuration.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file for reading. Follows symbolic links.
///
/// # Errors
///
/// Those of [`File::open`], and `InvalidInput` if the path is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    check_type(&fs::metadata(path)?)?;
    // The file may have been replaced since. The flag has no effect on regular files.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2)");
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    check_type(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `max_bytes`.
///
/// # Errors
///
/// Those of [`open`], and `FileTooLarge`.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {max_bytes} bytes")));
    }
    Ok(bytes)
}

/// Verifies that `path` is a regular file or does not exist.
///
/// # Errors
///
/// `InvalidInput` for any other file type, and those of [`fs::metadata`].
pub fn check(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) => check_type(&metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn check_type(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_file() || is_null(metadata) {
        return Ok(());
    }
    let what = if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe (FIFO)"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{what}, not a regular file")))
}

fn is_null(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device()
        && fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == metadata.rdev())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_opening_never_blocks() {
        let folder = tempfile::tempdir().expect("a folder");
        let path_of = |name: &str| folder.path().join(name);
        fs::write(path_of("file"), "text").expect("written");
        symlink(path_of("file"), path_of("link")).expect("a link");
        mkfifoat(CWD, path_of("pipe"), Mode::RUSR | Mode::WUSR).expect("a pipe");
        symlink(path_of("pipe"), path_of("to-pipe")).expect("a link");
        symlink(path_of("round"), path_of("round")).expect("a link");
        let _socket = UnixListener::bind(path_of("socket")).expect("a socket");

        for good in ["file", "link"] {
            assert_eq!(read(&path_of(good), 4).expect("readable"), b"text");
            assert_eq!(read(&path_of(good), 3).expect_err("larger").kind(), io::ErrorKind::FileTooLarge);
            check(&path_of(good)).expect("a file");
        }
        assert_eq!(read(Path::new("/dev/null"), 0).expect("empty"), b"");
        let devices = ["/dev/zero", "/dev/full"].map(std::path::PathBuf::from);
        let others = ["pipe", "to-pipe", "socket", ""].map(path_of);
        for bad in others.iter().chain(&devices) {
            for error in [open(bad).expect_err("no file"), check(bad).expect_err("no file")] {
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{}: {error}", bad.display());
                assert!(error.to_string().ends_with("not a regular file"), "{error}");
            }
        }
        check(&path_of("absent")).expect("may be created");
        assert_eq!(open(&path_of("absent")).expect_err("absent").kind(), io::ErrorKind::NotFound);
        check(&path_of("round")).expect_err("a loop");
    }
}
