//! Two banks and a coordinator, each a process of its own, each bank with a PostgreSQL server of
//! its own; and a driver that moves money between them, kills what it is told to kill, and counts
//! what is left.
//!
//! `cargo run --release --bin payments` does all the set-up. The program starts itself again in
//! the roles of the coordinator and of a bank.

mod arguments;
mod audit;
mod driver;
mod killer;
mod report;
mod scene;

use std::process::ExitCode;

use accordant_examples::verdict::finish;
use accordant_examples::{bank, stage};
use anyhow::Context as _;
use arguments::{Arguments, Role};
use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.role.clone() {
        Some(Role::Coordinator { arguments }) => stage::coordinate(arguments),
        Some(Role::Bank(arguments)) => bank::run(&arguments),
        None => finish(play(arguments)),
    }
}

/// Runs the demo; false if something did not hold.
fn play(arguments: Arguments) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Runtime::new().context("the runtime did not start")?;
    runtime.block_on(async {
        let mut scene = scene::Scene::build(&arguments).await?;
        let outcome = driver::play(&arguments, &mut scene).await?;
        report::print(&outcome);
        if let Some(path) = &arguments.json {
            report::write(&outcome, path)?;
        }
        if arguments.keep {
            scene.keep().await?;
        }
        Ok(outcome.holds())
    })
}
