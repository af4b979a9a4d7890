//! Races, crashes and other people: two attempts, an abort in the middle, branches ended by hand,
//! a server that is killed.

use std::sync::Arc;
use std::time::Duration;

use accordant_participant::protocol::wire::contract::{BranchEnd, FinishVerb, Vote};
use accordant_participant::{Branch, Participant, Refusal, StartError};
use accordant_testbed_postgres::Postgres;
use serde_json::json;
use sqlx::{Connection as _, Row as _};
use tokio::sync::Semaphore;

use crate::support::{
    Bank, COMMITTED, abort, bank, call, commit, debit_call, finish_many, fresh, gid, is_yes, order,
    prepare, refusal_code, result_of, start, try_prepare, until,
};

const SPEND: &str = "update account set cents = cents - 30 where id = 1";

/// Lets a handler stop in the middle until a test lets it go on.
struct Gate {
    arrived: Semaphore,
    go_on: Semaphore,
}

async fn gated(branch: &mut Branch, (): ()) -> Result<(), Refusal> {
    sqlx::query(SPEND).execute(branch.connection()).await?;
    let gate = branch.state::<Arc<Gate>>()?;
    gate.arrived.add_permits(1);
    gate.go_on.acquire().await.unwrap().forget();
    Ok(())
}

async fn gated_participant(bank: &Bank) -> (Participant, Arc<Gate>) {
    let gate = Arc::new(Gate { arrived: Semaphore::new(0), go_on: Semaphore::new(0) });
    let builder = bank
        .builder()
        .state(Arc::clone(&gate))
        .operation("gated", gated);
    (builder.connect().await.unwrap(), gate)
}

#[tokio::test]
async fn second_attempt_while_the_first_works_is_told_so() {
    let bank = bank().await;
    let (participant, gate) = gated_participant(&bank).await;
    let order = call(fresh(), "gated", json!(null));
    let first = tokio::spawn({
        let (participant, order) = (participant.clone(), order.clone());
        async move { prepare(&participant, &order).await }
    });
    gate.arrived.acquire().await.unwrap().forget();
    let second = bank.participant().await;
    assert_eq!(prepare(&second, &order).await, Vote::InProgress);
    let mut one_phase = order.clone();
    one_phase.one_phase = true;
    assert_eq!(prepare(&second, &one_phase).await, Vote::InProgress);
    assert_eq!(commit(&second, order.gtid).await, BranchEnd::InProgress);
    gate.go_on.add_permits(1);
    is_yes(&first.await.unwrap());
    is_yes(&prepare(&second, &order).await);
    assert_eq!(prepare(&second, &one_phase).await, Vote::InProgress);
    assert_eq!(commit(&second, order.gtid).await, COMMITTED);
    assert_eq!(bank.cents().await, 70);
}

#[tokio::test]
async fn abort_while_the_handler_works_makes_its_vote_a_no() {
    let bank = bank().await;
    let (participant, gate) = gated_participant(&bank).await;
    let order = call(fresh(), "gated", json!(null));
    let first = tokio::spawn({
        let (participant, order) = (participant.clone(), order.clone());
        async move { prepare(&participant, &order).await }
    });
    gate.arrived.acquire().await.unwrap().forget();
    assert_eq!(abort(&participant, order.gtid).await, BranchEnd::Aborted);
    gate.go_on.add_permits(1);
    assert_eq!(refusal_code(first.await.unwrap()), "accordant.sealed");
    assert!(bank.prepared().await.is_empty());
    assert_eq!(bank.cents().await, 100);
}

#[tokio::test]
async fn caller_that_hangs_up_does_not_stop_the_branch() {
    let bank = bank().await;
    let (participant, gate) = gated_participant(&bank).await;
    let order = call(fresh(), "gated", json!(null));
    let first = tokio::spawn({
        let (participant, order) = (participant.clone(), order.clone());
        async move { prepare(&participant, &order).await }
    });
    gate.arrived.acquire().await.unwrap().forget();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.go_on.add_permits(1);
    until("prepared", || bank.is_prepared(order.gtid)).await;
    is_yes(&prepare(&participant, &order).await);
    assert_eq!(abort(&participant, order.gtid).await, BranchEnd::Aborted);
}

