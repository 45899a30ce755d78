//! The reasons why a database cannot be opened.

use std::path::PathBuf;

/// The reason why the database cannot be opened. `Display` is one line with the next step.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another statusd is running on {0}; stop it first, or configure another state directory")]
    Locked(PathBuf),
    #[error(
        "{path} was written by a newer statusd (schema {found}; this version supports up to {known}); upgrade statusd"
    )]
    Newer { path: PathBuf, found: i32, known: i32 },
    #[error("{0} is not a statusd database; move it away or choose another state directory")]
    Foreign(PathBuf),
    #[error("cannot write {path}: {reason}")]
    CannotWrite { path: PathBuf, reason: String },
    #[error("cannot read {path}: {reason}")]
    CannotRead { path: PathBuf, reason: String },
}
