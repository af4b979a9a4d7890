//! Each row of the tables above, against the errors of a real server.

use accordant_protocol::id::{BranchIndex, Epoch, Gid, Gtid, Incarnation, PartitionId};
use accordant_protocol::time::Timestamp;
use accordant_testbed_postgres::Postgres;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::*;
use crate::barrier::Verb;
use crate::statement::{self, Bounds, End, Session};

const WORK: &str = "insert into note values (1)";

fn gid(random: u128) -> Gid {
    let (cluster, minted) = ("acc".parse().unwrap(), Timestamp::from_millis(1_000_000));
    let gtid = Gtid::mint(cluster, PartitionId(0), Incarnation(1), minted, random).unwrap();
    Gid { gtid, branch: BranchIndex(0) }
}

async fn connect(server: &Postgres) -> PgConnection {
    PgConnection::connect(&server.url("a")).await.unwrap()
}

async fn run(connection: &mut PgConnection, sql: impl Into<String>) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.into()))
        .execute(connection)
        .await
        .map(drop)
}

async fn start() -> Postgres {
    let server = Postgres::builder()
        .private()
        .database("a")
        .database("b")
        .durable(false);
    let server = server.max_prepared_transactions(3).start().await.unwrap();
    let mut admin = connect(&server).await;
    let tables = accordant_migrations::participant::POSTGRES[0].sql;
    run(&mut admin, format!("create schema accordant; {tables}"))
        .await
        .unwrap();
    let tables = "create table note (id int); create table parent (id int primary key);
        create table child (id int references parent deferrable initially deferred);
        create table single (id int unique deferrable initially deferred);
        insert into single values (1); create role stranger";
    run(&mut admin, tables).await.unwrap();
    server
}

/// Opens as a branch is opened, does `work`, and returns the error of the vote message.
async fn vote(server: &Postgres, random: u128, work: &str) -> Result<(), sqlx::Error> {
    let mut connection = connect(server).await;
    run(&mut connection, statement::PLANS).await.unwrap();
    let gid = gid(random);
    run(
        &mut connection,
        format!("begin; set local accordant.gid = '{gid}'"),
    )
    .await
    .unwrap();
    drop(run(&mut connection, work).await);
    let text = statement::vote(&gid, Epoch(1), 100, End::Prepare);
    sqlx::raw_sql(text).execute(&mut connection).await.map(drop)
}

async fn vote_fault(server: &Postgres, random: u128, work: &str) -> (Option<String>, VoteFault) {
    let error = vote(server, random, work).await.unwrap_err();
    (code(&error), of_vote(&error))
}

async fn finish(connection: &mut PgConnection, text: String) -> (Option<String>, FinishFault) {
    let error = run(connection, text).await.unwrap_err();
    (code(&error), of_finish(&error))
}

fn coded<T>(code: &str, fault: T) -> (Option<String>, T) {
    (Some(code.to_owned()), fault)
}

#[tokio::test]
async fn errors_of_a_vote_message() {
    let server = start().await;
    let mut admin = connect(&server).await;
    vote(&server, 1, WORK).await.unwrap();
    let seal = statement::seal(&gid(2), None, Session::Clean);
    sqlx::raw_sql(seal).execute(&mut admin).await.unwrap();
    let (refused, passing) = (
        VoteFault::Refused { retryable: false },
        VoteFault::Refused { retryable: true },
    );
    for (random, work, expected) in [
        (2, WORK, coded("23505", VoteFault::Taken)),
        (1, WORK, coded("55P03", VoteFault::Taken)),
        (3, "commit", coded("25P01", VoteFault::HandlerEnded)),
        (3, "rollback", coded("25P01", VoteFault::HandlerEnded)),
        (3, "commit; begin", coded("22012", VoteFault::HandlerEnded)),
        (3, "select 1/0", coded("25P02", VoteFault::Failed)),
        (3, "insert into child values (1)", coded("23503", refused)),
        (3, "insert into single values (1)", coded("23505", refused)),
        (
            3,
            "insert into note values (1); notify x",
            coded("0A000", refused),
        ),
        (
            3,
            "create temporary table t (id int)",
            coded("0A000", refused),
        ),
        (
            3,
            "insert into accordant.floor (issuer, minted, settling) values ('acc.0.00001', 1000000, 0)",
            coded("23502", VoteFault::BelowFloor),
        ),
    ] {
        assert_eq!(vote_fault(&server, random, work).await, expected, "{work}");
    }
    let taken = format!("begin; {WORK}; prepare transaction '{}'", gid(4));
    run(&mut admin, taken).await.unwrap();
    assert_eq!(
        vote_fault(&server, 4, WORK).await,
        coded("42710", VoteFault::Taken)
    );
    run(
        &mut admin,
        format!("begin; {WORK}; prepare transaction 'third'"),
    )
    .await
    .unwrap();
    assert_eq!(vote_fault(&server, 5, WORK).await, coded("53200", passing));
    let long = format!("begin; {WORK}; prepare transaction '{}'", "x".repeat(200));
    let error = run(&mut admin, long).await.unwrap_err();
    assert_eq!((code(&error), of_vote(&error)), coded("22023", refused));
}