#[tokio::test]
async fn shutdown_waits_for_branches_and_leaves_no_connection() {
    let bank = bank().await;
    let (participant, gate) = gated_participant(&bank).await;
    let order = call(fresh(), "gated", json!(null));
    let first = tokio::spawn({
        let (participant, order) = (participant.clone(), order.clone());
        async move { prepare(&participant, &order).await }
    });
    gate.arrived.acquire().await.unwrap().forget();
    let closing = tokio::spawn({
        let participant = participant.clone();
        async move { participant.shutdown().await }
    });
    until("draining", || async {
        try_prepare(&participant, &order).await.is_err()
    })
    .await;
    gate.go_on.add_permits(1);
    is_yes(&first.await.unwrap());
    closing.await.unwrap();
    let sessions = "select count(*) from pg_stat_activity where datname = current_database()
        and application_name like 'acc%'";
    until("closed", || async {
        let row = sqlx::query(sessions)
            .fetch_one(&mut bank.admin().await)
            .await
            .unwrap();
        row.get::<i64, _>(0) == 0
    })
    .await;
    assert!(bank.is_prepared(order.gtid).await);
    assert_eq!(
        abort(&bank.participant().await, order.gtid).await,
        BranchEnd::Aborted
    );
}

#[tokio::test]
async fn branch_that_was_ended_by_hand_is_reported_as_what_it_is() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let (by_commit, by_rollback) = (fresh(), fresh());
    is_yes(&prepare(&participant, &debit_call(by_commit, 30)).await);
    bank.run(&format!("commit prepared '{}'", gid(by_commit)))
        .await;
    assert_eq!(abort(&participant, by_commit).await, COMMITTED);
    assert_eq!(commit(&participant, by_commit).await, COMMITTED);
    is_yes(&prepare(&participant, &debit_call(by_rollback, 30)).await);
    bank.run(&format!("rollback prepared '{}'", gid(by_rollback)))
        .await;
    assert_eq!(commit(&participant, by_rollback).await, BranchEnd::Aborted);
    assert_eq!(bank.state(by_rollback).await.as_deref(), Some("aborted"));
    assert_eq!(bank.cents().await, 70);
}

#[tokio::test]
async fn gid_that_someone_else_has_prepared_without_a_marker_is_no_vote_of_ours() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let gtid = fresh();
    // Neither our lock nor our marker: an implementation that breaks the contract.
    bank.run(&format!(
        "begin; {SPEND}; prepare transaction '{}'",
        gid(gtid)
    ))
    .await;
    assert_eq!(
        prepare(&participant, &debit_call(gtid, 1)).await,
        Vote::Yes { result: None }
    );
    assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted);
    assert!(bank.prepared().await.is_empty());
}

#[tokio::test]
async fn gid_of_another_database_is_not_touched() {
    let (ours, theirs) = (bank().await, bank().await);
    let participant = ours.participant().await;
    theirs.participant().await;
    let gtid = fresh();
    theirs
        .run(&format!(
            "begin; {SPEND}; prepare transaction '{}'",
            gid(gtid)
        ))
        .await;
    // The name is taken in the whole server, so the branch can never be prepared here.
    let vote = prepare(&participant, &debit_call(gtid, 1)).await;
    assert!(matches!(vote, Vote::RetryLater { .. }), "{vote:?}");
    assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted);
    assert_eq!(theirs.prepared().await.len(), 1);
    assert_eq!(participant.sweep_once().await.unwrap().found, 0);
    theirs
        .run(&format!("rollback prepared '{}'", gid(gtid)))
        .await;
}

