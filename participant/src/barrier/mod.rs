//! Barriers: what keeps actions, compensations and TCC branches from happening twice, or in the
//! wrong order.
//!
//! A barrier is a row of `accordant.branch`, unique by transaction, branch and operation, that is
//! inserted by the first statement of the local transaction whose work it guards. Whoever comes
//! second waits at the unique key until the first has committed or rolled back, and then does what
//! [`table`] says. What was once inserted as *skipped* keeps the operation out for ever.

mod crossing;
mod standing;
mod table;

pub(crate) use crossing::{Crossed, Crossing, Refusals, Task, cross};
pub use table::TableMarkdown;
pub(crate) use table::Verb;
