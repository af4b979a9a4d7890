//! What the journal in PostgreSQL promises beyond the conformance suite.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use accordant_coordinator::journal::conformance::fixture::{Mint, Transaction};
use accordant_coordinator::journal::error::{FlushError, LeaseError, OpenError};
use accordant_coordinator::journal::postgres::{PostgresOptions, PostgresStore, STATEMENTS};
use accordant_coordinator::journal::store::{Flushed, Held, Lease, OwnerId, Refusal, Store};
use accordant_protocol::id::{Cluster, Epoch, PartitionId};
use accordant_testbed_postgres::Postgres;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row, SqlSafeStr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;

const PARTITION: PartitionId = PartitionId(1);

fn options(url: String) -> PostgresOptions {
    PostgresOptions {
        url,
        cluster: Cluster::new("test").unwrap(),
        partitions: Some(4),
        restored: false,
        accept_unsafe_server: true,
    }
}

fn lease(owner: &str) -> Lease {
    Lease { owner: OwnerId::new(owner).unwrap(), ms: 60_000 }
}

/// One server for the tests that run at a time; the last one to end stops it. A static that held it
/// would never be dropped.
static SERVER: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());
static DATABASES: AtomicUsize = AtomicUsize::new(0);

/// A server, and the URL of a new database on it.
async fn server() -> (Arc<Postgres>, String) {
    let mut shared = SERVER.lock().await;
    let server = match shared.upgrade() {
        Some(server) => server,
        None => Arc::new(Postgres::builder().durable(false).start().await.unwrap()),
    };
    *shared = Arc::downgrade(&server);
    drop(shared);
    let name = format!("journal_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    server.create_database(&name).await.unwrap();
    let url = server.url(&name);
    (server, url)
}

struct World {
    server: Arc<Postgres>,
    url: String,
    store: Arc<PostgresStore>,
    mint: Arc<Mint>,
    epoch: Epoch,
}

impl World {
    async fn new() -> Self {
        let (server, url) = server().await;
        Self::on(server, url).await
    }

    async fn on(server: Arc<Postgres>, url: String) -> Self {
        let store = Arc::new(PostgresStore::open(options(url.clone())).await.unwrap());
        let epoch = store.acquire(PARTITION, &lease("me")).await.unwrap().epoch;
        let mint = Arc::new(Mint::new(store.description()));
        Self { server, url, store, mint, epoch }
    }

    fn transaction(&self) -> Transaction {
        self.mint.transaction(PARTITION, self.epoch)
    }

    async fn other(&self) -> PostgresStore {
        PostgresStore::open(options(self.url.clone()))
            .await
            .unwrap()
    }

    async fn psql(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    async fn append(&self) -> Transaction {
        let one = self.transaction();
        assert_eq!(
            self.store.flush(&[one.begun()]).await.unwrap(),
            [Flushed::Durable]
        );
        one
    }

    /// Holds every flush that begins a transaction with this one's key, behind its fence.
    async fn hold(&self, one: &Transaction) -> PgConnection {
        let mut holder = self.psql().await;
        holder.execute("begin").await.unwrap();
        let sql = "insert into accordant_journal.transaction
            (gtid, partition, tenant, idempotency_key, minted_ms)
            values ('holder', 1, 'default', $1, 1)";
        sqlx::query(sql)
            .bind(one.key.as_str())
            .execute(&mut holder)
            .await
            .unwrap();
        holder
    }

    /// Waits until that many sessions of the journal wait for a lock.
    async fn waiting(&self, count: i64) {
        let mut connection = self.psql().await;
        let sql = "select count(*) from pg_stat_activity
            where application_name = 'accordant-journal' and wait_event_type = 'Lock'
                and datname = current_database()";
        for _ in 0..500 {
            let row = sqlx::query(sql).fetch_one(&mut connection).await.unwrap();
            if row.get::<i64, _>(0) == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not {count} sessions wait for a lock");
    }

    fn flush(
        &self,
        one: &Transaction,
    ) -> tokio::task::JoinHandle<Result<Vec<Flushed>, FlushError>> {
        let (store, one) = (Arc::clone(&self.store), one.clone());
        tokio::spawn(async move { store.flush(&[one.begun()]).await })
    }
}

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

/// Counts how often a client speaks after the server has: the round trips of each session.
async fn count_round_trips(server: PathBuf) -> (tempfile::TempDir, Arc<AtomicUsize>) {
    let folder = tempfile::TempDir::new().unwrap();
    let name = ".s.PGSQL.5432";
    let listener = UnixListener::bind(folder.path().join(name)).unwrap();
    let trips = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&trips);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let backend = UnixStream::connect(server.join(name)).await.unwrap();
            tokio::spawn(relay(client, backend, Arc::clone(&counted)));
        }
    });
    (folder, trips)
}

