//! Payloads that grow past their bound once the results are filled in. A participant would answer
//! *too large* to every repeat, so they are never sent.

use super::fixture::{identity, take};
use super::saga::{FIRST, SECOND, answered, begun, say};
use crate::effect::{Answer, Appended, Effect, Message, Token};
use crate::id::Gtid;
use crate::json::Json;
use crate::limits::{PAYLOAD_BYTES_MAX, RESULT_BYTES_MAX};
use crate::node::{Event, Node};
use crate::wire::api::Wait;
use crate::wire::contract::{ActAnswer, FinishOrder, FinishVerb};

/// Five results of full size.
const REFERENCES: &str = r#"[{"$result":"flight"},{"$result":"flight"},{"$result":"flight"},
    {"$result":"flight"},{"$result":"flight"}]"#;

fn large() -> Answer {
    let text = format!(r#""{}""#, "x".repeat(RESULT_BYTES_MAX - 2));
    let result = Some(Json::from_text(text).unwrap());
    Answer::Acted {
        identity: Some(identity()),
        answer: ActAnswer::Done { result },
    }
}

/// A flight, and a step that is called with what it returns.
fn after_flight(class: &str, second: &str) -> (Node, Gtid) {
    let flight = format!(
        r#"{{"name":"flight","class":"{class}","action":{{"participant":"p",
            "operation":"book"}}}}"#
    );
    let (node, gtid, started) = begun(&[&flight, second], Wait::Accepted);
    assert_eq!(started, ["act 0 #1"]);
    (node, gtid)
}

fn hotel() -> String {
    format!(
        r#"{{"name":"hotel","after":["flight"],"action":{{"participant":"q","operation":"book",
            "payload":{REFERENCES}}}}}"#
    )
}

#[test]
fn an_act_that_is_too_large_counts_as_refused_before_the_pivot() {
    let (mut node, gtid) = after_flight("compensatable", &hotel());
    assert_eq!(
        say(&mut node, gtid, FIRST, large()),
        [
            "append t1: Done 0 at 1, forced",
            "append t2: Aborted (refused) [0] at 2, forced",
            "compensate 0 #2 after t2",
        ]
    );
}

#[test]
fn an_act_that_is_too_large_calls_an_operator_after_the_pivot() {
    let (mut node, gtid) = after_flight("pivot", &hotel());
    let next = say(&mut node, gtid, FIRST, large());
    assert_eq!(
        next,
        [
            "append t1: Done 0 at 1, forced",
            "append t2: Committed at 2, forced",
            "append t3: Stuck 1 Act at 3, lazy",
        ]
    );
}

#[test]
fn a_reservation_that_was_too_large_to_be_tried_is_cancelled_as_it_was_written() {
    let pay = format!(
        r#"{{"name":"pay","after":["flight"],"group":{{"branches":[
            {{"name":"a","participant":"q","operation":"o","mode":"tcc","payload":{REFERENCES}}},
            {{"name":"b","participant":"r","operation":"o"}}]}}}}"#
    );
    let (mut node, gtid) = after_flight("compensatable", &pay);
    let event = answered(&node, gtid, FIRST, large());
    let mut effects = take(&mut node, event);
    for token in [1, 2, 3] {
        let (token, outcome) = (Token(token), Appended::Durable);
        effects.extend(take(&mut node, Event::Flushed { token, outcome }));
    }
    let order = effects.iter().find_map(cancelled).unwrap();
    let work = order.work.as_ref().unwrap();
    assert_eq!(work.payload.text(), REFERENCES);
    assert!(!effects.iter().any(is_sent_too_large));
}

fn cancelled(effect: &Effect) -> Option<&FinishOrder> {
    let Effect::Send { call, .. } = effect else {
        return None;
    };
    let Message::Finish(order) = &call.message else {
        return None;
    };
    (order.verb == FinishVerb::Cancel && order.branch == SECOND).then_some(order)
}

fn is_sent_too_large(effect: &Effect) -> bool {
    let Effect::Send { call, .. } = effect else {
        return false;
    };
    let payload = match &call.message {
        Message::Prepare(call) => Some(&call.payload),
        Message::Act(call) => Some(&call.payload),
        Message::Finish(order) => order.work.as_ref().map(|work| &work.payload),
        Message::Endpoint(call) => call.body.as_ref(),
    };
    payload.is_some_and(|payload| payload.text().len() > PAYLOAD_BYTES_MAX)
}
