//! TCC branches: a reservation is made good or given up, once, and never both.

use std::sync::Arc;
use std::time::Duration;

use accordant_participant::protocol::id::Gtid;
use accordant_participant::protocol::json::Json;
use accordant_participant::protocol::time::Timestamp;
use accordant_participant::protocol::wire::contract::{
    BranchEnd, FinishOrder, FinishVerb, PrepareCall, Vote, Work,
};
use accordant_participant::{Branch, Builder, Participant, Refusal};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{
    Bank, COMMITTED, Debit, bank, call, commit, debit, debit_call, finish_many, fresh, is_yes,
    minted_at, now_ms, order, prepare, refusal_code, result_of, try_prepare,
};

/// Reserves by taking the money away, and remembers nothing else.
async fn release(branch: &mut Branch, order: Debit, left: Option<i64>) -> Result<(), Refusal> {
    assert!(left.is_some(), "the result of the try");
    sqlx::query("update account set cents = cents + $1 where id = 1")
        .bind(order.cents)
        .execute(branch.connection())
        .await?;
    Ok(())
}

/// Moves what was reserved to account 2.
async fn make_good(branch: &mut Branch, order: Debit, left: Option<i64>) -> Result<i64, Refusal> {
    assert!(left.is_some(), "the result of the try");
    sqlx::query("update account set cents = cents + $1 where id = 2")
        .bind(order.cents)
        .execute(branch.connection())
        .await?;
    Ok(-1)
}

fn builder(bank: &Bank) -> Builder {
    bank.builder().tcc("reserve", debit, make_good, release)
}

fn reserve(gtid: Gtid, cents: i64) -> PrepareCall {
    let mut call = call(gtid, "reserve", json!({"account": 1, "cents": cents}));
    call.mode = accordant_participant::protocol::plan::Mode::Tcc;
    call
}

fn tcc_order(gtid: Gtid, verb: FinishVerb, cents: i64) -> FinishOrder {
    let payload = Json::from_value(&json!({"account": 1, "cents": cents})).unwrap();
    let work = Work { operation: "reserve".parse().unwrap(), payload };
    FinishOrder { work: Some(work), ..order(gtid, verb) }
}

async fn end(participant: &Participant, gtid: Gtid, verb: FinishVerb) -> BranchEnd {
    let mut reply = finish_many(participant, vec![tcc_order(gtid, verb, 30)]).await;
    reply.answers.remove(0).end
}

async fn confirm(participant: &Participant, gtid: Gtid) -> BranchEnd {
    end(participant, gtid, FinishVerb::Confirm).await
}

async fn cancel(participant: &Participant, gtid: Gtid) -> BranchEnd {
    end(participant, gtid, FinishVerb::Cancel).await
}

async fn both(bank: &Bank) -> (i64, i64) {
    let sum = sqlx::query_as(
        "select min(cents) filter (where id = 1), min(cents) filter (where id = 2) from account",
    );
    sum.fetch_one(&mut bank.admin().await).await.unwrap()
}

#[tokio::test]
async fn reservation_is_made_once_and_confirmed_once() {
    let bank = bank().await;
    let participant = builder(&bank).connect().await.unwrap();
    let gtid = fresh();
    for _ in 0..2 {
        let vote = prepare(&participant, &reserve(gtid, 30)).await;
        is_yes(&vote);
        assert_eq!(result_of(&vote), "70");
    }
    assert!(bank.prepared().await.is_empty());
    assert_eq!(both(&bank).await, (70, 100));
    for _ in 0..2 {
        assert_eq!(confirm(&participant, gtid).await, COMMITTED);
        assert_eq!(both(&bank).await, (70, 130));
    }
    let mut asks = tcc_order(gtid, FinishVerb::Confirm, 30);
    asks.want_result = true;
    let reply = finish_many(&participant, vec![asks]).await;
    let result = Some(Json::from_value(&70).unwrap());
    assert_eq!(reply.answers[0].end, BranchEnd::Committed { result });
    assert_eq!(bank.rows(gtid).await, ["confirm done", "try done"]);
    // Too late for a cancel, and a late try does nothing.
    assert_eq!(cancel(&participant, gtid).await, COMMITTED);
    let late = prepare(&participant, &reserve(gtid, 30)).await;
    assert!(matches!(late, Vote::Committed { .. }), "{late:?}");
    assert_eq!(both(&bank).await, (70, 130));
}

