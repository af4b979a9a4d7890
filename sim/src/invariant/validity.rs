//! I5; AC3, validity: commit is decided only if every branch has agreed.
//!
//! Reference: Bernstein, Hadzilacos and Goodman (1987), chapter 7. Taken from the databases, not
//! from the coordinator's memory: a branch that the decision counts on is prepared or committed
//! there, and one that it holds for read-only did find nothing to write, in the latest attempt
//! that was asked for under that epoch.

use accordant_protocol::record::Record;

use super::{Invariant, Violation};
use crate::world::{Row, World, branch_name};

/// Checks each durable decision to commit.
pub fn check(world: &World, violations: &mut Vec<Violation>) {
    for (gtid, rows) in &world.journal.histories {
        for row in rows {
            let Record::Committed(committed) = &row.entry.record else {
                continue;
            };
            for (branch, participant) in world.branches() {
                let held = participant.branch(*gtid);
                let vote = committed.votes.iter().find(|vote| vote.branch == branch);
                let agreed = match vote {
                    Some(vote) if vote.ended => {
                        held.read_only.is_some() || held.row == Some(Row::Marker)
                    }
                    Some(_) => held.prepared || held.row == Some(Row::Marker),
                    None => false,
                };
                if !agreed {
                    let name = branch_name(branch);
                    let what =
                        format!("commit is decided, and {name} is neither prepared nor committed");
                    violations.push(Violation::new(Invariant::Validity, what));
                }
            }
        }
    }
}
