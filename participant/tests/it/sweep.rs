//! Own branches in doubt, asked about at a coordinator that the test plays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accordant_participant::protocol::id::Gtid;
use accordant_participant::protocol::wire::api::{OutcomeReply, Verdict};
use accordant_participant::protocol::wire::contract::BranchEnd;
use axum::extract::{Path, Query, State};
use axum::routing::get;
use http::StatusCode;
use serde_json::json;

use crate::support::{
    Bank, COMMITTED, abort, bank, call, commit, fresh, gid, is_yes, prepare, until,
};

type Verdicts = Arc<Mutex<BTreeMap<Gtid, Verdict>>>;

/// A coordinator that knows these verdicts, and fails for any other transaction.
async fn coordinator(verdicts: Verdicts) -> String {
    async fn outcome(
        State(verdicts): State<Verdicts>,
        Path(id): Path<String>,
        Query(query): Query<BTreeMap<String, String>>,
    ) -> Result<String, StatusCode> {
        assert_eq!(query["participant"], "bank");
        assert_eq!(query["branch"], "0");
        let id: Gtid = id.parse().unwrap();
        match verdicts.lock().unwrap().get(&id) {
            Some(&verdict) => Ok(serde_json::to_string(&OutcomeReply { id, verdict }).unwrap()),
            None => Err(StatusCode::SERVICE_UNAVAILABLE),
        }
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/v1/transactions/{id}/outcome", get(outcome));
    tokio::spawn(async move { axum::serve(listener, router.with_state(verdicts)).await });
    base
}

/// Prepares one branch more, that locks nothing of the others.
async fn orphan(bank: &Bank) -> Gtid {
    let gtid = fresh();
    let sql = format!(
        "insert into owner select coalesce(max(id), 0) + {} from owner",
        gtid.random() % 1_000_000
    );
    let participant = bank.participant().await;
    is_yes(&prepare(&participant, &call(gtid, "sql", json!(sql))).await);
    gtid
}

#[tokio::test]
async fn orphans_end_by_the_coordinators_word_and_by_nothing_else() {
    let bank = bank().await;
    let (commits, aborts, pending, unknown, unanswered) = (
        orphan(&bank).await,
        orphan(&bank).await,
        orphan(&bank).await,
        orphan(&bank).await,
        orphan(&bank).await,
    );
    for foreign in ["acc:not-ours", "pg_gid_16394_733", "acc:x.0.00001.1:0"] {
        let foreign = format!("{foreign}-{}", fresh());
        bank.run(&format!(
            "begin; create table \"{foreign}\" (); prepare transaction '{foreign}'"
        ))
        .await;
    }
    let verdicts = Verdicts::default();
    let base = coordinator(Arc::clone(&verdicts)).await;
    let participant = bank.builder().coordinator(base).connect().await.unwrap();
    *verdicts.lock().unwrap() = BTreeMap::from([
        (commits, Verdict::Commit),
        (aborts, Verdict::Abort),
        (pending, Verdict::Pending),
        (unknown, Verdict::Unknown),
    ]);
    let swept = participant.sweep_once().await.unwrap();
    assert_eq!(
        (
            swept.found,
            swept.committed,
            swept.aborted,
            swept.pending,
            swept.unknown
        ),
        (5, 1, 1, 2, 1)
    );
    assert_eq!(bank.state(commits).await.as_deref(), Some("committed"));
    assert_eq!(bank.state(aborts).await.as_deref(), Some("aborted"));
    for left in [pending, unknown, unanswered] {
        assert!(bank.is_prepared(left).await);
        assert_eq!(bank.state(left).await, None);
    }
    assert_eq!(bank.prepared().await.len(), 6);
    verdicts.lock().unwrap().insert(pending, Verdict::Commit);
    assert_eq!(participant.sweep_once().await.unwrap().committed, 1);
    assert_eq!(commit(&participant, pending).await, COMMITTED);
    assert_eq!(abort(&participant, unknown).await, BranchEnd::Aborted);
    for gid in bank.prepared().await {
        bank.run(&format!("rollback prepared '{gid}'")).await;
    }
}

#[tokio::test]
async fn young_branch_is_left_to_its_coordinator() {
    let bank = bank().await;
    let verdicts = Verdicts::default();
    let base = coordinator(Arc::clone(&verdicts)).await;
    let builder = bank.builder().coordinator(base);
    let builder = builder.sweep(Duration::from_millis(20), Duration::from_secs(3600));
    let participant = builder.connect().await.unwrap();
    let young = orphan(&bank).await;
    verdicts.lock().unwrap().insert(young, Verdict::Commit);
    assert_eq!(participant.sweep_once().await.unwrap().found, 0);
    assert!(bank.is_prepared(young).await);
    bank.run(&format!("rollback prepared '{}'", gid(young)))
        .await;
}

#[tokio::test]
async fn background_finds_an_orphan_by_itself() {
    let bank = bank().await;
    let orphan = orphan(&bank).await;
    let verdicts = Verdicts::default();
    verdicts.lock().unwrap().insert(orphan, Verdict::Commit);
    let base = coordinator(verdicts).await;
    let participant = accordant_participant::Participant::builder("bank")
        .database(&bank.url)
        .coordinator(base)
        .allow_unsafe_durability(true)
        .unsafe_test_build(true)
        .sweep(Duration::from_millis(10), Duration::ZERO)
        .retention(Duration::from_millis(10), Duration::from_secs(1))
        .connect()
        .await
        .unwrap();
    until("swept", || async { !bank.is_prepared(orphan).await }).await;
    assert_eq!(bank.state(orphan).await.as_deref(), Some("committed"));
    participant.shutdown().await;
}
