//! One flush: a statement, and what is done if it leaves something out.

use std::collections::{BTreeMap, BTreeSet};

use accordant_protocol::id::{Epoch, Gtid, IdempotencyKey, PartitionId, Position, TenantName};
use accordant_protocol::record::Fate;
use accordant_protocol::time::Timestamp;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::super::batch::{Batch, Change, Closing, Row, apply};
use super::super::error::FlushError;
use super::super::limits::{EXPLAIN_ROUNDS_MAX, FLUSH_WAIT_MAX};
use super::super::memory::MemoryTables;
use super::super::store::Flushed;
use super::link::complete;
use super::sqlstate;
use super::statement;

/// Writes a batch. After an error the connection must be closed.
pub(super) async fn flush(
    connection: &mut PgConnection,
    mut batch: Batch,
) -> Result<Vec<Flushed>, FlushError> {
    let mut rows = std::mem::take(&mut batch.rows);
    let mut progress = Progress::default();
    progress.write(connection, &mut batch, &mut rows).await?;
    // The common case ends here. Else some entry is a repeat, contradicts what is stored, or came
    // too late for its key: look, settle those, and write the rest.
    for _ in 0..EXPLAIN_ROUNDS_MAX {
        if rows.is_empty() {
            break;
        }
        let before = progress.look(connection, &rows).await?;
        let mut picture = before.tables;
        batch.rows = rows.clone();
        let Ok(()) = apply(&mut picture, &mut batch);
        let (there, missing): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .filter(|row| batch.is_durable(row.index))
            .partition(|row| before.places.contains(&(row.gtid, row.position)));
        progress.found |= !there.is_empty();
        rows = missing;
        progress.write(connection, &mut batch, &mut rows).await?;
    }
    if !rows.is_empty() {
        return Err(progress.failed("somebody else writes these transactions too".into()));
    }
    if progress.found {
        // What was found may have been written by a flush whose wait for a standby was cut short.
        // A write of our own waits for everything before it.
        let probe = complete(sqlx::query(statement::PROBE), connection, FLUSH_WAIT_MAX).await;
        probe.map_err(|error| FlushError::Unknown { source: error.into() })?;
    }
    Ok(batch.into_flushed())
}

/// How far a flush has come.
#[derive(Default)]
struct Progress {
    /// Some statement of it has committed: from now on a failure leaves the outcome unknown.
    executed: bool,
    /// Something that was found, and not written, is to be called durable.
    found: bool,
}

/// What stands in the journal of the transactions of a batch.
struct Before {
    tables: MemoryTables,
    places: BTreeSet<(Gtid, Position)>,
}

impl Progress {
    fn failed(&self, source: super::super::error::Cause) -> FlushError {
        if self.executed {
            FlushError::Unknown { source }
        } else {
            FlushError::Unavailable { source }
        }
    }

    /// Writes rows; leaves them where they are if not all of them could be written.
    async fn write(
        &mut self,
        connection: &mut PgConnection,
        batch: &mut Batch,
        rows: &mut Vec<Row>,
    ) -> Result<(), FlushError> {
        if rows.is_empty() {
            return Ok(());
        }
        let answer = complete(bind(rows), connection, FLUSH_WAIT_MAX).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                return match sqlstate::fate(&error) {
                    sqlstate::Fate::Conflict => Ok(()),
                    sqlstate::Fate::NotExecuted => Err(self.failed(error.into())),
                    sqlstate::Fate::Unknown => Err(FlushError::Unknown { source: error.into() }),
                };
            }
        };
        self.executed = true;
        let unknown = |error: sqlx::Error| FlushError::Unknown { source: error.into() };
        let mut epochs: BTreeMap<PartitionId, Epoch> = BTreeMap::new();
        let mut written = 0;
        for fence in answer {
            let partition = partition_id(fence.try_get(0).map_err(unknown)?).map_err(unknown)?;
            epochs.insert(
                partition,
                Epoch(unsigned(fence.try_get(1).map_err(unknown)?)),
            );
            written = fence.try_get(3).map_err(unknown)?;
        }
        let holds = |row: &Row| epochs.get(&row.partition()) == Some(&row.epoch);
        let expected = rows.iter().filter(|row| holds(row)).count();
        if i64::try_from(expected).ok() != Some(written) {
            return Ok(());
        }
        for row in rows.drain(..) {
            let flushed = if holds(&row) {
                Flushed::Durable
            } else {
                Flushed::Fenced
            };
            batch.settle(row.index, flushed);
        }
        Ok(())
    }

    async fn look(
        &self,
        connection: &mut PgConnection,
        rows: &[Row],
    ) -> Result<Before, FlushError> {
        look(connection, rows)
            .await
            .map_err(|error| self.failed(error.into()))
    }
}

