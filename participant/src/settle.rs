//! The end of an action that went on elsewhere: told to the participant's own table first, and to
//! the coordinator then.

use std::sync::Arc;

use accordant_protocol::id::{BranchIndex, Gtid};
use accordant_protocol::json::Json;
use accordant_protocol::limits::RESULT_BYTES_MAX;
use accordant_protocol::wire::api::TRANSACTIONS_PATH;
use accordant_protocol::wire::contract::{ActAnswer, ActVerb, Refusal};
use bytes::Bytes;
use serde::Serialize;
use sqlx::{PgConnection, Row as _};
use tokio::time::timeout;

use crate::coordinator::CoordinatorError;
use crate::engine::{Engine, Unanswered};
use crate::limits::STATEMENT_MAX;
use crate::look::bounded;
use crate::pool::LeaseError;
use crate::sqlstate::{self, CrossingFault};
use crate::statement;

/// Why what an action came to could not be settled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// It stands otherwise already. To an act that is done: a compensation has come first, or it was
    /// refused, so the service must give up by itself what it has done elsewhere. To one that is
    /// refused: it is done.
    #[error("the action stands otherwise already: {stands}")]
    Otherwise {
        /// How, in words.
        stands: &'static str,
    },
    /// The transaction is at or below the retention floor.
    #[error("the transaction is older than what this participant keeps")]
    Expired,
    /// The answer says neither *done* nor *refused*.
    #[error("only what is done or refused can be settled")]
    NotAnEnd,
    /// The result is too large for an answer.
    #[error("the result has {bytes} bytes; at most {bytes_max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest.
        bytes_max: usize,
    },
    /// The database refused, or did not answer: it is settled or not. Settle again.
    #[error("the database gave no answer")]
    Database(#[from] sqlx::Error),
}

/// Why the coordinator was not called back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallBackError {
    /// The participant was built without `coordinator`.
    #[error("the participant has no coordinator; give the builder its address")]
    NoCoordinator,
    /// The end could not be settled here, so nobody was told. See there what to do.
    #[error("the end of the action could not be settled")]
    Settle(#[from] SettleError),
    /// An attempt at the action is at work here just now, and its end decides. Call back again.
    #[error("an attempt at the action is at work")]
    AtWork,
    /// Every connection for branches is in use. Call back again.
    #[error("every branch connection of the participant is in use")]
    Busy,
    /// No connection to the database. Call back again.
    #[error("the database was not reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The coordinator refuses, and would refuse again: it does not wait for this action any more.
    #[error("the coordinator refuses: {0}")]
    Refused(String),
    /// The coordinator gave no answer, or cannot at the moment. Call back again; or leave it: it
    /// asks by itself, and is told what was settled.
    #[error("the coordinator gave no answer: {0}")]
    Unanswered(String),
}

impl From<LeaseError> for CallBackError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Busy => Self::Busy,
            LeaseError::Closed
            | LeaseError::Timeout
            | LeaseError::Connect(_)
            | LeaseError::Standby => Self::Unreachable(Box::new(error)),
        }
    }
}

/// The body of a call-back.
#[derive(Serialize)]
struct CallBack<'a> {
    verb: ActVerb,
    answer: &'a ActAnswer,
}

/// One row, as it is to be.
struct End<'a> {
    op: &'static str,
    state: &'static str,
    result: Option<&'a Json>,
    refusal: Option<&'a Refusal>,
}

/// Stores what an action came to, in the transaction that is open on the connection.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    gtid: Gtid,
    branch: BranchIndex,
    verb: ActVerb,
    answer: &ActAnswer,
) -> Result<(), SettleError> {
    let end = match (verb, answer) {
        (ActVerb::Act, ActAnswer::Done { result }) => End {
            op: "act",
            state: "done",
            result: result.as_ref(),
            refusal: None,
        },
        (ActVerb::Act, ActAnswer::Refused { refusal }) => End {
            op: "act",
            state: "skipped",
            result: None,
            refusal: Some(refusal),
        },
        (ActVerb::Compensate, ActAnswer::Done { result }) => End {
            op: "compensate",
            state: "done",
            result: result.as_ref(),
            refusal: None,
        },
        // A compensation that is refused runs again.
        (ActVerb::Compensate, ActAnswer::Refused { .. }) => return Ok(()),
        _ => return Err(SettleError::NotAnEnd),
    };
    let bytes = end.result.map_or(0, |result| result.text().len());
    if bytes > RESULT_BYTES_MAX {
        return Err(SettleError::TooLarge { bytes, bytes_max: RESULT_BYTES_MAX });
    }
    insert(connection, gtid, branch, &end).await?;
    check(connection, gtid, branch, &end).await
}

