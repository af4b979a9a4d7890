//! The real participant library on a private PostgreSQL.

use accordant_participant::{Branch, Participant, Refusal};
use accordant_testbed_postgres::Postgres;
use axum::Router;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};

use crate::support::{all, all_passed, run, serve};

#[derive(Serialize, Deserialize)]
struct Debit {
    account: i32,
    cents: i64,
}

async fn debit(branch: &mut Branch, order: Debit) -> Result<i64, Refusal> {
    let left: Option<(i64,)> = sqlx::query_as(
        "update account set cents = cents - $1 where id = $2 and cents >= $1 returning cents",
    )
    .bind(order.cents)
    .bind(order.account)
    .fetch_optional(branch.connection())
    .await?;
    let (left,) = left.ok_or_else(|| Refusal::new("insufficient_funds", "not covered"))?;
    Ok(left)
}

async fn refund(branch: &mut Branch, order: Debit, left: Option<i64>) -> Result<i64, Refusal> {
    sqlx::query("update account set cents = cents + $1 where id = $2")
        .bind(order.cents)
        .bind(order.account)
        .execute(branch.connection())
        .await?;
    Ok(left.unwrap_or_default())
}

async fn keep(_: &mut Branch, _: Debit, left: Option<i64>) -> Result<Option<i64>, Refusal> {
    Ok(left)
}

async fn postgres(isolation: &str) -> (Postgres, String) {
    let server = Postgres::builder()
        .private()
        .durable(false)
        .max_connections(100);
    let server = server.start().await.unwrap();
    server.create_database("bank").await.unwrap();
    let url = server.url("bank");
    let mut admin = PgConnection::connect(&url).await.unwrap();
    let default = format!("alter database bank set default_transaction_isolation = '{isolation}'");
    let default = sqlx::raw_sql(sqlx::AssertSqlSafe(default));
    default.execute(&mut admin).await.unwrap();
    let tables = "create table account (id int primary key, cents bigint not null);
        insert into account values (1, 1000000)";
    sqlx::raw_sql(tables).execute(&mut admin).await.unwrap();
    (server, url)
}

async fn balance(url: String) -> String {
    let mut admin = PgConnection::connect(&url).await.unwrap();
    let cents = sqlx::query_as("select cents from account where id = 1");
    let (cents,): (i64,) = cents.fetch_one(&mut admin).await.unwrap();
    cents.to_string()
}

/// How many branches are prepared.
async fn prepared(url: &str) -> i64 {
    let mut admin = PgConnection::connect(url).await.unwrap();
    let count = sqlx::query_as("select count(*) from pg_prepared_xacts");
    let (count,): (i64,) = count.fetch_one(&mut admin).await.unwrap();
    count
}

async fn participant(url: &str) -> Participant {
    let builder = Participant::builder("bank")
        .database(url)
        .allow_unsafe_durability(true)
        .unsafe_test_build(true)
        .no_background()
        .operation("debit", debit)
        .action("debit", debit, refund)
        .tcc("debit", debit, keep, refund);
    builder.connect().await.unwrap()
}

async fn keeps_every_rule(isolation: &str) {
    let (_server, url) = postgres(isolation).await;
    let participant = participant(&url).await;
    let state = url.clone();
    let look = Router::new().route("/balance", get(move || balance(state.clone())));
    let address = serve(participant.router().merge(look)).await;
    all_passed(&run(&all(address)).await);
    assert_eq!(prepared(&url).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_keeps_every_rule_and_nothing_stays_prepared() {
    keeps_every_rule("read committed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_keeps_every_rule_where_transactions_are_serializable() {
    keeps_every_rule("serializable").await;
}
