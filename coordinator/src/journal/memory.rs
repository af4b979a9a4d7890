//! A journal in memory: for tests, the simulator and programs that embed a coordinator and need not
//! survive a crash. It keeps every promise of a store but durability, and can be told to fail.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use accordant_protocol::effect::Entry;
use accordant_protocol::id::{
    Cluster, Epoch, Gtid, IdempotencyKey, Incarnation, PartitionId, Position, TenantName,
};
use accordant_protocol::record::{Fate, Record};
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::TransactionSummary;
use async_trait::async_trait;
use tokio::sync::{RwLock, Semaphore};

use super::batch::{Batch, Closing, Row, Tables, apply};
use super::error::{Cause, FlushError, LeaseError, ReadError, TrimError};
use super::store::{
    Description, Flushed, Held, Lease, ListFilter, OwnerId, Ownership, PartitionState, Store,
    Stored, StoredRecord, Trimmed, outcome,
};

/// Reads the time of the store, by which leases run out.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A journal in memory. Clones share it, as coordinators share a database.
#[derive(Clone)]
pub struct MemoryStore {
    description: Description,
    shared: Arc<Shared>,
}

struct Shared {
    now: Now,
    tables: Mutex<MemoryTables>,
    faults: Mutex<VecDeque<Fault>>,
    renewals_fail: AtomicBool,
    /// Read-locked by a flush from the check of its epochs to its end, write-locked by a take-over:
    /// what the row lock on a partition does in a database.
    fence: RwLock<()>,
}

/// What happens to a coming flush instead of success. For tests.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing is executed, and the flush says so.
    Unavailable,
    /// All is executed, and the reply is lost.
    UnknownExecuted,
    /// Nothing is executed, and the reply is lost.
    UnknownNotExecuted,
    /// The reply is lost at once, and all is executed when the gate is opened, unless fenced by then.
    UnknownLate(Gate),
    /// Nothing is executed, and the process must end.
    Fatal,
    /// The flush stands still before it looks at the epochs, as if its process were paused.
    PauseBefore(Gate),
    /// The flush stands still after it has looked at the epochs: a take-over waits for it.
    PauseInside(Gate),
}

/// Something that stands still until a test opens the gate.
#[derive(Clone, Debug)]
pub struct Gate {
    reached: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self {
            reached: Arc::new(Semaphore::new(0)),
            open: Arc::new(Semaphore::new(0)),
        }
    }

    /// Lets through whoever stands at it.
    pub fn open(&self) {
        self.open.close();
    }

    /// Returns when somebody stands at it.
    pub async fn reached(&self) {
        if let Ok(permit) = self.reached.acquire().await {
            permit.forget();
        }
    }

    async fn pass(&self) {
        self.reached.add_permits(1);
        // A closed semaphore refuses at once: the gate is open.
        if let Ok(permit) = self.open.acquire().await {
            permit.forget();
        }
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty journal whose leases run by this process's clock.
    #[must_use]
    pub fn new(cluster: Cluster, incarnation: Incarnation, partitions: u16) -> Self {
        Self::with_clock(
            cluster,
            incarnation,
            partitions,
            Arc::new(crate::clock::now),
        )
    }

    /// An empty journal whose leases run by the given clock.
    #[must_use]
    pub fn with_clock(
        cluster: Cluster,
        incarnation: Incarnation,
        partitions: u16,
        now: Now,
    ) -> Self {
        let description = Description { cluster, incarnation, partitions, schema: 0 };
        let owned = description
            .partition_ids()
            .map(|id| (id, Partition::default()))
            .collect();
        let tables = Mutex::new(MemoryTables { partitions: owned, ..MemoryTables::default() });
        let (faults, renewals_fail) = (Mutex::default(), AtomicBool::new(false));
        let fence = RwLock::new(());
        Self {
            description,
            shared: Arc::new(Shared { now, tables, faults, renewals_fail, fence }),
        }
    }

    /// Lets a coming flush fail. Faults are used up in order, one by each flush.
    pub fn inject(&self, fault: Fault) {
        lock(&self.shared.faults).push_back(fault);
    }

    /// Lets leases be renewed no longer, or again. For tests.
    pub fn fail_renewals(&self, fail: bool) {
        self.shared.renewals_fail.store(fail, Ordering::Relaxed);
    }

    /// Puts a text where a record stands, as a newer build or a broken disk would. For tests.
    pub fn overwrite(&self, gtid: Gtid, position: Position, body: String) {
        if let Some(stored) = self.tables().records.get_mut(&(gtid, position)) {
            stored.body = body;
        }
    }

    fn tables(&self) -> MutexGuard<'_, MemoryTables> {
        lock(&self.shared.tables)
    }

    fn write(&self, mut batch: Batch) -> Vec<Flushed> {
        let Ok(()) = apply(&mut *self.tables(), &mut batch);
        batch.into_flushed()
    }

    fn write_late(&self, batch: Batch, gate: Gate) {
        let store = self.clone();
        tokio::spawn(async move {
            gate.pass().await;
            let _fence = store.shared.fence.read().await;
            store.write(batch);
        });
    }
}

