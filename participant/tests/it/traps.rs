//! What PostgreSQL does that a participant must not fall for: each trap as a handler meets it.

use std::time::Duration;

use accordant_participant::protocol::wire::contract::{BranchEnd, Vote};
use accordant_participant::{Branch, Refusal};
use serde_json::json;
use sqlx::Connection as _;

use crate::support::{
    Bank, COMMITTED, abort, bank, call, commit, debit_call, fresh, is_yes, minted_at, now_ms,
    prepare, refusal_code, try_prepare,
};

const SPEND: &str = "update account set cents = cents - 30 where id = 1";

/// The code of the no to a branch that runs `sql`; the branch must be sealed then.
async fn refused(bank: &Bank, operation: &str, sql: &str) -> String {
    let participant = bank.participant().await;
    let gtid = fresh();
    let code = refusal_code(prepare(&participant, &call(gtid, operation, json!(sql))).await);
    assert_eq!(bank.state(gtid).await.as_deref(), Some("aborted"), "{sql}");
    assert!(bank.prepared().await.is_empty(), "{sql}");
    assert_eq!(bank.open_transactions().await, 0, "{sql}");
    code
}

#[tokio::test]
async fn what_cannot_be_prepared_is_refused() {
    let bank = bank().await;
    for sql in [
        "notify news",
        "listen news",
        "create temporary table t (a int)",
        "create temporary table t (a int) on commit drop",
        "declare c cursor with hold for select 1",
        "select pg_export_snapshot()",
    ] {
        let code = refused(&bank, "sql", &format!("{SPEND}; {sql}")).await;
        assert_eq!(code, "accordant.not_preparable", "{sql}");
        assert_eq!(bank.cents().await, 100, "{sql}");
    }
}

#[tokio::test]
async fn failed_statement_that_the_handler_passes_over_is_no_yes() {
    let bank = bank().await;
    let code = refused(&bank, "sql_blindly", "select 1/0").await;
    assert_eq!(code, "accordant.failed_transaction");
}

#[tokio::test]
async fn deferred_constraint_is_checked_before_the_vote() {
    let bank = bank().await;
    let code = refused(&bank, "sql", "insert into pet values (7)").await;
    assert_eq!(code, "accordant.constraint");
}

#[tokio::test]
async fn immediate_constraint_is_refused_by_the_handlers_own_error() {
    let bank = bank().await;
    let code = refused(&bank, "sql", "update account set cents = -1").await;
    assert_eq!(code, "accordant.constraint");
}

#[tokio::test]
async fn handler_that_ends_its_transaction_is_refused_and_named() {
    let bank = bank().await;
    for sql in [
        "commit",
        "rollback",
        "commit; begin",
        "rollback; begin",
        "commit; begin; update account set cents = cents where id = 1",
        "prepare transaction 'mine'",
    ] {
        let participant = bank.participant().await;
        let gtid = fresh();
        let vote = prepare(&participant, &call(gtid, "sql", json!(sql))).await;
        assert_eq!(
            refusal_code(vote),
            "accordant.handler_ended_transaction",
            "{sql}"
        );
        assert_eq!(bank.state(gtid).await.as_deref(), Some("aborted"), "{sql}");
    }
    bank.run("rollback prepared 'mine'").await;
    let vote = prepare(&bank.participant().await, &debit_call(fresh(), 1)).await;
    is_yes(&vote);
}

#[tokio::test]
async fn nested_begin_is_a_savepoint_and_not_an_end() {
    async fn nested(branch: &mut Branch, (): ()) -> Result<(), Refusal> {
        let mut inner = branch.connection().begin().await?;
        sqlx::query("update account set cents = cents - 10")
            .execute(&mut *inner)
            .await?;
        inner.commit().await?;
        let mut inner = branch.connection().begin().await?;
        sqlx::query("update account set cents = cents - 20")
            .execute(&mut *inner)
            .await?;
        drop(inner);
        let mut inner = branch.connection().begin().await?;
        sqlx::query("update account set cents = cents - 40")
            .execute(&mut *inner)
            .await?;
        inner.rollback().await?;
        drop(branch.connection().begin().await?);
        Ok(())
    }
    let bank = bank().await;
    let participant = bank
        .builder()
        .operation("nested", nested)
        .connect()
        .await
        .unwrap();
    for cents in [90, 80] {
        let gtid = fresh();
        is_yes(&prepare(&participant, &call(gtid, "nested", json!(null))).await);
        assert_eq!(commit(&participant, gtid).await, COMMITTED);
        assert_eq!(bank.cents().await, cents);
    }
}

