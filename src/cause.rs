//! Causes of system errors in plain words.
//!
//! Library messages are for programmers ("(os error 28)"). A cause follows "cannot VERB OBJECT: " in
//! one line and is something the user can act on.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, ErrorKind};

/// An error that names its cause in plain words.
pub trait Cause {
    /// Returns the text after "cannot VERB OBJECT: ", without a full stop.
    fn reason(&self) -> String;
}

impl Cause for io::Error {
    fn reason(&self) -> String {
        let known = match self.kind() {
            ErrorKind::NotFound => "no such file or directory",
            ErrorKind::PermissionDenied => "permission denied",
            ErrorKind::AlreadyExists => "already exists",
            ErrorKind::NotADirectory => "a component of the path is not a directory",
            ErrorKind::IsADirectory => "is a directory",
            ErrorKind::DirectoryNotEmpty => "the directory is not empty",
            ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
            ErrorKind::StorageFull => "the disk is full",
            ErrorKind::QuotaExceeded => "the disk quota is used up",
            ErrorKind::FileTooLarge if self.raw_os_error().is_some() => {
                "the file would be larger than allowed"
            }
            ErrorKind::InvalidFilename => "the name is too long",
            ErrorKind::CrossesDevices => "the target is on another file system",
            ErrorKind::BrokenPipe => "the reader has closed the pipe",
            ErrorKind::ConnectionRefused => "connection refused",
            ErrorKind::ConnectionReset => "connection reset",
            ErrorKind::TimedOut => "timed out",
            ErrorKind::OutOfMemory => "out of memory",
            ErrorKind::UnexpectedEof if self.get_ref().is_none() => "unexpected end of file",
            ErrorKind::InvalidData if self.get_ref().is_none() => "invalid data",
            _ => return plain(self),
        };
        known.to_owned()
    }
}

/// Returns the error and its causes. `io::Error::source()` skips a wrapped error, so `get_ref` comes first.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

/// Returns the message of an error without the number that the standard library adds.
fn plain(error: &io::Error) -> String {
    let words = error.to_string();
    let words = words.rfind(" (os error ").map_or(words.as_str(), |end| &words[..end]);
    let mut characters = words.chars();
    match characters.next() {
        Some(first) if error.raw_os_error().is_some() => first.to_lowercase().chain(characters).collect(),
        Some(_) => words.to_owned(),
        None => "the system gives no reason".to_owned(),
    }
}

/// A cause that is already in plain words.
impl Cause for str {
    fn reason(&self) -> String {
        self.to_owned()
    }
}

impl<T: Cause + ?Sized> Cause for &T {
    fn reason(&self) -> String {
        (**self).reason()
    }
}

/// Returns `cannot ACTION: CAUSE`.
pub fn cannot(action: impl Display, error: &(impl Cause + ?Sized)) -> String {
    format!("cannot {action}: {}", error.reason())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(errno: rustix::io::Errno, expected: &str) {
        let error = io::Error::from_raw_os_error(errno.raw_os_error());
        assert_eq!(error.reason(), expected, "{error}");
    }

    #[test]
    fn system_errors_are_named_without_numbers() {
        use rustix::io::Errno;
        check(Errno::NOSPC, "the disk is full");
        check(Errno::DQUOT, "the disk quota is used up");
        check(Errno::ACCESS, "permission denied");
        check(Errno::PERM, "permission denied");
        check(Errno::NOENT, "no such file or directory");
        check(Errno::ROFS, "the file system is read-only");
        check(Errno::LOOP, "too many levels of symbolic links");
        check(Errno::MFILE, "too many open files");
        check(Errno::NOTDIR, "a component of the path is not a directory");
        check(Errno::ISDIR, "is a directory");
        check(Errno::NAMETOOLONG, "the name is too long");
        check(Errno::IO, "input/output error");
        assert_eq!(
            io::Error::other("a pipe (FIFO), not a regular file").reason(),
            "a pipe (FIFO), not a regular file"
        );
        assert_eq!(
            cannot("read /x", &io::Error::from(ErrorKind::NotFound)),
            "cannot read /x: no such file or directory"
        );
    }
}