async fn look(connection: &mut PgConnection, rows: &[Row]) -> Result<Before, sqlx::Error> {
    let mut tables = MemoryTables::default();
    let mut places = BTreeSet::new();
    let partitions: BTreeSet<i32> = rows.iter().map(|row| row.partition().0.into()).collect();
    let gtids: BTreeSet<String> = rows.iter().map(|row| row.gtid.to_string()).collect();
    let keys = rows.iter().filter_map(|row| match &row.change {
        Change::Begin { tenant, key } => Some((tenant.as_str(), key.as_str())),
        Change::Presume { .. } | Change::None | Change::Stick | Change::Close(_) => None,
    });
    let (tenants, keys): (Vec<&str>, Vec<&str>) = keys.unzip();
    let gtids: Vec<String> = gtids.into_iter().collect();

    let partitions: Vec<i32> = partitions.into_iter().collect();
    let query = sqlx::query(statement::EXPLAIN_FENCES).bind(partitions);
    for row in complete(query, connection, FLUSH_WAIT_MAX).await? {
        let (epoch, horizon) = (unsigned(row.try_get(1)?), unsigned(row.try_get(2)?));
        let id = partition_id(row.try_get(0)?)?;
        tables.put_partition(id, Epoch(epoch), Timestamp::from_millis(horizon));
    }
    let query = sqlx::query(statement::EXPLAIN_TRANSACTIONS)
        .bind(&gtids)
        .bind(tenants)
        .bind(keys);
    for row in complete(query, connection, FLUSH_WAIT_MAX).await? {
        let tenant = row
            .try_get::<Option<&str>, _>(1)?
            .and_then(|text| TenantName::new(text).ok());
        let key = row
            .try_get::<Option<&str>, _>(2)?
            .and_then(|text| IdempotencyKey::new(text).ok());
        tables.put_transaction(gtid(row.try_get(0)?)?, tenant.zip(key));
    }
    let query = sqlx::query(statement::EXPLAIN_RECORDS).bind(&gtids);
    for row in complete(query, connection, FLUSH_WAIT_MAX).await? {
        let gtid = gtid(row.try_get(0)?)?;
        let position = position(row.try_get(1)?)?;
        let fate = row.try_get::<Option<i16>, _>(3)?.and_then(fate_of);
        tables.put_record(gtid, position, fate, row.try_get(4)?);
        places.insert((gtid, position));
    }
    Ok(Before { tables, places })
}

/// Gives a flush its values.
fn bind(rows: &[Row]) -> super::link::Statement<'_> {
    let mut heads: BTreeMap<Gtid, Position> = BTreeMap::new();
    let mut closings: BTreeMap<Gtid, Closing> = BTreeMap::new();
    let mut stuck: BTreeSet<Gtid> = BTreeSet::new();
    let mut records = Records::default();
    for row in rows {
        let head = *heads.entry(row.gtid).or_insert(row.position);
        match row.change {
            Change::Close(closing) => {
                closings.insert(row.gtid, closing);
            }
            Change::Stick => {
                stuck.insert(row.gtid);
            }
            Change::Begin { .. } | Change::Presume { .. } | Change::None => {}
        }
        records.push(row, head);
    }
    // What has ended waits for nobody, and no row is written twice in one statement.
    stuck.retain(|gtid| !closings.contains_key(gtid));
    let mut begun = Begun::default();
    let mut closed = Closed::default();
    let mut sticking = Sticking::default();
    for row in rows {
        match &row.change {
            Change::Begin { tenant, key } => {
                let key = Some((tenant.as_str(), key.as_str()));
                let is_stuck = stuck.contains(&row.gtid);
                begun.push(row, key, closings.get(&row.gtid).copied(), is_stuck);
            }
            Change::Presume { at } => {
                let closing = Closing { at: *at, attention: false };
                begun.push(
                    row,
                    None,
                    Some(closings.get(&row.gtid).copied().unwrap_or(closing)),
                    false,
                );
            }
            Change::Close(closing) => match heads.get(&row.gtid) {
                Some(&head) if head > Position(0) => closed.push(row, head, *closing),
                Some(_) | None => {}
            },
            // Of several in one flush the first does.
            Change::Stick => match heads.get(&row.gtid) {
                Some(&head) if head > Position(0) && stuck.remove(&row.gtid) => {
                    sticking.push(row, head);
                }
                Some(_) | None => {}
            },
            Change::None => {}
        }
    }
    let partitions: BTreeSet<i32> = rows.iter().map(|row| row.partition().0.into()).collect();
    let statement = sqlx::query(statement::FLUSH).bind(Vec::from_iter(partitions));
    sticking.bind(closed.bind(begun.bind(records.bind(statement))))
}

/// The columns of the records.
#[derive(Default)]
struct Records<'r> {
    gtids: Vec<String>,
    partitions: Vec<i32>,
    epochs: Vec<i64>,
    positions: Vec<i64>,
    heads: Vec<i64>,
    fates: Vec<Option<i16>>,
    bodies: Vec<&'r str>,
}

impl<'r> Records<'r> {
    fn push(&mut self, row: &'r Row, head: Position) {
        self.gtids.push(row.gtid.to_string());
        self.partitions.push(row.partition().0.into());
        self.epochs.push(signed(row.epoch.0));
        self.positions.push(row.position.0.into());
        self.heads.push(head.0.into());
        self.fates.push(row.fate.map(fate_code));
        self.bodies.push(&row.body);
    }

