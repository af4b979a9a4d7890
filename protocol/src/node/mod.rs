//! The whole coordinator without I/O: many transactions, timers, partitions and epochs.
//!
//! A driver owns a [`Node`] and does this, for ever:
//!
//! 1. It takes an event (a request, an answer, what the journal made of an append, a timer that
//!    is due at [`Node::next_timer`]) and calls [`Node::step`] with the time.
//! 2. It carries out the [`crate::effect::Effect`]s, in any order that their `after` permits.
//! 3. What the journal made of an append it tells the node *first*; only then does it release or
//!    drop the effects that waited for it.
//!
//! Each `Send` gives exactly one [`Event::Answered`], each `Append` exactly one
//! [`Event::Flushed`], and each request gets exactly one reply that is not dropped. A spurious
//! [`Event::Timer`] is harmless.

mod event;
mod identity;
mod inquiry;
mod machine;
mod ownership;
mod submit;
#[cfg(test)]
mod tests;
mod timers;
mod transaction;

pub use event::{Event, Submission};
pub use machine::{Config, Node};
pub use ownership::Found;
pub use submit::partition_of;
pub use transaction::Transaction;