#[tokio::test]
async fn panic_is_a_no_and_the_participant_lives() {
    async fn panics(branch: &mut Branch, (): ()) -> Result<(), Refusal> {
        sqlx::query(SPEND).execute(branch.connection()).await?;
        panic!("of the handler");
    }
    let bank = bank().await;
    let participant = bank
        .builder()
        .operation("panics", panics)
        .connect()
        .await
        .unwrap();
    let gtid = fresh();
    let vote = prepare(&participant, &call(gtid, "panics", json!(null))).await;
    assert_eq!(refusal_code(vote), "accordant.handler_panicked");
    assert_eq!(bank.state(gtid).await.as_deref(), Some("aborted"));
    is_yes(&prepare(&participant, &debit_call(fresh(), 30)).await);
}

#[tokio::test]
async fn handler_that_outlives_its_deadline_is_refused_after_a_seal() {
    let bank = bank().await;
    let participant = bank.participant().await;
    for sql in [
        "select pg_sleep(60)",
        "set statement_timeout = 0; select pg_sleep(60)",
    ] {
        let mut call = call(fresh(), "sql", json!(sql));

        call.deadline =
            accordant_participant::protocol::time::Timestamp::from_millis(now_ms() + 150);
        let vote = prepare(&participant, &call).await;
        let code = refusal_code(vote);
        // Whichever of the two clocks is first.
        let either = ["accordant.deadline_passed", "accordant.statement_timeout"];
        assert!(either.contains(&code.as_str()), "{code}");
        assert_eq!(bank.state(call.gtid).await.as_deref(), Some("aborted"));
    }
    bank.run(
        "select pg_terminate_backend(pid) from pg_stat_activity where query like '%sleep%'
        and pid <> pg_backend_pid()",
    )
    .await;
}

#[tokio::test]
async fn deadline_in_the_past_is_refused_without_work() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let mut late = debit_call(fresh(), 30);
    late.deadline = accordant_participant::protocol::time::Timestamp::from_millis(1);
    assert_eq!(
        refusal_code(prepare(&participant, &late).await),
        "accordant.deadline_passed"
    );
    assert_eq!(bank.state(late.gtid).await.as_deref(), Some("aborted"));
    // What is prepared already is a fact, deadline or not.
    let gtid = fresh();
    is_yes(&prepare(&participant, &debit_call(gtid, 30)).await);
    late.gtid = gtid;
    is_yes(&prepare(&participant, &late).await);
    assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted);
}

#[tokio::test]
async fn branch_that_wrote_nothing_ends_with_its_vote() {
    let bank = bank().await;
    let participant = bank.participant().await;
    for sql in [
        "select 1",
        "select * from account",
        "lock table account in share mode",
    ] {
        let gtid = fresh();
        let vote = prepare(&participant, &call(gtid, "sql", json!(sql))).await;
        assert!(matches!(vote, Vote::ReadOnly { .. }), "{sql}: {vote:?}");
        assert_eq!(bank.state(gtid).await, None, "{sql}");
    }
    assert_eq!(bank.open_transactions().await, 0);
}

#[tokio::test]
async fn row_lock_and_sequence_make_a_writer() {
    let bank = bank().await;
    bank.run("create sequence numbers").await;
    let participant = bank.participant().await;
    for sql in [
        "select * from account where id = 1 for update",
        "select * from account where id = 2 for share",
        "select nextval('numbers')",
    ] {
        let gtid = fresh();
        let vote = prepare(&participant, &call(gtid, "sql_blindly", json!(sql))).await;
        is_yes(&vote);
        assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted, "{sql}");
    }
}

