//! What others say about a transaction that is under way: a sender, that its local transaction has
//! ended; a participant, how an action stands that was in progress; an operator, what is to become
//! of one that is stuck.
//!
//! Each may be said again: a repeat finds what it had said before, and is answered the same.

use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::effect::{Reply, RequestId};
use accordant_protocol::id::{BranchIndex, Gtid};
use accordant_protocol::json::Json as Text;
use accordant_protocol::limits::{REASON_BYTES_MAX, RESULT_BYTES_MAX};
use accordant_protocol::node::Event;
use accordant_protocol::plan::{PlanFault, PlanFaultCode};
use accordant_protocol::record::{Record, Resolution, Resolved};
use accordant_protocol::recovery::History;
use accordant_protocol::wire::api::{CallBackRequest, Outcome, ResolveRequest, TransactionStatus};
use accordant_protocol::wire::contract::{ActAnswer, ActVerb};
use accordant_protocol::wire::problem::ProblemCode;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::body;
use super::problem::Refusal;
use super::read::{find, parse_id, stored};
use crate::driver::Coordinator;

/// How long it may take until it is durable that it was heard.
const WITHIN: Duration = Duration::from_secs(10);

/// Bytes of an operator's name: what an address for mail may have.
const BY_BYTES_MAX: usize = 255;

