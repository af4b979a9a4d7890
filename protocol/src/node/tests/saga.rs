//! Sagas, messages and mixed plans: exactly what is written and sent, and in which order.

use super::fixture::{
    E, NOW, P, TIMEOUT_MS, aborted, acquire, begun_record, committed, config, durable, identity,
    lines, load, node, submission, submit, take_at, yes,
};
use crate::effect::{Answer, Effect, RequestId};
use crate::id::{BranchIndex, Gtid};
use crate::json::Json;
use crate::node::{Event, Found, Node, Submission};
use crate::plan::{Plan, PlanRequest};
use crate::record::{Begun, Record, Resolution};
use crate::recovery::History;
use crate::time::Timestamp;
use crate::wire::api::{Outcome, State, Wait};
use crate::wire::contract::{ActAnswer, ActVerb, Refusal};

pub(super) const FIRST: BranchIndex = BranchIndex(0);
pub(super) const SECOND: BranchIndex = BranchIndex(1);
pub(super) const THIRD: BranchIndex = BranchIndex(2);

pub(super) fn plan(steps: &[&str]) -> Plan {
    let json = format!(r#"{{"steps":[{}]}}"#, steps.join(","));
    let request: PlanRequest = serde_json::from_str(&json).unwrap();
    Plan::try_from(request).unwrap_or_else(|faults| panic!("{faults}: {json}"))
}

pub(super) const FLIGHT: &str =
    r#"{"name":"flight","action":{"participant":"p","operation":"book"}}"#;
pub(super) const HOTEL: &str = r#"{"name":"hotel","after":["flight"],"action":{"participant":"q",
    "operation":"book"}}"#;
pub(super) const PLAIN_FLIGHT: &str = r#"{"name":"flight","action":{"participant":"p",
    "act":{"path":"/seats"},"compensate":{"method":"DELETE","path":"/seats/{flight#/id}"},
    "compensate_retry":{"attempts":1}}}"#;
pub(super) const PLAIN_HOTEL: &str = r#"{"name":"hotel","after":["flight"],"action":{"participant":"q",
    "act":{"path":"/rooms/{flight#/id}"},"compensate":{"path":"/free"},"retry":{"attempts":1}}}"#;
pub(super) const PAY: &str = r#"{"name":"pay","after":["flight"],"group":{"branches":[
    {"name":"a","participant":"p","operation":"o"},{"name":"b","participant":"q","operation":"o"}]}}"#;
const MAIL: &str = r#"{"name":"mail","after":["pay"],"message":{"to":[
    {"participant":"r","operation":"send"}]}}"#;

pub(super) fn begun(steps: &[&str], wait: Wait) -> (Node, Gtid, Vec<String>) {
    let mut node = node();
    let submission = Submission { plan: plan(steps), ..submission(1, "k", wait) };
    let written = submit(&mut node, submission);
    assert_eq!(written[0], "append t0: Begun at 0, forced");
    if wait == Wait::Accepted {
        assert_eq!(written[1], "r1: Beginning, Pending after t0");
    }
    let started = durable(&mut node, 0);
    (node, super::fixture::gtid(1), started)
}

fn answer(answer: ActAnswer) -> Answer {
    Answer::Acted { identity: Some(identity()), answer }
}

