use super::fixture::{
    A, B, E, NOW, P, aborting, acquire, begun, committing, config, deciding, durable, flush, found,
    gtid, lines, load, minted, node, read_only, say, submission, submit, take, vote, yes,
};
use crate::effect::{Appended, RequestId};
use crate::id::{BranchIndex, Cluster, Gtid, Incarnation};
use crate::limits::{CLOCK_SKEW_MS_MAX, WAITERS_MAX};
use crate::node::{Event, Node};
use crate::time::Timestamp;
use crate::wire::api::Wait;
use crate::wire::contract::Vote;

fn inquire(node: &mut Node, gtid: Gtid, branch: BranchIndex) -> Vec<String> {
    lines(
        node,
        Event::Inquired { request: RequestId(9), gtid, branch },
    )
}

fn not_recorded(node: &mut Node, request: u64, gtid: Gtid) -> Vec<String> {
    lines(
        node,
        Event::NotRecorded { request: RequestId(request), gtid },
    )
}

#[test]
fn a_transaction_in_memory_is_judged_by_what_is_durable() {
    for ((mut node, gtid), verdict) in [
        (begun(2, Wait::Decided), "r9: Pending"),
        (deciding(Wait::Decided), "r9: Pending"),
        (committing(Wait::Decided), "r9: Commit"),
        (begun(1, Wait::Decided), "r9: Pending"),
    ] {
        assert_eq!(inquire(&mut node, gtid, A), [verdict]);
    }
}

#[test]
fn the_owner_that_began_it_says_abort_as_soon_as_it_has_decided_so() {
    let (mut node, gtid) = aborting(Wait::Decided);
    assert_eq!(inquire(&mut node, gtid, B), ["r9: Abort"]);
}

