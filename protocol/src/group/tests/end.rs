use super::fixture::{A, B, NOW, aborted, committed, end, in_phase, ok, record_closed, say};
use crate::group::{Ended, Phase, Stage};
use crate::record::Fate;
use crate::wire::contract::BranchEnd;

#[test]
fn the_group_closes_with_the_last_branch() {
    for (phase, answer, ended) in [
        (Phase::Committing, committed(), Ended::Committed),
        (Phase::Aborting, aborted(), Ended::Aborted),
    ] {
        let mut group = in_phase(phase);
        assert_eq!(say(&mut group, B, answer.clone()), []);
        assert_eq!(say(&mut group, A, answer), [record_closed(vec![], vec![])]);
        assert_eq!(group.phase(), Phase::Closed);
        assert!(
            group
                .branches()
                .iter()
                .all(|it| it.stage == Stage::Ended(ended))
        );
    }
}

#[test]
fn a_seal_found_after_commit_is_a_heuristic_end() {
    let mut group = in_phase(Phase::Committing);
    say(&mut group, A, aborted());
    assert!(group.branches()[0].is_heuristic());
    assert_eq!(
        say(&mut group, B, committed()),
        [record_closed(vec![A], vec![])]
    );
    assert_eq!(group.fate(), Some(Fate::Commit), "the decision stands");
}

#[test]
fn a_marker_found_after_abort_is_a_heuristic_end_with_its_result() {
    let mut group = in_phase(Phase::Aborting);
    say(
        &mut group,
        B,
        end(BranchEnd::Committed { result: Some(ok()) }),
    );
    let orders = say(&mut group, A, aborted());
    assert_eq!(orders, [record_closed(vec![B], vec![(B, ok())])]);
    assert_eq!(
        group.branches()[1].stage,
        Stage::Ended(Ended::HeuristicCommitted)
    );
    assert_eq!(group.fate(), Some(Fate::Abort));
}

#[test]
fn nothing_is_said_to_a_branch_that_has_ended() {
    let mut group = in_phase(Phase::Committing);
    say(&mut group, A, committed());
    let before = group.clone();
    for answer in [committed(), aborted(), super::fixture::lost()] {
        assert_eq!(say(&mut group, A, answer), []);
    }
    let retry = crate::group::Input::Retry { branch: A };
    assert_eq!(group.step(NOW, retry), Ok(Vec::new()));
    assert_eq!(group, before);
}