async fn insert(
    connection: &mut PgConnection,
    gtid: Gtid,
    branch: BranchIndex,
    end: &End<'_>,
) -> Result<(), SettleError> {
    let refusal = end.refusal.map(|refusal| refusal.clone().bounded());
    let refusal = refusal.and_then(|refusal| serde_json::to_string(&refusal).ok());
    sqlx::query(statement::SETTLE)
        .bind(gtid.to_string())
        .bind(i64::from(branch.0))
        .bind(end.op)
        .bind(end.state)
        .bind(end.result.map(Json::text))
        .bind(refusal)
        .bind(statement::issuer(&gtid))
        .bind(i64::try_from(gtid.minted().as_millis()).unwrap_or(i64::MAX))
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether what is there now is what was to be, be it from before.
async fn check(
    connection: &mut PgConnection,
    gtid: Gtid,
    branch: BranchIndex,
    end: &End<'_>,
) -> Result<(), SettleError> {
    let row = sqlx::query(statement::SETTLED)
        .bind(gtid.to_string())
        .bind(i64::from(branch.0))
        .bind(statement::issuer(&gtid))
        .bind(i64::try_from(gtid.minted().as_millis()).unwrap_or(i64::MAX))
        .fetch_one(connection)
        .await?;
    let act: Option<String> = row.try_get("act")?;
    let compensate: Option<String> = row.try_get("compensate")?;
    let stands = match (end.op, act.as_deref(), compensate.as_deref()) {
        ("act", Some(state), _) if state == end.state => return Ok(()),
        ("compensate", Some("done"), Some("done")) => return Ok(()),
        (_, None, _) if row.try_get("below_floor")? => return Err(SettleError::Expired),
        (_, Some("skipped"), _) => "it is kept out: it was refused, or compensated before it came",
        ("act", Some(_), _) => "it is done",
        (_, None, _) => "it never came",
        _ => "it is not compensated",
    };
    Err(SettleError::Otherwise { stands })
}

/// Settles on a connection of our own, and tells the coordinator.
pub(crate) async fn call_back(
    engine: &Arc<Engine>,
    gtid: Gtid,
    branch: BranchIndex,
    verb: ActVerb,
    answer: &ActAnswer,
) -> Result<(), CallBackError> {
    let coordinator = engine.coordinator.as_ref();
    let coordinator = coordinator.ok_or(CallBackError::NoCoordinator)?;
    settle_here(engine, gtid, branch, verb, answer).await?;
    let body = serde_json::to_vec(&CallBack { verb, answer })
        .map_err(|error| CallBackError::Refused(error.to_string()))?;
    let target = format!("{TRANSACTIONS_PATH}/{gtid}/actions/{branch}");
    match coordinator.post(&target, Bytes::from(body)).await {
        Ok(()) => Ok(()),
        Err(error) if error.is_final() || is_gone(&error) => {
            Err(CallBackError::Refused(error.to_string()))
        }
        Err(error) => Err(CallBackError::Unanswered(error.to_string())),
    }
}

/// Settles in a local transaction of our own.
///
/// It waits for an attempt that is at work, as every call about the branch does. So it takes a
/// connection as handlers do, never one of those that end branches, and waits no longer than they:
/// the server itself gives the wait up, so that no session is left waiting for nobody.
async fn settle_here(
    engine: &Engine,
    gtid: Gtid,
    branch: BranchIndex,
    verb: ActVerb,
    answer: &ActAnswer,
) -> Result<(), CallBackError> {
    let mut lease = engine.work.lease().await?;
    let begin = statement::begin_settling(engine.settings.barrier_wait_ms());
    let settling = async {
        let pg = lease.pg();
        sqlx::raw_sql(begin).execute(&mut *pg).await?;
        settle(pg, gtid, branch, verb, answer).await?;
        sqlx::raw_sql("commit").execute(pg).await?;
        Ok(())
    };
    let settled = timeout(STATEMENT_MAX, settling).await;
    let error = match settled {
        Ok(Ok(())) => {
            lease.release();
            return Ok(());
        }
        Ok(Err(error)) => error,
        Err(_) => {
            lease.discard();
            return Err(CallBackError::Unreachable(Box::new(Unanswered::Timeout)));
        }
    };
    let is_at_work = is_at_work(&error);
    if matches!(error, SettleError::Database(_)) && !is_at_work {
        lease.discard();
    } else {
        let asked = sqlx::raw_sql(statement::GIVE_UP).execute(lease.pg());
        match bounded(STATEMENT_MAX, asked).await {
            Ok(_) => lease.release(),
            Err(_) => lease.discard(),
        }
    }
    match is_at_work {
        true => Err(CallBackError::AtWork),
        false => Err(error.into()),
    }
}

fn is_at_work(error: &SettleError) -> bool {
    let SettleError::Database(error) = error else {
        return false;
    };
    sqlstate::of_crossing(error) == CrossingFault::AtWork
}

/// Whether the coordinator knows nothing of the transaction, or nothing any more.
fn is_gone(error: &CoordinatorError) -> bool {
    matches!(
        error,
        CoordinatorError::Status { status: 404 | 410, is_problem: true, .. }
    )
}
