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
//!
//! Appends of one transaction reach the journal in the order in which the node gave them. A node
//! that gives a partition up (it is lost, acquired anew, or a flush of it is fenced or of unknown
//! outcome) answers every request of it at once. What the driver still holds for it may then be
//! dropped, or leave if its record turns out to be durable after all; but a second reply to a
//! request is dropped.

mod calls;
mod event;
mod identity;
mod inquiry;
mod machine;
mod ownership;
mod records;
mod reply;
mod room;
mod submit;
#[cfg(test)]
mod tests;
mod timers;
mod told;
mod transaction;

pub use event::{Event, Submission};
pub use machine::{Config, Node};
pub use ownership::Found;
pub use submit::partition_of;
pub use transaction::Transaction;
