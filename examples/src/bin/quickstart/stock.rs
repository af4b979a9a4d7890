//! A participant: a warehouse whose stock is in PostgreSQL.

use accordant_participant::{Branch, Participant, Refusal};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
pub(crate) struct Take {
    pub item: String,
    pub count: i32,
}

/// Runs inside a local transaction of the library's. What it writes takes effect if every branch
/// of the transaction agrees, and else never.
async fn take(branch: &mut Branch, order: Take) -> Result<i32, Refusal> {
    let left: Option<(i32,)> = sqlx::query_as(
        "update stock set count = count - $2 where item = $1 and count >= $2 returning count",
    )
    .bind(&order.item)
    .bind(order.count)
    .fetch_optional(branch.connection())
    .await?;
    match left {
        Some((left,)) => Ok(left),
        None => Err(Refusal::new(
            "out_of_stock",
            format!("not {} of {}", order.count, order.item),
        )),
    }
}

pub(crate) async fn participant(
    name: &str,
    database: &str,
    coordinator: &str,
) -> anyhow::Result<Participant> {
    let builder = Participant::builder(name)
        .database(database)
        .coordinator(coordinator);
    Ok(builder.operation("take", take).connect().await?)
}
