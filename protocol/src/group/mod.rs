//! The machine of an atomic group: two-phase commit with presumed abort, and the delegation of a
//! lone branch.
//!
//! [`TABLE`] says what each input does in each phase. [`Group`] follows it and gives orders; it
//! knows no gtid, no token and no other transaction. In this version a group's branches are
//! two-phase; TCC branches will go through the same phases with other verbs.
//!
//! What must be durable before what (`Begun` is the group's admission, written by the node):
//!
//! | order | after |
//! |---|---|
//! | prepare, or a lone branch's one-phase commit | `Begun` |
//! | commit | `Committed` |
//! | abort, by the owner that began the group | nothing: no record means abort |
//! | abort, by an owner that found the group begun | `Aborted` |
//! | abort of a delegated branch | nothing: its marker or its seal decides, and the answer is recorded |

mod machine;
mod progress;
mod reading;
mod table;
#[cfg(test)]
mod tests;

pub use machine::{Group, Input, Refused};
pub use progress::{Ended, Progress, Stage};
pub use table::{InputKind, Phase, Rule, TABLE, TableMarkdown, rule};
