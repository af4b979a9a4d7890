//! What the demo can be told.

use std::ffi::OsString;

use accordant_examples::play::Victim;
use accordant_examples::service::ServiceArguments;
use clap::{Parser, Subcommand, ValueEnum};

/// Sells things: takes them from stock and the money from one bank to another, or neither; then
/// ships them and tells two people.
#[derive(Clone, Debug, Parser)]
#[command(name = "order")]
pub(crate) struct Arguments {
    /// How many orders to place; 1 if not said, and one for each kill.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub orders: Option<u16>,
    /// What goes wrong.
    #[arg(long, value_enum)]
    pub fail: Option<Fail>,
    /// Kill the coordinator, hard, at several moments, and start it again.
    #[arg(long, value_enum)]
    pub crash: Option<Victim>,
    #[command(subcommand)]
    pub role: Option<Role>,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fail {
    /// There is not so much in stock.
    Stock,
    /// The buyer's account does not cover it.
    Debit,
    /// The seller's account is closed.
    Credit,
    /// The van is full for a while. That does not stop the order: it is paid.
    Ship,
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
    /// The warehouse.
    #[command(hide = true)]
    Warehouse(ServiceArguments),
    /// A bank.
    #[command(hide = true)]
    Bank(ServiceArguments),
    /// The carrier.
    #[command(hide = true)]
    Carrier(ServiceArguments),
    /// Somebody's mail.
    #[command(hide = true)]
    Mail(ServiceArguments),
}
