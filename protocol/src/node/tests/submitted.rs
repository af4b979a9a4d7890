use super::fixture::{
    E, NOW, P, TIMEOUT_MS, acquire, begun, begun_record, config, durable, found, gtid, load,
    minted, node, plan, submission, submit, take,
};
use crate::effect::{Effect, Entry, RequestId, Token, Urgency};
use crate::id::{Fingerprint, PartitionId, Position};
use crate::limits::WAITERS_MAX;
use crate::node::{Config, Event, Node, Submission, partition_of};
use crate::record::Record;
use crate::time::Timestamp;
use crate::wire::api::Wait;

#[test]
fn a_submit_appends_begun_and_calls_nobody() {
    let mut node = node();
    let event = Event::Submitted(Box::new(submission(1, "k", Wait::Decided)));
    let entry = Entry {
        gtid: gtid(1),
        position: Position(0),
        epoch: E,
        record: Record::Begun(begun_record(2)),
    };
    let append = Effect::Append { token: Token(0), entry, urgency: Urgency::Forced };
    assert_eq!(take(&mut node, event), [append]);
    assert_eq!(
        node.next_timer(),
        None,
        "nothing to wait for but the journal"
    );
}

#[test]
fn a_client_hears_the_id_only_once_begun_is_durable() {
    let mut node = node();
    let effects = submit(&mut node, submission(1, "k", Wait::Accepted));
    assert_eq!(
        effects,
        [
            "append t0: Begun at 0, forced",
            "r1: Beginning, Pending after t0"
        ]
    );
}

#[test]
fn a_repeat_joins_the_first_and_waits_for_what_it_asks_itself() {
    let mut node = node();
    submit(&mut node, submission(1, "k", Wait::Completed));
    let effects = submit(&mut node, submission(2, "k", Wait::Accepted));
    assert_eq!(effects, ["r2: Beginning, Pending after t0"]);
    assert_eq!(
        submit(&mut node, submission(3, "k", Wait::Decided)),
        [""; 0]
    );
    durable(&mut node, 0);
    let effects = submit(&mut node, submission(4, "k", Wait::Accepted));
    assert_eq!(effects, ["r4: Preparing, Pending"]);
    assert_eq!(node.open(), 1);
}

#[test]
fn another_body_under_the_same_key_is_refused_once_the_first_is_durable() {
    let mut node = node();
    submit(&mut node, submission(1, "k", Wait::Decided));
    let other = |request| Submission {
        fingerprint: Fingerprint([2; 32]),
        ..submission(request, "k", Wait::Decided)
    };
    assert_eq!(submit(&mut node, other(2)), ["r2: key reused after t0"]);
    durable(&mut node, 0);
    assert_eq!(submit(&mut node, other(3)), ["r3: key reused"]);
}

#[test]
fn a_key_belongs_to_its_tenant() {
    let mut node = node();
    submit(&mut node, submission(1, "k", Wait::Decided));
    let tenant = "other".parse().unwrap();
    let effects = submit(
        &mut node,
        Submission { tenant, ..submission(2, "k", Wait::Decided) },
    );
    assert_eq!(effects, ["append t1: Begun at 0, forced"]);
}