async fn relay(mut client: UnixStream, mut backend: UnixStream, trips: Arc<AtomicUsize>) {
    let (mut asked, mut answered) = ([0; 65_536], [0; 65_536]);
    let mut servers_turn = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(1..) if backend.write_all(&asked[..read.unwrap()]).await.is_ok() => {
                    if !servers_turn {
                        trips.fetch_add(1, Ordering::SeqCst);
                    }
                    servers_turn = true;
                }
                _ => return,
            },
            read = backend.read(&mut answered) => match read {
                Ok(1..) if client.write_all(&answered[..read.unwrap()]).await.is_ok() => {
                    servers_turn = false;
                }
                _ => return,
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_is_one_round_trip_and_one_forced_write() {
    let server = Postgres::builder().database("journal").private();
    let server = server
        .setting("synchronous_commit", "off")
        .setting("autovacuum", "off");
    let server = server
        .setting("checkpoint_timeout", "1h")
        .setting("wal_writer_delay", "10s")
        .start()
        .await
        .unwrap();
    let url = server.url("journal");
    let socket = server.data_dir().unwrap();
    let socket = socket
        .ancestors()
        .find(|folder| folder.join(".s.PGSQL.5432").exists());
    let socket = socket.unwrap().to_owned();
    let (proxy, trips) = count_round_trips(socket.clone()).await;
    let (from, to) = (
        socket.display().to_string(),
        proxy.path().display().to_string(),
    );
    let encoded = |path: &str| path.replace('/', "%2F");
    let through = url
        .replace(&from, &to)
        .replace(&encoded(&from), &encoded(&to));
    assert_ne!(through, url);
    let mut observer = PgConnection::connect(&url).await.unwrap();
    // Makes the journal, which the others find.
    flush_many(&through, &trips, 1).await;
    let before = syncs(&mut observer).await;
    flush_many(&through, &trips, 1).await;
    let between = syncs(&mut observer).await;
    flush_many(&through, &trips, 21).await;
    let after = syncs(&mut observer).await;
    let extra = (after - between) - (between - before);
    // The server's own processes sync now and then too, sometimes in time to save us one.
    let expected = (17..=23).contains(&extra);
    assert!(expected, "{extra} forced writes of 20 more flushes");
}

/// In a session of its own, since a session reports what it did at its end.
async fn flush_many(url: &str, trips: &AtomicUsize, count: usize) {
    let store = PostgresStore::open(options(url.to_owned())).await.unwrap();
    let epoch = store.acquire(PARTITION, &lease("me")).await.unwrap().epoch;
    let mint = Mint::new(store.description());
    for number in 0..count {
        let size = [1, 10, 100][number % 3];
        let at = epoch.0 * 1_000_000 + u64::try_from(number).unwrap() * 1_000;
        let made = (0..size).map(|more| mint.transaction_at(PARTITION, epoch, at + more));
        let batch: Vec<_> = made.flat_map(|one| one.whole()).collect();
        let before = trips.load(Ordering::SeqCst);
        let flushed = store.flush(&batch).await.unwrap();
        assert!(flushed.iter().all(|&one| one == Flushed::Durable));
        // The first one prepares the statement.
        if number > 0 {
            assert_eq!(
                trips.load(Ordering::SeqCst) - before,
                1,
                "round trips of a flush"
            );
        }
    }
}

async fn syncs(connection: &mut PgConnection) -> i64 {
    let journals = "select count(*) from pg_stat_activity
        where application_name = 'accordant-journal'";
    while connection
        .fetch_one(journals)
        .await
        .unwrap()
        .get::<i64, _>(0)
        > 0
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    connection
        .execute("select pg_stat_clear_snapshot()")
        .await
        .unwrap();
    let row = connection
        .fetch_one("select wal_sync from pg_stat_wal")
        .await
        .unwrap();
    row.get(0)
}

#[tokio::test]
async fn the_plan_of_a_flush_reads_no_table_as_a_whole() {
    let world = World::new().await;
    let mut batch = BTreeMap::new();
    for number in 0..200 {
        let one = world.append().await;
        batch.insert(number, one.committed(1));
    }
    let mut connection = world.psql().await;
    let scans = "select coalesce(sum(seq_scan), 0)::int8 from pg_stat_user_tables
        where relname in ('record', 'transaction')";
    let read = |row: sqlx::postgres::PgRow| row.get::<i64, _>(0);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let before = read(connection.fetch_one(scans).await.unwrap());
    let flushed = world
        .store
        .flush(&batch.into_values().collect::<Vec<_>>())
        .await
        .unwrap();
    assert!(flushed.iter().all(|&one| one == Flushed::Durable));
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    connection
        .execute("select pg_stat_clear_snapshot()")
        .await
        .unwrap();
    assert_eq!(read(connection.fetch_one(scans).await.unwrap()), before);
}
