//! What must hold in any state of a node. The explorer and the simulator check it after every
//! step; what must hold across databases they check themselves (`accordant-sim`).

use crate::effect::{After, Effect, Message, Reply};
use crate::group::{Phase, Progress, Stage};
use crate::id::{BranchIndex, Gtid};
use crate::node::{Node, Transaction};
use crate::record::Fate;
use crate::wire::api::Outcome;
use crate::wire::contract::FinishVerb;

/// Something that must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// I5: commit is decided although a branch has not agreed.
    #[error("{gtid} is to commit, but branch {branch} has not agreed")]
    CommitWithoutVote {
        /// The transaction.
        gtid: Gtid,
        /// The branch.
        branch: BranchIndex,
    },
    /// A branch is told the opposite of what is decided.
    #[error("branch {branch} of {gtid} is told the opposite of the decision")]
    ToldOtherwise {
        /// The transaction.
        gtid: Gtid,
        /// The branch.
        branch: BranchIndex,
    },
    /// A closed transaction has a branch that has not ended.
    #[error("{gtid} is closed, but branch {branch} has not ended")]
    ClosedEarly {
        /// The transaction.
        gtid: Gtid,
        /// The branch.
        branch: BranchIndex,
    },
    /// A branch that has not ended is forgotten: no call is out and none is planned.
    #[error("nothing will happen to branch {branch} of {gtid} any more")]
    Forgotten {
        /// The transaction.
        gtid: Gtid,
        /// The branch.
        branch: BranchIndex,
    },
    /// I3: a commit order leaves before the decision is durable.
    #[error("a commit order of {gtid} leaves before its decision is durable")]
    SentEarly {
        /// The transaction.
        gtid: Gtid,
    },
    /// A participant is called before it is durable that there is a transaction.
    #[error("a branch of {gtid} is called before its beginning is durable")]
    CalledEarly {
        /// The transaction.
        gtid: Gtid,
    },
    /// I3: somebody is told of a transaction, or of its outcome, before that is durable.
    #[error("a status of {gtid} is told before what it says is durable")]
    ToldEarly {
        /// The transaction.
        gtid: Gtid,
    },
}

/// Checks a node between two steps.
#[must_use]
pub fn check(node: &Node) -> Vec<Violation> {
    node.transactions().flat_map(check_transaction).collect()
}

/// Checks what a step gave, against the node after the step.
#[must_use]
pub fn check_effects(node: &Node, effects: &[Effect]) -> Vec<Violation> {
    effects
        .iter()
        .filter_map(|effect| check_effect(node, effect))
        .collect()
}

fn check_effect(node: &Node, effect: &Effect) -> Option<Violation> {
    let is_begun = |gtid: &Gtid| node.transaction(gtid).is_some_and(Transaction::is_begun);
    let fate = |gtid: &Gtid| node.transaction(gtid).and_then(Transaction::durable_fate);
    match effect {
        Effect::Send { after: After::Now, call } => match &call.message {
            Message::Finish(order) => {
                let gtid = order.gtid;
                let early = order.verb == FinishVerb::Commit && fate(&gtid) != Some(Fate::Commit);
                early.then_some(Violation::SentEarly { gtid })
            }
            Message::Prepare(call) => {
                let gtid = call.gtid;
                (!is_begun(&gtid)).then_some(Violation::CalledEarly { gtid })
            }
        },
        Effect::Reply { after: After::Now, reply: Reply::Status(status), .. } => {
            let gtid = status.id;
            let told = status.outcome != Outcome::Pending;
            let early = !is_begun(&gtid) || (told && fate(&gtid).is_none());
            early.then_some(Violation::ToldEarly { gtid })
        }
        Effect::Send { after: After::Durable(_), .. }
        | Effect::Append { .. }
        | Effect::Reply { .. }
        | Effect::Reload { .. } => None,
    }
}

fn check_transaction(transaction: &Transaction) -> Vec<Violation> {
    let branches = transaction.group().branches().iter();
    branches
        .filter_map(|branch| check_branch(transaction, branch))
        .collect()
}

fn check_branch(transaction: &Transaction, progress: &Progress) -> Option<Violation> {
    let (gtid, branch) = (transaction.gtid(), progress.index);
    let phase = transaction.group().phase();
    let fate = transaction.group().fate();
    if phase == Phase::DecidingCommit && progress.vote.is_none() {
        return Some(Violation::CommitWithoutVote { gtid, branch });
    }
    let otherwise = match progress.stage {
        Stage::Told(FinishVerb::Commit) => fate != Some(Fate::Commit),
        Stage::Told(FinishVerb::Abort) => fate == Some(Fate::Commit),
        Stage::Waiting | Stage::Asked | Stage::Agreed | Stage::Refused(_) | Stage::Ended(_) => {
            false
        }
    };
    if otherwise {
        return Some(Violation::ToldOtherwise { gtid, branch });
    }
    if phase == Phase::Closed && !progress.has_ended() {
        return Some(Violation::ClosedEarly { gtid, branch });
    }
    let idle = !progress.in_flight && progress.retry_at.is_none();
    let pending = matches!(progress.stage, Stage::Asked | Stage::Told(_));
    (idle && pending).then_some(Violation::Forgotten { gtid, branch })
}
