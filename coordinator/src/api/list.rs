//! `GET /v1/transactions`.

use std::sync::Arc;

use accordant_protocol::id::Gtid;
use accordant_protocol::plan::PlanFaultCode;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::{Outcome, TransactionPage};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::problem::Refusal;
use super::read::bad_query;
use crate::driver::Coordinator;
use crate::journal::limits::PAGE_MAX;
use crate::journal::store::ListFilter;

const LIMIT_DEFAULT: usize = 50;

/// Which transactions are listed, and which page of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    closed: Option<bool>,
    outcome: Option<Outcome>,
    #[serde(default)]
    attention: bool,
    tenant: Option<String>,
    from_ms: Option<u64>,
    before_ms: Option<u64>,
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(super) async fn list(
    State(coordinator): State<Arc<Coordinator>>,
    query: Result<Query<Listing>, QueryRejection>,
) -> Result<Json<TransactionPage>, Refusal> {
    let Query(listing) = query.map_err(bad_query)?;
    let limit = listing.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let detail = format!("{limit} is not between 1 and {PAGE_MAX}");
        return Err(Refusal::field("limit", PlanFaultCode::Range, detail));
    }
    let after = listing
        .cursor
        .as_deref()
        .map(str::parse::<Gtid>)
        .transpose()
        .map_err(|_| {
            Refusal::field(
                "cursor",
                PlanFaultCode::Form,
                "give next_cursor of the page before",
            )
        })?;
    let tenant = listing.tenant.as_deref().map(str::parse).transpose();
    let tenant = tenant
        .map_err(|error| Refusal::field("tenant", PlanFaultCode::Form, format!("{error}")))?;
    let filter = ListFilter {
        tenant,
        closed: listing.closed,
        outcome: listing.outcome,
        attention: listing.attention,
        minted_from: listing.from_ms.map(Timestamp::from_millis),
        minted_before: listing.before_ms.map(Timestamp::from_millis),
    };
    let transactions = coordinator
        .journal()
        .store()
        .list(&filter, after, limit)
        .await?;
    let more = transactions.len() == limit;
    let next_cursor = transactions
        .last()
        .filter(|_| more)
        .map(|last| last.id.to_string());
    Ok(Json(TransactionPage { transactions, next_cursor }))
}
