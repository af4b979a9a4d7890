//! `GET /v1/admin/stuck`: the actions that wait for an operator.

use std::sync::Arc;

use accordant_protocol::id::BranchIndex;
use accordant_protocol::plan::PlanFaultCode;
use accordant_protocol::time::Timestamp;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::problem::Refusal;
use super::read::bad_query;
use crate::driver::{Coordinator, StuckAction, StuckKey};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// Which page is listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Serialize)]
pub(super) struct StuckReply {
    /// How many there are in all.
    count: usize,
    /// Those that have waited longest first.
    actions: Vec<StuckAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

pub(super) async fn stuck(
    State(coordinator): State<Arc<Coordinator>>,
    query: Result<Query<Listing>, QueryRejection>,
) -> Result<Json<StuckReply>, Refusal> {
    let Query(Listing { limit, cursor }) = query.map_err(bad_query)?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let detail = format!("{limit} is not between 1 and {LIMIT_MAX}");
        return Err(Refusal::field("limit", PlanFaultCode::Range, detail));
    }
    let after = match cursor {
        None => None,
        Some(cursor) => Some(read(&cursor).ok_or_else(|| {
            let detail = "give the next_cursor of the page before";
            Refusal::field("cursor", PlanFaultCode::Form, detail)
        })?),
    };
    let found = coordinator.stuck(after, limit).await;
    let last = found.actions.last().filter(|_| found.more);
    let next_cursor = last.map(|action| write(action.key()));
    Ok(Json(StuckReply {
        count: found.count,
        actions: found.actions,
        next_cursor,
    }))
}

fn write((since, gtid, index): StuckKey) -> String {
    format!("{}:{index}:{gtid}", since.as_millis())
}

fn read(cursor: &str) -> Option<StuckKey> {
    let mut parts = cursor.splitn(3, ':');
    let since = Timestamp::from_millis(parts.next()?.parse().ok()?);
    let index = BranchIndex(parts.next()?.parse().ok()?);
    Some((since, parts.next()?.parse().ok()?, index))
}