pub(super) fn done() -> Answer {
    let result = Json::from_text(r#"{"id":7}"#.to_owned()).unwrap();
    answer(ActAnswer::Done { result: Some(result) })
}

pub(super) fn refused() -> Answer {
    answer(ActAnswer::Refused { refusal: Refusal::new("full", "no seat left") })
}

pub(super) fn lost() -> Answer {
    super::fixture::lost()
}

pub(super) fn answered(node: &Node, gtid: Gtid, action: BranchIndex, answer: Answer) -> Event {
    let transaction = node.transaction(&gtid).unwrap();
    let attempt = transaction.course().calls(action).unwrap().attempt;
    Event::Answered { gtid, epoch: E, branch: action, attempt, answer }
}

/// An operator decides about an action that was told this when he looked.
pub(super) fn resolve(
    gtid: Gtid,
    action: BranchIndex,
    verb: ActVerb,
    resolution: Resolution,
) -> Event {
    let (by, reason) = ("ann".to_owned(), "seen".to_owned());
    Event::Resolved {
        request: RequestId(9),
        gtid,
        action,
        verb,
        resolution,
        by,
        reason,
    }
}

pub(super) fn say(node: &mut Node, gtid: Gtid, action: BranchIndex, answer: Answer) -> Vec<String> {
    let event = answered(node, gtid, action, answer);
    lines(node, event)
}

/// The timer at which the node wants to be woken next.
fn wake(node: &mut Node) -> Vec<String> {
    let at = node.next_timer().unwrap();
    let effects = take_at(node, at, Event::Timer);
    effects.iter().map(super::fixture::line).collect()
}

pub(super) fn found(steps: &[&str], then: Vec<Record>) -> (Node, Gtid, Vec<String>) {
    let mut node = Node::new(config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    let begun = Begun { plan: plan(steps), ..begun_record(1) };
    let records = std::iter::once(Record::Begun(begun)).chain(then);
    let gtid = super::fixture::gtid(1);
    let history = History::fold(records).unwrap();
    let resumed = load(&mut node, vec![Found { gtid, history }]);
    (node, gtid, resumed)
}

pub(super) fn record(json: &str) -> Record {
    Record::decode(&format!(r#"{{"v":1,"record":{json}}}"#)).unwrap()
}

#[test]
fn a_saga_by_the_contract_is_forced_twice_and_asks_once_a_step() {
    let (mut node, gtid, started) = begun(&[FLIGHT, HOTEL], Wait::Decided);
    assert_eq!(started, ["act 0 #1"]);
    let next = say(&mut node, gtid, FIRST, done());
    assert_eq!(next, ["append t1: Done 0 at 1, lazy", "act 1 #1"]);
    let next = say(&mut node, gtid, SECOND, done());
    assert_eq!(
        next,
        [
            "append t2: Done 1 at 2, lazy",
            "append t3: Committed at 3, forced",
            "append t4: Closed [] at 4, lazy",
            "r1: Closed, Committed after t3",
        ]
    );
}

#[test]
fn a_plain_act_leaves_only_once_it_is_durable_that_it_is_started() {
    let (mut node, gtid, started) = begun(&[PLAIN_FLIGHT, PLAIN_HOTEL], Wait::Accepted);
    // The first step is started by being begun.
    assert_eq!(started, ["act 0 #1 POST /seats"]);
    let next = say(&mut node, gtid, FIRST, done());
    assert_eq!(
        next,
        [
            "append t1: Done 0 at 1, forced",
            "append t2: Started 1 at 2, forced",
            "act 1 #1 POST /rooms/7 after t2",
        ]
    );
}

#[test]
fn a_refusal_makes_good_what_was_done_and_nothing_else() {
    let (mut node, gtid, _) = begun(&[FLIGHT, HOTEL], Wait::Decided);
    say(&mut node, gtid, FIRST, done());
    let back = say(&mut node, gtid, SECOND, refused());
    assert_eq!(
        back,
        [
            "append t2: Aborted (refused) [0] at 2, forced",
            "compensate 0 #2 after t2",
            "r1: Compensating, Aborted after t2",
        ]
    );
    durable(&mut node, 1);
    durable(&mut node, 2);
    let end = say(&mut node, gtid, FIRST, done());
    assert_eq!(
        end,
        [
            "append t3: Compensated 0 at 3, lazy",
            "append t4: Closed [] at 4, lazy",
        ]
    );
}

#[test]
fn an_unknown_act_by_the_contract_is_made_good_at_once() {
    let short = HOTEL.replace(r#""operation""#, r#""retry":{"attempts":1},"operation""#);
    let (mut node, gtid, _) = begun(&[FLIGHT, &short], Wait::Accepted);
    say(&mut node, gtid, FIRST, done());
    let back = say(&mut node, gtid, SECOND, lost());
    let turned = [
        "append t2: Aborted (attempts) [0, 1] at 2, forced",
        "compensate 1 #2 after t2",
    ];
    assert_eq!(back, turned, "the later step first");
    durable(&mut node, 2);
    let next = say(&mut node, gtid, SECOND, done());
    assert_eq!(
        next,
        ["append t3: Compensated 1 at 3, lazy", "compensate 0 #2"]
    );
}

#[test]
fn an_unknown_plain_act_is_asked_until_it_is_known_before_anything_is_made_good() {
    let (mut node, gtid, _) = begun(&[PLAIN_FLIGHT, PLAIN_HOTEL], Wait::Decided);
    say(&mut node, gtid, FIRST, done());
    durable(&mut node, 2);
    assert_eq!(say(&mut node, gtid, SECOND, lost()), Vec::<String>::new());
    let state = node.transaction(&gtid).unwrap().status(false).state;
    assert_eq!(state, State::TurningBack);
    assert_eq!(wake(&mut node), ["act 1 #2 POST /rooms/7"]);
    let back = say(&mut node, gtid, SECOND, done());
    assert_eq!(
        back,
        [
            "append t3: Done 1 at 3, lazy",
            "append t4: Aborted (attempts) [0, 1] at 4, forced",
            "compensate 1 #3 POST /free after t4",
            "r1: Compensating, Aborted after t4",
        ]
    );
}

#[test]
fn the_deadline_turns_back_before_the_pivot_and_not_after() {
    let (mut node, _, _) = begun(&[FLIGHT, HOTEL], Wait::Accepted);
    let late = NOW.plus_millis(TIMEOUT_MS);
    let effects = take_at(&mut node, late, Event::Timer);
    let back: Vec<_> = effects.iter().map(super::fixture::line).collect();
    assert_eq!(
        back,
        [
            "append t1: Aborted (deadline) [0] at 1, forced",
            "compensate 0 #2 after t1",
        ]
    );
    let pivot = r#"{"name":"buy","class":"pivot","action":{"participant":"p","operation":"buy"}}"#;
    let (mut node, gtid, started) = begun(&[pivot], Wait::Accepted);
    assert_eq!(started, ["act 0 #1"]);
    assert_eq!(node.next_timer(), None, "a started pivot has no deadline");
    let end = say(&mut node, gtid, FIRST, done());
    assert_eq!(
        end[..2],
        [
            "append t1: Done 0 at 1, lazy",
            "append t2: Committed at 2, forced"
        ]
    );
}

#[test]
fn a_group_is_the_pivot_and_what_comes_after_waits_for_its_end() {
    let (mut node, gtid, _) = begun(&[FLIGHT, PAY, MAIL], Wait::Decided);
    let next = say(&mut node, gtid, FIRST, done());
    assert_eq!(
        next,
        [
            "append t1: Done 0 at 1, lazy",
            "prepare 1 #1",
            "prepare 2 #1"
        ]
    );
    assert_eq!(say(&mut node, gtid, SECOND, yes()), Vec::<String>::new());
    assert_eq!(
        say(&mut node, gtid, THIRD, yes()),
        [
            "append t2: Committed at 2, forced",
            "commit 1 #2 after t2",
            "commit 2 #2 after t2",
            "r1: Completing, Committed after t2",
        ]
    );
    durable(&mut node, 1);
    durable(&mut node, 2);
    assert_eq!(
        say(&mut node, gtid, SECOND, committed()),
        Vec::<String>::new()
    );
    assert_eq!(say(&mut node, gtid, THIRD, committed()), ["act 3 #1"]);
}

#[test]
fn a_refused_group_turns_its_saga_back_durably_first() {
    let (mut node, gtid, _) = begun(&[FLIGHT, PAY, MAIL], Wait::Accepted);
    say(&mut node, gtid, FIRST, done());
    assert_eq!(
        say(&mut node, gtid, SECOND, super::fixture::no()),
        [
            "append t2: Aborted (refused) [0, 1, 2] at 2, forced",
            "abort 1 #2 after t2",
            "abort 2 #2 after t2",
            "compensate 0 #2 after t2",
        ]
    );
    durable(&mut node, 2);
    say(&mut node, gtid, SECOND, aborted());
    say(&mut node, gtid, FIRST, done());
    let end = say(&mut node, gtid, THIRD, aborted());
    assert_eq!(end, ["append t4: Closed [] at 4, lazy"]);
}

#[test]
fn messages_alone_are_decided_by_being_begun_and_wait_for_their_time() {
    let message = r#"{"name":"m","message":{"delay_ms":500,"to":[
        {"participant":"p","operation":"o"},{"participant":"q","operation":"o"}]}}"#;
    let mut node = node();
    let submission = Submission { plan: plan(&[message]), ..submission(1, "k", Wait::Decided) };
    assert_eq!(
        submit(&mut node, submission),
        [
            "append t0: Begun at 0, forced",
            "r1: Beginning, Committed after t0",
        ]
    );
    assert_eq!(durable(&mut node, 0), Vec::<String>::new());
    assert_eq!(node.next_timer(), Some(NOW.plus_millis(500)));
    assert_eq!(wake(&mut node), ["act 0 #1", "act 1 #1"]);
}

#[test]
fn a_sender_is_asked_back_and_its_absence_is_no_answer() {
    let local = r#"{"name":"own","group":{"branches":[
        {"name":"x","participant":"p","operation":"o","mode":"local"}]}}"#;
    let mail = MAIL.replace("pay", "own");
    let (mut node, gtid, started) = begun(&[local, &mail], Wait::Accepted);
    assert_eq!(
        started,
        Vec::<String>::new(),
        "the sender does its work by itself"
    );
    let ended = Event::Ended { request: RequestId(2), gtid };
    assert_eq!(
        lines(&mut node, ended),
        ["abort 0 #1", "r2: Delegated, Pending"]
    );
    assert_eq!(
        say(&mut node, gtid, FIRST, committed()),
        ["append t1: Committed at 1, forced"]
    );
    assert_eq!(durable(&mut node, 1), ["act 1 #1"]);
}

