//! One transaction in memory.

use std::sync::Arc;

use crate::effect::{RequestId, Token};
use crate::group::{Group, Phase, Progress, Stage};
use crate::id::{BranchIndex, Epoch, Gtid, Position};
use crate::record::{Begun, Fate, VoteRecord};
use crate::recovery::verdict_of_votes;
use crate::time::Timestamp;
use crate::wire::api::{
    AbortReason, BranchState, BranchStatus, Outcome, State, TransactionStatus, Verdict, Wait,
};

use super::timers::Timer;

/// A transaction that is not closed, or whose `Closed` is not durable yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transaction {
    pub(super) gtid: Gtid,
    pub(super) epoch: Epoch,
    pub(super) begun: Arc<Begun>,
    pub(super) begun_record: Durability,
    pub(super) decision_record: Durability,
    pub(super) closed_record: Durability,
    pub(super) group: Group,
    pub(super) position: Position,
    pub(super) waiters: Vec<(RequestId, Wait)>,
    pub(super) timers: Vec<(Timestamp, Timer)>,
    pub(super) closed_at: Option<Timestamp>,
}

/// How far a record has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Durability {
    /// Not written.
    None,
    /// On its way.
    Awaited(Token),
    /// Durable.
    Durable,
}

impl Transaction {
    /// Its id.
    #[must_use]
    pub const fn gtid(&self) -> Gtid {
        self.gtid
    }

    /// What was asked for.
    #[must_use]
    pub fn begun(&self) -> &Begun {
        &self.begun
    }

    /// Its atomic group.
    #[must_use]
    pub const fn group(&self) -> &Group {
        &self.group
    }

    /// Whether it is durable that it was begun: before that nobody may hear of it.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.begun_record == Durability::Durable
    }

    /// The decision, if it is durable.
    #[must_use]
    pub fn durable_fate(&self) -> Option<Fate> {
        self.group
            .fate()
            .filter(|_| self.decision_record == Durability::Durable)
    }

    /// Whether any branch has ended against the decision.
    #[must_use]
    pub fn is_heuristic(&self) -> bool {
        self.group.branches().iter().any(Progress::is_heuristic)
    }

    /// Whether it has come so far, once the record under way is durable.
    pub(super) fn has_reached(&self, wait: Wait) -> bool {
        match wait {
            Wait::Accepted => true,
            Wait::Decided => self.group.fate().is_some(),
            Wait::Completed => self.group.phase() == Phase::Closed,
        }
    }

    /// What an inquiring branch is to do. The owner that began the group may say abort as soon as
    /// it has decided so; commit only once that is durable.
    pub(super) fn verdict(&self, branch: BranchIndex) -> Verdict {
        if self.begun.plan.branch(branch).is_none() {
            return Verdict::Unknown;
        }
        let durable = self.decision_record == Durability::Durable;
        match self.group.phase() {
            Phase::Aborting => Verdict::Abort,
            Phase::Beginning
            | Phase::Preparing
            | Phase::DecidingCommit
            | Phase::Committing
            | Phase::DecidingAbort
            | Phase::Handing
            | Phase::Delegated
            | Phase::Recalling
            | Phase::RecordingCommit
            | Phase::RecordingAbort
            | Phase::Closed => match self.group.fate() {
                Some(Fate::Commit) if durable => self.commit_verdict(branch),
                Some(Fate::Abort) if durable => Verdict::Abort,
                Some(Fate::Commit | Fate::Abort) | None => Verdict::Pending,
            },
        }
    }

    fn commit_verdict(&self, branch: BranchIndex) -> Verdict {
        let votes = self
            .group
            .branches()
            .iter()
            .filter_map(|branch| branch.vote.clone());
        let votes: Vec<VoteRecord> = votes.collect();
        verdict_of_votes(&votes, branch, self.begun.plan.is_delegated())
    }

    /// Whether a participant may hold locks for it until it is told the outcome.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        let told = |branch: &Progress| matches!(branch.stage, Stage::Agreed | Stage::Told(_));
        self.group.branches().iter().any(told)
    }

    /// How it stands. With `assume_durable`, as it stands once the record under way is durable:
    /// for a reply that waits for that.
    #[must_use]
    pub fn status(&self, assume_durable: bool) -> TransactionStatus {
        let durable = assume_durable || self.decision_record == Durability::Durable;
        let fate = self.group.fate().filter(|_| durable);
        let outcome = match fate {
            Some(_) if self.is_heuristic() => Outcome::Heuristic,
            Some(Fate::Commit) => Outcome::Committed,
            Some(Fate::Abort) => Outcome::Aborted,
            None => Outcome::Pending,
        };
        let reason: Option<AbortReason> = fate.and_then(|_| self.group.reason().cloned());
        let begun = &self.begun;
        TransactionStatus {
            id: self.gtid,
            tenant: Some(begun.tenant.clone()),
            idempotency_key: Some(begun.key.clone()),
            state: self.state(durable),
            outcome,
            reason,
            begun_at: self.gtid.minted(),
            deadline: Some(begun.deadline),
            closed_at: self.closed_at,
            epoch: Some(self.epoch),
            branches: self.branch_statuses(fate.is_some()),
        }
    }

    fn state(&self, durable: bool) -> State {
        match self.group.phase() {
            Phase::Beginning | Phase::Handing => State::Beginning,
            Phase::Preparing => State::Preparing,
            Phase::Delegated | Phase::Recalling => State::Delegated,
            Phase::DecidingCommit | Phase::RecordingCommit if durable => State::Committing,
            Phase::DecidingAbort | Phase::RecordingAbort if durable => State::Aborting,
            Phase::DecidingCommit
            | Phase::DecidingAbort
            | Phase::RecordingCommit
            | Phase::RecordingAbort => State::Deciding,
            Phase::Committing => State::Committing,
            Phase::Aborting => State::Aborting,
            Phase::Closed => State::Closed,
        }
    }

    fn branch_statuses(&self, told: bool) -> Vec<BranchStatus> {
        let planned = self.begun.plan.branches().zip(self.group.branches());
        let status = planned.map(|(branch, progress)| BranchStatus {
            index: branch.index,
            name: branch.name.clone(),
            participant: branch.participant.clone(),
            state: match (self.group.phase(), progress.state()) {
                // Its order waits for the record, and so does whoever is told of it.
                (Phase::DecidingCommit, BranchState::Committing) if !told => BranchState::Prepared,
                (Phase::DecidingAbort, BranchState::Aborting) if !told => BranchState::Preparing,
                (_, state) => state,
            },
            attempts: progress.tries,
            result: progress.result().cloned(),
            last_error: progress.last_error.clone(),
            next_attempt_at: progress.retry_at,
        });
        status.collect()
    }
}
