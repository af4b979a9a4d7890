//! What a handler may leave behind in its session, and what must not reach the next branch there.

use accordant_participant::protocol::wire::contract::{BranchEnd, Vote};
use accordant_participant::{Branch, Refusal};
use serde_json::json;

use crate::support::{
    Bank, COMMITTED, abort, bank, call, commit, debit_call, fresh, is_yes, prepare,
};

const SPEND: &str = "update account set cents = cents - 30 where id = 1";

#[tokio::test]
async fn settings_of_one_branch_do_not_reach_the_next() {
    let bank = bank().await;
    let participant = bank.builder().connections_max(1).connect().await.unwrap();
    let sql = "set lock_timeout = '1ms'; set synchronous_commit = off; set search_path = nowhere;
        set statement_timeout = '1s'; set standard_conforming_strings = off;
        set role pg_monitor; select pg_advisory_lock(77);
        update public.account set cents = cents where id = 2";
    bank.run("grant all on account to pg_monitor; grant all on schema public to pg_monitor")
        .await;
    let gtid = fresh();
    is_yes(&prepare(&participant, &call(gtid, "sql", json!(sql))).await);
    assert_eq!(commit(&participant, gtid).await, COMMITTED);
    let check = "do $$ begin
        assert current_setting('search_path') <> 'nowhere', 'search_path';
        assert current_setting('lock_timeout') = '2s', 'lock_timeout';
        assert current_setting('synchronous_commit') = 'on', 'synchronous_commit';
        assert current_user = session_user, 'role';
        assert (select count(*) from pg_locks where locktype = 'advisory' and objid = 77) = 0, 'lock';
        end $$";
    let vote = prepare(&participant, &call(fresh(), "sql", json!(check))).await;
    assert!(matches!(vote, Vote::ReadOnly { .. }), "{vote:?}");
}

/// The participant's bank under a role of its own.
async fn with_role(bank: &Bank, role: &str) -> accordant_participant::Participant {
    bank.run(&format!(
        "create role {role} login; grant all on all tables in schema public to {role};
        do $$ begin
            execute format('grant create on database %I to {role}', current_database());
        end $$"
    ))
    .await;
    let url = bank.url.replacen("postgres@", &format!("{role}@"), 1);
    bank.builder().database(url).connect().await.unwrap()
}

#[tokio::test]
async fn branch_belongs_to_the_participant_whatever_role_its_handler_took() {
    let bank = bank().await;
    let participant = with_role(&bank, "role_of_the_bank").await;
    bank.run(
        "create role role_of_a_tenant; grant role_of_a_tenant to role_of_the_bank;
        grant all on account to role_of_a_tenant",
    )
    .await;
    // Whether that role may write the marker or not.
    for grant in ["", "grant all on all tables in schema accordant"] {
        if !grant.is_empty() {
            bank.run(&format!("{grant} to role_of_a_tenant")).await;
            bank.run("grant usage on schema accordant to role_of_a_tenant")
                .await;
        }
        for set in ["set local role", "set role"] {
            let gtid = fresh();
            let sql = format!("{set} role_of_a_tenant; {SPEND}; select current_user");
            is_yes(&prepare(&participant, &call(gtid, "sql", json!(sql))).await);
            assert_eq!(commit(&participant, gtid).await, COMMITTED, "{set} {grant}");
            bank.run("update account set cents = 100").await;
        }
    }
}

#[tokio::test]
async fn role_that_the_service_logs_in_to_is_kept() {
    let bank = bank().await;
    bank.run("create role standing_owner; grant all on account to standing_owner")
        .await;
    drop(with_role(&bank, "passing_login").await);
    bank.run(
        "grant standing_owner to passing_login;
        alter role passing_login set role = 'standing_owner';
        grant all on schema accordant to standing_owner;
        grant all on all tables in schema accordant to standing_owner",
    )
    .await;
    let url = bank.url.replacen("postgres@", "passing_login@", 1);
    let participant = bank.builder().database(url).connect().await.unwrap();
    for _ in 0..2 {
        let gtid = fresh();
        is_yes(&prepare(&participant, &debit_call(gtid, 1)).await);
        let owner = sqlx::query("select owner::text from pg_prepared_xacts where gid = $1")
            .bind(crate::support::gid(gtid).to_string())
            .fetch_one(&mut bank.admin().await)
            .await
            .unwrap();
        assert_eq!(
            sqlx::Row::get::<String, _>(&owner, 0),
            "standing_owner",
            "only it can still finish when the login is dropped"
        );
        assert_eq!(commit(&participant, gtid).await, COMMITTED);
    }
}

