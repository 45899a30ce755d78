//! Causes of database errors in plain words, without messages of SQLite.

use rusqlite::ErrorCode;

use crate::cause::Cause;

impl Cause for rusqlite::Error {
    fn reason(&self) -> String {
        // The shared-memory file next to the database cannot grow.
        let is_full = self
            .sqlite_error()
            .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
        let known = match self.sqlite_error_code() {
            _ if is_full => "the disk is full",
            Some(ErrorCode::DiskFull) => "the disk is full",
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another program has locked the database"
            }
            Some(ErrorCode::ReadOnly) => "the database is read-only",
            Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
                "permission denied"
            }
            Some(ErrorCode::CannotOpen) => {
                "cannot open the file; check its permissions and those of its directory"
            }
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => "the database is damaged",
            Some(ErrorCode::SystemIoFailure) => "the disk failed to read or write",
            Some(ErrorCode::OutOfMemory) => "out of memory",
            Some(ErrorCode::TooBig) => "a value is too large for the database",
            None => "the database contains a value that this version does not understand",
            Some(_) => {
                let code = self.sqlite_error().map_or(0, |error| error.extended_code);
                return format!("unexpected database error (SQLite error {code})");
            }
        };
        known.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_errors_are_named_in_plain_words() {
        let of = |code: i32, message: &str| {
            rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(message.to_owned())).reason()
        };
        use rusqlite::ffi;
        assert_eq!(of(ffi::SQLITE_FULL, "database or disk is full"), "the disk is full");
        assert_eq!(of(ffi::SQLITE_BUSY, "database is locked"), "another program has locked the database");
        assert_eq!(of(ffi::SQLITE_READONLY, "attempt to write"), "the database is read-only");
        assert_eq!(of(ffi::SQLITE_CORRUPT, "malformed"), "the database is damaged");
        assert_eq!(
            of(ffi::SQLITE_CANTOPEN, "unable"),
            "cannot open the file; check its permissions and those of its directory"
        );
        assert_eq!(of(ffi::SQLITE_IOERR, "disk I/O error"), "the disk failed to read or write");
        assert_eq!(
            of(ffi::SQLITE_CONSTRAINT_TRIGGER, "raised"),
            "unexpected database error (SQLite error 1811)"
        );
        assert_eq!(
            rusqlite::Error::QueryReturnedNoRows.reason(),
            "the database contains a value that this version does not understand"
        );
    }
}
