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
