//! Chores of the workspace, in its own language: `cargo xtask <command>`.

mod cargo;
mod crash_points;
mod fault;
mod layers;
mod purity;
mod source;
mod tidy;
mod verify;

use std::process::ExitCode;

const USAGE: &str = "\
Chores of the Accordant workspace

Usage: cargo xtask <command>

Commands:
  verify [check]...  Checks everything that needs no test run, and writes nothing. Checks, in
                     their order: tidy, layers, purity, crash-points, fmt, clippy, docs
  fix                Formats, and applies what clippy can apply
  help               Prints this
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["verify", checks @ ..] => verify::verify(checks),
        ["fix"] => verify::fix(),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
