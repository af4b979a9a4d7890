//! `GET /v1/transactions/{id}/outcome`: a participant asks what to do with a branch in doubt.

use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::effect::Reply;
use accordant_protocol::id::{BranchIndex, Gtid};
use accordant_protocol::node::Event;
use accordant_protocol::wire::api::{OutcomeReply, Verdict};
use accordant_protocol::wire::problem::ProblemCode;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;

use super::problem::Refusal;
use super::read::{bad_query, parse_id};
use crate::cluster::history;
use crate::driver::Coordinator;

const WITHIN: Duration = Duration::from_secs(10);

/// Which branch is in doubt.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Branch {
    branch: BranchIndex,
    /// Who asks: for the logs.
    participant: Option<String>,
}

pub(super) async fn outcome(
    State(coordinator): State<Arc<Coordinator>>,
    Path(id): Path<String>,
    query: Result<Query<Branch>, QueryRejection>,
) -> Result<Json<OutcomeReply>, Refusal> {
    let Query(Branch { branch, participant }) = query.map_err(bad_query)?;
    let id = parse_id(&id)?;
    let verdict = judge(&coordinator, id, branch).await?;
    let participant = participant.unwrap_or_default();
    tracing::debug!(gtid = %id, branch = branch.0, ?participant, ?verdict, "inquiry");
    metrics::counter!("accordant_inquiries_total", "verdict" => label(verdict)).increment(1);
    Ok(Json(OutcomeReply { id, verdict }))
}

async fn judge(
    coordinator: &Coordinator,
    gtid: Gtid,
    branch: BranchIndex,
) -> Result<Verdict, Refusal> {
    let make = move |request| Event::Inquired { request, gtid, branch };
    match coordinator.ask_about(gtid, WITHIN, make).await? {
        Reply::Verdict(verdict) => return Ok(verdict),
        Reply::NotInMemory => {}
        reply @ (Reply::Status(_)
        | Reply::KeyReused { .. }
        | Reply::KeyTaken { .. }
        | Reply::Refused(_)) => return Err(Refusal::from_reply(&reply)),
    }
    match coordinator.journal().store().read(gtid).await? {
        // A fate is unique over all epochs, so it is true whoever reads it. A history that is not
        // legal, or is undecided and yet in nobody's memory, is judged by nobody.
        Some(stored) => {
            let history = history(stored).ok();
            let verdict = history.and_then(|history| history.verdict(branch));
            Ok(verdict.unwrap_or(Verdict::Unknown))
        }
        // An inquiry writes too; what room is left is for what already runs.
        None if !coordinator.journal().admits() => {
            let detail = "the journal has no room for the answer at present: ask again";
            Err(Refusal::new(ProblemCode::Unavailable, detail))
        }
        None => {
            let make = move |request| Event::NotRecorded { request, gtid };
            match coordinator.ask_about(gtid, WITHIN, make).await? {
                Reply::Verdict(verdict) => Ok(verdict),
                reply @ (Reply::Status(_)
                | Reply::KeyReused { .. }
                | Reply::KeyTaken { .. }
                | Reply::NotInMemory
                | Reply::Refused(_)) => Err(Refusal::from_reply(&reply)),
            }
        }
    }
}

const fn label(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Commit => "commit",
        Verdict::Abort => "abort",
        Verdict::Pending => "pending",
        Verdict::Unknown | _ => "unknown",
    }
}
