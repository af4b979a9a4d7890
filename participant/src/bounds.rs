//! What a call may hold. A call about one branch is refused as a whole; in a call about many, the
//! order that breaks a bound is answered by itself, so that no other one waits for it.

use accordant_protocol::id::BranchIndex;
use accordant_protocol::json::Json;
use accordant_protocol::limits::{PAYLOAD_BYTES_MAX, UNITS_MAX};
use accordant_protocol::wire::contract::{FinishOrder, FinishVerb};

/// What is wrong with the index of a branch.
pub(crate) fn of_branch(branch: BranchIndex) -> Result<(), String> {
    if usize::from(branch.0) < UNITS_MAX {
        return Ok(());
    }
    let highest = UNITS_MAX - 1;
    Err(format!(
        "branch: it is {branch}, and the highest is {highest}"
    ))
}

/// What is wrong with the size of a value.
pub(crate) fn of_size(field: &str, value: &Json, bytes_max: usize) -> Result<(), String> {
    let bytes = value.text().len();
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(format!(
        "{field}: it has {bytes} bytes; at most {bytes_max} may be"
    ))
}

/// What is wrong with the form of an order: no coordinator of any version sends such a one, so the
/// call is refused as if it could not be read.
pub(crate) fn of_form(order: &FinishOrder) -> Result<(), String> {
    of_branch(order.branch)?;
    match (order.verb, &order.work) {
        (FinishVerb::Confirm | FinishVerb::Cancel, Some(_))
        | (FinishVerb::Commit | FinishVerb::Abort, None) => Ok(()),
        (FinishVerb::Confirm | FinishVerb::Cancel, None) => {
            Err("work: a confirm and a cancel say what they are about".to_owned())
        }
        (FinishVerb::Commit | FinishVerb::Abort, Some(_)) => {
            Err("work: it belongs to a confirm or a cancel".to_owned())
        }
    }
}

/// What is wrong with the size of an order: it follows from what other services return, and another
/// version may have other bounds.
pub(crate) fn of_order(order: &FinishOrder) -> Result<(), String> {
    let Some(work) = &order.work else {
        return Ok(());
    };
    of_size("work.payload", &work.payload, PAYLOAD_BYTES_MAX)
}
