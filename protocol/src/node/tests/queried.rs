use super::fixture::{
    A, NOW, aborting, begun, committed, committing, deciding, durable, gtid, node, query, say,
    status, submission, submit, take,
};
use crate::effect::RequestId;
use crate::node::Event;
use crate::wire::api::{BranchState, Outcome, State, Wait};

#[test]
fn a_status_is_told_at_once_and_says_only_what_is_durable() {
    for ((mut node, gtid), told) in [
        (begun(2, Wait::Completed), "r9: Preparing, Pending"),
        (deciding(Wait::Completed), "r9: Deciding, Pending"),
        (committing(Wait::Completed), "r9: Committing, Committed"),
        (aborting(Wait::Completed), "r9: Aborting, Pending"),
    ] {
        assert_eq!(query(&mut node, 9, gtid, None), [told]);
    }
}

#[test]
fn a_status_does_not_show_in_the_branches_what_is_not_durable() {
    let (mut node, gtid) = deciding(Wait::Completed);
    let event = Event::Queried { request: RequestId(9), gtid, wait: None };
    let status = status(&take(&mut node, event), 9);
    assert_eq!(
        (status.state, status.outcome),
        (State::Deciding, Outcome::Pending)
    );
    assert!(
        status
            .branches
            .iter()
            .all(|it| it.state == BranchState::Prepared),
        "{status:?}"
    );
}

#[test]
fn a_status_waits_for_begun_to_be_durable() {
    let mut node = node();
    submit(&mut node, submission(1, "k", Wait::Decided));
    assert_eq!(
        query(&mut node, 2, gtid(1), None),
        ["r2: Beginning, Pending after t0"]
    );
}

#[test]
fn a_query_may_wait_for_the_decision_and_for_the_end() {
    let (mut node, gtid) = begun(2, Wait::Decided);
    assert_eq!(query(&mut node, 2, gtid, Some(Wait::Decided)), [""; 0]);
    assert_eq!(query(&mut node, 3, gtid, Some(Wait::Completed)), [""; 0]);
    assert_eq!(
        query(&mut node, 4, gtid, Some(Wait::Accepted)),
        ["r4: Preparing, Pending"]
    );
    let effects = say(&mut node, gtid, A, super::fixture::no());
    assert_eq!(
        effects[3..],
        [
            "r1: Aborting, Aborted after t1",
            "r2: Aborting, Aborted after t1",
        ]
    );
}

#[test]
fn a_query_for_the_decision_is_gated_while_it_is_under_way() {
    let (mut node, gtid) = deciding(Wait::Decided);
    let effects = query(&mut node, 2, gtid, Some(Wait::Decided));
    assert_eq!(effects, ["r2: Committing, Committed after t1"]);
    durable(&mut node, 1);
    assert_eq!(
        query(&mut node, 3, gtid, Some(Wait::Decided)),
        ["r3: Committing, Committed"]
    );
}

#[test]
fn what_is_not_in_memory_is_left_to_the_journal() {
    let mut node = node();
    assert_eq!(query(&mut node, 1, gtid(9), None), ["r1: not in memory"]);
    assert_eq!(
        query(&mut node, 2, gtid(9), Some(Wait::Completed)),
        ["r2: not in memory"]
    );
}

#[test]
fn a_status_names_the_owner_s_epoch_and_every_branch() {
    let (mut node, gtid) = committing(Wait::Decided);
    say(&mut node, gtid, A, committed());
    let event = Event::Queried { request: RequestId(9), gtid, wait: None };
    let status = status(&take(&mut node, event), 9);
    assert_eq!(status.epoch, Some(super::fixture::E));
    assert_eq!((status.id, status.begun_at), (gtid, NOW));
    let states: Vec<_> = status.branches.iter().map(|it| it.state).collect();
    assert_eq!(states, [BranchState::Committed, BranchState::Committing]);
}
