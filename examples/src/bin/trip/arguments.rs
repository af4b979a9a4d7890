//! What the demo can be told.

use std::ffi::OsString;

use accordant_examples::play::Victim;
use accordant_examples::service::ServiceArguments;
use clap::{Parser, Subcommand, ValueEnum};

use crate::car::CarArguments;

/// Books trips: a flight, a room and a car, or nothing of it.
#[derive(Clone, Debug, Parser)]
#[command(name = "trip")]
pub(crate) struct Arguments {
    /// How many trips to book; 1 if not said, and one for each kill.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub trips: Option<u16>,
    /// This step refuses.
    #[arg(long, value_enum)]
    pub fail: Option<Fail>,
    /// Kill the coordinator, hard, at several moments, and start it again.
    #[arg(long, value_enum)]
    pub crash: Option<Victim>,
    #[command(subcommand)]
    pub role: Option<Role>,
}

/// The steps that may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fail {
    /// There is no seat left.
    Flight,
    /// There is no room left.
    Hotel,
    /// There is no car left.
    Car,
    /// The card does not cover it.
    Ticket,
}

/// The roles in which the program starts itself.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Role {
    /// The coordinator, with the arguments of `accordant`.
    #[command(hide = true)]
    Coordinator {
        /// As for `accordant`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// The airline.
    #[command(hide = true)]
    Flight(ServiceArguments),
    /// The hotel.
    #[command(hide = true)]
    Hotel(ServiceArguments),
    /// The rental cars, where Python is missing.
    #[command(hide = true)]
    Car(CarArguments),
}
