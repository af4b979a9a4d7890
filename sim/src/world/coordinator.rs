//! A coordinator process: the real node, and a driver that keeps its contract and no more.
//!
//! # Why effects are not held back one by one
//! A driver may run the effects of a step in any order that their `after` permits, and may die
//! between any two. Here an effect that may leave does so at once, which loses no behaviour:
//! a call in the network that is never delivered is a call that was not sent before the crash; a
//! write in flight that never lands is one that was not executed; both may be overtaken by anything
//! that comes later. A reply is only ever remembered, and nobody's step depends on it, so hearing
//! it early can only make the invariants stricter.

use std::collections::BTreeSet;

use accordant_protocol::effect::{After, Effect, Reply, RequestId, Token};
use accordant_protocol::id::{BranchIndex, Epoch, Gtid};
use accordant_protocol::node::{Found, Node};
use accordant_protocol::wire::api::{Outcome, Verdict};

use super::network::Order;
use crate::fingerprint::Hashed;

/// One process, of which there are two: one of them may take over from the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinator {
    /// The core; none while the process is down.
    pub node: Option<Hashed<Node>>,
    /// The last epoch that it raised.
    pub epoch: Epoch,
    /// How far it is with the partition.
    pub hold: Hold,
    /// Effects that wait for a record.
    pub held: Vec<Held>,
    /// Calls for which the driver waits; each gives the node exactly one answer.
    pub waits: BTreeSet<Order>,
    /// Inquiries that the journal must settle: the branch, the transaction, and whether the look
    /// has been taken and found nothing.
    pub look_ups: BTreeSet<(BranchIndex, Gtid, bool)>,
    /// A page that was read and not yet given to the node, and whether it is the last.
    pub page: Option<Hashed<(Vec<Found>, bool)>>,
    /// What was read before the epoch was raised: only if that rule is removed.
    pub stale: Option<Hashed<Vec<Found>>>,
}

/// How far a process is with the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// It does not own it, as far as it knows.
    None,
    /// It has raised the epoch and reads what is open, page by page, from behind this one.
    Loading(Option<Gtid>),
    /// It owns it, as far as it knows.
    Owner,
    /// A flush gave no result: it must raise its own epoch and read again.
    Reloading,
}

/// An effect that waits for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Held {
    /// Of which append.
    pub token: Token,
    /// What leaves then.
    pub what: Leaving,
}

/// Something that leaves a coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leaving {
    /// A call.
    Call(Order),
    /// A reply.
    Reply(RequestId, Saying),
}

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Saying {
    /// How a transaction stands.
    Status(Gtid, Outcome),
    /// The key belongs to this one: the driver looks it up.
    KeyTaken(Gtid),
    /// The driver is to look in the journal.
    LookUp,
    /// To an inquiry.
    Verdict(Verdict),
    /// Nothing is known, or nothing was begun.
    Refused,
}

/// What a driver does with an effect.
pub(super) enum Instruction {
    Append(Token, Hashed<accordant_protocol::effect::Entry>),
    Leave(After, Leaving),
    Reload,
}

impl Instruction {
    pub(super) fn of(effect: Effect) -> Self {
        match effect {
            Effect::Append { token, entry, .. } => Self::Append(token, Hashed::new(entry)),
            Effect::Send { after, call } => {
                Self::Leave(after, Leaving::Call(Order::of(&call.message)))
            }
            Effect::Reply { after, request, reply } => {
                Self::Leave(after, Leaving::Reply(request, Saying::of(&reply)))
            }
            Effect::Reload { .. } => Self::Reload,
        }
    }
}

impl Saying {
    fn of(reply: &Reply) -> Self {
        match reply {
            Reply::Status(status) => Self::Status(status.id, status.outcome),
            Reply::KeyReused { by } | Reply::KeyTaken { by } => Self::KeyTaken(*by),
            Reply::NotInMemory => Self::LookUp,
            Reply::Verdict(verdict) => Self::Verdict(*verdict),
            Reply::Refused(_) => Self::Refused,
        }
    }
}

impl Coordinator {
    pub(super) const fn down() -> Self {
        Self {
            node: None,
            epoch: Epoch(0),
            hold: Hold::None,
            held: Vec::new(),
            waits: BTreeSet::new(),
            look_ups: BTreeSet::new(),
            page: None,
            stale: None,
        }
    }

    /// Whether the process lives.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.node.is_some()
    }

    pub(super) fn hold_back(&mut self, held: Held) {
        let place = self.held.partition_point(|it| *it <= held);
        self.held.insert(place, held);
    }

    /// Takes out what waited for a record.
    pub(super) fn release(&mut self, token: Token) -> Vec<Leaving> {
        let (released, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|it| it.token == token);
        self.held = held;
        let released: Vec<Held> = released;
        released.into_iter().map(|it| it.what).collect()
    }
}
