//! Messages out of a service's own transaction. A club writes down a member and sends two letters:
//! if the member is there in the end, both letters have come, once; if not, none.
//!
//! `cargo run --release --bin outbox` does all the set-up, and plays what may come between the two:
//! the coordinator or a receiver is away, the local transaction is rolled back, the club dies just
//! before or just after its commit. In both forms: the outbox, and two-phase.

mod club;
mod scene;

use std::ffi::OsString;
use std::process::ExitCode;

use accordant_examples::service::ServiceArguments;
use accordant_examples::verdict::finish;
use accordant_examples::{mail, stage};
use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Sends messages if, and only if, the sender's own local transaction commits.
#[derive(Debug, Parser)]
#[command(name = "outbox")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
}

/// The roles in which the program starts itself.
#[derive(Debug, Subcommand)]
enum Role {
    /// The coordinator, with the arguments of `accordant`.
    #[command(hide = true)]
    Coordinator {
        /// As for `accordant`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// The club.
    #[command(hide = true)]
    Club(ServiceArguments),
    /// Somebody's mail.
    #[command(hide = true)]
    Mail(ServiceArguments),
}

fn main() -> ExitCode {
    match Arguments::parse().role {
        Some(Role::Coordinator { arguments }) => stage::coordinate(arguments),
        Some(Role::Club(arguments)) => club::run(&arguments),
        Some(Role::Mail(arguments)) => mail::run(&arguments),
        None => finish(run()),
    }
}

/// Runs the demo; false if something did not hold.
fn run() -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Runtime::new().context("the runtime did not start")?;
    runtime.block_on(async {
        let mut scene = scene::Scene::build().await?;
        let verdict = scene.play().await?;
        verdict.print("every letter has come once, and none of what was not committed");
        Ok(verdict.holds())
    })
}
