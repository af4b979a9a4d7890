use super::fixture::{A, B, NOW, abort, in_phase, lost, record_abort, say, wanting, yes};
use crate::effect::Answer;
use crate::group::{Input, Phase};
use crate::plan::Gate;
use crate::wire::api::AbortReason;

#[test]
fn the_deadline_aborts_every_branch_and_names_those_that_had_not_agreed() {
    let mut group = in_phase(Phase::Preparing);
    say(&mut group, A, yes());
    let orders = group.step(NOW, Input::Deadline).unwrap();
    let reason =
        AbortReason::DeadlinePassed { branches: vec!["b".parse().unwrap()], errors: Vec::new() };
    let told = [
        wanting(abort(Gate::Open, A, 2), false),
        abort(Gate::Open, B, 2),
    ];
    assert_eq!(orders[..1], [record_abort(reason)]);
    assert_eq!(orders[1..], told);
}

#[test]
fn the_reason_tells_what_the_last_call_came_to() {
    let mut group = in_phase(Phase::Preparing);
    let error = "connection refused".to_owned();
    say(&mut group, B, Answer::Unanswered { error });
    group.step(NOW, Input::Deadline).unwrap();
    let Some(AbortReason::DeadlinePassed { errors, .. }) = group.reason() else {
        panic!("{:?}", group.reason());
    };
    assert_eq!(errors, &["b: connection refused"]);
}

#[test]
fn a_vote_after_the_deadline_comes_too_late() {
    let mut group = in_phase(Phase::Preparing);
    say(&mut group, A, yes());
    group.step(NOW, Input::Deadline).unwrap();
    let before = group.clone();
    let late = Input::Answer { branch: B, attempt: crate::id::Attempt(1), answer: yes() };
    assert_eq!(group.step(NOW, late), Ok(Vec::new()));
    assert_eq!(group, before);
}

#[test]
fn a_planned_repeat_of_prepare_gives_way_to_the_abort() {
    let mut group = in_phase(Phase::Preparing);
    say(&mut group, A, lost());
    group.step(NOW, Input::Deadline).unwrap();
    assert_eq!(group.branches()[0].calls.retry_at, None);
    assert_eq!(group.step(NOW, Input::Retry { branch: A }), Ok(Vec::new()));
}

#[test]
fn the_deadline_of_a_lone_branch_recalls_it_and_records_nothing() {
    let mut group = in_phase(Phase::Delegated);
    let orders = group.step(NOW, Input::Deadline).unwrap();
    assert_eq!(orders, [abort(Gate::Open, A, 2)]);
    assert_eq!((group.phase(), group.fate()), (Phase::Recalling, None));
}
