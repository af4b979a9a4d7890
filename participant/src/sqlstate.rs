//! What an error of PostgreSQL means, sorted by what was asked for. The only place that knows
//! SQLSTATEs; each row is tested against a real server.
//!
//! A connection that is lost, and every code that may come after the work was done, is *unknown*,
//! a value of its own: never a yes and never a no.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// What went wrong with a vote message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoteFault {
    /// 25P01, 22012: the work ended the transaction itself. Its effects may be committed.
    HandlerEnded,
    /// 25P02: a statement of the work had failed, and the handler passed over it.
    Failed,
    /// 23505 on our key, 42710, 55P03: someone else is there. Look.
    Taken,
    /// 23502 on our state: the transaction is at or below the retention floor.
    BelowFloor,
    /// The server will not have it.
    Refused {
        /// A new transaction may succeed.
        retryable: bool,
    },
    /// The branch may be prepared. Look, on another connection.
    Unknown,
}

/// What went wrong with `COMMIT PREPARED` or `ROLLBACK PREPARED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FinishFault {
    /// 42704: nothing of that name is prepared. Proves nothing; look.
    Missing,
    /// 55000: another session is at it.
    Busy,
    /// 42501, 0A000: the branch belongs to another role or database.
    NotOurs,
    /// 25006: this is not the primary.
    ReadOnlyServer,
    /// XX001, XX002: its state is damaged. An operator must look.
    Damaged,
    /// Resources are short: later.
    Later,
    /// It may have happened. Look, on another connection.
    Unknown,
}

/// What went wrong with a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SealFault {
    /// 55P03: a marker stands in the way; its branch is voting or prepared. Look.
    Blocked,
    /// 25006: this is not the primary.
    ReadOnlyServer,
    /// The seal may be there or not. Seal again: it does no harm.
    Unknown,
}

/// What went wrong with the marker of a local branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MarkFault {
    /// 23505 on our key: a seal or a marker is there.
    Taken,
    /// 23502 on our state: the transaction is at or below the retention floor.
    BelowFloor,
    /// The service knows what to do about it.
    Other,
}

/// What went wrong with the rows of a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrossingFault {
    /// 55P03: another local transaction has inserted a row and has not ended.
    AtWork,
    /// A lost race or a lack of resources: a new local transaction may succeed.
    Passing,
    /// Nothing follows; but no commit was asked for, so nothing was done.
    Unknown,
}

/// The SQLSTATE, if the error is a server's answer on a connection that has survived it.
pub(crate) fn code(error: &sqlx::Error) -> Option<String> {
    answer(error).map(|answer| answer.code().to_owned())
}

fn answer(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    let answer = error
        .as_database_error()?
        .try_downcast_ref::<PgDatabaseError>()?;
    // After FATAL and PANIC the session is gone, whatever the code says.
    let survived = !matches!(answer.severity(), PgSeverity::Fatal | PgSeverity::Panic);
    survived.then_some(answer)
}

/// Whether the error leaves nothing to rely on: the connection, or the statement's own outcome.
pub(crate) fn is_lost(error: &sqlx::Error) -> bool {
    match answer(error).map(PgDatabaseError::code) {
        None => true,
        Some(code) => is_doubtful(code),
    }
}

/// 57014 is doubtful too: a statement can be cancelled while it waits for a standby, after it has
/// taken effect here.
fn is_doubtful(code: &str) -> bool {
    code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03" | "57P05" | "57014")
}

/// Sorts the error of a vote message.
pub(crate) fn of_vote(error: &sqlx::Error) -> VoteFault {
    let Some(answer) = answer(error) else {
        return VoteFault::Unknown;
    };
    let ours = answer.schema() == Some("accordant") && answer.table() == Some("branch");
    match answer.code() {
        code if is_doubtful(code) => VoteFault::Unknown,
        // A deferred trigger can divide by zero too; that is said with its context.
        "22012" if answer.r#where().is_some() => VoteFault::Refused { retryable: false },
        "25P01" | "22012" => VoteFault::HandlerEnded,
        "25P02" => VoteFault::Failed,
        "23505" if ours => VoteFault::Taken,
        "23502" if ours => VoteFault::BelowFloor,
        "42710" | "55P03" => VoteFault::Taken,
        code => VoteFault::Refused { retryable: is_passing(code) },
    }
}

/// Sorts the error of `COMMIT PREPARED` or `ROLLBACK PREPARED`.
pub(crate) fn of_finish(error: &sqlx::Error) -> FinishFault {
    let Some(answer) = answer(error) else {
        return FinishFault::Unknown;
    };
    match answer.code() {
        code if is_doubtful(code) => FinishFault::Unknown,
        "42704" => FinishFault::Missing,
        "55000" => FinishFault::Busy,
        "42501" | "0A000" => FinishFault::NotOurs,
        "25006" => FinishFault::ReadOnlyServer,
        "XX001" | "XX002" => FinishFault::Damaged,
        _ => FinishFault::Later,
    }
}

/// Sorts the error of a seal.
pub(crate) fn of_seal(error: &sqlx::Error) -> SealFault {
    match answer(error).map(PgDatabaseError::code) {
        Some("55P03") => SealFault::Blocked,
        Some("25006") => SealFault::ReadOnlyServer,
        Some(_) | None => SealFault::Unknown,
    }
}

/// Sorts the error of the marker of a local branch.
pub(crate) fn of_mark(error: &sqlx::Error) -> MarkFault {
    let Some(answer) = answer(error) else {
        return MarkFault::Other;
    };
    let ours = answer.schema() == Some("accordant") && answer.table() == Some("branch");
    match answer.code() {
        "23505" if ours => MarkFault::Taken,
        "23502" if ours => MarkFault::BelowFloor,
        _ => MarkFault::Other,
    }
}

/// Sorts the error of a message that inserts the rows of a barrier.
pub(crate) fn of_crossing(error: &sqlx::Error) -> CrossingFault {
    match answer(error).map(PgDatabaseError::code) {
        Some("55P03") => CrossingFault::AtWork,
        Some(code) if is_passing(code) => CrossingFault::Passing,
        Some(_) | None => CrossingFault::Unknown,
    }
}

/// Whether the same work may succeed in a new transaction: a lost race, or a lack of resources.
pub(crate) fn is_passing(code: &str) -> bool {
    code.starts_with("40") || code.starts_with("53") || matches!(code, "55P03" | "55006" | "57014")
}

/// Whether a statement that the session remembers does not fit its tables any more: they were
/// altered. The session will say so again and again, a new one will not.
pub(crate) fn is_stale_plan(error: &sqlx::Error) -> bool {
    // The code alone is that of everything that is not supported, and the text is translated.
    answer(error).is_some_and(|answer| {
        answer.code() == "0A000" && answer.routine() == Some("RevalidateCachedQuery")
    })
}

/// The word for an error of the work, for programs.
pub(crate) fn refusal_code(code: &str) -> &'static str {
    match code {
        "40001" => "accordant.serialization_failure",
        "40P01" => "accordant.deadlock",
        "55P03" => "accordant.lock_timeout",
        "57014" => "accordant.statement_timeout",
        "25P02" => "accordant.failed_transaction",
        "0A000" => "accordant.not_preparable",
        "54000" => "accordant.too_large",
        "55000" => "accordant.prepared_transactions_disabled",
        "53200" => "accordant.slots_exhausted",
        code if code.starts_with("23") => "accordant.constraint",
        code if code.starts_with("53") => "accordant.out_of_resources",
        _ => "accordant.database",
    }
}

#[cfg(test)]
mod tests;
