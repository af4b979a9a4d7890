//! Pivots wait for room at their participants.

use super::fixture::{
    E, P, TIMEOUT_MS, acquire, committed, durable, gtid, lines, load, node, submission, submit,
    take_at, yes,
};
use super::saga::{FIRST, FLIGHT, SECOND, THIRD, answered, done, plan, say};
use crate::id::{Epoch, PartitionId};
use crate::node::{Config, Event, Found, Node, Submission};
use crate::plan::Plan;
use crate::record::Record;
use crate::recovery::History;
use crate::time::Timestamp;
use crate::wire::api::Wait;

/// Two branches at the same participant, which has room for six.
const PAY: &str = r#"{"name":"pay","after":["flight"],"group":{"branches":[
    {"name":"a","participant":"p","operation":"o"},
    {"name":"b","participant":"p","operation":"o"}]}}"#;

fn open(node: &Node) -> usize {
    node.participants[&"p".parse().unwrap()].open
}

/// Four of them, the last of which waits.
fn four() -> Node {
    let mut node = node();
    for number in 1..=4 {
        let key = format!("k{number}");
        let plan = plan(&[FLIGHT, PAY]);
        submit(
            &mut node,
            Submission { plan, ..submission(number, &key, Wait::Accepted) },
        );
    }
    for token in 0..4 {
        durable(&mut node, token);
    }
    for number in 1..=3 {
        let said = say(&mut node, gtid(number), FIRST, done());
        assert_eq!(said[1..], ["prepare 1 #1", "prepare 2 #1"]);
    }
    let said = say(&mut node, gtid(4), FIRST, done());
    assert_eq!(
        said.len(),
        1,
        "its result, and nothing is prepared: {said:?}"
    );
    assert_eq!(open(&node), 6);
    node
}

#[test]
fn pivot_is_prepared_only_once_there_is_room_for_all_its_branches() {
    let mut node = four();
    say(&mut node, gtid(1), SECOND, yes());
    let decided = say(&mut node, gtid(1), THIRD, yes());
    assert!(decided[0].contains("Committed"), "{decided:?}");
    durable(&mut node, 8);
    say(&mut node, gtid(1), SECOND, committed());
    let event = answered(&node, gtid(1), THIRD, committed());
    let closed = lines(&mut node, event);
    assert!(closed[0].contains("Closed"), "{closed:?}");
    assert_eq!(
        closed[1..],
        ["prepare 1 #1", "prepare 2 #1"],
        "of the fourth"
    );
    assert_eq!(open(&node), 6);
}

#[test]
fn others_come_after_a_pivot_that_waits() {
    let mut node = four();
    // One of three ends: there is room for the fourth, and for nobody else.
    let refused = submit(&mut node, submission(5, "k5", Wait::Accepted));
    assert_eq!(refused, ["r5: refused (Overloaded)"]);
    node.config.open_max = 9;
    let refused = submit(&mut node, submission(5, "k5", Wait::Accepted));
    assert_eq!(refused, ["r5: refused (ParticipantBusy)"]);
}

#[test]
fn pivot_that_waits_for_too_long_turns_back_and_waits_no_more() {
    let mut node = four();
    let over = node.transaction(&gtid(4)).unwrap().begun().deadline;
    assert_eq!(over, super::fixture::NOW.plus_millis(TIMEOUT_MS));
    take_at(&mut node, over, Event::Timer);
    assert!(node.queue.is_empty());
    let fourth = node.transaction(&gtid(4)).unwrap();
    assert!(!fourth.course().holds_branches());
}

#[test]
fn pivot_that_finds_no_room_elsewhere_does_not_keep_it_from_the_next() {
    let at = |participants: [&str; 2]| {
        let [a, b] = participants;
        format!(
            r#"{{"name":"pay","after":["flight"],"group":{{"branches":[
                {{"name":"a","participant":"{a}","operation":"o"}},
                {{"name":"b","participant":"{b}","operation":"o"}}]}}}}"#
        )
    };
    let config = Config {
        open_max: 9,
        participant_open_max: 1,
        ..super::fixture::config()
    };
    let mut node = Node::new(config);
    acquire(&mut node, P, E, Timestamp::ZERO);
    load(&mut node, vec![]);
    // The first two take all at p and at q; then one for both, and one for p.
    let plans = [["p", "r"], ["q", "s"], ["p", "q"], ["p", "t"]];
    for (number, participants) in (1..).zip(plans) {
        let plan = plan(&[FLIGHT, &at(participants)]);
        let key = format!("k{number}");
        submit(
            &mut node,
            Submission { plan, ..submission(number, &key, Wait::Accepted) },
        );
        durable(&mut node, number - 1);
    }
    for number in 1..=4 {
        say(&mut node, gtid(number), FIRST, done());
    }
    let holds = |node: &Node, number| {
        let transaction = node.transaction(&gtid(number)).unwrap();
        transaction.course().holds_branches()
    };
    assert_eq!(
        [1, 2, 3, 4].map(|it| holds(&node, it)),
        [true, true, false, false]
    );
    say(&mut node, gtid(1), SECOND, yes());
    say(&mut node, gtid(1), THIRD, yes());
    durable(&mut node, 8);
    say(&mut node, gtid(1), SECOND, committed());
    say(&mut node, gtid(1), THIRD, committed());
    assert_eq!(
        [1, 2, 3, 4].map(|it| holds(&node, it)),
        [false, true, false, true]
    );
}

