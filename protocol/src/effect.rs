//! What the core asks its driver to do, and what must be durable before it is done.

use crate::id::{
    Attempt, BranchIndex, BranchName, Epoch, Gtid, ParticipantName, PartitionId, Position,
    Traceparent,
};
use crate::json::Json;
use crate::plan::Method;
use crate::record::Record;
use crate::time::Timestamp;
use crate::wire::api::{TransactionStatus, Verdict};
use crate::wire::contract::{
    ActAnswer, ActCall, ActVerb, BranchEnd, FinishOrder, Identity, PrepareCall, Vote,
};
use crate::wire::problem::ProblemCode;

/// One instruction to the driver.
///
/// The driver may run the effects of a step in any order that `after` permits, and may crash
/// between any two of them. The explorer does both, so nothing else about the order holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Appends `entry` to the journal, then feeds [`crate::node::Event::Flushed`] back with `token`.
    /// Entries of one transaction are written in the order in which they were given.
    Append {
        /// Names the append.
        token: Token,
        /// What is appended.
        entry: Entry,
        /// Whether anybody waits for it.
        urgency: Urgency,
    },
    /// Calls a participant, then feeds exactly one [`crate::node::Event::Answered`] back. The call
    /// may be lost, repeated, or arrive very late.
    Send {
        /// What must hold first.
        after: After,
        /// The call.
        call: Call,
    },
    /// Answers a request. A lost answer is asked for again, so it must stay true for ever.
    Reply {
        /// What must hold first.
        after: After,
        /// Which request.
        request: RequestId,
        /// What is said.
        reply: Reply,
    },
    /// The outcome of a flush of this partition is unknown: raise its epoch in the journal (which
    /// waits for, or fences, a write still in flight), then load it again.
    Reload {
        /// Which.
        partition: PartitionId,
    },
}

/// Names an append of this process. Never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Names a request that waits for an answer, in the driver's own numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What must be true before an effect leaves the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum After {
    /// Nothing: the effect says only what a durable record already says, or decides nothing.
    Now,
    /// The record appended under this token is durable. While that is not confirmed the effect
    /// waits; if the append is fenced, refused or of unknown outcome, the driver drops the effect.
    Durable(Token),
}

/// Whether anybody waits for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Something waits: flush as soon as the journal is free.
    Forced,
    /// Nothing waits; a lost one costs a repeated idempotent call. It may ride along with others.
    Lazy,
}

/// One record on its way into the journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Whose history it belongs to; names the partition too.
    pub gtid: Gtid,
    /// Its place in that history. The journal refuses another record at a place that is taken.
    pub position: Position,
    /// The epoch under which it is written. The journal refuses any but the present one.
    pub epoch: Epoch,
    /// The fact.
    pub record: Record,
}

/// What the journal made of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Appended {
    /// It is durable.
    Durable,
    /// The transaction was not begun: its idempotency key belongs to this earlier one.
    KeyTaken {
        /// The earlier one.
        by: Gtid,
    },
    /// A higher epoch owns the partition: nothing of this owner's is written any more.
    Fenced,
    /// Whether it is durable is not known. Never to be treated as absent, nor as durable.
    Unknown,
}

/// A call to a participant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// Whom.
    pub participant: ParticipantName,
    /// The client's trace, to go along.
    pub traceparent: Option<Traceparent>,
    /// What is said.
    pub message: Message,
}

/// What is said to a participant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Do the work and vote.
    Prepare(PrepareCall),
    /// End the branch. The driver may put several into one HTTP call.
    Finish(FinishOrder),
    /// Act, or make good, by the contract.
    Act(ActCall),
    /// Act, or make good, at a plain HTTP service.
    Endpoint(EndpointCall),
}

/// A request to a plain HTTP service, with every result filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointCall {
    /// The transaction.
    pub gtid: Gtid,
    /// The number of the action in the plan.
    pub branch: BranchIndex,
    /// The name of its step.
    pub step: BranchName,
    /// What the request stands for.
    pub verb: ActVerb,
    /// Which try this is.
    pub attempt: Attempt,
    /// The epoch of the partition's owner.
    pub epoch: Epoch,
    /// Until when to wait for the reply.
    pub deadline: Timestamp,
    /// The method.
    pub method: Method,
    /// Behind the participant's base address.
    pub path: String,
    /// Sent along.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Json>,
    /// The statuses that say *done*; each of 200 to 299 if empty.
    pub done: Vec<u16>,
    /// The statuses that say *refused*; 409 if empty.
    pub refused: Vec<u16>,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The reply to prepare.
    Vote {
        /// The database that answered.
        identity: Identity,
        /// What it says.
        vote: Vote,
    },
    /// The answer to an order of phase two.
    End {
        /// The database that answered.
        identity: Identity,
        /// What it says.
        end: BranchEnd,
    },
    /// The answer to an act, or to a compensation.
    Acted {
        /// The database that answered; a plain service names none.
        identity: Option<Identity>,
        /// What it says.
        answer: ActAnswer,
    },
    /// No reply, or one that is none: unknown, neither yes nor no.
    Unanswered {
        /// What happened, for people.
        error: String,
    },
    /// Nothing was sent, by no fault of whom it was meant for.
    Unsent {
        /// What stood in the way, for people.
        error: String,
    },
}

/// What is said to a client or an inquiring participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// How the transaction stands. It has reached what the request waited for, unless more requests
    /// wait for it than may.
    Status(Box<TransactionStatus>),
    /// The key belongs to an earlier request of another body.
    KeyReused {
        /// The earlier transaction.
        by: Gtid,
    },
    /// The key belongs to this transaction, which is not in memory: look it up in the journal and
    /// compare the fingerprints.
    KeyTaken {
        /// The earlier transaction.
        by: Gtid,
    },
    /// The transaction is not in memory: look it up in the journal.
    NotInMemory,
    /// What an inquiring participant is to do.
    Verdict(Verdict),
    /// Refused; nothing was begun, unless the code is `unknown`.
    Refused(ProblemCode),
}