#[test]
fn a_compensation_that_fails_waits_for_an_operator_and_goes_on_at_his_word() {
    let (mut node, gtid, _) = begun(&[PLAIN_FLIGHT, PLAIN_HOTEL], Wait::Accepted);
    say(&mut node, gtid, FIRST, done());
    durable(&mut node, 2);
    say(&mut node, gtid, SECOND, refused());
    durable(&mut node, 3);
    assert_eq!(
        say(&mut node, gtid, FIRST, lost()),
        ["append t4: Stuck 0 Compensate at 4, lazy"]
    );
    let status = node.transaction(&gtid).unwrap().status(false);
    assert_eq!(
        (status.state, status.outcome),
        (State::Stuck, Outcome::Aborted)
    );
    let resolved = |resolution| resolve(gtid, FIRST, ActVerb::Compensate, resolution);
    assert_eq!(
        lines(&mut node, resolved(Resolution::Retry)),
        [
            "append t5: Resolved 0 Retry at 5, forced",
            "compensate 0 #3 DELETE /seats/7 after t5",
            "r9: Compensating, Aborted after t5",
        ]
    );
    assert_eq!(
        lines(&mut node, resolved(Resolution::Skip)),
        ["r9: refused (OutOfPlace)"],
        "it is not stuck any more"
    );
    durable(&mut node, 5);
    say(&mut node, gtid, FIRST, lost());
    let skipped = lines(&mut node, resolved(Resolution::Skip));
    assert_eq!(
        skipped[1], "append t8: Closed [0] at 8, lazy",
        "{skipped:?}"
    );
}

