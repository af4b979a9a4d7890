//! What a coordinator needs besides its journal.

use std::sync::Arc;
use std::time::Duration;

use crate::delivery::{DeliveryConfig, HttpTransport, Registry, Transport};
use crate::journal::limits::LEASE_MS;

/// How a coordinator runs.
#[derive(Clone)]
pub struct Settings {
    /// The participants.
    pub registry: Registry,
    /// How they are reached.
    pub transport: Arc<dyn Transport>,
    /// How they are called.
    pub delivery: DeliveryConfig,
    /// Where participants reach this coordinator, to call back; only the path is told if absent.
    pub public_url: Option<String>,
    /// Threads of work; each owns a part of the partitions.
    pub shards: usize,
    /// Transactions that may be open; more are refused.
    pub open_max: usize,
    /// Branches that may be open at one participant. Keep it below its prepared-transaction slots.
    pub participant_open_max: usize,
    /// The name of this process as an owner of partitions; unique among those that run.
    pub owner: String,
    /// How long a lease runs without renewal.
    pub lease_ms: u32,
    /// How long closed transactions are kept.
    pub retention: Duration,
    /// How long a request may wait for its transaction.
    pub wait_max: Duration,
    /// How long a shutdown waits for open transactions.
    pub drain_max: Duration,
}

impl Settings {
    /// The defaults, with these participants, under this owner's name.
    #[must_use]
    pub fn new(registry: Registry, owner: String) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            registry,
            transport: Arc::new(HttpTransport::new(64)),
            delivery: DeliveryConfig {
                prepare_timeout: Duration::from_secs(10),
                finish_timeout: Duration::from_secs(5),
                prepares_max: 64,
                finishes_max: 8,
                acts_max: 64,
            },
            public_url: None,
            shards: cores.clamp(1, 8),
            open_max: 50_000,
            participant_open_max: 50_000,
            owner,
            lease_ms: LEASE_MS,
            retention: Duration::from_secs(7 * 24 * 60 * 60),
            wait_max: Duration::from_secs(60),
            drain_max: Duration::from_secs(20),
        }
    }
}
