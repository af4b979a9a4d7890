//! The journal in SQLite as a store.

use accordant_protocol::effect::Entry;
use accordant_protocol::id::{Epoch, Gtid, IdempotencyKey, PartitionId, Position, TenantName};
use accordant_protocol::record::{Fate, Record};
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::TransactionSummary;
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::batch::{Batch, apply};
use super::super::error::{FlushError, LeaseError, ReadError, TrimError};
use super::super::store::{
    Description, Flushed, Held, Lease, ListFilter, OwnerId, Ownership, PartitionState, Store,
    Stored, StoredRecord, Trimmed, outcome, outcome_code,
};
use super::engine::Engine;
use super::failure::{Failure, read_error};
use super::files::Lock;
use super::statement;
use super::tables::{SqliteTables, parse_gtid, signed, unsigned};
use super::thread::{CallError, Thread};

/// The journal in one SQLite file. Open it with [`SqliteStore::open`]; dropping it closes the file.
pub struct SqliteStore {
    description: Description,
    // The order matters: the writer closes last and then copies its log back, and only after that
    // another coordinator may open the file.
    reader: Thread<Connection>,
    writer: Thread<Engine>,
    _lock: Lock,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    pub(super) fn new(
        description: Description,
        reader: Thread<Connection>,
        writer: Thread<Engine>,
        lock: Lock,
    ) -> Self {
        Self { description, reader, writer, _lock: lock }
    }

    /// Lets the disk be full once the file has this many pages; none lifts it. For tests.
    ///
    /// # Errors
    /// [`FlushError`].
    #[doc(hidden)]
    pub async fn limit_pages(&self, pages: Option<u32>) -> Result<(), FlushError> {
        Ok(self
            .with_engine(move |engine| engine.limit_pages(pages))
            .await?)
    }

    async fn with_engine<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Failure> {
        match self.writer.call(work).await {
            Ok(done) => done,
            Err(error @ CallError::Busy) => Err(Failure::NotExecuted(error.into())),
            Err(error @ (CallError::Ended | CallError::Lost)) => Err(Failure::Fatal(error.into())),
        }
    }

    async fn write<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<R, rusqlite::Error> + Send + 'static,
    ) -> Result<R, Failure> {
        self.with_engine(move |engine| engine.write(work)).await
    }

    async fn query<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<R, rusqlite::Error> + Send + 'static,
    ) -> Result<R, ReadError> {
        match self.reader.call(move |connection| work(connection)).await {
            Ok(done) => done.map_err(read_error),
            Err(error) => Err(ReadError::Unavailable { source: error.into() }),
        }
    }
}

/// The outcome of a try to take a partition, decided inside the local transaction.
enum Acquired {
    Taken(Ownership),
    Held { owner: String, expires_in_ms: u64 },
    Missing,
}

fn acquire(
    connection: &Connection,
    partition: PartitionId,
    lease: &Lease,
) -> Result<Acquired, rusqlite::Error> {
    let now = crate::clock::now();
    let mut select = connection.prepare_cached(statement::SELECT_PARTITION)?;
    let found = select.query_row([partition.0], partition_row).optional()?;
    let Some((epoch, horizon, owner, until)) = found else {
        return Ok(Acquired::Missing);
    };
    match owner {
        Some(owner) if owner != lease.owner.as_str() && now < until => {
            return Ok(Acquired::Held { owner, expires_in_ms: until.millis_since(now) });
        }
        Some(_) | None => {}
    }
    let until = signed(now.plus_millis(lease.ms.into()).as_millis());
    let mut update = connection.prepare_cached(statement::ACQUIRE)?;
    update.execute(params![partition.0, lease.owner.as_str(), until])?;
    Ok(Acquired::Taken(Ownership {
        epoch: Epoch(epoch.0 + 1),
        horizon,
    }))
}

type PartitionRow = (Epoch, Timestamp, Option<String>, Timestamp);

fn partition_row(row: &rusqlite::Row<'_>) -> Result<PartitionRow, rusqlite::Error> {
    Ok((
        Epoch(unsigned(row.get(0)?)),
        Timestamp::from_millis(unsigned(row.get(1)?)),
        row.get(2)?,
        Timestamp::from_millis(unsigned(row.get(3)?)),
    ))
}

fn renew(
    connection: &Connection,
    held: &[Held],
    lease: &Lease,
) -> Result<Vec<Held>, rusqlite::Error> {
    let until = signed(crate::clock::now().plus_millis(lease.ms.into()).as_millis());
    let mut renew = connection.prepare_cached(statement::RENEW)?;
    let mut lost = Vec::new();
    for &one in held {
        let (id, epoch) = (one.partition.0, signed(one.epoch.0));
        if renew.execute(params![id, epoch, lease.owner.as_str(), until])? == 0 {
            lost.push(one);
        }
    }
    Ok(lost)
}

