use super::fixture::{
    A, B, NOW, abort, aborted, commit, committed, end, ended, in_phase, lost, no, ok, prepare,
    read_only, record_abort, record_closed, record_commit, refused_by_a, say, vote, voted, wanting,
    yes,
};
use crate::group::{Ended, Input, Phase, Stage};
use crate::id::Attempt;
use crate::limits::{NAME_BYTES_MAX, REASON_BYTES_MAX};
use crate::plan::Gate;
use crate::record::{Fate, VoteRecord};
use crate::wire::api::{AbortReason, BranchState};
use crate::wire::contract::{BranchEnd, Refusal, Vote};

#[test]
fn a_yes_that_is_not_the_last_is_only_noted() {
    let mut group = in_phase(Phase::Preparing);
    assert_eq!(say(&mut group, A, yes()), []);
    assert_eq!(group.branches()[0].vote, Some(voted(A)));
    assert_eq!(group.branches()[0].state(), BranchState::Prepared);
}

#[test]
fn the_last_yes_records_commit_before_any_branch_is_told() {
    let mut group = in_phase(Phase::Preparing);
    say(&mut group, A, yes());
    let orders = say(&mut group, B, yes());
    let record = record_commit(vec![voted(A), voted(B)]);
    assert_eq!(
        orders,
        [
            record,
            commit(Gate::Record, A, 2),
            commit(Gate::Record, B, 2)
        ]
    );
    assert_eq!(group.fate(), Some(Fate::Commit));
}

#[test]
fn a_no_aborts_every_branch_at_once_the_one_that_refused_included() {
    let mut group = in_phase(Phase::Preparing);
    let orders = say(&mut group, A, no());
    let record = record_abort(refused_by_a());
    assert_eq!(
        orders,
        [record, abort(Gate::Open, A, 2), abort(Gate::Open, B, 2)]
    );
    assert_eq!(group.reason(), Some(&refused_by_a()));
}

#[test]
fn a_refusal_from_outside_is_cut_to_its_bounds() {
    let mut group = in_phase(Phase::Preparing);
    let refusal = Refusal {
        code: "c".repeat(NAME_BYTES_MAX + 1),
        detail: "ä".repeat(REASON_BYTES_MAX),
        retryable: true,
    };
    say(&mut group, A, vote(Vote::No { refusal }));
    let Some(AbortReason::Refused { refusal, .. }) = group.reason() else {
        panic!("aborted for another reason");
    };
    assert_eq!(refusal.code.len(), NAME_BYTES_MAX);
    assert_eq!(refusal.detail.len(), REASON_BYTES_MAX);
    assert!(refusal.retryable);
}

#[test]
fn a_branch_that_voted_yes_aborts_with_its_result_known() {
    let mut group = in_phase(Phase::Preparing);
    say(&mut group, B, yes());
    let orders = say(&mut group, A, no());
    let told = [
        abort(Gate::Open, A, 2),
        wanting(abort(Gate::Open, B, 2), false),
    ];
    assert_eq!(orders[1..], told);
}

#[test]
fn only_the_latest_attempt_is_listened_to() {
    let mut group = in_phase(Phase::Preparing);
    say(&mut group, A, lost());
    group
        .step(NOW.plus_millis(60), Input::Retry { branch: A })
        .unwrap();
    let before = group.clone();
    let late = Input::Answer { branch: A, attempt: Attempt(1), answer: no() };
    assert_eq!(group.step(NOW, late), Ok(Vec::new()));
    assert_eq!(group, before);
    say(&mut group, A, yes());
    assert_eq!(group.branches()[0].stage, Stage::Agreed);
}

#[test]
fn a_repeated_answer_changes_nothing() {
    let mut group = in_phase(Phase::Preparing);
    say(&mut group, A, yes());
    let before = group.clone();
    for answer in [yes(), no(), read_only(), committed(), aborted(), lost()] {
        assert_eq!(say(&mut group, A, answer), []);
        assert_eq!(group, before);
    }
}

