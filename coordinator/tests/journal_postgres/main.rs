//! What the journal in PostgreSQL promises beyond the conformance suite.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod cost;
mod support;

use std::sync::Arc;
use std::time::Duration;

use accordant_coordinator::journal::conformance::fixture::Transaction;
use accordant_coordinator::journal::error::{FlushError, LeaseError, OpenError};
use accordant_coordinator::journal::postgres::{PostgresOptions, PostgresStore, STATEMENTS};
use accordant_coordinator::journal::store::{Flushed, Held, Refusal, Store};
use accordant_protocol::id::{Cluster, Epoch};
use accordant_testbed_postgres::Postgres;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row, SqlSafeStr};

use support::{PARTITION, World, lease, options, server};

#[tokio::test]
async fn every_statement_is_prepared_on_a_migrated_server() {
    let world = World::new().await;
    let mut connection = world.psql().await;
    for sql in STATEMENTS {
        let prepared = connection.prepare(sql.into_sql_str()).await;
        prepared.unwrap_or_else(|error| panic!("{error}: {sql}"));
    }
}

#[tokio::test]
async fn a_take_over_waits_for_the_flush_in_flight_and_then_sees_it() {
    let world = World::new().await;
    let one = world.transaction();
    let mut holder = world.hold(&one).await;
    let flush = world.flush(&one);
    world.waiting(1).await;
    let other = Arc::new(world.other().await);
    let taker = Arc::clone(&other);
    let take = tokio::spawn(async move { taker.acquire(PARTITION, &lease("me")).await });
    world.waiting(2).await;
    assert!(!take.is_finished(), "the flush holds its fence");
    holder.execute("rollback").await.unwrap();
    assert_eq!(flush.await.unwrap().unwrap(), [Flushed::Durable]);
    assert!(take.await.unwrap().unwrap().epoch > world.epoch);
    let open = other.load_open(PARTITION, None, 10).await.unwrap();
    assert_eq!(
        open.iter().map(|stored| stored.gtid).collect::<Vec<_>>(),
        [one.gtid]
    );
    let late = world.store.flush(&[one.committed(1)]).await.unwrap();
    assert_eq!(late, [Flushed::Fenced]);
}

#[tokio::test]
async fn a_flush_that_waited_for_a_take_over_writes_nothing() {
    let world = World::new().await;
    let one = world.append().await;
    let mut taker = world.psql().await;
    taker.execute("begin").await.unwrap();
    let raise = "update accordant_journal.partition set epoch = epoch + 1 where id = 1";
    taker.execute(raise).await.unwrap();
    let store = Arc::clone(&world.store);
    let (two, committed) = (world.transaction(), one.committed(1));
    let begun = two.begun();
    let flush = tokio::spawn(async move { store.flush(&[committed, begun]).await });
    world.waiting(1).await;
    taker.execute("commit").await.unwrap();
    assert_eq!(
        flush.await.unwrap().unwrap(),
        [Flushed::Fenced, Flushed::Fenced]
    );
    assert!(world.store.read(two.gtid).await.unwrap().is_none());
    assert_eq!(
        world
            .store
            .read(one.gtid)
            .await
            .unwrap()
            .unwrap()
            .records
            .len(),
        1
    );
}

#[tokio::test]
async fn a_lease_is_renewed_while_a_flush_is_in_flight_and_a_take_over_waits_for_it() {
    let world = World::new().await;
    let one = world.transaction();
    let mut holder = world.hold(&one).await;
    let flush = world.flush(&one);
    world.waiting(1).await;
    let other = world.other().await;
    let take = tokio::spawn(async move { other.acquire(PARTITION, &lease("me")).await });
    world.waiting(2).await;
    let held = Held { partition: PARTITION, epoch: world.epoch };
    let (held, mine) = ([held], lease("me"));
    let renewed = world.store.renew(&held, &mine);
    let renewed = tokio::time::timeout(Duration::from_secs(3), renewed)
        .await
        .unwrap();
    assert_eq!(renewed.unwrap(), []);
    holder.execute("rollback").await.unwrap();
    assert_eq!(
        flush.await.unwrap().unwrap(),
        [Flushed::Durable],
        "the epoch still holds"
    );
    assert!(take.await.unwrap().unwrap().epoch > world.epoch);
}

