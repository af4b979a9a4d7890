//! Calls that act or make good: one HTTP call each, by the contract or to a plain service.

use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::effect::{Answer, EndpointCall};
use accordant_protocol::id::{Attempt, BranchIndex, Epoch, Gtid, ParticipantName, Traceparent};
use accordant_protocol::limits::CALL_BYTES_MAX;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::contract::{ActCall, ActVerb};
use bytes::Bytes;
use http::Method;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::endpoint;
use super::lane::{Answered, LaneShared, contract_headers, count};
use super::reply::read_acted;
use super::transport::Request;
use crate::{clock, crash};

/// What is asked of an action.
pub(super) enum Asked {
    /// By the contract.
    Contract(Box<ActCall>),
    /// Of a plain service.
    Plain(Box<EndpointCall>),
}

/// Which call it is.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) gtid: Gtid,
    pub(super) branch: BranchIndex,
    pub(super) verb: ActVerb,
    pub(super) attempt: Attempt,
    pub(super) epoch: Epoch,
    deadline: Timestamp,
}

impl From<&ActCall> for Head {
    fn from(call: &ActCall) -> Self {
        let &ActCall { gtid, branch, verb, attempt, epoch, deadline, .. } = call;
        Self { gtid, branch, verb, attempt, epoch, deadline }
    }
}

impl From<&EndpointCall> for Head {
    fn from(call: &EndpointCall) -> Self {
        let &EndpointCall { gtid, branch, verb, attempt, epoch, deadline, .. } = call;
        Self { gtid, branch, verb, attempt, epoch, deadline }
    }
}

impl Head {
    pub(super) const fn answered(self, participant: ParticipantName, answer: Answer) -> Answered {
        let Self { gtid, branch, attempt, epoch, .. } = self;
        Answered { participant, gtid, epoch, branch, attempt, answer }
    }

    /// The same for every attempt: by it the service knows a repeat.
    pub(super) fn idempotency_key(self) -> String {
        format!("{}:{}:{}", self.gtid, self.branch, self.verb.word())
    }

    fn left(self) -> Duration {
        Duration::from_millis(self.deadline.millis_since(clock::now()))
    }
}

impl Asked {
    pub(super) fn head(&self) -> Head {
        match self {
            Self::Contract(call) => Head::from(call.as_ref()),
            Self::Plain(call) => Head::from(call.as_ref()),
        }
    }
}

/// Carries a call out and tells what it came to. The place in the queue is given back then.
pub(super) async fn run(
    lane: Arc<LaneShared>,
    asked: Asked,
    trace: Option<Traceparent>,
    answers: mpsc::Sender<Answered>,
    place: OwnedSemaphorePermit,
) {
    let head = asked.head();
    let answer = call(&lane, &asked, trace.as_ref()).await;
    count(head.verb.word(), &lane.name, &answer);
    crash::reach("coordinator.act.answered");
    // The shard is gone only when the coordinator stops; the next start asks again.
    let _stopped = answers.send(head.answered(lane.name.clone(), answer)).await;
    drop(place);
}

async fn call(lane: &LaneShared, asked: &Asked, trace: Option<&Traceparent>) -> Answer {
    let head = asked.head();
    let permit = tokio::time::timeout(head.left(), lane.acts.acquire()).await;
    let Ok(Ok(_permit)) = permit else {
        return Answer::Unsent { error: "too many calls are out".to_owned() };
    };
    let request = match asked {
        Asked::Contract(call) => contract_request(lane, call, trace),
        Asked::Plain(call) => {
            endpoint::request(&lane.base, call, lane.public_url.as_deref(), trace)
        }
    };
    let request = match request {
        Ok(request) => Request { timeout: head.left(), ..request },
        Err(error) => return Answer::Unanswered { error },
    };
    // As late as possible: it may have waited, and the process may have been stopped.
    if !lane.tenure.covers(head.gtid.partition(), head.epoch) {
        return Answer::Unsent { error: "the lease is not renewed".to_owned() };
    }
    crash::reach("coordinator.act.sending");
    let received = lane.transport.send(request).await;
    match asked {
        Asked::Contract(call) => read_acted(call, received),
        Asked::Plain(call) => endpoint::read(call, received),
    }
}

fn contract_request(
    lane: &LaneShared,
    call: &ActCall,
    trace: Option<&Traceparent>,
) -> Result<Request, String> {
    let body = serde_json::to_vec(call).map_err(|error| error.to_string())?;
    let head = Head::from(call);
    Ok(Request {
        method: Method::POST,
        uri: lane.act.clone(),
        headers: contract_headers(&head.idempotency_key(), trace),
        body: Bytes::from(body),
        reply_bytes_max: CALL_BYTES_MAX,
        timeout: head.left(),
    })
}