/// `POST /v1/transactions/{id}/commit` and `…/abort`: the sender's local transaction has ended. Which
/// way, only its marker or a seal can tell: the sender's participant is asked in either case.
pub(super) async fn ended(
    State(coordinator): State<Arc<Coordinator>>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let gtid = parse_id(&id)?;
    let make = move |request| Event::Ended { request, gtid };
    let status = match tell(&coordinator, gtid, make).await? {
        Heard::Yes(status) => *status,
        Heard::Misplaced => return Err(not_local(gtid)),
        Heard::Closed(history) => {
            let declared = history.begun.as_ref();
            if declared.is_some_and(|begun| !begun.plan.is_local()) {
                return Err(not_local(gtid));
            }
            history.status(gtid)
        }
    };
    let code = if status.outcome == Outcome::Pending {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    Ok((code, Json(status)).into_response())
}

fn not_local(gtid: Gtid) -> Refusal {
    let detail = format!("{gtid} does not wait for a local transaction of its sender");
    Refusal::new(ProblemCode::OutOfPlace, detail)
}

/// `POST /v1/transactions/{id}/actions/{index}`: a participant calls back.
pub(super) async fn called_back(
    State(coordinator): State<Arc<Coordinator>>,
    Path((id, index)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<TransactionStatus>, Refusal> {
    let (gtid, action) = (parse_id(&id)?, parse_index(&id, &index)?);
    let CallBackRequest { verb, answer } = body::read(&headers, body)?;
    let faults = faults_of_answer(&answer);
    if !faults.is_empty() {
        return Err(Refusal::invalid(faults));
    }
    let done = matches!(answer, ActAnswer::Done { .. });
    let make = move |request| Event::CalledBack { request, gtid, action, verb, answer };
    match tell(&coordinator, gtid, make).await? {
        Heard::Yes(status) => Ok(Json(*status)),
        Heard::Closed(history) => {
            let declared = history.begun.as_ref();
            if declared.is_none_or(|begun| begun.plan.action(action).is_none()) {
                return Err(no_action(&id, &index));
            }
            Ok(Json(history.status(gtid)))
        }
        // It may have been heard before the saga turned back.
        Heard::Misplaced => match stored(&coordinator, gtid).await? {
            Some(history) if done && verb == ActVerb::Act && is_done(&history, action) => {
                find(&coordinator, gtid, None, WITHIN).await.map(Json)
            }
            Some(_) | None => {
                let verb = verb.word();
                let detail =
                    format!("action {action} of {gtid} was not told to {verb}, or no more");
                Err(Refusal::new(ProblemCode::OutOfPlace, detail))
            }
        },
    }
}

fn is_done(history: &History, action: BranchIndex) -> bool {
    let known = history.actions.get(&action);
    known.is_some_and(|known| known.done.is_some())
}

/// `POST /v1/admin/transactions/{id}/actions/{index}`: an operator decides.
pub(super) async fn resolved(
    State(coordinator): State<Arc<Coordinator>>,
    Path((id, index)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<TransactionStatus>, Refusal> {
    let (gtid, action) = (parse_id(&id)?, parse_index(&id, &index)?);
    let asked: ResolveRequest = body::read(&headers, body)?;
    let faults = faults_of_resolution(&asked);
    if !faults.is_empty() {
        return Err(Refusal::invalid(faults));
    }
    let ResolveRequest { verb, resolution, by, reason } = asked.clone();
    let make =
        move |request| Event::Resolved { request, gtid, action, verb, resolution, by, reason };
    match tell(&coordinator, gtid, make).await? {
        Heard::Yes(status) => Ok(Json(*status)),
        Heard::Misplaced | Heard::Closed(_) => {
            if is_decided_so(&coordinator, gtid, action, &asked).await? {
                return find(&coordinator, gtid, None, WITHIN).await.map(Json);
            }
            let verb = asked.verb.word();
            let detail = format!(
                "action {action} of {gtid} is not stuck at {verb}, or may not be left undone: a \
                 pivot is retried or taken as done, and nothing is abandoned while a branch is in \
                 doubt; look again with `accordant stuck`"
            );
            Err(Refusal::new(ProblemCode::OutOfPlace, detail))
        }
    }
}

/// Whether the last decision about an action was this very one: then its reply was lost.
async fn is_decided_so(
    coordinator: &Coordinator,
    gtid: Gtid,
    action: BranchIndex,
    asked: &ResolveRequest,
) -> Result<bool, Refusal> {
    let stored = coordinator.journal().store().read(gtid).await?;
    let records = stored.into_iter().flat_map(|stored| stored.records);
    let (mut told, mut last) = (None, None);
    for record in records.filter_map(|stored| stored.record.ok()) {
        if let Record::Stuck(stuck) = &record
            && stuck.action == action
        {
            told = Some(stuck.verb);
        }
        if let Record::Resolved(resolved) = record
            && resolved.action == action
        {
            last = told.map(|verb| (verb, resolved));
        }
    }
    Ok(last.is_some_and(|(verb, last)| {
        let Resolved { resolution, by, reason, .. } = last;
        let decided = ResolveRequest { verb, resolution, by, reason };
        decided == *asked
    }))
}

/// What became of what was said.
enum Heard {
    /// It is durable, and this is how the transaction stands.
    Yes(Box<TransactionStatus>),
    /// It has no place where the transaction stands.
    Misplaced,
    /// The transaction has ended before.
    Closed(Box<History>),
}

async fn tell<F>(coordinator: &Coordinator, gtid: Gtid, make: F) -> Result<Heard, Refusal>
where
    F: FnOnce(RequestId) -> Event + Send + 'static,
{
    if let Some(error) = coordinator.quarantine().find(&gtid) {
        let detail = format!("the stored history of {gtid} is not legal: {error}");
        return Err(Refusal::new(ProblemCode::Internal, detail));
    }
    match coordinator.ask_about(gtid, WITHIN, make).await? {
        Reply::Status(status) => return Ok(Heard::Yes(status)),
        Reply::Refused(ProblemCode::OutOfPlace) => return Ok(Heard::Misplaced),
        Reply::NotInMemory => {}
        Reply::Refused(code) => return Err(refusal(coordinator, gtid, code).await),
        reply @ (Reply::KeyReused { .. } | Reply::KeyTaken { .. } | Reply::Verdict(_)) => {
            return Err(Refusal::from_reply(&reply));
        }
    }
    match stored(coordinator, gtid).await? {
        None => {
            let detail = format!("{gtid} is not recorded");
            Err(Refusal::new(ProblemCode::NotFound, detail))
        }
        Some(history) if history.is_closed() => Ok(Heard::Closed(Box::new(history))),
        // It is in nobody's memory, and it has not ended: it is being loaded, or was just lost.
        Some(_) => Err(refusal(coordinator, gtid, ProblemCode::Unavailable).await),
    }
}

async fn refusal(coordinator: &Coordinator, gtid: Gtid, code: ProblemCode) -> Refusal {
    if code == ProblemCode::NotOwner {
        let partition = gtid.partition();
        let owner = owner(coordinator, gtid).await;
        let owner = owner.unwrap_or_else(|| "nobody at present".to_owned());
        let detail = format!("nothing was heard: partition {partition} belongs to {owner}");
        return Refusal::new(code, detail);
    }
    let detail = [
        (ProblemCode::NoAction, format!("{gtid} has no such action")),
        (
            ProblemCode::Unavailable,
            format!("nothing was heard: {gtid} is being begun or loaded; say it again"),
        ),
        (
            ProblemCode::Unknown,
            "it may have been heard: say it again".to_owned(),
        ),
    ];
    let detail = detail.into_iter().find(|(of, _)| *of == code);
    match detail {
        Some((_, detail)) => Refusal::new(code, detail),
        None => Refusal::from_reply(&Reply::Refused(code)),
    }
}

/// Who owns the partition of a transaction, as far as the journal can say now.
async fn owner(coordinator: &Coordinator, gtid: Gtid) -> Option<String> {
    let partitions = coordinator.journal().store().partitions().await.ok()?;
    let mut found = partitions.into_iter();
    let found = found.find(|it| it.partition == gtid.partition())?;
    found.owner.map(|owner| owner.as_str().to_owned())
}

fn parse_index(id: &str, index: &str) -> Result<BranchIndex, Refusal> {
    let number = index.parse().map(BranchIndex);
    number.map_err(|_| no_action(id, index))
}

fn no_action(id: &str, index: &str) -> Refusal {
    let detail = format!("{id} has no action {index}");
    Refusal::new(ProblemCode::NoAction, detail)
}

fn faults_of_answer(answer: &ActAnswer) -> Vec<PlanFault> {
    match answer {
        ActAnswer::Done { result } => faults_of_result("answer.done.result", result.as_ref()),
        ActAnswer::Refused { .. } => Vec::new(),
        ActAnswer::InProgress { .. } | ActAnswer::RetryLater { .. } | _ => {
            let detail = "call back once it is done or refused";
            vec![fault("answer", PlanFaultCode::Form, detail.to_owned())]
        }
    }
}

fn faults_of_resolution(asked: &ResolveRequest) -> Vec<PlanFault> {
    let mut faults = match &asked.resolution {
        Resolution::Done { result: Some(_) } if asked.verb == ActVerb::Compensate => {
            let detail = "what made good returns nothing that a step could be called with";
            vec![fault(
                "resolution.done.result",
                PlanFaultCode::Form,
                detail.to_owned(),
            )]
        }
        Resolution::Done { result } => faults_of_result("resolution.done.result", result.as_ref()),
        Resolution::Retry | Resolution::NotDone | Resolution::Skip | Resolution::Abandon => {
            Vec::new()
        }
    };
    faults.extend(fault_of_text("by", &asked.by, BY_BYTES_MAX));
    faults.extend(fault_of_text("reason", &asked.reason, REASON_BYTES_MAX));
    faults
}

/// It is kept for good, and shown to people.
fn fault_of_text(path: &str, text: &str, bytes_max: usize) -> Option<PlanFault> {
    let form = PlanFaultCode::Form;
    if text.trim().is_empty() {
        let detail = "who decides, and why, is kept with the decision";
        return Some(fault(path, PlanFaultCode::Empty, detail.to_owned()));
    }
    if text.len() > bytes_max {
        let detail = format!("at most {bytes_max} bytes are allowed");
        return Some(fault(path, PlanFaultCode::TooLarge, detail));
    }
    let control = text.chars().any(char::is_control);
    control.then(|| fault(path, form, "control characters are not allowed".to_owned()))
}

fn faults_of_result(path: &str, result: Option<&Text>) -> Vec<PlanFault> {
    let too_large = result.filter(|result| result.text().len() > RESULT_BYTES_MAX);
    let detail = || format!("at most {RESULT_BYTES_MAX} bytes are allowed");
    let fault = too_large.map(|_| fault(path, PlanFaultCode::TooLarge, detail()));
    fault.into_iter().collect()
}

fn fault(path: &str, code: PlanFaultCode, detail: String) -> PlanFault {
    PlanFault { path: path.to_owned(), code, detail }
}
