//! Partitions come and go: acquired, loaded, fenced, lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::effect::Effect;
use crate::id::{Epoch, Gtid, PartitionId, Position};
use crate::plan::Course;
use crate::recovery::History;
use crate::time::Timestamp;
use crate::wire::problem::ProblemCode;

use super::machine::Node;
use super::reply::refuse_all;
use super::submit::seed;
use super::transaction::{Durability, Transaction};

/// A partition that this node owns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Partition {
    pub(super) epoch: Epoch,
    /// Nothing minted at or before this is known any more, but for open transactions.
    pub(super) horizon: Timestamp,
    /// Its open transactions are still being read.
    pub(super) loading: bool,
    /// Transactions that ended while it was being loaded. What is still to come may have been
    /// read before they did, and must not bring them to life again.
    pub(super) ended: BTreeSet<Gtid>,
    /// When the oldest was minted that was found with a history that is not legal.
    pub(super) quarantined: Option<Timestamp>,
}

/// An open transaction as it was found in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Found {
    /// Its id.
    pub gtid: Gtid,
    /// Its facts. One whose records are not legal is not brought here: it is reported, and
    /// stands in nobody's way.
    pub history: History,
}

impl Node {
    pub(super) fn acquired(
        &mut self,
        partition: PartitionId,
        epoch: Epoch,
        horizon: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        self.lose(partition, effects);
        let ended = BTreeSet::new();
        self.partitions.insert(
            partition,
            Partition { epoch, horizon, loading: true, ended, quarantined: None },
        );
    }

    pub(super) fn loaded(
        &mut self,
        now: Timestamp,
        partition: PartitionId,
        epoch: Epoch,
        found: Vec<Found>,
        last: bool,
        effects: &mut Vec<Effect>,
    ) {
        // Read under an epoch that is not ours any more, or when all had been found: what has ended
        // since then is not remembered.
        let owned = self.partitions.get(&partition);
        if owned.is_none_or(|owned| owned.epoch != epoch || !owned.loading) {
            return;
        }
        for found in found {
            self.resume(now, epoch, &found, effects);
        }
        // Only now: a call that goes out before all are in memory must not carry a watermark that
        // passes one of them by.
        if let Some(owned) = self.partitions.get_mut(&partition).filter(|_| last) {
            owned.loading = false;
            owned.ended.clear();
        }
    }

    fn resume(&mut self, now: Timestamp, epoch: Epoch, found: &Found, effects: &mut Vec<Effect>) {
        let gtid = found.gtid;
        // One that this owner has begun itself meanwhile is in better hands already, or has ended.
        let partition = self.partitions.get(&gtid.partition());
        let ended = partition.is_some_and(|it| it.ended.contains(&gtid));
        if ended || self.transactions.contains_key(&gtid) {
            return;
        }
        let history = &found.history;
        let Some(begun) = history.begun.as_ref().filter(|_| !history.is_closed()) else {
            return;
        };
        let (course, orders) = Course::resume(&begun.plan, seed(gtid), gtid.minted(), history, now);
        self.keys
            .insert((begun.tenant.clone(), begun.key.clone()), gtid);
        let decided = history.fate().is_some();
        let transaction = Transaction {
            gtid,
            epoch,
            begun: Arc::new(begun.clone()),
            begun_record: Durability::Durable,
            decision_record: if decided {
                Durability::Durable
            } else {
                Durability::None
            },
            closed_record: Durability::None,
            gate: None,
            last: None,
            durable: Position(history.len()),
            decided: Position(history.len()),
            counted: false,
            course,
            position: Position(history.len()),
            waiters: Vec::new(),
            timers: Vec::new(),
            closed_at: None,
        };
        self.transactions.insert(gtid, transaction);
        self.carry_out(now, gtid, orders, effects);
    }

    /// Keeps the watermark below a transaction that nobody may act upon.
    pub(super) fn quarantine(&mut self, gtid: Gtid) {
        if let Some(owned) = self.partitions.get_mut(&gtid.partition()) {
            let minted = gtid.minted();
            let oldest = owned
                .quarantined
                .map_or(minted, |oldest| oldest.min(minted));
            owned.quarantined = Some(oldest);
        }
    }

    pub(super) fn raise_horizon(&mut self, partition: PartitionId, horizon: Timestamp) {
        if let Some(owned) = self.partitions.get_mut(&partition) {
            owned.horizon = owned.horizon.max(horizon);
        }
    }

    /// Nothing of this partition is ours any more: whoever owns it will end what is open. Clients
    /// that wait are told that the outcome is unknown, never that it failed.
    pub(super) fn lose(&mut self, partition: PartitionId, effects: &mut Vec<Effect>) {
        if self.partitions.remove(&partition).is_none() {
            return;
        }
        self.presumptions
            .retain(|gtid, _| gtid.partition() != partition);
        self.drop_awaited(partition, effects);
        let lost = self
            .transactions
            .keys()
            .filter(|gtid| gtid.partition() == partition);
        for gtid in lost.copied().collect::<Vec<_>>() {
            let waiters = self
                .transactions
                .get_mut(&gtid)
                .map(|it| std::mem::take(&mut it.waiters));
            let waiters = waiters
                .unwrap_or_default()
                .into_iter()
                .map(|(request, _)| request);
            let waiters: Vec<_> = waiters.collect();
            refuse_all(&waiters, ProblemCode::Unknown, effects);
            self.forget(gtid);
        }
    }

    /// Nothing minted at or before this time in the partition will ever be asked about again:
    /// below the retention horizon, and below every open transaction.
    pub(super) fn watermark(&self, partition: PartitionId) -> Timestamp {
        let Some(owned) = self.partitions.get(&partition) else {
            return Timestamp::ZERO;
        };
        // Transactions that have not been read yet may be older than any in memory.
        if owned.loading {
            return Timestamp::ZERO;
        }
        let (cluster, incarnation) = (self.config.cluster, self.config.incarnation);
        let first = Gtid::mint(cluster, partition, incarnation, Timestamp::ZERO, 0);
        let oldest = first.ok().and_then(|first| {
            let next = self.transactions.range(first..).next();
            next.map(|(gtid, _)| *gtid)
                .filter(|gtid| gtid.partition() == partition)
        });
        let oldest = oldest.map(|gtid| gtid.minted());
        let below =
            |minted: Timestamp| Timestamp::from_millis(minted.as_millis().saturating_sub(1));
        let kept = oldest.into_iter().chain(owned.quarantined).map(below);
        kept.fold(owned.horizon, Timestamp::min)
    }
}
