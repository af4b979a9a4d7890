//! The journal of the coordinator: where a decision is durable before anyone acts on it.
//!
//! | module | what it answers for |
//! |---|---|
//! | [`store`] | what every store must do |
//! | [`error`] | why a store gave no confirmation, and what to do then |
//! | [`group_commit`] | one writer that makes what is pending durable at once |
//! | [`lease`] | keeping the leases of the partitions that are held |
//! | [`sqlite`] | a store in one SQLite file, the default |
//! | [`postgres`] | a store in a PostgreSQL database |
//! | [`memory`] | a store in memory, with faults on request |
//! | [`limits`] | every bound, with its reason |
//!
//! It does not decide, it does not retry what may have happened, and it never calls anything durable
//! that the store has not confirmed.

mod batch;
pub mod error;
pub mod group_commit;
mod health;
mod incarnation;
pub mod lease;
pub mod limits;
pub mod memory;
pub mod postgres;
mod room;
pub mod sqlite;
mod stats;
pub mod store;
pub mod tenure;
mod writer;

#[doc(hidden)]
pub mod conformance;
