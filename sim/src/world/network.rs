//! What is on its way between coordinators and participants.
//!
//! Everything in flight is delivered at any later time, in any order, or never; nobody need take
//! a message out for it to be lost. That a coordinator gives a call up is a step of its own: the
//! call, or its answer, may arrive all the same.

use std::collections::BTreeMap;

use accordant_protocol::branch;
use accordant_protocol::effect::{Answer, Message};
use accordant_protocol::id::{Attempt, BranchIndex, Epoch, Gtid};
use accordant_protocol::json::Json;
use accordant_protocol::wire::api::Verdict;
use accordant_protocol::wire::contract::{ActVerb, FinishVerb};

use crate::fingerprint::Hashed;

/// A call to a participant: the part of it that has a meaning here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    /// The transaction.
    pub gtid: Gtid,
    /// The branch.
    pub branch: BranchIndex,
    /// What is to be done.
    pub verb: Verb,
    /// The epoch of the owner that calls.
    pub epoch: Epoch,
    /// Which try it is.
    pub attempt: Attempt,
    /// The result that an action is called with: another's, or to make good its own.
    pub said: Option<u64>,
}

/// What is to be done. A TCC branch is told as one that is prepared: its reservation is what the
/// service holds until it hears more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// A branch is to do its work, and to vote.
    Prepare,
    /// A lone branch is to do its work and commit.
    CommitOnePhase,
    /// A branch is to commit.
    Commit,
    /// A branch is to abort.
    Abort,
    /// An action is to act.
    Act,
    /// An action is to be made good.
    Compensate,
}

impl Verb {
    /// What a branch is told, in the words of its table.
    pub(super) const fn of_branch(self) -> Option<branch::Verb> {
        match self {
            Self::Prepare => Some(branch::Verb::Prepare),
            Self::CommitOnePhase => Some(branch::Verb::CommitOnePhase),
            Self::Commit => Some(branch::Verb::Commit),
            Self::Abort => Some(branch::Verb::Abort),
            Self::Act | Self::Compensate => None,
        }
    }
}

impl From<ActVerb> for Verb {
    fn from(verb: ActVerb) -> Self {
        match verb {
            ActVerb::Act => Self::Act,
            ActVerb::Compensate => Self::Compensate,
        }
    }
}

impl Order {
    pub(super) fn of(message: &Message) -> Self {
        match message {
            Message::Prepare(call) => Self {
                gtid: call.gtid,
                branch: call.branch,
                verb: if call.one_phase {
                    Verb::CommitOnePhase
                } else {
                    Verb::Prepare
                },
                epoch: call.epoch,
                attempt: call.attempt,
                said: None,
            },
            Message::Finish(order) => Self {
                gtid: order.gtid,
                branch: order.branch,
                verb: match order.verb {
                    FinishVerb::Commit | FinishVerb::Confirm => Verb::Commit,
                    FinishVerb::Abort | FinishVerb::Cancel => Verb::Abort,
                },
                epoch: order.epoch,
                attempt: order.attempt,
                said: None,
            },
            Message::Act(call) => Self {
                gtid: call.gtid,
                branch: call.branch,
                verb: Verb::from(call.verb),
                epoch: call.epoch,
                attempt: call.attempt,
                said: match call.verb {
                    ActVerb::Act => said(Some(&call.payload)),
                    ActVerb::Compensate => call.result.as_ref().and_then(|it| it.to().ok()),
                },
            },
            Message::Endpoint(call) => Self {
                gtid: call.gtid,
                branch: call.branch,
                verb: Verb::from(call.verb),
                epoch: call.epoch,
                attempt: call.attempt,
                said: said(call.body.as_ref()),
            },
        }
    }
}

/// The result in a payload, under the one member that `crate::plans` gives it.
fn said(payload: Option<&Json>) -> Option<u64> {
    payload.and_then(|it| it.to::<BTreeMap<String, u64>>().ok()?.remove("of"))
}

/// Something on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Packet {
    /// To the participant of the branch.
    Call(Order),
    /// To the coordinator that waits for it. An answer that nobody waits for is not kept.
    Answer {
        /// What is answered.
        order: Order,
        /// The answer.
        answer: Hashed<Answer>,
    },
    /// To the participant that asked.
    Verdict {
        /// The transaction.
        gtid: Gtid,
        /// The branch.
        branch: BranchIndex,
        /// What it is to do.
        verdict: Verdict,
    },
}

/// What is in flight, as a multiset: kept in a fixed order, so that equal sets are equal states.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Network(Vec<Packet>);

impl Network {
    /// All packets.
    #[must_use]
    pub fn packets(&self) -> &[Packet] {
        &self.0
    }

    pub(super) fn send(&mut self, packet: Packet) {
        let key = key(&packet);
        let place = self.0.partition_point(|it| self::key(it) <= key);
        self.0.insert(place, packet);
    }

    pub(super) fn take(&mut self, place: usize) -> Option<Packet> {
        (place < self.0.len()).then(|| self.0.remove(place))
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&Packet) -> bool) {
        self.0.retain(keep);
    }
}

/// Orders packets; two that are equal here are equal in all that differs between answers to one
/// and the same call, save the answer itself.
fn key(packet: &Packet) -> (u8, Gtid, BranchIndex, u8, Epoch, Attempt, u128) {
    let of = |kind, order: &Order, print| {
        let verb = order.verb as u8;
        (
            kind,
            order.gtid,
            order.branch,
            verb,
            order.epoch,
            order.attempt,
            print,
        )
    };
    match packet {
        Packet::Call(order) => of(0, order, 0),
        Packet::Answer { order, answer } => of(1, order, crate::fingerprint::fingerprint(answer)),
        Packet::Verdict { gtid, branch, verdict } => {
            (2, *gtid, *branch, *verdict as u8, Epoch(0), Attempt(0), 0)
        }
    }
}
