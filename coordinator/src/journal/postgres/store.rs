//! The journal in PostgreSQL as a store.

use accordant_protocol::effect::Entry;
use accordant_protocol::id::{Epoch, Gtid, IdempotencyKey, PartitionId, TenantName};
use accordant_protocol::record::Record;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::TransactionSummary;
use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::{PgPool, PgRow};

use super::super::batch::Batch;
use super::super::error::{FlushError, LeaseError, ReadError, TrimError};
use super::super::limits::{CALL_WAIT_MAX, FLUSH_WAIT_MAX};
use super::super::store::{
    Description, Flushed, Held, Lease, ListFilter, OwnerId, Ownership, PartitionState, Store,
    Stored, StoredRecord, Trimmed, outcome, outcome_code,
};
use super::flush::{fate_of, flush, gtid, partition_id, position, signed, unsigned};
use super::link::{Link, LinkError, Statement, complete};
use super::{sqlstate, statement};

/// The journal in a PostgreSQL database. Open it with [`PostgresStore::open`].
pub struct PostgresStore {
    description: Description,
    /// Flushes, one at a time.
    writer: Link,
    /// Takes partitions, which may wait for a former owner's flush.
    taker: Link,
    /// Renews, gives back, probes and trims, and never waits behind the other two.
    keeper: Link,
    readers: PgPool,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("PostgresStore");
        debug
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    pub(super) fn new(
        description: Description,
        writer: Link,
        taker: Link,
        keeper: Link,
        readers: PgPool,
    ) -> Self {
        Self { description, writer, taker, keeper, readers }
    }

    async fn query(&self, statement: Statement<'_>) -> Result<Vec<PgRow>, ReadError> {
        let rows = tokio::time::timeout(CALL_WAIT_MAX, statement.fetch_all(&self.readers)).await;
        match rows {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(ReadError::Unavailable { source: error.into() }),
            Err(late) => Err(ReadError::Unavailable { source: late.into() }),
        }
    }
}

impl From<LinkError> for FlushError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Unavailable(source) => Self::Unavailable { source },
            LinkError::Moved(source) => Self::Fatal { source },
        }
    }
}

impl From<LinkError> for LeaseError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Unavailable(source) => Self::Unavailable { source },
            LinkError::Moved(source) => Self::Fatal { source },
        }
    }
}

impl From<LinkError> for TrimError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Unavailable(source) => Self::Unavailable { source },
            LinkError::Moved(source) => Self::Fatal { source },
        }
    }
}

fn lease_error(error: sqlx::Error) -> LeaseError {
    LeaseError::Unavailable { source: error.into() }
}

fn trim_error(error: sqlx::Error) -> TrimError {
    TrimError::Unavailable { source: error.into() }
}

/// A row that is there but not of its form.
fn corrupt(error: sqlx::Error) -> ReadError {
    ReadError::Corrupt { what: error.to_string() }
}

/// For arrays of partitions and epochs.
fn columns(held: &[Held]) -> (Vec<i32>, Vec<i64>) {
    held.iter()
        .map(|held| (i32::from(held.partition.0), signed(held.epoch.0)))
        .unzip()
}

fn state(row: &PgRow) -> Result<PartitionState, sqlx::Error> {
    let owner: Option<&str> = row.try_get(2)?;
    Ok(PartitionState {
        partition: partition_id(row.try_get(0)?)?,
        epoch: Epoch(unsigned(row.try_get(1)?)),
        owner: owner.and_then(|owner| OwnerId::new(owner).ok()),
        expires_in_ms: unsigned(row.try_get(4)?),
        horizon: Timestamp::from_millis(unsigned(row.try_get(3)?)),
    })
}

/// Collects rows of a transaction and its records, in the order of both.
fn stored(rows: &[PgRow]) -> Result<Vec<Stored>, sqlx::Error> {
    let mut all: Vec<Stored> = Vec::new();
    for row in rows {
        let gtid = gtid(row.try_get(0)?)?;
        let record = StoredRecord {
            position: position(row.try_get(3)?)?,
            epoch: Epoch(unsigned(row.try_get(4)?)),
            record: Record::decode(row.try_get(5)?),
        };
        match all.last_mut() {
            Some(last) if last.gtid == gtid => last.records.push(record),
            Some(_) | None => {
                let (closed, attention) = (row.try_get(1)?, row.try_get(2)?);
                all.push(Stored { gtid, closed, attention, records: vec![record] });
            }
        }
    }
    Ok(all)
}

