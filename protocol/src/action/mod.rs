//! The machine of a saga action, or of one target of a message.
//!
//! [`TABLE`] says what each input does in each phase. [`Action`] follows it; when an action may
//! start, and when it is to be made good, is the business of the plan's [`crate::plan::Course`].
//!
//! What must be durable before what:
//!
//! | order | after |
//! |---|---|
//! | act, by the contract | `Begun`, and the results that it is called with |
//! | act, at a plain service or as the pivot | `Started` too, or `Begun` if no step comes before it |
//! | act after the pivot | `Committed` |
//! | compensate | `Aborted`, which names it |
//! | act or compensate once more, at an operator's word | `Resolved` |
//!
//! An action by the contract whose outcome is unknown is made good: its participant's barrier keeps
//! a late act out. A plain service has no barrier, so there the act is repeated until its outcome is
//! known, before the saga turns back: once the first compensation may have been sent, nothing acts.

mod machine;
mod reading;
mod table;

pub use machine::Action;
pub(crate) use reading::{Reading, read};
pub use table::{InputKind, Phase, Rule, TABLE, TableMarkdown, rule};