#[test]
fn an_owner_that_found_it_says_abort_only_once_that_is_durable() {
    let mut node = Node::new(config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    load(&mut node, vec![found(gtid(1), 2, vec![])]);
    assert_eq!(inquire(&mut node, gtid(1), A), ["r9: Pending"]);
    durable(&mut node, 0);
    assert_eq!(inquire(&mut node, gtid(1), A), ["r9: Abort"]);
}

#[test]
fn a_read_only_branch_that_comes_to_life_again_is_told_to_abort() {
    let (mut node, gtid) = begun(2, Wait::Decided);
    say(&mut node, gtid, A, read_only());
    say(&mut node, gtid, B, yes());
    durable(&mut node, 1);
    assert_eq!(inquire(&mut node, gtid, A), ["r9: Abort"]);
    assert_eq!(inquire(&mut node, gtid, B), ["r9: Commit"]);
}

#[test]
fn a_lone_branch_that_has_committed_is_never_told_to_abort() {
    let (mut node, gtid) = begun(1, Wait::Decided);
    say(&mut node, gtid, A, vote(Vote::Committed { result: None }));
    assert_eq!(inquire(&mut node, gtid, A), ["r9: Pending"]);
    durable(&mut node, 1);
    assert_eq!(inquire(&mut node, gtid, A), ["r9: Commit"]);
}

#[test]
fn a_branch_that_the_plan_does_not_have_is_unknown() {
    let (mut node, gtid) = committing(Wait::Decided);
    assert_eq!(inquire(&mut node, gtid, BranchIndex(2)), ["r9: Unknown"]);
}

#[test]
fn a_gtid_of_another_cluster_or_journal_is_unknown() {
    let config = config();
    let other = Cluster::new("other").unwrap();
    let foreign = Gtid::mint(other, P, config.incarnation, NOW, 1).unwrap();
    let former = Gtid::mint(config.cluster, P, Incarnation(8), NOW, 1).unwrap();
    let mut node = node();
    for gtid in [foreign, former] {
        assert_eq!(inquire(&mut node, gtid, A), ["r9: Unknown"]);
        assert_eq!(not_recorded(&mut node, 9, gtid), ["r9: Unknown"]);
    }
}

#[test]
fn a_gtid_of_the_future_is_unknown() {
    let mut node = node();
    let future = minted(NOW.plus_millis(CLOCK_SKEW_MS_MAX + 1), 1);
    assert_eq!(inquire(&mut node, future, A), ["r9: Unknown"]);
    assert_eq!(not_recorded(&mut node, 9, future), ["r9: Unknown"]);
    let edge = minted(NOW.plus_millis(CLOCK_SKEW_MS_MAX), 1);
    assert_eq!(inquire(&mut node, edge, A), ["r9: not in memory"]);
}

#[test]
fn a_clock_that_went_back_does_not_make_an_open_transaction_unknown() {
    let (mut node, gtid) = committing(Wait::Decided);
    let earlier = Timestamp::from_millis(NOW.as_millis() - CLOCK_SKEW_MS_MAX - 1);
    let event = Event::Inquired { request: RequestId(9), gtid, branch: A };
    let effects = super::fixture::take_at(&mut node, earlier, event);
    assert_eq!(super::fixture::line(&effects[0]), "r9: Commit");
}

#[test]
fn only_the_owner_of_the_partition_judges() {
    let mut node = Node::new(config());
    assert_eq!(inquire(&mut node, gtid(1), A), ["r9: refused (NotOwner)"]);
    assert_eq!(
        not_recorded(&mut node, 9, gtid(1)),
        ["r9: refused (NotOwner)"]
    );
}

#[test]
fn while_the_partition_is_being_loaded_absence_means_nothing() {
    let mut node = Node::new(config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    assert_eq!(inquire(&mut node, gtid(1), A), ["r9: Pending"]);
    assert_eq!(not_recorded(&mut node, 9, gtid(1)), ["r9: Pending"]);
}

#[test]
fn absence_becomes_abort_by_a_record_that_is_durable_before_it_is_told() {
    let mut node = node();
    assert_eq!(inquire(&mut node, gtid(1), A), ["r9: not in memory"]);
    let effects = not_recorded(&mut node, 9, gtid(1));
    assert_eq!(
        effects,
        [
            "append t0: Aborted (presumed) at 0, forced",
            "r9: Abort after t0"
        ]
    );
    durable(&mut node, 0);
    super::fixture::assert_nothing_left(&node);
}

#[test]
fn inquiries_at_one_time_share_one_record() {
    let mut node = node();
    not_recorded(&mut node, 1, gtid(1));
    assert_eq!(not_recorded(&mut node, 2, gtid(1)), ["r2: Abort after t0"]);
    let mut effects = flush(&mut node, 0, Appended::Unknown);
    effects.sort();
    assert_eq!(
        effects,
        ["r1: refused (Unknown)", "r2: refused (Unknown)", "reload 3"]
    );
    super::fixture::assert_nothing_left(&node);
}

#[test]
fn inquiries_that_wait_for_one_record_have_a_bound() {
    let mut node = node();
    for n in 0..WAITERS_MAX {
        not_recorded(&mut node, n as u64, gtid(1));
    }
    assert_eq!(
        not_recorded(&mut node, 999, gtid(1)),
        ["r999: Pending"],
        "it asks again"
    );
}

#[test]
fn at_or_below_the_horizon_absence_is_unknown() {
    let mut node = node();
    take(
        &mut node,
        Event::HorizonRaised { partition: P, horizon: NOW },
    );
    assert_eq!(not_recorded(&mut node, 9, gtid(1)), ["r9: Unknown"]);
    let above = minted(NOW.plus_millis(1), 1);
    assert_eq!(
        not_recorded(&mut node, 9, above),
        [
            "append t0: Aborted (presumed) at 0, forced",
            "r9: Abort after t0",
        ]
    );
}

#[test]
fn the_horizon_never_falls() {
    let mut node = node();
    take(
        &mut node,
        Event::HorizonRaised { partition: P, horizon: NOW },
    );
    take(
        &mut node,
        Event::HorizonRaised { partition: P, horizon: Timestamp::ZERO },
    );
    assert_eq!(not_recorded(&mut node, 9, gtid(1)), ["r9: Unknown"]);
}

#[test]
fn a_transaction_that_came_to_memory_while_the_journal_was_asked_is_not_presumed() {
    let mut node = node();
    submit(&mut node, submission(1, "k", Wait::Decided));
    assert_eq!(not_recorded(&mut node, 9, gtid(1)), ["r9: Pending"]);
}

#[test]
fn the_journal_alone_gives_the_same_verdicts_as_the_memory() {
    use super::fixture::{aborted_record, committed_record};
    use crate::wire::api::{AbortReason, Verdict};
    let verdict = |branches, then| found(gtid(1), branches, then).history.verdict(A);
    assert_eq!(verdict(2, vec![]), None);
    assert_eq!(
        verdict(2, vec![committed_record(false, 2)]),
        Some(Verdict::Commit)
    );
    assert_eq!(
        verdict(2, vec![committed_record(true, 2)]),
        Some(Verdict::Abort)
    );
    assert_eq!(
        verdict(1, vec![committed_record(true, 1)]),
        Some(Verdict::Commit)
    );
    let abort = vec![aborted_record(AbortReason::Sealed)];
    assert_eq!(verdict(2, abort.clone()), Some(Verdict::Abort));
    let known = found(gtid(1), 2, abort).history.verdict(BranchIndex(2));
    assert_eq!(known, Some(Verdict::Unknown), "the plan has no such branch");
}
