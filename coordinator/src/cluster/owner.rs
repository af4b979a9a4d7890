//! The owner of the partitions: one task that acquires them, has them loaded, and takes up again
//! what was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use accordant_protocol::id::{Epoch, PartitionId};
use accordant_protocol::node::Event;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::loader::load;
use super::loads::Loads;
use super::quarantine::Quarantine;
use crate::clock::{self, Moment};
use crate::journal::error::LeaseError;
use crate::journal::group_commit::Journal;
use crate::journal::lease::{Leases, Lost};
use crate::journal::limits::TRIM_MAX;
use crate::journal::store::{Held, Lease};
use crate::journal::tenure::Tenure;

/// How often a partition that another owner holds is tried again.
const ACQUIRE_EVERY: Duration = Duration::from_millis(250);
/// How often closed transactions are looked through for old ones.
const TRIM_EVERY: Duration = Duration::from_secs(5 * 60);
/// How soon again if there were more than one step removes: fast enough for any rate at which they
/// can be begun, with time for the flushes in between.
const TRIM_AGAIN: Duration = Duration::from_secs(1);

/// Which partitions are owned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// Under which epoch each is owned.
    pub epochs: BTreeMap<PartitionId, Epoch>,
    /// Those whose open transactions have all been read.
    pub loaded: BTreeSet<PartitionId>,
    /// Who holds a partition that is not owned, or why it cannot be acquired.
    pub waiting: Option<String>,
}

impl Owned {
    /// What is missing until all partitions are served, for people.
    #[must_use]
    pub fn lacking(&self, partitions: usize) -> Option<String> {
        if self.epochs.len() < partitions {
            let why = self.waiting.as_deref().unwrap_or("being acquired");
            return Some(format!(
                "{} of {partitions} partitions owned: {why}",
                self.epochs.len()
            ));
        }
        let loaded = self.loaded.len();
        (loaded < partitions).then(|| format!("{loaded} of {partitions} partitions loaded"))
    }
}

/// Acquires, loads, and takes up again.
pub struct Owner {
    journal: Journal,
    lease: Lease,
    shards: Vec<mpsc::Sender<Event>>,
    owned: watch::Sender<Owned>,
    quarantine: Quarantine,
    retention: Duration,
    tenure: Tenure,
}

impl Owner {
    /// An owner that brings what it acquires to these shards, by partition number.
    pub(crate) fn new(
        journal: Journal,
        lease: Lease,
        shards: Vec<mpsc::Sender<Event>>,
        retention: Duration,
        tenure: Tenure,
    ) -> (Self, watch::Receiver<Owned>, Quarantine) {
        let (owned, watch) = watch::channel(Owned::default());
        let quarantine = Quarantine::default();
        let keep = quarantine.clone();
        (
            Self { journal, lease, shards, owned, quarantine, retention, tenure },
            watch,
            keep,
        )
    }

