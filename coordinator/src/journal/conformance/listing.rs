//! What is open, what is listed, and what is removed.

use std::collections::BTreeSet;

use accordant_protocol::id::{Epoch, Gtid};
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::Outcome;

use super::super::error::TrimError;
use super::super::store::{Flushed, Held, ListFilter, Refusal, Store};
use super::fixture::{START_MS, Transaction, message, tenant};
use super::{Harness, OTHER_PARTITION, Owner, PARTITION, take};

/// Nothing that was there at the start is lost, nothing comes twice.
pub async fn open_transactions_are_paged_while_others_begin(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let elsewhere = take(&*owner.store, OTHER_PARTITION).await;
    let before: Vec<_> = (0..23).map(|_| owner.transaction()).collect();
    for one in &before {
        let foreign = owner.mint.transaction(OTHER_PARTITION, elsewhere);
        owner
            .append(&[one.begun(), one.committed(1), foreign.begun()])
            .await;
    }
    let (mut seen, mut after): (Vec<Gtid>, _) = (Vec::new(), None);
    loop {
        let page = owner.store.load_open(PARTITION, after, 5).await.unwrap();
        assert!(page.len() <= 5);
        assert!(page.iter().all(|one| one.gtid.partition() == PARTITION));
        after = page.last().map(|last| last.gtid).or(after);
        seen.extend(page.iter().map(|one| one.gtid));
        if page.len() < 5 || seen.len() > 100 {
            break;
        }
        owner.append(&[owner.transaction().begun()]).await;
    }
    assert!(seen.is_sorted() && seen.len() == seen.iter().collect::<BTreeSet<_>>().len());
    assert!(before.iter().all(|one| seen.contains(&one.gtid)));
}

/// Whether it began long ago or in the same batch.
pub async fn a_closed_transaction_is_no_longer_open(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let (one, two, three) = (
        owner.transaction(),
        owner.transaction(),
        owner.transaction(),
    );
    let mut batch = one.whole();
    batch.extend([two.begun(), two.committed(1), three.begun()]);
    owner.append(&batch).await;
    owner.append(&[two.closed(2, &[])]).await;
    let open = owner.store.load_open(PARTITION, None, 10).await.unwrap();
    assert_eq!(
        open.iter().map(|stored| stored.gtid).collect::<Vec<_>>(),
        [three.gtid]
    );
    assert!(owner.store.read(one.gtid).await.unwrap().unwrap().closed);
    assert!(owner.store.read(two.gtid).await.unwrap().unwrap().closed);
}

/// Until an operator has looked.
pub async fn heuristics_keep_attention(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let (one, two) = (owner.transaction(), owner.transaction());
    owner
        .append(&[one.begun(), one.committed(1), one.closed(2, &[1])])
        .await;
    owner.append(&[two.begun(), two.committed(1)]).await;
    owner.append(&[two.closed(2, &[0, 1])]).await;
    for gtid in [one.gtid, two.gtid] {
        let stored = owner.store.read(gtid).await.unwrap().unwrap();
        assert!(stored.closed && stored.attention);
    }
    let filter = ListFilter { attention: true, ..ListFilter::default() };
    let listed = owner.store.list(&filter, None, 10).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(
        listed
            .iter()
            .all(|one| one.outcome == Outcome::Heuristic && one.closed)
    );
}

/// However its records are spread over flushes. Its outcome is what it was.
pub async fn what_is_stuck_is_listed_for_attention_until_it_ends(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let all: Vec<_> = (0..3).map(|_| owner.transaction()).collect();
    let [slow, at_once, over] = &all[..] else {
        panic!("three")
    };
    let (stuck, resolved, ended) = (6, 7, 8);
    let filter = ListFilter { attention: true, ..ListFilter::default() };
    let listed = async || {
        let listed = owner.store.list(&filter, None, 10).await.unwrap();
        let all = listed.iter();
        all.for_each(|one| assert!(one.outcome == Outcome::Aborted && !one.closed));
        listed.iter().map(|one| one.id).collect::<Vec<_>>()
    };
    for entry in &slow.whole_saga()[..stuck] {
        assert_eq!(listed().await, []);
        owner.append(std::slice::from_ref(entry)).await;
    }
    assert_eq!(listed().await, [slow.gtid]);
    owner.append(&at_once.whole_saga()[..stuck]).await;
    owner.append(&over.whole_saga()).await;
    assert_eq!(listed().await, [at_once.gtid, slow.gtid]);
    // Another action of it may still wait.
    owner.append(&slow.whole_saga()[stuck..resolved]).await;
    assert_eq!(listed().await, [at_once.gtid, slow.gtid]);
    owner.append(&slow.whole_saga()[resolved..ended]).await;
    owner.append(&at_once.whole_saga()[stuck..ended]).await;
    assert_eq!(listed().await, []);
}

