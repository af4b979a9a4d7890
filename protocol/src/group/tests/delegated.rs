use super::fixture::{
    A, NOW, aborted, commit_alone, end, ended, in_phase, lost, no, ok, read_only, record_abort,
    record_closed, record_commit, refused_by_a, resume, say, vote,
};
use crate::group::{Ended, Input, Phase, Stage};
use crate::record::{Fate, VoteRecord};
use crate::recovery::Resumption;
use crate::wire::api::{AbortReason, BranchState};
use crate::wire::contract::{BranchEnd, Vote};

fn closes_with(group: &mut crate::group::Group, state: BranchState) {
    let orders = group.step(NOW, Input::Durable).unwrap();
    assert_eq!(orders, [record_closed(vec![], vec![])]);
    assert_eq!(group.branches()[0].state(), state);
}

#[test]
fn a_lone_branch_that_has_committed_is_recorded_and_told_nothing_more() {
    let mut group = in_phase(Phase::Delegated);
    let orders = say(&mut group, A, vote(Vote::Committed { result: Some(ok()) }));
    let vote = VoteRecord { result: Some(ok()), ..ended(A) };
    assert_eq!(orders, [record_commit(vec![vote])]);
    assert_eq!(group.fate(), Some(Fate::Commit));
    closes_with(&mut group, BranchState::Committed);
}

#[test]
fn a_lone_branch_that_wrote_nothing_is_a_commit() {
    let mut group = in_phase(Phase::Delegated);
    assert_eq!(
        say(&mut group, A, read_only()),
        [record_commit(vec![ended(A)])]
    );
    closes_with(&mut group, BranchState::Committed);
}

#[test]
fn the_no_of_a_lone_branch_is_recorded_and_no_abort_is_sent() {
    let mut group = in_phase(Phase::Delegated);
    assert_eq!(say(&mut group, A, no()), [record_abort(refused_by_a())]);
    assert_eq!(group.branches()[0].stage, Stage::Ended(Ended::Aborted));
    closes_with(&mut group, BranchState::Aborted);
}

#[test]
fn a_lost_reply_of_a_lone_branch_decides_nothing() {
    let mut group = in_phase(Phase::Delegated);
    assert_eq!(say(&mut group, A, lost()), []);
    assert_eq!((group.phase(), group.fate()), (Phase::Delegated, None));
    let orders = group.step(NOW, Input::Retry { branch: A }).unwrap();
    assert_eq!(orders, [commit_alone(A, 2)]);
}

#[test]
fn a_recalled_branch_that_has_committed_is_a_commit() {
    let mut group = in_phase(Phase::Recalling);
    let orders = say(
        &mut group,
        A,
        end(BranchEnd::Committed { result: Some(ok()) }),
    );
    let vote = VoteRecord { result: Some(ok()), ..ended(A) };
    assert_eq!(orders, [record_commit(vec![vote])]);
    closes_with(&mut group, BranchState::Committed);
}

#[test]
fn a_recalled_branch_that_is_sealed_is_an_abort() {
    let mut group = in_phase(Phase::Recalling);
    assert_eq!(
        say(&mut group, A, aborted()),
        [record_abort(AbortReason::Sealed)]
    );
    closes_with(&mut group, BranchState::Aborted);
}

#[test]
fn a_reply_to_the_commit_that_was_recalled_comes_too_late() {
    let mut group = in_phase(Phase::Recalling);
    let before = group.clone();
    let late = vote(Vote::Committed { result: None });
    let input = Input::Answer { branch: A, attempt: crate::id::Attempt(1), answer: late };
    assert_eq!(group.step(NOW, input), Ok(Vec::new()));
    assert_eq!(group, before, "the answer to the recall will say it again");
}

#[test]
fn a_lone_branch_found_committed_in_the_journal_is_shown_as_committed() {
    let (group, orders) = resume(1, Resumption::Commit(vec![ended(A)]));
    assert_eq!(orders, [record_closed(vec![], vec![])]);
    assert_eq!(group.branches()[0].state(), BranchState::Committed);
}
