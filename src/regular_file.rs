//! Files as people name them in flags and settings: only regular ones are opened.
//!
//! `/dev/null` counts as one, and is empty: `--config /dev/null` means no configuration. A FIFO is waited for until somebody writes into it, a device may do anything when it is opened.
//! Invariant: opening and reading ends by itself, within the limit.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file for reading, through links.
///
/// # Errors
///
/// As [`File::open`], and `InvalidInput` for anything else than a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    check_type(&fs::metadata(path)?)?;
    // It may have been replaced meanwhile. To regular files the flag means nothing.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2)");
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    check_type(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `max_bytes`.
///
/// # Errors
///
/// As [`open`], and `FileTooLarge`.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {max_bytes} bytes"),
        ));
    }
    Ok(bytes)
}

/// Whether `path` is a regular file, or nothing yet.
///
/// # Errors
///
/// `InvalidInput` for anything else, and those of looking.
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
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a regular file")))
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
    fn only_regular_files_are_opened_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        fs::write(place("file"), "text").expect("written");
        symlink(place("file"), place("link")).expect("a link");
        mkfifoat(CWD, place("pipe"), Mode::RUSR | Mode::WUSR).expect("a pipe");
        symlink(place("pipe"), place("to-pipe")).expect("a link");
        symlink(place("round"), place("round")).expect("a link");
        let _socket = UnixListener::bind(place("socket")).expect("a socket");

        for good in ["file", "link"] {
            assert_eq!(read(&place(good), 4).expect("readable"), b"text");
            assert_eq!(read(&place(good), 3).expect_err("larger").kind(), io::ErrorKind::FileTooLarge);
            check(&place(good)).expect("a file");
        }
        assert_eq!(read(Path::new("/dev/null"), 0).expect("empty"), b"");
        let devices = ["/dev/zero", "/dev/full"].map(std::path::PathBuf::from);
        let others = ["pipe", "to-pipe", "socket", ""].map(place);
        for bad in others.iter().chain(&devices) {
            for error in [open(bad).expect_err("no file"), check(bad).expect_err("no file")] {
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{}: {error}", bad.display());
                assert!(error.to_string().ends_with("not a regular file"), "{error}");
            }
        }
        check(&place("absent")).expect("may be made");
        assert_eq!(open(&place("absent")).expect_err("absent").kind(), io::ErrorKind::NotFound);
        check(&place("round")).expect_err("a loop");
    }
}
