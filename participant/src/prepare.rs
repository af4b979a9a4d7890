//! `prepare`: do the work, vote.
//!
//! The order of things is the table in `accordant_protocol::branch`: look, act, and where the
//! database refuses the act, look again. A yes and a no are both facts in the database before they
//! are said.

use std::sync::Arc;

use accordant_protocol::branch::{Act, Holding, Verb, act};
use accordant_protocol::id::Gid;
use accordant_protocol::json::Json;
use accordant_protocol::wire::contract::{self, Identity, PrepareCall, PrepareReply, Vote};
use tokio::time::sleep;
use tracing::warn;

use crate::branch::Branch;
use crate::clock;
use crate::crash::crash_point;
use crate::engine::{BUSY, Engine, Unanswered};
use crate::inbox::{self, Sealed};
use crate::limits::{
    IDLE_GRACE_MS, LOOK_MS_MIN, RECALL_PAUSE, RECALLS_MAX, SEALS_MAX, STATEMENT_MAX,
};
use crate::look::{self, Look, bounded};
use crate::metric;
use crate::pool::{Lease, LeaseError};
use crate::prepared::{self, Voted};
use crate::refusal::{Kind, Refusal, STALE_PLAN};
use crate::sqlstate;
use crate::statement::{self, Bounds, End, Session};
use crate::work::{self, Worked, millis};

/// A vote, and the database that gave it.
struct Answer {
    vote: Vote,
    identity: Identity,
}

/// Carries out one call.
///
/// # Durability
/// A yes, a no and a committed are durable before they are returned.
///
/// # Cancel safety
/// Dropping the future closes the branch's connection; what is there afterwards, the next call
/// finds. The router runs it in a task of its own, so that a caller who hangs up does not even
/// cause that.
pub(crate) async fn prepare(
    engine: &Arc<Engine>,
    call: &PrepareCall,
) -> Result<PrepareReply, Unanswered> {
    let gid = Gid { gtid: call.gtid, branch: call.branch };
    engine
        .watermarks
        .note(&call.gtid, call.watermark, clock::now());
    let answered = answer(engine, call, gid).await;
    match answered {
        Ok(Answer { vote, identity }) => {
            metric::vote(engine, &vote);
            Ok(PrepareReply { attempt: call.attempt, identity, vote })
        }
        Err(unanswered) => {
            metric::vote_unknown(engine);
            Err(unanswered)
        }
    }
}

async fn answer(engine: &Arc<Engine>, call: &PrepareCall, gid: Gid) -> Result<Answer, Unanswered> {
    let verb = if call.one_phase {
        Verb::CommitOnePhase
    } else {
        Verb::Prepare
    };
    let (mut lease, look) = match open(engine, call, &gid).await {
        Ok(opened) => opened,
        Err(Unanswered::Lease(LeaseError::Busy)) => {
            let (identity, reason) = (engine.present_identity().await?, BUSY.to_owned());
            return Ok(Answer { vote: Vote::RetryLater { reason }, identity });
        }
        Err(other) => return Err(other),
    };
    if matches!(act(verb, look.holding), Act::Work) {
        if look.below_floor {
            return Err(Unanswered::Expired);
        }
        let states = Arc::clone(&engine.states);
        let (attempt, epoch, deadline) = (call.attempt, call.epoch, call.deadline);
        let branch = Branch { lease, gid, attempt, epoch, deadline, states };
        return do_work(engine, call, branch, look.identity).await;
    }
    // Nothing is to be done here. The look had opened a transaction; it held no work.
    bounded(STATEMENT_MAX, sqlx::raw_sql("rollback").execute(lease.pg())).await?;
    let answer = fact(&mut lease, look, verb, None).await?;
    lease.release();
    Ok(answer)
}

/// Opens the branch. A connection that has died while it was idle is replaced: nothing was sent
/// on it that could have had an effect.
async fn open(engine: &Engine, call: &PrepareCall, gid: &Gid) -> Result<(Lease, Look), Unanswered> {
    let work_ms = work::left_ms(call.deadline);
    let bounds = Bounds {
        // The rest of the opening is under it too, and is to look even when the time is over.
        statement_ms: work_ms.max(LOOK_MS_MIN),
        idle_ms: work_ms.saturating_add(IDLE_GRACE_MS),
        lock_ms: millis(engine.settings.lock_timeout),
    };
    let mut opened = Err(Unanswered::Timeout);
    for _ in 0..2 {
        let mut lease = engine.work.lease().await?;
        let server = lease.server().clone();
        let text = statement::open(gid, server.database, bounds);
        let asked = bounded(STATEMENT_MAX, sqlx::raw_sql(text).fetch_all(lease.pg())).await;
        opened = match asked.and_then(|rows| look::read(&rows, &server)) {
            Ok(look) => return Ok((lease, look)),
            Err(error) => Err(error),
        };
        lease.discard();
    }
    opened
}