#[tokio::test]
async fn branch_of_another_role_is_left_alone_with_a_reason() {
    let bank = bank().await;
    bank.participant().await;
    let role = format!("role_{}", std::process::id());
    bank.run(&format!(
        "create role {role} login; grant usage on schema accordant to {role};
         grant all on all tables in schema accordant, public to {role}"
    ))
    .await;
    let options: sqlx::postgres::PgConnectOptions = bank.url.parse().unwrap();
    let builder = bank.builder().database_options(options.username(&role));
    let other = builder.migrate(false).connect().await.unwrap();
    let gtid = fresh();
    is_yes(&prepare(&bank.participant().await, &debit_call(gtid, 30)).await);
    let end = commit(&other, gtid).await;
    let BranchEnd::RetryLater { reason } = end else {
        panic!("{end:?}")
    };
    assert!(reason.contains("another role"), "{reason}");
    assert_eq!(other.sweep_once().await.unwrap().found, 0);
    assert_eq!(commit(&bank.participant().await, gtid).await, COMMITTED);
    bank.run(&format!("drop owned by {role}; drop role {role}"))
        .await;
}

#[tokio::test]
async fn two_replicas_finish_the_same_branches_at_once() {
    let bank = bank().await;
    let (one, two) = (bank.participant().await, bank.participant().await);
    for verb in [FinishVerb::Commit, FinishVerb::Abort] {
        let mut orders = Vec::new();
        for _ in 0..8 {
            let gtid = fresh();
            let credit = call(
                gtid,
                "sql",
                json!(format!("insert into owner values ({})", {
                    static NEXT: std::sync::atomic::AtomicI32 =
                        std::sync::atomic::AtomicI32::new(1);
                    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
                })),
            );
            is_yes(&prepare(&one, &credit).await);
            orders.push(order(gtid, verb));
        }
        let (a, b) = tokio::join!(
            finish_many(&one, orders.clone()),
            finish_many(&two, orders.clone()),
        );
        for answer in a.answers.iter().chain(&b.answers) {
            let good = match verb {
                FinishVerb::Commit => answer.end == COMMITTED,
                FinishVerb::Abort => answer.end == BranchEnd::Aborted,
                FinishVerb::Confirm | FinishVerb::Cancel => false,
            };
            assert!(good || answer.end == BranchEnd::InProgress, "{answer:?}");
        }
        for order in orders {
            let again = finish_many(&two, vec![order]).await;
            assert_eq!(
                matches!(again.answers[0].end, BranchEnd::Committed { .. }),
                verb == FinishVerb::Commit
            );
        }
    }
    assert!(bank.prepared().await.is_empty());
}

#[tokio::test]
async fn replicas_that_start_together_migrate_once() {
    let bank = bank().await;
    let starts = (0..4).map(|_| bank.builder().connect());
    for started in futures_util::future::join_all(starts).await {
        started.unwrap();
    }
    let row = sqlx::query("select starts from accordant.instance");
    let starts: i64 = row.fetch_one(&mut bank.admin().await).await.unwrap().get(0);
    assert_eq!(starts, 4);
}

#[tokio::test]
async fn newer_schema_is_refused() {
    let bank = bank().await;
    bank.participant().await;
    bank.run("insert into accordant.migration values (99, 'of the future')")
        .await;
    let refused = bank.builder().connect().await.unwrap_err();
    assert!(matches!(refused, StartError::Migrate(_)), "{refused}");
    assert!(refused.to_string().contains("version 99"), "{refused}");
}

#[tokio::test]
async fn tables_that_were_changed_are_refused() {
    let bank = bank().await;
    bank.participant().await;
    bank.run("alter table accordant.branch drop column refusal")
        .await;
    let refused = bank.builder().connect().await.unwrap_err().to_string();
    assert!(refused.contains("accordant.branch.refusal"), "{refused}");
}

#[tokio::test]
async fn busy_participant_says_later_and_phase_two_goes_on() {
    let bank = bank().await;
    let gate = Arc::new(Gate { arrived: Semaphore::new(0), go_on: Semaphore::new(0) });
    let builder = bank.builder().connections_max(1).state(Arc::clone(&gate));
    let participant = builder.operation("gated", gated).connect().await.unwrap();
    let prepared = call(fresh(), "debit", json!({"account": 2, "cents": 1}));
    is_yes(&prepare(&participant, &prepared).await);
    let first = tokio::spawn({
        let participant = participant.clone();
        async move { prepare(&participant, &call(fresh(), "gated", json!(null))).await }
    });
    gate.arrived.acquire().await.unwrap().forget();
    let vote = prepare(&participant, &debit_call(fresh(), 1)).await;
    assert!(matches!(vote, Vote::RetryLater { .. }), "{vote:?}");
    assert_eq!(commit(&participant, prepared.gtid).await, COMMITTED);
    gate.go_on.add_permits(1);
    is_yes(&first.await.unwrap());
}