    fn bind(self, statement: super::link::Statement<'r>) -> super::link::Statement<'r> {
        statement
            .bind(self.gtids)
            .bind(self.partitions)
            .bind(self.epochs)
            .bind(self.positions)
            .bind(self.heads)
            .bind(self.fates)
            .bind(self.bodies)
    }
}

/// The columns of the transactions that begin.
#[derive(Default)]
struct Begun {
    gtids: Vec<String>,
    partitions: Vec<i32>,
    epochs: Vec<i64>,
    tenants: Vec<Option<String>>,
    keys: Vec<Option<String>>,
    minted: Vec<i64>,
    closed: Vec<Option<i64>>,
    attention: Vec<bool>,
    stuck: Vec<bool>,
}

impl Begun {
    fn push(
        &mut self,
        row: &Row,
        key: Option<(&str, &str)>,
        closing: Option<Closing>,
        stuck: bool,
    ) {
        self.gtids.push(row.gtid.to_string());
        self.partitions.push(row.partition().0.into());
        self.epochs.push(signed(row.epoch.0));
        self.tenants.push(key.map(|(tenant, _)| tenant.to_owned()));
        self.keys.push(key.map(|(_, key)| key.to_owned()));
        self.minted.push(signed(row.gtid.minted().as_millis()));
        self.closed
            .push(closing.map(|closing| signed(closing.at.as_millis())));
        self.attention
            .push(closing.is_some_and(|closing| closing.attention));
        self.stuck.push(stuck);
    }

    fn bind<'a>(self, statement: super::link::Statement<'a>) -> super::link::Statement<'a> {
        statement
            .bind(self.gtids)
            .bind(self.partitions)
            .bind(self.epochs)
            .bind(self.tenants)
            .bind(self.keys)
            .bind(self.minted)
            .bind(self.closed)
            .bind(self.attention)
            .bind(self.stuck)
    }
}

/// The columns of the transactions that close and began in an earlier flush.
#[derive(Default)]
struct Closed {
    gtids: Vec<String>,
    partitions: Vec<i32>,
    epochs: Vec<i64>,
    heads: Vec<i64>,
    at: Vec<i64>,
    attention: Vec<bool>,
}

impl Closed {
    fn push(&mut self, row: &Row, head: Position, closing: Closing) {
        self.gtids.push(row.gtid.to_string());
        self.partitions.push(row.partition().0.into());
        self.epochs.push(signed(row.epoch.0));
        self.heads.push(head.0.into());
        self.at.push(signed(closing.at.as_millis()));
        self.attention.push(closing.attention);
    }

    fn bind<'a>(self, statement: super::link::Statement<'a>) -> super::link::Statement<'a> {
        statement
            .bind(self.gtids)
            .bind(self.partitions)
            .bind(self.epochs)
            .bind(self.heads)
            .bind(self.at)
            .bind(self.attention)
    }
}

/// The columns of the transactions that began in an earlier flush and wait for an operator.
#[derive(Default)]
struct Sticking {
    gtids: Vec<String>,
    partitions: Vec<i32>,
    epochs: Vec<i64>,
    heads: Vec<i64>,
}

impl Sticking {
    fn push(&mut self, row: &Row, head: Position) {
        self.gtids.push(row.gtid.to_string());
        self.partitions.push(row.partition().0.into());
        self.epochs.push(signed(row.epoch.0));
        self.heads.push(head.0.into());
    }

    fn bind<'a>(self, statement: super::link::Statement<'a>) -> super::link::Statement<'a> {
        statement
            .bind(self.gtids)
            .bind(self.partitions)
            .bind(self.epochs)
            .bind(self.heads)
    }
}

const fn fate_code(fate: Fate) -> i16 {
    match fate {
        Fate::Commit => 1,
        Fate::Abort => 2,
    }
}

/// The fate of a stored number.
pub(super) const fn fate_of(code: i16) -> Option<Fate> {
    match code {
        1 => Some(Fate::Commit),
        2 => Some(Fate::Abort),
        _ => None,
    }
}

/// A number as the database stores it. Times, epochs and horizons stay far below the bound.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that is never stored below zero.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A stored gtid; another text than ours cannot be decoded.
pub(super) fn gtid(text: &str) -> Result<Gtid, sqlx::Error> {
    text.parse()
        .map_err(|error: accordant_protocol::id::GtidError| sqlx::Error::Decode(error.into()))
}

/// A stored partition.
pub(super) fn partition_id(number: i32) -> Result<PartitionId, sqlx::Error> {
    u16::try_from(number)
        .map(PartitionId)
        .map_err(|error| sqlx::Error::Decode(error.into()))
}

/// A stored position.
pub(super) fn position(number: i64) -> Result<Position, sqlx::Error> {
    u32::try_from(number)
        .map(Position)
        .map_err(|error| sqlx::Error::Decode(error.into()))
}
