//! What is written comes back, once, and nothing contradicts it.

use accordant_protocol::id::{Cluster, Gtid, Incarnation, PartitionId, Position};
use accordant_protocol::record::{DecodeError, Fate};
use accordant_protocol::recovery::History;

use super::super::store::{Flushed, Refusal};
use super::fixture::{message, tenant};
use super::{Harness, OTHER_PARTITION, Owner, PARTITION, take};

const DURABLE: Flushed = Flushed::Durable;

/// In one batch and over several, under one epoch and over several.
pub async fn records_come_back_in_order(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let (one, two) = (owner.transaction(), owner.transaction());
    let mut whole = one.whole();
    whole.extend(two.whole());
    owner.append(&whole).await;
    assert_eq!(owner.history(one.gtid).await, one.whole());
    assert_eq!(owner.history(two.gtid).await, two.whole());
    let three = owner.transaction();
    owner.append(&[three.begun()]).await;
    let later = three.under(take(&*owner.store, PARTITION).await);
    owner.append(&[later.committed(1)]).await;
    owner.append(&[later.closed(2, &[])]).await;
    let stored = owner.history(three.gtid).await;
    assert_eq!(
        stored,
        [three.begun(), later.committed(1), later.closed(2, &[])]
    );
}

/// In one batch and one by one; only the record of turning back decides.
pub async fn every_kind_of_record_of_a_saga_comes_back_and_decides_once(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let (one, two) = (owner.transaction(), owner.transaction());
    owner.append(&one.whole_saga()).await;
    for entry in two.whole_saga() {
        let stored = owner.store.read(two.gtid).await.unwrap();
        assert!(stored.is_none_or(|stored| !stored.closed), "{entry:?}");
        owner.append(&[entry]).await;
    }
    for saga in [&one, &two] {
        assert_eq!(owner.history(saga.gtid).await, saga.whole_saga());
        let stored = owner.store.read(saga.gtid).await.unwrap().unwrap();
        assert!(stored.closed && !stored.attention);
    }
    let fate = Flushed::Refused(Refusal::FateTaken);
    assert_eq!(owner.refuse(&[one.committed(8)]).await, [fate]);
    let three = owner.transaction();
    owner.append(&three.whole_saga()[..3]).await;
    // Nothing that was written so far decides.
    owner.append(&[three.committed(3)]).await;
}

/// With the rest of its batch, and alone; and what it stored can be folded.
pub async fn a_beginning_that_decides_excludes_every_other_fate(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let (one, two) = (owner.transaction(), owner.transaction());
    owner.append(&[one.begun_as(message())]).await;
    owner
        .append(&[two.begun_as(message()), two.closed(1, &[])])
        .await;
    owner.append(&[one.begun_as(message())]).await;
    let fate = Flushed::Refused(Refusal::FateTaken);
    assert_eq!(owner.refuse(&[one.aborted(1)]).await, [fate]);
    let later = one.under(take(&*owner.store, PARTITION).await);
    assert_eq!(owner.refuse(&[later.aborted(1)]).await, [fate]);
    assert_eq!(owner.refuse(&[later.committed(1)]).await, [fate]);
    let taken = Flushed::Refused(Refusal::PositionTaken);
    assert_eq!(owner.refuse(&[later.presumed()]).await, [taken]);
    owner.append(&[later.closed(1, &[])]).await;
    let records = owner.history(one.gtid).await.into_iter();
    let history = History::fold(records.map(|entry| entry.record)).unwrap();
    assert_eq!(history.fate(), Some(Fate::Commit));
    assert!(history.is_closed());
}

