//! Reads the open transactions of a partition and brings them to its shard.

use std::time::Duration;

use accordant_protocol::id::{Epoch, Gtid, Incarnation};
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
    let incarnation = journal.store().description().incarnation;
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
            match as_found(stored, epoch, incarnation) {
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
fn as_found(
    stored: Stored,
    epoch: Epoch,
    incarnation: Incarnation,
) -> Result<Option<Found>, String> {
    let gtid: Gtid = stored.gtid;
    if stored
        .records
        .first()
        .is_some_and(|first| first.epoch == epoch)
    {
        return Ok(None);
    }
    let history = history(stored)?;
    // The journal was restored since: what is missing here may have been decided, told and done.
    if history.fate().is_none() && gtid.incarnation() != incarnation {
        return Err(RESTORED.to_owned());
    }
    Ok(Some(Found { gtid, history }))
}

/// Why an undecided transaction of a former incarnation is left alone.
const RESTORED: &str = "undecided, and begun before this journal was restored: a commit may have \
                        been decided and lost with the newer journal. Look for its marker at each \
                        participant; if any is there, commit the prepared branches by hand";

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

#[cfg(test)]
mod tests {
    use accordant_protocol::id::{PartitionId, Position};
    use accordant_protocol::record::Record;
    use accordant_protocol::time::Timestamp;

    use super::*;
    use crate::journal::store::StoredRecord;

    const OURS: Incarnation = Incarnation(2);

    fn stored(incarnation: Incarnation, epoch: u64, decided: bool) -> Stored {
        let cluster = "acc".parse().unwrap();
        let minted = Timestamp::from_millis(1_700_000_000_000);
        let gtid = Gtid::mint(cluster, PartitionId(0), incarnation, minted, 1).unwrap();
        let begun = r#"{"v":1,"record":{"begun":{"tenant":"default","key":"k","fingerprint":"0707070707070707070707070707070707070707070707070707070707070707","plan":{"branches":[{"name":"a","participant":"p","operation":"o","payload":null},{"name":"b","participant":"p","operation":"o","payload":null}]},"deadline":1}}}"#;
        let aborted = r#"{"v":1,"record":{"aborted":{"at":2,"reason":{"kind":"recovered"}}}}"#;
        let texts = if decided {
            vec![begun, aborted]
        } else {
            vec![begun]
        };
        let records = texts
            .into_iter()
            .zip(0..)
            .map(|(text, position)| StoredRecord {
                position: Position(position),
                epoch: Epoch(epoch),
                record: Record::decode(text),
            });
        Stored {
            gtid,
            closed: false,
            attention: false,
            records: records.collect(),
        }
    }

    #[test]
    fn an_undecided_transaction_from_before_a_restore_is_left_alone() {
        let refusal = as_found(stored(Incarnation(1), 1, false), Epoch(2), OURS).unwrap_err();
        assert!(refusal.contains("restored"), "{refusal}");
        assert!(
            as_found(stored(Incarnation(1), 1, true), Epoch(2), OURS)
                .unwrap()
                .is_some()
        );
        assert!(
            as_found(stored(OURS, 1, false), Epoch(2), OURS)
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn what_this_owner_has_begun_itself_is_not_found_again() {
        assert!(
            as_found(stored(OURS, 2, false), Epoch(2), OURS)
                .unwrap()
                .is_none()
        );
    }
}
