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
