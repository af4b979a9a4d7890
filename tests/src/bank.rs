//! A bank: a participant as a service would write it, on a database of its own.
//!
//! Its ledger has no unique key on purpose. An entry that is made twice must show, not be refused.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use accordant_participant::{Branch, Participant, Refusal};
use accordant_testbed::process::tell_ready;
use clap::Parser;
use serde::{Deserialize, Serialize};
use sqlx::Connection as _;

/// How a bank is started.
#[derive(Parser)]
#[command(name = "bank")]
struct Arguments {
    #[arg(long)]
    name: String,
    #[arg(long)]
    database: String,
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    coordinator: String,
    #[arg(long)]
    ready_file: PathBuf,
    /// Branches that may work at a time.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// How often branches in doubt are looked for.
    #[arg(long, default_value_t = 5_000)]
    sweep_every_ms: u64,
    /// How old one must be to be asked about.
    #[arg(long, default_value_t = 10_000)]
    sweep_grace_ms: u64,
    /// How many slots for prepared transactions the server must have at the start.
    #[arg(long)]
    slots_min: Option<u32>,
}

/// What a branch is asked to do.
#[derive(Deserialize)]
struct Order {
    transfer: String,
    account: i64,
    cents: i64,
    /// How long the handler works before it returns.
    #[serde(default)]
    hold_ms: i64,
    /// The receiver, where one branch moves money within the bank.
    #[serde(default)]
    to: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    left: i64,
}

const TABLES: &str = "
    create table account (
        id      bigint primary key,
        balance bigint not null check (balance >= 0)
    );
    create table ledger (
        transfer text   not null,
        account  bigint not null,
        cents    bigint not null
    );
    insert into account select id, 1000000 from generate_series(1, 16) id";

const CHANGE: &str = "
    update account set balance = balance + $1 where id = $2 and balance + $1 >= 0
    returning balance";

const ENTER: &str = "insert into ledger (transfer, account, cents) values ($1, $2, $3)";

pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    let arguments = std::iter::once("bank".into()).chain(arguments);
    match serve(Arguments::parse_from(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_ansi(false).init();
    let mut pg = sqlx::PgConnection::connect(&arguments.database).await?;
    // At the first start only: an insert would wait for accounts that a branch in doubt has changed.
    let (new,): (bool,) = sqlx::query_as("select to_regclass('account') is null")
        .fetch_one(&mut pg)
        .await?;
    if new {
        sqlx::raw_sql(TABLES).execute(&mut pg).await?;
    }
    pg.close().await?;
    let mut builder = Participant::builder(&arguments.name)
        .database(&arguments.database)
        .coordinator(&arguments.coordinator)
        .connections_max(arguments.connections)
        .sweep(
            Duration::from_millis(arguments.sweep_every_ms),
            Duration::from_millis(arguments.sweep_grace_ms),
        )
        .allow_unsafe_durability(true)
        .unsafe_test_build(true)
        .operation("debit", debit)
        .operation("credit", credit)
        .operation("move", move_within)
        .operation("read", read)
        .operation("refuse", refuse)
        .action("enter", enter, leave)
        .action("deny", deny, leave)
        .retriable("note", enter)
        .tcc("hold", reserve, take, give_back);
    if let Some(slots) = arguments.slots_min {
        builder = builder.prepared_slots_min(slots);
    }
    let participant = builder.connect().await?;
    let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
    tell_ready(&arguments.ready_file, &arguments.listen.to_string())?;
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        served = participant.serve(listener) => served?,
        _ = term.recv() => participant.shutdown().await,
    }
    Ok(())
}

async fn change(
    branch: &mut Branch,
    order: &Order,
    account: i64,
    cents: i64,
) -> Result<i64, Refusal> {
    let changed: Option<(i64,)> = sqlx::query_as(CHANGE)
        .bind(cents)
        .bind(account)
        .fetch_optional(branch.connection())
        .await?;
    let Some((left,)) = changed else {
        let detail = format!("account {account} does not cover {cents}");
        return Err(Refusal::new("insufficient_funds", detail));
    };
    sqlx::query(ENTER)
        .bind(&order.transfer)
        .bind(account)
        .bind(cents)
        .execute(branch.connection())
        .await?;
    Ok(left)
}

/// Works for as long as it was asked to, inside the database.
async fn hold(branch: &mut Branch, order: &Order) -> Result<(), Refusal> {
    if order.hold_ms > 0 {
        sqlx::query("select pg_sleep($1::bigint / 1000.0)")
            .bind(order.hold_ms)
            .execute(branch.connection())
            .await?;
    }
    Ok(())
}

async fn debit(branch: &mut Branch, order: Order) -> Result<Receipt, Refusal> {
    hold(branch, &order).await?;
    let left = change(branch, &order, order.account, -order.cents).await?;
    Ok(Receipt { left })
}

async fn credit(branch: &mut Branch, order: Order) -> Result<Receipt, Refusal> {
    hold(branch, &order).await?;
    let left = change(branch, &order, order.account, order.cents).await?;
    Ok(Receipt { left })
}

async fn move_within(branch: &mut Branch, order: Order) -> Result<Receipt, Refusal> {
    hold(branch, &order).await?;
    let to = order.to.unwrap_or(order.account);
    let left = change(branch, &order, order.account, -order.cents).await?;
    change(branch, &order, to, order.cents).await?;
    Ok(Receipt { left })
}

async fn read(branch: &mut Branch, order: Order) -> Result<Receipt, Refusal> {
    let (left,): (i64,) = sqlx::query_as("select balance from account where id = $1")
        .bind(order.account)
        .fetch_one(branch.connection())
        .await?;
    Ok(Receipt { left })
}

async fn refuse(branch: &mut Branch, order: Order) -> Result<Receipt, Refusal> {
    hold(branch, &order).await?;
    Err(Refusal::new("refused", "as it was asked to"))
}

/// A step of a saga: an entry whose account is the number of the step. Its cents say what it was:
/// 1 for what was done, -1 for what was made good.
async fn note(branch: &mut Branch, order: &Order, cents: i64) -> Result<(), Refusal> {
    sqlx::query(ENTER)
        .bind(&order.transfer)
        .bind(order.account)
        .bind(cents)
        .execute(branch.connection())
        .await?;
    Ok(())
}

async fn enter(branch: &mut Branch, order: Order) -> Result<Receipt, Refusal> {
    hold(branch, &order).await?;
    note(branch, &order, 1).await?;
    Ok(Receipt { left: order.account })
}

async fn deny(branch: &mut Branch, order: Order) -> Result<Receipt, Refusal> {
    note(branch, &order, 1).await?;
    Err(Refusal::new("denied", "as it was asked to"))
}

async fn leave(branch: &mut Branch, order: Order, _: Option<Receipt>) -> Result<(), Refusal> {
    note(branch, &order, -1).await
}

/// A reservation is an entry of no cents.
async fn reserve(branch: &mut Branch, order: Order) -> Result<Receipt, Refusal> {
    hold(branch, &order).await?;
    note(branch, &order, 0).await?;
    Ok(Receipt { left: order.account })
}

async fn take(branch: &mut Branch, order: Order, _: Option<Receipt>) -> Result<(), Refusal> {
    note(branch, &order, 1).await
}

async fn give_back(branch: &mut Branch, order: Order, _: Option<Receipt>) -> Result<(), Refusal> {
    note(branch, &order, -1).await
}
