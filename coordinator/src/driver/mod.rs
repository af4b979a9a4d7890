//! Runs the pure core: shards, each with a node of its own, their queues, and what they share.
//!
//! A shard decides nothing. It feeds events to its node, carries the effects out, and holds those
//! back whose record is not durable yet.

mod alarm;
mod coordinator;
mod gates;
mod look;
mod points;
mod settings;
mod shard;
mod spans;

pub(crate) use alarm::Alarm;
pub use coordinator::{AskError, Coordinator, StartError};
pub use look::{InDoubt, Stuck, StuckAction, StuckKey};
pub use settings::Settings;
pub use shard::ShardHandle;
