//! I7, idempotence: each branch takes effect at most once, under messages that are lost, repeated,
//! reordered or late, and only if the decision counts on it.

use accordant_protocol::record::{Fate, Record};

use super::{Invariant, Violation};
use crate::world::{Row, World, branch_name};

/// Checks every branch.
pub fn check(world: &World, violations: &mut Vec<Violation>) {
    for (branch, participant) in world.branches() {
        for (gtid, held) in &participant.branches {
            let name = branch_name(branch);
            if held.effects > 1 {
                let what = format!("{name} took effect {} times", held.effects);
                violations.push(Violation::new(Invariant::Once, what));
            }
            let rows = world.journal.rows(*gtid);
            // A lone branch decides by itself.
            let lone = world.plan.is_delegated();
            let passed_by = world.journal.fate(*gtid) == Some(Fate::Commit)
                && rows.iter().any(|row| match &row.entry.record {
                    Record::Committed(record) => record
                        .votes
                        .iter()
                        .any(|vote| vote.branch == branch && vote.ended),
                    Record::Begun(_) | Record::Aborted(_) | Record::Closed(_) | _ => false,
                });
            if held.row == Some(Row::Marker) && passed_by && !lone {
                let what = format!("{name} voted read-only, and took effect later");
                violations.push(Violation::new(Invariant::Once, what));
            }
        }
    }
}