/// Collects rows of a transaction and its records, in the order of both.
fn stored(mut rows: rusqlite::Rows<'_>) -> Result<Vec<Stored>, rusqlite::Error> {
    let mut all: Vec<Stored> = Vec::new();
    while let Some(row) = rows.next()? {
        let gtid = parse_gtid(&row.get::<_, String>(0)?)?;
        let body: String = row.get(5)?;
        let record = StoredRecord {
            position: Position(row.get(3)?),
            epoch: Epoch(unsigned(row.get(4)?)),
            record: Record::decode(&body),
        };
        match all.last_mut() {
            Some(last) if last.gtid == gtid => last.records.push(record),
            Some(_) | None => all.push(Stored {
                gtid,
                closed: row.get(1)?,
                attention: row.get(2)?,
                records: vec![record],
            }),
        }
    }
    Ok(all)
}

fn list(
    connection: &Connection,
    filter: &ListFilter,
    after: Option<Gtid>,
    limit: usize,
) -> Result<Vec<TransactionSummary>, rusqlite::Error> {
    // A listing goes down from the earlier of the two bounds.
    let before = filter
        .minted_before
        .map_or(i64::MAX, |before| signed(before.as_millis()));
    let bound = match after {
        Some(after) if signed(after.minted().as_millis()) < before => {
            (signed(after.minted().as_millis()), after.to_string())
        }
        Some(_) | None => (before, String::new()),
    };
    let mut select = connection.prepare_cached(statement::LIST)?;
    let rows = select.query_map(
        params![
            bound.0,
            bound.1,
            filter
                .minted_from
                .map_or(0, |from| signed(from.as_millis())),
            filter.tenant.as_ref().map(TenantName::as_str),
            filter.closed,
            filter.outcome.map(outcome_code),
            filter.attention,
            i64::try_from(limit).unwrap_or(i64::MAX),
        ],
        summary,
    )?;
    rows.collect()
}

fn summary(row: &rusqlite::Row<'_>) -> Result<TransactionSummary, rusqlite::Error> {
    let id = parse_gtid(&row.get::<_, String>(0)?)?;
    let key: Option<String> = row.get(1)?;
    let closed_at: Option<i64> = row.get(2)?;
    let fate = row.get::<_, Option<i64>>(4)?.and_then(|code| match code {
        1 => Some(Fate::Commit),
        2 => Some(Fate::Abort),
        _ => None,
    });
    Ok(TransactionSummary {
        id,
        idempotency_key: key.and_then(|key| IdempotencyKey::new(&key).ok()),
        outcome: outcome(fate, row.get(3)?),
        closed: closed_at.is_some(),
        begun_at: id.minted(),
        closed_at: closed_at.map(|at| Timestamp::from_millis(unsigned(at))),
    })
}

fn remove(connection: &Connection, held: Held, limit: usize) -> Result<usize, rusqlite::Error> {
    let mut select = connection.prepare_cached(statement::REMOVABLE)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (id, epoch) = (held.partition.0, signed(held.epoch.0));
    let gtids = select.query_map(params![id, epoch, limit], |row| row.get::<_, String>(0))?;
    let gtids = gtids.collect::<Result<Vec<_>, _>>()?;
    let mut records = connection.prepare_cached(statement::REMOVE_RECORDS)?;
    let mut transaction = connection.prepare_cached(statement::REMOVE_TRANSACTION)?;
    for gtid in &gtids {
        records.execute([gtid])?;
        transaction.execute([gtid])?;
    }
    Ok(gtids.len())
}

#[async_trait]
impl Store for SqliteStore {
    fn description(&self) -> &Description {
        &self.description
    }

    async fn acquire(
        &self,
        partition: PartitionId,
        lease: &Lease,
    ) -> Result<Ownership, LeaseError> {
        let lease = lease.clone();
        match self
            .write(move |connection| acquire(connection, partition, &lease))
            .await?
        {
            Acquired::Taken(ownership) => Ok(ownership),
            Acquired::Missing => Err(LeaseError::NoSuchPartition { partition }),
            Acquired::Held { owner, expires_in_ms } => match OwnerId::new(&owner) {
                Ok(owner) => Err(LeaseError::Held { partition, owner, expires_in_ms }),
                Err(error) => Err(LeaseError::Unavailable { source: error.into() }),
            },
        }
    }

