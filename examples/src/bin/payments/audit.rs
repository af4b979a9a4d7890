//! What the databases hold, asked of the databases themselves.

use std::collections::{BTreeMap, BTreeSet};

use accordant_testbed::postgres::Postgres;
use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};

/// All money of a bank, in cents. Rows that are locked by prepared transactions count as they are
/// committed.
pub(crate) async fn money(server: &Postgres) -> anyhow::Result<i64> {
    let mut connection = connect(server).await?;
    let (sum,): (i64,) = sqlx::query_as("select sum(cents)::bigint from account")
        .fetch_one(&mut connection)
        .await
        .context("the money cannot be counted")?;
    Ok(sum)
}

/// The transactions that are prepared at a bank and wait for the decision.
pub(crate) async fn prepared(server: &Postgres) -> anyhow::Result<BTreeSet<String>> {
    let mut connection = connect(server).await?;
    let rows: Vec<(String,)> = sqlx::query_as(
        "select split_part(gid, ':', 2) from pg_prepared_xacts where gid like 'acc:%'",
    )
    .fetch_all(&mut connection)
    .await
    .context("the prepared transactions cannot be counted")?;
    Ok(rows.into_iter().map(|(gtid,)| gtid).collect())
}

/// Every transfer in a bank's ledger, with all that it did there: more than one entry is one too many.
pub(crate) async fn ledger(server: &Postgres) -> anyhow::Result<BTreeMap<String, Vec<i64>>> {
    let mut connection = connect(server).await?;
    let rows: Vec<(String, i64)> = sqlx::query_as("select transfer, cents from ledger")
        .fetch_all(&mut connection)
        .await
        .context("the ledger cannot be read")?;
    let mut ledger: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (transfer, cents) in rows {
        ledger.entry(transfer).or_default().push(cents);
    }
    Ok(ledger)
}

/// The accounts of a bank that do not hold what they held at first and what the ledger says of them.
pub(crate) async fn unbalanced(server: &Postgres, at_first: i64) -> anyhow::Result<Vec<i32>> {
    let mut connection = connect(server).await?;
    let rows: Vec<(i32,)> = sqlx::query_as(
        "select account.id from account left join ledger on ledger.account = account.id
        group by account.id
        having account.cents <> $1 + coalesce(sum(ledger.cents), 0)
        order by account.id",
    )
    .bind(at_first)
    .fetch_all(&mut connection)
    .await
    .context("the accounts cannot be compared with the ledger")?;
    Ok(rows.into_iter().map(|(account,)| account).collect())
}

async fn connect(server: &Postgres) -> anyhow::Result<PgConnection> {
    PgConnection::connect(&server.url("bank"))
        .await
        .context("the bank's database is away")
}
