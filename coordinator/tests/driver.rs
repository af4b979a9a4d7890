//! What the driver owes whatever comes: timers, replies, room, and an end when it cannot go on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "tests"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use accordant_coordinator::delivery::{Registry, Request, Response, Transport, TransportError};
use accordant_coordinator::driver::{AskError, Coordinator, Settings};
use accordant_coordinator::journal::conformance::fixture::Mint;
use accordant_coordinator::journal::limits::TRIM_MAX;
use accordant_coordinator::journal::memory::MemoryStore;
use accordant_coordinator::journal::sqlite::{SqliteOptions, SqliteStore};
use accordant_coordinator::journal::store::{Lease, ListFilter, OwnerId, Store};
use accordant_protocol::effect::{Reply, RequestId};
use accordant_protocol::id::{Gtid, Incarnation, ParticipantName, PartitionId};
use accordant_protocol::node::Event;
use accordant_protocol::wire::api::Wait;
use async_trait::async_trait;
use futures_util::FutureExt as _;
use support::{Bed, Stub, two};

fn store() -> MemoryStore {
    MemoryStore::new("acc".parse().unwrap(), Incarnation(7), 4)
}

fn id(status: &serde_json::Value) -> Gtid {
    status["id"].as_str().unwrap().parse().unwrap()
}

async fn wait(coordinator: &Coordinator, gtid: Gtid, within_ms: u64) -> Result<Reply, AskError> {
    let wait = Some(Wait::Completed);
    let make = move |request| Event::Queried { request, gtid, wait };
    let within = Duration::from_millis(within_ms);
    coordinator.ask_about(gtid, within, make).await
}

/// Asks until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let within = Duration::from_secs(30);
    tokio::time::timeout(within, asking).await.expect(what);
}

type Make = Box<dyn FnOnce(RequestId) -> Event + Send>;

