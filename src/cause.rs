//! Why the system refused, in words for people.
//!
//! Libraries word their errors for programmers ("(os error 28)"). Invariant: what stands here after
//! "cannot VERB OBJECT: " is a cause that a person can act on, in one line, without such words.

use std::fmt::Display;
use std::io::{self, ErrorKind};

/// An error with a cause for people.
pub trait Cause {
    /// Follows "cannot VERB OBJECT: ". Without a full stop.
    fn reason(&self) -> String;
}

impl Cause for io::Error {
    fn reason(&self) -> String {
        let known = match self.kind() {
            ErrorKind::NotFound => "no such file or directory",
            ErrorKind::PermissionDenied => "permission denied",
            ErrorKind::AlreadyExists => "it is there already",
            ErrorKind::NotADirectory => "a part of the path is not a directory",
            ErrorKind::IsADirectory => "it is a directory",
            ErrorKind::DirectoryNotEmpty => "the directory is not empty",
            ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
            ErrorKind::StorageFull => "the disk is full",
            ErrorKind::QuotaExceeded => "the disk quota is used up",
            ErrorKind::FileTooLarge if self.raw_os_error().is_some() => {
                "the file would be larger than allowed"
            }
            ErrorKind::InvalidFilename => "the name is too long",
            ErrorKind::CrossesDevices => "it would move to another file system",
            ErrorKind::BrokenPipe => "the reader is gone",
            ErrorKind::ConnectionRefused => "connection refused",
            ErrorKind::ConnectionReset => "connection reset",
            ErrorKind::TimedOut => "it took too long",
            ErrorKind::OutOfMemory => "there is not enough memory",
            ErrorKind::UnexpectedEof if self.get_ref().is_none() => "it ends too early",
            ErrorKind::InvalidData if self.get_ref().is_none() => "it is damaged",
            _ => return plain(self),
        };
        known.to_owned()
    }
}

/// The words of an error without the number that the standard library adds.
fn plain(error: &io::Error) -> String {
    let words = error.to_string();
    let words = words.rfind(" (os error ").map_or(words.as_str(), |end| &words[..end]);
    let mut characters = words.chars();
    match characters.next() {
        Some(first) if error.raw_os_error().is_some() => first.to_lowercase().chain(characters).collect(),
        Some(_) => words.to_owned(),
        None => "the system does not say why".to_owned(),
    }
}

/// Words that were made for people already.
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

/// `cannot VERB OBJECT: CAUSE`
pub fn cannot(deed: impl Display, error: &(impl Cause + ?Sized)) -> String {
    format!("cannot {deed}: {}", error.reason())
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
    fn the_systems_errors_are_named_without_numbers() {
        use rustix::io::Errno;
        check(Errno::NOSPC, "the disk is full");
        check(Errno::DQUOT, "the disk quota is used up");
        check(Errno::ACCESS, "permission denied");
        check(Errno::PERM, "permission denied");
        check(Errno::NOENT, "no such file or directory");
        check(Errno::ROFS, "the file system is read-only");
        check(Errno::LOOP, "too many levels of symbolic links");
        check(Errno::MFILE, "too many open files");
        check(Errno::NOTDIR, "a part of the path is not a directory");
        check(Errno::ISDIR, "it is a directory");
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
