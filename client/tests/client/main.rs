//! The client against a scripted server.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may: helpers outside test functions are not exempt by themselves"
)]

mod ended;
mod follow;
mod plan;
mod stub;
mod submit;