#[tokio::test]
async fn lone_notify_is_never_sent() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let mut listener = sqlx::postgres::PgListener::connect(&bank.url)
        .await
        .unwrap();
    listener.listen("news").await.unwrap();
    let gtid = fresh();
    let vote = prepare(
        &participant,
        &call(gtid, "sql", json!("notify news, 'early'")),
    )
    .await;
    assert!(matches!(vote, Vote::ReadOnly { .. }), "{vote:?}");
    bank.run("notify news, 'end'").await;
    assert_eq!(listener.recv().await.unwrap().payload(), "end");
}

#[tokio::test]
async fn serializable_branch_is_prepared_even_if_it_only_reads() {
    let bank = bank().await;
    let options: sqlx::postgres::PgConnectOptions = bank.url.parse().unwrap();
    let options = options.options([("default_transaction_isolation", "serializable")]);
    let participant = bank
        .builder()
        .database_options(options)
        .connect()
        .await
        .unwrap();
    let gtid = fresh();
    is_yes(
        &prepare(
            &participant,
            &call(gtid, "sql", json!("select * from account")),
        )
        .await,
    );
    assert_eq!(commit(&participant, gtid).await, COMMITTED);
    assert_eq!(abort(&participant, gtid).await, COMMITTED);
}

#[tokio::test]
async fn transaction_that_the_handler_prepared_under_our_name_ends_by_the_abort() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let gtid = fresh();
    let sql = format!(
        "{SPEND}; prepare transaction '{}'",
        crate::support::gid(gtid)
    );
    let vote = prepare(&participant, &call(gtid, "sql", json!(sql))).await;
    assert_eq!(refusal_code(vote), "accordant.handler_ended_transaction");
    assert_eq!(commit(&participant, gtid).await, BranchEnd::Aborted);
    assert!(bank.is_prepared(gtid).await, "no commit may touch it");
    assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted);
    assert!(bank.prepared().await.is_empty());
    assert_eq!(bank.cents().await, 100);
}

#[tokio::test]
async fn deferred_trigger_that_divides_by_zero_is_no_end_by_the_handler() {
    let bank = bank().await;
    bank.run(
        "create function fails() returns trigger language plpgsql
            as $$ begin perform 1 / 0; return null; end $$;
        create constraint trigger fails after insert on owner deferrable initially deferred
            for each row execute function fails()",
    )
    .await;
    let code = refused(&bank, "sql", "insert into owner values (1)").await;
    assert_eq!(code, "accordant.database");
}

#[tokio::test]
async fn replicas_start_together_whatever_isolation_their_role_has() {
    for level in ["repeatable read", "serializable"] {
        let bank = bank().await;
        let options: sqlx::postgres::PgConnectOptions = bank.url.parse().unwrap();
        let options = options.options([("default_transaction_isolation", level)]);
        let starts = (0..8).map(|_| {
            let builder = bank.builder().database_options(options.clone());
            tokio::spawn(async move { builder.connect().await })
        });
        for start in futures_util::future::join_all(starts).await {
            if let Err(error) = start.unwrap() {
                let cause = std::error::Error::source(&error);
                panic!("{level}: {error}: {cause:?}");
            }
        }
        let starts = sqlx::query("select starts from accordant.instance");
        let starts = starts.fetch_one(&mut bank.admin().await).await.unwrap();
        assert_eq!(sqlx::Row::get::<i64, _>(&starts, 0), 8);
    }
}

