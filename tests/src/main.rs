//! The processes of the end-to-end tests. One program in several roles, so that one build makes
//! all that a test starts, kills and starts again.

mod bank;

use std::process::ExitCode;

fn main() -> ExitCode {
    accordant_testbed::process::end_with_parent();
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next().unwrap_or_default();
    match role.to_str() {
        // The word stands where the name of the program would.
        Some("coordinator") => accordant_coordinator::cli::run(std::env::args_os().skip(1)),
        Some("bank") => bank::run(arguments.collect()),
        _ => {
            eprintln!("the roles are: coordinator, bank");
            ExitCode::from(2)
        }
    }
}