#[tokio::test]
async fn session_that_is_terminated_in_the_work_makes_no_vote() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let sql = format!("{SPEND}; select pg_terminate_backend(pg_backend_pid())");
    let order = call(fresh(), "sql", json!(sql));
    let vote = prepare(&participant, &order).await;
    assert!(matches!(vote, Vote::RetryLater { .. }), "{vote:?}");
    assert_eq!(bank.state(order.gtid).await, None);
    let blindly = call(fresh(), "sql_blindly", json!(sql));
    let vote = prepare(&participant, &blindly).await;
    assert!(
        matches!(vote, Vote::RetryLater { .. } | Vote::InProgress),
        "{vote:?}"
    );
    is_yes(&prepare(&participant, &debit_call(order.gtid, 30)).await);
}

#[tokio::test]
async fn slots_that_run_out_are_a_retryable_no_and_never_a_hang() {
    let server = start(Postgres::builder().max_prepared_transactions(1)).await;
    let bank = Bank::on(&server).await;
    let participant = bank.builder().connections_max(1).connect().await.unwrap();
    let first = fresh();
    is_yes(&prepare(&participant, &debit_call(first, 1)).await);
    let other = call(fresh(), "debit", json!({"account": 2, "cents": 1}));
    let Vote::No { refusal } = prepare(&participant, &other).await else {
        panic!("has a slot")
    };
    assert_eq!(
        (refusal.code.as_str(), refusal.retryable),
        ("accordant.slots_exhausted", true)
    );
    assert_eq!(commit(&participant, first).await, COMMITTED);
    let refused = bank
        .builder()
        .connections_max(2)
        .connect()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("alter system set max_prepared_transactions = 2"),
        "{refused}"
    );
}

#[tokio::test]
async fn server_without_prepared_transactions_is_refused_with_the_cure() {
    let server = start(Postgres::builder().max_prepared_transactions(0)).await;
    let bank = Bank::on(&server).await;
    let refused = bank.builder().connect().await.unwrap_err().to_string();
    assert!(
        refused.contains("alter system set max_prepared_transactions = 16"),
        "{refused}"
    );
    let refused = bank
        .builder()
        .allow_unsafe_durability(false)
        .prepared_slots_min(1);
    let refused = refused.connect().await.unwrap_err().to_string();
    assert!(
        refused.contains("max_prepared_transactions = 1"),
        "{refused}"
    );
}

#[tokio::test]
async fn server_that_loses_data_in_a_crash_is_refused_with_the_cure() {
    let bank = bank().await;
    let refused = bank
        .builder()
        .allow_unsafe_durability(false)
        .connect()
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("fsync is off"), "{refused}");
}

#[tokio::test]
async fn crash_of_the_server_loses_no_vote_and_the_participant_comes_back_by_itself() {
    let server = start(Postgres::builder()).await;
    let bank = Bank::on(&server).await;
    let participant = bank.participant().await;
    let (kept, lost) = (fresh(), fresh());
    let vote = prepare(&participant, &debit_call(kept, 30)).await;
    assert_eq!(result_of(&vote), "70");
    // Not by SIGKILL: backends outlive their killed server for a moment, and may still answer.
    server.stop_immediate().await.unwrap();
    let (status, problem) = try_prepare(&participant, &debit_call(lost, 1))
        .await
        .unwrap_err();
    assert_eq!(
        (status.as_u16(), &problem["code"]),
        (503, &json!("unknown"))
    );
    server.start_again().await.unwrap();
    assert_eq!(
        prepare(&participant, &debit_call(kept, 30)).await,
        Vote::Yes { result: None }
    );
    assert_eq!(commit(&participant, kept).await, COMMITTED);
    assert_eq!(bank.cents().await, 70);
    is_yes(&prepare(&participant, &debit_call(lost, 1)).await);
    server.kill().await.unwrap();
    server.start_again().await.unwrap();
    assert_eq!(abort(&participant, lost).await, BranchEnd::Aborted);
}

