//! What the machines want done. The node makes effects of it.

use crate::effect::Urgency;
use crate::id::{Attempt, BranchIndex};
use crate::record::{Fate, Record};
use crate::wire::contract::ActVerb;

/// What a machine wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Write this down.
    Record {
        /// The fact.
        record: Record,
        /// Whether anybody waits for it.
        urgency: Urgency,
    },
    /// Tell a branch to do its work and vote, or to commit by itself.
    Prepare {
        /// Which.
        branch: BranchIndex,
        /// Which try this is.
        attempt: Attempt,
        /// Commit by itself.
        one_phase: bool,
    },
    /// Tell a branch how it ends.
    Finish {
        /// What must be durable first.
        after: Gate,
        /// Which.
        branch: BranchIndex,
        /// How.
        fate: Fate,
        /// Which try this is.
        attempt: Attempt,
        /// The result is not known: bring it along.
        want_result: bool,
    },
    /// Tell an action to act, or to make good, once every record that was ordered so far for
    /// somebody to wait for is durable.
    Act {
        /// Which.
        action: BranchIndex,
        /// What.
        verb: ActVerb,
        /// Which try this is.
        attempt: Attempt,
    },
}

/// What must be durable before an order is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gate {
    /// Nothing that is not durable yet.
    Open,
    /// Every record of the transaction that was ordered so far for somebody to wait for.
    Record,
}
