//! One call at a barrier: insert its rows, see what stood there, do what the table says.

use std::sync::Arc;

use accordant_protocol::id::{Attempt, Epoch, Gid, OperationName};
use accordant_protocol::json::Json;
use accordant_protocol::limits::REASON_BYTES_MAX;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::contract::{self, Identity, cut};
use tokio::time::sleep;
use tracing::warn;

use super::standing::Rows;
use super::table::{Deed, Verb, deed};
use crate::branch::Branch;
use crate::crash::crash_point;
use crate::engine::{BUSY, Engine, Unanswered};
use crate::handler::{Operation, Sequel};
use crate::limits::{
    IDLE_GRACE_MS, LOOK_MS_MIN, OPENS_MAX, RECALL_PAUSE, RECALLS_MAX, SEALS_MAX, STATEMENT_MAX,
};
use crate::look::{self, bounded};
use crate::metric;
use crate::pool::{Lease, LeaseError};
use crate::prepared::{self, Voted};
use crate::refusal::{Kind, Refusal, STALE_PLAN};
use crate::sqlstate::{self, CrossingFault};
use crate::statement::{self, Bounds, Closing, Session};
use crate::work::{self, Worked, millis};

/// A call.
pub(crate) struct Crossing<'a> {
    pub gid: Gid,
    pub verb: Verb,
    pub attempt: Attempt,
    pub epoch: Epoch,
    /// Until when its handler may work.
    pub deadline: Timestamp,
    pub operation: &'a OperationName,
    pub payload: &'a Json,
    /// What `act` or `try` returned as far as the coordinator knows; the row knows better.
    pub told: Option<&'a Json>,
    /// Its handler; or what takes the place of the handler's refusal where there is none.
    pub task: Result<Task<'a>, Refusal>,
    pub refusals: Refusals,
}

/// A handler.
#[derive(Clone, Copy)]
pub(crate) enum Task<'a> {
    /// Of `act` or `try`.
    First(&'a dyn Operation),
    /// Of what follows.
    After(&'a dyn Sequel),
}

/// What becomes of a handler's no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusals {
    /// It is stored before it is said, so that no repeat can succeed.
    Stored,
    /// It is said, so that an operator is called, and the next attempt may succeed.
    Said,
    /// It is not said: it is asked for again.
    Later,
}

/// What a call came to.
#[derive(Clone, Debug)]
pub(crate) enum Crossed {
    /// `act` or `try` is done, durably; its result.
    Done(Option<Json>),
    /// It was refused: durably, if refusals are stored.
    Refused(contract::Refusal),
    /// Nothing of it is there, or is there any more; the result of the compensation.
    Undone(Option<Json>),
    /// The reservation was made good; the result of `try`.
    Confirmed(Option<Json>),
    /// Another call is at it, or work goes on elsewhere.
    InProgress(Option<u64>),
    /// Nothing was concluded.
    Later(String),
}

/// What was found.
enum Opening {
    /// The local transaction is open and has inserted what was missing.
    Here(Lease, Box<Rows>),
    /// There is none.
    Nowhere(Crossed),
}

type Answer = (Crossed, Identity);

/// Carries out one call, and says which database it was carried out in.
///
/// # Durability
/// What is returned is durable, but for *in progress*, *later*, and a refusal that is only said.
///
/// # Cancel safety
/// Dropping the future closes the connection; the local transaction is committed or not, and the
/// next call finds out.
pub(crate) async fn cross(
    engine: &Arc<Engine>,
    crossing: &Crossing<'_>,
) -> Result<Answer, Unanswered> {
    let (mut lease, rows) = match open(engine, crossing).await? {
        Opening::Here(lease, rows) => (lease, rows),
        Opening::Nowhere(crossed) => return Ok((crossed, engine.present_identity().await?)),
    };
    let deed = deed(crossing.verb, rows.before());
    match deed {
        // What stood here may have been deleted, so nothing follows from its absence.
        Deed::Work | Deed::Follow | Deed::KeepOut if rows.below_floor => Err(Unanswered::Expired),
        Deed::Work | Deed::Follow => Box::pin(work(engine, crossing, lease, *rows)).await,
        Deed::KeepOut => {
            let closing = match crossing.verb {
                Verb::Compensate => Closing::Compensated,
                Verb::Act | Verb::Try | Verb::Confirm | Verb::Cancel => Closing::Nothing,
            };
            let kept_out = Crossed::Undone(None);
            close(engine, crossing, lease, rows.identity, closing, kept_out).await
        }
        Deed::SayDone
        | Deed::SayRefused
        | Deed::SayUndone
        | Deed::SayConfirmed
        | Deed::SayInProgress
        | Deed::Corrupt => {
            give_up(&mut lease).await?;
            let answer = fact(&mut lease, crossing.verb, deed, &rows).await?;
            lease.release();
            Ok(answer)
        }
    }
}

