use super::fixture::{
    A, B, NOW, TIMEOUT_MS, begun, committing, deciding, line, lost, say, take_at, yes,
};
use crate::effect::RequestId;
use crate::node::{Event, Node};
use crate::time::Timestamp;
use crate::wire::api::Wait;

fn fire(node: &mut Node, now: Timestamp) -> Vec<String> {
    take_at(node, now, Event::Timer).iter().map(line).collect()
}

const DEADLINE: Timestamp = NOW.plus_millis(TIMEOUT_MS);

#[test]
fn a_timer_that_is_not_due_does_nothing() {
    let (mut node, _) = begun(2, Wait::Decided);
    let before = node.clone();
    let early = Timestamp::from_millis(DEADLINE.as_millis() - 1);
    assert_eq!(fire(&mut node, early), [""; 0]);
    assert_eq!(node, before);
}

#[test]
fn the_deadline_aborts_what_has_not_agreed() {
    let (mut node, gtid) = begun(2, Wait::Decided);
    say(&mut node, gtid, A, yes());
    assert_eq!(
        fire(&mut node, DEADLINE),
        [
            "append t1: Aborted (deadline) at 1, forced",
            "abort 0 #2",
            "abort 1 #2",
            "r1: Aborting, Aborted after t1",
        ]
    );
    assert_eq!(node.next_timer(), None);
}

#[test]
fn the_deadline_of_a_lone_branch_recalls_it_and_answers_nobody() {
    let (mut node, gtid) = begun(1, Wait::Decided);
    assert_eq!(fire(&mut node, DEADLINE), ["abort 0 #2"]);
    let effects = say(&mut node, gtid, A, super::fixture::committed());
    assert_eq!(
        effects,
        [
            "append t1: Committed at 1, forced",
            "r1: Committing, Committed after t1"
        ]
    );
}

#[test]
fn there_is_no_deadline_once_it_is_decided() {
    let (mut node, _) = deciding(Wait::Decided);
    assert_eq!(node.next_timer(), None);
    assert_eq!(fire(&mut node, DEADLINE), [""; 0]);
}

#[test]
fn a_repeat_is_sent_when_its_pause_is_over() {
    let (mut node, gtid) = committing(Wait::Decided);
    say(&mut node, gtid, B, lost());
    let at = node.next_timer().unwrap();
    assert_eq!(
        fire(&mut node, Timestamp::from_millis(at.as_millis() - 1)),
        [""; 0]
    );
    assert_eq!(fire(&mut node, at), ["commit 1 #3"]);
    assert_eq!(node.next_timer(), None);
}

#[test]
fn all_that_is_due_is_done_in_one_go() {
    let (mut node, gtid) = committing(Wait::Decided);
    say(&mut node, gtid, A, lost());
    say(&mut node, gtid, B, lost());
    let mut effects = fire(&mut node, NOW.plus_millis(1_000));
    effects.sort();
    assert_eq!(effects, ["commit 0 #3", "commit 1 #3"]);
}

#[test]
fn a_deadline_and_a_repeat_that_are_due_together_end_in_the_abort() {
    let (mut node, gtid) = begun(2, Wait::Decided);
    say(&mut node, gtid, A, lost());
    let effects = fire(&mut node, DEADLINE);
    assert_eq!(
        effects,
        [
            "prepare 0 #2",
            "append t1: Aborted (deadline) at 1, forced",
            "abort 0 #3",
            "abort 1 #2",
            "r1: Aborting, Aborted after t1",
        ]
    );
    assert_eq!(node.next_timer(), None);
}

#[test]
fn a_lost_partition_leaves_no_timer() {
    let (mut node, gtid) = begun(2, Wait::Decided);
    say(&mut node, gtid, A, lost());
    let effects = take_at(&mut node, NOW, Event::Lost { partition: super::fixture::P });
    assert_eq!(
        effects.iter().map(line).collect::<Vec<_>>(),
        ["r1: refused (Unknown)"]
    );
    assert_eq!(node.next_timer(), None);
    let query = Event::Queried { request: RequestId(2), gtid, wait: None };
    assert_eq!(
        line(&take_at(&mut node, NOW, query)[0]),
        "r2: not in memory"
    );
}
