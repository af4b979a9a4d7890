//! `accordant conform`: a nasty coordinator against a service.

use accordant_conform::{Arguments, ConformError, Ending};

use super::exit::Exit;

/// Tests the service and prints the report.
pub(super) async fn conform(arguments: Arguments) -> Result<Exit, ConformError> {
    match accordant_conform::conform(arguments).await? {
        Ending::Holds => Ok(Exit::Ok),
        Ending::Broken => Ok(Exit::Attention),
    }
}

/// What the exit code says of a service that was not tested.
pub(super) const fn exit(error: &ConformError) -> Exit {
    match error {
        ConformError::Unreachable(_) => Exit::Unreachable,
        ConformError::Seed(_) | ConformError::Output(_) => Exit::Internal,
        ConformError::Json { .. } | ConformError::File { .. } | ConformError::Options(_) | _ => {
            Exit::Usage
        }
    }
}
