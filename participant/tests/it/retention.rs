//! The table does not grow for ever, and forgets nothing that may still be asked for.

use std::time::Duration;

use accordant_participant::protocol::time::Timestamp;
use accordant_participant::protocol::wire::contract::ActVerb::{Act, Compensate};
use accordant_participant::protocol::wire::contract::{BranchEnd, FinishVerb};
use sqlx::Row as _;

use crate::support::{
    Bank, COMMITTED, abort, act, bank, call, commit, debit_call, finish_many, fresh, is_done,
    is_yes, minted_at, now_ms, order, prepare, spend, try_act, try_prepare,
};

async fn rows(bank: &Bank) -> i64 {
    let count = sqlx::query("select count(*) from accordant.branch");
    count
        .fetch_one(&mut bank.admin().await)
        .await
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn rows_at_or_below_a_settled_floor_are_deleted_and_nothing_else() {
    let bank = bank().await;
    let participant = bank
        .builder()
        .retention(Duration::from_secs(1), Duration::ZERO)
        .connect()
        .await
        .unwrap();
    let start = now_ms() - 100_000;
    let (old_commit, old_seal) = (minted_at(start), minted_at(start + 10));
    let (old_prepared, young) = (minted_at(start + 20), minted_at(start + 31));
    is_yes(&prepare(&participant, &debit_call(old_commit, 1)).await);
    assert_eq!(commit(&participant, old_commit).await, COMMITTED);
    assert_eq!(abort(&participant, old_seal).await, BranchEnd::Aborted);
    is_yes(&prepare(&participant, &debit_call(old_prepared, 1)).await);
    assert_eq!(abort(&participant, young).await, BranchEnd::Aborted);
    assert_eq!(rows(&bank).await, 3);
    // The watermark comes with any call of the same partition.
    let mut carrier = order(fresh(), FinishVerb::Abort);
    carrier.watermark = Timestamp::from_millis(start + 30);
    finish_many(&participant, vec![carrier]).await;
    assert_eq!(participant.retain_once().await.unwrap(), 2);
    assert_eq!(bank.state(old_commit).await, None);
    assert_eq!(bank.state(young).await.as_deref(), Some("aborted"));
    let (status, _) = try_prepare(&participant, &debit_call(old_seal, 1))
        .await
        .unwrap_err();
    assert_eq!(status.as_u16(), 410);
    // What is prepared stays a fact, and ends as it is told.
    is_yes(&prepare(&participant, &debit_call(old_prepared, 1)).await);
    assert_eq!(commit(&participant, old_prepared).await, COMMITTED);
    assert_eq!(commit(&participant, old_prepared).await, COMMITTED);
    assert_eq!(participant.retain_once().await.unwrap(), 1);
}

#[tokio::test]
async fn floor_that_is_young_refuses_and_deletes_nothing() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let old = minted_at(now_ms() - 50_000);
    assert_eq!(abort(&participant, old).await, BranchEnd::Aborted);
    let mut carrier = debit_call(fresh(), 1);
    carrier.watermark = Timestamp::from_millis(now_ms() - 40_000);
    is_yes(&prepare(&participant, &carrier).await);
    assert_eq!(participant.retain_once().await.unwrap(), 0);
    assert_eq!(bank.state(old).await.as_deref(), Some("aborted"));
    let late = call(minted_at(now_ms() - 45_000), "sql", "select 1".into());
    let (status, _) = try_prepare(&participant, &late).await.unwrap_err();
    assert_eq!(status.as_u16(), 410);
    // A lower watermark, from a message that was delayed, lowers nothing.
    carrier.gtid = fresh();
    carrier.watermark = Timestamp::from_millis(1);
    prepare(&participant, &carrier).await;
    participant.retain_once().await.unwrap();
    let (status, _) = try_prepare(&participant, &late).await.unwrap_err();
    assert_eq!(status.as_u16(), 410);
}

#[tokio::test]
async fn floor_that_rises_all_the_time_settles_only_what_was_refused_for_long() {
    let bank = bank().await;
    let hour = Duration::from_secs(3600);
    let participant = bank
        .builder()
        .retention(hour, hour)
        .connect()
        .await
        .unwrap();
    let start = now_ms() - 100_000;
    let (old, young) = (minted_at(start + 5), minted_at(start + 15));
    for gtid in [old, young] {
        assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted);
    }
    let raise = async |floor: u64| {
        let mut carrier = order(fresh(), FinishVerb::Abort);
        carrier.watermark = Timestamp::from_millis(floor);
        finish_many(&participant, vec![carrier]).await;
        participant.retain_once().await.unwrap()
    };
    assert_eq!(raise(start + 10).await, 0);
    // The first value has stood for more than an hour when the second comes.
    bank.run("update accordant.floor set since = since - interval '2 hours'")
        .await;
    assert_eq!(raise(start + 20).await, 1);
    assert_eq!(bank.state(young).await.as_deref(), Some("aborted"));
    assert_eq!(raise(start + 30).await, 0);
    bank.run("update accordant.floor set since = since - interval '2 hours'")
        .await;
    assert_eq!(raise(start + 31).await, 1);
    assert_eq!(bank.state(young).await, None);
}

#[tokio::test]
async fn act_below_the_floor_is_refused_and_its_rows_are_deleted() {
    let bank = bank().await;
    let participant = bank
        .builder()
        .retention(Duration::from_secs(1), Duration::ZERO)
        .connect()
        .await
        .unwrap();
    let start = now_ms() - 100_000;
    let (old, never, young) = (
        minted_at(start),
        minted_at(start + 10),
        minted_at(start + 31),
    );
    for gtid in [old, young] {
        is_done(
            &act(&participant, &spend(gtid, Act, 1)).await,
            Some(if gtid == old { "99" } else { "98" }),
        );
    }
    let mut carrier = spend(fresh(), Compensate, 1);
    carrier.watermark = Timestamp::from_millis(start + 30);
    is_done(&act(&participant, &carrier).await, None);
    // The floor stands, and the rows below it have not been deleted yet.
    let floor = start + 30;
    bank.run(&format!(
        "insert into accordant.floor (issuer, minted, settling)
        values ('test.0.00001', {floor}, {floor})"
    ))
    .await;
    is_done(&act(&participant, &spend(old, Act, 1)).await, Some("99"));
    for (gtid, verb) in [(old, Compensate), (never, Act), (never, Compensate)] {
        let refused = try_act(&participant, &spend(gtid, verb, 1)).await;
        assert_eq!(refused.unwrap_err().0.as_u16(), 410, "{verb:?}");
        assert_eq!(bank.rows(never).await, Vec::<String>::new());
    }
    assert_eq!(participant.retain_once().await.unwrap(), 1);
    assert!(bank.rows(old).await.is_empty());
    for verb in [Act, Compensate] {
        let refused = try_act(&participant, &spend(old, verb, 1)).await;
        assert_eq!(refused.unwrap_err().0.as_u16(), 410, "{verb:?}");
    }
    is_done(
        &act(&participant, &spend(young, Compensate, 1)).await,
        Some("98"),
    );
    assert_eq!(bank.cents().await, 99);
}
