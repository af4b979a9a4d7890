//! The calls that a node makes: what a plan's order comes to on the wire.

use crate::effect::{Call, EndpointCall, Message};
use crate::id::{Attempt, BranchIndex, Gtid};
use crate::limits::ATTEMPT_MS_DEFAULT;
use crate::plan::{Action, Compensation, Endpoint, Mode, RenderError, Task};
use crate::record::Fate;
use crate::time::Timestamp;
use crate::wire::contract::{ActCall, ActVerb, FinishOrder, FinishVerb, PrepareCall, Work};

use super::machine::Node;
use super::transaction::Transaction;

impl Node {
    pub(super) fn prepare_call(
        &mut self,
        gtid: Gtid,
        index: BranchIndex,
        attempt: Attempt,
        one_phase: bool,
    ) -> Result<Option<Call>, RenderError> {
        let watermark = self.watermark(gtid.partition());
        self.note_floor(gtid, index);
        let Some(transaction) = self.transactions.get(&gtid) else {
            return Ok(None);
        };
        let Some(branch) = transaction.begun.plan.branch(index) else {
            return Ok(None);
        };
        let course = &transaction.course;
        let of_plan = transaction.begun.deadline;
        let call = PrepareCall {
            gtid,
            branch: index,
            participant: branch.participant.clone(),
            attempt,
            epoch: transaction.epoch,
            deadline: course.deadline(of_plan).unwrap_or(of_plan),
            watermark,
            one_phase,
            mode: branch.mode,
            operation: branch.operation.clone(),
            payload: branch.payload.render(|unit| course.result(unit))?,
        };
        Ok(Some(Call {
            participant: branch.participant.clone(),
            traceparent: transaction.begun.traceparent.clone(),
            message: Message::Prepare(call),
        }))
    }

    pub(super) fn finish_call(
        &mut self,
        gtid: Gtid,
        index: BranchIndex,
        fate: Fate,
        attempt: Attempt,
        want_result: bool,
    ) -> Option<Call> {
        let watermark = self.watermark(gtid.partition());
        self.note_floor(gtid, index);
        let transaction = self.transactions.get(&gtid)?;
        let branch = transaction.begun.plan.branch(index)?;
        let course = &transaction.course;
        let (verb, work) = match (branch.mode, fate) {
            (Mode::TwoPhase | Mode::Local, Fate::Commit) => (FinishVerb::Commit, None),
            (Mode::TwoPhase | Mode::Local, Fate::Abort) => (FinishVerb::Abort, None),
            (Mode::Tcc, fate) => {
                let verb = match fate {
                    Fate::Commit => FinishVerb::Confirm,
                    Fate::Abort => FinishVerb::Cancel,
                };
                // What could not be filled in was never tried either.
                let payload = branch.payload.render(|unit| course.result(unit));
                let payload = payload.unwrap_or_else(|_| branch.payload.text().clone());
                let operation = branch.operation.clone();
                (verb, Some(Work { operation, payload }))
            }
        };
        let epoch = transaction.epoch;
        let order = FinishOrder {
            gtid,
            branch: index,
            verb,
            attempt,
            epoch,
            watermark,
            want_result,
            work,
        };
        Some(Call {
            participant: branch.participant.clone(),
            traceparent: transaction.begun.traceparent.clone(),
            message: Message::Finish(order),
        })
    }

    pub(super) fn act_call(
        &mut self,
        now: Timestamp,
        gtid: Gtid,
        index: BranchIndex,
        verb: ActVerb,
        attempt: Attempt,
    ) -> Result<Option<Call>, RenderError> {
        let watermark = self.watermark(gtid.partition());
        self.note_floor(gtid, index);
        let Some(transaction) = self.transactions.get(&gtid) else {
            return Ok(None);
        };
        let Some(action) = transaction.begun.plan.action(index) else {
            return Ok(None);
        };
        let timeout = action.timeout_ms.unwrap_or(ATTEMPT_MS_DEFAULT);
        let deadline = now.plus_millis(timeout);
        let endpoint = match (&action.act, &action.compensation, verb) {
            (Task::Endpoint(endpoint), _, ActVerb::Act)
            | (_, Compensation::Endpoint(endpoint), ActVerb::Compensate) => Some(endpoint),
            _ => None,
        };
        let message = match (endpoint, &action.act) {
            (Some(endpoint), _) => {
                let call = endpoint_call(transaction, action, endpoint, verb, attempt, deadline)?;
                Message::Endpoint(call)
            }
            (None, Task::Operation { operation, payload }) => {
                let course = &transaction.course;
                let result = match verb {
                    ActVerb::Act => None,
                    ActVerb::Compensate => course.result(index).cloned(),
                };
                let payload = match (payload.render(|unit| course.result(unit)), verb) {
                    // What could not be filled in never acted either: there is only to keep it out.
                    (Err(_), ActVerb::Compensate) => payload.text().clone(),
                    (rendered, ActVerb::Act | ActVerb::Compensate) => rendered?,
                };
                Message::Act(ActCall {
                    gtid,
                    branch: index,
                    participant: action.participant.clone(),
                    verb,
                    attempt,
                    epoch: transaction.epoch,
                    deadline,
                    watermark,
                    operation: operation.clone(),
                    payload,
                    result,
                })
            }
            // Nothing is to be made good, so nothing is asked for.
            (None, Task::Endpoint(_)) => return Ok(None),
        };
        Ok(Some(Call {
            participant: action.participant.clone(),
            traceparent: transaction.begun.traceparent.clone(),
            message,
        }))
    }
}

fn endpoint_call(
    transaction: &Transaction,
    action: &Action,
    endpoint: &Endpoint,
    verb: ActVerb,
    attempt: Attempt,
    deadline: Timestamp,
) -> Result<EndpointCall, RenderError> {
    let (gtid, course) = (transaction.gtid, &transaction.course);
    let result = |unit| course.result(unit);
    let body = endpoint.body.as_ref();
    Ok(EndpointCall {
        gtid,
        branch: action.index,
        step: action.name.clone(),
        verb,
        attempt,
        epoch: transaction.epoch,
        deadline,
        method: endpoint.method,
        path: endpoint.path.render(gtid, result)?,
        headers: endpoint.headers.clone(),
        body: body.map(|body| body.render(result)).transpose()?,
        done: endpoint.done.clone(),
        refused: endpoint.refused.clone(),
    })
}