/// Alone, with others, twice in a batch, and with something new behind it.
pub async fn the_same_record_again_is_durable_and_written_once(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let (one, two) = (owner.transaction(), owner.transaction());
    owner.append(&[one.begun()]).await;
    owner.append(&[one.begun()]).await;
    owner
        .append(&[one.begun(), two.begun(), one.begun(), one.committed(1)])
        .await;
    owner
        .append(&[one.committed(1), two.aborted(1), one.closed(2, &[])])
        .await;
    owner.append(&one.whole()).await;
    let later = one.under(take(&*owner.store, PARTITION).await);
    owner.append(&later.whole()).await;
    assert_eq!(
        owner.history(one.gtid).await,
        one.whole(),
        "as it was first written"
    );
    assert_eq!(owner.history(two.gtid).await, [two.begun(), two.aborted(1)]);
}

/// Also the same kind of record with other content.
pub async fn another_record_at_a_taken_position_is_refused(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let (one, two) = (owner.transaction(), owner.transaction());
    owner.append(&one.whole()).await;
    let taken = Flushed::Refused(Refusal::PositionTaken);
    assert_eq!(owner.refuse(&[one.begun_with(11)]).await, [taken]);
    assert_eq!(owner.refuse(&[one.closed(1, &[])]).await, [taken]);
    let mixed = [two.begun(), one.closed(2, &[1]), two.committed(1)];
    assert_eq!(owner.refuse(&mixed).await, [DURABLE, taken, DURABLE]);
    assert_eq!(owner.history(one.gtid).await, one.whole());
    assert_eq!(
        owner.history(two.gtid).await,
        [two.begun(), two.committed(1)]
    );
    let stored = owner.store.read(one.gtid).await.unwrap().unwrap();
    assert!(
        stored.closed && !stored.attention,
        "a refused record closes nothing"
    );
}

/// Neither the other fate nor the same one at another place.
pub async fn a_second_fate_is_refused_over_all_epochs(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let one = owner.transaction();
    owner.append(&[one.begun(), one.committed(1)]).await;
    let fate = Flushed::Refused(Refusal::FateTaken);
    assert_eq!(owner.refuse(&[one.aborted(2)]).await, [fate]);
    let later = one.under(take(&*owner.store, PARTITION).await);
    assert_eq!(owner.refuse(&[later.aborted(2)]).await, [fate]);
    assert_eq!(owner.refuse(&[later.committed(2)]).await, [fate]);
    let taken = Flushed::Refused(Refusal::PositionTaken);
    assert_eq!(owner.refuse(&[later.aborted(1)]).await, [taken]);
    assert_eq!(owner.refuse(&[later.presumed()]).await, [taken]);
    let two = owner.mint.transaction(PARTITION, later.epoch);
    let both = [
        two.begun(),
        two.aborted(1),
        two.committed(2),
        two.closed(3, &[]),
    ];
    let flushed = owner.refuse(&both).await;
    assert_eq!(flushed[2..], [fate, fate]);
    assert!(!owner.history(two.gtid).await.contains(&two.committed(2)));
    assert_eq!(
        owner.history(one.gtid).await,
        [one.begun(), one.committed(1)]
    );
}

/// Neither a gap nor a history that does not begin.
pub async fn a_record_without_its_predecessor_is_refused(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let (one, two) = (owner.transaction(), owner.transaction());
    let place = Flushed::Refused(Refusal::OutOfPlace);
    assert_eq!(owner.refuse(&[one.committed(1)]).await, [place]);
    assert_eq!(owner.refuse(&[one.committed(0)]).await, [place]);
    assert_eq!(owner.refuse(&[one.closed(0, &[])]).await, [place]);
    owner.append(&[two.begun()]).await;
    assert_eq!(owner.refuse(&[two.closed(2, &[])]).await, [place]);
    assert_eq!(
        owner.refuse(&[two.begun(), two.closed(2, &[])]).await,
        [DURABLE, place]
    );
    assert_eq!(owner.history(two.gtid).await, [two.begun()]);
    assert!(owner.store.read(one.gtid).await.unwrap().is_none());
    assert!(!owner.store.read(two.gtid).await.unwrap().unwrap().closed);
}

