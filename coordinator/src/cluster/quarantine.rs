//! Transactions whose stored history is not legal. Nothing is done for them until an operator
//! has looked; they are reported, and stop no other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use accordant_protocol::id::Gtid;

/// A transaction that cannot be acted upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Its id.
    pub gtid: Gtid,
    /// What is wrong with its history.
    pub error: String,
}

/// Those that were found. Bounded by what the journal holds open.
#[derive(Clone, Debug, Default)]
pub struct Quarantine(Arc<Mutex<BTreeMap<Gtid, String>>>);

impl Quarantine {
    /// All of them, by id.
    #[must_use]
    pub fn list(&self) -> Vec<Quarantined> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.iter().map(|(gtid, error)| (*gtid, error.clone()));
        all.map(|(gtid, error)| Quarantined { gtid, error })
            .collect()
    }

    /// What is wrong with this one, if anything.
    #[must_use]
    pub fn find(&self, gtid: &Gtid) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(gtid)
            .cloned()
    }

    pub(super) fn add(&self, gtid: Gtid, error: String) {
        tracing::error!(%gtid, error, "a transaction's history is not legal: it is left alone");
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(gtid, error);
        let count = f64::from(u32::try_from(all.len()).unwrap_or(u32::MAX));
        metrics::gauge!("accordant_quarantined").set(count);
    }
}
