use super::fixture::{
    A, B, E, NOW, P, TIMEOUT_MS, aborted, aborting, acquire, begun, committed, committing,
    deciding, durable, flush, gtid, line, node, query, say, submission, submit, take_at,
};
use crate::effect::{Appended, RequestId, Token};
use crate::id::{Fingerprint, PartitionId};
use crate::node::{Event, Submission};
use crate::record::Fate;
use crate::time::Timestamp;
use crate::wire::api::Wait;

#[test]
fn durable_begun_asks_every_branch_and_sets_the_deadline() {
    let mut node = node();
    submit(&mut node, submission(1, "k", Wait::Decided));
    assert_eq!(durable(&mut node, 0), ["prepare 0 #1", "prepare 1 #1"]);
    assert_eq!(node.next_timer(), Some(NOW.plus_millis(TIMEOUT_MS)));
}

#[test]
fn a_deadline_that_passed_while_begun_was_under_way_aborts_at_once() {
    let mut node = node();
    submit(&mut node, submission(1, "k", Wait::Decided));
    let late = NOW.plus_millis(TIMEOUT_MS);
    let event = Event::Flushed { token: Token(0), outcome: Appended::Durable };
    let effects = take_at(&mut node, late, event);
    let effects: Vec<_> = effects.iter().map(line).collect();
    assert_eq!(
        effects,
        [
            "prepare 0 #1",
            "prepare 1 #1",
            "append t1: Aborted (deadline) at 1, forced",
            "abort 0 #2",
            "abort 1 #2",
            "r1: Aborting, Aborted after t1",
        ]
    );
    assert_eq!(node.next_timer(), None);
}

#[test]
fn a_durable_decision_gives_nothing_new_to_do() {
    let (mut node, gtid) = deciding(Wait::Decided);
    assert_eq!(node.transaction(&gtid).unwrap().durable_fate(), None);
    assert_eq!(durable(&mut node, 1), [""; 0]);
    assert_eq!(
        node.transaction(&gtid).unwrap().durable_fate(),
        Some(Fate::Commit)
    );
}

#[test]
fn an_outcome_of_an_append_that_nobody_made_is_passed_over() {
    let (mut node, _) = committing(Wait::Decided);
    let before = node.clone();
    for token in [0, 1, 99] {
        for outcome in [Appended::Durable, Appended::Fenced, Appended::Unknown] {
            assert_eq!(flush(&mut node, token, outcome), [""; 0]);
        }
    }
    assert_eq!(node, before);
}

#[test]
fn a_key_that_the_journal_knows_is_told_to_every_request_that_waits() {
    let mut node = node();
    submit(&mut node, submission(1, "k", Wait::Decided));
    submit(&mut node, submission(2, "k", Wait::Accepted));
    let other = Submission {
        fingerprint: Fingerprint([2; 32]),
        ..submission(3, "k", Wait::Decided)
    };
    submit(&mut node, other);
    query(&mut node, 4, gtid(1), None);
    query(&mut node, 5, gtid(1), Some(Wait::Completed));
    let mut effects = flush(&mut node, 0, Appended::KeyTaken { by: gtid(77) });
    effects.sort();
    let all = ["r1", "r2", "r3", "r4", "r5"].map(|request| format!("{request}: key taken"));
    assert_eq!(effects, all);
    super::fixture::assert_nothing_left(&node);
}

