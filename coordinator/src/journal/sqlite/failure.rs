//! What an error of SQLite means for a write.

use rusqlite::ErrorCode;

use super::super::error::{Cause, FlushError, LeaseError, OpenError, ReadError, TrimError};

/// Why a write was not confirmed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was executed.
    NotExecuted(Cause),
    /// It may be durable or not.
    Unknown(Cause),
    /// It may be durable or not, and this process must not touch the file again.
    Fatal(Cause),
}

/// What an error says about the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Nothing: the statement did not happen.
    Statement,
    /// The disk is full. The log may hold the end of the transaction although SQLite takes it back,
    /// until something else is written over it.
    Full,
    /// The disk or the file is broken.
    Broken,
}

pub(super) fn class(error: &rusqlite::Error) -> Class {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Class::Full,
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::InternalMalfunction
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NoLargeFileSupport,
        ) => Class::Broken,
        // Busy, locked, out of memory, read-only, a constraint, and mistakes of ours.
        Some(_) | None => Class::Statement,
    }
}

impl From<Failure> for FlushError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotExecuted(source) => Self::Unavailable { source },
            Failure::Unknown(source) => Self::Unknown { source },
            Failure::Fatal(source) => Self::Fatal { source },
        }
    }
}

impl From<Failure> for LeaseError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotExecuted(source) | Failure::Unknown(source) => Self::Unavailable { source },
            Failure::Fatal(source) => Self::Fatal { source },
        }
    }
}

impl From<Failure> for TrimError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotExecuted(source) | Failure::Unknown(source) => Self::Unavailable { source },
            Failure::Fatal(source) => Self::Fatal { source },
        }
    }
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotExecuted(source) | Failure::Unknown(source) | Failure::Fatal(source) => {
                Self::Unavailable { source }
            }
        }
    }
}

pub(super) fn open_error(error: rusqlite::Error) -> OpenError {
    OpenError::Unavailable { source: error.into() }
}

pub(super) fn read_error(error: rusqlite::Error) -> ReadError {
    ReadError::Unavailable { source: error.into() }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn a_full_disk_is_unknown_a_broken_one_is_fatal_and_the_rest_did_not_happen() {
        for (code, expected) in [
            (ffi::SQLITE_FULL, Class::Full),
            (ffi::SQLITE_IOERR, Class::Broken),
            (ffi::SQLITE_IOERR_FSYNC, Class::Broken),
            (ffi::SQLITE_IOERR_DIR_FSYNC, Class::Broken),
            (ffi::SQLITE_IOERR_WRITE, Class::Broken),
            (ffi::SQLITE_IOERR_READ, Class::Broken),
            (ffi::SQLITE_CORRUPT, Class::Broken),
            (ffi::SQLITE_NOTADB, Class::Broken),
            (ffi::SQLITE_PROTOCOL, Class::Broken),
            (ffi::SQLITE_BUSY, Class::Statement),
            (ffi::SQLITE_LOCKED, Class::Statement),
            (ffi::SQLITE_NOMEM, Class::Statement),
            (ffi::SQLITE_READONLY, Class::Statement),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, Class::Statement),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(class(&error), expected, "{code}");
        }
    }
}
