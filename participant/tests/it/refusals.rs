//! What becomes of a no, by the kind of its handler: what is stored for good, what an operator is
//! called for, and what a handler leaves that ends its transaction by itself.

use accordant_participant::protocol::wire::contract::ActAnswer;
use accordant_participant::protocol::wire::contract::ActVerb::{Act, Compensate};
use accordant_participant::{Branch, Refusal};
use serde_json::{Value, json};

use crate::actions::SPEND;
use crate::support::{
    Bank, act, act_call, bank, debit, fresh, is_done, is_later, is_refused, spend,
};

#[tokio::test]
async fn compensation_that_refuses_stores_nothing_and_runs_again() {
    async fn picky(branch: &mut Branch, (): (), _: Option<()>) -> Result<(), Refusal> {
        let open: Option<(i32,)> = sqlx::query_as("select id from owner")
            .fetch_optional(branch.connection())
            .await?;
        sqlx::query(SPEND).execute(branch.connection()).await?;
        match open {
            Some(_) => Ok(()),
            None => Err(Refusal::new("closed", "not today")),
        }
    }
    async fn idle(_: &mut Branch, (): ()) -> Result<(), Refusal> {
        Ok(())
    }
    let bank = bank().await;
    let builder = bank.builder().action("picky", idle, picky);
    let participant = builder.connect().await.unwrap();
    let gtid = fresh();
    is_done(
        &act(&participant, &act_call(gtid, Act, "picky", json!(null))).await,
        None,
    );
    let undo = act_call(gtid, Compensate, "picky", json!(null));
    for _ in 0..2 {
        is_refused(&act(&participant, &undo).await, "closed");
        assert_eq!(bank.rows(gtid).await, ["act done"]);
        assert_eq!(bank.cents().await, 100);
    }
    bank.run("insert into owner values (1)").await;
    is_done(&act(&participant, &undo).await, None);
    assert_eq!(bank.cents().await, 70);
}

#[tokio::test]
async fn message_is_done_once_and_cannot_be_refused_or_made_good() {
    let bank = bank().await;
    let builder = bank.builder().message("pay", debit);
    let participant = builder.connect().await.unwrap();
    let pay =
        |gtid, verb, cents| act_call(gtid, verb, "pay", json!({"account": 1, "cents": cents}));
    let gtid = fresh();
    is_done(&act(&participant, &pay(gtid, Act, 30)).await, Some("70"));
    is_done(&act(&participant, &pay(gtid, Act, 30)).await, Some("70"));
    let undo = act(&participant, &pay(gtid, Compensate, 30)).await;
    is_refused(&undo, "accordant.no_compensation");
    assert_eq!(bank.cents().await, 70);
    // What it says no to waits for an operator, and can be done then.
    let poor = pay(fresh(), Act, 300);
    for _ in 0..2 {
        is_refused(&act(&participant, &poor).await, "insufficient_funds");
        assert!(bank.rows(poor.gtid).await.is_empty());
    }
    bank.run("update account set cents = 300 where id = 1")
        .await;
    is_done(&act(&participant, &poor).await, Some("0"));
    // What never came needs no compensation.
    let never = fresh();
    is_done(&act(&participant, &pay(never, Compensate, 1)).await, None);
    let late = act(&participant, &pay(never, Act, 1)).await;
    is_refused(&late, "accordant.too_late");
}

/// Refuses, panics, or is done, as its payload says.
async fn moody(branch: &mut Branch, mood: String) -> Result<String, Refusal> {
    sqlx::query(SPEND).execute(branch.connection()).await?;
    match mood.as_str() {
        "refuse" => Err(Refusal::new("no", "not today")),
        "panic" => panic!("on purpose"),
        "talk" => Ok("x".repeat(16 * 1024)),
        _ => Ok(mood),
    }
}

async fn mended(_: &mut Branch, _: Value) -> Result<(), Refusal> {
    Ok(())
}

/// What a service answers of which a version is bad, and what it answers once that is mended.
async fn no_of_each_kind(bank: &Bank, kind: &str) -> Vec<(String, Vec<String>, ActAnswer)> {
    async fn undo<P: Send, R: Send>(_: &mut Branch, _: P, _: Option<R>) -> Result<(), Refusal> {
        Ok(())
    }
    let builder = bank.builder();
    let bad = match kind {
        "action" => builder.action("moody", moody, undo::<String, String>),
        "pivot" => builder.pivot("moody", moody),
        _ => builder.retriable("moody", moody),
    };
    let builder = bank.builder();
    let good = match kind {
        "action" => builder.action("moody", mended, undo::<Value, ()>),
        "pivot" => builder.pivot("moody", mended),
        _ => builder.retriable("moody", mended),
    };
    let (bad, good) = (bad.connect().await.unwrap(), good.connect().await.unwrap());
    let mut answers = Vec::new();
    for payload in [
        json!("refuse"),
        json!("panic"),
        json!({"not": "text"}),
        json!("talk"),
    ] {
        let call = act_call(fresh(), Act, "moody", payload);
        let mut codes = Vec::new();
        while codes.len() < 2 {
            match act(&bad, &call).await {
                ActAnswer::Refused { refusal } => codes.push(refusal.code),
                // The session of a handler that panicked ends when the server notices.
                ActAnswer::InProgress { .. } => {}
                answer @ (ActAnswer::Done { .. } | ActAnswer::RetryLater { .. } | _) => {
                    panic!("{kind}: {answer:?}")
                }
            }
        }
        assert_eq!(codes[0], codes[1], "{kind}");
        assert_eq!(bank.cents().await, 100, "{kind}");
        let rows = bank.rows(call.gtid).await;
        answers.push((codes.remove(0), rows, act(&good, &call).await));
    }
    answers
}

