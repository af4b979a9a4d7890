//! Trips: a flight and a room, booked side by side, then a car, then the ticket; and what has been
//! booked is given back if one of them says no.
//!
//! The airline and the hotel are Rust services on PostgreSQL that keep Accordant's contract. The
//! rental cars are a plain HTTP service in Python that knows nothing of Accordant. The ticket is the
//! *pivot*: before it everything can be given back, after it everything is repeated until it is done.
//!
//! `cargo run --release --bin trip` does all the set-up. The program starts itself again in the
//! roles of the coordinator and of the services.

mod airline;
mod arguments;
mod audit;
mod car;
mod hotel;
mod scene;

use std::process::ExitCode;

use accordant_examples::play::{self, Moment, Wish};
use accordant_examples::stage;
use accordant_examples::verdict::finish;
use anyhow::Context as _;
use arguments::{Arguments, Fail, Role};
use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.role.clone() {
        Some(Role::Coordinator { arguments }) => stage::coordinate(arguments),
        Some(Role::Flight(arguments)) => airline::run(&arguments),
        Some(Role::Hotel(arguments)) => hotel::run(&arguments),
        Some(Role::Car(arguments)) => car::run(&arguments),
        None => finish(run(&arguments)),
    }
}

/// Runs the demo; false if something did not hold.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Runtime::new().context("the runtime did not start")?;
    runtime.block_on(async {
        let wish = Wish {
            label: "trip",
            count: arguments.trips,
            fail: arguments.fail,
            crash: arguments.crash.is_some(),
            moments: moments(arguments.fail),
        };
        let plays = wish.plays(scene::trip)?;
        let mut scene = scene::Scene::build(plays.len()).await?;
        let played = play::all(&mut scene.stage, plays, wish.crash).await?;
        let verdict = audit::count(&scene, &played).await?;
        verdict.print("every trip is booked everywhere or nowhere, and nothing is pending");
        Ok(verdict.holds())
    })
}

/// When the coordinator is killed, and which step refuses then.
fn moments(fail: Option<Fail>) -> Vec<(Moment, Option<Fail>)> {
    let asked = |who, operation, verb| Moment::Asked { who, verb, operation };
    let back = Moment::AnyAsked { verb: "compensate" };
    let book = asked("flight", "book", "act");
    let ticket = asked("flight", "ticket", "act");
    let of_step = match fail {
        None => {
            return vec![
                (Moment::Accepted, None),
                (book, None),
                (asked("car", "car", "act"), None),
                (ticket, None),
                (back, Some(Fail::Car)),
            ];
        }
        // With no other booking than the refused one there may be nothing to give back.
        Some(Fail::Flight) => return vec![(Moment::Accepted, fail), (book, fail)],
        Some(Fail::Hotel) => asked("hotel", "book", "act"),
        Some(Fail::Car) => asked("car", "car", "act"),
        Some(Fail::Ticket) => ticket,
    };
    vec![(Moment::Accepted, fail), (of_step, fail), (back, fail)]
}
