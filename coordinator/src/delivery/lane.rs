//! The way to one participant: bounded, with phase-two orders travelling together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::effect::{Answer, Call, Message};
use accordant_protocol::id::{Attempt, BranchIndex, Epoch, Gtid, ParticipantName, Traceparent};
use accordant_protocol::limits::{CALL_BYTES_MAX, FINISH_ORDERS_MAX};
use accordant_protocol::wire::contract::{
    ACT_PATH, FINISH_PATH, FinishCall, FinishOrder, PREPARE_PATH, PrepareCall,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, debug, debug_span};

use super::act::{self, Asked, Head};
use super::registry::{Registry, join};
use super::reply::{Received, read_ends, read_vote};
use super::transport::{Request, Transport, TransportError};
use crate::driver::Alarm;
use crate::journal::tenure::Tenure;
use crate::{clock, crash};

/// How participants are called.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryConfig {
    /// How long one prepare call may take; the transaction's deadline may end it earlier.
    pub prepare_timeout: Duration,
    /// How long one phase-two call may take.
    pub finish_timeout: Duration,
    /// Prepare calls that are out at one participant at a time.
    pub prepares_max: usize,
    /// Phase-two calls that are out at one participant at a time.
    pub finishes_max: usize,
    /// Calls to act or to make good that are out at one participant at a time.
    pub acts_max: usize,
}

/// What calls are made with.
#[derive(Clone, Copy)]
pub(crate) struct Outbound<'a> {
    pub(crate) transport: &'a Arc<dyn Transport>,
    pub(crate) config: DeliveryConfig,
    /// Below which address plain services are told to call back.
    pub(crate) public_url: Option<&'a str>,
    /// What this process owns: calls to act go out only for that.
    pub(crate) tenure: &'a Tenure,
}

/// What a call came to.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Who was called.
    pub participant: ParticipantName,
    /// The transaction.
    pub gtid: Gtid,
    /// The epoch under which the call was made.
    pub epoch: Epoch,
    /// The branch.
    pub branch: BranchIndex,
    /// The attempt.
    pub attempt: Attempt,
    /// What.
    pub answer: Answer,
}

/// Bytes of payloads in one phase-two call: with all that is around them it stays below what a call
/// may have.
const WORK_BYTES_MAX: usize = CALL_BYTES_MAX / 2;

/// Orders that may wait for a call to one participant. Past it an order counts as unanswered and
/// comes back after its pause.
const ORDERS_WAITING_MAX: usize = 16 * 1024;

/// Calls to act that may wait at one participant. Past it one counts as unanswered and is repeated
/// after its pause.
const ACTS_WAITING_MAX: usize = 4 * 1024;

/// Calls participants. Cheap to clone.
#[derive(Clone)]
pub struct Delivery {
    lanes: Arc<BTreeMap<ParticipantName, Lane>>,
    answers: mpsc::Sender<Answered>,
    calls: TaskTracker,
    alarm: Alarm,
}

#[derive(Clone)]
struct Lane {
    shared: Arc<LaneShared>,
    orders: mpsc::Sender<Waiting>,
}

pub(super) struct LaneShared {
    pub(super) name: ParticipantName,
    pub(super) base: Uri,
    prepare: Uri,
    finish: Uri,
    pub(super) act: Uri,
    pub(super) transport: Arc<dyn Transport>,
    config: DeliveryConfig,
    prepares: Semaphore,
    pub(super) acts: Semaphore,
    /// Of acts that are out, and of those that wait.
    act_places: Arc<Semaphore>,
    /// Where participants reach this coordinator.
    pub(super) public_url: Option<Arc<str>>,
    pub(super) tenure: Tenure,
}

/// An order that waits for a call, with where its answer goes.
struct Waiting {
    order: FinishOrder,
    traceparent: Option<Traceparent>,
    answers: mpsc::Sender<Answered>,
    /// The branch's part in its transaction's trace.
    span: Span,
}