#[tokio::test]
async fn serialization_failure_at_the_vote() {
    let server = start().await;
    let (mut one, mut two) = (connect(&server).await, connect(&server).await);
    let mut faults = Vec::new();
    for (connection, random) in [(&mut one, 1), (&mut two, 2)] {
        run(connection, statement::PLANS).await.unwrap();
        let begin = "begin isolation level serializable; select count(*) from note";
        run(
            connection,
            format!("{begin}; set local accordant.gid = '{}'", gid(random)),
        )
        .await
        .unwrap();
    }
    run(&mut one, WORK).await.unwrap();
    run(&mut two, WORK).await.unwrap();
    for (connection, random) in [(&mut one, 1), (&mut two, 2)] {
        let text = statement::vote(&gid(random), Epoch(1), 100, End::Prepare);
        if let Err(error) = sqlx::raw_sql(text).execute(connection).await {
            faults.push((code(&error), of_vote(&error)));
        }
    }
    assert_eq!(
        faults,
        [coded("40001", VoteFault::Refused { retryable: true })]
    );
}

#[tokio::test]
async fn session_that_is_cut_off_leaves_everything_unknown() {
    let server = start().await;
    for (sql, expected) in [
        (
            "set statement_timeout = 10; select pg_sleep(10)",
            Some("57014"),
        ),
        (
            "select pg_cancel_backend(pg_backend_pid()); select pg_sleep(10)",
            Some("57014"),
        ),
        ("select pg_terminate_backend(pg_backend_pid())", None),
    ] {
        let error = run(&mut connect(&server).await, sql).await.unwrap_err();
        assert_eq!(code(&error).as_deref(), expected, "{sql}");
        assert_eq!(of_vote(&error), VoteFault::Unknown, "{sql}");
        assert_eq!(of_finish(&error), FinishFault::Unknown, "{sql}");
        assert_eq!(of_seal(&error), SealFault::Unknown, "{sql}");
        assert!(is_lost(&error), "{sql}");
    }
    let mut idle = connect(&server).await;
    run(
        &mut idle,
        "set idle_in_transaction_session_timeout = 10; begin",
    )
    .await
    .unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let error = run(&mut idle, "select 1").await.unwrap_err();
    assert_eq!(
        (code(&error), of_vote(&error)),
        (None, VoteFault::Unknown),
        "{error}"
    );
    let mut killed = connect(&server).await;
    server.kill().await.unwrap();
    // Its backend answers until it notices that its parent is gone.
    let error = loop {
        match run(&mut killed, "select 1").await {
            Ok(()) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            Err(error) => break error,
        }
    };
    assert_eq!(
        (code(&error), of_vote(&error)),
        (None, VoteFault::Unknown),
        "{error}"
    );
    let error = PgConnection::connect(&server.url("a")).await.unwrap_err();
    assert_eq!(
        (code(&error), of_finish(&error)),
        (None, FinishFault::Unknown),
        "{error}"
    );
}

