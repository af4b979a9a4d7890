//! Running a handler: within its time, and without its panics.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use accordant_protocol::id::OperationName;
use accordant_protocol::json::Json;
use accordant_protocol::time::Timestamp;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::timeout;
use tracing::error;

use crate::clock;
use crate::limits::WORK_MS_MAX;
use crate::refusal::Refusal;

/// How the work went.
pub(crate) enum Worked {
    Done(Option<Json>),
    Refused(Refusal),
    /// The connection is in an unknown state and is to be closed.
    Broken(Refusal),
}

/// The time that is left for the work.
pub(crate) fn left_ms(deadline: Timestamp) -> u64 {
    deadline.millis_since(clock::now()).min(WORK_MS_MAX)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Runs a handler, if there is time for it.
pub(crate) async fn run(
    operation: &OperationName,
    deadline: Timestamp,
    work: BoxFuture<'_, Result<Option<Json>, Refusal>>,
) -> Worked {
    let late = || Refusal::passing("accordant.deadline_passed", "the deadline has passed");
    let left_ms = left_ms(deadline);
    if left_ms == 0 {
        return Worked::Refused(late());
    }
    let handler = AssertUnwindSafe(work).catch_unwind();
    match timeout(Duration::from_millis(left_ms), handler).await {
        Ok(Ok(Ok(result))) => Worked::Done(result),
        Ok(Ok(Err(refusal))) => Worked::Refused(refusal),
        Ok(Err(_panic)) => {
            let operation = operation.as_str();
            error!(operation, "the handler panicked; its work is refused");
            let detail = format!("the handler of {operation:?} panicked");
            Worked::Broken(Refusal::new("accordant.handler_panicked", detail))
        }
        Err(_) => Worked::Broken(late()),
    }
}
