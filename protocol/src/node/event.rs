//! What comes in.

use std::collections::BTreeSet;

use super::ownership::Found;
use crate::effect::Answer;
use crate::effect::{Appended, RequestId, Token};
use crate::id::{
    Attempt, BranchIndex, Epoch, Fingerprint, Gtid, IdempotencyKey, ParticipantName, PartitionId,
    TenantName, Traceparent,
};
use crate::plan::Plan;
use crate::record::Resolution;
use crate::time::Timestamp;
use crate::wire::api::Wait;
use crate::wire::contract::{ActAnswer, ActVerb, Identity};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A client asks for a transaction.
    Submitted(Box<Submission>),
    /// A client asks how a transaction stands, or to be told when it has come so far.
    Queried {
        /// Which request.
        request: RequestId,
        /// Which transaction.
        gtid: Gtid,
        /// Answer when it has come so far; at once if absent.
        wait: Option<Wait>,
    },
    /// A sender says that its local transaction has ended, however it has.
    Ended {
        /// Which request.
        request: RequestId,
        /// Which transaction.
        gtid: Gtid,
    },
    /// A participant calls back: an action that was in progress is done, or refused.
    CalledBack {
        /// Which request.
        request: RequestId,
        /// Which transaction.
        gtid: Gtid,
        /// Which action.
        action: BranchIndex,
        /// What it was told.
        verb: ActVerb,
        /// How it stands.
        answer: ActAnswer,
    },
    /// An operator decides about an action that is stuck.
    Resolved {
        /// Which request.
        request: RequestId,
        /// Which transaction.
        gtid: Gtid,
        /// Which action.
        action: BranchIndex,
        /// What it was told when the operator looked.
        verb: ActVerb,
        /// What.
        resolution: Resolution,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// A participant asks for the outcome of a branch.
    Inquired {
        /// Which request.
        request: RequestId,
        /// Which transaction.
        gtid: Gtid,
        /// Which branch.
        branch: BranchIndex,
    },
    /// The driver looked in the journal for an inquiry's gtid and found no record at all.
    NotRecorded {
        /// Which request.
        request: RequestId,
        /// Which transaction.
        gtid: Gtid,
    },
    /// What the journal made of an append.
    Flushed {
        /// Which append.
        token: Token,
        /// What.
        outcome: Appended,
    },
    /// What a call to a participant came to.
    Answered {
        /// Which transaction.
        gtid: Gtid,
        /// The epoch under which the call was made.
        epoch: Epoch,
        /// Which branch.
        branch: BranchIndex,
        /// Which attempt.
        attempt: Attempt,
        /// What.
        answer: Answer,
    },
    /// This process owns a partition now: its epoch was raised in the journal, and the journal
    /// refuses every earlier owner's writes.
    Acquired {
        /// Which.
        partition: PartitionId,
        /// The new epoch.
        epoch: Epoch,
        /// The durable retention horizon.
        horizon: Timestamp,
    },
    /// Open transactions of a partition, read after it was acquired.
    Loaded {
        /// Which partition.
        partition: PartitionId,
        /// The epoch under which they were read.
        epoch: Epoch,
        /// What was found.
        found: Vec<Found>,
        /// Nothing more will come.
        last: bool,
    },
    /// Another node has heard from a participant.
    Identified {
        /// Which participant.
        participant: ParticipantName,
        /// The database that answered.
        identity: Identity,
    },
    /// An open transaction was found whose history is not legal: it is left alone, and what its
    /// participants hold of it must be left to them too.
    Quarantined {
        /// Which.
        gtid: Gtid,
    },
    /// The retention horizon was raised, durably.
    HorizonRaised {
        /// Which partition.
        partition: PartitionId,
        /// Nothing minted at or before this is known any more, but for open transactions.
        horizon: Timestamp,
    },
    /// The lease of a partition is lost, or given back.
    Lost {
        /// Which.
        partition: PartitionId,
    },
    /// Whoever made these requests waits for no reply any more.
    Withdrawn {
        /// Which.
        requests: BTreeSet<RequestId>,
    },
    /// A timer may be due.
    Timer,
    /// No new transaction is taken from now on.
    Draining,
}

/// A client's request for a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Submission {
    /// Which request.
    pub request: RequestId,
    /// The partition of its key: see [`super::partition_of`].
    pub partition: PartitionId,
    /// 128 random bits from the system, for the gtid.
    pub random: u128,
    /// On whose behalf.
    pub tenant: TenantName,
    /// The client's name for the request.
    pub key: IdempotencyKey,
    /// What it asks for, digested.
    pub fingerprint: Fingerprint,
    /// What it asks for.
    pub plan: Plan,
    /// How long the branches have to vote.
    pub timeout_ms: u64,
    /// When to answer.
    pub wait: Wait,
    /// The client's trace.
    pub traceparent: Option<Traceparent>,
}
