//! The `accordant` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    accordant_coordinator::cli::main()
}
