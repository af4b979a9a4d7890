use super::fixture::{
    A, B, E, NOW, TIMEOUT_MS, aborted, aborting, answered, begun, committed, committing, deciding,
    durable, end, gtid, lines, lost, no, read_only, say, status, submission, submit, take, vote,
    yes,
};
use crate::effect::{After, Call, Effect, Message, Token};
use crate::id::{Attempt, Epoch};
use crate::json::Json;
use crate::node::{Event, Submission};
use crate::plan::Mode;
use crate::time::Timestamp;
use crate::wire::api::{BranchState, Outcome, Wait};
use crate::wire::contract::{BranchEnd, FinishOrder, FinishVerb, PrepareCall, Vote};

#[test]
fn the_last_yes_gates_orders_and_replies_on_the_record() {
    let (mut node, gtid) = begun(2, Wait::Decided);
    assert_eq!(say(&mut node, gtid, A, yes()), [""; 0]);
    assert_eq!(
        say(&mut node, gtid, B, yes()),
        [
            "append t1: Committed at 1, forced",
            "commit 0 #2 after t1",
            "commit 1 #2 after t1",
            "r1: Committing, Committed after t1",
        ]
    );
}

#[test]
fn a_no_sends_abort_at_once_and_answers_after_the_record() {
    let (mut node, gtid) = begun(2, Wait::Decided);
    assert_eq!(
        say(&mut node, gtid, A, no()),
        [
            "append t1: Aborted (refused) at 1, forced",
            "abort 0 #2",
            "abort 1 #2",
            "r1: Aborting, Aborted after t1",
        ]
    );
}

#[test]
fn all_read_only_is_a_commit_that_closes_by_itself() {
    let (mut node, gtid) = begun(2, Wait::Completed);
    say(&mut node, gtid, A, read_only());
    let effects = say(&mut node, gtid, B, read_only());
    assert_eq!(effects, ["append t1: Committed at 1, forced"]);
    let effects = durable(&mut node, 1);
    assert_eq!(
        effects,
        ["append t2: Closed [] at 2, lazy", "r1: Closed, Committed"]
    );
}

#[test]
fn who_waits_for_the_end_hears_of_it_with_the_last_branch() {
    let (mut node, gtid) = committing(Wait::Completed);
    assert_eq!(say(&mut node, gtid, A, committed()), [""; 0]);
    let effects = say(&mut node, gtid, B, committed());
    assert_eq!(
        effects,
        ["append t2: Closed [] at 2, lazy", "r1: Closed, Committed"]
    );
}

#[test]
fn an_abort_that_ends_before_its_record_is_durable_is_told_only_after_it() {
    let (mut node, gtid) = aborting(Wait::Completed);
    say(&mut node, gtid, A, aborted());
    let effects = say(&mut node, gtid, B, aborted());
    assert_eq!(
        effects,
        [
            "append t2: Closed [] at 2, lazy",
            "r1: Closed, Aborted after t1"
        ]
    );
}

#[test]
fn an_answer_to_a_call_of_another_epoch_is_passed_over() {
    let (mut node, gtid) = begun(2, Wait::Decided);
    for epoch in [Epoch(E.0 - 1), Epoch(E.0 + 1)] {
        let before = node.clone();
        let answer = no();
        let event = Event::Answered { gtid, epoch, branch: A, attempt: Attempt(1), answer };
        assert_eq!(take(&mut node, event), []);
        assert_eq!(node, before);
    }
}

#[test]
fn an_answer_for_a_transaction_that_is_gone_is_passed_over() {
    let (mut node, _) = begun(2, Wait::Decided);
    let before = node.clone();
    let (branch, attempt, answer) = (A, Attempt(1), no());
    let event = Event::Answered { gtid: gtid(99), epoch: E, branch, attempt, answer };
    assert_eq!(take(&mut node, event), []);
    assert_eq!(node, before);
}

#[test]
fn a_lost_reply_sets_a_timer_for_the_repeat() {
    let (mut node, gtid) = begun(2, Wait::Decided);
    assert_eq!(say(&mut node, gtid, A, lost()), [""; 0]);
    assert!(node.next_timer().unwrap() < NOW.plus_millis(TIMEOUT_MS));
}

