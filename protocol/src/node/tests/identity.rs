use super::fixture::{
    A, B, E, P, acquire, answered, begun, committed, committed_record, config, durable, found,
    gtid, identity, lines, load, node, plan, say, submission, submit, take, yes,
};
use crate::effect::Answer;
use crate::id::ParticipantName;
use crate::node::{Event, Node, Submission};
use crate::time::Timestamp;
use crate::wire::api::Wait;
use crate::wire::contract::{BranchEnd, Identity, Kinship, Vote};

fn older() -> Identity {
    Identity { starts: 1, ..identity() }
}

fn foreign() -> Identity {
    Identity { system: "9/1".to_owned(), ..identity() }
}

fn votes(identity: Identity) -> Answer {
    Answer::Vote { identity, vote: Vote::Yes { result: None } }
}

fn ends(identity: Identity) -> Answer {
    Answer::End { identity, end: BranchEnd::Committed { result: None } }
}

fn halted(node: &Node) -> Vec<(&str, Kinship)> {
    node.halted()
        .map(|(name, how)| (ParticipantName::as_str(name), how))
        .collect()
}

/// A node that has heard from the database of participant `p`.
fn acquainted() -> Node {
    let mut node = node();
    submit(
        &mut node,
        Submission { plan: plan(2), ..submission(1, "k1", Wait::Decided) },
    );
    durable(&mut node, 0);
    say(&mut node, gtid(1), A, yes());
    node
}

#[test]
fn an_older_or_another_database_halts_its_participant_and_no_other() {
    for (identity, how) in [(older(), Kinship::Older), (foreign(), Kinship::Foreign)] {
        let mut node = acquainted();
        submit(&mut node, submission(2, "k2", Wait::Decided));
        durable(&mut node, 1);
        assert_eq!(
            say(&mut node, gtid(2), A, votes(identity)),
            [""; 0],
            "no vote"
        );
        assert_eq!(halted(&node), [("p", how)]);
        let effects = submit(&mut node, submission(3, "k3", Wait::Decided));
        assert_eq!(effects, ["r3: refused (ParticipantHalted)"]);
    }
}

#[test]
fn an_answer_overtaken_by_a_later_start_is_believed() {
    let mut node = node();
    submit(&mut node, submission(1, "k1", Wait::Decided));
    submit(&mut node, submission(2, "k2", Wait::Decided));
    durable(&mut node, 0);
    durable(&mut node, 1);
    say(&mut node, gtid(1), A, yes());
    say(&mut node, gtid(2), A, votes(older()));
    assert_eq!(
        halted(&node),
        [],
        "its call went out before the later start was heard of"
    );
    assert!(
        node.transaction(&gtid(2))
            .unwrap()
            .group()
            .unwrap()
            .branches()[0]
            .has_agreed()
    );
}

#[test]
fn a_database_that_was_never_the_known_one_halts_even_where_nothing_was_known_at_the_call() {
    let mut node = node();
    submit(&mut node, submission(1, "k1", Wait::Decided));
    submit(&mut node, submission(2, "k2", Wait::Decided));
    durable(&mut node, 0);
    durable(&mut node, 1);
    say(&mut node, gtid(1), A, yes());
    say(&mut node, gtid(2), A, votes(foreign()));
    assert_eq!(halted(&node), [("p", Kinship::Foreign)]);
}

#[test]
fn after_a_restart_a_database_is_held_against_the_vote_in_the_journal() {
    for (identity, how) in [(older(), Kinship::Older), (foreign(), Kinship::Foreign)] {
        let mut node = Node::new(config());
        acquire(&mut node, P, E, Timestamp::ZERO);
        load(
            &mut node,
            vec![found(gtid(1), 2, vec![committed_record(false, 2)])],
        );
        assert_eq!(
            say(&mut node, gtid(1), A, ends(identity)),
            [""; 0],
            "not believed"
        );
        assert_eq!(halted(&node), [("p", how)]);
        let effects = submit(&mut node, submission(2, "k2", Wait::Decided));
        assert_eq!(effects, ["r2: refused (ParticipantHalted)"]);
    }
}

#[test]
fn a_late_answer_of_another_database_to_a_former_attempt_is_passed_over() {
    let (mut node, gtid) = begun(2, Wait::Decided);
    let late = answered(&node, gtid, A, votes(foreign()));
    say(&mut node, gtid, A, yes());
    say(&mut node, gtid, B, yes());
    assert_eq!(lines(&mut node, late), [""; 0]);
    assert_eq!(halted(&node), []);
    durable(&mut node, 1);
    say(&mut node, gtid, A, committed());
    let before = node.clone();
    let event = answered(&node, gtid, A, ends(foreign()));
    take(&mut node, event);
    assert_eq!(node, before);
}

#[test]
fn news_of_another_node_halts_only_if_the_database_is_another() {
    for (identity, halts) in [
        (older(), vec![]),
        (Identity { starts: 9, ..identity() }, vec![]),
        (foreign(), vec![("p", Kinship::Foreign)]),
    ] {
        let mut node = acquainted();
        let participant = "p".parse().unwrap();
        assert_eq!(
            take(&mut node, Event::Identified { participant, identity }),
            []
        );
        assert_eq!(halted(&node), halts);
    }
}

#[test]
fn a_later_start_heard_of_by_another_node_is_what_later_calls_are_held_against() {
    let mut node = acquainted();
    let participant = "p".parse().unwrap();
    let identity = Identity { starts: 9, ..identity() };
    take(&mut node, Event::Identified { participant, identity });
    submit(&mut node, submission(2, "k2", Wait::Decided));
    durable(&mut node, 1);
    say(&mut node, gtid(2), A, yes());
    assert_eq!(halted(&node), [("p", Kinship::Older)]);
}
