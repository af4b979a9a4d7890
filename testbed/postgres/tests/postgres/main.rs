//! The testbed against real servers. Each test starts its own; none uses a TCP port.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first thing that is not as it says"
)]

mod discovery;
mod existing;
mod private;
mod support;