    async fn renew(&self, held: &[Held], lease: &Lease) -> Result<Vec<Held>, LeaseError> {
        let (held, lease) = (held.to_vec(), lease.clone());
        Ok(self
            .write(move |connection| renew(connection, &held, &lease))
            .await?)
    }

    async fn release(&self, held: &[Held], owner: &OwnerId) -> Result<(), LeaseError> {
        let (held, owner) = (held.to_vec(), owner.clone());
        let released = self.write(move |connection| {
            let mut release = connection.prepare_cached(statement::RELEASE)?;
            for one in held {
                let (id, epoch) = (one.partition.0, signed(one.epoch.0));
                release.execute(params![id, epoch, owner.as_str()])?;
            }
            Ok(())
        });
        Ok(released.await?)
    }

    async fn partitions(&self) -> Result<Vec<PartitionState>, ReadError> {
        let rows = self.query(|connection| {
            let mut select = connection.prepare_cached(statement::SELECT_PARTITIONS)?;
            let rows = select.query_map([], |row| {
                Ok((PartitionId(row.get(4)?), partition_row(row)?))
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        });
        let now = crate::clock::now();
        let states = rows.await?.into_iter().map(|(partition, row)| {
            let (epoch, horizon, owner, until) = row;
            let owner = owner.and_then(|owner| OwnerId::new(&owner).ok());
            let expires_in_ms = until.millis_since(now);
            PartitionState { partition, epoch, owner, expires_in_ms, horizon }
        });
        Ok(states.collect())
    }

    async fn flush(&self, entries: &[Entry]) -> Result<Vec<Flushed>, FlushError> {
        let mut batch = Batch::new(&self.description, entries);
        if batch.rows.is_empty() {
            return Ok(batch.into_flushed());
        }
        let written = self.write(move |connection| {
            apply(&mut SqliteTables(connection), &mut batch)?;
            Ok(batch)
        });
        // Only now that the local transaction has committed is the result true.
        Ok(written.await?.into_flushed())
    }

    async fn probe(&self) -> Result<(), FlushError> {
        let probed = self.write(|connection| connection.execute(statement::PROBE, []).map(drop));
        Ok(probed.await?)
    }

    async fn load_open(
        &self,
        partition: PartitionId,
        after: Option<Gtid>,
        limit: usize,
    ) -> Result<Vec<Stored>, ReadError> {
        let after = after.map(|gtid| gtid.to_string()).unwrap_or_default();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let loaded = self.query(move |connection| {
            let mut select = connection.prepare_cached(statement::LOAD_OPEN)?;
            stored(select.query(params![partition.0, after, limit])?)
        });
        loaded.await
    }

    async fn read(&self, gtid: Gtid) -> Result<Option<Stored>, ReadError> {
        let read = self.query(move |connection| {
            let mut select = connection.prepare_cached(statement::READ)?;
            stored(select.query([gtid.to_string()])?)
        });
        Ok(read.await?.pop())
    }

    async fn find_key(
        &self,
        tenant: &TenantName,
        key: &IdempotencyKey,
    ) -> Result<Option<Gtid>, ReadError> {
        let (tenant, key) = (tenant.clone(), key.clone());
        let found = self.query(move |connection| {
            let mut select = connection.prepare_cached(statement::FIND_KEY)?;
            let gtid = |row: &rusqlite::Row<'_>| parse_gtid(&row.get::<_, String>(0)?);
            select
                .query_row([tenant.as_str(), key.as_str()], gtid)
                .optional()
        });
        found.await
    }

    async fn list(
        &self,
        filter: &ListFilter,
        after: Option<Gtid>,
        limit: usize,
    ) -> Result<Vec<TransactionSummary>, ReadError> {
        let filter = filter.clone();
        self.query(move |connection| list(connection, &filter, after, limit))
            .await
    }

    async fn trim(&self, held: Held, upto: Timestamp, limit: usize) -> Result<Trimmed, TrimError> {
        let raised = self.write(move |connection| {
            let mut raise = connection.prepare_cached(statement::RAISE_HORIZON)?;
            let (id, epoch) = (held.partition.0, signed(held.epoch.0));
            let upto = signed(upto.as_millis());
            raise
                .query_row(params![id, epoch, upto], |row| row.get::<_, i64>(0))
                .optional()
        });
        // Durable here, before anything is removed.
        let Some(horizon) = raised.await? else {
            return Err(TrimError::Fenced { partition: held.partition });
        };
        let removed = self
            .write(move |connection| remove(connection, held, limit))
            .await?;
        Ok(Trimmed { horizon: Timestamp::from_millis(unsigned(horizon)), removed })
    }
}
