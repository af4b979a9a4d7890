//! Actions and their compensations: each takes effect once at most, and no act after its
//! compensation.

use std::sync::Arc;
use std::time::Duration;

use accordant_participant::protocol::id::{Attempt, Epoch};
use accordant_participant::protocol::wire::contract::ActAnswer;
use accordant_participant::protocol::wire::contract::ActVerb::{Act, Compensate};
use accordant_participant::{Branch, Builder, Refusal, StartError};
use serde_json::{Value, json};
use sqlx::Row as _;
use tokio::sync::Semaphore;

use crate::support::{
    Bank, act, act_call, bank, debit, fresh, is_done, is_later, is_refused, refund, spend, try_act,
    until,
};

pub(crate) const SPEND: &str = "update account set cents = cents - 30 where id = 1";

#[tokio::test]
async fn repeated_act_takes_effect_once_and_gives_the_first_result() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let mut call = spend(fresh(), Act, 30);
    call.epoch = Epoch(7);
    is_done(&act(&participant, &call).await, Some("70"));
    bank.run("update account set cents = 55 where id = 1").await;
    call.attempt = Attempt(2);
    let reply = try_act(&participant, &call).await.unwrap();
    is_done(&reply.answer, Some("70"));
    assert_eq!(reply.attempt, Attempt(2));
    assert_eq!(reply.identity.starts, 1);
    assert_eq!(bank.cents().await, 55);
    let row = sqlx::query("select op, state, result, epoch from accordant.branch");
    let row = row.fetch_one(&mut bank.admin().await).await.unwrap();
    assert_eq!(row.get::<String, _>("op"), "act");
    assert_eq!(row.get::<String, _>("result"), "70");
    assert_eq!(row.get::<i64, _>("epoch"), 7);
}

#[tokio::test]
async fn refusal_is_durable_and_says_the_same_for_ever() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let call = spend(fresh(), Act, 300);
    let first = act(&participant, &call).await;
    is_refused(&first, "insufficient_funds");
    assert_eq!(bank.rows(call.gtid).await, ["act skipped"]);
    // Now the account covers it, and a late repeat must not take it.
    bank.run("update account set cents = 1000 where id = 1")
        .await;
    assert_eq!(act(&participant, &call).await, first);
    let undo = spend(call.gtid, Compensate, 300);
    is_done(&act(&participant, &undo).await, None);
    assert_eq!(act(&participant, &call).await, first);
    assert_eq!(bank.rows(call.gtid).await, ["act skipped"]);
    assert_eq!(bank.cents().await, 1000);
}

#[tokio::test]
async fn nothing_of_a_refused_handler_remains() {
    async fn refuses(branch: &mut Branch, (): ()) -> Result<(), Refusal> {
        sqlx::query(SPEND).execute(branch.connection()).await?;
        Err(Refusal::new("no", "changed my mind").retryable())
    }
    let bank = bank().await;
    let builder = bank.builder().pivot("refuses", refuses);
    let participant = builder.connect().await.unwrap();
    let call = act_call(fresh(), Act, "refuses", json!(null));
    is_refused(&act(&participant, &call).await, "no");
    assert_eq!(bank.cents().await, 100);
}

#[tokio::test]
async fn compensation_gets_payload_and_result_and_takes_effect_once() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let gtid = fresh();
    is_done(&act(&participant, &spend(gtid, Act, 30)).await, Some("70"));
    for _ in 0..3 {
        let undone = act(&participant, &spend(gtid, Compensate, 30)).await;
        is_done(&undone, Some("70"));
        assert_eq!(bank.cents().await, 100);
    }
    assert_eq!(bank.rows(gtid).await, ["act done", "compensate done"]);
    // A late repeat of the act is told what was, and does nothing.
    is_done(&act(&participant, &spend(gtid, Act, 30)).await, Some("70"));
    assert_eq!(bank.cents().await, 100);
}