/// Opens the local transaction. One that lost a race is opened again: nothing was done in it. A
/// connection that has died while it was idle is replaced.
async fn open(engine: &Engine, crossing: &Crossing<'_>) -> Result<Opening, Unanswered> {
    let work_ms = work::left_ms(crossing.deadline);
    let lock_ms = millis(engine.settings.lock_timeout);
    let bounds = Bounds {
        statement_ms: work_ms.max(LOOK_MS_MIN),
        idle_ms: work_ms.saturating_add(IDLE_GRACE_MS),
        lock_ms,
    };
    let wait_ms = engine.settings.barrier_wait_ms().min(work_ms).max(1);
    let mut failed = Err(Unanswered::Timeout);
    for _ in 0..OPENS_MAX {
        let mut lease = match engine.work.lease().await {
            Err(LeaseError::Busy) => return Ok(Opening::Nowhere(later(BUSY))),
            leased => leased?,
        };
        let server = lease.server().clone();
        let text = statement::cross(
            &crossing.gid,
            crossing.verb,
            crossing.epoch,
            bounds,
            wait_ms,
        );
        let asked = bounded(STATEMENT_MAX, sqlx::raw_sql(text).fetch_all(lease.pg())).await;
        let error = match asked.and_then(|rows| Rows::read(crossing.verb, &rows, &server)) {
            Ok(rows) => return Ok(Opening::Here(lease, Box::new(rows))),
            Err(Unanswered::Database(error)) => error,
            Err(other) => {
                lease.discard();
                failed = Err(other);
                continue;
            }
        };
        match sqlstate::of_crossing(&error) {
            CrossingFault::AtWork => {
                give_up(&mut lease).await?;
                lease.release();
                return Ok(Opening::Nowhere(Crossed::InProgress(None)));
            }
            CrossingFault::Passing => {
                metric::error(engine, sqlstate::code(&error));
                failed = Ok(Opening::Nowhere(later(&Refusal::from(error).to_string())));
            }
            CrossingFault::Unknown => {
                lease.discard();
                failed = Err(Unanswered::Database(error));
            }
        }
    }
    failed
}

async fn give_up(lease: &mut Lease) -> Result<(), Unanswered> {
    let asked = sqlx::raw_sql(statement::GIVE_UP).execute(lease.pg());
    bounded(STATEMENT_MAX, asked).await?;
    Ok(())
}

async fn work(
    engine: &Arc<Engine>,
    crossing: &Crossing<'_>,
    lease: Lease,
    rows: Rows,
) -> Result<Answer, Unanswered> {
    let Crossing { gid, attempt, epoch, deadline, operation, payload, .. } = *crossing;
    let states = Arc::clone(&engine.states);
    let mut branch = Branch { lease, gid, attempt, epoch, deadline, states };
    crash_point!("participant.act.before_work");
    let result = rows.first_result();
    let worked = match &crossing.task {
        Err(refusal) => {
            // Ordinary while a new version is rolled out. After that nobody but this log and this
            // counter tells of it: it may be asked for again for as long as its plan lasts.
            warn!(%gid, %refusal, "a call finds no handler in this version of the service");
            metric::no_handler(engine, crossing.verb.op());
            Worked::Refused(refusal.clone())
        }
        Ok(Task::First(handler)) => {
            work::run(operation, deadline, handler.run(&mut branch, payload)).await
        }
        Ok(Task::After(handler)) => {
            let told = result.clone().or_else(|| crossing.told.cloned());
            let handler = handler.run(&mut branch, payload, told);
            work::run(operation, deadline, handler).await
        }
    };
    let Branch { lease, .. } = branch;
    match worked {
        Worked::Done(done) => {
            let crossed = match crossing.verb {
                Verb::Act | Verb::Try => Crossed::Done(done.clone()),
                Verb::Compensate | Verb::Cancel => Crossed::Undone(done.clone()),
                Verb::Confirm => Crossed::Confirmed(result),
            };
            let closing = Closing::Result(done.as_ref().map(Json::text));
            close(engine, crossing, lease, rows.identity, closing, crossed).await
        }
        Worked::Refused(refusal) => {
            refused(engine, crossing, Some(lease), rows.identity, refusal).await
        }
        Worked::Broken(refusal) => {
            // Its transaction ends with the connection.
            drop(lease);
            refused(engine, crossing, None, rows.identity, refusal).await
        }
    }
}