#[tokio::test]
async fn result_of_any_text_comes_back_whole() {
    async fn echo(branch: &mut Branch, text: String) -> Result<String, Refusal> {
        sqlx::query(SPEND).execute(branch.connection()).await?;
        Ok(text)
    }
    async fn refuse(_: &mut Branch, text: String) -> Result<(), Refusal> {
        Err(Refusal::new("x", text))
    }
    let bank = bank().await;
    let builder = bank
        .builder()
        .operation("echo", echo)
        .operation("refuse", refuse);
    let participant = builder.connect().await.unwrap();
    let hostile = "'); drop table accordant.branch; -- \\ \" $1 $$ \u{e9} \u{1f980} \\u0000";
    let mut order = call(fresh(), "echo", json!(hostile));
    order.one_phase = true;
    for _ in 0..2 {
        let vote = prepare(&participant, &order).await;
        let text: String = serde_json::from_str(crate::support::result_of(&vote)).unwrap();
        assert_eq!(text, hostile);
    }
    let order = call(fresh(), "refuse", json!(hostile));
    for _ in 0..2 {
        let Vote::No { refusal } = prepare(&participant, &order).await else {
            panic!()
        };
        assert_eq!(refusal.detail, hostile);
    }
    let large = "x".repeat(16 * 1024);
    let vote = prepare(&participant, &call(fresh(), "echo", json!(large))).await;
    assert_eq!(refusal_code(vote), "accordant.result_too_large");
}

#[tokio::test]
async fn name_of_the_branch_is_seen_by_the_server_while_it_works() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let gtid = fresh();
    let gid = crate::support::gid(gtid);
    let sql = format!(
        "do $$ begin assert (select application_name from pg_stat_activity
            where pid = pg_backend_pid()) = '{gid}'; end $$"
    );
    let vote = prepare(&participant, &call(gtid, "sql", json!(sql))).await;
    assert!(matches!(vote, Vote::ReadOnly { .. }), "{vote:?}");
}

#[tokio::test]
async fn transaction_at_or_below_the_floor_is_refused_without_a_vote() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let old = minted_at(now_ms() - 10_000);
    // The floor rises while the branch works: the vote message itself must refuse.
    let raise = format!(
        "{SPEND}; insert into accordant.floor (issuer, minted, settling) values ('test.0.00001', {}, 0)",
        old.minted().as_millis()
    );
    let (status, problem) = try_prepare(&participant, &call(old, "sql", json!(raise)))
        .await
        .unwrap_err();
    assert_eq!(
        (status.as_u16(), &problem["code"]),
        (410, &json!("expired"))
    );
    assert_eq!(bank.state(old).await, None);
    bank.run(&format!(
        "insert into accordant.floor (issuer, minted, settling) values ('test.0.00001', {}, 0)",
        old.minted().as_millis()
    ))
    .await;
    let (status, _) = try_prepare(&participant, &debit_call(old, 1))
        .await
        .unwrap_err();
    assert_eq!(status.as_u16(), 410);
    let end = abort(&participant, old).await;
    assert!(matches!(end, BranchEnd::RetryLater { .. }), "{end:?}");
    is_yes(
        &prepare(
            &participant,
            &debit_call(minted_at(old.minted().as_millis() + 1), 1),
        )
        .await,
    );
    assert_eq!(bank.open_transactions().await, 0);
}

#[tokio::test]
async fn lock_wait_is_bounded_and_the_no_is_retryable() {
    let bank = bank().await;
    let builder = bank.builder().lock_timeout(Duration::from_millis(50));
    let participant = builder.connect().await.unwrap();
    let holder = fresh();
    is_yes(&prepare(&participant, &debit_call(holder, 30)).await);
    let Vote::No { refusal } = prepare(&participant, &debit_call(fresh(), 30)).await else {
        panic!("got the lock")
    };
    assert_eq!(
        (refusal.code.as_str(), refusal.retryable),
        ("accordant.lock_timeout", true)
    );
    assert_eq!(commit(&participant, holder).await, COMMITTED);
    is_yes(&prepare(&participant, &debit_call(fresh(), 30)).await);
}

#[tokio::test]
async fn every_statement_is_parsed_by_a_migrated_server() {
    let bank = bank().await;
    bank.participant().await;
    let mut admin = bank.admin().await;
    for &sql in accordant_participant::STATEMENTS {
        let prepared = sqlx::Executor::prepare(&mut admin, sqlx::SqlSafeStr::into_sql_str(sql));
        prepared
            .await
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
    }
    admin.close().await.unwrap();
}
