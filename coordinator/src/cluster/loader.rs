//! Reads the open transactions of a partition and brings them to its shard.

use std::time::Duration;

use accordant_protocol::id::{Epoch, Gtid};
use accordant_protocol::node::{Event, Found};
use accordant_protocol::recovery::History;
use tokio::sync::mpsc;
use tracing::warn;

use super::quarantine::Quarantine;
use crate::journal::group_commit::Journal;
use crate::journal::limits::PAGE_MAX;
use crate::journal::store::{Held, Stored};

const RETRY_WAIT: Duration = Duration::from_millis(200);

/// Reads all pages of a partition under an epoch, trying again for as long as it takes. Returns
/// how many transactions it brought.
///
/// # Cancel safety
/// Dropping the future leaves the partition loading; acquire it again.
pub(super) async fn load(
    journal: &Journal,
    held: Held,
    shard: &mpsc::Sender<Event>,
    quarantine: &Quarantine,
) -> usize {
    let Held { partition, epoch } = held;
    let (mut after, mut count) = (None, 0);
    loop {
        let page = match journal.store().load_open(partition, after, PAGE_MAX).await {
            Ok(page) => page,
            Err(error) => {
                warn!(%partition, %error, "open transactions cannot be read: trying again");
                tokio::time::sleep(RETRY_WAIT).await;
                continue;
            }
        };
        after = page.last().map(|stored| stored.gtid);
        let last = page.len() < PAGE_MAX;
        let mut found = Vec::with_capacity(page.len());
        for stored in page {
            let gtid = stored.gtid;
            match as_found(stored, epoch) {
                Ok(it) => found.extend(it),
                Err(error) => {
                    quarantine.add(gtid, error);
                    let _stopped = shard.send(Event::Quarantined { gtid }).await;
                }
            }
        }
        count += found.len();
        // The shard is gone only when the coordinator stops.
        let loaded = shard
            .send(Event::Loaded { partition, epoch, found, last })
            .await;
        if last || loaded.is_err() {
            return count;
        }
    }
}

/// A stored transaction as the node takes it. One that this very owner has begun meanwhile is not
/// found: the node has it.
fn as_found(stored: Stored, epoch: Epoch) -> Result<Option<Found>, String> {
    let gtid: Gtid = stored.gtid;
    if stored
        .records
        .first()
        .is_some_and(|first| first.epoch == epoch)
    {
        return Ok(None);
    }
    Ok(Some(Found { gtid, history: history(stored)? }))
}

/// Folds the records of a stored transaction.
///
/// # Errors
/// What is wrong with them, for people.
pub(crate) fn history(stored: Stored) -> Result<History, String> {
    let mut records = Vec::with_capacity(stored.records.len());
    for record in stored.records {
        let position = record.position;
        let record = record
            .record
            .map_err(|error| format!("record {position}: {error}"))?;
        records.push(record);
    }
    History::fold(records).map_err(|error| error.to_string())
}
