//! I6 and I11; AC5, termination: once faults stop, everything ends. And AC4, non-triviality:
//! without faults, if all vote yes, it ends in commit.
//!
//! Reference: Bernstein, Hadzilacos and Goodman (1987), chapter 7. Checked in the quiet state to
//! which `world/heal.rs` brings each state. Without AC4 a coordinator that always aborts would pass
//! everything else.

use accordant_protocol::record::Fate;
use accordant_protocol::wire::api::Outcome;

use super::{Invariant, Violation, closure};
use crate::world::{Config, Row, World, branch_name};

/// Checks a quiet state.
pub fn check(config: &Config, world: &World, violations: &mut Vec<Violation>) {
    for gtid in world.gtids() {
        let fate = world.journal.fate(gtid);
        let begun = !world.journal.rows(gtid).is_empty();
        if begun && !world.journal.is_closed(gtid) {
            let what = format!("all is quiet, and a transaction stays open, decided {fate:?}");
            violations.push(Violation::new(Invariant::Termination, what));
        }
        for (branch, participant) in world.branches() {
            let (name, held) = (branch_name(branch), participant.branch(gtid));
            if held.prepared {
                let what = format!("all is quiet, and {name} is still prepared");
                violations.push(Violation::new(Invariant::NoOrphan, what));
            }
            let due = fate == Some(Fate::Commit) && !world.is_read_only(gtid, branch);
            if due && held.row != Some(Row::Marker) {
                let what = format!("all is quiet, commit is decided, and {name} has not committed");
                violations.push(Violation::new(Invariant::Termination, what));
            }
        }
        closure::check_quiet(world, gtid, violations);
        for (told, outcome) in &world.client.told {
            let kept = *outcome != Outcome::Committed || fate == Some(Fate::Commit);
            if *told == gtid && !kept {
                let what = "the client was told committed, and the journal lost it";
                violations.push(Violation::new(Invariant::AnswerTruth, what));
            }
        }
        let untouched = world.budget.faults_left() == config.budget.faults_left();
        let unwilling = world.services.values().any(|it| it.unit(gtid).unwilling);
        let refused = world.branches().any(|(_, it)| it.branch(gtid).refused) || unwilling;
        // One that was never begun has nothing that could commit.
        let presumed = world
            .journal
            .history(gtid)
            .is_some_and(|it| it.begun.is_none());
        let smooth = untouched && !world.late && !refused && !presumed;
        if smooth && fate == Some(Fate::Abort) {
            let what = "nothing went wrong and nobody refused, and abort was decided";
            violations.push(Violation::new(Invariant::NonTriviality, what));
        }
    }
}