/// A thread that panicked in here has left the tables as they were between two changes.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tables of a journal in memory; for other stores, a picture of a part of theirs.
#[derive(Default)]
pub(super) struct MemoryTables {
    partitions: BTreeMap<PartitionId, Partition>,
    transactions: BTreeMap<Gtid, Transaction>,
    keys: BTreeMap<(TenantName, IdempotencyKey), Gtid>,
    records: BTreeMap<(Gtid, Position), Body>,
    fates: BTreeMap<Gtid, Fate>,
    /// The order of listings, oldest first.
    minted: BTreeSet<(Timestamp, Gtid)>,
}

#[derive(Clone, Default)]
struct Partition {
    epoch: Epoch,
    owner: Option<OwnerId>,
    lease_until: Timestamp,
    horizon: Timestamp,
}

struct Transaction {
    key: Option<(TenantName, IdempotencyKey)>,
    closed: Option<Closing>,
    stuck: bool,
}

struct Body {
    epoch: Epoch,
    body: String,
}

impl MemoryTables {
    /// Paints a partition.
    pub(super) fn put_partition(&mut self, id: PartitionId, epoch: Epoch, horizon: Timestamp) {
        self.partitions
            .insert(id, Partition { epoch, horizon, ..Partition::default() });
    }

    /// Paints a transaction.
    pub(super) fn put_transaction(
        &mut self,
        gtid: Gtid,
        key: Option<(TenantName, IdempotencyKey)>,
    ) {
        if let Some(key) = &key {
            self.keys.insert(key.clone(), gtid);
        }
        self.transactions
            .insert(gtid, Transaction { key, closed: None, stuck: false });
    }

    /// Paints a record of a transaction.
    pub(super) fn put_record(
        &mut self,
        gtid: Gtid,
        position: Position,
        fate: Option<Fate>,
        body: String,
    ) {
        self.records
            .insert((gtid, position), Body { epoch: Epoch(0), body });
        if let Some(fate) = fate {
            self.fates.insert(gtid, fate);
        }
    }

    fn stored(&self, gtid: Gtid) -> Option<Stored> {
        let closed = self.transactions.get(&gtid)?.closed;
        let all = (gtid, Position(0))..=(gtid, Position(u32::MAX));
        let records = self
            .records
            .range(all)
            .map(|(&(_, position), body)| StoredRecord {
                position,
                epoch: body.epoch,
                record: Record::decode(&body.body),
            });
        Some(Stored {
            gtid,
            closed: closed.is_some(),
            attention: closed.is_some_and(|closing| closing.attention),
            records: records.collect(),
        })
    }

    fn summary(&self, gtid: Gtid, filter: &ListFilter) -> Option<TransactionSummary> {
        let transaction = self.transactions.get(&gtid)?;
        let tenant = transaction.key.as_ref().map(|(tenant, _)| tenant);
        let attention = transaction.closed.is_some_and(|closing| closing.attention);
        let waits = transaction.stuck && transaction.closed.is_none();
        let outcome = outcome(self.fates.get(&gtid).copied(), attention);
        let wanted = (filter.tenant.is_none() || filter.tenant.as_ref() == tenant)
            && filter
                .closed
                .is_none_or(|closed| closed == transaction.closed.is_some())
            && filter.outcome.is_none_or(|wanted| wanted == outcome)
            && (attention || waits || !filter.attention)
            && filter.minted_from.is_none_or(|from| gtid.minted() >= from)
            && filter
                .minted_before
                .is_none_or(|before| gtid.minted() < before);
        wanted.then(|| TransactionSummary {
            id: gtid,
            idempotency_key: transaction.key.as_ref().map(|(_, key)| key.clone()),
            outcome,
            closed: transaction.closed.is_some(),
            begun_at: gtid.minted(),
            closed_at: transaction.closed.map(|closing| closing.at),
        })
    }

    fn remove(&mut self, gtid: Gtid) {
        if let Some(key) = self
            .transactions
            .remove(&gtid)
            .and_then(|removed| removed.key)
        {
            self.keys.remove(&key);
        }
        self.minted.remove(&(gtid.minted(), gtid));
        self.fates.remove(&gtid);
        let all = (gtid, Position(0))..=(gtid, Position(u32::MAX));
        let places: Vec<_> = self.records.range(all).map(|(&place, _)| place).collect();
        for place in places {
            self.records.remove(&place);
        }
    }
}