#[tokio::test]
async fn compensation_of_what_never_came_runs_nothing_and_keeps_it_out() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let gtid = fresh();
    for _ in 0..2 {
        is_done(&act(&participant, &spend(gtid, Compensate, 30)).await, None);
        assert_eq!(bank.rows(gtid).await, ["act skipped", "compensate done"]);
    }
    for _ in 0..2 {
        let late = act(&participant, &spend(gtid, Act, 30)).await;
        is_refused(&late, "accordant.too_late");
    }
    assert_eq!(bank.cents().await, 100);
}

/// Lets a handler stop in the middle until a test lets it go on.
struct Gate {
    arrived: Semaphore,
    go_on: Semaphore,
}

async fn gated(branch: &mut Branch, (): ()) -> Result<i64, Refusal> {
    sqlx::query(SPEND).execute(branch.connection()).await?;
    let gate = branch.state::<Arc<Gate>>()?;
    gate.arrived.add_permits(1);
    gate.go_on.acquire().await.unwrap().forget();
    Ok(5)
}

async fn give_back(branch: &mut Branch, (): (), result: Option<i64>) -> Result<(), Refusal> {
    assert_eq!(result, Some(5));
    let sql = "update account set cents = cents + 30 where id = 1";
    sqlx::query(sql).execute(branch.connection()).await?;
    Ok(())
}

fn with_gate(builder: Builder) -> (Builder, Arc<Gate>) {
    let gate = Arc::new(Gate { arrived: Semaphore::new(0), go_on: Semaphore::new(0) });
    let builder = builder
        .state(Arc::clone(&gate))
        .action("gated", gated, give_back);
    (builder, gate)
}

async fn compensation_meets_a_running_act(bank: Bank) {
    let (builder, gate) = with_gate(bank.builder());
    let participant = builder.connect().await.unwrap();
    let call = act_call(fresh(), Act, "gated", json!(null));
    let first = tokio::spawn({
        let (participant, call) = (participant.clone(), call.clone());
        async move { act(&participant, &call).await }
    });
    gate.arrived.acquire().await.unwrap().forget();
    let undo = act_call(call.gtid, Compensate, "gated", json!(null));
    // One that does not wait for long is told so; another waits, and then makes good.
    let (builder, _) = with_gate(bank.builder());
    let builder = builder.lock_timeout(Duration::from_millis(50));
    let hasty = builder.connect().await.unwrap();
    let told = act(&hasty, &undo).await;
    assert_eq!(told, ActAnswer::InProgress { retry_after_ms: None });
    let waiting = tokio::spawn({
        let (participant, undo) = (participant.clone(), undo.clone());
        async move { act(&participant, &undo).await }
    });
    until("it waits at the barrier", || async {
        bank.waiting_for_locks().await == 1
    })
    .await;
    gate.go_on.add_permits(1);
    is_done(&first.await.unwrap(), Some("5"));
    is_done(&waiting.await.unwrap(), None);
    assert_eq!(bank.cents().await, 100);
    assert_eq!(bank.rows(call.gtid).await, ["act done", "compensate done"]);
}

#[tokio::test]
async fn compensation_waits_for_an_act_that_is_at_work() {
    compensation_meets_a_running_act(bank().await).await;
}

#[tokio::test]
async fn compensation_sees_the_act_that_it_waited_for_at_any_isolation_level() {
    for level in ["repeatable read", "serializable"] {
        let bank = bank().await;
        isolate(&bank, level).await;
        compensation_meets_a_running_act(bank).await;
    }
}

async fn isolate(bank: &Bank, level: &str) {
    bank.run(&format!(
        "do $$ begin execute format(
            'alter database %I set default_transaction_isolation = ''{level}''', current_database()
        ); end $$"
    ))
    .await;
}

