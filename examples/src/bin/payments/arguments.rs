//! What the demo can be told.

use std::ffi::OsString;
use std::path::PathBuf;

use accordant_examples::service::ServiceArguments;
use clap::{Parser, Subcommand, ValueEnum};

/// Moves money between two banks, and counts it.
#[derive(Clone, Debug, Parser)]
#[command(name = "payments")]
pub(crate) struct Arguments {
    /// How many transfers to make.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub transfers: u32,
    /// How many clients make them at the same time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub clients: u16,
    /// Where the coordinator keeps its journal.
    #[arg(long, value_enum, default_value_t = JournalKind::Sqlite)]
    pub journal: JournalKind,
    /// Kill such a process, hard, several times in mid-run, and start it again. May be repeated.
    #[arg(long, value_enum)]
    pub kill: Vec<Victim>,
    /// How often to kill each.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub kills: u16,
    /// Chooses the accounts, the amounts and the moments of the kills.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the figures to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Leave everything up at the end, and print the addresses.
    #[arg(long)]
    pub keep: bool,
    #[command(subcommand)]
    pub role: Option<Role>,
}

/// Where the coordinator keeps its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum JournalKind {
    /// In a file of its own.
    Sqlite,
    /// In a PostgreSQL server, a third one.
    Postgres,
}

impl JournalKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Victim {
    /// The coordinator.
    Coordinator,
    /// One of the banks.
    Bank,
    /// One of the PostgreSQL servers.
    Postgres,
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
    /// A bank.
    #[command(hide = true)]
    Bank(ServiceArguments),
}
