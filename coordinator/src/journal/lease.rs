//! Keeping the leases of the partitions that this process holds.
//!
//! A lease says who should write; only the epoch says who can. So a lease that cannot be renewed is
//! no danger, and one that is lost is reported, for the owner to drop what it holds in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use accordant_protocol::id::{Epoch, PartitionId};
use accordant_protocol::limits::PARTITIONS_MAX;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::group_commit::Journal;
use super::store::{Held, Lease};

/// The leases of this process, renewed until given back.
pub struct Leases {
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

struct Shared {
    journal: Journal,
    lease: Lease,
    held: Mutex<BTreeMap<PartitionId, Epoch>>,
    stop: CancellationToken,
}

/// Partitions that were lost, each once.
pub struct Lost {
    receiver: mpsc::Receiver<Held>,
}

impl Lost {
    /// The next one; none when the leases were given back.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Held> {
        self.receiver.recv().await
    }
}

impl Leases {
    /// Starts to renew, every third of the time that a lease runs.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(journal: Journal, lease: Lease) -> (Self, Lost) {
        // A partition is reported once and then no longer held, so this many can be waiting.
        let (sender, receiver) = mpsc::channel(PARTITIONS_MAX.into());
        let shared = Arc::new(Shared {
            journal,
            lease,
            held: Mutex::default(),
            stop: CancellationToken::new(),
        });
        let task = tokio::spawn(run(Arc::clone(&shared), sender));
        (Self { shared, task: Some(task) }, Lost { receiver })
    }

    /// For whom, and for how long, partitions are to be acquired.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.shared.lease
    }

    /// Renews this partition from now on, under this epoch.
    pub fn hold(&self, held: Held) {
        self.shared.held().insert(held.partition, held.epoch);
    }

    /// Renews this partition no longer. Its lease runs out by itself.
    pub fn forget(&self, partition: PartitionId) {
        self.shared.held().remove(&partition);
    }

    /// Stops renewing and gives all leases back, so that others need not wait. Stop flushing first.
    pub async fn shutdown(mut self) {
        self.shared.stop.cancel();
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "renewing the leases ended badly");
        }
        self.give_back(&self.shared.all()).await;
    }

    /// Renews these no longer and gives their leases back, so that another owner need not wait. Stop
    /// using the partitions first.
    pub async fn give_back(&self, held: &[Held]) {
        for held in held {
            self.forget(held.partition);
        }
        let owner = &self.shared.lease.owner;
        if let Err(error) = self.shared.journal.release(held, owner).await {
            tracing::warn!(%error, "the leases were not given back; they run out by themselves");
        }
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Epoch>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Held> {
        let held = self.held();
        held.iter()
            .map(|(&partition, &epoch)| Held { partition, epoch })
            .collect()
    }

    /// Whether it was held under this epoch until now. The owner may have raised its own epoch while
    /// the renewal was on its way; then the answer was about the past.
    fn drop_lost(&self, lost: Held) -> bool {
        let mut held = self.held();
        let present = held.get(&lost.partition) == Some(&lost.epoch);
        if present {
            held.remove(&lost.partition);
        }
        present
    }
}

async fn run(shared: Arc<Shared>, lost: mpsc::Sender<Held>) {
    let every = Duration::from_millis((shared.lease.ms / 3).max(1).into());
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let held = shared.all();
        if held.is_empty() {
            continue;
        }
        match shared.journal.renew(&held, &shared.lease).await {
            Ok(gone) => {
                for gone in gone.into_iter().filter(|&gone| shared.drop_lost(gone)) {
                    tracing::warn!(partition = %gone.partition, epoch = %gone.epoch,
                        "a partition was taken over by another owner");
                    if lost.send(gone).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "the leases were not renewed"),
        }
    }
}