/// Commits what the call has done, and answers by what became of that.
async fn close(
    engine: &Arc<Engine>,
    crossing: &Crossing<'_>,
    mut lease: Lease,
    identity: Identity,
    closing: Closing<'_>,
    crossed: Crossed,
) -> Result<Answer, Unanswered> {
    let Crossing { gid, verb, epoch, .. } = *crossing;
    let lock_ms = millis(engine.settings.lock_timeout);
    let message = statement::close(&gid, verb, epoch, lock_ms, closing);
    crash_point!("participant.act.before_commit");
    let closed = prepared::vote(engine, &mut lease, message).await;
    crash_point!("participant.act.after_commit");
    match closed {
        Voted::Done => {
            lease.release();
            Ok((crossed, identity))
        }
        Voted::Refused(refusal) => refused(engine, crossing, Some(lease), identity, refusal).await,
        Voted::HandlerEnded(refusal) => {
            drop(lease);
            refused(engine, crossing, None, identity, refusal).await
        }
        Voted::BelowFloor => Err(Unanswered::Expired),
        // A lock that the end of the work waited for in vain: a deferred trigger's.
        Voted::Taken => Ok((later("a lock was not granted in time"), identity)),
        Voted::Unknown => {
            lease.discard();
            recall(engine, crossing).await
        }
    }
}

/// Answers a handler's refusal. Without a connection, its transaction has ended or is about to.
async fn refused(
    engine: &Arc<Engine>,
    crossing: &Crossing<'_>,
    lease: Option<Lease>,
    identity: Identity,
    refusal: Refusal,
) -> Result<Answer, Unanswered> {
    let crossed = match (refusal.kind(), crossing.refusals) {
        (Kind::No, Refusals::Stored) => return skip(engine, crossing, lease, refusal).await,
        (Kind::No, Refusals::Said) => {
            put_back(lease, &refusal).await;
            return say(engine, crossing, refusal).await;
        }
        (Kind::InProgress(after_ms), _) => Crossed::InProgress(after_ms),
        (Kind::No | Kind::Passing | Kind::Later, _) => later(&refusal.to_string()),
    };
    put_back(lease, &refusal).await;
    Ok((crossed, identity))
}

/// Rolls back what the handler did.
async fn put_back(lease: Option<Lease>, refusal: &Refusal) {
    // A session that has a stale plan would say so again and again.
    let reusable = refusal.code() != STALE_PLAN;
    if let Some(mut lease) = lease
        && reusable
        && give_up(&mut lease).await.is_ok()
    {
        lease.release();
    }
}

/// Says no, and stores nothing. A handler that has committed by itself has committed its row as
/// well: then what it refuses is done, and no operator is called for it.
async fn say(
    engine: &Engine,
    crossing: &Crossing<'_>,
    refusal: Refusal,
) -> Result<Answer, Unanswered> {
    let (stands, identity) = look(engine, crossing).await?;
    let crossed = match stands {
        Crossed::Later(_) => Crossed::Refused(refusal.into_wire()),
        Crossed::Done(_)
        | Crossed::Refused(_)
        | Crossed::Undone(_)
        | Crossed::Confirmed(_)
        | Crossed::InProgress(_) => stands,
    };
    Ok((crossed, identity))
}

/// Says no, after it is stored. Without a connection, or if the one at hand fails, on another.
async fn skip(
    engine: &Arc<Engine>,
    crossing: &Crossing<'_>,
    lease: Option<Lease>,
    refusal: Refusal,
) -> Result<Answer, Unanswered> {
    let said = refusal.into_wire();
    crash_point!("participant.act.before_seal");
    let mut skipped = match lease {
        Some(lease) => skip_on(engine, lease, crossing, &said, Session::InBranch).await,
        None => Err(Unanswered::Task),
    };
    for _ in 0..SEALS_MAX {
        if skipped.is_ok() {
            break;
        }
        let lease = engine.control_lease().await?;
        skipped = skip_on(engine, lease, crossing, &said, Session::Clean).await;
    }
    crash_point!("participant.act.after_seal");
    skipped
}