#[tokio::test]
async fn a_take_over_does_not_wait_for_ever() {
    let world = World::new().await;
    let one = world.transaction();
    let _holder = world.hold(&one).await;
    let _flush = world.flush(&one);
    world.waiting(1).await;
    let refused = world.other().await.acquire(PARTITION, &lease("me")).await;
    assert!(
        matches!(refused, Err(LeaseError::Unavailable { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_session_that_is_ended_in_flight_leaves_the_outcome_unknown() {
    let world = World::new().await;
    let one = world.transaction();
    let mut holder = world.hold(&one).await;
    let flush = world.flush(&one);
    world.waiting(1).await;
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'accordant-journal' and wait_event_type = 'Lock'
                and datname = current_database()";
    holder.execute(end).await.unwrap();
    let refused = flush.await.unwrap().unwrap_err();
    assert!(matches!(refused, FlushError::Unknown { .. }), "{refused:?}");
    holder.execute("rollback").await.unwrap();
    let epoch = world
        .store
        .acquire(PARTITION, &lease("me"))
        .await
        .unwrap()
        .epoch;
    let again = one.under(epoch);
    assert!(
        world
            .store
            .load_open(PARTITION, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        world.store.flush(&[again.begun()]).await.unwrap(),
        [Flushed::Durable]
    );
}

#[tokio::test]
async fn a_statement_that_the_server_undoes_is_not_executed() {
    let world = World::new().await;
    let one = world.transaction();
    let mut holder = world.hold(&one).await;
    let flush = world.flush(&one);
    world.waiting(1).await;
    let cancel = "select pg_cancel_backend(pid) from pg_stat_activity
        where application_name = 'accordant-journal' and wait_event_type = 'Lock'
                and datname = current_database()";
    holder.execute(cancel).await.unwrap();
    let refused = flush.await.unwrap().unwrap_err();
    assert!(
        matches!(refused, FlushError::Unavailable { .. }),
        "{refused:?}"
    );
    holder.execute("rollback").await.unwrap();
    assert_eq!(
        world.store.flush(&[one.begun()]).await.unwrap(),
        [Flushed::Durable]
    );
}

/// The server reports a statement's result before its commit, which may still fail.
#[tokio::test]
async fn a_commit_that_fails_after_its_statement_is_no_acknowledgement() {
    let world = World::new().await;
    let mut connection = world.psql().await;
    let trap = "
        create function refuse() returns trigger language plpgsql as
            $$ begin raise exception 'refused at commit'; end $$;
        create constraint trigger refuse after insert on accordant_journal.record
            deferrable initially deferred for each row execute function refuse();";
    sqlx::raw_sql(trap).execute(&mut connection).await.unwrap();
    let one = world.transaction();
    let refused = world.store.flush(&[one.begun()]).await.unwrap_err();
    assert!(
        matches!(refused, FlushError::Unavailable { .. }),
        "{refused:?}"
    );
    assert!(world.store.read(one.gtid).await.unwrap().is_none());
    connection
        .execute("drop function refuse() cascade")
        .await
        .unwrap();
    assert_eq!(
        world.store.flush(&[one.begun()]).await.unwrap(),
        [Flushed::Durable]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_never_loses_what_was_acknowledged() {
    let server = Postgres::builder().database("journal").durable(false);
    let server = Arc::new(server.private().start().await.unwrap());
    let url = server.url("journal");
    let mut world = World::on(server, url).await;
    for _ in 0..3 {
        let (store, mint, epoch) = (
            Arc::clone(&world.store),
            Arc::clone(&world.mint),
            world.epoch,
        );
        let writer = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            loop {
                let one = mint.transaction(PARTITION, epoch);
                match store.flush(&[one.begun(), one.committed(1)]).await {
                    Ok(flushed) => assert_eq!(flushed, [Flushed::Durable; 2]),
                    Err(FlushError::Unavailable { .. }) => return (acknowledged, None),
                    Err(FlushError::Unknown { .. }) => return (acknowledged, Some(one)),
                    Err(surprise) => panic!("{surprise:?}"),
                }
                acknowledged.push(one);
            }
        });
        tokio::time::sleep(Duration::from_millis(150)).await;
        world.server.kill().await.unwrap();
        let (acknowledged, unknown) = writer.await.unwrap();
        assert!(!acknowledged.is_empty());
        world.server.start_again().await.unwrap();
        world.epoch = take_soon(&world.store).await;
        for one in &acknowledged {
            let stored = read_soon(&world.store, one).await;
            assert_eq!(stored, Some(2), "{}", one.gtid);
        }
        if let Some(one) = unknown {
            let stored = read_soon(&world.store, &one).await;
            assert!(
                matches!(stored, None | Some(2)),
                "all of a flush or nothing"
            );
        }
    }
}

async fn take_soon(store: &PostgresStore) -> Epoch {
    for _ in 0..20 {
        if let Ok(ownership) = store.acquire(PARTITION, &lease("me")).await {
            return ownership.epoch;
        }
    }
    panic!("the partition cannot be taken");
}

/// Readers notice a restart of the server only when they fail.
async fn read_soon(store: &PostgresStore, one: &Transaction) -> Option<usize> {
    for _ in 0..20 {
        if let Ok(stored) = store.read(one.gtid).await {
            return stored.map(|stored| stored.records.len());
        }
    }
    panic!("the journal cannot be read");
}

#[tokio::test]
async fn a_server_that_loses_writes_is_refused_with_the_fix() {
    let (_server, url) = server().await;
    let strict = PostgresOptions { accept_unsafe_server: false, ..options(url) };
    let refused = PostgresStore::open(strict).await.unwrap_err().to_string();
    assert!(refused.contains("set `fsync = on`"), "{refused}");
}

#[tokio::test]
async fn a_durable_server_is_taken_and_an_ordinary_role_suffices() {
    let server = Postgres::builder()
        .database("journal")
        .private()
        .start()
        .await
        .unwrap();
    let url = server.url("journal");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection.execute("create role clerk login").await.unwrap();
    let clerk = url
        .replacen("postgres@", "clerk@", 1)
        .replacen("user=postgres", "user=clerk", 1);
    assert_ne!(clerk, url);
    let strict = PostgresOptions { accept_unsafe_server: false, ..options(clerk) };
    let refused = PostgresStore::open(strict.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("grant create on database"), "{refused}");
    connection
        .execute("grant create on database journal to clerk")
        .await
        .unwrap();
    let store = PostgresStore::open(strict).await.unwrap();
    store.probe().await.unwrap();
}

#[tokio::test]
async fn a_moved_journal_is_refused_until_it_is_opened_as_restored() {
    let world = World::new().await;
    let (one, never) = (world.append().await, world.transaction());
    let before = world.store.description().incarnation;
    let mut connection = world.psql().await;
    let moved = "update accordant_journal.journal set timeline = timeline + 1";
    connection.execute(moved).await.unwrap();
    let url = world.url.clone();
    let refused = PostgresStore::open(options(url.clone())).await.unwrap_err();
    assert!(matches!(refused, OpenError::Moved { .. }), "{refused:?}");
    let restored = PostgresOptions { restored: true, ..options(url.clone()) };
    let store = PostgresStore::open(restored).await.unwrap();
    assert_ne!(store.description().incarnation, before);
    let fenced = world.store.flush(&[one.committed(1)]).await.unwrap();
    assert_eq!(fenced, [Flushed::Fenced], "everyone else is fenced");
    let epoch = store
        .acquire(PARTITION, &lease("they"))
        .await
        .unwrap()
        .epoch;
    let presumed = store.flush(&[never.under(epoch).presumed()]).await.unwrap();
    assert_eq!(
        presumed,
        [Flushed::Refused(Refusal::Foreign)],
        "absence means nothing there"
    );
    let known = store.flush(&[one.under(epoch).aborted(1)]).await.unwrap();
    assert_eq!(known, [Flushed::Durable]);
    let row = connection
        .fetch_one("select incarnation, timeline from accordant_journal.former_incarnation")
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), i64::from(before.0));
    let again = PostgresStore::open(options(url)).await.unwrap();
    assert_eq!(again.description(), store.description(), "once is enough");
}

#[tokio::test]
async fn many_coordinators_make_one_journal_and_another_one_is_refused() {
    let (_server, url) = server().await;
    let opens = (0..6).map(|_| tokio::spawn(PostgresStore::open(options(url.clone()))));
    let mut descriptions = Vec::new();
    for open in opens.collect::<Vec<_>>() {
        descriptions.push(open.await.unwrap().unwrap().description().clone());
    }
    descriptions.dedup();
    assert_eq!(descriptions.len(), 1, "{descriptions:?}");
    let other = PostgresOptions {
        cluster: Cluster::new("other").unwrap(),
        ..options(url.clone())
    };
    let refused = PostgresStore::open(other).await.unwrap_err();
    assert!(matches!(refused, OpenError::OtherCluster { .. }));
    let more = PostgresOptions { partitions: Some(5), ..options(url.clone()) };
    let refused = PostgresStore::open(more).await.unwrap_err();
    assert!(matches!(
        refused,
        OpenError::OtherPartitions { stored: 4, ours: 5 }
    ));
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let newer = "insert into accordant_journal.schema_version (version) values (99)";
    connection.execute(newer).await.unwrap();
    let refused = PostgresStore::open(options(url)).await.unwrap_err();
    assert!(matches!(refused, OpenError::NewerSchema { stored: 99, .. }));
}

#[tokio::test]
async fn a_journal_of_the_first_schema_is_brought_up_to_date_and_keeps_what_it_holds() {
    let world = World::new().await;
    let one = world.transaction();
    let flushed = world.store.flush(&[one.begun()]).await.unwrap();
    assert_eq!(flushed, [Flushed::Durable]);
    // What the second step adds is taken away again.
    let mut connection = PgConnection::connect(&world.url).await.unwrap();
    let back = "alter table accordant_journal.transaction drop column stuck;
                delete from accordant_journal.schema_version where version > 1";
    connection.execute(back).await.unwrap();
    let (a, b) = tokio::join!(world.other(), world.other());
    assert_eq!(a.description(), b.description());
    let epoch = a.acquire(PARTITION, &lease("me")).await.unwrap().epoch;
    assert!(epoch > world.epoch);
    let stored = b.read(one.gtid).await.unwrap().unwrap();
    assert_eq!(stored.records.len(), 1);
    let versions = "select count(*) from accordant_journal.schema_version";
    let versions: i64 = connection.fetch_one(versions).await.unwrap().get(0);
    assert_eq!(versions, 2);
}