/// A connection on which the branch is open, and the identity of its database as read when it was
/// opened: after the call had come in, which is all that is asked of it.
struct Opened {
    lease: Lease,
    identity: Identity,
}

async fn do_work(
    engine: &Arc<Engine>,
    call: &PrepareCall,
    mut branch: Branch,
    identity: Identity,
) -> Result<Answer, Unanswered> {
    let gid = branch.gid;
    crash_point!("participant.prepare.before_work");
    let worked = run(engine, call, &mut branch).await;
    let Branch { lease, .. } = branch;
    match worked {
        Worked::Done(result) => {
            let opened = Opened { lease, identity };
            vote(engine, call, opened, gid, result).await
        }
        Worked::Refused(refusal) if refusal.is_later() => {
            drop(lease);
            let vote = match refusal.kind() {
                Kind::InProgress(_) => Vote::InProgress,
                Kind::No | Kind::Passing | Kind::Later => {
                    Vote::RetryLater { reason: refusal.to_string() }
                }
            };
            Ok(Answer { vote, identity })
        }
        Worked::Refused(refusal) => refuse(engine, call, Some(lease), gid, refusal).await,
        Worked::Broken(refusal) => {
            // Its transaction ends with the connection, and can never have a marker.
            drop(lease);
            refuse(engine, call, None, gid, refusal).await
        }
    }
}

/// Runs the handler, if there is one and time for it.
async fn run(engine: &Engine, call: &PrepareCall, branch: &mut Branch) -> Worked {
    let Some(operation) = engine.operations.two_phase.get(&call.operation) else {
        return Worked::Refused(Refusal::unknown_operation(&call.operation));
    };
    let handler = operation.run(branch, &call.payload);
    work::run(&call.operation, call.deadline, handler).await
}

/// Ends the work by the vote message, and answers by what it did.
async fn vote(
    engine: &Arc<Engine>,
    call: &PrepareCall,
    opened: Opened,
    gid: Gid,
    result: Option<Json>,
) -> Result<Answer, Unanswered> {
    let Opened { mut lease, identity } = opened;
    let read_only = match before_vote(&mut lease, result.as_ref()).await {
        Ok(read_only) => read_only,
        Err(Unanswered::Database(error)) if !sqlstate::is_lost(&error) => {
            // The handler passed over an error, and its transaction has failed.
            let refusal = Refusal::from(error);
            return refuse(engine, call, Some(lease), gid, refusal).await;
        }
        Err(error) => {
            // The vote message was not sent, so the transaction ends with the connection.
            warn!(%error, "the connection was lost before the vote");
            lease.discard();
            return recall(engine, call, gid, None).await;
        }
    };
    crash_point!("participant.prepare.before_vote");
    let lock_ms = millis(engine.settings.lock_timeout);
    let (message, done) = if call.one_phase {
        let message = statement::vote(&gid, call.epoch, lock_ms, End::Commit);
        (message, Vote::Committed { result: result.clone() })
    } else if read_only {
        (
            statement::end_read_only(&gid),
            Vote::ReadOnly { result: result.clone() },
        )
    } else {
        let message = statement::vote(&gid, call.epoch, lock_ms, End::Prepare);
        (message, Vote::Yes { result: result.clone() })
    };
    let voted = prepared::vote(engine, &mut lease, message).await;
    crash_point!("participant.prepare.after_vote");
    match voted {
        Voted::Done => {
            lease.release();
            Ok(Answer { vote: done, identity })
        }
        Voted::Refused(refusal) => refuse(engine, call, Some(lease), gid, refusal).await,
        Voted::HandlerEnded(refusal) => {
            drop(lease);
            refuse(engine, call, None, gid, refusal).await
        }
        Voted::BelowFloor => Err(Unanswered::Expired),
        Voted::Taken => {
            drop(lease);
            recall(engine, call, gid, None).await
        }
        Voted::Unknown => {
            lease.discard();
            recall(engine, call, gid, result).await
        }
    }
}

/// Whether the branch wrote nothing.
async fn before_vote(lease: &mut Lease, result: Option<&Json>) -> Result<bool, Unanswered> {
    use sqlx::Row as _;
    let asked = sqlx::query(statement::BEFORE_VOTE)
        .bind(result.map_or("", Json::text))
        .fetch_one(lease.pg());
    let row = bounded(STATEMENT_MAX, asked).await?;
    Ok(row.try_get("read_only")?)
}

