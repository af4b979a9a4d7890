//! A batch on its way into a store: checked as far as that needs no look at what is stored, encoded,
//! and applied entry by entry where the store has no better way.

use std::collections::BTreeMap;

use accordant_protocol::effect::Entry;
use accordant_protocol::id::{Epoch, Gtid, IdempotencyKey, PartitionId, Position, TenantName};
use accordant_protocol::record::{Aborted, Closed, Fate, Record};
use accordant_protocol::time::Timestamp;

use super::store::{Description, Flushed, Refusal};

/// Entries that may be written, and what is already known about the others.
#[derive(Debug)]
pub(crate) struct Batch {
    /// To be written, in order.
    pub(crate) rows: Vec<Row>,
    /// By entry, for those that are settled without a look at the store.
    settled: Vec<Option<Flushed>>,
    /// Entries that repeat an earlier one of the same batch, with that one's index.
    repeats: Vec<(usize, usize)>,
}

/// One entry, ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Which entry of the batch it is.
    pub(crate) index: usize,
    /// Whose history it belongs to.
    pub(crate) gtid: Gtid,
    /// Its place there.
    pub(crate) position: Position,
    /// The epoch under which it is written.
    pub(crate) epoch: Epoch,
    /// The fate that it seals.
    pub(crate) fate: Option<Fate>,
    /// The encoded record.
    pub(crate) body: String,
    /// What it does to its transaction.
    pub(crate) change: Change,
}

impl Row {
    pub(crate) fn partition(&self) -> PartitionId {
        self.gtid.partition()
    }
}

/// What a record does to its transaction, apart from being added to it.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Begins it. Only at position 0.
    Begin {
        /// Its idempotency key.
        tenant: TenantName,
        /// See `tenant`.
        key: IdempotencyKey,
    },
    /// Begins and closes it, without a key. Only at position 0.
    Presume {
        /// When.
        at: Timestamp,
    },
    /// Nothing.
    None,
    /// Some action of it waits for an operator. It is listed as such until it is closed: whether
    /// another one of it still waits cannot be seen from one record.
    Stick,
    /// Closes it.
    Close(Closing),
}

/// How a transaction is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    /// When.
    pub(crate) at: Timestamp,
    /// Whether an operator must look.
    pub(crate) attention: bool,
}

impl Batch {
    pub(crate) fn new(description: &Description, entries: &[Entry]) -> Self {
        let mut batch = Self {
            rows: Vec::with_capacity(entries.len()),
            settled: vec![None; entries.len()],
            repeats: Vec::new(),
        };
        // The last entry of each transaction so far, and what refused one of its entries.
        let mut last: BTreeMap<Gtid, Position> = BTreeMap::new();
        let mut places: BTreeMap<(Gtid, Position), usize> = BTreeMap::new();
        let mut refused: BTreeMap<Gtid, Refusal> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            let gtid = entry.gtid;
            let verdict = match refused.get(&gtid) {
                Some(&refusal) => Err(refusal),
                None => match places.get(&(gtid, entry.position)) {
                    Some(&first) if entries.get(first) == Some(entry) => {
                        batch.repeats.push((index, first));
                        continue;
                    }
                    Some(_) => Err(Refusal::PositionTaken),
                    None => prepare(description, index, entry, last.get(&gtid).copied()),
                },
            };
            match verdict {
                Ok(row) => {
                    last.insert(gtid, entry.position);
                    places.insert((gtid, entry.position), index);
                    batch.rows.push(row);
                }
                Err(refusal) => {
                    refused.insert(gtid, refusal);
                    batch.settle(index, Flushed::Refused(refusal));
                }
            }
        }
        batch
    }

    pub(crate) fn settle(&mut self, index: usize, flushed: Flushed) {
        if let Some(place) = self.settled.get_mut(index) {
            *place = Some(flushed);
        }
    }

    /// Whether an entry is settled as durable.
    pub(crate) fn is_durable(&self, index: usize) -> bool {
        self.settled.get(index).copied().flatten() == Some(Flushed::Durable)
    }

    /// What became of each entry. One that nothing was said about contradicts what a store promises,
    /// so it is refused rather than called durable.
    pub(crate) fn into_flushed(mut self) -> Vec<Flushed> {
        for (index, first) in std::mem::take(&mut self.repeats) {
            if let Some(flushed) = self.settled.get(first).copied().flatten() {
                self.settle(index, flushed);
            }
        }
        let missing = Flushed::Refused(Refusal::OutOfPlace);
        self.settled
            .into_iter()
            .map(|flushed| flushed.unwrap_or(missing))
            .collect()
    }
}

fn prepare(
    description: &Description,
    index: usize,
    entry: &Entry,
    before: Option<Position>,
) -> Result<Row, Refusal> {
    let gtid = entry.gtid;
    let begins = entry.position == Position(0);
    if gtid.cluster() != description.cluster
        || gtid.partition().0 >= description.partitions
        || (begins && gtid.incarnation() != description.incarnation)
    {
        return Err(Refusal::Foreign);
    }
    if before.is_some_and(|before| before.next() != entry.position) {
        return Err(Refusal::OutOfPlace);
    }
    let change = match &entry.record {
        Record::Begun(begun) if begins => {
            Change::Begin { tenant: begun.tenant.clone(), key: begun.key.clone() }
        }
        Record::Aborted(Aborted { at, .. }) if begins && entry.record.is_presumed() => {
            Change::Presume { at: *at }
        }
        _ if begins => return Err(Refusal::OutOfPlace),
        Record::Begun(_) => return Err(Refusal::OutOfPlace),
        Record::Closed(Closed { at, heuristics, .. }) => {
            Change::Close(Closing { at: *at, attention: !heuristics.is_empty() })
        }
        Record::Stuck(_) => Change::Stick,
        // The record's kinds that only add a fact.
        Record::Committed(_)
        | Record::Aborted(_)
        | Record::Started(_)
        | Record::Done(_)
        | Record::Compensated(_)
        | Record::Resolved(_)
        | _ => Change::None,
    };
    let body = entry.record.encode().map_err(|_| Refusal::Unencodable)?;
    let (position, epoch, fate) = (entry.position, entry.epoch, entry.record.fate());
    Ok(Row { index, gtid, position, epoch, fate, body, change })
}