impl Delivery {
    /// Opens a lane to each registered participant. Answers go to `answers`; clones made by
    /// [`Delivery::answering_to`] share the lanes. Cancel `stop` to end the lanes. The alarm goes off
    /// if a call panics, whose answer then never comes.
    ///
    /// # Errors
    /// If a participant's base address takes no path behind it.
    pub(crate) fn start(
        registry: &Registry,
        outbound: Outbound<'_>,
        answers: mpsc::Sender<Answered>,
        stop: &CancellationToken,
        alarm: Alarm,
    ) -> Result<Self, http::uri::InvalidUri> {
        let Outbound { transport, config, public_url, tenure } = outbound;
        let public_url: Option<Arc<str>> = public_url.map(Arc::from);
        let calls = TaskTracker::new();
        let mut lanes = BTreeMap::new();
        for (name, base) in registry.iter() {
            let shared = Arc::new(LaneShared {
                name: name.clone(),
                base: base.clone(),
                prepare: join(base, PREPARE_PATH)?,
                finish: join(base, FINISH_PATH)?,
                act: join(base, ACT_PATH)?,
                transport: Arc::clone(transport),
                config,
                prepares: Semaphore::new(config.prepares_max),
                acts: Semaphore::new(config.acts_max),
                act_places: Arc::new(Semaphore::new(config.acts_max + ACTS_WAITING_MAX)),
                public_url: public_url.clone(),
                tenure: tenure.clone(),
            });
            let (orders, waiting) = mpsc::channel(ORDERS_WAITING_MAX);
            let run = run_orders(
                Arc::clone(&shared),
                waiting,
                calls.clone(),
                stop.clone(),
                alarm.clone(),
            );
            calls.spawn(alarm.clone().over("a lane of orders", run));
            lanes.insert(name.clone(), Lane { shared, orders });
        }
        Ok(Self { lanes: Arc::new(lanes), answers, calls, alarm })
    }

    /// The same lanes, with the answers going elsewhere.
    #[must_use]
    pub fn answering_to(&self, answers: mpsc::Sender<Answered>) -> Self {
        Self { answers, ..self.clone() }
    }

    /// Carries a call out in the background. It never waits; exactly one answer comes for it. What
    /// cannot be sent now comes back at once, as the error.
    ///
    /// # Errors
    /// The answer that the call came to without being sent.
    pub fn send(&self, call: Call) -> Result<(), Box<Answered>> {
        let Some(lane) = self.lanes.get(&call.participant) else {
            return Err(Box::new(unsent(
                call.participant,
                &call.message,
                "the participant is not registered",
            )));
        };
        match call.message {
            Message::Prepare(prepare) => {
                let shared = Arc::clone(&lane.shared);
                let answers = self.answers.clone();
                // Made here, where the transaction's span is entered.
                let span = debug_span!(
                    "branch.prepare", gtid = %prepare.gtid, branch = prepare.branch.0,
                    participant = %prepare.participant, attempt = prepare.attempt.0,
                    epoch = prepare.epoch.0,
                );
                let run = run_prepare(shared, prepare, call.traceparent, answers).instrument(span);
                self.calls
                    .spawn(self.alarm.clone().over("a prepare call", run));
                Ok(())
            }
            Message::Finish(order) => {
                let answers = self.answers.clone();
                let span = debug_span!(
                    "branch.finish", gtid = %order.gtid, branch = order.branch.0,
                    participant = %call.participant, verb = order.verb.word(),
                    attempt = order.attempt.0, epoch = order.epoch.0,
                );
                let waiting = Waiting { order, traceparent: call.traceparent, answers, span };
                lane.orders.try_send(waiting).map_err(|error| {
                    let order = Message::Finish(error.into_inner().order);
                    Box::new(unsent(call.participant, &order, "too many orders wait"))
                })
            }
            Message::Act(act) => self.act(lane, Asked::Contract(Box::new(act)), call.traceparent),
            Message::Endpoint(act) => self.act(lane, Asked::Plain(Box::new(act)), call.traceparent),
        }
    }

    fn act(
        &self,
        lane: &Lane,
        asked: Asked,
        trace: Option<Traceparent>,
    ) -> Result<(), Box<Answered>> {
        let shared = Arc::clone(&lane.shared);
        let head = asked.head();
        let Ok(place) = Arc::clone(&shared.act_places).try_acquire_owned() else {
            let answer = Answer::Unsent { error: "too many calls wait".to_owned() };
            return Err(Box::new(head.answered(shared.name.clone(), answer)));
        };
        let span = debug_span!(
            "action.call", gtid = %head.gtid, branch = head.branch.0, participant = %shared.name,
            verb = head.verb.word(), attempt = head.attempt.0, epoch = head.epoch.0,
        );
        let run = act::run(shared, asked, trace, self.answers.clone(), place).instrument(span);
        self.calls
            .spawn(self.alarm.clone().over("an act call", run));
        Ok(())
    }
}