#[test]
fn an_answer_of_a_branch_that_does_not_exist_changes_nothing() {
    let mut group = in_phase(Phase::Preparing);
    let before = group.clone();
    let branch = crate::id::BranchIndex(9);
    let input = Input::Answer { branch, attempt: Attempt(1), answer: no() };
    assert_eq!(group.step(NOW, input), Ok(Vec::new()));
    assert_eq!(group, before);
}

#[test]
fn when_all_are_read_only_commit_is_recorded_and_nobody_is_told() {
    let mut group = in_phase(Phase::Preparing);
    say(&mut group, A, read_only());
    assert_eq!(group.branches()[0].state(), BranchState::ReadOnly);
    let orders = say(&mut group, B, read_only());
    assert_eq!(orders, [record_commit(vec![ended(A), ended(B)])]);
    let orders = group.step(NOW, Input::Durable).unwrap();
    assert_eq!(orders, [record_closed(vec![], vec![])]);
    assert_eq!(group.phase(), Phase::Closed);
    assert!(
        group
            .branches()
            .iter()
            .all(|it| it.stage == Stage::Ended(Ended::ReadOnly))
    );
}

#[test]
fn phase_two_of_a_commit_passes_a_read_only_branch_by() {
    let mut group = in_phase(Phase::Preparing);
    say(&mut group, A, read_only());
    let orders = say(&mut group, B, yes());
    assert_eq!(
        orders,
        [
            record_commit(vec![ended(A), voted(B)]),
            commit(Gate::Record, B, 2)
        ]
    );
    group.step(NOW, Input::Durable).unwrap();
    assert_eq!(
        say(&mut group, B, committed()),
        [record_closed(vec![], vec![])]
    );
}

#[test]
fn abort_goes_to_a_read_only_branch_too() {
    let mut group = in_phase(Phase::Preparing);
    say(&mut group, B, read_only());
    let orders = say(&mut group, A, no());
    assert_eq!(
        orders[1..],
        [abort(Gate::Open, A, 2), abort(Gate::Open, B, 2)]
    );
}

#[test]
fn a_yes_without_a_result_asks_for_it_at_commit_and_closes_with_it() {
    let mut group = in_phase(Phase::Preparing);
    say(&mut group, A, vote(Vote::Yes { result: None }));
    let orders = say(&mut group, B, yes());
    assert_eq!(
        orders[1..],
        [
            wanting(commit(Gate::Record, A, 2), true),
            commit(Gate::Record, B, 2)
        ]
    );
    group.step(NOW, Input::Durable).unwrap();
    say(
        &mut group,
        A,
        end(BranchEnd::Committed { result: Some(ok()) }),
    );
    assert_eq!(group.branches()[0].result(), Some(&ok()));
    let orders = say(
        &mut group,
        B,
        end(BranchEnd::Committed { result: Some(ok()) }),
    );
    assert_eq!(orders, [record_closed(vec![], vec![(A, ok())])]);
}

#[test]
fn a_branch_that_someone_else_committed_early_agrees_and_is_told_nevertheless() {
    let mut group = in_phase(Phase::Preparing);
    say(&mut group, A, vote(Vote::Committed { result: None }));
    let orders = say(&mut group, B, yes());
    let vote = VoteRecord { ended: false, ..ended(A) };
    let told = [
        wanting(commit(Gate::Record, A, 2), true),
        commit(Gate::Record, B, 2),
    ];
    assert_eq!(orders[..1], [record_commit(vec![vote, voted(B)])]);
    assert_eq!(orders[1..], told);
}

#[test]
fn a_branch_asked_again_keeps_its_attempts_apart() {
    let mut group = in_phase(Phase::Preparing);
    say(&mut group, A, vote(Vote::InProgress));
    let orders = group
        .step(NOW.plus_millis(60), Input::Retry { branch: A })
        .unwrap();
    assert_eq!(orders, [prepare(A, 2)]);
}