#[test]
fn a_repeat_finds_the_transaction_that_was_found_in_the_journal() {
    let mut node = Node::new(config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    load(&mut node, vec![found(gtid(1), 2, vec![])]);
    assert_eq!(
        submit(&mut node, submission(2, "k", Wait::Decided)),
        ["r2: Aborting, Aborted after t0"]
    );
    assert_eq!(node.open(), 1);
}

#[test]
fn a_new_transaction_is_refused_where_it_cannot_be() {
    let mut node = node();
    let elsewhere = Submission {
        partition: PartitionId(4),
        ..submission(1, "k", Wait::Decided)
    };
    assert_eq!(submit(&mut node, elsewhere), ["r1: refused (NotOwner)"]);
    submit(&mut node, submission(1, "k1", Wait::Decided));
    take(&mut node, Event::Draining);
    assert_eq!(
        submit(&mut node, submission(2, "k2", Wait::Decided)),
        ["r2: refused (Draining)"]
    );
    assert_eq!(
        submit(&mut node, submission(3, "k1", Wait::Accepted)),
        ["r3: Beginning, Pending after t0"]
    );
}

#[test]
fn more_open_transactions_than_allowed_are_refused() {
    let mut node = node();
    for n in 0..config().open_max {
        submit(
            &mut node,
            submission(n as u64, &format!("k{n}"), Wait::Decided),
        );
    }
    assert_eq!(
        submit(&mut node, submission(9, "k", Wait::Decided)),
        ["r9: refused (Overloaded)"]
    );
    assert_eq!(node.open(), config().open_max);
}

#[test]
fn more_open_branches_at_a_participant_than_allowed_are_refused() {
    let mut node = Node::new(Config { participant_open_max: 1, ..config() });
    acquire(&mut node, P, E, Timestamp::ZERO);
    submit(
        &mut node,
        Submission { plan: plan(1), ..submission(1, "k1", Wait::Decided) },
    );
    let effects = submit(&mut node, submission(2, "k2", Wait::Decided));
    assert_eq!(effects, ["r2: refused (ParticipantBusy)"]);
    durable(&mut node, 0);
    super::fixture::say(&mut node, gtid(1), super::fixture::A, super::fixture::no());
    durable(&mut node, 1);
    let effects = submit(&mut node, submission(3, "k2", Wait::Decided));
    assert_eq!(
        effects,
        ["append t3: Begun at 0, forced"],
        "its branch has ended"
    );
}

#[test]
fn requests_that_wait_for_one_transaction_have_a_bound() {
    let (mut node, _) = begun(2, Wait::Decided);
    for n in 1..WAITERS_MAX {
        assert_eq!(
            submit(&mut node, submission(n as u64 + 1, "k", Wait::Decided)),
            [""; 0]
        );
    }
    let effects = submit(&mut node, submission(999, "k", Wait::Decided));
    assert_eq!(
        effects,
        ["r999: Preparing, Pending"],
        "how it stands, and not that nothing was begun"
    );
    let requests = [RequestId(2)].into();
    assert_eq!(take(&mut node, Event::Withdrawn { requests }), []);
    let effects = submit(&mut node, submission(1_000, "k", Wait::Decided));
    assert_eq!(effects, [""; 0], "somebody is gone, so this one waits");
}

#[test]
fn an_id_is_minted_above_the_horizon_whatever_the_clock_says() {
    let mut node = Node::new(config());
    let horizon = NOW.plus_millis(10);
    acquire(&mut node, P, E, horizon);
    submit(&mut node, submission(1, "k", Wait::Decided));
    let gtid = minted(horizon.plus_millis(1), 1);
    let transaction = node.transaction(&gtid).unwrap();
    assert_eq!(transaction.begun().deadline, NOW.plus_millis(TIMEOUT_MS));
}

#[test]
fn the_partition_of_a_key_never_changes() {
    let partition = |tenant: &str, key: &str, partitions| {
        partition_of(&tenant.parse().unwrap(), &key.parse().unwrap(), partitions).0
    };
    // Stored transactions lie by these numbers: a change would lose every repeat.
    assert_eq!(partition("default", "k-1", 64), 33);
    assert_eq!(partition("default", "k-2", 64), 8);
    assert_eq!(partition("tenant", "order-4711", 1000), 975);
    assert_eq!(partition("t", "k", 1), 0);
    assert_eq!(partition("t", "k", 0), 0);
}

#[test]
fn requests_that_wait_for_one_record_have_a_bound() {
    let mut node = node();
    submit(&mut node, submission(1, "k", Wait::Accepted));
    for n in 1..WAITERS_MAX {
        let effects = submit(&mut node, submission(n as u64 + 1, "k", Wait::Accepted));
        assert_eq!(effects.len(), 1);
    }
    let other = Fingerprint([2; 32]);
    for more in [
        submission(997, "k", Wait::Accepted),
        Submission { fingerprint: other, ..submission(997, "k", Wait::Decided) },
    ] {
        assert_eq!(submit(&mut node, more), ["r997: refused (Unknown)"]);
    }
    let effects = super::fixture::query(&mut node, 998, gtid(1), None);
    assert_eq!(effects, ["r998: refused (Unknown)"]);
}