fn unsent(participant: ParticipantName, message: &Message, error: &str) -> Answered {
    let answer = Answer::Unanswered { error: error.to_owned() };
    match message {
        Message::Prepare(call) => answered(participant, call, answer),
        Message::Finish(order) => finished(participant, order, answer),
        Message::Act(call) => Head::from(call).answered(participant, answer),
        Message::Endpoint(call) => Head::from(call).answered(participant, answer),
    }
}

const fn answered(participant: ParticipantName, call: &PrepareCall, answer: Answer) -> Answered {
    let &PrepareCall { gtid, epoch, branch, attempt, .. } = call;
    Answered { participant, gtid, epoch, branch, attempt, answer }
}

const fn finished(participant: ParticipantName, order: &FinishOrder, answer: Answer) -> Answered {
    let &FinishOrder { gtid, epoch, branch, attempt, .. } = order;
    Answered { participant, gtid, epoch, branch, attempt, answer }
}

async fn run_prepare(
    lane: Arc<LaneShared>,
    call: PrepareCall,
    traceparent: Option<Traceparent>,
    answers: mpsc::Sender<Answered>,
) {
    let answer = prepare(&lane, &call, traceparent.as_ref()).await;
    count("prepare", &lane.name, &answer);
    crash::reach("coordinator.vote.received");
    // The shard is gone only when the coordinator stops; the next start asks again.
    let _stopped = answers
        .send(answered(lane.name.clone(), &call, answer))
        .await;
}

async fn prepare(lane: &LaneShared, call: &PrepareCall, trace: Option<&Traceparent>) -> Answer {
    let left = Duration::from_millis(call.deadline.millis_since(clock::now()));
    let timeout = lane.config.prepare_timeout.min(left);
    let permit = tokio::time::timeout(timeout, lane.prepares.acquire()).await;
    let Ok(Ok(_permit)) = permit else {
        return Answer::Unanswered { error: "too many calls are out".to_owned() };
    };
    let body = match serde_json::to_vec(call) {
        Ok(body) => Bytes::from(body),
        Err(error) => return Answer::Unanswered { error: error.to_string() },
    };
    let key = format!("{}:{}:prepare", call.gtid, call.branch);
    let left = Duration::from_millis(call.deadline.millis_since(clock::now()));
    let timeout = lane.config.prepare_timeout.min(left);
    crash::reach("coordinator.prepare.sending");
    let request = post(
        lane.prepare.clone(),
        contract_headers(&key, trace),
        body,
        timeout,
    );
    read_vote(call, lane.transport.send(request).await)
}

/// Sends orders as long as there are any; as many as wait go in one call.
async fn run_orders(
    lane: Arc<LaneShared>,
    mut waiting: mpsc::Receiver<Waiting>,
    calls: TaskTracker,
    stop: CancellationToken,
    alarm: Alarm,
) {
    let permits = Arc::new(Semaphore::new(lane.config.finishes_max));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let mut batch = Vec::new();
        let received = tokio::select! {
            received = waiting.recv_many(&mut batch, FINISH_ORDERS_MAX) => received,
            () = stop.cancelled() => 0,
        };
        if received == 0 {
            return;
        }
        let lane = Arc::clone(&lane);
        let run = async move {
            for part in parts(batch) {
                finish(&lane, part).await;
            }
            drop(permit);
        };
        calls.spawn(alarm.clone().over("a finish call", run));
    }
}

/// Orders of TCC branches carry their payloads: as many as fit go in one call.
fn parts(batch: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let (mut parts, mut bytes) = (Vec::new(), 0);
    for waiting in batch {
        let work = waiting.order.work.as_ref();
        let own = work.map_or(0, |work| work.payload.text().len());
        bytes += own;
        match parts.last_mut() {
            Some(part) if bytes <= WORK_BYTES_MAX => Vec::push(part, waiting),
            _ => {
                bytes = own;
                parts.push(vec![waiting]);
            }
        }
    }
    parts
}

