//! What a flush costs: round trips, forced writes, and rows that are read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use accordant_coordinator::journal::conformance::fixture::Mint;
use accordant_coordinator::journal::postgres::PostgresStore;
use accordant_coordinator::journal::store::{Flushed, Store};
use accordant_testbed_postgres::Postgres;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::support::{PARTITION, World, lease, options};

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
