//! Only the present owner writes.

use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::id::{Epoch, PartitionId};
use accordant_protocol::time::Timestamp;

use super::super::error::LeaseError;
use super::super::store::{Flushed, Held, Store};
use super::fixture::Mint;
use super::{Harness, OTHER_PARTITION, Owner, PARTITION, lease, take};

/// Other partitions of the same batch go through.
pub async fn an_old_epoch_is_fenced_and_takes_only_its_own_entries_with_it(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let begun = owner.transaction();
    owner.append(&[begun.begun()]).await;
    let elsewhere = take(&*owner.store, OTHER_PARTITION).await;
    take(&*harness.other().await, PARTITION).await;
    let other = owner.mint.transaction(OTHER_PARTITION, elsewhere);
    let (new, presumed) = (owner.transaction(), owner.transaction());
    let batch = [
        begun.committed(1),
        other.begun(),
        new.begun(),
        begun.closed(2, &[]),
        presumed.presumed(),
        other.committed(1),
    ];
    let (durable, fenced) = (Flushed::Durable, Flushed::Fenced);
    let flushed = owner.refuse(&batch).await;
    assert_eq!(flushed, [fenced, durable, fenced, fenced, fenced, durable]);
    assert_eq!(owner.history(begun.gtid).await, [begun.begun()]);
    assert!(!owner.store.read(begun.gtid).await.unwrap().unwrap().closed);
    assert_eq!(
        owner.history(other.gtid).await,
        [other.begun(), other.committed(1)]
    );
    for unwritten in [new.gtid, presumed.gtid] {
        assert!(owner.store.read(unwritten).await.unwrap().is_none());
    }
}

/// The journal behind it was swapped for an older one.
pub async fn an_epoch_of_the_future_is_fenced(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let one = owner.transaction().under(Epoch(owner.epoch.0 + 1));
    assert_eq!(owner.refuse(&[one.begun()]).await, [Flushed::Fenced]);
    assert!(owner.store.read(one.gtid).await.unwrap().is_none());
}

/// By the store's clock, for as long as it says.
pub async fn a_lease_is_held_renewed_lost_and_given_back(harness: &dyn Harness) {
    let (store, other) = (harness.store().await, harness.other().await);
    let (mine, theirs) = (lease("me", 60_000), lease("they", 60_000));
    let first = store.acquire(PARTITION, &mine).await.unwrap();
    let LeaseError::Held { partition, owner, expires_in_ms } =
        other.acquire(PARTITION, &theirs).await.unwrap_err()
    else {
        panic!("it is held");
    };
    assert_eq!((partition, owner.as_str()), (PARTITION, "me"));
    assert!((1..=60_000).contains(&expires_in_ms), "{expires_in_ms}");
    let again = store.acquire(PARTITION, &mine).await.unwrap();
    assert_eq!(
        again.epoch,
        Epoch(first.epoch.0 + 1),
        "the owner raises its own epoch"
    );
    let of = |epoch| Held { partition: PARTITION, epoch };
    assert_eq!(store.renew(&[of(again.epoch)], &mine).await.unwrap(), []);
    assert_eq!(
        store.renew(&[of(first.epoch)], &mine).await.unwrap(),
        [of(first.epoch)]
    );
    store
        .release(&[of(first.epoch)], &mine.owner)
        .await
        .unwrap();
    assert!(
        other.acquire(PARTITION, &theirs).await.is_err(),
        "an old epoch gives nothing back"
    );
    store
        .release(&[of(again.epoch)], &mine.owner)
        .await
        .unwrap();
    let taken = other.acquire(PARTITION, &theirs).await.unwrap();
    assert!(taken.epoch > again.epoch);
    assert_eq!(
        store.renew(&[of(again.epoch)], &mine).await.unwrap(),
        [of(again.epoch)]
    );
    let states = store.partitions().await.unwrap();
    let state = &states[usize::from(PARTITION.0)];
    assert_eq!(states.len(), usize::from(store.description().partitions));
    assert_eq!((state.partition, state.epoch), (PARTITION, taken.epoch));
    assert_eq!(state.owner.as_ref(), Some(&theirs.owner));
    assert!(state.expires_in_ms > 0);
}

