//! A saga that was found in the journal.

use super::fixture::{E, P, acquire, begun_record, config, gtid, identity, lines, load};
use super::services::shape;
use crate::effect::Answer;
use crate::id::{Attempt, BranchIndex};
use crate::node::{Event, Found, Node};
use crate::record::{Begun, Record};
use crate::recovery::History;
use crate::time::Timestamp;
use crate::wire::contract::{ActAnswer, Refusal};

/// `a`, and `b` after it, which is called with the result of `a`.
fn two_steps() -> Found {
    let begun = Begun { plan: shape(0), ..begun_record(1) };
    let history = History::fold([Record::Begun(begun)]).unwrap();
    Found { gtid: gtid(1), history }
}

#[test]
fn what_cannot_have_been_called_for_want_of_a_result_is_left_alone() {
    let mut node = Node::new(config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    assert_eq!(load(&mut node, vec![two_steps()]), ["act 0 #1"]);
    let refusal = Refusal::new("no", "not now");
    let answer = ActAnswer::Refused { refusal };
    let refused = Event::Answered {
        gtid: gtid(1),
        epoch: E,
        branch: BranchIndex(0),
        attempt: Attempt(1),
        answer: Answer::Acted { identity: Some(identity()), answer },
    };
    assert_eq!(
        lines(&mut node, refused),
        [
            "append t0: Aborted (refused) at 1, forced",
            "append t1: Closed [] at 2, lazy",
        ]
    );
}