/// Carries orders out in one call. Where the participant does not take the call, and not for want of
/// time, each order goes once more in a call of its own: one that it will never take must not hold up
/// the branches of other transactions.
async fn finish(lane: &LaneShared, batch: Vec<Waiting>) {
    let received = finish_call(lane, &batch).await;
    if batch.len() == 1 || !is_not_taken(&received) {
        return tell(lane, batch, received).await;
    }
    debug!(participant = %lane.name, orders = batch.len(), "a finish call was not taken: one by one");
    let mut left = batch.into_iter();
    for waiting in left.by_ref() {
        let alone = vec![waiting];
        let received = finish_call(lane, &alone).await;
        let goes_on = received.is_ok();
        tell(lane, alone, received).await;
        if !goes_on {
            break;
        }
    }
    // Nobody answers any more: they come back after their pauses.
    let left: Vec<Waiting> = left.collect();
    if !left.is_empty() {
        let text = "not sent: the order before it was not answered".to_owned();
        tell(lane, left, Err(TransportError::Connection { text })).await;
    }
}

/// Whether the call was not taken for what it holds, of which a part may be taken.
fn is_not_taken(received: &Received) -> bool {
    let held_against_it = [
        StatusCode::BAD_REQUEST,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::UNPROCESSABLE_ENTITY,
    ];
    let status = received.as_ref().ok().map(|response| response.status);
    status.is_some_and(|status| held_against_it.contains(&status))
}

async fn finish_call(lane: &LaneShared, batch: &[Waiting]) -> Received {
    let orders: Vec<FinishOrder> = batch.iter().map(|waiting| waiting.order.clone()).collect();
    let trace = batch.iter().find_map(|waiting| waiting.traceparent.clone());
    let first = orders
        .first()
        .map(|order| (order.gtid, order.branch, order.verb));
    let key = first.map(|(gtid, branch, verb)| format!("{gtid}:{branch}:{}", verb.word()));
    let call = FinishCall { participant: lane.name.clone(), orders };
    // One call carries branches of many transactions: it stands beside their spans, linked.
    let span =
        debug_span!(parent: None, "finish_call", participant = %lane.name, orders = batch.len());
    for waiting in batch {
        span.follows_from(&waiting.span);
    }
    let received = async {
        let body = serde_json::to_vec(&call)
            .map(Bytes::from)
            .unwrap_or_default();
        crash::reach("coordinator.finish.sending");
        let headers = contract_headers(&key.unwrap_or_default(), trace.as_ref());
        let timeout = lane.config.finish_timeout;
        let request = post(lane.finish.clone(), headers, body, timeout);
        lane.transport.send(request).await
    };
    received.instrument(span).await
}

/// Tells each branch what became of its order.
async fn tell(lane: &LaneShared, batch: Vec<Waiting>, received: Received) {
    let orders: Vec<&FinishOrder> = batch.iter().map(|waiting| &waiting.order).collect();
    let answers = read_ends(&orders, received);
    crash::reach("coordinator.finish.answered");
    for (waiting, answer) in batch.into_iter().zip(answers) {
        let order = waiting.order;
        count(order.verb.word(), &lane.name, &answer);
        let answered = finished(lane.name.clone(), &order, answer);
        let _stopped = waiting.answers.send(answered).await;
    }
}

const fn post(uri: Uri, headers: HeaderMap, body: Bytes, timeout: Duration) -> Request {
    let (method, reply_bytes_max) = (Method::POST, CALL_BYTES_MAX);
    Request { method, uri, headers, body, reply_bytes_max, timeout }
}

/// The headers of a call by the contract.
pub(super) fn contract_headers(key: &str, trace: Option<&Traceparent>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    if let Ok(value) = HeaderValue::from_str(key) {
        headers.insert("idempotency-key", value);
    }
    if let Some(Ok(value)) = trace.map(|trace| HeaderValue::from_str(trace.as_str())) {
        headers.insert("traceparent", value);
    }
    headers
}

pub(super) fn count(verb: &'static str, participant: &ParticipantName, answer: &Answer) {
    let answer = match answer {
        Answer::Vote { vote, .. } => vote.word(),
        Answer::End { end, .. } => end.word(),
        Answer::Acted { answer, .. } => answer.word(),
        Answer::Unanswered { error } => {
            debug!(%participant, verb, error, "a call was not answered");
            "unknown"
        }
        Answer::Unsent { error } => {
            debug!(%participant, verb, error, "a call was not sent");
            "unsent"
        }
    };
    let participant = participant.as_str().to_owned();
    metrics::counter!(
        "accordant_calls_total", "participant" => participant, "verb" => verb, "answer" => answer,
    )
    .increment(1);
}