/// Whether a stored body says the same as one about to be written. Another build may have written
/// it in another order of fields.
pub(crate) fn same_record(stored: &str, ours: &str) -> bool {
    stored == ours
        || matches!((Record::decode(stored), Record::decode(ours)), (Ok(a), Ok(b)) if a == b)
}

/// The tables of a store inside one open local transaction, for [`apply`].
pub(crate) trait Tables {
    /// What can go wrong.
    type Error;

    /// The present epoch and the retention horizon of a partition.
    fn fence(&mut self, partition: PartitionId) -> Result<(Epoch, Timestamp), Self::Error>;

    /// Whether the transaction is there.
    fn exists(&mut self, gtid: Gtid) -> Result<bool, Self::Error>;

    /// Adds a transaction that is not there, or says whose its key is.
    fn begin(
        &mut self,
        gtid: Gtid,
        key: Option<(&TenantName, &IdempotencyKey)>,
        closed: Option<Closing>,
    ) -> Result<Option<Gtid>, Self::Error>;

    /// Adds a record if its position is free, the one before it is there, and its fate is free;
    /// says whether it did.
    fn add(&mut self, row: &Row) -> Result<bool, Self::Error>;

    /// The record at a position.
    fn body(&mut self, gtid: Gtid, position: Position) -> Result<Option<String>, Self::Error>;

    /// Marks a transaction as one that waits for an operator.
    fn stick(&mut self, gtid: Gtid) -> Result<(), Self::Error>;

    /// Closes a transaction.
    fn close(&mut self, gtid: Gtid, closing: Closing) -> Result<(), Self::Error>;
}

/// Writes a batch entry by entry. The caller commits, and only then the result is true.
pub(crate) fn apply<T: Tables>(tables: &mut T, batch: &mut Batch) -> Result<(), T::Error> {
    let mut fences: BTreeMap<PartitionId, (Epoch, Timestamp)> = BTreeMap::new();
    // What stopped a transaction stops the rest of its entries.
    let mut stopped: BTreeMap<Gtid, Flushed> = BTreeMap::new();
    for row in std::mem::take(&mut batch.rows) {
        let partition = row.partition();
        let fence = match fences.get(&partition) {
            Some(&fence) => fence,
            None => *fences.entry(partition).or_insert(tables.fence(partition)?),
        };
        let flushed = match stopped.get(&row.gtid) {
            Some(&flushed) => flushed,
            None => apply_row(tables, &row, fence)?,
        };
        if flushed != Flushed::Durable {
            stopped.insert(row.gtid, flushed);
        }
        batch.settle(row.index, flushed);
    }
    Ok(())
}

fn apply_row<T: Tables>(
    tables: &mut T,
    row: &Row,
    (epoch, horizon): (Epoch, Timestamp),
) -> Result<Flushed, T::Error> {
    if row.epoch != epoch {
        return Ok(Flushed::Fenced);
    }
    let begun = match &row.change {
        Change::Begin { tenant, key } => Some((Some((tenant, key)), None)),
        Change::Presume { at } => Some((None, Some(Closing { at: *at, attention: false }))),
        Change::None | Change::Stick | Change::Close(_) => None,
    };
    if let Some((key, closed)) = begun
        && !tables.exists(row.gtid)?
    {
        if row.gtid.minted() <= horizon {
            return Ok(Flushed::Refused(Refusal::BelowHorizon));
        }
        if let Some(by) = tables.begin(row.gtid, key, closed)? {
            return Ok(Flushed::KeyTaken { by });
        }
    }
    if !tables.add(row)? {
        let stored = tables.body(row.gtid, row.position)?;
        return explain(row, stored.as_deref(), || {
            let before = row.position.0.checked_sub(1).map(Position);
            before.map_or(Ok(true), |before| {
                Ok(tables.body(row.gtid, before)?.is_some())
            })
        });
    }
    match row.change {
        Change::Close(closing) => tables.close(row.gtid, closing)?,
        Change::Stick => tables.stick(row.gtid)?,
        Change::Begin { .. } | Change::Presume { .. } | Change::None => {}
    }
    Ok(Flushed::Durable)
}

/// Why a record was not added, given what is at its position and whether the one before it is there.
pub(crate) fn explain<E>(
    row: &Row,
    stored: Option<&str>,
    preceded: impl FnOnce() -> Result<bool, E>,
) -> Result<Flushed, E> {
    Ok(match stored {
        Some(stored) if same_record(stored, &row.body) => Flushed::Durable,
        Some(_) => Flushed::Refused(Refusal::PositionTaken),
        None if preceded()? && row.fate.is_some() => Flushed::Refused(Refusal::FateTaken),
        None => Flushed::Refused(Refusal::OutOfPlace),
    })
}
