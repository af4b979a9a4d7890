//! Group commit: one writer collects what is pending and makes it durable at once.
//!
//! While one flush runs, the next batch collects; so the busier the coordinator, the more records
//! share a forced write. The writer never waits for a shard, and a shard never waits for the writer:
//! what is on its way is counted, and a queue has room for all that was accepted.

use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::effect::{Appended, Entry, Token, Urgency};
use accordant_protocol::id::PartitionId;
use accordant_protocol::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::error::{Cause, LeaseError, TrimError};
pub use super::health::Health;
use super::health::HealthSender;
use super::limits::QUEUE_ENTRIES_MAX;
use super::room::{Room, Taken, weight};
use super::stats::Counters;
pub use super::stats::Stats;
use super::store::{Held, Lease, OwnerId, Ownership, Store, Trimmed};
use super::writer::WriterTask;

/// One record to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Names it in the answer.
    pub token: Token,
    /// What is appended.
    pub entry: Entry,
    /// Whether anybody waits for it.
    pub urgency: Urgency,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which.
    pub token: Token,
    /// What.
    pub outcome: Appended,
}

/// The number of a shard, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub usize);

/// Nothing of it was queued; the appends come back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendRefused {
    /// The queue is full: take completions first, then append again.
    #[error("the journal's queue is full")]
    Overloaded(Vec<Append>),
    /// The journal is shutting down, has failed for good, or knows no such shard.
    #[error("the journal is closed")]
    Closed(Vec<Append>),
}

/// The journal, for everyone in the process. Clones are cheap.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Queued>,
}

pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) room: Arc<Room>,
    pub(super) health: HealthSender,
    /// What the renewals of leases say: while nothing is written, nothing else would tell that the
    /// journal is gone.
    renewals: HealthSender,
    pub(super) counters: Counters,
    pub(super) shards: usize,
    /// Cancelled: nothing more is accepted, and what is queued is made durable.
    pub(super) closing: CancellationToken,
    /// Cancelled: what is queued is given up.
    pub(super) abandoned: CancellationToken,
}

pub(super) struct Queued {
    pub(super) shard: ShardIndex,
    pub(super) appends: Vec<Append>,
}

/// The completions of one shard, in the order in which they were made durable.
pub struct Completions {
    receiver: mpsc::Receiver<Delivery>,
}

pub(super) struct Delivery {
    pub(super) completions: Vec<Completion>,
    /// Given back when the shard takes the completions.
    pub(super) _taken: Taken,
}

impl Completions {
    /// The next completions; none when the journal has shut down and all were taken.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Vec<Completion>> {
        self.receiver
            .recv()
            .await
            .map(|delivery| delivery.completions)
    }

    /// The next completions if there are any now.
    pub fn try_next(&mut self) -> Option<Vec<Completion>> {
        self.receiver
            .try_recv()
            .ok()
            .map(|delivery| delivery.completions)
    }
}

/// The running writer. Dropping it shuts the journal down as [`Writer::shutdown`] does, unwatched.
pub struct Writer {
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

impl Writer {
    /// Accepts nothing more, makes durable what is queued, and returns when that is done. After
    /// `wait` what is left is given up, with outcome unknown.
    pub async fn shutdown(mut self, wait: Duration) {
        self.shared.closing.cancel();
        let Some(mut task) = self.task.take() else {
            return;
        };
        if tokio::time::timeout(wait, &mut task).await.is_err() {
            self.shared.abandoned.cancel();
            if let Err(error) = task.await {
                tracing::error!(%error, "the journal's writer ended badly");
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.closing.cancel();
    }
}

/// Starts the writer over a store, for that many shards.
///
/// # Panics
/// Outside a tokio runtime.
#[must_use]
pub fn start(store: Arc<dyn Store>, shards: usize) -> (Journal, Vec<Completions>, Writer) {
    let (queue, incoming) = mpsc::channel(QUEUE_ENTRIES_MAX);
    let shared = Arc::new(Shared {
        store,
        room: Arc::default(),
        health: HealthSender::new(),
        renewals: HealthSender::new(),
        counters: Counters::default(),
        shards,
        closing: CancellationToken::new(),
        abandoned: CancellationToken::new(),
    });
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards)
        .map(|_| mpsc::channel(QUEUE_ENTRIES_MAX))
        .unzip();
    let task = tokio::spawn(WriterTask::new(Arc::clone(&shared), incoming, senders).run());
    let completions = receivers
        .into_iter()
        .map(|receiver| Completions { receiver })
        .collect();
    let journal = Journal { shared: Arc::clone(&shared), queue };
    (journal, completions, Writer { shared, task: Some(task) })
}

impl Journal {
    /// Queues records to be made durable. Each gets exactly one [`Completion`], on the channel of
    /// `shard`; those of one transaction in order. Never waits.
    ///
    /// Ask [`Journal::admits`] before a transaction is begun: what is refused here belongs to a
    /// transaction that already runs, or nearly so.
    ///
    /// # Durability
    /// None on return. [`Appended::Durable`] in the completion is.
    ///
    /// # Errors
    /// [`AppendRefused`]: nothing of it was queued.
    pub fn append(&self, shard: ShardIndex, appends: Vec<Append>) -> Result<(), AppendRefused> {
        if appends.is_empty() {
            return Ok(());
        }
        if self.shared.closing.is_cancelled() || shard.0 >= self.shared.shards {
            return Err(AppendRefused::Closed(appends));
        }
        let bytes = appends
            .iter()
            .map(|append| weight(&append.entry.record))
            .sum();
        let Some(taken) = Taken::new(&self.shared.room, appends.len(), bytes) else {
            return Err(AppendRefused::Overloaded(appends));
        };
        match self.queue.try_send(Queued { shard, appends }) {
            Ok(()) => {
                // The writer gives the room back, with the completions.
                taken.keep();
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(back)) => {
                Err(AppendRefused::Overloaded(back.appends))
            }
            Err(mpsc::error::TrySendError::Closed(back)) => {
                Err(AppendRefused::Closed(back.appends))
            }
        }
    }