/// What stands behind it in the batch is refused with it; others go through.
pub async fn a_refused_record_stops_the_rest_of_its_transaction_only(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let (one, two) = (owner.transaction(), owner.transaction());
    owner.append(&[one.begun(), one.committed(1)]).await;
    let batch = [
        two.begun(),
        one.aborted(2),
        one.closed(3, &[]),
        two.committed(1),
    ];
    let fate = Flushed::Refused(Refusal::FateTaken);
    assert_eq!(owner.refuse(&batch).await, [DURABLE, fate, fate, DURABLE]);
    assert_eq!(
        owner.history(one.gtid).await,
        [one.begun(), one.committed(1)]
    );
    assert!(!owner.store.read(one.gtid).await.unwrap().unwrap().closed);
    assert_eq!(
        owner.history(two.gtid).await,
        [two.begun(), two.committed(1)]
    );
}

/// The first in the batch wins; nothing of the other is written.
pub async fn a_taken_key_names_its_transaction_in_the_same_batch(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let one = owner.transaction();
    let two = owner.transaction().keyed(&one.key);
    let batch = [one.begun(), two.begun(), two.committed(1), one.committed(1)];
    let taken = Flushed::KeyTaken { by: one.gtid };
    assert_eq!(owner.refuse(&batch).await, [DURABLE, taken, taken, DURABLE]);
    assert!(owner.store.read(two.gtid).await.unwrap().is_none());
    assert_eq!(
        owner.store.find_key(&tenant(), &one.key).await.unwrap(),
        Some(one.gtid)
    );
    assert_eq!(
        owner.history(one.gtid).await,
        [one.begun(), one.committed(1)]
    );
}

/// And the rest of the batch goes through.
pub async fn a_taken_key_names_its_transaction_in_a_later_batch_and_after_a_restart(
    harness: &dyn Harness,
) {
    let owner = Owner::new(harness).await;
    let one = owner.transaction();
    owner.append(&one.whole()).await;
    let (two, three) = (owner.transaction().keyed(&one.key), owner.transaction());
    let taken = Flushed::KeyTaken { by: one.gtid };
    let batch = [
        two.begun(),
        three.begun(),
        two.aborted(1),
        three.committed(1),
    ];
    assert_eq!(owner.refuse(&batch).await, [taken, DURABLE, taken, DURABLE]);
    drop(owner);
    let owner = Owner::of(harness.reopen().await).await;
    let four = two.under(owner.epoch);
    assert_eq!(owner.refuse(&[four.begun()]).await, [taken]);
    let elsewhere = take(&*owner.store, OTHER_PARTITION).await;
    let five = owner
        .mint
        .transaction(OTHER_PARTITION, elsewhere)
        .keyed(&one.key);
    assert_eq!(
        owner.refuse(&[five.begun()]).await,
        [taken],
        "a key is one over all partitions"
    );
    assert_eq!(
        owner.store.find_key(&tenant(), &three.key).await.unwrap(),
        Some(three.gtid)
    );
}

/// What was not written takes no key.
pub async fn a_taken_key_of_a_fenced_transaction_is_free(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let fenced = owner.transaction();
    let epoch = take(&*owner.store, PARTITION).await;
    let two = owner.mint.transaction(PARTITION, epoch).keyed(&fenced.key);
    let batch = [fenced.begun(), two.begun()];
    assert_eq!(owner.refuse(&batch).await, [Flushed::Fenced, DURABLE]);
    assert_eq!(
        owner.store.find_key(&tenant(), &two.key).await.unwrap(),
        Some(two.gtid)
    );
}

