//! Until when this process may believe that it owns a partition.
//!
//! A record is fenced by the epoch: whoever has lost a partition writes nothing more. A call to a
//! plain service is fenced by nobody. So a process that was stopped for longer than its lease, and
//! wakes up in the middle of a pause before a repeat, must look at the clock before it sends.
//! What it had handed to the network before, it cannot take back: no sender can.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use accordant_protocol::id::{Epoch, PartitionId};

use super::store::Held;
use crate::clock::Moment;

/// The part of a lease, in sixths, after which it counts as over unless it was renewed: the rest is
/// for clocks that do not run alike, and for a call between this look and the network.
const SIXTHS: u64 = 5;

/// The terms of this process, by partition. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Tenure {
    terms: Arc<Mutex<BTreeMap<PartitionId, Term>>>,
}

#[derive(Clone, Copy, Debug)]
struct Term {
    epoch: Epoch,
    /// When the lease was asked for that runs now: it cannot have begun before.
    asked: Moment,
    lease_ms: u64,
}

impl Tenure {
    /// A lease of so many milliseconds was given that was asked for at a moment.
    pub fn extend(&self, held: Held, asked: Moment, lease_ms: u32) {
        let Held { partition, epoch } = held;
        let term = Term { epoch, asked, lease_ms: lease_ms.into() };
        self.terms().insert(partition, term);
    }

    /// The partition is lost or given back.
    pub fn end(&self, partition: PartitionId) {
        self.terms().remove(&partition);
    }

    /// Whether the partition is certainly still owned under this epoch, by this process's clocks.
    #[must_use]
    pub fn covers(&self, partition: PartitionId, epoch: Epoch) -> bool {
        let terms = self.terms();
        let term = terms.get(&partition).filter(|term| term.epoch == epoch);
        term.is_some_and(|term| !term.asked.is_older_than(term.lease_ms * SIXTHS / 6))
    }

    /// What is held, by its latest epoch, whether its lease still runs or not.
    pub(super) fn held(&self) -> Vec<Held> {
        let terms = self.terms();
        let held = terms.iter();
        held.map(|(&partition, term)| Held { partition, epoch: term.epoch })
            .collect()
    }

    /// Ends a term if it was one of this epoch until now.
    pub(super) fn end_of(&self, held: Held) -> bool {
        let mut terms = self.terms();
        let present = terms.get(&held.partition).map(|term| term.epoch) == Some(held.epoch);
        if present {
            terms.remove(&held.partition);
        }
        present
    }

    /// Extends what is still held under this very epoch.
    pub(super) fn renew(&self, held: Held, asked: Moment, lease_ms: u32) {
        let mut terms = self.terms();
        if let Some(term) = terms.get_mut(&held.partition)
            && term.epoch == held.epoch
        {
            (term.asked, term.lease_ms) = (asked, lease_ms.into());
        }
    }

    fn terms(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Term>> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Held = Held { partition: PartitionId(3), epoch: Epoch(7) };

    fn asked(ms_ago: u64) -> Moment {
        Moment::now().earlier_by(ms_ago, ms_ago)
    }

    #[test]
    fn covers_its_own_epoch_until_the_lease_is_nearly_over() {
        let tenure = Tenure::default();
        assert!(!tenure.covers(HELD.partition, HELD.epoch), "never held");
        tenure.extend(HELD, asked(49_000), 60_000);
        assert!(tenure.covers(HELD.partition, HELD.epoch));
        assert!(!tenure.covers(HELD.partition, Epoch(6)), "another epoch");
        assert!(
            !tenure.covers(PartitionId(4), HELD.epoch),
            "another partition"
        );
        tenure.extend(HELD, asked(50_001), 60_000);
        assert!(!tenure.covers(HELD.partition, HELD.epoch), "nearly over");
        tenure.renew(HELD, asked(0), 60_000);
        assert!(tenure.covers(HELD.partition, HELD.epoch), "renewed");
        tenure.end(HELD.partition);
        tenure.renew(HELD, asked(0), 60_000);
        assert!(
            !tenure.covers(HELD.partition, HELD.epoch),
            "what has ended is not renewed"
        );
    }

    #[test]
    fn is_over_when_either_clock_says_so() {
        // The machine was asleep: its steady clock stood still, and the wall clock was set right.
        let tenure = Tenure::default();
        tenure.extend(HELD, Moment::now().earlier_by(0, 60_000), 60_000);
        assert!(!tenure.covers(HELD.partition, HELD.epoch));
        // The wall clock was set back.
        tenure.extend(HELD, Moment::now().earlier_by(60_000, 0), 60_000);
        assert!(!tenure.covers(HELD.partition, HELD.epoch));
    }

    #[test]
    fn renewal_of_an_older_epoch_does_not_touch_a_later_one() {
        let tenure = Tenure::default();
        tenure.extend(HELD, asked(60_000), 60_000);
        let older = Held { epoch: Epoch(6), ..HELD };
        tenure.renew(older, asked(0), 60_000);
        assert!(!tenure.covers(HELD.partition, HELD.epoch));
        assert!(!tenure.end_of(older) && tenure.end_of(HELD));
        assert!(tenure.held().is_empty());
    }
}
