//! What operators decide, what it makes of a saga, and what is told of it.

use super::fixture::{durable, lines, query, take_at};
use super::saga::{
    FIRST, FLIGHT, HOTEL, PLAIN_FLIGHT, PLAIN_HOTEL, SECOND, begun, done, found, lost, record,
    resolve, say,
};
use crate::action::Phase;
use crate::effect::RequestId;
use crate::id::{BranchIndex, Gtid};
use crate::limits::RECORDS_MAX;
use crate::node::{Event, Node};
use crate::record::{Record, Resolution};
use crate::wire::api::Wait;
use crate::wire::contract::{ActAnswer, ActVerb};

const DONE: Resolution = Resolution::Done { result: None };

/// A plain step that has few attempts, and as few to be made good.
const HASTY_HOTEL: &str = r#"{"name":"hotel","after":["flight"],"action":{"participant":"q",
    "act":{"path":"/rooms"},"compensate":{"path":"/free"},"retry":{"attempts":1},
    "compensate_retry":{"attempts":2}}}"#;

const BUY: &str = r#"{"name":"buy","after":["flight"],"class":"pivot","action":{"participant":"q",
    "act":{"path":"/buy"}}}"#;

fn wake(node: &mut Node) {
    let at = node.next_timer().unwrap();
    take_at(node, at, Event::Timer);
}

/// Its hotel is stuck: nobody knows whether it has acted.
fn stuck_at_the_act() -> (Node, Gtid) {
    let (mut node, gtid, _) = begun(&[PLAIN_FLIGHT, HASTY_HOTEL], Wait::Accepted);
    say(&mut node, gtid, FIRST, done());
    durable(&mut node, 1);
    durable(&mut node, 2);
    for _ in 0..2 {
        say(&mut node, gtid, SECOND, lost());
        wake(&mut node);
    }
    let said = say(&mut node, gtid, SECOND, lost());
    assert_eq!(said, ["append t3: Stuck 1 Act at 3, lazy"]);
    (node, gtid)
}

fn phase(node: &Node, gtid: Gtid, action: BranchIndex) -> Phase {
    let course = node.transaction(&gtid).unwrap().course();
    course.action(action).unwrap().phase()
}

#[test]
fn decision_about_an_act_is_none_about_its_compensation() {
    let (mut node, gtid) = stuck_at_the_act();
    let decision = resolve(gtid, SECOND, ActVerb::Act, DONE);
    lines(&mut node, decision.clone());
    for token in 3..=5 {
        durable(&mut node, token);
    }
    assert_eq!(phase(&node, gtid, SECOND), Phase::Compensating);
    // Now it is between attempts, where an operator may decide too. The first reply was lost.
    say(&mut node, gtid, SECOND, lost());
    let again = lines(&mut node, decision);
    assert_eq!(again, ["r9: refused (OutOfPlace)"]);
    assert_eq!(phase(&node, gtid, SECOND), Phase::Compensating);
}

#[test]
fn decision_that_comes_after_a_call_back_about_the_same_act_has_no_place() {
    let (mut node, gtid) = stuck_at_the_act();
    let (request, action, verb) = (RequestId(8), SECOND, ActVerb::Act);
    let answer = ActAnswer::Done { result: None };
    durable(&mut node, 3);
    lines(
        &mut node,
        Event::CalledBack { request, gtid, action, verb, answer },
    );
    for token in 4..=5 {
        durable(&mut node, token);
    }
    assert_eq!(phase(&node, gtid, SECOND), Phase::Compensating);
    say(&mut node, gtid, SECOND, lost());
    let late = lines(&mut node, resolve(gtid, SECOND, ActVerb::Act, DONE));
    assert_eq!(late, ["r9: refused (OutOfPlace)"]);
}

#[test]
fn siblings_that_cannot_be_called_for_want_of_a_result_end_and_are_not_stuck() {
    let sibling = |name: &str| {
        format!(
            r#"{{"name":"{name}","after":["flight"],"action":{{"participant":"q","operation":"o",
                "payload":{{"$result":"flight#/none"}}}}}}"#
        )
    };
    let (mut node, gtid, _) = begun(&[FLIGHT, &sibling("x"), &sibling("y")], Wait::Accepted);
    let said = say(&mut node, gtid, FIRST, done());
    assert!(!said.iter().any(|line| line.contains("Stuck")), "{said:?}");
    durable(&mut node, 1);
    durable(&mut node, 2);
    // `y` was on its way, for all that was known when `x` turned the saga back.
    say(&mut node, gtid, BranchIndex(2), done());
    let last = say(&mut node, gtid, FIRST, done());
    assert!(
        last.iter().any(|line| line.contains("Closed []")),
        "{last:?}"
    );
}

