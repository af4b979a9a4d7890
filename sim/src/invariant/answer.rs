//! I4, answer truth: what a client or a participant was told stays true, and a participant's no
//! stays a no.
//!
//! An answer that was lost counts as given: it may be asked for again. Heuristic outcomes are left
//! to `honesty.rs`.

use accordant_protocol::record::Fate;
use accordant_protocol::wire::api::{Outcome, Verdict};

use super::{Invariant, Violation};
use crate::world::{Row, World, branch_name};

/// Checks what was told against what is so.
pub fn check(world: &World, violations: &mut Vec<Violation>) {
    client(world, violations);
    for (branch, participant) in world.branches() {
        let name = branch_name(branch);
        for (gtid, verdict) in &participant.verdicts {
            let fate = world.journal.fate(*gtid);
            let read_only = world.is_read_only(*gtid, branch);
            let wrong = match verdict {
                Verdict::Commit => fate != Some(Fate::Commit),
                Verdict::Abort => fate == Some(Fate::Commit) && !read_only,
                Verdict::Pending | Verdict::Unknown | _ => false,
            };
            if wrong {
                let what = format!("{name} was told {verdict:?}, and the decision is {fate:?}");
                violations.push(Violation::new(Invariant::AnswerTruth, what));
            }
        }
        for (gtid, held) in &participant.branches {
            let alive = held.prepared || held.row == Some(Row::Marker);
            if held.denied && alive {
                let what = format!("{name} said that it is aborted, and came to life afterwards");
                violations.push(Violation::new(Invariant::AnswerTruth, what));
            }
            if held.denied
                && world.journal.fate(*gtid) == Some(Fate::Commit)
                && !world.is_read_only(*gtid, branch)
            {
                let what = format!("{name} said that it is aborted, and commit is decided");
                violations.push(Violation::new(Invariant::AnswerTruth, what));
            }
        }
    }
}

fn client(world: &World, violations: &mut Vec<Violation>) {
    let told = |outcome| world.client.told.iter().any(|(_, it)| *it == outcome);
    if told(Outcome::Committed) && told(Outcome::Aborted) {
        let what = "the client was told committed, and aborted";
        violations.push(Violation::new(Invariant::AnswerTruth, what));
    }
    for (gtid, outcome) in &world.client.told {
        for (branch, participant) in world.branches() {
            let row = participant.branch(*gtid).row;
            let wrong = match outcome {
                Outcome::Committed => row == Some(Row::Seal) && !world.is_read_only(*gtid, branch),
                Outcome::Aborted => row == Some(Row::Marker),
                Outcome::Pending | Outcome::Heuristic | _ => false,
            };
            if wrong {
                let name = branch_name(branch);
                let what = format!("the client was told {outcome:?}, and {name} holds a {row:?}");
                violations.push(Violation::new(Invariant::AnswerTruth, what));
            }
        }
    }
}
