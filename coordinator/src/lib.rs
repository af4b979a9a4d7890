//! The Accordant coordinator, embeddable.

pub mod api;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod crash;
pub mod delivery;
pub mod driver;
pub mod id;
pub mod journal;
pub mod telemetry;
