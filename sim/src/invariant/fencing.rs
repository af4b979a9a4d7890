//! I9, fencing: after an epoch was raised, the journal takes no row of an earlier one.
//!
//! Reference: the fencing tokens of Kleppmann, *How to do distributed locking* (2016).

use super::{Invariant, Violation};
use crate::world::World;

/// Checks every row of the journal.
pub fn check(world: &World, violations: &mut Vec<Violation>) {
    for row in world.journal.histories.values().flatten() {
        if row.entry.epoch != row.present {
            let (old, present) = (row.entry.epoch, row.present);
            let what = format!("a row of epoch {old} was written when epoch {present} was there");
            violations.push(Violation::new(Invariant::Fencing, what));
        }
    }
}
