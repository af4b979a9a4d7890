//! I1; AC1, agreement: no transaction has one branch committed and another aborted.
//!
//! Reference: Bernstein, Hadzilacos and Goodman, *Concurrency Control and Recovery in Database
//! Systems* (1987), chapter 7. A durable decision counts as a branch that has ended by it, so that
//! a split shows before the second branch has ended. A branch that the decision holds for read-only
//! took no part in the outcome: `once.rs` sees to it. Branches in doubt are left to
//! `termination.rs`.

use accordant_protocol::record::Fate;

use super::{Invariant, Violation};
use crate::world::{Row, World};

/// Checks every transaction.
pub fn check(world: &World, violations: &mut Vec<Violation>) {
    for gtid in world.gtids() {
        let fates = world
            .journal
            .rows(gtid)
            .iter()
            .filter_map(|row| row.entry.record.fate());
        let (mut committed, mut aborted) = (None, None);
        for fate in fates {
            match fate {
                Fate::Commit => committed = Some("the decision"),
                Fate::Abort => aborted = Some("the decision"),
            }
        }
        for (branch, participant) in world.branches() {
            if world.is_read_only(gtid, branch) {
                continue;
            }
            let name = crate::world::branch_name(branch);
            match participant.branch(gtid).row {
                Some(Row::Marker) => committed = Some(name),
                Some(Row::Seal) => aborted = Some(name),
                None => {}
            }
        }
        if let (Some(committed), Some(aborted)) = (committed, aborted) {
            let what = format!("{committed} is commit, {aborted} is abort");
            violations.push(Violation::new(Invariant::Agreement, what));
        }
    }
}
