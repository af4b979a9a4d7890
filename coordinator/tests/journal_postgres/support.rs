//! A journal in PostgreSQL, and somebody who gets in its way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use accordant_coordinator::journal::conformance::fixture::{Mint, Transaction};
use accordant_coordinator::journal::error::FlushError;
use accordant_coordinator::journal::postgres::{PostgresOptions, PostgresStore};
use accordant_coordinator::journal::store::{Flushed, Lease, OwnerId, Store};
use accordant_protocol::id::{Cluster, Epoch, PartitionId};
use accordant_testbed_postgres::Postgres;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row};
use tokio::sync::Mutex;

pub(crate) const PARTITION: PartitionId = PartitionId(1);

pub(crate) fn options(url: String) -> PostgresOptions {
    PostgresOptions {
        url,
        cluster: Cluster::new("test").unwrap(),
        partitions: Some(4),
        restored: false,
        accept_unsafe_server: true,
    }
}

pub(crate) fn lease(owner: &str) -> Lease {
    Lease { owner: OwnerId::new(owner).unwrap(), ms: 60_000 }
}

/// One server for the tests that run at a time; the last one to end stops it. A static that held it
/// would never be dropped.
static SERVER: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());
static DATABASES: AtomicUsize = AtomicUsize::new(0);

/// A server, and the URL of a new database on it.
pub(crate) async fn server() -> (Arc<Postgres>, String) {
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

pub(crate) struct World {
    pub(crate) server: Arc<Postgres>,
    pub(crate) url: String,
    pub(crate) store: Arc<PostgresStore>,
    pub(crate) mint: Arc<Mint>,
    pub(crate) epoch: Epoch,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (server, url) = server().await;
        Self::on(server, url).await
    }

    pub(crate) async fn on(server: Arc<Postgres>, url: String) -> Self {
        let store = Arc::new(PostgresStore::open(options(url.clone())).await.unwrap());
        let epoch = store.acquire(PARTITION, &lease("me")).await.unwrap().epoch;
        let mint = Arc::new(Mint::new(store.description()));
        Self { server, url, store, mint, epoch }
    }

    pub(crate) fn transaction(&self) -> Transaction {
        self.mint.transaction(PARTITION, self.epoch)
    }

    pub(crate) async fn other(&self) -> PostgresStore {
        PostgresStore::open(options(self.url.clone()))
            .await
            .unwrap()
    }

    pub(crate) async fn psql(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    pub(crate) async fn append(&self) -> Transaction {
        let one = self.transaction();
        assert_eq!(
            self.store.flush(&[one.begun()]).await.unwrap(),
            [Flushed::Durable]
        );
        one
    }

    /// Holds every flush that begins a transaction with this one's key, behind its fence.
    pub(crate) async fn hold(&self, one: &Transaction) -> PgConnection {
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
    pub(crate) async fn waiting(&self, count: i64) {
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

    pub(crate) fn flush(
        &self,
        one: &Transaction,
    ) -> tokio::task::JoinHandle<Result<Vec<Flushed>, FlushError>> {
        let (store, one) = (Arc::clone(&self.store), one.clone());
        tokio::spawn(async move { store.flush(&[one.begun()]).await })
    }
}
