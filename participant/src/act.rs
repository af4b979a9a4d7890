//! `act`: do an action, or make it good; deliver a message.

use std::sync::Arc;

use accordant_protocol::id::Gid;
use accordant_protocol::wire::contract::{ActAnswer, ActCall, ActReply, ActVerb};

use crate::barrier::{self, Crossed, Crossing, Refusals, Task, Verb};
use crate::clock;
use crate::engine::{Engine, Unanswered};
use crate::metric;
use crate::refusal::Refusal;

/// Carries out one call.
///
/// # Durability
/// A *done* is durable before it is returned, and so is the *refused* of an act that may refuse. The
/// no of a message or a retriable step is only said: nothing of it is kept.
///
/// # Cancel safety
/// Dropping the future closes the branch's connection; what is there afterwards, the next call
/// finds.
pub(crate) async fn act(engine: &Arc<Engine>, call: &ActCall) -> Result<ActReply, Unanswered> {
    engine
        .watermarks
        .note(&call.gtid, call.watermark, clock::now());
    let answered = barrier::cross(engine, &crossing(engine, call)).await;
    let (crossed, identity) = answered.inspect_err(|_| metric::act_unknown(engine, call.verb))?;
    let answer = match crossed {
        Crossed::Done(result) | Crossed::Undone(result) => ActAnswer::Done { result },
        Crossed::Refused(refusal) => ActAnswer::Refused { refusal },
        Crossed::InProgress(retry_after_ms) => ActAnswer::InProgress { retry_after_ms },
        Crossed::Later(reason) => ActAnswer::RetryLater { reason },
        Crossed::Confirmed(_) => {
            return Err(Unanswered::Corrupt("an action is not confirmed"));
        }
    };
    metric::act(engine, call.verb, &answer);
    Ok(ActReply { attempt: call.attempt, identity, answer })
}

fn crossing<'a>(engine: &'a Engine, call: &'a ActCall) -> Crossing<'a> {
    let (verb, task, refusals) = task(engine, call);
    Crossing {
        gid: Gid { gtid: call.gtid, branch: call.branch },
        verb,
        attempt: call.attempt,
        epoch: call.epoch,
        deadline: call.deadline,
        operation: &call.operation,
        payload: &call.payload,
        told: call.result.as_ref(),
        task,
        refusals,
    }
}

/// A message or a retriable step must be done, so its no is not stored: the coordinator calls an
/// operator, and the call that comes after the service was mended is to succeed.
///
/// An operation that is not known here is asked for again, unlike that of a two-phase branch: it may
/// belong to a later version of the service. Neither no would be right, since the call does not say
/// what the plan makes of it: a stored one could never be mended for a message, and one that is only
/// said could be followed by a late repeat that does what its saga counts as refused.
fn task<'a>(engine: &'a Engine, call: &ActCall) -> (Verb, Result<Task<'a>, Refusal>, Refusals) {
    let action = engine.operations.actions.get(&call.operation);
    let unknown = || Refusal::later(Refusal::unknown_operation(&call.operation).detail());
    match call.verb {
        ActVerb::Act => match action {
            Some(action) => {
                let refusals = match action.refusable {
                    true => Refusals::Stored,
                    false => Refusals::Said,
                };
                (Verb::Act, Ok(Task::First(&*action.act)), refusals)
            }
            None => (Verb::Act, Err(unknown()), Refusals::Later),
        },
        ActVerb::Compensate => {
            let task = match action.map(|action| &action.compensate) {
                Some(Some(compensate)) => Ok(Task::After(&**compensate)),
                Some(None) => Err(no_compensation(call)),
                None => Err(unknown()),
            };
            (Verb::Compensate, task, Refusals::Said)
        }
    }
}

fn no_compensation(call: &ActCall) -> Refusal {
    let detail = format!(
        "the operation {:?} is done and has no compensation",
        call.operation.as_str()
    );
    Refusal::new("accordant.no_compensation", detail)
}