#[test]
fn a_call_back_is_durable_before_it_is_heard() {
    let (mut node, gtid, _) = begun(&[FLIGHT, HOTEL], Wait::Accepted);
    let progress = answer(ActAnswer::InProgress { retry_after_ms: Some(1000) });
    assert_eq!(say(&mut node, gtid, FIRST, progress), Vec::<String>::new());
    let called = |verb| Event::CalledBack {
        request: RequestId(7),
        gtid,
        action: FIRST,
        verb,
        answer: ActAnswer::Done { result: None },
    };
    assert_eq!(
        lines(&mut node, called(ActVerb::Compensate)),
        ["r7: refused (OutOfPlace)"]
    );
    assert_eq!(
        lines(&mut node, called(ActVerb::Act)),
        [
            "append t1: Done 0 at 1, forced",
            "act 1 #1 after t1",
            "r7: Acting, Pending after t1",
        ]
    );
    durable(&mut node, 1);
    assert_eq!(
        lines(&mut node, called(ActVerb::Act)),
        ["r7: Acting, Pending"]
    );
}

#[test]
fn what_cannot_be_filled_in_is_refused_before_it_is_sent() {
    let refer = HOTEL.replace(
        r#""operation":"book""#,
        r#""operation":"book","payload":{"$result":"flight#/none"}"#,
    );
    let (mut node, gtid, _) = begun(&[FLIGHT, &refer], Wait::Accepted);
    assert_eq!(
        say(&mut node, gtid, FIRST, done()),
        [
            "append t1: Done 0 at 1, forced",
            "append t2: Aborted (refused) [0] at 2, forced",
            "compensate 0 #2 after t2",
        ]
    );
}

