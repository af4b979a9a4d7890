//! What every store of the journal must pass. Not part of the stable interface.
#![expect(
    clippy::unwrap_used,
    reason = "a suite of tests: it ends at the first surprise"
)]

pub mod fixture;
