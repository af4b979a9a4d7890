//! What can be typed.

use std::path::PathBuf;
use std::str::FromStr;

use accordant_protocol::json::Json;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Layer;

/// Makes several services agree: what touches several databases happens everywhere or nowhere.
#[derive(Parser, Debug)]
#[command(name = "accordant", version, propagate_version = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Run a coordinator. Needs no configuration: it then listens on 127.0.0.1:7650 and keeps its
    /// journal in ./accordant.db.
    Serve(Box<ServeArguments>),
    /// Look at transactions.
    #[command(subcommand)]
    Transactions(TransactionsCommand),
    /// List the transactions that hold locks somewhere until a decision reaches them. Exits with 1
    /// if there are any.
    InDoubt(InDoubtArguments),
    /// List the actions that cannot go on without an operator, those that have waited longest first.
    /// Exits with 1 if there are any.
    Stuck(StuckArguments),
    /// Decide about an action that is stuck. The decision is kept with who made it and why.
    Resolve(Box<ResolveArguments>),
    /// Test whether a service keeps the participant contract: play a nasty coordinator against it.
    /// Exits with 1 if it does not.
    Conform(Box<accordant_conform::Arguments>),
    /// Whether a coordinator is ready, with its partitions and participants. Exits with 1 if not.
    Status(StatusArguments),
    /// Show the defaults, or check a configuration file.
    Config(ConfigArguments),
}

#[derive(Args, Debug)]
pub(super) struct ServeArguments {
    /// A configuration file (TOML). Flags and the environment come before it.
    #[arg(
        long,
        env = "ACCORDANT_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(super) config: Option<PathBuf>,
    /// A participant and the base address at which it is called. May be repeated.
    #[arg(
        long = "participant",
        env = "ACCORDANT_PARTICIPANTS",
        hide_env_values = true,
        value_name = "NAME=URL",
        value_delimiter = ','
    )]
    pub(super) participants: Vec<NamedAddress>,
    #[command(flatten)]
    pub(super) layer: Layer,
    /// Write the address to this file, as JSON and whole, once it is listened on.
    #[arg(
        long,
        env = "ACCORDANT_READY_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(super) ready_file: Option<PathBuf>,
    /// With --journal memory:, accept that every transaction is forgotten when the process ends.
    #[arg(long)]
    pub(super) volatile: bool,
    /// The journal was restored from a copy or failed over, so that decisions may be missing. For
    /// one start only: transactions begun before are then never presumed aborted.
    #[arg(long)]
    pub(super) journal_restored: bool,
    /// Accept a journal server that loses confirmed writes at a power failure. For tests only.
    #[arg(long)]
    pub(super) accept_unsafe_server: bool,
    /// Serve although this build contains crash points. For tests only.
    #[arg(long)]
    pub(super) unsafe_test_build: bool,
}

/// `NAME=URL`; neither is checked yet.
#[derive(Clone, Debug)]
pub(super) struct NamedAddress {
    pub(super) name: String,
    pub(super) address: String,
}

impl FromStr for NamedAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, address) = text.split_once('=').ok_or("must be NAME=URL")?;
        Ok(Self { name: name.to_owned(), address: address.to_owned() })
    }
}

/// Which coordinator is asked.
#[derive(Args, Debug)]
pub(super) struct Target {
    /// The coordinator's address.
    #[arg(
        long,
        env = "ACCORDANT_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:7650"
    )]
    pub(super) url: String,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Subcommand, Debug)]
pub(super) enum TransactionsCommand {
    /// List transactions, newest first.
    List(ListArguments),
    /// Show one transaction with its branches.
    Show(ShowArguments),
}

#[derive(Args, Debug)]
pub(super) struct ListArguments {
    /// Only those with a branch that has not ended.
    #[arg(long, conflicts_with = "closed")]
    pub(super) open: bool,
    /// Only those of which every branch has ended.
    #[arg(long)]
    pub(super) closed: bool,
    /// Only those of this outcome.
    #[arg(long, value_name = "OUTCOME")]
    pub(super) outcome: Option<OutcomeWord>,
    /// Only those at which an operator must look: they ended against their decision, or something of
    /// theirs was stuck and they have not ended. See also `accordant stuck`.
    #[arg(long)]
    pub(super) attention: bool,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) limit: u32,
    #[command(flatten)]
    pub(super) target: Target,
}