#[test]
fn what_is_given_up_is_told_only_once_that_is_durable() {
    let message = r#"{"name":"m","message":{"to":[{"participant":"p","operation":"o"}]}}"#;
    let (mut node, gtid, _) = begun(&[message], Wait::Accepted);
    say(&mut node, gtid, FIRST, lost());
    lines(
        &mut node,
        resolve(gtid, FIRST, ActVerb::Act, Resolution::Skip),
    );
    // Were it told before, a crash would make a success of it.
    let seen = query(&mut node, 5, gtid, None);
    assert_eq!(seen, ["r5: Closed, Heuristic after t3"]);
    let waited = query(&mut node, 6, gtid, Some(Wait::Decided));
    assert_eq!(waited, ["r6: Closed, Heuristic after t3"]);
}

#[test]
fn call_back_that_repeats_a_lazy_answer_is_heard_once_that_is_durable() {
    let (mut node, gtid, _) = begun(&[FLIGHT, HOTEL], Wait::Accepted);
    say(&mut node, gtid, FIRST, done());
    let (request, action, verb) = (RequestId(7), FIRST, ActVerb::Act);
    let answer = ActAnswer::Done { result: None };
    let heard = lines(
        &mut node,
        Event::CalledBack { request, gtid, action, verb, answer },
    );
    assert_eq!(heard, ["r7: Acting, Pending after t1"]);
}

#[test]
fn what_was_given_up_is_the_same_for_the_owner_that_finds_it() {
    let abandoned = |action: u8, given_up: &str| {
        record(&format!(
            r#"{{"resolved":{{"at":1,"action":{action},"resolution":"abandon","by":"ann",
                "reason":"so","given_up":{given_up}}}}}"#
        ))
    };
    let turned = |branch: &str, compensate: &str| {
        record(&format!(
            r#"{{"aborted":{{"at":1,"reason":{{"kind":"refused","branch":"{branch}","refusal":{{
                "code":"a","detail":"b","retryable":false}}}},"compensate":{compensate}}}}}"#
        ))
    };
    // A refusal has no record of its own, and nobody gave the hotel up.
    let stuck = record(r#"{"stuck":{"at":1,"action":0,"verb":"compensate","error":"x"}}"#);
    let done = record(r#"{"done":{"at":1,"action":0}}"#);
    let records = vec![done, turned("hotel", "[0]"), stuck, abandoned(0, "[0]")];
    let (_, _, resumed) = found(&[FLIGHT, HOTEL], records);
    assert_eq!(resumed, ["append t0: Closed [0] at 5, lazy"]);
    // A step that has no compensation, given up before its saga had turned back.
    let look = r#"{"name":"look","action":{"participant":"r","act":{"path":"/look"},
        "without_compensation":true,"compensate_retry":{"attempts":1}}}"#;
    let stuck = record(r#"{"stuck":{"at":1,"action":1,"verb":"act","error":"x"}}"#);
    let records = vec![stuck, abandoned(1, "[1]"), turned("flight", "[]")];
    let (_, _, resumed) = found(&[FLIGHT, look], records);
    assert_eq!(resumed, ["append t0: Closed [1] at 4, lazy"]);
}

#[test]
fn what_is_tried_again_for_ever_can_still_be_ended() {
    let message = r#"{"name":"m","message":{"to":[{"participant":"p","operation":"o",
        "retry":{"attempts":1}}]}}"#;
    let (mut node, gtid, _) = begun(&[message], Wait::Accepted);
    for _ in 0..RECORDS_MAX {
        say(&mut node, gtid, FIRST, lost());
        let again = lines(
            &mut node,
            resolve(gtid, FIRST, ActVerb::Act, Resolution::Retry),
        );
        if again == ["r9: refused (OutOfPlace)"] {
            break;
        }
    }
    let skipped = lines(
        &mut node,
        resolve(gtid, FIRST, ActVerb::Act, Resolution::Skip),
    );
    assert!(
        skipped.iter().any(|line| line.contains("Closed [0]")),
        "{skipped:?}"
    );
}

