//! What must hold in any state of a node. The explorer and the simulator check it after every
//! step; what must hold across databases they check themselves (`accordant-sim`).

use crate::action::{Action, Phase};
use crate::effect::{After, Effect, Message, Reply};
use crate::group::{self, Progress, Stage};
use crate::id::{BranchIndex, Gtid};
use crate::node::{Node, Transaction};
use crate::plan::{Class, Direction};
use crate::record::Fate;
use crate::wire::api::Outcome;
use crate::wire::contract::{ActVerb, FinishVerb};

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
    /// A compensation is sent, or its turn has come, before it is durable that the saga has turned
    /// back.
    #[error("action {action} of {gtid} is made good before its saga has turned back")]
    CompensatedEarly {
        /// The transaction.
        gtid: Gtid,
        /// The action.
        action: BranchIndex,
    },
    /// An act is sent once compensations may have been, or once the pivot is passed.
    #[error("action {action} of {gtid} acts although the decision has been made")]
    ActedLate {
        /// The transaction.
        gtid: Gtid,
        /// The action.
        action: BranchIndex,
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
                let commits = matches!(order.verb, FinishVerb::Commit | FinishVerb::Confirm);
                let early = commits && fate(&gtid) != Some(Fate::Commit);
                early.then_some(Violation::SentEarly { gtid })
            }
            Message::Prepare(call) => {
                let gtid = call.gtid;
                (!is_begun(&gtid)).then_some(Violation::CalledEarly { gtid })
            }
            Message::Act(call) => check_act(node, call.gtid, call.branch, call.verb),
            Message::Endpoint(call) => check_act(node, call.gtid, call.branch, call.verb),
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

/// What leaves now says only what a durable record already says.
fn check_act(node: &Node, gtid: Gtid, action: BranchIndex, verb: ActVerb) -> Option<Violation> {
    let transaction = node.transaction(&gtid)?;
    if !transaction.is_begun() {
        return Some(Violation::CalledEarly { gtid });
    }
    let fate = transaction.durable_fate();
    let planned = transaction.begun().plan.action(action)?;
    match (verb, planned.class) {
        (ActVerb::Compensate, _) if fate != Some(Fate::Abort) => {
            Some(Violation::CompensatedEarly { gtid, action })
        }
        (ActVerb::Act, Class::Retriable) if fate != Some(Fate::Commit) => {
            Some(Violation::SentEarly { gtid })
        }
        (ActVerb::Act, Class::Compensatable | Class::Pivot) if fate.is_some() => {
            Some(Violation::ActedLate { gtid, action })
        }
        (ActVerb::Act | ActVerb::Compensate, _) => None,
    }
}

fn check_transaction(transaction: &Transaction) -> Vec<Violation> {
    let branches = transaction.course().branches();
    let branches = branches.filter_map(|branch| check_branch(transaction, branch));
    let actions = transaction.course().actions().iter();
    let actions = actions.filter_map(|action| check_action(transaction, action));
    branches.chain(actions).collect()
}

fn check_action(transaction: &Transaction, it: &Action) -> Option<Violation> {
    let (gtid, action) = (transaction.gtid(), it.index);
    let direction = transaction.course().direction();
    let is_compensating =
        it.verb() == Some(ActVerb::Compensate) || it.phase() == Phase::Compensated;
    if is_compensating && !matches!(direction, Direction::Back | Direction::Closed) {
        return Some(Violation::CompensatedEarly { gtid, action });
    }
    let acts = it.phase() == Phase::Acting && it.calls.in_flight;
    if acts && matches!(direction, Direction::Back | Direction::Closed) {
        return Some(Violation::ActedLate { gtid, action });
    }
    let open = matches!(it.phase(), Phase::Acting | Phase::Compensating);
    let idle = !it.calls.in_flight && it.calls.retry_at.is_none();
    // By the contract an act that is given up is left to its compensation.
    let left = direction != Direction::Forward && it.phase() == Phase::Acting && !it.plain;
    let given_up = left && it.class != Class::Retriable;
    let forgotten = open && idle && !given_up;
    forgotten.then_some(Violation::Forgotten { gtid, branch: action })
}

fn check_branch(transaction: &Transaction, progress: &Progress) -> Option<Violation> {
    let (gtid, branch) = (transaction.gtid(), progress.index);
    let phase = transaction.group()?.phase();
    let fate = transaction.course().fate();
    if phase == group::Phase::DecidingCommit && progress.vote.is_none() {
        return Some(Violation::CommitWithoutVote { gtid, branch });
    }
    let otherwise = match progress.stage {
        Stage::Told(Fate::Commit) => fate != Some(Fate::Commit),
        Stage::Told(Fate::Abort) => fate == Some(Fate::Commit),
        Stage::Waiting | Stage::Asked | Stage::Agreed | Stage::Refused(_) | Stage::Ended(_) => {
            false
        }
    };
    if otherwise {
        return Some(Violation::ToldOtherwise { gtid, branch });
    }
    if phase == group::Phase::Closed && !progress.has_ended() {
        return Some(Violation::ClosedEarly { gtid, branch });
    }
    let idle = !progress.calls.in_flight && progress.calls.retry_at.is_none();
    let pending = matches!(progress.stage, Stage::Asked | Stage::Told(_));
    (idle && pending).then_some(Violation::Forgotten { gtid, branch })
}
