use super::fixture::{
    A, B, NOW, abort, aborted, commit, committed, ended, in_phase, record_abort, record_closed,
    refused_by_a, resume, say, voted,
};
use crate::group::{Input, Phase};
use crate::plan::Gate;
use crate::recovery::Resumption;
use crate::wire::api::AbortReason;

#[test]
fn a_decided_commit_is_told_again_at_once() {
    let (mut group, orders) = resume(2, Resumption::Commit(vec![voted(A), voted(B)]));
    assert_eq!(orders, [commit(Gate::Open, A, 1), commit(Gate::Open, B, 1)]);
    assert_eq!(group.phase(), Phase::Committing);
    say(&mut group, A, committed());
    assert_eq!(
        say(&mut group, B, committed()),
        [record_closed(vec![], vec![])]
    );
}

#[test]
fn a_read_only_branch_is_passed_by_after_a_restart_too() {
    let (_, orders) = resume(2, Resumption::Commit(vec![ended(A), voted(B)]));
    assert_eq!(orders, [commit(Gate::Open, B, 1)]);
    let (group, orders) = resume(2, Resumption::Commit(vec![ended(A), ended(B)]));
    assert_eq!(orders, [record_closed(vec![], vec![])]);
    assert_eq!(group.phase(), Phase::Closed);
}

#[test]
fn a_decided_abort_is_told_again_at_once() {
    let (group, orders) = resume(2, Resumption::Abort(refused_by_a()));
    assert_eq!(orders, [abort(Gate::Open, A, 1), abort(Gate::Open, B, 1)]);
    assert_eq!(
        (group.phase(), group.reason()),
        (Phase::Aborting, Some(&refused_by_a()))
    );
}

#[test]
fn an_undecided_group_is_aborted_durably_before_a_branch_is_told() {
    let (mut group, orders) = resume(2, Resumption::DecideAbort);
    let record = record_abort(AbortReason::Recovered);
    assert_eq!(
        orders,
        [record, abort(Gate::Record, A, 1), abort(Gate::Record, B, 1)]
    );
    assert_eq!(group.phase(), Phase::DecidingAbort);
    assert_eq!(group.step(NOW, Input::Durable), Ok(Vec::new()));
    assert_eq!(group.phase(), Phase::Aborting);
    say(&mut group, A, aborted());
    assert_eq!(
        say(&mut group, B, aborted()),
        [record_closed(vec![], vec![])]
    );
}

#[test]
fn a_lone_branch_is_recalled_and_nothing_is_decided_for_it() {
    let (group, orders) = resume(1, Resumption::Recall);
    assert_eq!(orders, [abort(Gate::Open, A, 1)]);
    assert_eq!((group.phase(), group.fate()), (Phase::Recalling, None));
}

#[test]
fn the_deadline_means_nothing_to_a_group_that_was_found() {
    for phase in [
        Phase::DecidingAbort,
        Phase::Aborting,
        Phase::Committing,
        Phase::Recalling,
    ] {
        let mut group = in_phase(phase);
        assert_eq!(
            group.step(NOW, Input::Deadline),
            Ok(Vec::new()),
            "{phase:?}"
        );
    }
}