fn summary(row: &PgRow) -> Result<TransactionSummary, sqlx::Error> {
    let id = gtid(row.try_get(0)?)?;
    let key: Option<&str> = row.try_get(1)?;
    let closed_at: Option<i64> = row.try_get(2)?;
    let fate = row.try_get::<Option<i16>, _>(4)?.and_then(fate_of);
    Ok(TransactionSummary {
        id,
        idempotency_key: key.and_then(|key| IdempotencyKey::new(key).ok()),
        outcome: outcome(fate, row.try_get(3)?),
        closed: closed_at.is_some(),
        begun_at: id.minted(),
        closed_at: closed_at.map(|at| Timestamp::from_millis(unsigned(at))),
    })
}

/// Who has a partition that was not taken.
async fn holder(
    taken: &mut super::link::Taken<'_>,
    partition: PartitionId,
) -> Result<Option<PartitionState>, sqlx::Error> {
    let query = sqlx::query(statement::PARTITIONS);
    let rows = complete(query, &mut taken.connection, CALL_WAIT_MAX).await?;
    for row in &rows {
        let state = state(row)?;
        if state.partition == partition {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

#[async_trait]
impl Store for PostgresStore {
    fn description(&self) -> &Description {
        &self.description
    }

    async fn acquire(
        &self,
        partition: PartitionId,
        lease: &Lease,
    ) -> Result<Ownership, LeaseError> {
        let mut taken = self.taker.take().await?;
        let acquire = sqlx::query(statement::ACQUIRE)
            .bind(i32::from(partition.0))
            .bind(lease.owner.as_str())
            .bind(i64::from(lease.ms));
        let rows = complete(acquire, &mut taken.connection, CALL_WAIT_MAX).await;
        let rows = rows.map_err(lease_error)?;
        if let Some(row) = rows.first() {
            let epoch = Epoch(unsigned(row.try_get(0).map_err(lease_error)?));
            let horizon = unsigned(row.try_get(1).map_err(lease_error)?);
            taken.put_back();
            return Ok(Ownership { epoch, horizon: Timestamp::from_millis(horizon) });
        }
        let holder = holder(&mut taken, partition).await.map_err(lease_error)?;
        taken.put_back();
        match holder {
            None => Err(LeaseError::NoSuchPartition { partition }),
            Some(PartitionState { owner: Some(owner), expires_in_ms, .. }) => {
                Err(LeaseError::Held { partition, owner, expires_in_ms })
            }
            Some(PartitionState { owner: None, .. }) => {
                let source = "the partition was given back at this moment".into();
                Err(LeaseError::Unavailable { source })
            }
        }
    }

    async fn renew(&self, held: &[Held], lease: &Lease) -> Result<Vec<Held>, LeaseError> {
        let (partitions, epochs) = columns(held);
        let mut taken = self.keeper.take().await?;
        let renew = sqlx::query(statement::RENEW)
            .bind(partitions)
            .bind(epochs)
            .bind(lease.owner.as_str())
            .bind(i64::from(lease.ms));
        let rows = complete(renew, &mut taken.connection, CALL_WAIT_MAX).await;
        let rows = rows.map_err(lease_error)?;
        let renewed = rows.iter().map(|row| row.try_get::<i32, _>(0));
        let renewed = renewed
            .collect::<Result<Vec<_>, _>>()
            .map_err(lease_error)?;
        taken.put_back();
        let lost = held
            .iter()
            .filter(|held| !renewed.contains(&held.partition.0.into()));
        Ok(lost.copied().collect())
    }

    async fn release(&self, held: &[Held], owner: &OwnerId) -> Result<(), LeaseError> {
        let (partitions, epochs) = columns(held);
        let mut taken = self.keeper.take().await?;
        let release = sqlx::query(statement::RELEASE);
        let release = release.bind(partitions).bind(epochs).bind(owner.as_str());
        complete(release, &mut taken.connection, CALL_WAIT_MAX)
            .await
            .map_err(lease_error)?;
        taken.put_back();
        Ok(())
    }

    async fn partitions(&self) -> Result<Vec<PartitionState>, ReadError> {
        let rows = self.query(sqlx::query(statement::PARTITIONS)).await?;
        rows.iter().map(|row| state(row).map_err(corrupt)).collect()
    }

    async fn flush(&self, entries: &[Entry]) -> Result<Vec<Flushed>, FlushError> {
        let batch = Batch::new(&self.description, entries);
        if batch.rows.is_empty() {
            return Ok(batch.into_flushed());
        }
        let mut taken = self.writer.take().await?;
        // Boxed, since it is large and this future is part of others.
        let flushed = Box::pin(flush(&mut taken.connection, batch)).await?;
        taken.put_back();
        Ok(flushed)
    }

    async fn probe(&self) -> Result<(), FlushError> {
        let mut taken = self.keeper.take().await?;
        let probe = sqlx::query(statement::PROBE);
        match complete(probe, &mut taken.connection, FLUSH_WAIT_MAX).await {
            Ok(_) => {
                taken.put_back();
                Ok(())
            }
            Err(error) => Err(match sqlstate::fate(&error) {
                sqlstate::Fate::Conflict | sqlstate::Fate::NotExecuted => {
                    FlushError::Unavailable { source: error.into() }
                }
                sqlstate::Fate::Unknown => FlushError::Unknown { source: error.into() },
            }),
        }
    }

    async fn load_open(
        &self,
        partition: PartitionId,
        after: Option<Gtid>,
        limit: usize,
    ) -> Result<Vec<Stored>, ReadError> {
        let after = after.map(|gtid| gtid.to_string()).unwrap_or_default();
        let load = sqlx::query(statement::LOAD_OPEN)
            .bind(i32::from(partition.0))
            .bind(after)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        stored(&self.query(load).await?).map_err(corrupt)
    }

    async fn read(&self, gtid: Gtid) -> Result<Option<Stored>, ReadError> {
        let rows = self
            .query(sqlx::query(statement::READ).bind(gtid.to_string()))
            .await?;
        Ok(stored(&rows).map_err(corrupt)?.pop())
    }

    async fn find_key(
        &self,
        tenant: &TenantName,
        key: &IdempotencyKey,
    ) -> Result<Option<Gtid>, ReadError> {
        let find = sqlx::query(statement::FIND_KEY)
            .bind(tenant.as_str())
            .bind(key.as_str());
        let rows = self.query(find).await?;
        let found = rows.first().map(|row| row.try_get(0).and_then(gtid));
        found.transpose().map_err(corrupt)
    }

    async fn list(
        &self,
        filter: &ListFilter,
        after: Option<Gtid>,
        limit: usize,
    ) -> Result<Vec<TransactionSummary>, ReadError> {
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
        let list = sqlx::query(statement::LIST)
            .bind(bound.0)
            .bind(bound.1)
            .bind(
                filter
                    .minted_from
                    .map_or(0, |from| signed(from.as_millis())),
            )
            .bind(filter.tenant.as_ref().map(TenantName::as_str))
            .bind(filter.closed)
            .bind(filter.outcome.map(outcome_code))
            .bind(filter.attention)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = self.query(list).await?;
        rows.iter()
            .map(|row| summary(row).map_err(corrupt))
            .collect()
    }

    async fn trim(&self, held: Held, upto: Timestamp, limit: usize) -> Result<Trimmed, TrimError> {
        let (partition, epoch) = (i32::from(held.partition.0), signed(held.epoch.0));
        let mut taken = self.keeper.take().await?;
        let raise = sqlx::query(statement::RAISE_HORIZON);
        let raise = raise
            .bind(partition)
            .bind(epoch)
            .bind(signed(upto.as_millis()));
        let raised = complete(raise, &mut taken.connection, CALL_WAIT_MAX).await;
        let raised = raised.map_err(trim_error)?;
        // Durable here, before anything is removed.
        let Some(row) = raised.first() else {
            taken.put_back();
            return Err(TrimError::Fenced { partition: held.partition });
        };
        let horizon = Timestamp::from_millis(unsigned(row.try_get(0).map_err(trim_error)?));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let remove = sqlx::query(statement::REMOVE)
            .bind(partition)
            .bind(epoch)
            .bind(limit);
        let removed = complete(remove, &mut taken.connection, CALL_WAIT_MAX).await;
        let removed = removed.map_err(trim_error)?.len();
        taken.put_back();
        Ok(Trimmed { horizon, removed })
    }
}
