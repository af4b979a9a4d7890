//! Orders, which mix all four ways of working in one plan: an atomic group, in which the warehouse
//! reserves (TCC) and two banks prepare a payment (two-phase commit), is the *pivot*; then the
//! carrier ships, which is repeated until it is done; then a message goes to two people.
//!
//! `cargo run --release --bin order` does all the set-up. The program starts itself again in the
//! roles of the coordinator and of the services.

mod arguments;
mod audit;
mod carrier;
mod scene;
mod warehouse;

use std::process::ExitCode;

use accordant_examples::play::{self, Moment, Wish};
use accordant_examples::verdict::finish;
use accordant_examples::{bank, mail, stage};
use anyhow::Context as _;
use arguments::{Arguments, Fail, Role};
use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.role.clone() {
        Some(Role::Coordinator { arguments }) => stage::coordinate(arguments),
        Some(Role::Warehouse(arguments)) => warehouse::run(&arguments),
        Some(Role::Bank(arguments)) => bank::run(&arguments),
        Some(Role::Carrier(arguments)) => carrier::run(&arguments),
        Some(Role::Mail(arguments)) => mail::run(&arguments),
        None => finish(run(&arguments)),
    }
}

/// Runs the demo; false if something did not hold.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Runtime::new().context("the runtime did not start")?;
    runtime.block_on(async {
        let wish = Wish {
            label: "order",
            count: arguments.orders,
            fail: arguments.fail,
            crash: arguments.crash.is_some(),
            moments: moments(arguments.fail),
        };
        let plays = wish.plays(scene::order)?;
        let mut scene = scene::Scene::build(plays.len()).await?;
        let played = play::all(&mut scene.stage, plays, wish.crash).await?;
        let verdict = audit::count(&scene, &played).await?;
        verdict
            .print("every order is taken from stock, paid, shipped and told of, or nothing of it");
        Ok(verdict.holds())
    })
}

/// When the coordinator is killed, and what goes wrong then.
fn moments(fail: Option<Fail>) -> Vec<(Moment, Option<Fail>)> {
    let asked = |who, operation, verb| Moment::Asked { who, verb, operation };
    let debit = asked("north", "debit", "prepare");
    let ship = asked("carrier", "ship", "act");
    let cancel = Moment::AnyAsked { verb: "cancel" };
    match fail {
        None => vec![
            (Moment::Accepted, None),
            (asked("warehouse", "reserve", "try"), None),
            (debit, None),
            (asked("warehouse", "reserve", "confirm"), None),
            (ship, None),
            (asked("seller", "send", "act"), None),
            (cancel, Some(Fail::Debit)),
        ],
        Some(Fail::Ship) => vec![(Moment::Accepted, fail), (ship, fail)],
        Some(Fail::Stock | Fail::Debit | Fail::Credit) => {
            vec![(Moment::Accepted, fail), (debit, fail), (cancel, fail)]
        }
    }
}