#[tokio::test]
async fn attempts_at_the_same_time_are_one_execution() {
    for level in ["read committed", "serializable"] {
        let bank = bank().await;
        isolate(&bank, level).await;
        let (one, two) = (bank.participant().await, bank.participant().await);
        let call = spend(fresh(), Act, 10);
        let attempts = (0..8).map(|nr| {
            let (one, two, call) = (one.clone(), two.clone(), call.clone());
            tokio::spawn(async move {
                let participant = if nr % 2 == 0 { one } else { two };
                act(&participant, &call).await
            })
        });
        for attempt in attempts.collect::<Vec<_>>() {
            let answer = attempt.await.unwrap();
            match &answer {
                ActAnswer::Done { .. } => is_done(&answer, Some("90")),
                ActAnswer::InProgress { .. } | ActAnswer::RetryLater { .. } => {}
                ActAnswer::Refused { .. } | _ => panic!("{answer:?}"),
            }
        }
        is_done(&act(&one, &call).await, Some("90"));
        assert_eq!(bank.cents().await, 90, "{level}");
    }
}

#[tokio::test]
async fn act_and_compensation_at_the_same_time_leave_no_half() {
    let bank = bank().await;
    let participant = bank.participant().await;
    for _ in 0..20 {
        let gtid = fresh();
        let (go, undo) = (spend(gtid, Act, 10), spend(gtid, Compensate, 10));
        let (acted, undone) = tokio::join!(act(&participant, &go), act(&participant, &undo));
        assert!(matches!(undone, ActAnswer::Done { .. }), "{undone:?}");
        if !matches!(acted, ActAnswer::Done { .. }) {
            is_refused(&acted, "accordant.too_late");
        }
        assert_eq!(bank.cents().await, 100);
    }
}

#[tokio::test]
async fn passing_error_is_never_a_refusal_and_stores_nothing() {
    let bank = bank().await;
    let participant = bank.participant().await;
    for code in ["40001", "40P01", "55P03", "53200", "57014"] {
        let sql = format!("do $$ begin raise exception using errcode = '{code}'; end $$");
        let call = act_call(fresh(), Act, "sql", json!(sql));
        let told = act(&participant, &call).await;
        let ActAnswer::RetryLater { reason } = told else {
            panic!("{code}: {told:?}")
        };
        assert!(
            reason.contains(code) || reason.contains("connection"),
            "{reason}"
        );
        assert!(bank.rows(call.gtid).await.is_empty(), "{code}");
    }
    let cut = json!("select pg_terminate_backend(pg_backend_pid())");
    let call = act_call(fresh(), Act, "sql", cut);
    is_later(&act(&participant, &call).await, "");
    assert!(bank.rows(call.gtid).await.is_empty());
    // What a repeat would meet again is a refusal.
    let call = act_call(fresh(), Act, "sql", json!("update account set cents = -1"));
    is_refused(&act(&participant, &call).await, "accordant.constraint");
    assert_eq!(bank.rows(call.gtid).await, ["act skipped"]);
}

#[tokio::test]
async fn row_lock_that_is_not_granted_is_asked_for_again() {
    let bank = bank().await;
    let builder = bank.builder().lock_timeout(Duration::from_millis(50));
    let participant = builder.connect().await.unwrap();
    let mut holder = bank.admin().await;
    sqlx::raw_sql("begin; update account set cents = cents where id = 1")
        .execute(&mut holder)
        .await
        .unwrap();
    let call = spend(fresh(), Act, 30);
    is_later(&act(&participant, &call).await, "accordant.lock_timeout");
    assert!(bank.rows(call.gtid).await.is_empty());
    sqlx::raw_sql("rollback")
        .execute(&mut holder)
        .await
        .unwrap();
    is_done(&act(&participant, &call).await, Some("70"));
}

