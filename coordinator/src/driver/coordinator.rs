//! The whole of it: shards, the owner of the partitions, retention; started and stopped together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::effect::{Reply, RequestId};
use accordant_protocol::id::{Gtid, ParticipantName, PartitionId};
use accordant_protocol::limits::BRANCHES_MAX;
use accordant_protocol::node::{Config, Event, Node};
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::contract::Kinship;
use accordant_protocol::wire::problem::ProblemCode;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::alarm::Alarm;
use super::look::{InDoubt, Look, Stuck, StuckKey};
use super::settings::Settings;
use super::shard::{Ask, Shard, ShardHandle, queues};
use crate::clock;
use crate::cluster::{Owned, Owner, Quarantine};
use crate::delivery::{Delivery, Outbound, Registry};
use crate::journal::group_commit::{self, Journal, ShardIndex, Writer};
use crate::journal::store::{Lease, OwnerId, OwnerIdError, Store};
use crate::journal::tenure::Tenure;

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The owner's name is not of its form.
    #[error("the owner's name cannot be used")]
    Owner(#[from] OwnerIdError),
    /// A participant's address takes no path behind it.
    #[error("a participant's address cannot be used")]
    Address(#[from] http::uri::InvalidUri),
}

/// Why a question was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The shard has too much to do; nothing was begun.
    #[error("the shard's queue is full")]
    Overloaded,
    /// The coordinator has stopped; whether the question had an effect is not known.
    #[error("the coordinator has stopped")]
    Stopped,
    /// No answer in time; the question may still have its effect.
    #[error("no answer in time")]
    Late,
}

/// A running coordinator.
///
/// Dropping it stops its tasks at once, as a crash would: nothing is lost, and what is open is
/// finished by the next owner. [`Coordinator::shutdown`] waits for what is open first.
pub struct Coordinator {
    shards: Vec<ShardHandle>,
    journal: Journal,
    settings: Settings,
    owned: watch::Receiver<Owned>,
    quarantine: Quarantine,
    alarm: Alarm,
    draining: watch::Sender<bool>,
    stop_shards: CancellationToken,
    stop_owner: CancellationToken,
    tasks: TaskTracker,
    owner_tasks: TaskTracker,
    writer: tokio::sync::Mutex<Option<Writer>>,
}

impl Coordinator {
    /// Starts to own the journal's partitions and to serve them. Returns at once; see
    /// [`Coordinator::is_ready`].
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(store: Arc<dyn Store>, settings: Settings) -> Result<Self, StartError> {
        let lease = Lease { owner: OwnerId::new(&settings.owner)?, ms: settings.lease_ms };
        let description = store.description().clone();
        // Each shard gets a share of the bounds, and a share must have room for the largest group.
        let shares_max = settings
            .open_max
            .min(settings.participant_open_max / BRANCHES_MAX)
            .min(usize::from(description.partitions));
        let shard_count = settings.shards.clamp(1, shares_max.max(1));
        let (stop_shards, stop_owner) = (CancellationToken::new(), CancellationToken::new());
        let (nowhere, _) = mpsc::channel(1);
        let alarm = Alarm::default();
        let tenure = Tenure::default();
        let outbound = Outbound {
            transport: &settings.transport,
            config: settings.delivery,
            public_url: settings.public_url.as_deref(),
            tenure: &tenure,
        };
        let registry = &settings.registry;
        let delivery = Delivery::start(registry, outbound, nowhere, &stop_shards, alarm.clone())?;
        let (journal, completions, writer) = group_commit::start(store, shard_count);
        let (reloads, reloads_end) = mpsc::channel(usize::from(description.partitions));
        let config = Config {
            cluster: description.cluster,
            incarnation: description.incarnation,
            open_max: settings.open_max / shard_count,
            participant_open_max: settings.participant_open_max / shard_count,
        };
        let tasks = TaskTracker::new();
        let (mut shards, mut parts) = (Vec::new(), Vec::new());
        for completions in completions {
            let (handle, answers, inbox) = queues(completions);
            shards.push(handle);
            parts.push((answers, inbox));
        }
        for (index, (answers, inbox)) in parts.into_iter().enumerate() {
            let delivery = delivery.answering_to(answers);
            let (node, journal) = (Node::new(config.clone()), journal.clone());
            let mut shard = Shard::new(ShardIndex(index), node, journal, delivery, reloads.clone());
            let peers = shards.iter().enumerate().filter(|(peer, _)| *peer != index);
            shard.peers = peers
                .map(|(_, peer): (_, &ShardHandle)| peer.controls.clone())
                .collect();
            let run = shard.run(inbox, stop_shards.clone());
            tasks.spawn(alarm.clone().over("a shard", run));
        }
        let owner_tasks = TaskTracker::new();
        let controls = shards.iter().map(|shard| shard.controls.clone()).collect();
        let (owner, owned, quarantine) =
            Owner::new(journal.clone(), lease, controls, settings.retention, tenure);
        let run = owner.run(reloads_end, stop_owner.clone());
        owner_tasks.spawn(alarm.clone().over("the owner of the partitions", run));
        Ok(Self {
            shards,
            journal,
            settings,
            owned,
            quarantine,
            alarm,
            draining: watch::Sender::new(false),
            stop_shards,
            stop_owner,
            tasks,
            owner_tasks,
            writer: tokio::sync::Mutex::new(Some(writer)),
        })
    }