const NOES: [&str; 4] = [
    "no",
    "accordant.handler_panicked",
    "accordant.payload",
    "accordant.result_too_large",
];

#[tokio::test]
async fn no_of_an_action_or_a_pivot_is_stored_and_stands_whatever_comes_later() {
    for kind in ["action", "pivot"] {
        let answers = no_of_each_kind(&bank().await, kind).await;
        for ((code, rows, later), expected) in answers.into_iter().zip(NOES) {
            assert_eq!(code, expected, "{kind}");
            assert_eq!(rows, ["act skipped"], "{kind}");
            is_refused(&later, expected);
        }
    }
}

#[tokio::test]
async fn no_of_a_retriable_step_calls_an_operator_and_is_done_once_its_service_is_mended() {
    let answers = no_of_each_kind(&bank().await, "retriable").await;
    for ((code, rows, later), expected) in answers.into_iter().zip(NOES) {
        assert_eq!(code, expected);
        assert!(rows.is_empty(), "{expected}: {rows:?}");
        is_done(&later, None);
    }
}

#[tokio::test]
async fn message_or_compensation_that_ends_its_transaction_is_answered_by_what_it_left() {
    async fn commits(branch: &mut Branch, sql: String, _: Option<()>) -> Result<(), Refusal> {
        crate::support::run_sql(branch, sql).await
    }
    async fn idle(_: &mut Branch, _: String) -> Result<(), Refusal> {
        Ok(())
    }
    async fn commits_and_refuses(branch: &mut Branch, sql: String) -> Result<(), Refusal> {
        crate::support::run_sql(branch, sql).await?;
        Err(Refusal::new("no", "too late to say so"))
    }
    let bank = bank().await;
    let builder = bank.builder().message("post", crate::support::run_sql);
    let builder = builder.message("regret", commits_and_refuses);
    let builder = builder.action("undo", idle, commits);
    let participant = builder.connect().await.unwrap();
    let committed = json!(format!("{SPEND}; commit"));
    let lost = json!(format!("rollback; begin; {SPEND}"));
    let mut cents = 100;
    for operation in ["post", "regret"] {
        let call = act_call(fresh(), Act, operation, committed.clone());
        cents -= 30;
        for _ in 0..2 {
            is_done(&act(&participant, &call).await, None);
            assert_eq!(bank.cents().await, cents, "{operation}");
        }
    }
    let call = act_call(fresh(), Act, "post", lost.clone());
    let answer = act(&participant, &call).await;
    is_refused(&answer, "accordant.handler_ended_transaction");
    assert!(bank.rows(call.gtid).await.is_empty());
    bank.run("update account set cents = 100 where id = 1")
        .await;
    for (payload, is_there) in [(committed, true), (lost, false)] {
        let gtid = fresh();
        let call = |verb| act_call(gtid, verb, "undo", payload.clone());
        is_done(&act(&participant, &call(Act)).await, None);
        let undone = act(&participant, &call(Compensate)).await;
        match is_there {
            true => is_done(&undone, None),
            false => is_refused(&undone, "accordant.handler_ended_transaction"),
        }
    }
    assert_eq!(bank.cents().await, 70);
}

#[tokio::test]
async fn unknown_operation_is_asked_for_again_and_compensated_if_it_never_came() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let call = act_call(fresh(), Act, "of_tomorrow", json!(1));
    is_later(&act(&participant, &call).await, "of_tomorrow");
    assert!(bank.rows(call.gtid).await.is_empty());
    // The version that has it does it, whatever it is to the plan.
    for kind in ["action", "pivot", "retriable"] {
        let waiting = act_call(fresh(), Act, "of_tomorrow", json!(1));
        is_later(&act(&participant, &waiting).await, "of_tomorrow");
        let builder = bank.builder();
        let tomorrow = match kind {
            "action" => builder.action(
                "of_tomorrow",
                mended,
                async |_: &mut Branch, _: Value, _: Option<()>| Ok(()),
            ),
            "pivot" => builder.pivot("of_tomorrow", mended),
            _ => builder.retriable("of_tomorrow", mended),
        };
        is_done(
            &act(&tomorrow.connect().await.unwrap(), &waiting).await,
            None,
        );
    }
    let undo = act_call(call.gtid, Compensate, "of_tomorrow", json!(1));
    is_done(&act(&participant, &undo).await, None);
    // One that is done by a later version waits for it.
    let gtid = fresh();
    is_done(&act(&participant, &spend(gtid, Act, 30)).await, Some("70"));
    let undo = act_call(gtid, Compensate, "of_tomorrow", json!(1));
    is_later(&act(&participant, &undo).await, "of_tomorrow");
    assert_eq!(bank.rows(gtid).await, ["act done"]);
}
