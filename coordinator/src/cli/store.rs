//! Opening the journal that the configuration names.

use std::sync::Arc;

use accordant_protocol::id::{Cluster, Incarnation};
use tracing::warn;

use crate::config::JournalUrl;
use crate::id;
use crate::journal::error::OpenError;
use crate::journal::limits::PARTITIONS_DEFAULT;
use crate::journal::memory::MemoryStore;
use crate::journal::postgres::{PostgresOptions, PostgresStore};
use crate::journal::sqlite::{SqliteOptions, SqliteStore};
use crate::journal::store::Store;

/// Which journal, and what is known about it.
pub(super) struct Opening {
    pub(super) journal: JournalUrl,
    pub(super) cluster: Cluster,
    pub(super) partitions: Option<u16>,
    pub(super) restored: bool,
    pub(super) accept_unsafe_server: bool,
}

impl Opening {
    /// Opens it, or makes it.
    pub(super) async fn open(self) -> Result<Arc<dyn Store>, OpenError> {
        let Self { journal, cluster, partitions, restored, accept_unsafe_server } = self;
        match journal {
            JournalUrl::Sqlite(path) => {
                let options = SqliteOptions { path, cluster, partitions, restored };
                let opened = tokio::task::spawn_blocking(move || SqliteStore::open(options));
                let opened = opened.await;
                let store =
                    opened.map_err(|error| OpenError::Unavailable { source: error.into() })??;
                Ok(Arc::new(store))
            }
            JournalUrl::Postgres(url) => {
                let url = url.reveal().to_owned();
                let options =
                    PostgresOptions { url, cluster, partitions, restored, accept_unsafe_server };
                Ok(Arc::new(PostgresStore::open(options).await?))
            }
            JournalUrl::Memory => {
                warn!("the journal is in memory: every transaction is forgotten at the end");
                // A participant must never take this journal for another one that is gone.
                let bits = id::random_u128()? & ((1 << 25) - 1);
                let incarnation = Incarnation(u32::try_from(bits).unwrap_or_default());
                let partitions = partitions.unwrap_or(PARTITIONS_DEFAULT);
                Ok(Arc::new(MemoryStore::new(cluster, incarnation, partitions)))
            }
        }
    }
}
