//! A saga that was found in the journal.

use super::fixture::{E, NOW, P, acquire, begun_record, config, gtid, identity, lines, load};
use super::saga::{FLIGHT, record};
use super::services::shape;
use crate::effect::{Answer, Effect, Reply, RequestId};
use crate::id::{Attempt, BranchIndex};
use crate::node::{Event, Found, Node};
use crate::record::{Begun, Done, Record, Started};
use crate::recovery::History;
use crate::time::Timestamp;
use crate::wire::api::State;
use crate::wire::contract::{ActAnswer, Refusal};

/// `a`, and `b` after it, which is called with the result of `a`.
fn two_steps() -> Found {
    let begun = Begun { plan: shape(0), ..begun_record(1) };
    let history = History::fold([Record::Begun(begun)]).unwrap();
    Found { gtid: gtid(1), history }
}

#[test]
fn what_cannot_have_been_called_for_want_of_a_result_is_left_alone() {
    let mut node = Node::new(config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    assert_eq!(load(&mut node, vec![two_steps()]), ["act 0 #1"]);
    let refusal = Refusal::new("no", "not now");
    let answer = ActAnswer::Refused { refusal };
    let refused = Event::Answered {
        gtid: gtid(1),
        epoch: E,
        branch: BranchIndex(0),
        attempt: Attempt(1),
        answer: Answer::Acted { identity: Some(identity()), answer },
    };
    assert_eq!(
        lines(&mut node, refused),
        [
            "append t0: Aborted (refused) at 1, forced",
            "append t1: Closed [] at 2, lazy",
        ]
    );
}

const DEADLINE_MS: u64 = 300;

/// `a`, which was done after 100 ms, and `b` after it, which has 300 ms.
fn second_under_way() -> Found {
    let begun = Begun { plan: shape(1), ..begun_record(1) };
    let at = NOW.plus_millis(100);
    let (first, second) = (BranchIndex(0), BranchIndex(1));
    let records = [
        Record::Begun(begun),
        Record::Done(Done { at, action: first, result: None }),
        Record::Started(Started { at, action: second }),
    ];
    Found { gtid: gtid(1), history: History::fold(records).unwrap() }
}

#[test]
fn time_of_a_step_runs_on_under_another_owner() {
    let mut node = Node::new(config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    let found = vec![second_under_way()];
    let event = Event::Loaded { partition: P, epoch: E, found, last: true };
    let now = NOW.plus_millis(250);
    let effects = node.step(now, event);
    assert_eq!(effects.len(), 1, "asked again: {effects:?}");
    let over = NOW.plus_millis(100 + DEADLINE_MS);
    assert_eq!(node.next_timer(), Some(over));
    assert_eq!(state(&mut node, now), State::Acting);
    node.step(over, Event::Timer);
    assert_eq!(state(&mut node, over), State::TurningBack);
}

#[test]
fn step_whose_time_was_over_before_it_was_found_turns_its_saga_back() {
    let mut node = Node::new(config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    let found = vec![second_under_way()];
    let event = Event::Loaded { partition: P, epoch: E, found, last: true };
    let now = NOW.plus_millis(100 + DEADLINE_MS);
    let effects = node.step(now, event);
    assert_eq!(
        effects.len(),
        1,
        "a plain service is asked what it did: {effects:?}"
    );
    assert_eq!(state(&mut node, now), State::TurningBack);
}

fn state(node: &mut Node, now: Timestamp) -> State {
    let ask = Event::Queried { request: RequestId(9), gtid: gtid(1), wait: None };
    match node.step(now, ask).pop() {
        Some(Effect::Reply { reply: Reply::Status(status), .. }) => status.state,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_called_any_more_but_may_have_been_is_not_taken_as_refused() {
    let refers = |kind: &str| {
        format!(
            r#"{{"name":"hotel","after":["flight"],"action":{{"participant":"q",{kind},
                "compensate_retry":{{"attempts":1}}}}}}"#
        )
    };
    let done = || record(r#"{"done":{"at":1,"action":0,"result":{"id":7}}}"#);
    // By the contract the compensation is harmless, whether it has acted or not.
    let contract = refers(r#""operation":"o","payload":{"$result":"flight#/none"}"#);
    let (_, _, resumed) = super::saga::found(&[FLIGHT, &contract], vec![done()]);
    assert_eq!(
        resumed,
        [
            "append t0: Aborted (refused) [0, 1] at 2, forced",
            "compensate 1 #2 after t0",
        ]
    );
    // At a plain service only an operator can find out.
    let plain = refers(
        r#""act":{"path":"/rooms","body":{"$result":"flight#/none"}},"compensate":{"path":"/free"}"#,
    );
    let started = record(r#"{"started":{"at":1,"action":1}}"#);
    let (_, _, resumed) = super::saga::found(&[FLIGHT, &plain], vec![done(), started]);
    assert_eq!(resumed, ["append t0: Stuck 1 Act at 3, lazy"]);
}