#[tokio::test]
async fn errors_of_commit_prepared_and_rollback_prepared() {
    let server = start().await;
    let mut admin = connect(&server).await;
    let mut elsewhere = PgConnection::connect(&server.url("b")).await.unwrap();
    let mut stranger = connect(&server).await;
    run(&mut stranger, "set session authorization stranger")
        .await
        .unwrap();
    vote(&server, 1, WORK).await.unwrap();
    let (ours, missing) = (gid(1), gid(9));
    for verb in ["commit", "rollback"] {
        let text = |gid: &Gid| format!("{verb} prepared '{gid}'");
        let found = finish(&mut admin, text(&missing)).await;
        assert_eq!(found, coded("42704", FinishFault::Missing));
        let found = finish(&mut stranger, text(&ours)).await;
        assert_eq!(found, coded("42501", FinishFault::NotOurs));
        let found = finish(&mut elsewhere, text(&ours)).await;
        assert_eq!(found, coded("0A000", FinishFault::NotOurs));
        let found = finish(&mut admin, format!("select 1; {}", text(&ours))).await;
        assert_eq!(found, coded("25001", FinishFault::Later));
    }
    // After a checkpoint the state is in a file, which a bad disk may damage.
    run(&mut admin, "checkpoint").await.unwrap();
    let folder = server.data_dir().unwrap().join("pg_twophase");
    let file = std::fs::read_dir(folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = std::fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[40] ^= 0xff;
    std::fs::write(&file, damaged).unwrap();
    let found = finish(&mut admin, format!("commit prepared '{ours}'")).await;
    assert_eq!(found, coded("XX001", FinishFault::Damaged));
    std::fs::write(&file, whole).unwrap();
    run(&mut admin, format!("commit prepared '{ours}'"))
        .await
        .unwrap();
}

#[tokio::test]
async fn branch_that_waits_for_its_standby_is_busy() {
    let server = start().await;
    let mut admin = connect(&server).await;
    run(
        &mut admin,
        "alter system set synchronous_standby_names = 'nobody'",
    )
    .await
    .unwrap();
    run(&mut admin, "select pg_reload_conf()").await.unwrap();
    let waiting = async {
        let waits = "select from pg_stat_activity where wait_event = 'SyncRep'";
        while sqlx::query(waits)
            .fetch_all(&mut admin)
            .await
            .unwrap()
            .is_empty()
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let found = finish(&mut admin, format!("commit prepared '{}'", gid(1))).await;
        assert_eq!(found, coded("55000", FinishFault::Busy));
        run(&mut admin, "alter system reset synchronous_standby_names")
            .await
            .unwrap();
        run(&mut admin, "select pg_reload_conf()").await.unwrap();
    };
    let (voted, ()) = tokio::join!(vote(&server, 1, WORK), waiting);
    voted.unwrap();
    run(&mut admin, format!("rollback prepared '{}'", gid(1)))
        .await
        .unwrap();
}

#[tokio::test]
async fn seal_behind_a_marker_is_blocked() {
    let server = start().await;
    vote(&server, 1, WORK).await.unwrap();
    let text = statement::seal(&gid(1), None, Session::Clean);
    let error = sqlx::raw_sql(text)
        .execute(&mut connect(&server).await)
        .await
        .unwrap_err();
    assert_eq!(
        (code(&error), of_seal(&error)),
        coded("55P03", SealFault::Blocked)
    );
}

async fn planned(server: &Postgres) -> PgConnection {
    let mut connection = connect(server).await;
    run(&mut connection, statement::PLANS).await.unwrap();
    connection
}

#[tokio::test]
async fn errors_of_the_rows_of_a_barrier() {
    let server = start().await;
    let bounds = Bounds { statement_ms: 9_000, idle_ms: 9_000, lock_ms: 50 };
    let cross = |verb| statement::cross(&gid(1), verb, Epoch(1), bounds, 50).0;
    let mut first = planned(&server).await;
    run(&mut first, cross(Verb::Act)).await.unwrap();
    for verb in [Verb::Act, Verb::Compensate] {
        let mut second = planned(&server).await;
        let error = run(&mut second, cross(verb)).await.unwrap_err();
        assert_eq!(
            (code(&error), of_crossing(&error)),
            coded("55P03", CrossingFault::AtWork)
        );
    }
    // A snapshot from before the row cannot tell what it says.
    let mut late = planned(&server).await;
    run(&mut late, "begin isolation level repeatable read; select 1")
        .await
        .unwrap();
    run(&mut first, "commit").await.unwrap();
    let bar = "execute accordant_bar ('GTID', 0, 'act', 'skipped', 'a', 1, 1)";
    let bar = bar.replace("GTID", &gid(1).gtid.to_string());
    let error = run(&mut late, bar).await.unwrap_err();
    assert_eq!(
        (code(&error), of_crossing(&error)),
        coded("40001", CrossingFault::Passing)
    );
    run(&mut late, "rollback; deallocate all").await.unwrap();
    let error = run(&mut late, cross(Verb::Try)).await.unwrap_err();
    assert_eq!(
        (code(&error), of_crossing(&error)),
        coded("26000", CrossingFault::Unknown)
    );
}

#[tokio::test]
async fn server_without_slots_refuses_to_prepare() {
    let server = Postgres::builder()
        .private()
        .database("a")
        .max_prepared_transactions(0);
    let server = server.durable(false).start().await.unwrap();
    let mut admin = connect(&server).await;
    let error = run(&mut admin, "begin; prepare transaction 'x'")
        .await
        .unwrap_err();
    let refused = VoteFault::Refused { retryable: false };
    assert_eq!((code(&error), of_vote(&error)), coded("55000", refused));
}

#[tokio::test]
async fn failed_transaction_answers_prepare_without_an_error() {
    // The trap itself: why the vote message has guards.
    let server = start().await;
    let mut connection = connect(&server).await;
    run(&mut connection, "begin").await.unwrap();
    run(&mut connection, "select 1/0").await.unwrap_err();
    run(&mut connection, format!("prepare transaction '{}'", gid(1)))
        .await
        .unwrap();
    let prepared = sqlx::query("select from pg_prepared_xacts")
        .fetch_all(&mut connection)
        .await;
    assert!(prepared.unwrap().is_empty());
    // Outside a transaction, several statements in a message even prepare an empty one.
    run(
        &mut connection,
        format!("select 1; prepare transaction '{}'", gid(1)),
    )
    .await
    .unwrap();
    let prepared = sqlx::query("select from pg_prepared_xacts")
        .fetch_all(&mut connection)
        .await;
    assert_eq!(prepared.unwrap().len(), 1);
    run(&mut connection, format!("rollback prepared '{}'", gid(1)))
        .await
        .unwrap();
}
