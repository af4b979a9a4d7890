//! Every cell of the table, stepped through by a real group.

use super::fixture::{A, B, NOW, aborted, attempt, committed, in_phase, no, vote, yes};
use crate::effect::Answer;
use crate::group::{Group, Input, InputKind, Phase, Refused, Rule, Stage, TABLE, rule};
use crate::id::BranchIndex;
use crate::plan::Order;
use crate::record::Fate;
use crate::wire::contract::Vote;

/// Feeds an input of a kind. The branch is made to listen first: in most phases that refuse an
/// answer no call is out, so that a real answer would be passed over before it is looked up.
fn feed(group: &mut Group, kind: InputKind, branch: BranchIndex) -> Result<Vec<Order>, Refused> {
    let answer = match kind {
        InputKind::Durable => return group.step(NOW, Input::Durable),
        InputKind::Deadline => return group.step(NOW, Input::Deadline),
        InputKind::Yes if group.branches().len() == 1 => vote(Vote::Committed { result: None }),
        InputKind::Yes => yes(),
        InputKind::No => no(),
        InputKind::Committed => committed(),
        InputKind::Aborted => aborted(),
    };
    let fate = match group.fate() {
        Some(Fate::Commit) => Fate::Commit,
        Some(Fate::Abort) | None => Fate::Abort,
    };
    let Some(listening) = group.branch_mut(branch) else {
        panic!("{branch} is no branch of {group:?}");
    };
    listening.calls.in_flight = true;
    listening.stage = match &answer {
        Answer::Vote { .. } | Answer::Unanswered { .. } | Answer::Unsent { .. } => Stage::Asked,
        Answer::End { .. } | Answer::Acted { .. } => Stage::Told(fate),
    };
    let before = group.clone();
    let attempt = attempt(group, branch);
    let fed = group.step(NOW, Input::Answer { branch, attempt, answer });
    if fed.is_err() {
        assert_eq!(*group, before, "a refusal leaves the state as it was");
    }
    fed
}

#[test]
fn every_input_does_in_every_phase_what_the_table_says() {
    for (phase, cells) in TABLE {
        for (kind, cell) in InputKind::ALL.into_iter().zip(cells) {
            let cause = format!("{kind:?} in {phase:?}: {cell:?}");
            let mut group = in_phase(phase);
            let fed = feed(&mut group, kind, A);
            match cell {
                Rule::To(to) => {
                    fed.unwrap();
                    assert_eq!(group.phase(), to, "{cause}");
                }
                Rule::Until(to) => {
                    fed.unwrap();
                    assert_eq!(group.phase(), phase, "{cause}: not before the last branch");
                    feed(&mut group, kind, B).unwrap();
                    assert_eq!(group.phase(), to, "{cause}: with the last branch");
                }
                Rule::Stay => {
                    assert_eq!(fed, Ok(Vec::new()), "{cause}: nothing is done");
                    assert_eq!(group.phase(), phase, "{cause}");
                }
                Rule::Refuse => {
                    assert_eq!(fed, Err(Refused { phase, input: kind }), "{cause}");
                    assert_eq!(group.phase(), phase, "{cause}");
                }
            }
        }
    }
}

#[test]
fn every_cell_is_looked_up_under_its_own_row_and_column() {
    for (phase, cells) in TABLE {
        for (kind, cell) in InputKind::ALL.into_iter().zip(cells) {
            assert_eq!(rule(phase, kind), cell, "{phase:?} {kind:?}");
        }
    }
}

#[test]
fn no_phase_is_left_out_or_named_twice() {
    for (at, (phase, _)) in TABLE.iter().enumerate() {
        let first = TABLE.iter().position(|(other, _)| other == phase);
        assert_eq!(first, Some(at), "{phase:?}");
        assert_eq!(in_phase(*phase).phase(), *phase);
    }
}

#[test]
fn no_input_leads_from_one_fate_to_the_other() {
    for (phase, cells) in TABLE {
        let Some(fate) = in_phase(phase).fate().filter(|_| phase != Phase::Closed) else {
            continue;
        };
        for cell in cells {
            if let Rule::To(to) | Rule::Until(to) = cell {
                let next = in_phase(to).fate().filter(|_| to != Phase::Closed);
                assert!(next.is_none_or(|next| next == fate), "{phase:?} to {to:?}");
            }
        }
    }
}
