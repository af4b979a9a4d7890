use super::fixture::{
    A, B, E, NOW, P, aborted, aborted_record, acquire, answered, begun, begun_record, committed,
    committed_record, config, durable, end, found, gtid, line, lines, load, minted, query, say,
    submission, submit, take,
};
use crate::effect::{Effect, Message};
use crate::id::{Epoch, PartitionId};
use crate::node::{Event, Found, Node};
use crate::record::{Closed, Record};
use crate::recovery::History;
use crate::time::Timestamp;
use crate::wire::api::{AbortReason, Wait};
use crate::wire::contract::BranchEnd;

fn acquired() -> Node {
    let mut node = Node::new(config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    node
}

/// The watermarks of the calls among these effects.
fn watermarks(effects: &[Effect]) -> Vec<Timestamp> {
    let watermark = |effect: &Effect| match effect {
        Effect::Send { call, .. } => Some(match &call.message {
            Message::Prepare(call) => call.watermark,
            Message::Finish(order) => order.watermark,
            Message::Act(call) => call.watermark,
            Message::Endpoint(_) => Timestamp::ZERO,
        }),
        Effect::Append { .. } | Effect::Reply { .. } | Effect::Reload { .. } => None,
    };
    effects.iter().filter_map(watermark).collect()
}

#[test]
fn an_undecided_transaction_is_aborted_durably_before_its_branches_hear_of_it() {
    let mut node = acquired();
    assert_eq!(
        load(&mut node, vec![found(gtid(1), 2, vec![])]),
        [
            "append t0: Aborted (recovered) at 1, forced",
            "abort 0 #1 after t0",
            "abort 1 #1 after t0",
        ]
    );
    durable(&mut node, 0);
    say(&mut node, gtid(1), A, aborted());
    assert_eq!(
        say(&mut node, gtid(1), B, aborted()),
        ["append t1: Closed [] at 2, lazy"]
    );
}

#[test]
fn a_decided_transaction_goes_on_where_it_stands() {
    let mut node = acquired();
    let commit = found(gtid(1), 2, vec![committed_record(false, 2)]);
    assert_eq!(
        load(&mut node, vec![commit]),
        ["commit 0 #1", "commit 1 #1"]
    );
    let mut node = acquired();
    let abort = found(gtid(1), 2, vec![aborted_record(AbortReason::Recovered)]);
    assert_eq!(load(&mut node, vec![abort]), ["abort 0 #1", "abort 1 #1"]);
    say(&mut node, gtid(1), A, aborted());
    assert_eq!(
        say(&mut node, gtid(1), B, aborted()),
        ["append t0: Closed [] at 2, lazy"]
    );
}

#[test]
fn a_lone_branch_is_recalled_and_its_answer_recorded() {
    for (answer, record) in [
        (
            end(BranchEnd::Committed { result: None }),
            "append t0: Committed at 1, forced",
        ),
        (aborted(), "append t0: Aborted (sealed) at 1, forced"),
    ] {
        let mut node = acquired();
        assert_eq!(
            load(&mut node, vec![found(gtid(1), 1, vec![])]),
            ["abort 0 #1"]
        );
        assert_eq!(
            query(&mut node, 1, gtid(1), None),
            ["r1: Delegated, Pending"]
        );
        assert_eq!(say(&mut node, gtid(1), A, answer), [record]);
        assert_eq!(durable(&mut node, 0), ["append t1: Closed [] at 2, lazy"]);
    }
}

#[test]
fn a_closed_or_presumed_history_needs_nothing() {
    let mut node = acquired();
    let closed = Record::Closed(Closed { at: NOW, heuristics: vec![], results: vec![] });
    let ended = found(gtid(1), 2, vec![committed_record(false, 2), closed]);
    let presumed = [aborted_record(AbortReason::Presumed)];
    let presumed = Found { gtid: gtid(2), history: History::fold(presumed).unwrap() };
    assert_eq!(load(&mut node, vec![ended, presumed]), [""; 0]);
    super::fixture::assert_nothing_left(&node);
}

#[test]
fn an_answer_to_the_former_owner_means_nothing_to_the_new_one() {
    let (mut node, gtid) = begun(2, Wait::Decided);
    let late = answered(&node, gtid, A, super::fixture::no());
    take(&mut node, Event::Lost { partition: P });
    acquire(&mut node, P, Epoch(E.0 + 1), Timestamp::ZERO);
    let found = vec![found(gtid, 2, vec![committed_record(false, 2)])];
    let epoch = Epoch(E.0 + 1);
    take(
        &mut node,
        Event::Loaded { partition: P, epoch, found, last: true },
    );
    assert_eq!(take(&mut node, late), []);
}

#[test]
fn what_was_read_under_another_epoch_is_passed_over() {
    let mut node = acquired();
    let found = vec![found(gtid(1), 2, vec![])];
    for epoch in [Epoch(E.0 - 1), Epoch(E.0 + 1)] {
        let found = found.clone();
        let event = Event::Loaded { partition: P, epoch, found, last: true };
        assert_eq!(take(&mut node, event), []);
    }
    let event = Event::Loaded { partition: PartitionId(4), epoch: E, found, last: true };
    assert_eq!(take(&mut node, event), []);
    let inquiry = Event::Inquired {
        request: crate::effect::RequestId(1),
        gtid: gtid(1),
        branch: A,
    };
    assert_eq!(
        lines(&mut node, inquiry),
        ["r1: Pending"],
        "it is still loading"
    );
}

#[test]
fn a_lost_partition_answers_every_request_and_keeps_nothing() {
    let (mut node, first) = begun(2, Wait::Completed);
    submit(&mut node, submission(2, "k2", Wait::Accepted));
    query(&mut node, 3, first, Some(Wait::Decided));
    let presume = Event::NotRecorded { request: crate::effect::RequestId(4), gtid: gtid(9) };
    take(&mut node, presume);
    let mut effects = lines(&mut node, Event::Lost { partition: P });
    effects.sort();
    let all = ["r1", "r2", "r3", "r4"].map(|request| format!("{request}: refused (Unknown)"));
    assert_eq!(effects, all);
    super::fixture::assert_nothing_left(&node);
    assert_eq!(take(&mut node, Event::Lost { partition: P }), [], "again");
}

#[test]
fn a_partition_acquired_again_forgets_what_it_held_under_the_former_epoch() {
    let (mut node, gtid) = begun(2, Wait::Decided);
    let (partition, epoch, horizon) = (P, Epoch(E.0 + 1), Timestamp::ZERO);
    let effects = lines(&mut node, Event::Acquired { partition, epoch, horizon });
    assert_eq!(effects, ["r1: refused (Unknown)"]);
    let found = vec![found(gtid, 2, vec![])];
    let effects = lines(
        &mut node,
        Event::Loaded { partition, epoch, found, last: true },
    );
    assert_eq!(effects[0], "append t1: Aborted (recovered) at 1, forced");
}

#[test]
fn a_transaction_begun_while_the_partition_is_being_loaded_is_not_resumed() {
    let mut node = acquired();
    submit(&mut node, submission(1, "k", Wait::Decided));
    durable(&mut node, 0);
    let before = node.transaction(&gtid(1)).cloned();
    assert_eq!(load(&mut node, vec![found(gtid(1), 2, vec![])]), [""; 0]);
    assert_eq!(node.transaction(&gtid(1)).cloned(), before);
}

#[test]
fn a_transaction_that_ended_while_the_partition_was_being_loaded_is_not_resumed() {
    let mut node = acquired();
    submit(&mut node, submission(1, "k", Wait::Decided));
    durable(&mut node, 0);
    // The journal was read here: it held Begun alone.
    let stale = found(gtid(1), 2, vec![]);
    say(&mut node, gtid(1), A, super::fixture::yes());
    say(&mut node, gtid(1), B, super::fixture::yes());
    durable(&mut node, 1);
    say(&mut node, gtid(1), A, committed());
    say(&mut node, gtid(1), B, committed());
    durable(&mut node, 2);
    assert_eq!(
        load(&mut node, vec![stale]),
        [""; 0],
        "it would be aborted after its commit"
    );
    super::fixture::assert_nothing_left(&node);
}

#[test]
fn the_watermark_stays_below_the_oldest_open_transaction_and_the_horizon() {
    let mut node = acquired();
    let horizon = NOW.plus_millis(1_000);
    load(&mut node, vec![found(gtid(1), 2, vec![])]);
    take(&mut node, Event::HorizonRaised { partition: P, horizon });
    submit(&mut node, submission(2, "k2", Wait::Decided));
    let flushed = Event::Flushed {
        token: crate::effect::Token(1),
        outcome: crate::effect::Appended::Durable,
    };
    let below = Timestamp::from_millis(NOW.as_millis() - 1);
    assert_eq!(watermarks(&take(&mut node, flushed)), [below, below]);
    durable(&mut node, 0);
    say(&mut node, gtid(1), A, aborted());
    say(&mut node, gtid(1), B, aborted());
    durable(&mut node, 2);
    submit(&mut node, submission(3, "k3", Wait::Decided));
    let second = minted(horizon.plus_millis(1), 2);
    assert!(node.transaction(&second).is_some());
    let flushed = Event::Flushed {
        token: crate::effect::Token(3),
        outcome: crate::effect::Appended::Durable,
    };
    assert_eq!(watermarks(&take(&mut node, flushed)), [horizon, horizon]);
}

#[test]
fn the_watermark_stays_below_what_is_under_quarantine() {
    let mut node = acquired();
    let horizon = NOW.plus_millis(1_000);
    load(&mut node, vec![]);
    take(&mut node, Event::HorizonRaised { partition: P, horizon });
    take(&mut node, Event::Quarantined { gtid: gtid(1) });
    submit(&mut node, submission(2, "k2", Wait::Decided));
    let flushed = Event::Flushed {
        token: crate::effect::Token(0),
        outcome: crate::effect::Appended::Durable,
    };
    let below = Timestamp::from_millis(gtid(1).minted().as_millis() - 1);
    assert_eq!(watermarks(&take(&mut node, flushed)), [below, below]);
}

#[test]
fn no_watermark_is_told_before_the_last_transaction_was_found() {
    let mut node = Node::new(config());
    let horizon = NOW.plus_millis(1_000);
    acquire(&mut node, P, E, horizon);
    let (older, newer) = (gtid(1), minted(NOW.plus_millis(500), 2));
    let commit = |gtid| found(gtid, 2, vec![committed_record(false, 2)]);
    let found = vec![commit(newer), commit(older)];
    let event = Event::Loaded { partition: P, epoch: E, found, last: true };
    let below = Timestamp::from_millis(older.minted().as_millis() - 1);
    let told = watermarks(&take(&mut node, event));
    assert!(
        told.iter().all(|it| *it <= below),
        "{told:?} passes {older} by"
    );
}

#[test]
fn a_transaction_that_was_found_has_its_deadline_and_key_from_its_record() {
    let mut node = acquired();
    load(&mut node, vec![found(gtid(1), 2, vec![])]);
    assert_eq!(
        node.transaction(&gtid(1)).unwrap().begun(),
        &begun_record(2)
    );
    let other = super::fixture::node();
    assert_eq!(other.open(), 0);
    let refused = take(
        &mut node,
        Event::Submitted(Box::new(submission(2, "k", Wait::Accepted))),
    );
    assert_eq!(line(&refused[0]), "r2: Deciding, Pending");
}

#[test]
fn what_comes_after_the_last_page_is_passed_over() {
    let mut node = acquired();
    load(&mut node, vec![]);
    assert_eq!(load(&mut node, vec![found(gtid(1), 2, vec![])]), [""; 0]);
    super::fixture::assert_nothing_left(&node);
}