#[test]
fn a_taken_key_leaves_the_first_owner_of_the_key_in_memory() {
    let mut node = crate::node::Node::new(super::fixture::config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    submit(&mut node, submission(1, "k", Wait::Decided));
    // Loaded late, with the same key.
    super::fixture::load(&mut node, vec![super::fixture::found(gtid(7), 2, vec![])]);
    flush(&mut node, 0, Appended::KeyTaken { by: gtid(7) });
    let effects = submit(&mut node, submission(2, "k", Wait::Decided));
    assert_eq!(effects, ["r2: Aborting, Aborted after t1"]);
}

#[test]
fn an_unknown_flush_loses_the_partition_and_reloads_it_once() {
    let mut node = node();
    submit(&mut node, submission(1, "k1", Wait::Decided));
    submit(&mut node, submission(2, "k2", Wait::Accepted));
    let mut effects = flush(&mut node, 1, Appended::Unknown);
    effects.sort();
    assert_eq!(
        effects,
        ["r1: refused (Unknown)", "r2: refused (Unknown)", "reload 3"]
    );
    assert_eq!(flush(&mut node, 0, Appended::Unknown), [""; 0]);
    assert_eq!((node.open(), node.next_timer()), (0, None));
    let effects = submit(&mut node, submission(3, "k1", Wait::Decided));
    assert_eq!(effects, ["r3: refused (NotOwner)"]);
}

#[test]
fn an_unknown_decision_is_never_told_as_either() {
    for (mut node, gtid) in [deciding(Wait::Decided), aborting(Wait::Decided)] {
        let event = Event::Inquired { request: RequestId(9), gtid, branch: A };
        super::fixture::take(&mut node, event.clone());
        let effects = flush(&mut node, 1, Appended::Unknown);
        assert_eq!(effects, ["r1: refused (Unknown)", "reload 3"]);
        assert_eq!(
            super::fixture::lines(&mut node, event),
            ["r9: refused (NotOwner)"]
        );
    }
}

#[test]
fn a_fenced_flush_loses_the_partition_and_leaves_it_to_its_owner() {
    let (mut node, _) = deciding(Wait::Decided);
    assert_eq!(
        flush(&mut node, 1, Appended::Fenced),
        ["r1: refused (Unknown)"]
    );
    assert_eq!((node.open(), node.next_timer()), (0, None));
}

#[test]
fn a_fenced_partition_takes_no_other_with_it() {
    let (mut node, _) = deciding(Wait::Decided);
    let other = PartitionId(4);
    acquire(&mut node, other, E, Timestamp::ZERO);
    submit(
        &mut node,
        Submission { partition: other, ..submission(2, "k2", Wait::Decided) },
    );
    flush(&mut node, 1, Appended::Fenced);
    assert_eq!(durable(&mut node, 2), ["prepare 0 #1", "prepare 1 #1"]);
    assert_ne!(other, P);
}

#[test]
fn a_closed_transaction_is_forgotten_once_that_is_durable() {
    for (mut node, gtid, answer) in [
        (committing(Wait::Decided).0, gtid(1), committed()),
        (
            {
                let mut node = aborting(Wait::Decided).0;
                durable(&mut node, 1);
                node
            },
            gtid(1),
            aborted(),
        ),
    ] {
        say(&mut node, gtid, A, answer.clone());
        say(&mut node, gtid, B, answer);
        assert_eq!(node.open(), 1, "until Closed is durable");
        assert_eq!(durable(&mut node, 2), [""; 0]);
        assert_eq!(node.open(), 0);
        super::fixture::assert_nothing_left(&node);
    }
}

#[test]
fn a_key_is_free_in_memory_again_after_the_end_and_the_journal_decides() {
    let (mut node, gtid) = committing(Wait::Decided);
    say(&mut node, gtid, A, committed());
    say(&mut node, gtid, B, committed());
    durable(&mut node, 2);
    assert_eq!(
        submit(&mut node, submission(2, "k", Wait::Decided)),
        ["append t3: Begun at 0, forced"]
    );
    assert_eq!(
        flush(&mut node, 3, Appended::KeyTaken { by: gtid }),
        ["r2: key taken"]
    );
    super::fixture::assert_nothing_left(&node);
    let (node, _) = begun(2, Wait::Decided);
    assert_eq!(node.open(), 1);
}

#[test]
fn a_taken_key_is_no_answer_to_a_record_that_has_none() {
    let (mut node, gtid) = deciding(Wait::Decided);
    let effects = flush(&mut node, 1, Appended::KeyTaken { by: gtid });
    assert_eq!(effects, ["r1: refused (Unknown)", "reload 3"]);
    let mut node = super::fixture::node();
    let presume = Event::NotRecorded { request: RequestId(2), gtid };
    super::fixture::take(&mut node, presume);
    let effects = flush(&mut node, 0, Appended::KeyTaken { by: gtid });
    assert_eq!(effects, ["r2: refused (Unknown)", "reload 3"]);
}
