//! The tables inside one local transaction, for a flush.

use accordant_protocol::id::{Epoch, Gtid, IdempotencyKey, PartitionId, Position, TenantName};
use accordant_protocol::record::Fate;
use accordant_protocol::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::batch::{Closing, Row, Tables};
use super::statement;

pub(super) struct SqliteTables<'a>(pub(super) &'a Connection);

/// The fate as it is stored.
const fn fate_code(fate: Fate) -> i64 {
    match fate {
        Fate::Commit => 1,
        Fate::Abort => 2,
    }
}

/// A number as SQLite stores it. Times, epochs and horizons stay far below the bound.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that is never stored below zero.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl Tables for SqliteTables<'_> {
    type Error = rusqlite::Error;

    fn fence(&mut self, partition: PartitionId) -> Result<(Epoch, Timestamp), Self::Error> {
        let mut select = self.0.prepare_cached(statement::SELECT_PARTITION)?;
        select.query_row([partition.0], |row| {
            let (epoch, horizon): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok((
                Epoch(unsigned(epoch)),
                Timestamp::from_millis(unsigned(horizon)),
            ))
        })
    }

    fn exists(&mut self, gtid: Gtid) -> Result<bool, Self::Error> {
        self.0
            .prepare_cached(statement::EXISTS)?
            .exists([gtid.to_string()])
    }

    fn begin(
        &mut self,
        gtid: Gtid,
        key: Option<(&TenantName, &IdempotencyKey)>,
        closed: Option<Closing>,
    ) -> Result<Option<Gtid>, Self::Error> {
        let (tenant, key) = key
            .map(|(tenant, key)| (tenant.as_str(), key.as_str()))
            .unzip();
        let begun = self.0.prepare_cached(statement::BEGIN)?.execute(params![
            gtid.to_string(),
            gtid.partition().0,
            tenant,
            key,
            signed(gtid.minted().as_millis()),
            closed.map(|closing| signed(closing.at.as_millis())),
            closed.is_some_and(|closing| closing.attention),
        ])?;
        if begun == 1 {
            return Ok(None);
        }
        let mut find = self.0.prepare_cached(statement::FIND_KEY)?;
        find.query_row(params![tenant, key], |row| {
            parse_gtid(&row.get::<_, String>(0)?)
        })
        .map(Some)
    }

    fn add(&mut self, row: &Row) -> Result<bool, Self::Error> {
        let added = self.0.prepare_cached(statement::ADD)?.execute(params![
            row.gtid.to_string(),
            row.position.0,
            signed(row.epoch.0),
            row.fate.map(fate_code),
            row.body,
        ])?;
        Ok(added == 1)
    }

    fn body(&mut self, gtid: Gtid, position: Position) -> Result<Option<String>, Self::Error> {
        let mut select = self.0.prepare_cached(statement::BODY)?;
        select
            .query_row(params![gtid.to_string(), position.0], |row| row.get(0))
            .optional()
    }

    fn stick(&mut self, gtid: Gtid) -> Result<(), Self::Error> {
        let mut stick = self.0.prepare_cached(statement::STICK)?;
        stick.execute(params![gtid.to_string()]).map(drop)
    }

    fn close(&mut self, gtid: Gtid, closing: Closing) -> Result<(), Self::Error> {
        let at = signed(closing.at.as_millis());
        let mut close = self.0.prepare_cached(statement::CLOSE)?;
        close
            .execute(params![gtid.to_string(), at, closing.attention])
            .map(drop)
    }
}

/// A stored gtid; another text than ours is an error of the column.
pub(super) fn parse_gtid(text: &str) -> Result<Gtid, rusqlite::Error> {
    text.parse().map_err(|error| {
        let text = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(
            0,
            text,
            Box::<accordant_protocol::id::GtidError>::new(error),
        )
    })
}
