//! `GET /v1/transactions/{id}` and by key.

use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::effect::Reply;
use accordant_protocol::id::{Gtid, IdempotencyKey};
use accordant_protocol::node::Event;
use accordant_protocol::plan::PlanFaultCode;
use accordant_protocol::recovery::History;
use accordant_protocol::wire::api::{TransactionStatus, Wait};
use accordant_protocol::wire::problem::ProblemCode;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde::Deserialize;

use super::problem::Refusal;
use super::submit::tenant;
use crate::cluster::history;
use crate::driver::{AskError, Coordinator};

/// How long a question that need not wait may take.
const AT_ONCE: Duration = Duration::from_secs(10);

/// What a reader may ask for besides the id.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Waiting {
    wait: Option<Wait>,
    wait_ms: Option<u64>,
}

pub(super) async fn by_id(
    State(coordinator): State<Arc<Coordinator>>,
    Path(id): Path<String>,
    query: Result<Query<Waiting>, QueryRejection>,
) -> Result<Json<TransactionStatus>, Refusal> {
    let Query(waiting) = query.map_err(bad_query)?;
    let gtid = parse_id(&id)?;
    let wait_max = coordinator.settings().wait_max;
    let within = waiting
        .wait_ms
        .map_or(wait_max, |ms| Duration::from_millis(ms).min(wait_max));
    find(&coordinator, gtid, waiting.wait, within)
        .await
        .map(Json)
}

pub(super) async fn by_key(
    State(coordinator): State<Arc<Coordinator>>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Json<TransactionStatus>, Refusal> {
    let tenant = tenant(&headers)?;
    let key = IdempotencyKey::new(&key)
        .map_err(|error| Refusal::new(ProblemCode::IdempotencyKey, format!("the key {error}")))?;
    let gtid = coordinator
        .journal()
        .store()
        .find_key(&tenant, &key)
        .await?;
    let gtid = gtid.ok_or_else(|| {
        let detail = "nothing is recorded under this key; a request that is still on its way may \
                      yet begin a transaction: send it again with the same key to be sure";
        Refusal::new(ProblemCode::NotFound, detail)
    })?;
    find(&coordinator, gtid, None, AT_ONCE).await.map(Json)
}

pub(super) fn bad_query(rejection: QueryRejection) -> Refusal {
    Refusal::field("query", PlanFaultCode::Form, rejection.body_text())
}

pub(super) fn parse_id(text: &str) -> Result<Gtid, Refusal> {
    text.parse::<Gtid>()
        .map_err(|error| Refusal::new(ProblemCode::MalformedId, error.to_string()))
}

/// How a transaction stands: in memory if it is there, else in the journal. With `wait`, when it
/// has come so far, or when the time is over.
pub(super) async fn find(
    coordinator: &Coordinator,
    gtid: Gtid,
    wait: Option<Wait>,
    within: Duration,
) -> Result<TransactionStatus, Refusal> {
    if let Some(error) = coordinator.quarantine().find(&gtid) {
        let detail = format!("the stored history of {gtid} is not legal: {error}");
        return Err(Refusal::new(ProblemCode::Internal, detail));
    }
    let within = if wait.is_some() { within } else { AT_ONCE };
    let make = move |request| Event::Queried { request, gtid, wait };
    match coordinator.ask_about(gtid, within, make).await {
        Ok(Reply::Status(status)) => return Ok(*status),
        Ok(Reply::NotInMemory) => {}
        Ok(reply) => return Err(Refusal::from_reply(&reply)),
        Err(AskError::Late) if wait.is_some() => {
            let make = move |request| Event::Queried { request, gtid, wait: None };
            if let Ok(Reply::Status(status)) = coordinator.ask_about(gtid, AT_ONCE, make).await {
                return Ok(*status);
            }
        }
        Err(error) => return Err(error.into()),
    }
    let history = stored(coordinator, gtid).await?;
    let status = history.map(|history| history.status(gtid));
    status.ok_or_else(|| Refusal::new(ProblemCode::NotFound, format!("{gtid} is not recorded")))
}

/// A transaction's history from the journal. None means that nothing is recorded.
///
/// # Errors
/// If it cannot be read, is not legal, or is so old that it may have been removed.
pub(super) async fn stored(
    coordinator: &Coordinator,
    gtid: Gtid,
) -> Result<Option<History>, Refusal> {
    let store = coordinator.journal().store();
    if let Some(stored) = store.read(gtid).await? {
        let history = history(stored).map_err(|error| {
            let detail = format!("the stored history of {gtid} is not legal: {error}");
            Refusal::new(ProblemCode::Internal, detail)
        })?;
        return Ok(Some(history));
    }
    let partitions = store.partitions().await?;
    let partition = partitions
        .iter()
        .find(|it| it.partition == gtid.partition());
    if partition.is_some_and(|partition| gtid.minted() <= partition.horizon) {
        let detail = "it is older than what the journal keeps; its outcome is not known any more";
        return Err(Refusal::new(ProblemCode::Expired, detail));
    }
    Ok(None)
}