#[tokio::test]
async fn reservation_is_given_up_once_and_cannot_be_confirmed_then() {
    let bank = bank().await;
    let participant = builder(&bank).connect().await.unwrap();
    let gtid = fresh();
    is_yes(&prepare(&participant, &reserve(gtid, 30)).await);
    for _ in 0..2 {
        assert_eq!(cancel(&participant, gtid).await, BranchEnd::Aborted);
        assert_eq!(both(&bank).await, (100, 100));
    }
    assert_eq!(confirm(&participant, gtid).await, BranchEnd::Aborted);
    let late = prepare(&participant, &reserve(gtid, 30)).await;
    assert_eq!(refusal_code(late), "accordant.too_late");
    assert_eq!(both(&bank).await, (100, 100));
    let rows = bank.rows(gtid).await;
    assert_eq!(rows, ["cancel done", "confirm skipped", "try done"]);
}

#[tokio::test]
async fn cancel_before_the_try_keeps_it_out() {
    for verb in [FinishVerb::Cancel, FinishVerb::Confirm] {
        let bank = bank().await;
        let participant = builder(&bank).connect().await.unwrap();
        let gtid = fresh();
        for _ in 0..2 {
            // A confirm finds that the reservation is lost, and never makes one up.
            assert_eq!(end(&participant, gtid, verb).await, BranchEnd::Aborted);
        }
        assert_eq!(bank.rows(gtid).await, ["try skipped"]);
        let late = prepare(&participant, &reserve(gtid, 30)).await;
        assert_eq!(refusal_code(late), "accordant.too_late");
        assert_eq!(both(&bank).await, (100, 100));
    }
}

#[tokio::test]
async fn refused_try_stays_refused() {
    let bank = bank().await;
    let participant = builder(&bank).connect().await.unwrap();
    let gtid = fresh();
    let vote = prepare(&participant, &reserve(gtid, 300)).await;
    assert_eq!(refusal_code(vote), "insufficient_funds");
    bank.run("update account set cents = 1000 where id = 1")
        .await;
    let vote = prepare(&participant, &reserve(gtid, 300)).await;
    assert_eq!(refusal_code(vote), "insufficient_funds");
    assert_eq!(confirm(&participant, gtid).await, BranchEnd::Aborted);
    assert_eq!(cancel(&participant, gtid).await, BranchEnd::Aborted);
    assert_eq!(bank.rows(gtid).await, ["try skipped"]);
    let mut unknown = reserve(fresh(), 30);
    unknown.operation = "unheard_of".parse().unwrap();
    let vote = prepare(&participant, &unknown).await;
    assert_eq!(refusal_code(vote), "accordant.unknown_operation");
    assert_eq!(bank.rows(unknown.gtid).await, ["try skipped"]);
}

#[tokio::test]
async fn confirm_and_cancel_at_the_same_time_exclude_each_other() {
    for level in ["read committed", "repeatable read", "serializable"] {
        let bank = bank().await;
        bank.run(&format!(
            "do $$ begin execute format('alter database %I
                set default_transaction_isolation = ''{level}''', current_database()); end $$"
        ))
        .await;
        let one = builder(&bank).connect().await.unwrap();
        let two = builder(&bank).connect().await.unwrap();
        for _ in 0..10 {
            let gtid = fresh();
            is_yes(&prepare(&one, &reserve(gtid, 30)).await);
            tokio::join!(confirm(&one, gtid), cancel(&two, gtid));
            let (good, gone) = (confirm(&one, gtid).await, cancel(&two, gtid).await);
            assert_eq!(good, gone, "{level}");
            let expected = match good == COMMITTED {
                true => (70, 130),
                false => (100, 100),
            };
            assert_eq!(both(&bank).await, expected, "{level}");
            bank.run("update account set cents = 100").await;
        }
    }
}

struct Gate {
    arrived: Semaphore,
    go_on: Semaphore,
}

#[tokio::test]
async fn cancel_that_meets_a_running_confirm_waits_for_it() {
    async fn gated(branch: &mut Branch, _: Debit, _: Option<i64>) -> Result<(), Refusal> {
        let gate = branch.state::<Arc<Gate>>()?;
        gate.arrived.add_permits(1);
        gate.go_on.acquire().await.unwrap().forget();
        Ok(())
    }
    for level in ["read committed", "repeatable read"] {
        let bank = bank().await;
        bank.run(&format!(
            "do $$ begin execute format('alter database %I
                set default_transaction_isolation = ''{level}''', current_database()); end $$"
        ))
        .await;
        let gate = Arc::new(Gate { arrived: Semaphore::new(0), go_on: Semaphore::new(0) });
        let builder = bank.builder().state(Arc::clone(&gate));
        let builder = builder.tcc("reserve", debit, gated, release);
        let participant = builder.connect().await.unwrap();
        let hasty = self::builder(&bank).lock_timeout(Duration::from_millis(50));
        let hasty = hasty.connect().await.unwrap();
        let gtid = fresh();
        is_yes(&prepare(&participant, &reserve(gtid, 30)).await);
        let first = tokio::spawn({
            let participant = participant.clone();
            async move { confirm(&participant, gtid).await }
        });
        gate.arrived.acquire().await.unwrap().forget();
        assert_eq!(cancel(&hasty, gtid).await, BranchEnd::InProgress);
        let second = tokio::spawn({
            let participant = participant.clone();
            async move { cancel(&participant, gtid).await }
        });
        gate.go_on.add_permits(1);
        assert_eq!(first.await.unwrap(), COMMITTED);
        assert_eq!(second.await.unwrap(), COMMITTED);
        assert_eq!(both(&bank).await, (70, 100));
    }
}