    /// The journal, for reading and for its health.
    #[must_use]
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The registered participants.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.settings.registry
    }

    /// How it runs.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Transactions that cannot be acted upon, since their stored history is not legal.
    #[must_use]
    pub const fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// Which partitions are owned, and which of them are loaded.
    #[must_use]
    pub fn owned(&self) -> Owned {
        self.owned.borrow().clone()
    }

    /// Returns when a task has panicked that this coordinator cannot do without, with its name: end
    /// the process then, since what that task owed would never come. Never returns otherwise.
    pub async fn failed(&self) -> &'static str {
        self.alarm.goes_off().await
    }

    /// Whether every partition is owned and loaded, the journal takes writes, and no shutdown has
    /// begun. If not: why.
    ///
    /// # Errors
    /// What is missing, for people.
    pub fn is_ready(&self) -> Result<(), String> {
        if let Some(task) = self.alarm.gone_off() {
            return Err(format!("{task} panicked"));
        }
        if *self.draining.borrow() {
            return Err("shutting down".to_owned());
        }
        match &*self.journal.health().borrow() {
            group_commit::Health::Ready => {}
            group_commit::Health::NotReady { reason } | group_commit::Health::Fatal { reason } => {
                return Err(format!("the journal is not available: {reason}"));
            }
        }
        if let group_commit::Health::NotReady { reason } = self.journal.renewals() {
            return Err(format!("the leases cannot be renewed: {reason}"));
        }
        let partitions = usize::from(self.journal.store().description().partitions);
        self.owned.borrow().lacking(partitions).map_or(Ok(()), Err)
    }

    /// Waits until [`Coordinator::is_ready`] has once had nothing to say against the partitions.
    pub async fn owned_all(&self) {
        let partitions = usize::from(self.journal.store().description().partitions);
        let mut owned = self.owned.clone();
        let _stopped = owned
            .wait_for(|owned| owned.lacking(partitions).is_none())
            .await;
    }

    /// Asks the shard of a partition.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the question back.
    ///
    /// # Errors
    /// [`AskError`]. Only with [`AskError::Overloaded`] is it certain that nothing happened.
    pub async fn ask<F>(
        &self,
        partition: PartitionId,
        within: Duration,
        make: F,
    ) -> Result<Reply, AskError>
    where
        F: FnOnce(RequestId) -> Event + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let ask = Ask { make: Box::new(make), reply };
        self.shard(partition)
            .asks
            .try_send(ask)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => AskError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => AskError::Stopped,
            })?;
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_stopped)) => Err(AskError::Stopped),
            Err(_elapsed) => Err(AskError::Late),
        }
    }

    /// The transactions with branches in doubt, oldest first, at most `limit`.
    pub async fn in_doubt(&self, limit: usize) -> InDoubt {
        let mut all = InDoubt::default();
        for shard in &self.shards {
            let (reply, answer) = oneshot::channel();
            if shard.looks.send(Look::InDoubt(limit, reply)).await.is_err() {
                continue;
            }
            let Ok(part) = answer.await else { continue };
            all.count += part.count;
            all.open += part.open;
            all.oldest.extend(part.oldest);
        }
        all.oldest.sort_by_key(|status| status.begun_at);
        all.oldest.truncate(limit);
        all
    }

    /// The actions that wait for an operator, those that have waited longest first: at most `limit`,
    /// behind `after` if it is given.
    pub async fn stuck(&self, after: Option<StuckKey>, limit: usize) -> Stuck {
        let mut all = Stuck::default();
        for shard in &self.shards {
            let (reply, answer) = oneshot::channel();
            let look = Look::Stuck(after, limit, reply);
            if shard.looks.send(look).await.is_ok() {
                all.merge(answer.await.unwrap_or_default(), limit);
            }
        }
        all
    }

    /// The participants that answered from another or an older database than before. No new
    /// transaction is taken for them until this coordinator is started anew.
    pub async fn halted(&self) -> BTreeMap<ParticipantName, Kinship> {
        let mut all = BTreeMap::new();
        for shard in &self.shards {
            let (reply, answer) = oneshot::channel();
            if shard.looks.send(Look::Halted(reply)).await.is_ok() {
                all.extend(answer.await.unwrap_or_default());
            }
        }
        all
    }

    /// The code for a new transaction that cannot be taken now, if any.
    #[must_use]
    pub fn refuses(&self) -> Option<ProblemCode> {
        if *self.draining.borrow() {
            return Some(ProblemCode::Draining);
        }
        match &*self.journal.health().borrow() {
            group_commit::Health::Ready => {}
            group_commit::Health::NotReady { .. } | group_commit::Health::Fatal { .. } => {
                return Some(ProblemCode::Unavailable);
            }
        }
        (!self.journal.admits()).then_some(ProblemCode::Overloaded)
    }

    /// How many open transactions have anything to do before this time.
    async fn busy(&self, until: Timestamp) -> usize {
        let mut all = 0;
        for shard in &self.shards {
            let (reply, answer) = oneshot::channel();
            if shard.looks.send(Look::Busy(until, reply)).await.is_ok() {
                all += answer.await.unwrap_or_default();
            }
        }
        all
    }

    /// Takes no new transaction, waits for the open ones, gives the partitions back, and stops. Not
    /// waited for are those that hold no locks and would do nothing in the time: they wait for an
    /// operator, or for a long pause.
    /// What is still open after the time for it is finished by the next owner.
    pub async fn shutdown(&self) {
        self.draining.send_replace(true);
        for shard in &self.shards {
            let _stopped = shard.controls.send(Event::Draining).await;
        }
        let drained = async {
            let drain_ms = u64::try_from(self.settings.drain_max.as_millis()).unwrap_or(u64::MAX);
            let until = clock::now().plus_millis(drain_ms);
            while self.busy(until).await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(self.settings.drain_max, drained)
            .await
            .is_err()
        {
            let open = self.in_doubt(0).await.open;
            warn!(
                open,
                "stopping with open transactions: the next owner finishes them"
            );
        }
        self.stop_shards.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(writer) = self.writer.lock().await.take() {
            writer.shutdown(Duration::from_secs(5)).await;
        }
        self.stop_owner.cancel();
        self.owner_tasks.close();
        self.owner_tasks.wait().await;
        info!("stopped");
    }

    /// The shard of a partition.
    fn shard(&self, partition: PartitionId) -> &ShardHandle {
        let index = usize::from(partition.0) % self.shards.len().max(1);
        // There is at least one, and the index is below their number.
        #[expect(clippy::indexing_slicing, reason = "a remainder is below its divisor")]
        &self.shards[index]
    }

    /// The shard of a transaction's partition, to ask about it.
    ///
    /// # Errors
    /// As [`Coordinator::ask`].
    pub async fn ask_about<F>(
        &self,
        gtid: Gtid,
        within: Duration,
        make: F,
    ) -> Result<Reply, AskError>
    where
        F: FnOnce(RequestId) -> Event + Send + 'static,
    {
        self.ask(gtid.partition(), within, make).await
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.stop_shards.cancel();
        self.stop_owner.cancel();
    }
}
