//! The loads that are under way, one task for each partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use accordant_protocol::id::PartitionId;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use crate::journal::store::Held;

/// Partitions that are read at a time: more would only hold more pages in memory.
const LOADS_MAX: usize = 4;

/// The loads that are under way. Dropping it ends them.
pub(super) struct Loads {
    tasks: JoinSet<(Held, usize)>,
    running: BTreeMap<PartitionId, AbortHandle>,
    permits: Arc<Semaphore>,
}

impl Default for Loads {
    fn default() -> Self {
        let permits = Arc::new(Semaphore::new(LOADS_MAX));
        Self { tasks: JoinSet::new(), running: BTreeMap::new(), permits }
    }
}

impl Loads {
    /// Starts a load, in place of an earlier one of the same partition.
    pub(super) fn start<F>(&mut self, held: Held, load: F)
    where
        F: Future<Output = usize> + Send + 'static,
    {
        self.abort(held.partition);
        let permits = Arc::clone(&self.permits);
        let task = async move {
            // The semaphore is never closed; without a permit the load is only less bounded.
            let _permit = permits.acquire().await;
            (held, load.await)
        };
        let handle = self.tasks.spawn(task);
        self.running.insert(held.partition, handle);
    }

    /// Ends the load of a partition that is not owned any more.
    pub(super) fn abort(&mut self, partition: PartitionId) {
        if let Some(handle) = self.running.remove(&partition) {
            handle.abort();
        }
    }

    /// Whether none is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The next one that ends, with how many transactions it found; none if it was aborted.
    ///
    /// # Panics
    /// If the load panicked: its partition would never be served.
    pub(super) async fn next(&mut self) -> Option<(Held, usize)> {
        match self.tasks.join_next().await? {
            Ok((held, count)) => {
                self.running.remove(&held.partition);
                Some((held, count))
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_aborted) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use accordant_protocol::id::Epoch;

    use super::*;

    fn held(partition: u16) -> Held {
        Held { partition: PartitionId(partition), epoch: Epoch(1) }
    }

    #[tokio::test]
    async fn a_load_that_hangs_holds_up_no_other_and_ends_when_its_partition_is_lost() {
        let mut loads = Loads::default();
        loads.start(held(0), std::future::pending());
        loads.start(held(1), async { 7 });
        assert_eq!(loads.next().await, Some((held(1), 7)));
        loads.abort(PartitionId(0));
        assert_eq!(loads.next().await, None);
        assert!(loads.is_empty());
    }
}