#[tokio::test]
async fn confirm_that_fails_stores_nothing_and_is_asked_for_again() {
    async fn picky(branch: &mut Branch, _: Debit, _: Option<i64>) -> Result<(), Refusal> {
        let open: Option<(i32,)> = sqlx::query_as("select id from owner")
            .fetch_optional(branch.connection())
            .await?;
        open.map(drop)
            .ok_or_else(|| Refusal::new("closed", "not today"))
    }
    async fn panics(_: &mut Branch, _: Debit, _: Option<i64>) -> Result<(), Refusal> {
        panic!("on purpose")
    }
    let bank = bank().await;
    let builder = bank.builder().tcc("reserve", debit, picky, panics);
    let participant = builder.connect().await.unwrap();
    let gtid = fresh();
    is_yes(&prepare(&participant, &reserve(gtid, 30)).await);
    for (verb, part) in [
        (FinishVerb::Confirm, "not today"),
        (FinishVerb::Cancel, "panicked"),
    ] {
        let mut end = end(&participant, gtid, verb).await;
        while end == BranchEnd::InProgress {
            end = self::end(&participant, gtid, verb).await;
        }
        let BranchEnd::RetryLater { reason } = end else {
            panic!("{verb:?}: {end:?}")
        };
        assert!(reason.contains(part), "{reason}");
        assert_eq!(bank.rows(gtid).await, ["try done"]);
    }
    let mut unknown = tcc_order(gtid, FinishVerb::Confirm, 30);
    unknown.work.as_mut().unwrap().operation = "of_tomorrow".parse().unwrap();
    let reply = finish_many(&participant, vec![unknown]).await;
    assert!(matches!(reply.answers[0].end, BranchEnd::RetryLater { .. }));
    bank.run("insert into owner values (1)").await;
    let mut end = confirm(&participant, gtid).await;
    while end == BranchEnd::InProgress {
        end = confirm(&participant, gtid).await;
    }
    assert_eq!(end, COMMITTED);
}

#[tokio::test]
async fn one_call_ends_branches_of_every_kind() {
    let bank = bank().await;
    let participant = builder(&bank).connect().await.unwrap();
    let (prepared, sealed, good, gone) = (fresh(), fresh(), fresh(), fresh());
    is_yes(&prepare(&participant, &debit_call(prepared, 1)).await);
    assert_eq!(commit(&participant, prepared).await, COMMITTED);
    let orders = vec![
        tcc_order(good, FinishVerb::Confirm, 10),
        order(sealed, FinishVerb::Abort),
        tcc_order(gone, FinishVerb::Cancel, 10),
        order(prepared, FinishVerb::Commit),
    ];
    for gtid in [good, gone] {
        is_yes(&prepare(&participant, &reserve(gtid, 10)).await);
    }
    for _ in 0..2 {
        let reply = finish_many(&participant, orders.clone()).await;
        assert_eq!(reply.identity.starts, 1);
        for answer in reply.answers {
            let committed = answer.gtid == good || answer.gtid == prepared;
            let expected = match committed {
                true => COMMITTED,
                false => BranchEnd::Aborted,
            };
            assert_eq!(answer.end, expected);
        }
        assert_eq!(both(&bank).await, (89, 110));
    }
}

