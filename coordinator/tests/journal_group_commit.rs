//! The writer that makes many appends durable with one forced write.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use accordant_coordinator::clock::Moment;
use accordant_coordinator::journal::conformance::fixture::{Mint, Transaction};
use accordant_coordinator::journal::group_commit::{
    Append, AppendRefused, Completion, Completions, Health, Journal, ShardIndex, Writer, start,
};
use accordant_coordinator::journal::lease::Leases;
use accordant_coordinator::journal::limits::{LAZY_WAIT, QUEUE_ENTRIES_MAX};
use accordant_coordinator::journal::memory::{Fault, Gate, MemoryStore};
use accordant_coordinator::journal::store::{Held, Lease, OwnerId, Store};
use accordant_coordinator::journal::tenure::Tenure;
use accordant_protocol::effect::{Appended, Entry, Token, Urgency};
use accordant_protocol::id::{Cluster, Epoch, Incarnation, PartitionId};

const SHARD: ShardIndex = ShardIndex(0);
const PARTITION: PartitionId = PartitionId(0);

struct World {
    store: MemoryStore,
    journal: Journal,
    completions: Vec<Completions>,
    writer: Writer,
    mint: Mint,
    epoch: Epoch,
}

fn lease(owner: &str) -> Lease {
    Lease { owner: OwnerId::new(owner).unwrap(), ms: 3_000 }
}

async fn world(shards: usize) -> World {
    let store = MemoryStore::new(Cluster::new("test").unwrap(), Incarnation(1), 4);
    let epoch = store.acquire(PARTITION, &lease("me")).await.unwrap().epoch;
    let (journal, completions, writer) = start(Arc::new(store.clone()), shards);
    let mint = Mint::new(store.description());
    World { store, journal, completions, writer, mint, epoch }
}

impl World {
    fn transaction(&self) -> Transaction {
        self.mint.transaction(PARTITION, self.epoch)
    }

    async fn next(&mut self) -> Completion {
        let completions = self.completions[0].next().await.unwrap();
        let [completion] = completions[..] else {
            panic!("{completions:?}")
        };
        completion
    }
}

fn forced(token: u64, entry: Entry) -> Append {
    Append { token: Token(token), entry, urgency: Urgency::Forced }
}

fn lazy(token: u64, entry: Entry) -> Append {
    Append { urgency: Urgency::Lazy, ..forced(token, entry) }
}

fn durable(token: u64) -> Completion {
    Completion { token: Token(token), outcome: Appended::Durable }
}

#[tokio::test]
async fn what_is_pending_while_a_flush_runs_shares_the_next_one() {
    let mut world = world(1).await;
    let gate = Gate::new();
    world.store.inject(Fault::PauseInside(gate.clone()));
    world
        .journal
        .append(SHARD, vec![forced(0, world.transaction().begun())])
        .unwrap();
    gate.reached().await;
    for token in 1..=200 {
        world
            .journal
            .append(SHARD, vec![forced(token, world.transaction().begun())])
            .unwrap();
    }
    gate.open();
    let mut tokens = Vec::new();
    while tokens.len() < 201 {
        tokens.extend(world.completions[0].next().await.unwrap());
    }
    assert_eq!(
        tokens,
        (0..=200).map(durable).collect::<Vec<_>>(),
        "in the order of the appends"
    );
    let stats = world.journal.stats();
    assert_eq!((stats.flushes, stats.entries), (2, 201));
}

#[tokio::test]
async fn each_shard_gets_its_own_completions() {
    let mut world = world(2).await;
    let (first, second) = (world.transaction(), world.transaction());
    world
        .journal
        .append(ShardIndex(0), vec![forced(1, first.begun())])
        .unwrap();
    world
        .journal
        .append(ShardIndex(1), vec![forced(2, second.begun())])
        .unwrap();
    assert_eq!(world.completions[0].next().await.unwrap(), [durable(1)]);
    assert_eq!(world.completions[1].next().await.unwrap(), [durable(2)]);
}