/// From its first record on.
pub async fn a_beginning_that_decides_is_listed_as_committed(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let (sent, saga) = (owner.transaction(), owner.transaction());
    owner
        .append(&[
            sent.begun_as(message()),
            saga.begun_as(super::fixture::saga()),
        ])
        .await;
    let listed = async |outcome| {
        let filter = ListFilter { outcome: Some(outcome), ..ListFilter::default() };
        let listed = owner.store.list(&filter, None, 10).await.unwrap();
        listed
            .iter()
            .map(|one| (one.id, one.outcome, one.closed))
            .collect::<Vec<_>>()
    };
    let committed = Outcome::Committed;
    assert_eq!(listed(committed).await, [(sent.gtid, committed, false)]);
    let pending = Outcome::Pending;
    assert_eq!(listed(pending).await, [(saga.gtid, pending, false)]);
    owner.append(&[sent.closed(1, &[])]).await;
    assert_eq!(listed(committed).await, [(sent.gtid, committed, true)]);
}

/// One by one, and all together.
pub async fn filters_select_what_they_say(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let made: Vec<_> = (0..5).map(|_| owner.transaction()).collect();
    let [open, decided, committed, aborted, presumed] = &made[..] else {
        panic!("five")
    };
    owner
        .append(&[open.begun(), decided.begun(), decided.aborted(1)])
        .await;
    owner.append(&committed.whole()).await;
    owner
        .append(&[aborted.begun(), aborted.aborted(1), aborted.closed(2, &[])])
        .await;
    owner.append(&[presumed.presumed()]).await;
    for (filter, expected) in selections(&made) {
        let listed = owner.store.list(&filter, None, 10).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|summary| summary.id).collect();
        let expected: Vec<_> = expected.iter().map(|one| one.gtid).collect();
        assert_eq!(listed, expected, "{filter:?}");
    }
    let listed = owner
        .store
        .list(&ListFilter::default(), None, 10)
        .await
        .unwrap();
    assert_eq!(listed[0].idempotency_key, None);
    assert_eq!(listed[1].idempotency_key.as_ref(), Some(&aborted.key));
    assert_eq!(listed[1].begun_at, aborted.gtid.minted());
    assert_eq!(
        listed[1].closed_at,
        Some(aborted.gtid.minted().plus_millis(20))
    );
    assert_eq!((listed[4].closed, listed[4].closed_at), (false, None));
}

/// Filters, and what they select of the transactions of the test above.
fn selections(made: &[Transaction]) -> Vec<(ListFilter, Vec<&Transaction>)> {
    let [open, decided, committed, aborted, presumed] = made else {
        panic!("five")
    };
    let all = ListFilter::default();
    vec![
        (
            all.clone(),
            vec![presumed, aborted, committed, decided, open],
        ),
        (
            ListFilter { closed: Some(false), ..all.clone() },
            vec![decided, open],
        ),
        (
            ListFilter { closed: Some(true), ..all.clone() },
            vec![presumed, aborted, committed],
        ),
        (
            ListFilter { outcome: Some(Outcome::Pending), ..all.clone() },
            vec![open],
        ),
        (
            ListFilter { outcome: Some(Outcome::Committed), ..all.clone() },
            vec![committed],
        ),
        (
            ListFilter { outcome: Some(Outcome::Aborted), ..all.clone() },
            vec![presumed, aborted, decided],
        ),
        (
            ListFilter { outcome: Some(Outcome::Heuristic), ..all.clone() },
            vec![],
        ),
        (ListFilter { attention: true, ..all.clone() }, vec![]),
        (
            ListFilter { tenant: Some(tenant()), ..all.clone() },
            vec![aborted, committed, decided, open],
        ),
        (
            ListFilter { tenant: Some("nobody".parse().unwrap()), ..all.clone() },
            vec![],
        ),
        (
            ListFilter {
                minted_from: Some(decided.gtid.minted()),
                minted_before: Some(aborted.gtid.minted()),
                ..all.clone()
            },
            vec![committed, decided],
        ),
        (
            ListFilter {
                closed: Some(true),
                outcome: Some(Outcome::Aborted),
                tenant: Some(tenant()),
                ..all
            },
            vec![aborted],
        ),
    ]
}

/// What was there comes exactly once, over partitions, also where many are minted at one time.
pub async fn paging_is_stable_while_transactions_begin(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let elsewhere = take(&*owner.store, OTHER_PARTITION).await;
    let mut before = Vec::new();
    for number in 0..20 {
        let at = START_MS + number / 7;
        let (partition, epoch) = [(PARTITION, owner.epoch), (OTHER_PARTITION, elsewhere)]
            [usize::try_from(number % 2).unwrap()];
        let one = owner.mint.transaction_at(partition, epoch, at);
        owner.append(&[one.begun()]).await;
        before.push(one.gtid);
    }
    let (mut seen, mut after): (Vec<Gtid>, _) = (Vec::new(), None);
    loop {
        let page = owner
            .store
            .list(&ListFilter::default(), after, 3)
            .await
            .unwrap();
        after = page.last().map(|last| last.id).or(after);
        seen.extend(page.iter().map(|one| one.id));
        if page.len() < 3 || seen.len() > 100 {
            break;
        }
        owner.append(&[owner.transaction().begun()]).await;
    }
    before.sort_by_key(|gtid| std::cmp::Reverse((gtid.minted(), *gtid)));
    assert_eq!(
        seen, before,
        "newest first, and none of those that came later"
    );
}

