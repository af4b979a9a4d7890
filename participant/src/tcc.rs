//! The branches of TCC: try, then confirm or cancel.
//!
//! A try reserves and commits locally, so its yes is a row that is done. Confirm and cancel exclude
//! each other at the key of one row; what is answered is what the rows say.

use std::sync::Arc;

use accordant_protocol::id::Gid;
use accordant_protocol::limits::REASON_BYTES_MAX;
use accordant_protocol::wire::contract::{
    BranchEnd, FinishOrder, FinishVerb, Identity, PrepareCall, PrepareReply, Vote, cut,
};
use futures_util::{FutureExt, StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument as _, error, warn};

use crate::barrier::{self, Crossed, Crossing, Refusals, Task, Verb};
use crate::clock;
use crate::engine::{Engine, Unanswered};
use crate::finish::End;
use crate::limits::{CONFIRM_MS_MAX, FINISH_PARALLEL, FINISH_WAIT};
use crate::metric;
use crate::refusal::Refusal;

/// Carries out a try.
///
/// # Durability
/// A yes, a no and a committed are durable before they are returned.
///
/// # Cancel safety
/// Dropping the future closes the branch's connection; what is there afterwards, the next call
/// finds.
pub(crate) async fn reserve(
    engine: &Arc<Engine>,
    call: &PrepareCall,
) -> Result<PrepareReply, Unanswered> {
    engine
        .watermarks
        .note(&call.gtid, call.watermark, clock::now());
    let task = match engine.operations.tcc.get(&call.operation) {
        Some(tcc) => Ok(Task::First(&*tcc.reserve)),
        // As for a two-phase branch: the transaction has not been decided, and a no harms nobody.
        None => Err(Refusal::unknown_operation(&call.operation)),
    };
    let crossing = Crossing {
        gid: Gid { gtid: call.gtid, branch: call.branch },
        verb: Verb::Try,
        attempt: call.attempt,
        epoch: call.epoch,
        deadline: call.deadline,
        operation: &call.operation,
        payload: &call.payload,
        told: None,
        task,
        refusals: Refusals::Stored,
    };
    let answered = barrier::cross(engine, &crossing).await;
    let (crossed, identity) = answered.inspect_err(|_| metric::vote_unknown(engine))?;
    let vote = match crossed {
        Crossed::Done(result) => Vote::Yes { result },
        Crossed::Refused(refusal) => Vote::No { refusal },
        Crossed::Confirmed(result) => Vote::Committed { result },
        Crossed::InProgress(_) => Vote::InProgress,
        Crossed::Later(reason) => Vote::RetryLater { reason },
        Crossed::Undone(_) => return Err(Unanswered::Corrupt("a try is not undone by itself")),
    };
    metric::vote(engine, &vote);
    Ok(PrepareReply { attempt: call.attempt, identity, vote })
}

/// Carries out the confirms and cancels of one call, and answers while its caller still listens:
/// what has not ended by then goes on, and is *in progress*. A repeat finds what came of it.
///
/// # Durability
/// Each end is durable before it is returned.
///
/// # Cancel safety
/// Dropping the future leaves those that have begun at work.
pub(crate) async fn end_all(
    engine: &Arc<Engine>,
    orders: Vec<(usize, &FinishOrder)>,
    identity: &Identity,
) -> Vec<End> {
    let until = Instant::now() + FINISH_WAIT;
    let ends = orders.into_iter().map(|(nr, order)| {
        let (engine, identity) = (Arc::clone(engine), identity.clone());
        async move { (nr, end_until(until, engine, order.clone(), identity).await) }
    });
    let ends: Vec<_> = ends.map(FutureExt::boxed).collect();
    stream::iter(ends)
        .buffer_unordered(FINISH_PARALLEL)
        .collect()
        .await
}

/// Works in a task of its own. How many there are is bounded by the connections for branches.
async fn end_until(
    until: Instant,
    engine: Arc<Engine>,
    order: FinishOrder,
    identity: Identity,
) -> Option<BranchEnd> {
    if Instant::now() >= until {
        return Some(BranchEnd::InProgress);
    }
    let working = Arc::clone(&engine);
    let work = async move { end(&working, &order, &identity).await };
    let work = engine.tasks.spawn(work.in_current_span());
    match timeout_at(until, work).await {
        Ok(ended) => ended.unwrap_or(None),
        Err(_) => Some(BranchEnd::InProgress),
    }
}

/// Carries out a confirm or a cancel. `None` if nothing is known.
///
/// # Durability
/// Each end is durable before it is returned.
async fn end(engine: &Arc<Engine>, order: &FinishOrder, identity: &Identity) -> Option<BranchEnd> {
    let gid = Gid { gtid: order.gtid, branch: order.branch };
    let Some(crossing) = crossing(engine, order, gid) else {
        return Some(later("the order does not say what to confirm or to cancel"));
    };
    let verb = crossing.verb;
    match Box::pin(barrier::cross(engine, &crossing)).await {
        Ok((_, found))
            if found.system != identity.system || found.timeline != identity.timeline =>
        {
            // The identity of the reply would not be that of this answer.
            error!(%gid, "two connections lead to different servers");
            None
        }
        Ok((crossed, _)) => Some(said(verb, gid, crossed, order.want_result)),
        Err(Unanswered::Expired) => {
            error!(%gid, "an order is older than what is kept here");
            Some(later(&Unanswered::Expired.to_string()))
        }
        Err(error) => {
            warn!(%gid, %error, "an order could not be carried out");
            None
        }
    }
}

fn crossing<'a>(engine: &'a Engine, order: &'a FinishOrder, gid: Gid) -> Option<Crossing<'a>> {
    let work = order.work.as_ref()?;
    let tcc = engine.operations.tcc.get(&work.operation);
    let (verb, handler) = match order.verb {
        FinishVerb::Confirm => (Verb::Confirm, tcc.map(|tcc| &tcc.confirm)),
        FinishVerb::Cancel => (Verb::Cancel, tcc.map(|tcc| &tcc.cancel)),
        FinishVerb::Commit | FinishVerb::Abort => return None,
    };
    let task = match handler {
        Some(handler) => Ok(Task::After(&**handler)),
        None => Err(Refusal::unknown_operation(&work.operation)),
    };
    Some(Crossing {
        gid,
        verb,
        attempt: order.attempt,
        epoch: order.epoch,
        deadline: clock::now().plus_millis(CONFIRM_MS_MAX),
        operation: &work.operation,
        payload: &work.payload,
        told: None,
        task,
        refusals: Refusals::Later,
    })
}

fn said(verb: Verb, gid: Gid, crossed: Crossed, want_result: bool) -> BranchEnd {
    match crossed {
        Crossed::Confirmed(result) => {
            if verb == Verb::Cancel {
                error!(%gid, "told to cancel a reservation that is confirmed");
            }
            BranchEnd::Committed { result: result.filter(|_| want_result) }
        }
        Crossed::Undone(_) => {
            if verb == Verb::Confirm {
                error!(%gid, "a reservation that was to be confirmed is not there");
            }
            BranchEnd::Aborted
        }
        Crossed::InProgress(_) => BranchEnd::InProgress,
        Crossed::Later(reason) => BranchEnd::RetryLater { reason },
        Crossed::Refused(refusal) => later(&refusal.detail),
        Crossed::Done(_) => later("the order came to nothing"),
    }
}

fn later(reason: &str) -> BranchEnd {
    BranchEnd::RetryLater { reason: cut(reason, REASON_BYTES_MAX) }
}