#[test]
fn a_lone_branch_is_told_of_only_once_its_end_is_recorded() {
    for (answer, effects) in [
        (
            vote(Vote::Committed { result: None }),
            [
                "append t1: Committed at 1, forced",
                "r1: Committing, Committed after t1",
            ],
        ),
        (
            no(),
            [
                "append t1: Aborted (refused) at 1, forced",
                "r1: Aborting, Aborted after t1",
            ],
        ),
    ] {
        let (mut node, gtid) = begun(1, Wait::Decided);
        assert_eq!(say(&mut node, gtid, A, answer), effects);
        assert_eq!(durable(&mut node, 1), ["append t2: Closed [] at 2, lazy"]);
    }
}

#[test]
fn a_heuristic_end_is_recorded_and_never_told_as_success() {
    let (mut node, gtid) = committing(Wait::Completed);
    say(&mut node, gtid, A, aborted());
    let event = answered(&node, gtid, B, committed());
    let effects = take(&mut node, event);
    let told = status(&effects, 1);
    assert_eq!(told.outcome, Outcome::Heuristic);
    assert_eq!(told.branches[0].state, BranchState::HeuristicAborted);
    assert!(node.transaction(&gtid).unwrap().is_heuristic());
    assert_eq!(
        super::fixture::line(&effects[0]),
        "append t2: Closed [0] at 2, lazy"
    );
}

#[test]
fn a_result_that_is_known_only_at_commit_reaches_the_client_that_waits_for_the_end() {
    let (mut node, gtid) = begun(2, Wait::Completed);
    say(&mut node, gtid, A, vote(Vote::Yes { result: None }));
    say(&mut node, gtid, B, yes());
    durable(&mut node, 1);
    say(&mut node, gtid, B, committed());
    let result = Json::from_text("42".to_owned()).unwrap();
    let answer = end(BranchEnd::Committed { result: Some(result.clone()) });
    let event = answered(&node, gtid, A, answer);
    let effects = take(&mut node, event);
    assert_eq!(status(&effects, 1).branches[0].result, Some(result));
}

#[test]
fn each_call_carries_all_that_the_contract_asks_for() {
    let mut node = super::fixture::node();
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        .parse()
        .unwrap();
    let traceparent = Some(traceparent);
    let submission = Submission {
        traceparent: traceparent.clone(),
        ..submission(1, "k", Wait::Decided)
    };
    submit(&mut node, submission);
    let effects = take(
        &mut node,
        Event::Flushed { token: Token(0), outcome: crate::effect::Appended::Durable },
    );
    let call = PrepareCall {
        gtid: gtid(1),
        branch: B,
        participant: "q".parse().unwrap(),
        attempt: Attempt(1),
        epoch: E,
        deadline: NOW.plus_millis(TIMEOUT_MS),
        watermark: Timestamp::ZERO,
        one_phase: false,
        mode: Mode::TwoPhase,
        operation: "o".parse().unwrap(),
        payload: Json::null(),
    };
    let call = Call {
        participant: "q".parse().unwrap(),
        traceparent,
        message: Message::Prepare(call),
    };
    assert_eq!(effects[1], Effect::Send { after: After::Now, call });
}

#[test]
fn each_order_carries_all_that_the_contract_asks_for() {
    let (mut node, gtid) = begun(2, Wait::Decided);
    say(&mut node, gtid, A, yes());
    let event = answered(&node, gtid, B, yes());
    let effects = take(&mut node, event);
    let order = FinishOrder {
        gtid,
        branch: A,
        verb: FinishVerb::Commit,
        attempt: Attempt(2),
        epoch: E,
        watermark: Timestamp::ZERO,
        want_result: false,
        work: None,
    };
    let call = Call {
        participant: "p".parse().unwrap(),
        traceparent: None,
        message: Message::Finish(order),
    };
    assert_eq!(
        effects[1],
        Effect::Send { after: After::Durable(Token(1)), call }
    );
}

#[test]
fn what_no_correct_participant_sends_is_counted_and_changes_nothing() {
    let (mut node, gtid) = deciding(Wait::Decided);
    let before = node.transaction(&gtid).cloned();
    let event = answered(&node, gtid, A, committed());
    assert_eq!(
        lines(&mut node, event),
        [""; 0],
        "its order has not left yet"
    );
    assert_eq!(node.transaction(&gtid).cloned(), before);
    assert_eq!(node.refusals(), 1);
}
