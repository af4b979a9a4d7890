//! What every store of the journal must pass. Not part of the stable interface.
//!
//! A store joins with a [`Harness`] and one use of [`crate::journal_conformance`], which makes a
//! test of each case.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a suite of tests: it ends at the first surprise"
)]

pub mod fence;
pub mod fixture;
pub mod history;
pub mod listing;

use std::sync::Arc;

use accordant_protocol::id::{Epoch, Gtid, PartitionId, Position};
use async_trait::async_trait;

use super::store::{Flushed, Lease, OwnerId, Store};
use fixture::{Mint, Transaction};

/// One journal of four partitions, empty at first, under test.
#[async_trait]
pub trait Harness: Send + Sync {
    /// The store of the coordinator under test.
    async fn store(&self) -> Arc<dyn Store>;

    /// The store of another coordinator over the same journal, or the same store where only one
    /// process may have the journal open.
    async fn other(&self) -> Arc<dyn Store>;

    /// Closes everything, once the test has dropped its stores, and opens the journal again.
    async fn reopen(&self) -> Arc<dyn Store>;

    /// Puts a text where a record stands, as a newer build would have written it.
    async fn overwrite(&self, gtid: Gtid, position: Position, body: &str);
}

/// Makes a test of each case for a harness; the expression makes a new one and may await.
#[macro_export]
macro_rules! journal_conformance {
    ($harness:expr) => {
        $crate::journal_conformance!(
            $harness,
            history: records_come_back_in_order,
            history: every_kind_of_record_of_a_saga_comes_back_and_decides_once,
            history: a_beginning_that_decides_excludes_every_other_fate,
            history: the_same_record_again_is_durable_and_written_once,
            history: another_record_at_a_taken_position_is_refused,
            history: a_second_fate_is_refused_over_all_epochs,
            history: a_record_without_its_predecessor_is_refused,
            history: a_refused_record_stops_the_rest_of_its_transaction_only,
            history: a_taken_key_names_its_transaction_in_the_same_batch,
            history: a_taken_key_names_its_transaction_in_a_later_batch_and_after_a_restart,
            history: a_taken_key_of_a_fenced_transaction_is_free,
            history: a_presumed_abort_is_closed_and_excludes_a_beginning,
            history: a_transaction_of_another_journal_is_refused,
            history: a_record_of_an_unknown_version_harms_only_its_transaction,
            history: an_unknown_gtid_is_not_found,
            history: a_large_batch_is_durable_as_a_whole,
            fence: an_old_epoch_is_fenced_and_takes_only_its_own_entries_with_it,
            fence: an_epoch_of_the_future_is_fenced,
            fence: a_lease_is_held_renewed_lost_and_given_back,
            fence: a_lease_that_has_run_out_is_taken,
            fence: a_flush_that_ended_before_a_take_over_is_seen_after_it,
            fence: concurrent_owners_never_both_write_after_a_take_over,
            fence: an_epoch_survives_a_restart_and_rises,
            fence: a_missing_partition_is_named,
            fence: the_description_survives_a_restart,
            listing: open_transactions_are_paged_while_others_begin,
            listing: a_closed_transaction_is_no_longer_open,
            listing: heuristics_keep_attention,
            listing: what_is_stuck_is_listed_for_attention_until_it_ends,
            listing: a_beginning_that_decides_is_listed_as_committed,
            listing: filters_select_what_they_say,
            listing: paging_is_stable_while_transactions_begin,
            listing: a_trim_keeps_open_ones_and_those_that_need_attention,
            listing: a_trim_raises_the_horizon_for_good,
            listing: a_trim_is_done_in_steps_and_only_by_the_owner,
            listing: nothing_begins_below_the_horizon,
        );
    };
    ($harness:expr, $($group:ident: $case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let harness = $harness;
                $crate::journal::conformance::$group::$case(&harness).await;
            }
        )+
    };
}

/// A store with a partition taken.
struct Owner {
    store: Arc<dyn Store>,
    mint: Mint,
    epoch: Epoch,
}

const PARTITION: PartitionId = PartitionId(1);
const OTHER_PARTITION: PartitionId = PartitionId(2);

fn lease(owner: &str, ms: u32) -> Lease {
    Lease { owner: OwnerId::new(owner).unwrap(), ms }
}

impl Owner {
    async fn new(harness: &dyn Harness) -> Self {
        Self::of(harness.store().await).await
    }

    async fn of(store: Arc<dyn Store>) -> Self {
        let epoch = take(&*store, PARTITION).await;
        let mint = Mint::new(store.description());
        Self { store, mint, epoch }
    }

    fn transaction(&self) -> Transaction {
        self.mint.transaction(PARTITION, self.epoch)
    }

    async fn append(&self, entries: &[accordant_protocol::effect::Entry]) {
        let flushed = self.store.flush(entries).await.unwrap();
        assert!(
            flushed.iter().all(|&one| one == Flushed::Durable),
            "{flushed:?}"
        );
    }

    async fn refuse(&self, entries: &[accordant_protocol::effect::Entry]) -> Vec<Flushed> {
        let flushed = self.store.flush(entries).await.unwrap();
        assert_eq!(flushed.len(), entries.len());
        flushed
    }

    async fn history(&self, gtid: Gtid) -> Vec<accordant_protocol::effect::Entry> {
        let Some(stored) = self.store.read(gtid).await.unwrap() else {
            return Vec::new();
        };
        entries(stored)
    }
}

fn entries(stored: super::store::Stored) -> Vec<accordant_protocol::effect::Entry> {
    let gtid = stored.gtid;
    let records = stored.records.into_iter();
    records
        .map(|stored| accordant_protocol::effect::Entry {
            gtid,
            position: stored.position,
            epoch: stored.epoch,
            record: stored.record.unwrap(),
        })
        .collect()
}

async fn take(store: &dyn Store, partition: PartitionId) -> Epoch {
    store
        .acquire(partition, &lease("me", 60_000))
        .await
        .unwrap()
        .epoch
}