#[tokio::test]
async fn records_of_one_transaction_keep_their_order() {
    let mut world = world(1).await;
    let transaction = world.transaction();
    for (token, entry) in transaction.whole().into_iter().enumerate() {
        world
            .journal
            .append(SHARD, vec![lazy(token as u64, entry)])
            .unwrap();
    }
    let completions = world.completions[0].next().await.unwrap();
    assert_eq!(completions, [durable(0), durable(1), durable(2)]);
    let stored = world.store.read(transaction.gtid).await.unwrap().unwrap();
    assert!(stored.closed);
    assert_eq!(stored.records.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_lazy_record_alone_is_flushed_after_a_while() {
    let mut world = world(1).await;
    let started = tokio::time::Instant::now();
    world
        .journal
        .append(SHARD, vec![lazy(1, world.transaction().begun())])
        .unwrap();
    assert_eq!(world.next().await, durable(1));
    assert!(started.elapsed() >= LAZY_WAIT, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lazy_record_rides_along_with_a_forced_one_at_once() {
    let mut world = world(1).await;
    let started = tokio::time::Instant::now();
    world
        .journal
        .append(SHARD, vec![lazy(1, world.transaction().begun())])
        .unwrap();
    tokio::task::yield_now().await;
    world
        .journal
        .append(SHARD, vec![forced(2, world.transaction().begun())])
        .unwrap();
    let completions = world.completions[0].next().await.unwrap();
    assert_eq!(completions, [durable(1), durable(2)]);
    assert_eq!(world.journal.stats().flushes, 1);
    assert!(started.elapsed() < LAZY_WAIT, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_journal_is_tried_again_and_says_so_meanwhile() {
    let mut world = world(1).await;
    for _ in 0..3 {
        world.store.inject(Fault::Unavailable);
    }
    let mut health = world.journal.health();
    assert_eq!(*health.borrow(), Health::Ready);
    world
        .journal
        .append(SHARD, vec![forced(1, world.transaction().begun())])
        .unwrap();
    health
        .wait_for(|health| matches!(health, Health::NotReady { .. }))
        .await
        .unwrap();
    assert!(!world.journal.admits());
    assert_eq!(world.next().await, durable(1));
    health
        .wait_for(|health| *health == Health::Ready)
        .await
        .unwrap();
    assert!(world.journal.admits());
    assert_eq!(world.journal.stats().retries, 3);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_delivered_as_unknown_and_the_journal_heals() {
    for fault in [Fault::UnknownExecuted, Fault::UnknownNotExecuted] {
        let mut world = world(1).await;
        let executed = matches!(fault, Fault::UnknownExecuted);
        world.store.inject(fault);
        let transaction = world.transaction();
        world
            .journal
            .append(SHARD, vec![forced(1, transaction.begun())])
            .unwrap();
        let unknown = Completion { token: Token(1), outcome: Appended::Unknown };
        assert_eq!(world.next().await, unknown);
        let mut health = world.journal.health();
        health
            .wait_for(|health| *health == Health::Ready)
            .await
            .unwrap();
        // What the owner does then: it raises its epoch and looks.
        let ownership = world
            .journal
            .acquire(PARTITION, &lease("me"))
            .await
            .unwrap();
        assert!(ownership.epoch > world.epoch);
        let open = world.store.load_open(PARTITION, None, 10).await.unwrap();
        assert_eq!(open.len(), usize::from(executed));
        let late = vec![forced(2, world.transaction().begun())];
        world.journal.append(SHARD, late).unwrap();
        let fenced = Completion { token: Token(2), outcome: Appended::Fenced };
        assert_eq!(
            world.next().await,
            fenced,
            "the former epoch writes no more"
        );
    }
}

#[tokio::test]
async fn a_full_queue_gives_the_appends_back_and_admits_again_once_taken() {
    let mut world = world(1).await;
    let gate = Gate::new();
    world.store.inject(Fault::PauseInside(gate.clone()));
    let begun = world.transaction().begun();
    let many = |from: u64, count: usize| -> Vec<Append> {
        (from..)
            .take(count)
            .map(|token| forced(token, begun.clone()))
            .collect()
    };
    world.journal.append(SHARD, many(0, 1)).unwrap();
    gate.reached().await;
    world
        .journal
        .append(SHARD, many(1, QUEUE_ENTRIES_MAX - 1))
        .unwrap();
    assert!(!world.journal.admits());
    let refused = world.journal.append(SHARD, many(0, 1)).unwrap_err();
    let AppendRefused::Overloaded(back) = refused else {
        panic!("{refused}")
    };
    assert_eq!(back, many(0, 1));
    gate.open();
    let mut taken = 0;
    while taken < QUEUE_ENTRIES_MAX {
        taken += world.completions[0].next().await.unwrap().len();
    }
    assert!(world.journal.admits());
    world.journal.append(SHARD, many(0, 1)).unwrap();
}

#[tokio::test]
async fn a_failure_for_good_answers_everyone_with_unknown_and_resolves_fatal() {
    let mut world = world(1).await;
    let gate = Gate::new();
    world.store.inject(Fault::PauseInside(gate.clone()));
    world.store.inject(Fault::Fatal);
    world
        .journal
        .append(SHARD, vec![forced(1, world.transaction().begun())])
        .unwrap();
    gate.reached().await;
    world
        .journal
        .append(SHARD, vec![forced(2, world.transaction().begun())])
        .unwrap();
    gate.open();
    assert_eq!(world.next().await, durable(1));
    assert_eq!(world.next().await.outcome, Appended::Unknown);
    let reason = world.journal.fatal().await;
    assert!(reason.contains("a test asked for it"), "{reason}");
    let refused = world
        .journal
        .append(SHARD, vec![forced(3, world.transaction().begun())]);
    assert!(matches!(refused, Err(AppendRefused::Closed(_))));
    assert_eq!(world.completions[0].next().await, None);
}

#[tokio::test]
async fn shutdown_makes_durable_what_is_queued_and_accepts_nothing_more() {
    let mut world = world(1).await;
    let transaction = world.transaction();
    let appends = transaction
        .whole()
        .into_iter()
        .map(|entry| lazy(0, entry))
        .collect();
    world.journal.append(SHARD, appends).unwrap();
    world.writer.shutdown(Duration::from_secs(10)).await;
    assert_eq!(world.completions[0].next().await.unwrap().len(), 3);
    assert!(
        world
            .store
            .read(transaction.gtid)
            .await
            .unwrap()
            .unwrap()
            .closed
    );
    let refused = world
        .journal
        .append(SHARD, vec![forced(1, transaction.begun())]);
    assert!(matches!(refused, Err(AppendRefused::Closed(_))));
}

#[tokio::test(start_paused = true)]
async fn shutdown_gives_up_an_unavailable_journal_with_outcome_unknown() {
    let mut world = world(1).await;
    for _ in 0..10_000 {
        world.store.inject(Fault::Unavailable);
    }
    world
        .journal
        .append(SHARD, vec![forced(1, world.transaction().begun())])
        .unwrap();
    world.writer.shutdown(Duration::from_secs(10)).await;
    let completions = world.completions[0].next().await.unwrap();
    assert_eq!(completions[0].outcome, Appended::Unknown);
}

#[tokio::test(start_paused = true)]
async fn leases_are_renewed_and_a_lost_partition_is_reported_once() {
    let world = world(1).await;
    let tenure = Tenure::default();
    let (leases, mut lost) = Leases::start(world.journal.clone(), lease("me"), tenure.clone());
    let held = Held { partition: PARTITION, epoch: world.epoch };
    leases.hold(held, Moment::now());
    assert!(tenure.covers(PARTITION, world.epoch));
    let raised = world.store.acquire(PARTITION, &lease("me")).await.unwrap();
    assert!(raised.epoch > world.epoch);
    assert_eq!(
        lost.next().await,
        Some(held),
        "the epoch that was held is gone"
    );
    assert!(
        !tenure.covers(PARTITION, world.epoch),
        "nothing is sent any more"
    );
    leases.hold(
        Held { partition: PARTITION, epoch: raised.epoch },
        Moment::now(),
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    leases.shutdown().await;
    assert_eq!(lost.next().await, None);
    assert!(!tenure.covers(PARTITION, raised.epoch), "given back");
    world
        .store
        .acquire(PARTITION, &lease("another"))
        .await
        .expect("it was given back");
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_hangs_makes_the_journal_not_ready_until_it_ends() {
    let mut world = world(1).await;
    let gate = Gate::new();
    world.store.inject(Fault::PauseInside(gate.clone()));
    let begun = world.transaction().begun();
    world.journal.append(SHARD, vec![forced(1, begun)]).unwrap();
    let mut health = world.journal.health();
    health
        .wait_for(|health| matches!(health, Health::NotReady { .. }))
        .await
        .unwrap();
    assert!(!world.journal.admits());
    gate.open();
    assert_eq!(world.next().await, durable(1));
    health
        .wait_for(|health| *health == Health::Ready)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_write_that_lands_after_its_reply_was_lost_is_fenced_by_the_raised_epoch() {
    let mut world = world(1).await;
    let gate = Gate::new();
    world.store.inject(Fault::UnknownLate(gate.clone()));
    let transaction = world.transaction();
    world
        .journal
        .append(SHARD, vec![forced(1, transaction.begun())])
        .unwrap();
    assert_eq!(world.next().await.outcome, Appended::Unknown);
    gate.reached().await;
    world
        .journal
        .acquire(PARTITION, &lease("me"))
        .await
        .unwrap();
    gate.open();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(world.store.read(transaction.gtid).await.unwrap().is_none());
}

#[tokio::test]
async fn a_paused_writer_is_fenced_by_a_take_over_and_counted() {
    let mut world = world(1).await;
    let gate = Gate::new();
    world.store.inject(Fault::PauseBefore(gate.clone()));
    let transaction = world.transaction();
    world
        .journal
        .append(SHARD, vec![forced(1, transaction.begun())])
        .unwrap();
    gate.reached().await;
    world.store.acquire(PARTITION, &lease("me")).await.unwrap();
    gate.open();
    assert_eq!(world.next().await.outcome, Appended::Fenced);
    assert_eq!(world.journal.stats().fenced, 1);
    assert!(world.store.read(transaction.gtid).await.unwrap().is_none());
}
