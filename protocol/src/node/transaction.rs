//! One transaction in memory.

use std::sync::Arc;

use crate::action;
use crate::effect::{RequestId, Token};
use crate::group::{Group, Phase, Progress, Stage};
use crate::id::{BranchIndex, Epoch, Gtid, Position};
use crate::plan::{Course, Direction};
use crate::record::{Begun, Fate, VoteRecord};
use crate::recovery::verdict_of_votes;
use crate::time::Timestamp;
use crate::wire::api::{
    AbortReason, ActionStatus, BranchState, BranchStatus, Outcome, State, TransactionStatus,
    Verdict, Wait,
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
    pub(super) course: Course,
    /// The last record that something waits for, while it is not durable. Records of a transaction
    /// become durable in their order, so whoever waits for it waits for all before it too.
    pub(super) gate: Option<Token>,
    /// The last record of all, while it is not durable.
    pub(super) last: Option<Token>,
    /// How many records are durable.
    pub(super) durable: Position,
    /// How many there are up to the decision.
    pub(super) decided: Position,
    /// Its branches are counted at their participants.
    pub(super) counted: bool,
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

    /// Its plan on its way.
    #[must_use]
    pub const fn course(&self) -> &Course {
        &self.course
    }

    /// Its atomic group, if it has one.
    #[must_use]
    pub const fn group(&self) -> Option<&Group> {
        self.course.group()
    }

    /// A record has become durable, and all before it.
    pub(super) fn note_durable(&mut self, token: Token, position: Position) {
        self.durable = self.durable.max(position.next());
        for place in [&mut self.gate, &mut self.last] {
            if *place == Some(token) {
                *place = None;
            }
        }
    }

    /// Whether it is durable that it was begun: before that nobody may hear of it.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.begun_record == Durability::Durable
    }

    /// The decision, if it is durable.
    #[must_use]
    pub fn durable_fate(&self) -> Option<Fate> {
        self.course
            .fate()
            .filter(|_| self.decision_record == Durability::Durable)
    }

    /// Whether any branch has ended against the decision.
    #[must_use]
    pub fn is_heuristic(&self) -> bool {
        self.course.heuristics().next().is_some()
    }

    /// Whether an operator has given a step up: nobody hears of it before that is durable, since
    /// after a crash it may be done all the same.
    pub(super) fn is_given_up(&self) -> bool {
        let mut actions = self.course.actions().iter();
        actions.any(|action| action.phase() == action::Phase::Skipped)
    }

    /// Whether it has come so far, once the record under way is durable.
    pub(super) fn has_reached(&self, wait: Wait) -> bool {
        match wait {
            Wait::Accepted => true,
            Wait::Decided => self.course.fate().is_some(),
            Wait::Completed => self.course.is_closed(),
        }
    }

    /// What an inquiring branch is to do. The owner that began the group may say abort as soon as
    /// it has decided so; commit only once that is durable.
    pub(super) fn verdict(&self, branch: BranchIndex) -> Verdict {
        if self.begun.plan.branch(branch).is_none() {
            return Verdict::Unknown;
        }
        let durable = self.decision_record == Durability::Durable;
        let Some(group) = self.group() else {
            return Verdict::Unknown;
        };
        match group.phase() {
            Phase::Aborting => Verdict::Abort,
            Phase::Held
            | Phase::PreparingPivot
            | Phase::Beginning
            | Phase::Preparing
            | Phase::DecidingCommit
            | Phase::Committing
            | Phase::DecidingAbort
            | Phase::Handing
            | Phase::Delegated
            | Phase::Recalling
            | Phase::RecordingCommit
            | Phase::RecordingAbort
            | Phase::Closed => match self.course.fate() {
                Some(Fate::Commit) if durable => self.commit_verdict(branch),
                Some(Fate::Abort) if durable => Verdict::Abort,
                Some(Fate::Commit | Fate::Abort) | None => Verdict::Pending,
            },
        }
    }

    fn commit_verdict(&self, branch: BranchIndex) -> Verdict {
        let votes = self.course.branches();
        let votes = votes.filter_map(|branch| branch.vote.clone());
        let votes: Vec<VoteRecord> = votes.collect();
        verdict_of_votes(&votes, branch, self.begun.plan.is_delegated())
    }

    /// Whether a participant may hold locks for it until it is told the outcome.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        let told = |branch: &Progress| matches!(branch.stage, Stage::Agreed | Stage::Told(_));
        self.course.branches().any(told)
    }

    /// How it stands. With `assume_durable`, as it stands once the record under way is durable:
    /// for a reply that waits for that.
    #[must_use]
    pub fn status(&self, assume_durable: bool) -> TransactionStatus {
        let decided = if assume_durable {
            self.decided
        } else {
            Position(0)
        };
        self.status_up_to(assume_durable, decided)
    }

    /// The same, with the results of the first so many records: those that the reply waits for.
    pub(super) fn status_up_to(
        &self,
        assume_durable: bool,
        records: Position,
    ) -> TransactionStatus {
        let records = records.max(self.durable);
        let durable = assume_durable || self.decision_record == Durability::Durable;
        let fate = self.course.fate().filter(|_| durable);
        let outcome = match fate {
            Some(_) if self.is_heuristic() => Outcome::Heuristic,
            Some(Fate::Commit) => Outcome::Committed,
            Some(Fate::Abort) => Outcome::Aborted,
            None => Outcome::Pending,
        };
        let reason: Option<AbortReason> = fate.and_then(|_| self.course.reason().cloned());
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
            actions: self.action_statuses(records),
        }
    }

    fn state(&self, durable: bool) -> State {
        let of_group = self.group().map(|group| state_of_group(group, durable));
        match (self.course.is_atomic(), of_group) {
            (true, Some(state)) => state,
            (true, None) | (false, _) if self.course.is_stuck() => State::Stuck,
            (true, None) | (false, _) => match self.course.direction() {
                Direction::Beginning => State::Beginning,
                Direction::Forward => match of_group {
                    Some(state @ (State::Preparing | State::Delegated | State::Deciding)) => state,
                    Some(_) | None => State::Acting,
                },
                Direction::TurningBack => State::TurningBack,
                Direction::Back | Direction::Passed | Direction::Closed if !durable => {
                    State::Deciding
                }
                Direction::Back => State::Compensating,
                Direction::Passed => State::Completing,
                Direction::Closed => State::Closed,
            },
        }
    }

    fn branch_statuses(&self, told: bool) -> Vec<BranchStatus> {
        let planned = self.begun.plan.branches().zip(self.course.branches());
        let phase = self.group().map(Group::phase);
        let status = planned.map(|(branch, progress)| BranchStatus {
            index: branch.index,
            name: branch.name.clone(),
            participant: branch.participant.clone(),
            state: match (phase, progress.state()) {
                // Its order waits for the record, and so does whoever is told of it.
                (Some(Phase::DecidingCommit), BranchState::Committing) if !told => {
                    BranchState::Prepared
                }
                (Some(Phase::DecidingAbort), BranchState::Aborting) if !told => {
                    BranchState::Preparing
                }
                (_, state) => state,
            },
            attempts: progress.calls.tries,
            result: progress.result().cloned(),
            last_error: progress.calls.last_error.clone(),
            next_attempt_at: progress.calls.retry_at,
        });
        status.collect()
    }

    fn action_statuses(&self, records: Position) -> Vec<ActionStatus> {
        let planned = self.begun.plan.actions().zip(self.course.actions());
        let status = planned.map(|(planned, action)| {
            // What is not durable may come out otherwise after a crash.
            let durable = action.recorded.is_some_and(|at| at < records);
            let result = action.result.clone().filter(|_| durable);
            ActionStatus {
                index: planned.index,
                name: planned.name.clone(),
                participant: planned.participant.clone(),
                state: action.phase().into(),
                attempts: action.calls.tries,
                result,
                last_error: action.calls.last_error.clone(),
                next_attempt_at: action.calls.retry_at,
                stuck_at: action.stuck_at,
            }
        });
        status.collect()
    }
}

fn state_of_group(group: &Group, durable: bool) -> State {
    match group.phase() {
        Phase::Beginning | Phase::Handing => State::Beginning,
        Phase::Held => State::Acting,
        Phase::Preparing | Phase::PreparingPivot => State::Preparing,
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