/// It has no key, it is not open, and it is told apart from a history that begins otherwise.
pub async fn a_presumed_abort_is_closed_and_excludes_a_beginning(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let one = owner.transaction();
    owner.append(&[one.presumed()]).await;
    owner.append(&[one.presumed()]).await;
    let stored = owner.store.read(one.gtid).await.unwrap().unwrap();
    assert!(stored.closed && !stored.attention);
    assert!(
        owner
            .store
            .load_open(PARTITION, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        owner.store.find_key(&tenant(), &one.key).await.unwrap(),
        None
    );
    let taken = Flushed::Refused(Refusal::PositionTaken);
    assert_eq!(
        owner.refuse(&[one.begun(), one.committed(1)]).await,
        [taken, taken]
    );
    assert_eq!(
        owner.refuse(&[one.committed(1)]).await,
        [Flushed::Refused(Refusal::FateTaken)]
    );
    assert_eq!(owner.history(one.gtid).await, [one.presumed()]);
    let two = owner.transaction();
    owner.append(&[two.begun()]).await;
    assert_eq!(
        owner.refuse(&[two.presumed()]).await,
        [taken],
        "it has begun"
    );
}

/// Of another cluster, of a partition that is not there, or of another incarnation.
pub async fn a_transaction_of_another_journal_is_refused(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let good = owner.transaction();
    let description = owner.store.description().clone();
    let mint = |cluster: &str, partition: u16, incarnation: Incarnation| {
        let cluster = Cluster::new(cluster).unwrap();
        let minted = good.gtid.minted();
        let gtid = Gtid::mint(cluster, PartitionId(partition), incarnation, minted, 1).unwrap();
        super::fixture::Transaction { gtid, ..good.clone() }
    };
    let cluster = description.cluster.as_str();
    let foreign = Flushed::Refused(Refusal::Foreign);
    let other = Incarnation(description.incarnation.0 ^ 1);
    for stranger in [
        mint("strange", PARTITION.0, description.incarnation),
        mint(cluster, description.partitions, description.incarnation),
        mint(cluster, PARTITION.0, other),
    ] {
        let batch = [stranger.begun(), stranger.committed(1)];
        assert_eq!(
            owner.refuse(&batch).await,
            [foreign, foreign],
            "{}",
            stranger.gtid
        );
        assert_eq!(
            owner.refuse(&[stranger.presumed()]).await,
            [foreign],
            "{}",
            stranger.gtid
        );
    }
}

/// The others load; it loads as an error.
pub async fn a_record_of_an_unknown_version_harms_only_its_transaction(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let (one, two) = (owner.transaction(), owner.transaction());
    owner
        .append(&[one.begun(), two.begun(), one.committed(1)])
        .await;
    harness
        .overwrite(one.gtid, Position(1), r#"{"v":99,"record":{"new":{}}}"#)
        .await;
    let open = owner.store.load_open(PARTITION, None, 10).await.unwrap();
    assert_eq!(open.len(), 2);
    let damaged = open.iter().find(|stored| stored.gtid == one.gtid).unwrap();
    assert!(damaged.records[0].record.is_ok());
    let error = damaged.records[1].record.as_ref().unwrap_err();
    assert!(
        matches!(error, DecodeError::Version { version: 99 }),
        "{error}"
    );
    assert_eq!(owner.history(two.gtid).await, [two.begun()]);
}

/// Neither by id nor by key.
pub async fn an_unknown_gtid_is_not_found(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let one = owner.transaction();
    assert!(owner.store.read(one.gtid).await.unwrap().is_none());
    assert_eq!(
        owner.store.find_key(&tenant(), &one.key).await.unwrap(),
        None
    );
    owner.append(&[]).await;
    owner.store.probe().await.unwrap();
}

/// Many transactions with large payloads.
pub async fn a_large_batch_is_durable_as_a_whole(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let many: Vec<_> = (0..300).map(|_| owner.transaction()).collect();
    let mut batch: Vec<_> = many.iter().map(|one| one.begun_with(4_000)).collect();
    batch.extend(many.iter().map(|one| one.committed(1)));
    owner.append(&batch).await;
    owner
        .append(
            &many
                .iter()
                .map(|one| one.closed(2, &[]))
                .collect::<Vec<_>>(),
        )
        .await;
    drop(owner.store);
    let store = harness.reopen().await;
    for one in &many {
        let stored = store.read(one.gtid).await.unwrap().unwrap();
        assert_eq!(
            (stored.closed, stored.records.len()),
            (true, 3),
            "{}",
            one.gtid
        );
    }
}