#[tokio::test]
async fn order_that_cannot_be_carried_out_keeps_no_other_from_its_end() {
    let bank = bank().await;
    let participant = builder(&bank).connect().await.unwrap();
    let (prepared, reserved) = (fresh(), fresh());
    is_yes(&prepare(&participant, &reserve(reserved, 10)).await);
    is_yes(&prepare(&participant, &debit_call(prepared, 1)).await);
    let work = |payload: serde_json::Value| {
        let payload = Json::from_value(&payload).unwrap();
        Some(Work { operation: "reserve".parse().unwrap(), payload })
    };
    let faulty = |verb, work| FinishOrder { work, ..order(fresh(), verb) };
    let large = || work(json!("x".repeat(64 * 1024)));
    let cases = [
        (faulty(FinishVerb::Confirm, large()), "at most 65536"),
        (faulty(FinishVerb::Cancel, large()), "at most 65536"),
    ];
    let mut orders: Vec<_> = cases.iter().map(|(order, _)| order.clone()).collect();
    orders.push(tcc_order(reserved, FinishVerb::Confirm, 10));
    orders.push(order(prepared, FinishVerb::Commit));
    let reply = finish_many(&participant, orders).await;
    assert_eq!(reply.answers.len(), 4);
    let end = |gtid| {
        let answer = reply.answers.iter().find(|answer| answer.gtid == gtid);
        answer.unwrap().end.clone()
    };
    assert_eq!(end(prepared), COMMITTED);
    assert_eq!(end(reserved), COMMITTED);
    for (order, part) in cases {
        let BranchEnd::RetryLater { reason } = end(order.gtid) else {
            panic!("{part}: {:?}", end(order.gtid))
        };
        assert!(reason.contains(part), "{reason}");
        assert!(bank.rows(order.gtid).await.is_empty(), "{part}");
    }
}

#[tokio::test]
async fn commit_does_not_wait_for_the_confirms_of_its_call() {
    async fn gated(branch: &mut Branch, _: Debit, _: Option<i64>) -> Result<(), Refusal> {
        let gate = branch.state::<Arc<Gate>>()?;
        gate.arrived.add_permits(1);
        gate.go_on.acquire().await.unwrap().forget();
        Ok(())
    }
    let bank = bank().await;
    let gate = Arc::new(Gate { arrived: Semaphore::new(0), go_on: Semaphore::new(0) });
    let builder = bank.builder().state(Arc::clone(&gate));
    let builder = builder.tcc("reserve", debit, gated, release);
    let participant = builder.connect().await.unwrap();
    let (prepared, reserved) = (fresh(), [(); 12].map(|()| fresh()));
    for gtid in reserved {
        is_yes(&prepare(&participant, &reserve(gtid, 1)).await);
    }
    is_yes(&prepare(&participant, &debit_call(prepared, 1)).await);
    let confirms = reserved.map(|gtid| tcc_order(gtid, FinishVerb::Confirm, 1));
    let mut orders = confirms.to_vec();
    orders.push(order(prepared, FinishVerb::Commit));
    // The confirms cannot end before the reply has come.
    let reply = finish_many(&participant, orders).await;
    assert_eq!(reply.answers.len(), 13);
    for answer in reply.answers {
        let expected = match answer.gtid == prepared {
            true => COMMITTED,
            false => BranchEnd::InProgress,
        };
        assert_eq!(answer.end, expected);
    }
    assert_eq!(both(&bank).await, (87, 100));
    // They have gone on, and each takes effect once.
    gate.go_on.add_permits(100);
    loop {
        let reply = finish_many(&participant, confirms.to_vec()).await;
        if reply.answers.iter().all(|it| it.end == COMMITTED) {
            break;
        }
        let ended =
            |end: &BranchEnd| matches!(end, BranchEnd::Aborted | BranchEnd::RetryLater { .. });
        assert!(!reply.answers.iter().any(|it| ended(&it.end)), "{reply:?}");
    }
    assert_eq!(gate.arrived.available_permits(), 12);
}

#[tokio::test]
async fn reservation_below_the_floor_is_left_alone() {
    let bank = bank().await;
    let participant = builder(&bank).connect().await.unwrap();
    let (old, never) = (minted_at(now_ms() - 90_000), minted_at(now_ms() - 80_000));
    is_yes(&prepare(&participant, &reserve(old, 30)).await);
    let mut carrier = tcc_order(fresh(), FinishVerb::Cancel, 30);
    carrier.watermark = Timestamp::from_millis(now_ms() - 50_000);
    finish_many(&participant, vec![carrier]).await;
    participant.retain_once().await.unwrap();
    for gtid in [old, never] {
        for verb in [FinishVerb::Confirm, FinishVerb::Cancel] {
            let end = end(&participant, gtid, verb).await;
            assert!(matches!(end, BranchEnd::RetryLater { .. }), "{end:?}");
        }
    }
    let (status, _) = try_prepare(&participant, &reserve(never, 1))
        .await
        .unwrap_err();
    assert_eq!(status.as_u16(), 410);
    assert_eq!(bank.rows(old).await, ["try done"]);
    assert!(bank.rows(never).await.is_empty());
    assert_eq!(both(&bank).await, (70, 100));
}