#[test]
fn a_saga_found_undecided_goes_on_forward() {
    let done = record(r#"{"done":{"at":1,"action":0,"result":{"id":7}}}"#);
    let (_, _, resumed) = found(&[PLAIN_FLIGHT, PLAIN_HOTEL], vec![done.clone()]);
    assert_eq!(
        resumed,
        [
            "append t0: Started 1 at 2, forced",
            "act 1 #1 POST /rooms/7 after t0",
        ]
    );
    let started = record(r#"{"started":{"at":1,"action":1}}"#);
    let (_, _, resumed) = found(&[PLAIN_FLIGHT, PLAIN_HOTEL], vec![done, started]);
    assert_eq!(
        resumed,
        ["act 1 #1 POST /rooms/7"],
        "it is known to be started"
    );
}

#[test]
fn a_saga_found_turned_back_never_acts() {
    let done = record(r#"{"done":{"at":1,"action":0,"result":{"id":7}}}"#);
    let turned = record(r#"{"aborted":{"at":1,"reason":{"kind":"recovered"},"compensate":[0]}}"#);
    let (mut node, gtid, resumed) = found(&[PLAIN_FLIGHT, PLAIN_HOTEL], vec![done, turned]);
    assert_eq!(resumed, ["compensate 0 #1 DELETE /seats/7"]);
    let end = say(
        &mut node,
        gtid,
        FIRST,
        answer(ActAnswer::Done { result: None }),
    );
    assert_eq!(end[1], "append t1: Closed [] at 4, lazy");
}

#[test]
fn a_saga_found_past_its_pivot_never_makes_good() {
    let done = record(r#"{"done":{"at":1,"action":0}}"#);
    let passed = record(r#"{"committed":{"at":1,"votes":[]}}"#);
    let (_, _, resumed) = found(&[FLIGHT, PAY, MAIL], vec![done, passed]);
    assert_eq!(resumed, ["commit 1 #1", "commit 2 #1"]);
}

#[test]
fn a_started_pivot_is_asked_again_however_late_it_is() {
    let pivot = r#"{"name":"buy","after":["flight"],"class":"pivot",
        "action":{"participant":"q","operation":"buy"}}"#;
    let done = record(r#"{"done":{"at":1,"action":0}}"#);
    let started = record(r#"{"started":{"at":1,"action":1}}"#);
    let mut node = Node::new(config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    let late = Begun {
        plan: plan(&[FLIGHT, pivot]),
        deadline: NOW,
        ..begun_record(1)
    };
    let gtid = super::fixture::gtid(1);
    let history = History::fold([Record::Begun(late.clone()), done.clone(), started]).unwrap();
    assert_eq!(load(&mut node, vec![Found { gtid, history }]), ["act 1 #1"]);
    // One that was not started turns back.
    let mut node = Node::new(config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    let history = History::fold([Record::Begun(late), done]).unwrap();
    assert_eq!(
        load(&mut node, vec![Found { gtid, history }]),
        [
            "append t0: Aborted (deadline) [0] at 2, forced",
            "compensate 0 #1 after t0",
        ]
    );
}

#[test]
fn what_an_earlier_owner_may_have_sent_is_made_good_or_cleared_up() {
    // By the contract nothing tells whether `hotel` was sent: it is made good. `flight` is plain,
    // and started: it is asked until it is known.
    let mut node = Node::new(config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    let late = Begun {
        plan: plan(&[PLAIN_FLIGHT, HOTEL]),
        deadline: NOW,
        ..begun_record(1)
    };
    let gtid = super::fixture::gtid(1);
    let history = History::fold([Record::Begun(late)]).unwrap();
    let resumed = load(&mut node, vec![Found { gtid, history }]);
    assert_eq!(resumed, ["act 0 #1 POST /seats"]);
    assert_eq!(
        say(&mut node, gtid, FIRST, done()),
        [
            "append t0: Done 0 at 1, lazy",
            "append t1: Aborted (deadline) [0, 1] at 2, forced",
            "compensate 1 #1 after t1",
        ]
    );
}

#[test]
fn a_pivot_group_found_undecided_is_asked_again_and_aborted_if_it_is_late() {
    let done = || record(r#"{"done":{"at":1,"action":0}}"#);
    let (_, _, resumed) = found(&[FLIGHT, PAY, MAIL], vec![done()]);
    assert_eq!(resumed, ["prepare 1 #1", "prepare 2 #1"]);
    let mut node = Node::new(config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    let late = Begun {
        plan: plan(&[FLIGHT, PAY, MAIL]),
        deadline: NOW,
        ..begun_record(1)
    };
    let gtid = super::fixture::gtid(1);
    let history = History::fold([Record::Begun(late), done()]).unwrap();
    assert_eq!(
        load(&mut node, vec![Found { gtid, history }]),
        [
            "append t0: Aborted (deadline) [0, 1, 2] at 2, forced",
            "abort 1 #1 after t0",
            "abort 2 #1 after t0",
            "compensate 0 #1 after t0",
        ]
    );
}

#[test]
fn a_result_is_shown_only_once_it_is_durable() {
    let (mut node, gtid, _) = begun(&[FLIGHT, HOTEL], Wait::Accepted);
    let event = answered(&node, gtid, FIRST, done());
    let effects = take_at(&mut node, NOW, event);
    assert!(matches!(effects[0], Effect::Append { .. }));
    let shown = |node: &Node| node.transaction(&gtid).unwrap().status(false).actions[0].clone();
    assert_eq!(shown(&node).result, None);
    durable(&mut node, 1);
    assert_eq!(shown(&node).result.unwrap().text(), r#"{"id":7}"#);
}
