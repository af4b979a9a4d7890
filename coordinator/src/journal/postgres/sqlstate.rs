//! What an error of the driver says about the statement that it ended.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// The SQLSTATE of a unique key that would be violated.
pub(super) const UNIQUE_VIOLATION: &str = "23505";

/// The SQLSTATE of a missing privilege.
pub(super) const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// What became of a statement in a local transaction of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The server undid it because of a unique key.
    Conflict,
    /// The server undid it, or it was never sent.
    NotExecuted,
    /// It may have been executed.
    Unknown,
}

/// An error that the server reports with severity ERROR has undone the statement, whatever its code.
/// One of severity FATAL or PANIC ends the session, and can come while a commit waits for a standby;
/// and anything that is not the server's word says nothing.
pub(super) fn fate(error: &sqlx::Error) -> Fate {
    match server_error(error) {
        Some(error) if matches!(error.severity(), PgSeverity::Error) => {
            if error.code() == UNIQUE_VIOLATION {
                Fate::Conflict
            } else {
                Fate::NotExecuted
            }
        }
        Some(_) => Fate::Unknown,
        None if matches!(error, sqlx::Error::Encode(_)) => Fate::NotExecuted,
        None => Fate::Unknown,
    }
}

/// The SQLSTATE, if the server spoke.
pub(super) fn code(error: &sqlx::Error) -> Option<&str> {
    server_error(error).map(PgDatabaseError::code)
}

fn server_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}
