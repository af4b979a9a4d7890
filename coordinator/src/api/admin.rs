//! What operators look at.

use std::sync::Arc;

use accordant_protocol::id::{Epoch, Gtid, ParticipantName, PartitionId};
use accordant_protocol::plan::PlanFaultCode;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::TransactionStatus;
use accordant_protocol::wire::contract::Kinship;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::problem::Refusal;
use super::read::bad_query;
use crate::driver::Coordinator;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct InDoubtReply {
    count: usize,
    open: usize,
    transactions: Vec<TransactionStatus>,
    quarantined: Vec<QuarantinedReply>,
}

#[derive(Serialize)]
struct QuarantinedReply {
    id: Gtid,
    error: String,
}

pub(super) async fn in_doubt(
    State(coordinator): State<Arc<Coordinator>>,
    query: Result<Query<Limit>, QueryRejection>,
) -> Result<Json<InDoubtReply>, Refusal> {
    let Query(Limit { limit }) = query.map_err(bad_query)?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if limit > LIMIT_MAX {
        let detail = format!("{limit} is more than {LIMIT_MAX}");
        return Err(Refusal::field("limit", PlanFaultCode::Range, detail));
    }
    let found = coordinator.in_doubt(limit).await;
    let quarantined = coordinator.quarantine().list().into_iter();
    let quarantined = quarantined.map(|it| QuarantinedReply { id: it.gtid, error: it.error });
    Ok(Json(InDoubtReply {
        count: found.count,
        open: found.open,
        transactions: found.oldest,
        quarantined: quarantined.collect(),
    }))
}

#[derive(Serialize)]
pub(super) struct ParticipantsReply {
    participants: Vec<ParticipantReply>,
}

#[derive(Serialize)]
struct ParticipantReply {
    name: ParticipantName,
    address: String,
    halted: Option<&'static str>,
}

pub(super) async fn participants(
    State(coordinator): State<Arc<Coordinator>>,
) -> Json<ParticipantsReply> {
    let halted = coordinator.halted().await;
    let participants = coordinator
        .registry()
        .iter()
        .map(|(name, address)| ParticipantReply {
            name: name.clone(),
            address: address.to_string(),
            halted: halted.get(name).and_then(|kinship| match kinship {
                Kinship::Same => None,
                Kinship::Older => Some("older"),
                Kinship::Foreign => Some("foreign"),
            }),
        });
    Json(ParticipantsReply { participants: participants.collect() })
}

#[derive(Serialize)]
pub(super) struct PartitionsReply {
    partitions: Vec<PartitionReply>,
}

#[derive(Serialize)]
struct PartitionReply {
    partition: PartitionId,
    epoch: Epoch,
    owner: Option<String>,
    expires_in_ms: u64,
    horizon: Timestamp,
    /// Whether this coordinator owns it.
    owned: bool,
    /// Whether its open transactions have been read.
    loaded: bool,
}

pub(super) async fn partitions(
    State(coordinator): State<Arc<Coordinator>>,
) -> Result<Json<PartitionsReply>, Refusal> {
    let owned = coordinator.owned();
    let stored = coordinator.journal().store().partitions().await?;
    let partitions = stored.into_iter().map(|it| PartitionReply {
        partition: it.partition,
        epoch: it.epoch,
        owner: it.owner.map(|owner| owner.as_str().to_owned()),
        expires_in_ms: it.expires_in_ms,
        horizon: it.horizon,
        owned: owned.epochs.get(&it.partition) == Some(&it.epoch),
        loaded: owned.loaded.contains(&it.partition),
    });
    Ok(Json(PartitionsReply { partitions: partitions.collect() }))
}
