//! I2; AC2, no reversal: at most one decision per transaction, over all epochs.
//!
//! Reference: Bernstein, Hadzilacos and Goodman (1987), chapter 7. Also: one transaction per
//! idempotency key, or a repeat would do the work twice.

use accordant_protocol::record::Record;

use super::{Invariant, Violation};
use crate::world::World;

/// Checks the journal.
pub fn check(world: &World, violations: &mut Vec<Violation>) {
    for rows in world.journal.histories.values() {
        let decisions = rows
            .iter()
            .filter(|row| row.entry.record.fate().is_some())
            .count();
        if decisions > 1 {
            let what = format!("the journal holds {decisions} decisions about one transaction");
            violations.push(Violation::new(Invariant::OneDecision, what));
        }
    }
    let begun = |row: &crate::world::JournalRow| matches!(row.entry.record, Record::Begun(_));
    let begun = world
        .journal
        .histories
        .values()
        .filter(|rows| rows.iter().any(begun))
        .count();
    if begun > 1 {
        let what = format!("{begun} transactions are begun under one idempotency key");
        violations.push(Violation::new(Invariant::OneDecision, what));
    }
}