/// It is not waited for longer than it runs, and its owner may still renew it before.
pub async fn a_lease_that_has_run_out_is_taken(harness: &dyn Harness) {
    let (store, other) = (harness.store().await, harness.other().await);
    let mine = lease("me", 1);
    let first = store.acquire(PARTITION, &mine).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let held = Held { partition: PARTITION, epoch: first.epoch };
    assert_eq!(
        store.renew(&[held], &lease("me", 60_000)).await.unwrap(),
        []
    );
    assert!(
        other.acquire(PARTITION, &lease("they", 1)).await.is_err(),
        "it runs again"
    );
    assert_eq!(store.renew(&[held], &mine).await.unwrap(), []);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let second = other
        .acquire(PARTITION, &lease("they", 60_000))
        .await
        .unwrap();
    assert!(second.epoch > first.epoch);
    assert_eq!(store.renew(&[held], &mine).await.unwrap(), [held]);
}

/// Whatever the former owner was told is durable is there.
pub async fn a_flush_that_ended_before_a_take_over_is_seen_after_it(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let other = harness.other().await;
    let one = owner.transaction();
    owner.append(&[one.begun(), one.committed(1)]).await;
    take(&*other, PARTITION).await;
    let open = other.load_open(PARTITION, None, 10).await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].records.len(), 2);
    assert_eq!(owner.refuse(&[one.closed(2, &[])]).await, [Flushed::Fenced]);
}

/// A writer that never stops and a taker that never waits: what is there right after a take-over is
/// all there will ever be of the former epoch.
pub async fn concurrent_owners_never_both_write_after_a_take_over(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let other = harness.other().await;
    let mut epoch = owner.epoch;
    for _ in 0..8 {
        let writer = tokio::spawn(write_until_fenced(
            Arc::clone(&owner.store),
            Mint::new(owner.store.description()),
            epoch,
        ));
        tokio::time::sleep(Duration::from_millis(15)).await;
        let next = take(&*other, PARTITION).await;
        let seen = written_under(&*other, epoch).await;
        let acknowledged = writer.await.unwrap();
        assert_eq!(
            written_under(&*other, epoch).await,
            seen,
            "nothing came after the take-over"
        );
        assert!(
            acknowledged <= seen,
            "{acknowledged} were acknowledged, {seen} are there"
        );
        epoch = next;
    }
}

async fn write_until_fenced(store: Arc<dyn Store>, mint: Mint, epoch: Epoch) -> usize {
    let mut acknowledged = 0;
    for number in 0_u64.. {
        let at = super::fixture::START_MS + epoch.0 * 100_000 + number;
        let one = mint.transaction_at(PARTITION, epoch, at);
        match store.flush(&[one.begun(), one.committed(1)]).await.unwrap()[..] {
            [Flushed::Durable, Flushed::Durable] => acknowledged += 1,
            [Flushed::Fenced, Flushed::Fenced] => break,
            ref surprise => panic!("{surprise:?}"),
        }
    }
    acknowledged
}

async fn written_under(store: &dyn Store, epoch: Epoch) -> usize {
    let (mut count, mut after) = (0, None);
    loop {
        let page = store.load_open(PARTITION, after, 100).await.unwrap();
        count += page
            .iter()
            .filter(|stored| stored.records[0].epoch == epoch)
            .count();
        match page.last() {
            Some(last) if page.len() == 100 => after = Some(last.gtid),
            Some(_) | None => return count,
        }
    }
}

/// So that whatever an earlier process still has on its way is fenced.
pub async fn an_epoch_survives_a_restart_and_rises(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let one = owner.transaction();
    owner.append(&[one.begun()]).await;
    let epoch = owner.epoch;
    drop(owner);
    let owner = Owner::of(harness.reopen().await).await;
    assert!(owner.epoch > epoch, "{} after {epoch}", owner.epoch);
    assert_eq!(owner.refuse(&[one.committed(1)]).await, [Flushed::Fenced]);
    assert_eq!(owner.history(one.gtid).await, [one.begun()]);
}

/// It is neither made nor taken for one that is held.
pub async fn a_missing_partition_is_named(harness: &dyn Harness) {
    let store = harness.store().await;
    let missing = PartitionId(store.description().partitions);
    let error = store
        .acquire(missing, &lease("me", 1_000))
        .await
        .unwrap_err();
    assert!(matches!(error, LeaseError::NoSuchPartition { partition } if partition == missing));
    let held = Held { partition: missing, epoch: Epoch(1) };
    assert_eq!(
        store.renew(&[held], &lease("me", 1_000)).await.unwrap(),
        [held]
    );
    assert!(
        store
            .trim(held, Timestamp::from_millis(1), 1)
            .await
            .is_err()
    );
}

/// A gtid stays this journal's.
pub async fn the_description_survives_a_restart(harness: &dyn Harness) {
    let store = harness.store().await;
    let description = store.description().clone();
    assert_eq!(description.partitions, 4);
    drop(store);
    assert_eq!(*harness.reopen().await.description(), description);
}
