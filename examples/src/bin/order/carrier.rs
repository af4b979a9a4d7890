//! The carrier: parcels.

use std::process::ExitCode;

use accordant_examples::service::{self, ServiceArguments};
use accordant_participant::{Branch, Refusal};
use serde::{Deserialize, Serialize};

/// Without a unique key on the order: it would refuse a parcel that is sent twice, and hide from the
/// audit that somebody tried.
pub(crate) const SCHEMA: &str = "
    create table parcel (
        id integer primary key generated always as identity,
        for_order text not null,
        shelf text not null
    )";

#[derive(Debug, Deserialize, Serialize)]
struct Freight {
    order: String,
    shelf: String,
    /// For so many attempts there is no room.
    full: u32,
}

#[derive(Debug, Deserialize, Serialize)]
struct Parcel {
    parcel: i32,
}

/// The order is paid, so there is no no: only a later.
async fn ship(branch: &mut Branch, freight: Freight) -> Result<Parcel, Refusal> {
    if branch.attempt().0 <= freight.full {
        return Err(Refusal::later("the van is full"));
    }
    let insert = "insert into parcel (for_order, shelf) values ($1, $2) returning id";
    let (parcel,) = sqlx::query_as(insert)
        .bind(freight.order)
        .bind(freight.shelf)
        .fetch_one(branch.connection())
        .await?;
    Ok(Parcel { parcel })
}

/// Serves until the demo ends.
pub(crate) fn run(arguments: &ServiceArguments) -> ExitCode {
    service::run(arguments, |builder| builder.retriable("ship", ship))
}
