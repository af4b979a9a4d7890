//! Every store of the journal keeps the same promises.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use accordant_coordinator::journal::conformance::Harness;
use accordant_coordinator::journal::store::Store;
use accordant_protocol::id::{Cluster, Gtid, Incarnation, Position};
use async_trait::async_trait;

fn cluster() -> Cluster {
    Cluster::new("test").unwrap()
}

mod memory {
    use accordant_coordinator::journal::memory::MemoryStore;

    use super::*;

    struct Memory(MemoryStore);

    #[async_trait]
    impl Harness for Memory {
        async fn store(&self) -> Arc<dyn Store> {
            Arc::new(self.0.clone())
        }

        async fn other(&self) -> Arc<dyn Store> {
            Arc::new(self.0.clone())
        }

        async fn reopen(&self) -> Arc<dyn Store> {
            Arc::new(self.0.clone())
        }

        async fn overwrite(&self, gtid: Gtid, position: Position, body: &str) {
            self.0.overwrite(gtid, position, body.to_owned());
        }
    }

    accordant_coordinator::journal_conformance!(Memory(MemoryStore::new(
        cluster(),
        Incarnation(5),
        4
    )));
}

mod sqlite {
    use accordant_coordinator::journal::sqlite::{SqliteOptions, SqliteStore};
    use rusqlite::Connection;
    use tempfile::TempDir;
    use tokio::sync::Mutex;

    use super::*;

    struct Sqlite {
        folder: TempDir,
        store: Mutex<Option<Arc<SqliteStore>>>,
    }

    impl Sqlite {
        fn new() -> Self {
            Self { folder: TempDir::new().unwrap(), store: Mutex::new(None) }
        }

        fn open(&self) -> Arc<SqliteStore> {
            let options = SqliteOptions {
                path: self.folder.path().join("journal.db"),
                cluster: cluster(),
                partitions: Some(4),
                restored: false,
            };
            Arc::new(SqliteStore::open(options).unwrap())
        }
    }

    #[async_trait]
    impl Harness for Sqlite {
        async fn store(&self) -> Arc<dyn Store> {
            let mut store = self.store.lock().await;
            store.get_or_insert_with(|| self.open()).clone()
        }

        async fn other(&self) -> Arc<dyn Store> {
            self.store().await
        }

        async fn reopen(&self) -> Arc<dyn Store> {
            drop(self.store.lock().await.take());
            self.store().await
        }

        async fn overwrite(&self, gtid: Gtid, position: Position, body: &str) {
            let connection = Connection::open(self.folder.path().join("journal.db")).unwrap();
            connection
                .busy_timeout(std::time::Duration::from_secs(5))
                .unwrap();
            let sql = "update record set body = ?3 where gtid = ?1 and position = ?2";
            let changed = connection
                .execute(sql, (gtid.to_string(), position.0, body))
                .unwrap();
            assert_eq!(changed, 1);
        }
    }

    accordant_coordinator::journal_conformance!(Sqlite::new());
}

mod postgres {
    use std::sync::Weak;
    use std::sync::atomic::{AtomicU32, Ordering};

    use accordant_coordinator::journal::postgres::{PostgresOptions, PostgresStore};
    use accordant_testbed_postgres::Postgres;
    use sqlx::Connection as _;
    use tokio::sync::Mutex;

    use super::*;

    /// One server for the cases that run at a time, each with a database of its own; the last one to
    /// end stops it. A static that held it would never be dropped.
    static SERVER: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());
    static DATABASES: AtomicU32 = AtomicU32::new(0);

    struct Server {
        url: String,
        _server: Arc<Postgres>,
    }

    impl Server {
        async fn new() -> Self {
            let mut shared = SERVER.lock().await;
            let server = match shared.upgrade() {
                Some(server) => server,
                None => Arc::new(Postgres::builder().durable(false).start().await.unwrap()),
            };
            *shared = Arc::downgrade(&server);
            drop(shared);
            let name = format!("journal_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
            server.create_database(&name).await.unwrap();
            Self { url: server.url(&name), _server: server }
        }

        async fn open(&self) -> Arc<dyn Store> {
            let options = PostgresOptions {
                url: self.url.clone(),
                cluster: cluster(),
                partitions: Some(4),
                restored: false,
                accept_unsafe_server: true,
            };
            Arc::new(PostgresStore::open(options).await.unwrap())
        }
    }

    #[async_trait]
    impl Harness for Server {
        async fn store(&self) -> Arc<dyn Store> {
            self.open().await
        }

        async fn other(&self) -> Arc<dyn Store> {
            self.open().await
        }

        async fn reopen(&self) -> Arc<dyn Store> {
            self.open().await
        }

        async fn overwrite(&self, gtid: Gtid, position: Position, body: &str) {
            let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
            let sql = "update accordant_journal.record set body = $3
                where gtid = $1 and position = $2";
            let update = sqlx::query(sql).bind(gtid.to_string());
            let update = update.bind(i64::from(position.0)).bind(body);
            assert_eq!(
                update
                    .execute(&mut connection)
                    .await
                    .unwrap()
                    .rows_affected(),
                1
            );
        }
    }

    accordant_coordinator::journal_conformance!(Server::new().await);
}