/// A pivot of these branches, after a flight.
fn pays(participants: &[&str]) -> Plan {
    let branch = |(n, name): (usize, &&str)| {
        format!(r#"{{"name":"b{n}","participant":"{name}","operation":"o"}}"#)
    };
    let branches: Vec<String> = participants.iter().enumerate().map(branch).collect();
    let pay = format!(
        r#"{{"name":"pay","after":["flight"],"group":{{"branches":[{}]}}}}"#,
        branches.join(",")
    );
    plan(&[FLIGHT, &pay])
}

/// A node with so much room, in which these pivots are ready, in this order.
fn ready(participant_open_max: usize, pivots: &[&[&str]]) -> Node {
    let config = Config {
        open_max: 99,
        participant_open_max,
        ..super::fixture::config()
    };
    let mut node = Node::new(config);
    acquire(&mut node, P, E, Timestamp::ZERO);
    load(&mut node, vec![]);
    for (number, participants) in (1..).zip(pivots) {
        let (plan, key) = (pays(participants), format!("k{number}"));
        // The third is in a hurry.
        let timeout_ms = if number == 3 { 1_000 } else { TIMEOUT_MS };
        let submission = submission(number, &key, Wait::Accepted);
        submit(&mut node, Submission { plan, timeout_ms, ..submission });
        durable(&mut node, number - 1);
    }
    for number in 1..=pivots.len() as u64 {
        say(&mut node, gtid(number), FIRST, done());
    }
    node
}

fn holding(node: &Node) -> Vec<u64> {
    let holds = |number: &u64| {
        let transaction = node.transaction(&gtid(*number));
        transaction.is_some_and(|it| it.course().holds_branches())
    };
    (1..=9).filter(holds).collect()
}

#[test]
fn one_that_waits_no_more_lets_the_next_go_on() {
    // The first two leave one place free, which the third has no use for and the fourth would have.
    let mut node = ready(3, &[&["p"], &["p"], &["p", "p"], &["p"]]);
    assert_eq!(holding(&node), [1, 2], "nobody passes the third");
    let over = node.transaction(&gtid(3)).unwrap().begun().deadline;
    take_at(&mut node, over, Event::Timer);
    assert_eq!(holding(&node), [1, 2, 4]);
}

#[test]
fn a_partition_that_is_lost_lets_those_of_others_go_on() {
    let mut node = ready(1, &[&["p"], &["p"]]);
    let other = PartitionId(P.0 + 1);
    acquire(&mut node, other, E, Timestamp::ZERO);
    lines(
        &mut node,
        Event::Loaded { partition: other, epoch: E, found: vec![], last: true },
    );
    let late = Submission {
        plan: pays(&["p"]),
        partition: other,
        ..submission(3, "k3", Wait::Accepted)
    };
    // Accepted while nobody waits, and ready when somebody does.
    node.config.participant_open_max = 2;
    node.queue.leave(gtid(2), &pays(&["p"]));
    submit(&mut node, late);
    node.config.participant_open_max = 1;
    let third = *node
        .transactions
        .keys()
        .find(|it| it.partition() == other)
        .unwrap();
    let token = node.next_token - 1;
    durable(&mut node, token);
    node.queue.ask(gtid(2));
    let event = answered(&node, third, FIRST, done());
    lines(&mut node, event);
    assert!(!node.transaction(&third).unwrap().course().holds_branches());
    node.step(super::fixture::NOW, Event::Lost { partition: P });
    assert!(node.transaction(&third).unwrap().course().holds_branches());
}

#[test]
fn pivot_that_is_larger_than_a_bound_that_was_lowered_runs_alone() {
    let mut node = ready(2, &[&["q"], &["p", "p"]]);
    assert_eq!(holding(&node), [1, 2]);
    let records = node.transaction(&gtid(2)).unwrap().begun().clone();
    let done = super::saga::record(r#"{"done":{"at":1,"action":0}}"#);
    let history = History::fold([Record::Begun(records), done]).unwrap();
    node = ready(1, &[&["q"]]);
    lines(&mut node, Event::Lost { partition: P });
    acquire(&mut node, P, Epoch(E.0 + 1), Timestamp::ZERO);
    let found = vec![Found { gtid: gtid(2), history }];
    let event = Event::Loaded { partition: P, epoch: Epoch(E.0 + 1), found, last: true };
    lines(&mut node, event);
    assert_eq!(holding(&node), [2]);
}
