//! From the command line to the exit code.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use super::arguments::{Arguments, Command, TransactionsCommand};
use super::exit::Exit;
use super::{config, conform, in_doubt, serve, status, stuck, transactions};

/// The whole of `accordant`, with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// The whole of `accordant`, for a program that starts itself again in this role. The first of
/// `arguments` stands for the program's name, as in [`std::env::args_os`].
///
/// Returns when the command is done; of `serve`, after a signal. Call it once, on the main thread and
/// outside a runtime, and end the process with what it returns.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // If even this cannot be printed there is nobody to tell.
            let _unheard = error.print();
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            return exit.into();
        }
    };
    let exit = match arguments.command {
        Command::Serve(arguments) => told(serve::serve(*arguments), serve::ServeError::exit),
        Command::Config(arguments) => told(config::config(arguments), config::ConfigError::exit),
        Command::Transactions(TransactionsCommand::List(arguments)) => {
            asked(transactions::list(arguments))
        }
        Command::Transactions(TransactionsCommand::Show(arguments)) => {
            asked(transactions::show(arguments))
        }
        Command::InDoubt(arguments) => asked(in_doubt::in_doubt(arguments)),
        Command::Stuck(arguments) => asked(stuck::stuck(arguments)),
        Command::Resolve(arguments) => asked(stuck::resolve(*arguments)),
        Command::Conform(arguments) => on_runtime(conform::conform(*arguments), conform::exit),
        Command::Status(arguments) => asked(status::status(arguments)),
    };
    exit.into()
}

/// Runs a command that asks a coordinator.
fn asked(command: impl Future<Output = Result<Exit, super::ask::AskError>>) -> Exit {
    on_runtime(command, super::ask::AskError::exit)
}

fn on_runtime<E: std::error::Error>(
    command: impl Future<Output = Result<Exit, E>>,
    exit: impl FnOnce(&E) -> Exit,
) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => told(runtime.block_on(command), exit),
        Err(error) => told(Err(error), |_: &std::io::Error| Exit::Internal),
    }
}

/// Prints an error with all that lies behind it, once.
fn told<E: std::error::Error>(result: Result<Exit, E>, exit: impl FnOnce(&E) -> Exit) -> Exit {
    result.unwrap_or_else(|error| {
        // If it cannot be printed the exit code still says it.
        let _unheard = writeln!(std::io::stderr(), "error: {}", chain(&error));
        exit(&error)
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some errors of others repeat their source.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