impl Tables for MemoryTables {
    type Error = std::convert::Infallible;

    fn fence(&mut self, partition: PartitionId) -> Result<(Epoch, Timestamp), Self::Error> {
        let partition = self.partitions.get(&partition).cloned().unwrap_or_default();
        Ok((partition.epoch, partition.horizon))
    }

    fn exists(&mut self, gtid: Gtid) -> Result<bool, Self::Error> {
        Ok(self.transactions.contains_key(&gtid))
    }

    fn begin(
        &mut self,
        gtid: Gtid,
        key: Option<(&TenantName, &IdempotencyKey)>,
        closed: Option<Closing>,
    ) -> Result<Option<Gtid>, Self::Error> {
        let key = key.map(|(tenant, key)| (tenant.clone(), key.clone()));
        if let Some(key) = &key {
            if let Some(&by) = self.keys.get(key) {
                return Ok(Some(by));
            }
            self.keys.insert(key.clone(), gtid);
        }
        self.minted.insert((gtid.minted(), gtid));
        self.transactions
            .insert(gtid, Transaction { key, closed, stuck: false });
        Ok(None)
    }

    fn add(&mut self, row: &Row) -> Result<bool, Self::Error> {
        let place = (row.gtid, row.position);
        let before = row.position.0.checked_sub(1).map(Position);
        let preceded = before.is_none_or(|before| self.records.contains_key(&(row.gtid, before)));
        let fated = row.fate.is_some() && self.fates.contains_key(&row.gtid);
        if self.records.contains_key(&place) || !preceded || fated {
            return Ok(false);
        }
        let body = Body { epoch: row.epoch, body: row.body.clone() };
        self.records.insert(place, body);
        if let Some(fate) = row.fate {
            self.fates.insert(row.gtid, fate);
        }
        Ok(true)
    }

    fn body(&mut self, gtid: Gtid, position: Position) -> Result<Option<String>, Self::Error> {
        Ok(self
            .records
            .get(&(gtid, position))
            .map(|stored| stored.body.clone()))
    }

    fn close(&mut self, gtid: Gtid, closing: Closing) -> Result<(), Self::Error> {
        if let Some(transaction) = self.transactions.get_mut(&gtid) {
            transaction.closed = Some(closing);
        }
        Ok(())
    }

    fn stick(&mut self, gtid: Gtid) -> Result<(), Self::Error> {
        if let Some(transaction) = self.transactions.get_mut(&gtid) {
            transaction.stuck = true;
        }
        Ok(())
    }
}

fn injected() -> Cause {
    "a test asked for it".into()
}

#[async_trait]
impl Store for MemoryStore {
    fn description(&self) -> &Description {
        &self.description
    }

    async fn acquire(
        &self,
        partition: PartitionId,
        lease: &Lease,
    ) -> Result<Ownership, LeaseError> {
        let _fence = self.shared.fence.write().await;
        let now = (self.shared.now)();
        let mut tables = self.tables();
        let Some(state) = tables.partitions.get_mut(&partition) else {
            return Err(LeaseError::NoSuchPartition { partition });
        };
        match &state.owner {
            Some(owner) if *owner != lease.owner && now < state.lease_until => {
                let expires_in_ms = state.lease_until.millis_since(now);
                return Err(LeaseError::Held { partition, owner: owner.clone(), expires_in_ms });
            }
            Some(_) | None => {}
        }
        state.epoch = Epoch(state.epoch.0 + 1);
        state.owner = Some(lease.owner.clone());
        state.lease_until = now.plus_millis(lease.ms.into());
        Ok(Ownership { epoch: state.epoch, horizon: state.horizon })
    }

    async fn renew(&self, held: &[Held], lease: &Lease) -> Result<Vec<Held>, LeaseError> {
        if self.shared.renewals_fail.load(Ordering::Relaxed) {
            return Err(LeaseError::Unavailable { source: injected() });
        }
        let until = (self.shared.now)().plus_millis(lease.ms.into());
        let mut tables = self.tables();
        let mut lost = Vec::new();
        for &held in held {
            match tables.partitions.get_mut(&held.partition) {
                Some(state)
                    if state.epoch == held.epoch && state.owner.as_ref() == Some(&lease.owner) =>
                {
                    state.lease_until = until;
                }
                Some(_) | None => lost.push(held),
            }
        }
        Ok(lost)
    }