#[tokio::test]
async fn session_lock_is_let_go_at_the_vote() {
    let bank = bank().await;
    let participant = bank.participant().await;
    for (key, sql) in [
        (1, SPEND),
        (2, "select 1"),
        (3, "select 1/0"),
        (4, "select pg_advisory_xact_lock(4), 1"),
    ] {
        let gtid = fresh();
        let sql = format!("select pg_advisory_lock({key}); {sql}");
        prepare(&participant, &call(gtid, "sql_blindly", json!(sql))).await;
        abort(&participant, gtid).await;
        let free = sqlx::query("select pg_try_advisory_lock($1)").bind(key);
        let free = free.fetch_one(&mut bank.admin().await).await.unwrap();
        assert!(sqlx::Row::get::<bool, _>(&free, 0), "{sql}");
    }
}

#[tokio::test]
async fn one_phase_branch_leaves_nothing_in_its_session() {
    let bank = bank().await;
    let participant = bank.builder().connections_max(1).connect().await.unwrap();
    let sql = "create temporary table account as select * from public.account; listen news;
        declare c cursor with hold for select 1";
    let mut order = call(fresh(), "sql", json!(sql));
    order.one_phase = true;
    let vote = prepare(&participant, &order).await;
    assert!(matches!(vote, Vote::Committed { .. }), "{vote:?}");
    let check = "do $$ begin
        assert (select count(*) from pg_listening_channels()) = 0, 'channel';
        assert (select count(*) from pg_cursors) = 0, 'cursor';
        end $$";
    let vote = prepare(&participant, &call(fresh(), "sql", json!(check))).await;
    assert!(matches!(vote, Vote::ReadOnly { .. }), "{vote:?}");
    // It would be taken from the temporary table, and lost with the session.
    let mut order = debit_call(fresh(), 30);
    order.one_phase = true;
    let vote = prepare(&participant, &order).await;
    assert!(matches!(vote, Vote::Committed { .. }), "{vote:?}");
    assert_eq!(bank.cents().await, 70);
}

#[tokio::test]
async fn altered_table_costs_one_retryable_no_and_not_one_for_ever() {
    async fn reads_all(branch: &mut Branch, (): ()) -> Result<(), Refusal> {
        sqlx::query("select * from account")
            .fetch_all(branch.connection())
            .await?;
        Ok(())
    }
    let bank = bank().await;
    let builder = bank
        .builder()
        .connections_max(1)
        .operation("reads_all", reads_all);
    let participant = builder.connect().await.unwrap();
    let vote = prepare(&participant, &call(fresh(), "reads_all", json!(null))).await;
    assert!(matches!(vote, Vote::ReadOnly { .. }), "{vote:?}");
    bank.run("alter table account add column note text").await;
    let vote = prepare(&participant, &call(fresh(), "reads_all", json!(null))).await;
    let Vote::No { refusal } = vote else {
        panic!("{vote:?}")
    };
    assert_eq!(
        (refusal.code.as_str(), refusal.retryable),
        ("accordant.stale_plan", true)
    );
    let vote = prepare(&participant, &call(fresh(), "reads_all", json!(null))).await;
    assert!(matches!(vote, Vote::ReadOnly { .. }), "{vote:?}");
}

#[tokio::test]
async fn session_without_its_plans_is_replaced() {
    let bank = bank().await;
    let participant = bank.builder().connections_max(1).connect().await.unwrap();
    for sql in [
        "deallocate all",
        "insert into owner values (1); deallocate all",
    ] {
        let vote = prepare(&participant, &call(fresh(), "sql", json!(sql))).await;
        assert!(
            matches!(vote, Vote::ReadOnly { .. } | Vote::No { .. }),
            "{vote:?}"
        );
        let gtid = fresh();
        is_yes(&prepare(&participant, &debit_call(gtid, 1)).await);
        assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted);
    }
}