#[tokio::test]
async fn what_only_the_commit_refuses_is_refused_for_good() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let orphan = json!("insert into pet values (7)");
    let call = act_call(fresh(), Act, "sql", orphan);
    is_refused(&act(&participant, &call).await, "accordant.constraint");
    bank.run("insert into owner values (7)").await;
    is_refused(&act(&participant, &call).await, "accordant.constraint");
    let passed_over = act_call(fresh(), Act, "blind", json!("select 1/0"));
    let builder = bank.builder();
    let builder = builder.pivot("blind", crate::support::run_sql_blindly);
    let participant = builder.connect().await.unwrap();
    let answer = act(&participant, &passed_over).await;
    is_refused(&answer, "accordant.failed_transaction");
    assert_eq!(bank.rows(passed_over.gtid).await, ["act skipped"]);
}

#[tokio::test]
async fn payload_and_result_that_do_not_fit_are_refused() {
    async fn large(_: &mut Branch, (): ()) -> Result<String, Refusal> {
        Ok("x".repeat(16 * 1024))
    }
    let bank = bank().await;
    let builder = bank.builder().pivot("large", large);
    let participant = builder.connect().await.unwrap();
    for (operation, payload, code) in [
        ("debit", json!({"account": "one"}), "accordant.payload"),
        ("large", json!(null), "accordant.result_too_large"),
    ] {
        let call = act_call(fresh(), Act, operation, payload);
        is_refused(&act(&participant, &call).await, code);
        assert_eq!(bank.rows(call.gtid).await, ["act skipped"]);
    }
    // A compensation by other types than the act's can be mended.
    let gtid = fresh();
    is_done(&act(&participant, &spend(gtid, Act, 30)).await, Some("70"));
    bank.run("update accordant.branch set result = '\"seventy\"' where state = 'done'")
        .await;
    let undo = spend(gtid, Compensate, 30);
    is_refused(&act(&participant, &undo).await, "accordant.result");
    bank.run("update accordant.branch set result = '70' where state = 'done'")
        .await;
    is_done(&act(&participant, &undo).await, Some("70"));
}

#[tokio::test]
async fn work_that_goes_on_elsewhere_stores_nothing_until_it_is_done() {
    async fn slow(branch: &mut Branch, (): ()) -> Result<i64, Refusal> {
        let done: Option<(i32,)> = sqlx::query_as("select id from owner")
            .fetch_optional(branch.connection())
            .await?;
        sqlx::query(SPEND).execute(branch.connection()).await?;
        match done {
            Some((id,)) => Ok(id.into()),
            None => Err(Refusal::in_progress(Some(Duration::from_secs(7)))),
        }
    }
    let bank = bank().await;
    let builder = bank.builder().message("slow", slow);
    let participant = builder.connect().await.unwrap();
    let call = act_call(fresh(), Act, "slow", json!(null));
    for _ in 0..2 {
        let told = act(&participant, &call).await;
        assert_eq!(told, ActAnswer::InProgress { retry_after_ms: Some(7000) });
        assert!(bank.rows(call.gtid).await.is_empty());
    }
    assert_eq!(bank.cents().await, 100);
    bank.run("insert into owner values (9)").await;
    is_done(&act(&participant, &call).await, Some("9"));
    assert_eq!(bank.cents().await, 70);
}

#[tokio::test]
async fn panic_is_a_refusal_and_a_deadline_is_not() {
    async fn panics(branch: &mut Branch, (): ()) -> Result<(), Refusal> {
        sqlx::query(SPEND).execute(branch.connection()).await?;
        panic!("on purpose")
    }
    async fn hangs(branch: &mut Branch, (): ()) -> Result<(), Refusal> {
        sqlx::query(SPEND).execute(branch.connection()).await?;
        std::future::pending().await
    }
    let bank = bank().await;
    let builder = bank.builder().pivot("panics", panics);
    let participant = builder.pivot("hangs", hangs).connect().await.unwrap();
    let call = act_call(fresh(), Act, "panics", json!(null));
    let mut answer = act(&participant, &call).await;
    while matches!(answer, ActAnswer::InProgress { .. }) {
        answer = act(&participant, &call).await;
    }
    is_refused(&answer, "accordant.handler_panicked");
    let mut call = act_call(fresh(), Act, "hangs", json!(null));
    call.deadline = call.gtid.minted().plus_millis(300);
    is_later(&act(&participant, &call).await, "deadline");
    is_later(&act(&participant, &call).await, "deadline");
    until("rolled back", || async {
        bank.open_transactions().await == 0
    })
    .await;
    assert!(bank.rows(call.gtid).await.is_empty());
    assert_eq!(bank.cents().await, 100);
}