/// A question that asks the next one before it is answered: there is always one that waits.
fn endless(coordinator: Arc<Coordinator>, gtid: Gtid) -> Make {
    Box::new(move |request| {
        let next = endless(Arc::clone(&coordinator), gtid);
        let asked = coordinator.ask_about(gtid, Duration::from_secs(1), next);
        assert!(asked.now_or_never().is_none());
        Event::Queried { request, gtid, wait: None }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_pass_while_requests_never_cease_to_come() {
    let bed = Bed::with(Arc::new(store()), Stub::default(), Stub::default(), |it| {
        it.shards = 1;
    })
    .await;
    let body = two("agree", "silence", r#","wait":"accepted","timeout_ms":300"#);
    let gtid = id(&bed.submit("k", &body).await.1);
    let make = endless(Arc::clone(&bed.coordinator), gtid);
    let begun = bed
        .coordinator
        .ask_about(gtid, Duration::from_secs(5), make);
    begun.await.unwrap();
    until("the deadline has passed", async || {
        let (_, status) = bed.get(&format!("/v1/transactions/{gtid}")).await;
        status["reason"]["kind"] == "deadline_passed"
    })
    .await;
}

#[tokio::test]
async fn requests_whose_callers_are_gone_make_room_for_others() {
    let bed = Bed::start(Arc::new(store())).await;
    let body = two("agree", "silence", r#","wait":"accepted""#);
    let gtid = id(&bed.submit("k", &body).await.1);
    for _ in 0..64 {
        let late = wait(&bed.coordinator, gtid, 1).await;
        assert_eq!(late.unwrap_err(), AskError::Late);
    }
    let at_once = wait(&bed.coordinator, gtid, 1_000).await;
    assert!(matches!(at_once, Ok(Reply::Status(_))), "{at_once:?}");
    until("there is room to wait again", async || {
        matches!(wait(&bed.coordinator, gtid, 100).await, Err(AskError::Late))
    })
    .await;
}

#[tokio::test]
async fn a_repeat_is_never_told_that_nothing_was_begun_because_too_many_wait() {
    let bed = Bed::start(Arc::new(store())).await;
    let body = two("agree", "silence", r#","wait":"accepted""#);
    let gtid = id(&bed.submit("k", &body).await.1);
    for _ in 0..64 {
        wait(&bed.coordinator, gtid, 1).await.unwrap_err();
    }
    let (code, status) = bed
        .submit("k", &two("agree", "silence", r#","wait":"completed""#))
        .await;
    assert_eq!((code, id(&status)), (202, gtid), "{status}");
}

#[tokio::test]
async fn a_shard_that_panics_is_noticed() {
    let bed = Bed::start(Arc::new(store())).await;
    bed.coordinator.is_ready().unwrap();
    let asked = bed
        .coordinator
        .ask(PartitionId(1), Duration::from_secs(5), |_| {
            panic!("a fault of ours")
        });
    assert_eq!(asked.await.unwrap_err(), AskError::Stopped);
    let failed = tokio::time::timeout(Duration::from_secs(5), bed.coordinator.failed());
    assert_eq!(failed.await.unwrap(), "a shard");
    assert!(bed.coordinator.is_ready().is_err());
}

struct Faulty;

#[async_trait]
impl Transport for Faulty {
    async fn send(&self, _request: Request) -> Result<Response, TransportError> {
        panic!("a fault of ours")
    }
}

#[tokio::test]
async fn a_call_that_panics_is_noticed_since_its_answer_never_comes() {
    let bed = Bed::with(Arc::new(store()), Stub::default(), Stub::default(), |it| {
        it.transport = Arc::new(Faulty);
    })
    .await;
    bed.submit("k", &two("agree", "agree", r#","wait":"accepted""#))
        .await;
    let failed = tokio::time::timeout(Duration::from_secs(5), bed.coordinator.failed());
    assert_eq!(failed.await.unwrap(), "a prepare call");
}

#[tokio::test]
async fn the_bound_of_a_participant_holds_over_all_shards() {
    let bed = Bed::with(Arc::new(store()), Stub::default(), Stub::default(), |it| {
        it.shards = 4;
        it.participant_open_max = 2;
    })
    .await;
    let body = two("silence", "silence", r#","wait":"accepted""#);
    let mut taken = 0;
    for key in 0..16 {
        let (code, _) = bed.submit(&format!("k{key}"), &body).await;
        taken += usize::from(code == 202);
    }
    assert_eq!(taken, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_removed_however_much_it_is() {
    let store = store();
    let partition = PartitionId(1);
    let lease = Lease { owner: OwnerId::new("before").unwrap(), ms: 1 };
    let epoch = store.acquire(partition, &lease).await.unwrap().epoch;
    let mint = Mint::new(store.description());
    for _ in 0..TRIM_MAX * 3 {
        let old = mint.transaction_at(partition, epoch, 1_600_000_000_000);
        store.flush(&old.whole()).await.unwrap();
    }
    let participant = ParticipantName::new("p").unwrap();
    let mut registry = Registry::default();
    registry
        .register(participant, "http://127.0.0.1:1")
        .unwrap();
    let settings = Settings::new(registry, "me".to_owned());
    let coordinator = Coordinator::start(Arc::new(store.clone()), settings).unwrap();
    // The clock is paused: this takes no time, and goes on to the next round of the retention.
    let removed = async {
        while !store
            .list(&ListFilter::default(), None, 10)
            .await
            .unwrap()
            .is_empty()
        {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let soon = tokio::time::timeout(Duration::from_secs(5 * 60 + 10), removed);
    soon.await.unwrap();
    drop(coordinator);
}

#[tokio::test]
async fn a_journal_that_is_gone_shows_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (path, away) = (folder.path().join("j.db"), folder.path().join("away.db"));
    let cluster = "acc".parse().unwrap();
    let options = SqliteOptions {
        path: path.clone(),
        cluster,
        partitions: Some(2),
        restored: false,
    };
    let store = SqliteStore::open(options).unwrap();
    let settings = Settings {
        lease_ms: 150,
        ..Settings::new(Registry::default(), "me".to_owned())
    };
    let coordinator = Coordinator::start(Arc::new(store), settings).unwrap();
    coordinator.owned_all().await;
    let becomes = async |ready: bool| {
        until("readiness follows", async || {
            coordinator.is_ready().is_ok() == ready
        })
        .await;
    };
    becomes(true).await;
    std::fs::rename(&path, &away).unwrap();
    becomes(false).await;
    std::fs::rename(&away, &path).unwrap();
    becomes(true).await;
}
