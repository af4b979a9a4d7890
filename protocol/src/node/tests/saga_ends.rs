//! How sagas come to their ends, and that what they leave can be read: call-backs, heuristics and
//! operators at odd moments.

use super::fixture::{NOW, aborted, begun_record, durable, lines, take_at};
use super::saga::{
    FIRST, FLIGHT, HOTEL, PAY, PLAIN_FLIGHT, PLAIN_HOTEL, SECOND, THIRD, answered, begun, done,
    found, lost, plan, record, refused, say,
};
use crate::effect::{Effect, RequestId};
use crate::json::Json;
use crate::node::Event;
use crate::record::{Begun, Record, Resolution};
use crate::recovery::History;
use crate::wire::api::Wait;
use crate::wire::contract::{ActAnswer, ActVerb};

const LOOK: &str = r#"{"name":"look","action":{"participant":"r","operation":"look",
    "without_compensation":true}}"#;

fn read_back(
    steps: &[&str],
    then: Vec<Record>,
) -> Result<History, crate::recovery::CorruptHistory> {
    let begun = Begun { plan: plan(steps), ..begun_record(1) };
    History::fold(std::iter::once(Record::Begun(begun)).chain(then))
}

/// The records that were appended, in their order.
fn records(effects: &[Effect]) -> Vec<Record> {
    let record = |effect: &Effect| match effect {
        Effect::Append { entry, .. } => Some(entry.record.clone()),
        Effect::Send { .. } | Effect::Reply { .. } | Effect::Reload { .. } => None,
    };
    effects.iter().filter_map(record).collect()
}

#[test]
fn a_call_back_after_the_turn_leaves_no_record_that_has_no_place() {
    let (mut node, gtid, _) = begun(&[FLIGHT, LOOK, HOTEL], Wait::Accepted);
    say(&mut node, gtid, FIRST, done());
    let event = answered(&node, gtid, THIRD, refused());
    take_at(&mut node, NOW, event);
    let called = Event::CalledBack {
        request: RequestId(7),
        gtid,
        action: SECOND,
        verb: ActVerb::Act,
        answer: ActAnswer::Done { result: None },
    };
    let heard = take_at(&mut node, NOW, called.clone());
    assert_eq!(records(&heard), [], "while the turn is on its way");
    durable(&mut node, 1);
    durable(&mut node, 2);
    assert_eq!(lines(&mut node, called), ["r7: Compensating, Aborted"]);
}

#[test]
fn what_was_committed_against_the_decision_leaves_a_history_that_can_be_read() {
    let (mut node, gtid, _) = begun(&[FLIGHT, PAY], Wait::Accepted);
    let mut all = Vec::new();
    let result = Some(Json::null());
    let by_hand = super::fixture::end(crate::wire::contract::BranchEnd::Committed { result });
    for (unit, answer) in [
        (FIRST, done()),
        (SECOND, super::fixture::no()),
        (THIRD, by_hand),
        (SECOND, aborted()),
        (FIRST, done()),
    ] {
        let event = answered(&node, gtid, unit, answer);
        all.extend(records(&take_at(&mut node, NOW, event)));
        // Nobody hears of the abort before it is durable.
        durable(&mut node, 2);
    }
    let history = read_back(&[FLIGHT, PAY], all).unwrap();
    let closed = history.closed.unwrap();
    assert_eq!(closed.heuristics, [THIRD]);
    assert_eq!(closed.results.len(), 1, "the result is kept");
}

#[test]
fn what_an_act_was_stuck_at_is_cleared_up_once_its_saga_has_turned_back() {
    let pivot = r#"{"name":"buy","after":["flight"],"class":"pivot","action":{"participant":"q",
        "act":{"path":"/buy"}}}"#;
    let turned = |reason: &str| {
        record(&format!(
            r#"{{"aborted":{{"at":1,{reason},"compensate":[0]}}}}"#
        ))
    };
    let stuck = record(r#"{"stuck":{"at":1,"action":1,"verb":"act","error":"HTTP 500"}}"#);
    let before = vec![
        record(r#"{"done":{"at":1,"action":0}}"#),
        record(r#"{"started":{"at":1,"action":1}}"#),
        stuck,
        turned(r#""reason":{"kind":"recovered"}"#),
    ];
    let (mut node, gtid, resumed) = found(&[FLIGHT, pivot], before);
    assert_eq!(resumed, ["compensate 0 #1"]);
    let retry = Event::Resolved {
        request: RequestId(9),
        gtid,
        action: SECOND,
        resolution: Resolution::Retry,
        by: "ann".to_owned(),
        reason: "try it".to_owned(),
    };
    assert_eq!(lines(&mut node, retry), ["r9: refused (OutOfPlace)"]);
}

#[test]
fn a_group_is_asked_only_once_what_it_is_called_with_is_durable() {
    let pay = PAY.replacen(
        r#""operation":"o"}"#,
        r#""operation":"o","payload":{"$result":"flight#/id"}}"#,
        1,
    );
    let (mut node, gtid, _) = begun(&[FLIGHT, &pay], Wait::Accepted);
    assert_eq!(
        say(&mut node, gtid, FIRST, done()),
        [
            "append t1: Done 0 at 1, forced",
            "prepare 1 #1 after t1",
            "prepare 2 #1 after t1",
        ]
    );
    let none = pay.replace("flight#/id", "flight#/none");
    let (mut node, gtid, _) = begun(&[FLIGHT, &none], Wait::Accepted);
    let said = say(&mut node, gtid, FIRST, done());
    let refused = "append t2: Aborted (refused) [0, 1, 2] at 2, forced".to_owned();
    assert!(said.contains(&refused), "{said:?}");
}

#[test]
fn what_an_operator_has_abandoned_is_not_called_again() {
    let later = r#"{"name":"later","class":"retriable","after":["last"],"action":{
        "participant":"q","operation":"o"}}"#;
    let last = r#"{"name":"last","class":"retriable","after":["flight"],"action":{
        "participant":"q","operation":"o"}}"#;
    let flight = FLIGHT.replace(r#""name":"flight","#, r#""name":"flight","class":"pivot","#);
    let resolved = || {
        record(
            r#"{"resolved":{"at":1,"action":1,"resolution":"abandon","by":"ann","reason":"so"}}"#,
        )
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
        vec![done(), passed, stuck("act"), resolved()],
    );
    assert_eq!(resumed, ["append t0: Closed [1, 2] at 5, lazy"]);
    // While it turned back: it does not stand idle until its deadline.
    let started = record(r#"{"started":{"at":1,"action":1}}"#);
    let (_, _, resumed) = found(
        &[PLAIN_FLIGHT, PLAIN_HOTEL],
        vec![done(), started, stuck("act"), resolved()],
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
    let skip = Event::Resolved {
        request: RequestId(9),
        gtid,
        action: FIRST,
        resolution: Resolution::Skip,
        by: "ann".to_owned(),
        reason: "the service is gone for good".to_owned(),
    };
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
