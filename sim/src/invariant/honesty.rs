//! I12 and I13: nobody in this world ends a branch of his own accord, and no database is restored;
//! so any heuristic outcome and any halted participant is a false alarm, or hides a split.

use accordant_protocol::node::Transaction;
use accordant_protocol::record::Record;

use super::{Invariant, Violation};
use crate::world::World;

/// Checks nodes and journal for alarms.
pub fn check(world: &World, violations: &mut Vec<Violation>) {
    for node in world.coordinators.iter().filter_map(|it| it.node.as_ref()) {
        let heuristic = |it: &Transaction| it.is_heuristic() && !world.operated;
        if node.transactions().any(heuristic) {
            let what = "a branch is held for ended against the decision";
            violations.push(Violation::new(Invariant::Honesty, what));
        }
        if node.halted().next().is_some() {
            let what = "a participant is halted, and its database is the same as ever";
            violations.push(Violation::new(Invariant::Honesty, what));
        }
        if node.refusals() > 0 {
            let what = "the core refused an input, and all peers are correct";
            violations.push(Violation::new(Invariant::Honesty, what));
        }
    }
    for row in world.journal.histories.values().flatten() {
        if let Record::Closed(closed) = &row.entry.record
            && !closed.heuristics.is_empty()
            && !world.operated
        {
            let what = "a transaction is closed with a heuristic end";
            violations.push(Violation::new(Invariant::Honesty, what));
        }
    }
}