async fn skip_on(
    engine: &Engine,
    mut lease: Lease,
    crossing: &Crossing<'_>,
    refusal: &contract::Refusal,
    session: Session,
) -> Result<Answer, Unanswered> {
    let Crossing { gid, verb, epoch, .. } = *crossing;
    let server = lease.server().clone();
    let text = serde_json::to_string(refusal).unwrap_or_else(|_| "null".to_owned());
    let text = statement::skip(&gid, verb, epoch, &text, session);
    let asked = bounded(STATEMENT_MAX, sqlx::raw_sql(text).fetch_all(lease.pg())).await;
    let rows = match asked.and_then(|rows| Rows::read(verb, &rows, &server)) {
        Ok(rows) => rows,
        Err(Unanswered::Database(error)) => {
            metric::error(engine, sqlstate::code(&error));
            if sqlstate::of_crossing(&error) == CrossingFault::AtWork {
                // Another attempt has come meanwhile.
                drop(lease);
                return Ok((Crossed::InProgress(None), engine.present_identity().await?));
            }
            lease.discard();
            return Err(Unanswered::Database(error));
        }
        Err(other) => {
            lease.discard();
            return Err(other);
        }
    };
    metric::seal(engine);
    let answer = fact(&mut lease, verb, deed(verb, rows.now()), &rows).await?;
    if refusal.code == STALE_PLAN {
        drop(lease);
    } else {
        lease.release();
    }
    Ok(answer)
}

/// Learns what became of the call's own commit, on another connection, and answers by that.
async fn recall(engine: &Arc<Engine>, crossing: &Crossing<'_>) -> Result<Answer, Unanswered> {
    let verb = crossing.verb;
    warn!(gid = %crossing.gid, verb = verb.op(), "a commit was not confirmed; looking");
    let mut answered = Err(Unanswered::Timeout);
    for attempt in 0..RECALLS_MAX {
        if attempt > 0 {
            sleep(RECALL_PAUSE).await;
        }
        answered = look(engine, crossing).await;
        let settled = match &answered {
            // The old session may still be at it.
            Ok((Crossed::Later(_), _)) => attempt > 0,
            Ok(_) => true,
            Err(_) => false,
        };
        if settled {
            break;
        }
    }
    answered
}

async fn look(engine: &Engine, crossing: &Crossing<'_>) -> Result<Answer, Unanswered> {
    let verb = crossing.verb;
    let mut lease = engine.control_lease().await?;
    let server = lease.server().clone();
    let text = statement::stand(&crossing.gid, verb);
    let asked = bounded(STATEMENT_MAX, sqlx::raw_sql(text).fetch_all(lease.pg())).await;
    let rows = match asked.and_then(|rows| Rows::read(verb, &rows, &server)) {
        Ok(rows) => rows,
        Err(error) => {
            lease.discard();
            return Err(error);
        }
    };
    let answer = fact(&mut lease, verb, deed(verb, rows.now()), &rows).await?;
    lease.release();
    Ok(answer)
}

/// Answers by what stands there, without doing anything.
async fn fact(
    lease: &mut Lease,
    verb: Verb,
    deed: Deed,
    rows: &Rows,
) -> Result<Answer, Unanswered> {
    let crossed = match deed {
        Deed::SayDone => Crossed::Done(rows.first_result()),
        Deed::SayRefused => Crossed::Refused(rows.refusal().unwrap_or_else(|| too_late(verb))),
        Deed::SayUndone => Crossed::Undone(rows.second_result()),
        Deed::SayConfirmed => Crossed::Confirmed(rows.first_result()),
        Deed::SayInProgress => Crossed::InProgress(None),
        Deed::Work | Deed::Follow | Deed::KeepOut => {
            later("the local transaction was lost before it could commit")
        }
        Deed::Corrupt => {
            return Err(Unanswered::Corrupt(
                "accordant.branch holds an action that is confirmed",
            ));
        }
    };
    // What was only read may not have reached the standbys yet.
    if rows.replicated && rows.is_only_read() {
        look::barrier(lease).await?;
    }
    Ok((crossed, rows.identity.clone()))
}

/// For what was kept out, or was done and is undone.
fn too_late(verb: Verb) -> contract::Refusal {
    let detail = match verb {
        Verb::Act | Verb::Compensate => "it was compensated before it came",
        Verb::Try | Verb::Confirm | Verb::Cancel => "it was cancelled before it came",
    };
    contract::Refusal::new("accordant.too_late", detail)
}

fn later(reason: &str) -> Crossed {
    Crossed::Later(cut(reason, REASON_BYTES_MAX))
}