    /// Works until it is stopped, then gives the leases back.
    pub(crate) async fn run(
        self,
        mut reloads: mpsc::Receiver<PartitionId>,
        stop: CancellationToken,
    ) {
        let (leases, mut lost) = Leases::start(
            self.journal.clone(),
            self.lease.clone(),
            self.tenure.clone(),
        );
        let mut wanted: BTreeSet<PartitionId> =
            self.journal.store().description().partition_ids().collect();
        let mut tries = tokio::time::interval(ACQUIRE_EVERY);
        let mut trims = tokio::time::interval(TRIM_EVERY);
        tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
        trims.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut loads = Loads::default();
        loop {
            let mut trim = false;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(partition) = reloads.recv() => {
                    leases.forget(partition);
                    loads.abort(partition);
                    self.disown(partition);
                    wanted.insert(partition);
                }
                // It may have been taken up again since, under a higher epoch.
                Some(held) = next_lost(&mut lost) => {
                    if !self.is_owned_above(held) {
                        loads.abort(held.partition);
                        self.disown(held.partition);
                        self.tell(held.partition, Event::Lost { partition: held.partition }).await;
                        wanted.insert(held.partition);
                    }
                }
                Some((held, count)) = loads.next(), if !loads.is_empty() => {
                    self.loaded(held, count);
                }
                _ = tries.tick(), if !wanted.is_empty() => {}
                _ = trims.tick() => trim = true,
            }
            let work = async {
                self.acquire_all(&leases, &mut wanted, &mut loads).await;
                trim && self.trim_all().await
            };
            tokio::select! {
                () = stop.cancelled() => break,
                more = work => {
                    if more {
                        trims.reset_after(TRIM_AGAIN);
                    }
                }
            }
        }
        leases.shutdown().await;
    }

    async fn acquire_all(
        &self,
        leases: &Leases,
        wanted: &mut BTreeSet<PartitionId>,
        loads: &mut Loads,
    ) {
        for partition in wanted.clone() {
            let asked = Moment::now();
            match self.journal.acquire(partition, &self.lease).await {
                Ok(ownership) => {
                    wanted.remove(&partition);
                    let held = Held { partition, epoch: ownership.epoch };
                    leases.hold(held, asked);
                    let horizon = ownership.horizon;
                    let epoch = held.epoch;
                    self.tell(partition, Event::Acquired { partition, epoch, horizon })
                        .await;
                    self.owned.send_modify(|owned| {
                        owned.loaded.remove(&partition);
                        owned.epochs.insert(partition, epoch);
                    });
                    self.load(held, loads);
                }
                Err(error) => {
                    self.note_waiting(partition, &error);
                    if matches!(error, LeaseError::Held { .. }) {
                        self.give_way(partition, leases, wanted, loads).await;
                    }
                    // The others are most likely held by the same owner: come back later.
                    return;
                }
            }
        }
    }

    /// Two owners that hold a part each, after one has woken up in the middle of the other's
    /// take-over, would wait for one another for ever, and none would be ready. Whoever holds the
    /// lowest partition stays; another one gives up what it has, and its open transactions are
    /// recovered by the one that stays.
    async fn give_way(
        &self,
        to: PartitionId,
        leases: &Leases,
        wanted: &mut BTreeSet<PartitionId>,
        loads: &mut Loads,
    ) {
        let epochs = self.owned.borrow().epochs.clone();
        let lowest = epochs.keys().next();
        if lowest.is_none_or(|lowest| *lowest < to) {
            return;
        }
        let held: Vec<Held> = epochs
            .into_iter()
            .map(|(partition, epoch)| Held { partition, epoch })
            .collect();
        warn!(partitions = held.len(), lowest = %to, "giving way to the owner of the lowest partition");
        for &Held { partition, .. } in &held {
            loads.abort(partition);
            self.disown(partition);
            self.tell(partition, Event::Lost { partition }).await;
            wanted.insert(partition);
        }
        leases.give_back(&held).await;
    }

    /// Reads a partition's open transactions in a task of its own: one that cannot be read holds
    /// up no other.
    fn load(&self, held: Held, loads: &mut Loads) {
        let Some(shard) = self.shard(held.partition).cloned() else {
            return;
        };
        let (journal, quarantine) = (self.journal.clone(), self.quarantine.clone());
        loads.start(held, async move {
            load(&journal, held, &shard, &quarantine).await
        });
    }

    fn loaded(&self, held: Held, count: usize) {
        if count > 0 {
            info!(partition = %held.partition, epoch = %held.epoch, count, "recovering open transactions");
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            metrics::counter!("accordant_recovered_total").increment(count);
        }
        self.owned.send_modify(|owned| {
            if owned.epochs.get(&held.partition) == Some(&held.epoch) {
                owned.loaded.insert(held.partition);
                owned.waiting = None;
            }
        });
    }

    fn note_waiting(&self, partition: PartitionId, error: &LeaseError) {
        let text = error.to_string();
        let news = self.owned.borrow().waiting.as_deref() != Some(&text);
        if news {
            warn!(%partition, error = text, "a partition cannot be acquired yet");
            self.owned.send_modify(|owned| owned.waiting = Some(text));
        }
    }

    fn disown(&self, partition: PartitionId) {
        self.owned.send_modify(|owned| {
            owned.epochs.remove(&partition);
            owned.loaded.remove(&partition);
        });
    }

    fn is_owned_above(&self, Held { partition, epoch }: Held) -> bool {
        let owned = self.owned.borrow();
        owned.epochs.get(&partition).is_some_and(|it| *it > epoch)
    }

    /// Removes closed transactions that are older than the retention time, one batch of each
    /// partition; whether there may be more.
    async fn trim_all(&self) -> bool {
        let keep_ms = u64::try_from(self.retention.as_millis()).unwrap_or(u64::MAX);
        let now = clock::now().as_millis();
        let upto = accordant_protocol::time::Timestamp::from_millis(now.saturating_sub(keep_ms));
        let owned = self.owned.borrow().epochs.clone();
        let mut more = false;
        for (partition, epoch) in owned {
            let held = Held { partition, epoch };
            match self.journal.trim(held, upto, TRIM_MAX).await {
                Ok(trimmed) => {
                    more |= trimmed.removed >= TRIM_MAX;
                    let horizon = trimmed.horizon;
                    self.tell(partition, Event::HorizonRaised { partition, horizon })
                        .await;
                }
                Err(error) => warn!(%partition, %error, "old transactions were not removed"),
            }
        }
        more
    }

    async fn tell(&self, partition: PartitionId, event: Event) {
        if let Some(shard) = self.shard(partition) {
            // The shard is gone only when the coordinator stops.
            let _stopped = shard.send(event).await;
        }
    }

    fn shard(&self, partition: PartitionId) -> Option<&mpsc::Sender<Event>> {
        self.shards
            .get(usize::from(partition.0) % self.shards.len().max(1))
    }
}

/// The next partition that was lost; never, once none can be lost any more.
async fn next_lost(lost: &mut Lost) -> Option<Held> {
    match lost.next().await {
        Some(held) => Some(held),
        None => std::future::pending().await,
    }
}
