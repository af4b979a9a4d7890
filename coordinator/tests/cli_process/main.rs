//! The `accordant` binary as a process: what it prints, what it refuses, how it ends.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may: helpers outside test functions are not exempt by themselves"
)]

mod config;
mod look;
mod serve;
mod stuck;
mod support;
