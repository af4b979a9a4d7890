//! Keeping the leases of the partitions that this process holds.
//!
//! A lease says who should write; only the epoch says who can. So a lease that cannot be renewed is
//! no danger, and one that is lost is reported, for the owner to drop what it holds in memory.

use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::id::PartitionId;
use accordant_protocol::limits::PARTITIONS_MAX;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::group_commit::Journal;
use super::store::{Held, Lease};
use super::tenure::Tenure;
use crate::clock::Moment;

/// The leases of this process, renewed until given back.
pub struct Leases {
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

struct Shared {
    journal: Journal,
    lease: Lease,
    tenure: Tenure,
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
    /// Starts to renew, every third of the time that a lease runs, and keeps account of what is held
    /// in `tenure`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(journal: Journal, lease: Lease, tenure: Tenure) -> (Self, Lost) {
        // A partition is reported once and then no longer held, so this many can be waiting.
        let (sender, receiver) = mpsc::channel(PARTITIONS_MAX.into());
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared { journal, lease, tenure, stop });
        let task = tokio::spawn(run(Arc::clone(&shared), sender));
        (Self { shared, task: Some(task) }, Lost { receiver })
    }

    /// For whom, and for how long, partitions are to be acquired.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.shared.lease
    }

    /// Renews this partition from now on, under this epoch. Its lease was asked for at that moment.
    pub fn hold(&self, held: Held, asked: Moment) {
        self.shared.tenure.extend(held, asked, self.shared.lease.ms);
    }

    /// Renews this partition no longer. Its lease runs out by itself.
    pub fn forget(&self, partition: PartitionId) {
        self.shared.tenure.end(partition);
    }

    /// Stops renewing and gives all leases back, so that others need not wait. Stop flushing first.
    pub async fn shutdown(mut self) {
        self.shared.stop.cancel();
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "renewing the leases ended badly");
        }
        self.give_back(&self.shared.tenure.held()).await;
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

async fn run(shared: Arc<Shared>, lost: mpsc::Sender<Held>) {
    let every = Duration::from_millis((shared.lease.ms / 3).max(1).into());
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let (held, asked) = (shared.tenure.held(), Moment::now());
        if held.is_empty() {
            continue;
        }
        match shared.journal.renew(&held, &shared.lease).await {
            Ok(gone) => {
                for held in held.into_iter().filter(|held| !gone.contains(held)) {
                    shared.tenure.renew(held, asked, shared.lease.ms);
                }
                // The owner may have raised its own epoch while the renewal was on its way; then the
                // answer was about the past.
                for gone in gone.into_iter().filter(|&gone| shared.tenure.end_of(gone)) {
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