#[test]
fn what_an_operator_has_abandoned_is_not_called_again() {
    let later = r#"{"name":"later","class":"retriable","after":["last"],"action":{
        "participant":"q","operation":"o"}}"#;
    let last = r#"{"name":"last","class":"retriable","after":["flight"],"action":{
        "participant":"q","operation":"o"}}"#;
    let flight = FLIGHT.replace(r#""name":"flight","#, r#""name":"flight","class":"pivot","#);
    let resolved = |given_up: &str| {
        record(&format!(
            r#"{{"resolved":{{"at":1,"action":1,"resolution":"abandon","by":"ann","reason":"so",
                "given_up":{given_up}}}}}"#
        ))
    };
    let stuck = |verb: &str| {
        record(&format!(
            r#"{{"stuck":{{"at":1,"action":1,"verb":"{verb}","error":"HTTP 500"}}}}"#
        ))
    };
    let done = || record(r#"{"done":{"at":1,"action":0}}"#);
    let passed = record(r#"{"committed":{"at":1,"votes":[]}}"#);
    let (_, _, resumed) = found(
        &[&flight, last, later],
        vec![done(), passed, stuck("act"), resolved("[1,2]")],
    );
    assert_eq!(resumed, ["append t0: Closed [1, 2] at 5, lazy"]);
    // While it turned back: it does not stand idle until its deadline.
    let started = record(r#"{"started":{"at":1,"action":1}}"#);
    let (_, _, resumed) = found(
        &[PLAIN_FLIGHT, PLAIN_HOTEL],
        vec![done(), started, stuck("act"), resolved("[0,1]")],
    );
    assert_eq!(
        resumed,
        [
            "append t0: Aborted (attempts) at 5, forced",
            "append t1: Closed [0, 1] at 6, lazy",
        ]
    );
}

#[test]
fn a_message_that_is_repeated_without_an_end_can_be_given_up() {
    let message = r#"{"name":"m","message":{"to":[{"participant":"p","operation":"o"}]}}"#;
    let (mut node, gtid, _) = begun(&[message], Wait::Accepted);
    say(&mut node, gtid, FIRST, lost());
    let skip = resolve(gtid, FIRST, ActVerb::Act, Resolution::Skip);
    assert_eq!(
        lines(&mut node, skip),
        [
            "append t1: Stuck 0 Act at 1, lazy",
            "append t2: Resolved 0 Skip at 2, forced",
            "append t3: Closed [0] at 3, lazy",
            "r9: Closed, Heuristic after t2",
        ]
    );
}

/// A pivot that is stuck, with what its records say.
fn stuck_pivot() -> (Node, Gtid, Vec<Record>) {
    let records = vec![
        record(r#"{"done":{"at":1,"action":0}}"#),
        record(r#"{"started":{"at":1,"action":1}}"#),
        record(r#"{"stuck":{"at":1,"action":1,"verb":"act","error":"HTTP 500"}}"#),
    ];
    let (node, gtid, resumed) = found(&[FLIGHT, BUY], records.clone());
    assert_eq!(resumed, Vec::<String>::new());
    (node, gtid, records)
}

#[test]
fn pivot_that_is_seen_not_to_have_happened_turns_its_saga_back() {
    let (mut node, gtid, mut records) = stuck_pivot();
    let decided = lines(
        &mut node,
        resolve(gtid, SECOND, ActVerb::Act, Resolution::NotDone),
    );
    assert_eq!(
        decided,
        [
            "append t0: Resolved 1 NotDone at 4, forced",
            "append t1: Aborted (refused) [0] at 5, forced",
            "compensate 0 #1 after t1",
            "r9: Deciding, Pending after t1",
        ]
    );
    records.push(record(
        r#"{"resolved":{"at":1,"action":1,"resolution":"not_done","by":"ann","reason":"so"}}"#,
    ));
    let (_, _, resumed) = found(&[FLIGHT, BUY], records);
    assert_eq!(
        resumed,
        [
            "append t0: Aborted (refused) [0] at 5, forced",
            "compensate 0 #1 after t0",
        ]
    );
}

#[test]
fn what_must_happen_and_what_must_be_made_good_are_never_taken_as_not_done() {
    let message = r#"{"name":"m","message":{"to":[{"participant":"p","operation":"o"}]}}"#;
    let (mut node, gtid, _) = begun(&[message], Wait::Accepted);
    say(&mut node, gtid, FIRST, lost());
    let refused = lines(
        &mut node,
        resolve(gtid, FIRST, ActVerb::Act, Resolution::NotDone),
    );
    assert_eq!(refused, ["r9: refused (OutOfPlace)"]);
    let stuck = record(r#"{"stuck":{"at":1,"action":0,"verb":"compensate","error":"x"}}"#);
    let turned = record(r#"{"aborted":{"at":1,"reason":{"kind":"recovered"},"compensate":[0]}}"#);
    let (mut node, gtid, _) = found(&[FLIGHT, HOTEL], vec![turned, stuck]);
    let verb = ActVerb::Compensate;
    let refused = lines(&mut node, resolve(gtid, FIRST, verb, Resolution::NotDone));
    assert_eq!(refused, ["r9: refused (OutOfPlace)"]);
}
