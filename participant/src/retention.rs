//! What keeps the participant's table from growing for ever.
//!
//! Calls carry the time up to which their partition will ask about nothing any more. It is written
//! down lazily as a *floor*. The vote message refuses what was minted at or below the floor. What
//! it has refused for longer than any branch can be open is *settled*: its markers and seals are
//! deleted, because no branch is left that could need them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use accordant_protocol::id::Gtid;
use accordant_protocol::time::Timestamp;
use sqlx::Row as _;
use tracing::warn;

use crate::engine::{Engine, Unanswered};
use crate::limits::{ISSUERS_MAX, RETENTION_BATCH, RETENTION_BATCHES_MAX, STATEMENT_MAX};
use crate::look::bounded;
use crate::metric;
use crate::pool::Lease;
use crate::statement;

/// Watermarks that were heard and are not written down yet, by journal and partition.
#[derive(Debug, Default)]
pub(crate) struct Watermarks(Mutex<BTreeMap<String, Timestamp>>);

impl Watermarks {
    /// Hears a watermark that came with a call about `gtid`. One that covers the very transaction
    /// of its call contradicts itself, and is passed over. So is one of the future: a floor cannot
    /// be lowered again, and would refuse all transactions until that time has come.
    pub(crate) fn note(&self, gtid: &Gtid, watermark: Timestamp, now: Timestamp) {
        if watermark == Timestamp::ZERO {
            return;
        }
        if watermark >= gtid.minted() {
            warn!(%gtid, "a call's watermark covers its own transaction; it is passed over");
            return;
        }
        let issuer = statement::issuer(gtid);
        if watermark > now {
            warn!(%gtid, %issuer, "a call's watermark is of the future; it is passed over");
            return;
        }
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= ISSUERS_MAX && !heard.contains_key(&issuer) {
            return;
        }
        let highest = heard.entry(issuer).or_default();
        *highest = watermark.max(*highest);
    }

    fn take(&self) -> BTreeMap<String, Timestamp> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One round: raises the floors, deletes what is settled. Returns the number of deleted rows.
pub(crate) async fn round(engine: &Arc<Engine>) -> Result<u64, Unanswered> {
    let mut lease = engine.control.lease().await?;
    let deleted = round_on(engine, &mut lease).await;
    match &deleted {
        Ok(rows) => {
            metric::deleted(engine, *rows);
            lease.release();
        }
        Err(_) => lease.discard(),
    }
    deleted
}

async fn round_on(engine: &Engine, lease: &mut Lease) -> Result<u64, Unanswered> {
    let grace_ms = millis(engine.settings.retention_grace);
    // A watermark that is lost here comes again with the next call.
    for (issuer, watermark) in engine.watermarks.take() {
        let minted = i64::try_from(watermark.as_millis()).unwrap_or(i64::MAX);
        let raise = sqlx::query(statement::RAISE_FLOOR)
            .bind(issuer)
            .bind(minted);
        bounded(STATEMENT_MAX, raise.execute(lease.pg())).await?;
    }
    let settle = sqlx::query(statement::SETTLE_FLOORS).bind(grace_ms);
    bounded(STATEMENT_MAX, settle.execute(lease.pg())).await?;
    let floors = sqlx::query(statement::FLOORS).fetch_all(lease.pg());
    let mut deleted = 0;
    let mut batches = RETENTION_BATCHES_MAX;
    for floor in bounded(STATEMENT_MAX, floors).await? {
        let (issuer, settled): (String, i64) =
            (floor.try_get("issuer")?, floor.try_get("settled")?);
        let Some((first, last)) = range(&issuer, settled) else {
            warn!(
                issuer,
                "accordant.floor holds what is no issuer; it is passed over"
            );
            continue;
        };
        while batches > 0 {
            batches -= 1;
            let delete = sqlx::query(statement::DELETE_SETTLED)
                .bind(&first)
                .bind(&last)
                .bind(RETENTION_BATCH);
            let rows = bounded(STATEMENT_MAX, delete.execute(lease.pg()))
                .await?
                .rows_affected();
            deleted += rows;
            if rows < u64::try_from(RETENTION_BATCH).unwrap_or(0) {
                break;
            }
        }
    }
    Ok(deleted)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Every id that `issuer` has minted up to `settled` lies in this range of texts: behind the
/// issuer the texts go on with the time, in digits of one length that order as bytes.
fn range(issuer: &str, settled: i64) -> Option<(String, String)> {
    const RANDOM_AND_TIME: usize = 35;
    let least: Gtid = format!("{issuer}.{}", "0".repeat(RANDOM_AND_TIME))
        .parse()
        .ok()?;
    let settled = Timestamp::from_millis(u64::try_from(settled).ok()?);
    let (cluster, partition) = (least.cluster(), least.partition());
    let last = Gtid::mint(cluster, partition, least.incarnation(), settled, u128::MAX).ok()?;
    Some((format!("{issuer}."), last.to_string()))
}

#[cfg(test)]
mod tests {
    use accordant_protocol::id::{Incarnation, PartitionId};

    use super::*;

    fn minted(ms: u64, random: u128) -> Gtid {
        let cluster = "acc".parse().unwrap();
        Gtid::mint(
            cluster,
            PartitionId(3),
            Incarnation(7),
            Timestamp::from_millis(ms),
            random,
        )
        .unwrap()
    }

    #[test]
    fn the_range_holds_what_was_minted_up_to_the_floor_and_nothing_else() {
        let (first, last) = range(&statement::issuer(&minted(5, 0)), 1000).unwrap();
        let inside = |gtid: Gtid| {
            let text = gtid.to_string();
            first < text && text <= last
        };
        assert!(inside(minted(1000, u128::MAX)));
        assert!(inside(minted(0, 0)));
        assert!(!inside(minted(1001, 0)));
        let other = Gtid::mint(
            "acc".parse().unwrap(),
            PartitionId(31),
            Incarnation(7),
            Timestamp::from_millis(5),
            5,
        );
        assert!(!inside(other.unwrap()));
        assert!(range("nonsense", 5).is_none());
    }

    #[test]
    fn a_watermark_over_its_own_transaction_is_passed_over() {
        let watermarks = Watermarks::default();
        let now = Timestamp::from_millis(20);
        watermarks.note(&minted(10, 1), Timestamp::from_millis(10), now);
        assert!(watermarks.take().is_empty());
        watermarks.note(&minted(10, 1), Timestamp::from_millis(9), now);
        watermarks.note(&minted(10, 1), Timestamp::from_millis(4), now);
        let heard = watermarks.take();
        assert_eq!(
            heard.values().copied().collect::<Vec<_>>(),
            [Timestamp::from_millis(9)]
        );
    }

    #[test]
    fn a_watermark_of_the_future_is_passed_over() {
        let watermarks = Watermarks::default();
        let now = Timestamp::from_millis(20);
        watermarks.note(&minted(30, 1), Timestamp::from_millis(21), now);
        assert!(watermarks.take().is_empty());
        watermarks.note(&minted(30, 1), now, now);
        assert_eq!(watermarks.take().len(), 1);
    }
}