/// An outcome, as the API names it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OutcomeWord {
    Committed,
    Aborted,
    Pending,
    Heuristic,
}

impl OutcomeWord {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Aborted => "aborted",
            Self::Pending => "pending",
            Self::Heuristic => "heuristic",
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct ShowArguments {
    /// The transaction's id.
    #[arg(required_unless_present = "key")]
    pub(super) id: Option<String>,
    /// The idempotency key under which it was submitted, instead of its id.
    #[arg(long, conflicts_with = "id")]
    pub(super) key: Option<String>,
    /// Whose key it is.
    #[arg(long, requires = "key", default_value = "default")]
    pub(super) tenant: String,
    #[command(flatten)]
    pub(super) target: Target,
}

#[derive(Args, Debug)]
pub(super) struct InDoubtArguments {
    /// Only those that are at least as old: under load some are always in doubt for a moment.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub(super) older_than_s: u64,
    /// At most so many, the oldest first.
    #[arg(long, default_value_t = 100, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) limit: u32,
    #[command(flatten)]
    pub(super) target: Target,
}

#[derive(Args, Debug)]
pub(super) struct StuckArguments {
    /// At most so many.
    #[arg(long, default_value_t = 100, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) limit: u32,
    #[command(flatten)]
    pub(super) target: Target,
}

#[derive(Args, Debug)]
pub(super) struct ResolveArguments {
    /// The transaction's id.
    pub(super) id: String,
    /// The action's number, as `accordant stuck` shows it.
    pub(super) index: u8,
    /// What it was told, as `accordant stuck` shows it: if it has gone on since, nothing is decided.
    pub(super) verb: Told,
    #[command(flatten)]
    pub(super) decision: Decision,
    /// With --done: what the step returned, for the steps that are called with it.
    #[arg(long, value_name = "JSON", requires = "done", value_parser = json,
        conflicts_with_all = ["retry", "not_done", "skip", "abandon"])]
    pub(super) result: Option<Json>,
    /// Who decides.
    #[arg(long, value_name = "WHO")]
    pub(super) by: String,
    /// Why; with --done, how it is known that it is done.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
    #[command(flatten)]
    pub(super) target: Target,
}

/// What an action was told.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Told {
    /// To act.
    Act,
    /// To make good.
    Compensate,
}

/// What is to become of the action.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags, of which one is given"
)]
pub(super) struct Decision {
    /// Try it again, with as many attempts as at first.
    #[arg(long)]
    pub(super) retry: bool,
    /// Leave it undone and go on. The transaction ends as heuristic.
    #[arg(long)]
    pub(super) skip: bool,
    /// Take it as done: you have seen that it is, or have done it by hand.
    #[arg(long)]
    pub(super) done: bool,
    /// Take it as not done, as if its service had refused: you have seen that it has not acted, and
    /// that it never will.
    #[arg(long)]
    pub(super) not_done: bool,
    /// Leave it, and every other step that has not ended, undone. The transaction ends as heuristic.
    #[arg(long)]
    pub(super) abandon: bool,
}

fn json(text: &str) -> Result<Json, String> {
    Json::from_text(text.to_owned()).map_err(|error| format!("is not JSON: {error}"))
}

#[derive(Args, Debug)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    pub(super) target: Target,
}

#[derive(Args, Debug)]
#[command(arg_required_else_help = true, args_conflicts_with_subcommands = true)]
pub(super) struct ConfigArguments {
    /// Print a configuration file with every key and its default.
    #[arg(long)]
    pub(super) show_defaults: bool,
    #[command(subcommand)]
    pub(super) command: Option<ConfigCommand>,
}

#[derive(Subcommand, Debug)]
pub(super) enum ConfigCommand {
    /// Check a configuration file without starting anything.
    Check {
        /// The file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }
}