async fn remaining(store: &dyn Store) -> BTreeSet<Gtid> {
    let listed = store.list(&ListFilter::default(), None, 100).await.unwrap();
    listed.iter().map(|summary| summary.id).collect()
}

/// And whatever is younger, or another partition's.
pub async fn a_trim_keeps_open_ones_and_those_that_need_attention(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let elsewhere = take(&*owner.store, OTHER_PARTITION).await;
    let made: Vec<_> = (0..5).map(|_| owner.transaction()).collect();
    let [open, decided, attention, closed, presumed] = &made[..] else {
        panic!("five")
    };
    let foreign = owner.mint.transaction(OTHER_PARTITION, elsewhere);
    owner
        .append(&[open.begun(), decided.begun(), decided.committed(1)])
        .await;
    owner
        .append(&[
            attention.begun(),
            attention.aborted(1),
            attention.closed(2, &[0]),
        ])
        .await;
    owner.append(&closed.whole()).await;
    owner.append(&[presumed.presumed()]).await;
    owner.append(&foreign.whole()).await;
    let upto = foreign.gtid.minted();
    let young = owner.transaction();
    owner.append(&young.whole()).await;
    let held = Held { partition: PARTITION, epoch: owner.epoch };
    let trimmed = owner.store.trim(held, upto, 100).await.unwrap();
    assert_eq!((trimmed.horizon, trimmed.removed), (upto, 2));
    let kept = [open, decided, attention, &foreign, &young].map(|one| one.gtid);
    assert_eq!(remaining(&*owner.store).await, BTreeSet::from(kept));
    assert!(owner.store.read(closed.gtid).await.unwrap().is_none());
    assert_eq!(
        owner.store.find_key(&tenant(), &closed.key).await.unwrap(),
        None
    );
    owner.append(&[decided.closed(2, &[])]).await;
    owner.append(&[open.aborted(1), open.closed(2, &[])]).await;
    assert_eq!(owner.store.trim(held, upto, 100).await.unwrap().removed, 2);
}

/// Also if there is nothing to remove, and over a restart; it never goes back.
pub async fn a_trim_raises_the_horizon_for_good(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let held = Held { partition: PARTITION, epoch: owner.epoch };
    let (early, late) = (
        Timestamp::from_millis(START_MS),
        Timestamp::from_millis(START_MS + 9),
    );
    assert_eq!(
        owner.store.trim(held, late, 10).await.unwrap().horizon,
        late
    );
    assert_eq!(
        owner.store.trim(held, early, 10).await.unwrap().horizon,
        late
    );
    drop(owner);
    let store = harness.reopen().await;
    let ownership = store
        .acquire(PARTITION, &super::lease("me", 1_000))
        .await
        .unwrap();
    assert_eq!(ownership.horizon, late);
    let other = store
        .acquire(OTHER_PARTITION, &super::lease("me", 1_000))
        .await
        .unwrap();
    assert_eq!(other.horizon, Timestamp::ZERO, "each partition has its own");
}

/// Oldest first.
pub async fn a_trim_is_done_in_steps_and_only_by_the_owner(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let made: Vec<_> = (0..7).map(|_| owner.transaction()).collect();
    for one in &made {
        owner.append(&one.whole()).await;
    }
    let upto = made[5].gtid.minted();
    let held = Held { partition: PARTITION, epoch: owner.epoch };
    let stale = Held { epoch: Epoch(owner.epoch.0 - 1), ..held };
    let refused = owner.store.trim(stale, upto, 10).await;
    assert!(matches!(
        refused,
        Err(TrimError::Fenced { partition: PARTITION })
    ));
    assert_eq!(owner.store.trim(held, upto, 4).await.unwrap().removed, 4);
    let kept: BTreeSet<_> = made[4..].iter().map(|one| one.gtid).collect();
    assert_eq!(remaining(&*owner.store).await, kept);
    assert_eq!(owner.store.trim(held, upto, 4).await.unwrap().removed, 2);
    assert_eq!(
        remaining(&*owner.store).await,
        BTreeSet::from([made[6].gtid])
    );
}

/// Its past may have been removed, so neither a beginning nor a presumed abort is true.
pub async fn nothing_begins_below_the_horizon(harness: &dyn Harness) {
    let owner = Owner::new(harness).await;
    let (gone, open, young) = (
        owner.transaction(),
        owner.transaction(),
        owner.transaction(),
    );
    owner.append(&gone.whole()).await;
    owner.append(&[open.begun()]).await;
    let held = Held { partition: PARTITION, epoch: owner.epoch };
    owner
        .store
        .trim(held, open.gtid.minted(), 10)
        .await
        .unwrap();
    let below = Flushed::Refused(Refusal::BelowHorizon);
    assert_eq!(owner.refuse(&[gone.presumed()]).await, [below]);
    assert_eq!(
        owner.refuse(&[gone.begun(), gone.committed(1)]).await,
        [below, below]
    );
    assert!(owner.store.read(gone.gtid).await.unwrap().is_none());
    owner
        .append(&[open.begun(), open.committed(1), young.begun()])
        .await;
}
