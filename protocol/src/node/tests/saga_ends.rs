//! How sagas come to their ends, and that what they leave can be read: call-backs, heuristics and
//! operators at odd moments.

use super::fixture::{
    NOW, aborted, begun_record, committed, durable, line, lines, node, submission, submit, take_at,
};
use super::saga::{
    FIRST, FLIGHT, HOTEL, PAY, PLAIN_FLIGHT, SECOND, THIRD, answered, begun, done, found, lost,
    plan, record, refused, resolve, say,
};
use crate::effect::{Answer, Appended, Effect, RequestId, Token};
use crate::json::Json;
use crate::node::{Event, Submission};
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
    let retry = resolve(gtid, SECOND, ActVerb::Act, Resolution::Retry);
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
fn saga_that_is_begun_too_late_turns_back_and_calls_nobody() {
    let mut node = node();
    let submission = Submission {
        plan: plan(&[PLAIN_FLIGHT]),
        ..submission(1, "k", Wait::Accepted)
    };
    let late = NOW.plus_millis(submission.timeout_ms);
    submit(&mut node, submission);
    let flushed = Event::Flushed { token: Token(0), outcome: Appended::Durable };
    let told = take_at(&mut node, late, flushed);
    let told: Vec<String> = told.iter().map(line).collect();
    let expected = [
        "append t1: Aborted (deadline) at 1, forced",
        "append t2: Closed [] at 2, lazy",
    ];
    assert_eq!(told, expected);
}

#[test]
fn result_of_a_branch_is_not_written_down_twice() {
    let vote = |branch| {
        format!(
            r#"{{"branch":{branch},"identity":{{"system":"7/16384","timeline":1,"starts":3}}}}"#
        )
    };
    let passed = format!(
        r#"{{"committed":{{"at":1,"votes":[{},{}]}}}}"#,
        vote(1),
        vote(2)
    );
    let ship = r#"{"name":"ship","after":["pay"],"action":{"participant":"r","operation":"o"}}"#;
    let result = r#"{"done":{"at":1,"action":1,"result":{"id":7}}}"#;
    let before = vec![
        record(r#"{"done":{"at":1,"action":0}}"#),
        record(&passed),
        record(result),
    ];
    let (mut node, gtid, resumed) = found(&[FLIGHT, PAY, ship], before);
    assert_eq!(resumed, ["commit 1 #1", "commit 2 #1"]);
    say(&mut node, gtid, SECOND, committed());
    let said = say(&mut node, gtid, THIRD, committed());
    assert_eq!(said, ["act 3 #1"]);
}

#[test]
fn what_cannot_be_sent_uses_up_no_attempt_and_is_tried_after_growing_pauses() {
    let hasty = r#"{"name":"a","action":{"participant":"p","operation":"o",
        "retry":{"pause_ms":20,"attempts":1}}}"#;
    let (mut node, gtid, _) = begun(&[hasty], Wait::Accepted);
    let mut now = NOW;
    for longest in [200, 400, 800, 1_600] {
        let event = answered(
            &node,
            gtid,
            FIRST,
            Answer::Unsent { error: "no room".to_owned() },
        );
        assert_eq!(take_at(&mut node, now, event), []);
        let at = node.next_timer().unwrap();
        let pause = at.millis_since(now);
        assert!(
            (longest / 2..=longest).contains(&pause),
            "{pause} of {longest}"
        );
        now = at;
        assert_eq!(
            take_at(&mut node, now, Event::Timer).len(),
            1,
            "tried again"
        );
    }
    // The first that is sent is the first attempt, and the last.
    let turned = answered(&node, gtid, FIRST, lost());
    let turned: Vec<String> = take_at(&mut node, now, turned).iter().map(line).collect();
    assert_eq!(turned[0], "append t1: Aborted (attempts) [0] at 1, forced");
}
