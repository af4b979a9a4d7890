//! Somebody's mail: letters that have come. A target of messages.

use std::process::ExitCode;

use accordant_participant::{Branch, Refusal};
use serde::{Deserialize, Serialize};

use crate::service::{self, ServiceArguments};

/// Without a unique key: it would refuse a letter that comes twice, and hide from the audit that it
/// did.
pub const SCHEMA: &str = "create table letter (about text not null, says text not null)";

/// A message.
#[derive(Debug, Deserialize, Serialize)]
pub struct Letter {
    /// What it is about.
    pub about: String,
    /// What it says.
    pub says: String,
}

async fn send(branch: &mut Branch, letter: Letter) -> Result<(), Refusal> {
    sqlx::query("insert into letter (about, says) values ($1, $2)")
        .bind(letter.about)
        .bind(letter.says)
        .execute(branch.connection())
        .await?;
    Ok(())
}

/// Serves until the demo ends.
pub fn run(arguments: &ServiceArguments) -> ExitCode {
    service::run(arguments, |builder| builder.message("send", send))
}
