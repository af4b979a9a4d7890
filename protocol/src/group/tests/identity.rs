use std::sync::Arc;

use super::fixture::{A, NOW, committed, identity, in_phase, resume, say, voted, yes};
use crate::effect::Answer;
use crate::group::{Group, Phase};
use crate::recovery::Resumption;
use crate::wire::contract::{BranchEnd, Identity, Vote};

fn older() -> Identity {
    Identity { starts: identity().starts - 1, ..identity() }
}

fn earlier_timeline() -> Identity {
    Identity { timeline: 0, starts: 99, ..identity() }
}

fn foreign() -> Identity {
    Identity { system: "8/16384".to_owned(), ..identity() }
}

/// An answer that is passed over: the call is repeated, and the error says which database it was.
fn is_not_believed(mut group: Group, answer: Answer) {
    let phase = group.phase();
    assert_eq!(say(&mut group, A, answer.clone()), [], "{answer:?}");
    assert_eq!(group.phase(), phase);
    let branch = &group.branches()[0];
    assert!(branch.calls.retry_at.is_some(), "{answer:?}");
    assert!(
        branch
            .calls
            .last_error
            .as_ref()
            .unwrap()
            .contains("database"),
        "{branch:?}"
    );
}

#[test]
fn a_vote_from_an_older_or_another_database_is_not_believed() {
    for identity in [older(), earlier_timeline(), foreign()] {
        for vote in [
            Vote::Yes { result: None },
            Vote::No { refusal: super::fixture::refusal() },
        ] {
            let mut group = in_phase(Phase::Preparing);
            group.branch_mut(A).unwrap().calls.floor = Some(Arc::new(super::fixture::identity()));
            is_not_believed(group, Answer::Vote { identity: identity.clone(), vote });
        }
    }
}

#[test]
fn an_end_from_another_database_than_the_one_that_voted_is_not_believed() {
    for identity in [older(), earlier_timeline(), foreign()] {
        for end in [BranchEnd::Committed { result: None }, BranchEnd::Aborted] {
            let answer = Answer::End { identity: identity.clone(), end };
            is_not_believed(in_phase(Phase::Committing), answer.clone());
            let (group, _) = resume(1, Resumption::Commit(vec![voted(A)]));
            is_not_believed(group, answer);
        }
    }
}

#[test]
fn a_later_start_or_timeline_of_the_same_database_is_believed() {
    let later = Identity { timeline: 2, starts: 4, ..identity() };
    let mut group = in_phase(Phase::Committing);
    let end = BranchEnd::Committed { result: None };
    say(&mut group, A, Answer::End { identity: later, end });
    assert!(group.branches()[0].has_ended());
}

#[test]
fn without_anything_known_before_any_database_is_believed() {
    let mut group = in_phase(Phase::Preparing);
    let answer = Answer::Vote { identity: foreign(), vote: Vote::Yes { result: None } };
    say(&mut group, A, answer);
    assert!(group.branches()[0].has_agreed());
    say(&mut group, super::fixture::B, yes());
    group.step(NOW, crate::group::Input::Durable).unwrap();
    is_not_believed(group, committed());
}