    async fn release(&self, held: &[Held], owner: &OwnerId) -> Result<(), LeaseError> {
        let mut tables = self.tables();
        for held in held {
            if let Some(state) = tables.partitions.get_mut(&held.partition)
                && state.epoch == held.epoch
                && state.owner.as_ref() == Some(owner)
            {
                state.owner = None;
                state.lease_until = Timestamp::ZERO;
            }
        }
        Ok(())
    }

    async fn partitions(&self) -> Result<Vec<PartitionState>, ReadError> {
        let now = (self.shared.now)();
        let tables = self.tables();
        let states = tables
            .partitions
            .iter()
            .map(|(&partition, state)| PartitionState {
                partition,
                epoch: state.epoch,
                owner: state.owner.clone(),
                expires_in_ms: state.lease_until.millis_since(now),
                horizon: state.horizon,
            });
        Ok(states.collect())
    }

    async fn flush(&self, entries: &[Entry]) -> Result<Vec<Flushed>, FlushError> {
        let batch = Batch::new(&self.description, entries);
        let fault = lock(&self.shared.faults).pop_front();
        if let Some(Fault::PauseBefore(gate)) = &fault {
            gate.pass().await;
        }
        let _fence = self.shared.fence.read().await;
        match fault {
            None | Some(Fault::PauseBefore(_)) => Ok(self.write(batch)),
            Some(Fault::PauseInside(gate)) => {
                gate.pass().await;
                Ok(self.write(batch))
            }
            Some(Fault::Unavailable) => Err(FlushError::Unavailable { source: injected() }),
            Some(Fault::UnknownExecuted) => {
                self.write(batch);
                Err(FlushError::Unknown { source: injected() })
            }
            Some(Fault::UnknownNotExecuted) => Err(FlushError::Unknown { source: injected() }),
            Some(Fault::UnknownLate(gate)) => {
                self.write_late(batch, gate);
                Err(FlushError::Unknown { source: injected() })
            }
            Some(Fault::Fatal) => Err(FlushError::Fatal { source: injected() }),
        }
    }

    async fn probe(&self) -> Result<(), FlushError> {
        match lock(&self.shared.faults).front() {
            Some(Fault::Unavailable) => Err(FlushError::Unavailable { source: injected() }),
            Some(_) | None => Ok(()),
        }
    }

    async fn load_open(
        &self,
        partition: PartitionId,
        after: Option<Gtid>,
        limit: usize,
    ) -> Result<Vec<Stored>, ReadError> {
        let tables = self.tables();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let open = tables
            .transactions
            .range((from, Bound::Unbounded))
            .filter(|(gtid, found)| gtid.partition() == partition && found.closed.is_none())
            .take(limit);
        Ok(open.filter_map(|(&gtid, _)| tables.stored(gtid)).collect())
    }

    async fn read(&self, gtid: Gtid) -> Result<Option<Stored>, ReadError> {
        Ok(self.tables().stored(gtid))
    }

    async fn find_key(
        &self,
        tenant: &TenantName,
        key: &IdempotencyKey,
    ) -> Result<Option<Gtid>, ReadError> {
        Ok(self
            .tables()
            .keys
            .get(&(tenant.clone(), key.clone()))
            .copied())
    }

    async fn list(
        &self,
        filter: &ListFilter,
        after: Option<Gtid>,
        limit: usize,
    ) -> Result<Vec<TransactionSummary>, ReadError> {
        let tables = self.tables();
        let until = after.map_or(Bound::Unbounded, |gtid| {
            Bound::Excluded((gtid.minted(), gtid))
        });
        let listed = tables.minted.range((Bound::Unbounded, until)).rev();
        let listed = listed.filter_map(|&(_, gtid)| tables.summary(gtid, filter));
        Ok(listed.take(limit).collect())
    }

    async fn trim(&self, held: Held, upto: Timestamp, limit: usize) -> Result<Trimmed, TrimError> {
        let mut tables = self.tables();
        let partition = held.partition;
        let horizon = match tables.partitions.get_mut(&partition) {
            Some(state) if state.epoch == held.epoch => {
                state.horizon = state.horizon.max(upto);
                state.horizon
            }
            Some(_) | None => return Err(TrimError::Fenced { partition }),
        };
        let old = tables
            .minted
            .iter()
            .take_while(|(minted, _)| *minted <= horizon);
        let removable = old.map(|&(_, gtid)| gtid).filter(|gtid| {
            let closed = tables.transactions.get(gtid).and_then(|found| found.closed);
            gtid.partition() == partition && closed.is_some_and(|closing| !closing.attention)
        });
        let removable: Vec<Gtid> = removable.take(limit).collect();
        removable.iter().for_each(|&gtid| tables.remove(gtid));
        Ok(Trimmed { horizon, removed: removable.len() })
    }
}