#[tokio::test]
async fn crash_in_the_middle_of_the_work_makes_no_vote() {
    let server = start(Postgres::builder()).await;
    let bank = Bank::on(&server).await;
    let (participant, gate) = gated_participant(&bank).await;
    let order = call(fresh(), "gated", json!(null));
    let first = tokio::spawn({
        let (participant, order) = (participant.clone(), order.clone());
        async move { try_prepare(&participant, &order).await }
    });
    gate.arrived.acquire().await.unwrap().forget();
    server.kill().await.unwrap();
    gate.go_on.add_permits(1);
    server.start_again().await.unwrap();
    match first.await.unwrap() {
        Ok(reply) => assert!(matches!(reply.vote, Vote::RetryLater { .. }), "{reply:?}"),
        Err((status, _)) => assert_eq!(status.as_u16(), 503),
    }
    gate.go_on.add_permits(1);
    is_yes(&prepare(&participant, &order).await);
    assert_eq!(abort(&participant, order.gtid).await, BranchEnd::Aborted);
}

#[tokio::test]
async fn branches_on_few_connections_leave_no_transaction_open() {
    let bank = bank().await;
    let participant = bank.builder().connections_max(2).connect().await.unwrap();
    let sqls = [
        "select 1",
        "select 1/0",
        "notify x; insert into owner values (1)",
        "commit",
        "insert into pet values (7)",
        "insert into owner values (2)",
    ];
    for sql in sqls.iter().cycle().take(30) {
        let gtid = fresh();
        let vote = prepare(&participant, &call(gtid, "sql", json!(sql))).await;
        assert!(
            !matches!(vote, Vote::RetryLater { .. } | Vote::InProgress),
            "{sql}: {vote:?}"
        );
        assert_eq!(bank.open_transactions().await, 0, "{sql}");
        if matches!(vote, Vote::Yes { .. }) {
            assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted);
        }
    }
    assert!(bank.prepared().await.is_empty());
}

#[tokio::test]
async fn finish_while_the_server_is_away_answers_nothing() {
    let server = start(Postgres::builder()).await;
    let bank = Bank::on(&server).await;
    let participant = bank.participant().await;
    let gtid = fresh();
    is_yes(&prepare(&participant, &debit_call(gtid, 30)).await);
    server.stop_immediate().await.unwrap();
    let body = json!({"participant": "bank", "orders": [order(gtid, FinishVerb::Commit)]});
    let path = accordant_participant::protocol::wire::contract::FINISH_PATH;
    let (status, _) = crate::support::post(&participant, path, body.to_string()).await;
    assert_eq!(status.as_u16(), 503);
    tokio::time::timeout(Duration::from_secs(30), server.start_again())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(commit(&participant, gtid).await, COMMITTED);
}

#[tokio::test]
async fn phase_two_gets_a_connection_when_idle_ones_have_taken_the_last() {
    let server = Postgres::builder()
        .private()
        .durable(false)
        .max_connections(12);
    let server = server.start().await.unwrap();
    let bank = Bank::on(&server).await;
    let builder = bank.builder().connections_max(6);
    let participant = builder.connect().await.unwrap();
    let branch = debit_call(fresh(), 30);
    is_yes(&prepare(&participant, &branch).await);
    bank.run(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    )
    .await;
    // As many handlers at a time as may be: each leaves a connection idle behind it.
    let wait = json!("select pg_sleep(0.5)");
    let calls: Vec<_> = (0..6)
        .map(|_| call(fresh(), "sql_blindly", wait.clone()))
        .collect();
    let votes = calls.iter().map(|call| try_prepare(&participant, call));
    futures_util::future::join_all(votes).await;
    let mut others = Vec::new();
    while let Ok(other) = sqlx::PgConnection::connect(&bank.url).await {
        others.push(other);
    }
    assert!(!others.is_empty(), "the server is to be full");
    let end = commit(&participant, branch.gtid).await;
    assert!(matches!(end, BranchEnd::Committed { .. }), "{end:?}");
}