/// Says no, after the seal. Without a connection, or if the one at hand fails, on another.
async fn refuse(
    engine: &Arc<Engine>,
    call: &PrepareCall,
    lease: Option<Lease>,
    gid: Gid,
    refusal: Refusal,
) -> Result<Answer, Unanswered> {
    let said = refusal.into_wire();
    crash_point!("participant.refuse.before_seal");
    let mut sealed = match lease {
        Some(lease) => seal_on(engine, lease, &gid, &said, Session::InBranch).await,
        None => Err(Unanswered::Task),
    };
    for _ in 0..SEALS_MAX {
        if sealed.is_ok() {
            break;
        }
        let lease = engine.control_lease().await?;
        sealed = seal_on(engine, lease, &gid, &said, Session::Clean).await;
    }
    let sealed = sealed?;
    crash_point!("participant.refuse.after_seal");
    match sealed {
        Sealed::Aborted { refusal, identity } => {
            let refusal = refusal.unwrap_or_else(sealed_before);
            Ok(Answer { vote: Vote::No { refusal }, identity })
        }
        Sealed::Committed { result, identity } => {
            Ok(Answer { vote: Vote::Committed { result }, identity })
        }
        Sealed::Blocked => recall(engine, call, gid, None).await,
    }
}

async fn seal_on(
    engine: &Engine,
    mut lease: Lease,
    gid: &Gid,
    refusal: &contract::Refusal,
    session: Session,
) -> Result<Sealed, Unanswered> {
    let sealed = match inbox::seal(engine, &mut lease, gid, Some(refusal), session).await {
        Ok(sealed) => sealed,
        Err(error) => {
            lease.discard();
            return Err(error);
        }
    };
    match sealed.holding() {
        // The message has failed in the middle: the session is in a failed transaction.
        Holding::Active => drop(lease),
        Holding::Committed | Holding::Sealed if refusal.code == STALE_PLAN => drop(lease),
        Holding::Nothing | Holding::Prepared | Holding::Committed | Holding::Sealed => {
            lease.release();
        }
    }
    Ok(sealed)
}

/// Learns what became of the branch, on another connection, and answers by that.
///
/// `result` is that of a vote message of this very call whose answer was lost: if the branch is
/// prepared, that message has prepared it, since it held the lock.
async fn recall(
    engine: &Arc<Engine>,
    call: &PrepareCall,
    gid: Gid,
    result: Option<Json>,
) -> Result<Answer, Unanswered> {
    let verb = if call.one_phase {
        Verb::CommitOnePhase
    } else {
        Verb::Prepare
    };
    let mut answered = Err(Unanswered::Timeout);
    for attempt in 0..RECALLS_MAX {
        if attempt > 0 {
            sleep(RECALL_PAUSE).await;
        }
        let looked = async {
            let mut lease = engine.control_lease().await?;
            let look = look::look(&mut lease, &gid).await;
            if look.is_err() {
                lease.discard();
                return Err(look.err().unwrap_or(Unanswered::Timeout));
            }
            let answer = fact(&mut lease, look?, verb, result.clone()).await?;
            lease.release();
            Ok(answer)
        };
        answered = looked.await;
        let settled = match &answered {
            // The old session may still be at it, or not know yet that we are gone.
            Ok(Answer { vote: Vote::InProgress, .. }) => attempt > 0,
            Ok(_) => true,
            Err(_) => false,
        };
        if settled {
            break;
        }
    }
    answered
}

/// Answers by what is held, without doing anything.
async fn fact(
    lease: &mut Lease,
    look: Look,
    verb: Verb,
    result: Option<Json>,
) -> Result<Answer, Unanswered> {
    let Look { identity, replicated, .. } = look;
    let vote = match act(verb, look.holding) {
        Act::VoteYes => Vote::Yes { result },
        Act::VoteCommitted => Vote::Committed { result: look.result },
        Act::VoteNo => Vote::No { refusal: look.refusal.unwrap_or_else(sealed_before) },
        Act::Work => {
            let reason = "the local transaction was lost before it could vote".to_owned();
            Vote::RetryLater { reason }
        }
        Act::SayInProgress
        | Act::CommitPrepared
        | Act::RollBackPrepared
        | Act::Seal
        | Act::SayCommitted
        | Act::SayAborted => Vote::InProgress,
    };
    if replicated {
        look::barrier(lease).await?;
    }
    Ok(Answer { vote, identity })
}

/// For a seal that an abort has set.
fn sealed_before() -> contract::Refusal {
    contract::Refusal::new("accordant.sealed", "the branch was aborted before")
}