#[tokio::test]
async fn handler_that_ends_its_transaction_is_answered_by_what_it_left() {
    let bank = bank().await;
    let participant = bank.participant().await;
    // It has committed its own barrier: it is done, once.
    let call = act_call(fresh(), Act, "sql", json!(format!("{SPEND}; commit")));
    is_done(&act(&participant, &call).await, None);
    is_done(&act(&participant, &call).await, None);
    assert_eq!(bank.cents().await, 70);
    let sql = format!("rollback; begin; {SPEND}");
    let call = act_call(fresh(), Act, "sql", json!(sql));
    for _ in 0..2 {
        let answer = act(&participant, &call).await;
        is_refused(&answer, "accordant.handler_ended_transaction");
    }
    assert_eq!(bank.cents().await, 70);
}

#[tokio::test]
async fn notice_of_an_act_is_sent_and_its_session_is_clean() {
    let bank = bank().await;
    let participant = bank.builder().connections_max(1).connect().await.unwrap();
    let sql = "set search_path = nowhere; listen news; select pg_advisory_lock(99);
        create temporary table account (id int); notify news";
    for _ in 0..2 {
        let call = act_call(fresh(), Act, "sql", json!(sql));
        is_done(&act(&participant, &call).await, None);
    }
    is_done(
        &act(&participant, &spend(fresh(), Act, 30)).await,
        Some("70"),
    );
    assert_eq!(bank.cents().await, 70);
}

#[tokio::test]
async fn act_beyond_the_connections_is_told_to_come_later() {
    let bank = bank().await;
    let (builder, gate) = with_gate(bank.builder().connections_max(1));
    let participant = builder.connect().await.unwrap();
    let call = act_call(fresh(), Act, "gated", json!(null));
    let first = tokio::spawn({
        let (participant, call) = (participant.clone(), call.clone());
        async move { act(&participant, &call).await }
    });
    gate.arrived.acquire().await.unwrap().forget();
    let told = act(&participant, &spend(fresh(), Act, 1)).await;
    is_later(&told, "every branch connection");
    gate.go_on.add_permits(1);
    is_done(&first.await.unwrap(), Some("5"));
}

#[tokio::test]
async fn one_name_stands_for_one_handler_of_each_kind() {
    let bank = bank().await;
    let builder = bank.builder().message("debit", debit);
    let refused = builder.connect().await.unwrap_err();
    assert!(matches!(refused, StartError::Twice(_)), "{refused}");
    let builder = bank.builder().action("", debit, refund);
    let refused = builder.connect().await.unwrap_err();
    assert!(matches!(refused, StartError::Name { .. }), "{refused}");
}

#[tokio::test]
async fn closures_are_follow_ups_too() {
    let bank = bank().await;
    let builder = bank.builder().action(
        "count",
        async |_: &mut Branch, _: Value| Ok(3_i64),
        async |_: &mut Branch, _: Value, result: Option<i64>| Ok(result),
    );
    let participant = builder.connect().await.unwrap();
    let gtid = fresh();
    let call = |verb| act_call(gtid, verb, "count", json!({}));
    is_done(&act(&participant, &call(Act)).await, Some("3"));
    is_done(&act(&participant, &call(Compensate)).await, Some("3"));
}
