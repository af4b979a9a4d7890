//! The statements of two-phase commit, and what their answers mean.
//!
//! sqlx does not tell the command tag, and a failed transaction answers `PREPARE TRANSACTION` with
//! the tag `ROLLBACK` and no error. What makes an `Ok` trustworthy are the guards in
//! [`statement::vote`].

use accordant_protocol::id::Gid;
use sqlx::AssertSqlSafe;
use tracing::{error, warn};

use crate::engine::{Engine, Unanswered};
use crate::limits::STATEMENT_MAX;
use crate::look::bounded;
use crate::metric;
use crate::pool::Lease;
use crate::refusal::Refusal;
use crate::sqlstate::{self, FinishFault, VoteFault};
use crate::statement;

/// What a vote message did.
pub(crate) enum Voted {
    /// All of it.
    Done,
    /// Nothing: the branch is to be refused.
    Refused(Refusal),
    /// The work had ended the transaction itself. The connection is to be closed.
    HandlerEnded(Refusal),
    /// The transaction is at or below the retention floor.
    BelowFloor,
    /// A seal, a marker or another attempt is there.
    Taken,
    /// All of it or nothing.
    Unknown,
}

/// Sends a vote message.
pub(crate) async fn vote(
    engine: &Engine,
    lease: &mut Lease,
    message: AssertSqlSafe<String>,
) -> Voted {
    let sent = bounded(STATEMENT_MAX, sqlx::raw_sql(message).execute(lease.pg())).await;
    let error = match sent {
        Ok(_) => return Voted::Done,
        Err(Unanswered::Database(error)) => error,
        Err(other) => {
            warn!(error = %other, "a vote message was not answered");
            return Voted::Unknown;
        }
    };
    metric::error(engine, sqlstate::code(&error));
    match sqlstate::of_vote(&error) {
        VoteFault::HandlerEnded => {
            metric::handler_ended(engine);
            error!(
                "the handler has ended the local transaction by itself: what it did may be \
                 committed although the branch is refused; remove its commit or rollback"
            );
            Voted::HandlerEnded(Refusal::new(
                "accordant.handler_ended_transaction",
                "the handler ended the local transaction by itself; what it did before may be \
                 committed",
            ))
        }
        VoteFault::Failed | VoteFault::Refused { .. } => Voted::Refused(Refusal::from(error)),
        VoteFault::Taken => Voted::Taken,
        VoteFault::BelowFloor => Voted::BelowFloor,
        VoteFault::Unknown => {
            warn!(%error, "the answer to a vote message was lost");
            Voted::Unknown
        }
    }
}

/// What `COMMIT PREPARED` or `ROLLBACK PREPARED` did.
pub(crate) enum Finished {
    /// It ended the branch.
    Done,
    /// Nothing of that name is prepared in the server. Look.
    Missing,
    /// Another session is at it. Look, after a pause.
    Busy,
    /// Nothing: come again, perhaps after an operator has looked.
    Later(String),
    /// It ended the branch or not. Look, on another connection.
    Unknown,
}

/// Commits a prepared branch.
pub(crate) async fn commit(engine: &Engine, lease: &mut Lease, gid: &Gid) -> Finished {
    finish(engine, lease, gid, statement::commit_prepared(gid)).await
}

/// Rolls a prepared branch back.
pub(crate) async fn roll_back(engine: &Engine, lease: &mut Lease, gid: &Gid) -> Finished {
    finish(engine, lease, gid, statement::rollback_prepared(gid)).await
}

async fn finish(
    engine: &Engine,
    lease: &mut Lease,
    gid: &Gid,
    text: AssertSqlSafe<String>,
) -> Finished {
    let sent = bounded(STATEMENT_MAX, sqlx::raw_sql(text).execute(lease.pg())).await;
    let error = match sent {
        Ok(_) => return Finished::Done,
        Err(Unanswered::Database(error)) => error,
        Err(other) => {
            warn!(%gid, error = %other, "the end of a branch was not confirmed");
            return Finished::Unknown;
        }
    };
    metric::error(engine, sqlstate::code(&error));
    match sqlstate::of_finish(&error) {
        FinishFault::Missing => Finished::Missing,
        FinishFault::Busy => Finished::Busy,
        FinishFault::NotOurs => {
            metric::stuck(engine, "not_ours");
            error!(%gid, %error, "a branch belongs to another role or database: use that one");
            Finished::Later(format!(
                "the branch belongs to another role or database: {error}"
            ))
        }
        FinishFault::ReadOnlyServer => Finished::Later("the server is a standby".to_owned()),
        FinishFault::Damaged => {
            metric::stuck(engine, "damaged");
            error!(%gid, %error, "the state of a prepared branch is damaged: restore or repair it");
            Finished::Later(format!(
                "the state of the prepared branch is damaged: {error}"
            ))
        }
        FinishFault::Later => {
            warn!(%gid, %error, "a branch could not be ended");
            Finished::Later(error.to_string())
        }
        FinishFault::Unknown => {
            warn!(%gid, %error, "the end of a branch was not confirmed");
            Finished::Unknown
        }
    }
}
