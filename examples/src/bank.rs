//! A bank: accounts that may not go below zero, and a ledger of what was done to them. Its debits
//! and credits are branches of two-phase commit.

use std::process::ExitCode;

use accordant_participant::{Branch, Refusal};
use serde::{Deserialize, Serialize};

use crate::service::{self, ServiceArguments};

/// The tables of a bank. The check is the database's own last word. The ledger has no key: it would
/// refuse a posting that is made twice, and hide from the audit that somebody tried.
pub const SCHEMA: &str = "
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
pub struct Posting {
    /// For which transfer.
    pub transfer: String,
    /// Whose.
    pub account: i32,
    /// How much.
    pub cents: i64,
}

/// What the account holds afterwards.
#[derive(Debug, Deserialize, Serialize)]
pub struct Receipt {
    /// In cents.
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
            "no such account, or it does not cover it",
        )),
    }
}

/// Serves until the demo ends.
pub fn run(arguments: &ServiceArguments) -> ExitCode {
    service::run(arguments, |builder| {
        let builder = builder.connections_max(48);
        builder
            .operation("debit", debit)
            .operation("credit", credit)
    })
}
