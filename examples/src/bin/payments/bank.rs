//! A bank: accounts that may not go below zero, and a ledger of what was done to them.

use accordant_participant::{Branch, Participant, Refusal};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::arguments::BankArguments;

/// The tables of a bank. The check is the database's own last word. The ledger has no key: it would
/// refuse a posting that is made twice, and hide from the audit that somebody tried.
pub(crate) const SCHEMA: &str = "
    create table account (
        id integer primary key,
        cents bigint not null check (cents >= 0)
    );
    create table ledger (
        transfer text not null,
        account integer not null references account,
        cents bigint not null
    )";

/// One side of a transfer.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Posting {
    pub transfer: String,
    pub account: i32,
    pub cents: i64,
}

/// What the account holds afterwards.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Receipt {
    pub balance: i64,
}

async fn debit(branch: &mut Branch, posting: Posting) -> Result<Receipt, Refusal> {
    post(branch, &posting, -posting.cents).await
}

async fn credit(branch: &mut Branch, posting: Posting) -> Result<Receipt, Refusal> {
    post(branch, &posting, posting.cents).await
}

async fn post(branch: &mut Branch, posting: &Posting, cents: i64) -> Result<Receipt, Refusal> {
    let balance: Option<(i64,)> = sqlx::query_as(
        "with moved as (
            update account set cents = cents + $3 where id = $2 and cents + $3 >= 0
            returning id, cents
        ), entry as (
            insert into ledger (transfer, account, cents) select $1, id, $3 from moved
        )
        select cents from moved",
    )
    .bind(&posting.transfer)
    .bind(posting.account)
    .bind(cents)
    .fetch_optional(branch.connection())
    .await?;
    match balance {
        Some((balance,)) if balance >= 0 => Ok(Receipt { balance }),
        Some(_) | None => Err(Refusal::new(
            "insufficient_funds",
            "the account does not cover the transfer",
        )),
    }
}

/// Serves until the demo ends.
pub(crate) fn run(arguments: BankArguments) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Runtime::new().context("the runtime did not start")?;
    runtime.block_on(async {
        let bank = Participant::builder(&arguments.name)
            .database(&arguments.database)
            .coordinator(&arguments.coordinator)
            .connections_max(48)
            .operation("debit", debit)
            .operation("credit", credit)
            .connect()
            .await
            .context("the bank did not start")?;
        let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
        let address = listener.local_addr()?.to_string();
        accordant_testbed::process::tell_ready(&arguments.ready_file, &address)?;
        bank.serve(listener).await.context("the bank ended")
    })
}