    /// Whether a new transaction may begin: the journal takes writes, and its queue has room left
    /// for the decisions of what already runs.
    #[must_use]
    pub fn admits(&self) -> bool {
        !self.shared.closing.is_cancelled()
            && self.shared.health.is_ready()
            && self.shared.room.admits()
    }

    /// Whether the journal takes writes, now and from now on.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Whether the leases could be renewed the last time: if not, the journal is away or behind,
    /// although nothing may have been written to it meanwhile.
    #[must_use]
    pub fn renewals(&self) -> Health {
        self.shared.renewals.subscribe().borrow().clone()
    }

    /// Returns when the journal has failed for good, with the reason: end the process then. Never
    /// returns otherwise.
    pub async fn fatal(&self) -> Arc<str> {
        let mut health = self.shared.health.subscribe();
        loop {
            if let Health::Fatal { reason } = &*health.borrow_and_update() {
                return Arc::clone(reason);
            }
            if health.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What the writer has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.read()
    }

    /// The store, for reads. Leases and trims go through this journal, so that it hears of a failure
    /// for good.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// See [`Store::acquire`].
    ///
    /// # Errors
    /// [`LeaseError`].
    pub async fn acquire(
        &self,
        partition: PartitionId,
        lease: &Lease,
    ) -> Result<Ownership, LeaseError> {
        let acquired = self.shared.store.acquire(partition, lease).await;
        self.watch_lease(acquired)
    }

    /// See [`Store::renew`].
    ///
    /// # Errors
    /// [`LeaseError`].
    pub async fn renew(&self, held: &[Held], lease: &Lease) -> Result<Vec<Held>, LeaseError> {
        let renewed = self.shared.store.renew(held, lease).await;
        match &renewed {
            Ok(_) => self.shared.renewals.set_ready(),
            Err(LeaseError::Unavailable { source }) => self.shared.renewals.set_not_ready(source),
            Err(_) => {}
        }
        self.watch_lease(renewed)
    }

    /// See [`Store::release`].
    ///
    /// # Errors
    /// [`LeaseError`].
    pub async fn release(&self, held: &[Held], owner: &OwnerId) -> Result<(), LeaseError> {
        let released = self.shared.store.release(held, owner).await;
        self.watch_lease(released)
    }

    /// See [`Store::trim`].
    ///
    /// # Errors
    /// [`TrimError`].
    pub async fn trim(
        &self,
        held: Held,
        upto: Timestamp,
        limit: usize,
    ) -> Result<Trimmed, TrimError> {
        let trimmed = self.shared.store.trim(held, upto, limit).await;
        if let Err(TrimError::Fatal { source }) = &trimmed {
            self.shared.fail(source);
        }
        trimmed
    }

    fn watch_lease<T>(&self, done: Result<T, LeaseError>) -> Result<T, LeaseError> {
        if let Err(LeaseError::Fatal { source }) = &done {
            self.shared.fail(source);
        }
        done
    }
}

impl Shared {
    pub(super) fn fail(&self, source: &Cause) {
        self.health.set_fatal(source);
        self.closing.cancel();
        self.abandoned.cancel();
    }
}
