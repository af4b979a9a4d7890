//! What stored facts add up to, and what is to be done next. Never a guess: a history that no
//! correct coordinator writes is an error of its own transaction, and stops no other.

use std::collections::BTreeMap;

use crate::id::{BranchIndex, Gtid, Position};
use crate::json::Json;
use crate::plan::{self, Plan};
use crate::record::{
    Aborted, Begun, Closed, Committed, Fate, Record, Resolution, Resolved, Stuck, VoteRecord,
};
use crate::time::Timestamp;
use crate::wire::api::{
    AbortReason, ActionState, ActionStatus, BranchState, BranchStatus, Outcome, State,
    TransactionStatus, Verdict,
};
use crate::wire::contract::ActVerb;

/// The facts about one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct History {
    /// Absent for a presumed abort.
    pub begun: Option<Begun>,
    /// The decision.
    pub decided: Option<Decided>,
    /// The end.
    pub closed: Option<Closed>,
    /// What is known of actions, and of branches whose results others are called with.
    pub actions: BTreeMap<BranchIndex, ActionHistory>,
    /// An operator has given up whatever had not ended.
    pub abandoned: bool,
    /// How many records were folded.
    records: u32,
}

/// The facts about one action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ActionHistory {
    /// It may have acted.
    pub started: bool,
    /// It is done.
    pub done: Option<DoneHistory>,
    /// It is made good.
    pub compensated: bool,
    /// It waits for an operator.
    pub stuck: Option<Stuck>,
    /// An operator has seen that it has not acted: how he knows.
    pub not_done: Option<String>,
    /// An operator has left it as it was.
    pub skipped: bool,
}

/// What a done action returned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DoneHistory {
    /// Since when it is.
    pub at: Timestamp,
    /// Where that stands in the journal.
    pub position: Position,
    /// What.
    pub result: Option<Json>,
}

/// A durable decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Decided {
    /// It happens.
    Commit(Committed),
    /// It does not happen.
    Abort(Aborted),
}

/// Why a history is not legal. Act on nothing; an operator must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CorruptHistory {
    /// It does not begin with `Begun`, nor is it a presumed abort.
    #[error("does not begin with Begun")]
    NotBegun,
    /// It holds a record a second time, or after one that ends it.
    #[error("holds a record that has no place where it stands")]
    Misplaced,
}

/// How a transaction that was found in the journal goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resumption {
    /// Tell its branches to commit.
    Commit(Vec<VoteRecord>),
    /// Tell its branches to abort.
    Abort(AbortReason),
    /// Write abort down, then tell its branches: the votes are lost with the former owner, and no
    /// commit can have been decided, since the journal holds none and refuses the former owner's.
    DecideAbort,
    /// Only the lone branch knows: recall it.
    Recall,
}

impl History {
    /// Folds the records of one transaction, in order.
    ///
    /// # Errors
    /// [`CorruptHistory`] if no correct coordinator writes such a history.
    pub fn fold<I: IntoIterator<Item = Record>>(records: I) -> Result<Self, CorruptHistory> {
        let mut records = records.into_iter();
        let (begun, decided) = match records.next() {
            Some(Record::Begun(begun)) => (Some(begun), None),
            Some(Record::Aborted(aborted)) if aborted.reason == AbortReason::Presumed => {
                (None, Some(Decided::Abort(aborted)))
            }
            Some(
                Record::Aborted(_)
                | Record::Committed(_)
                | Record::Closed(_)
                | Record::Started(_)
                | Record::Done(_)
                | Record::Compensated(_)
                | Record::Stuck(_)
                | Record::Resolved(_),
            )
            | None => return Err(CorruptHistory::NotBegun),
        };
        let actions = BTreeMap::new();
        let mut history = Self {
            begun,
            decided,
            closed: None,
            actions,
            abandoned: false,
            records: 1,
        };
        for record in records {
            history.add(record).ok_or(CorruptHistory::Misplaced)?;
            history.records += 1;
        }
        Ok(history)
    }

    /// Adds a record; `None` if it has no place here.
    fn add(&mut self, record: Record) -> Option<()> {
        let plan = match (&self.begun, &self.closed) {
            (Some(begun), None) => &begun.plan,
            (None, _) | (_, Some(_)) => return None,
        };
        let decided = self.fate();
        let action = |index: BranchIndex| plan.action(index).map(|_| index);
        match record {
            Record::Committed(record) if decided.is_none() => {
                self.decided = Some(Decided::Commit(record));
            }
            Record::Aborted(record) if decided.is_none() => {
                self.decided = Some(Decided::Abort(record));
                // Whatever an act was stuck at is cleared up: refused, or to be made good.
                for known in self.actions.values_mut() {
                    known.stuck.take_if(|stuck| stuck.verb == ActVerb::Act);
                }
            }
            Record::Closed(record) if decided.is_some() => self.closed = Some(record),
            Record::Started(record) if decided.is_none() => {
                let index = action(record.action)?;
                self.actions.entry(index).or_default().started = true;
            }
            Record::Done(record) if decided != Some(Fate::Abort) && !plan.is_atomic() => {
                let branch = plan.branch(record.action).map(|branch| branch.index);
                let index = action(record.action).or(branch)?;
                let position = Position(self.records);
                let done = DoneHistory { at: record.at, position, result: record.result };
                let known = self.actions.entry(index).or_default();
                known.done = Some(done);
                // A participant has called back.
                known.stuck = None;
            }
            Record::Compensated(record) if self.is_named(record.action) => {
                let index = action(record.action)?;
                let known = self.actions.entry(index).or_default();
                known.compensated = true;
                known.stuck = None;
            }
            Record::Stuck(record) => {
                let index = action(record.action)?;
                self.actions.entry(index).or_default().stuck = Some(record);
            }
            Record::Resolved(record) => self.resolve(record)?,
            Record::Begun(_)
            | Record::Committed(_)
            | Record::Aborted(_)
            | Record::Closed(_)
            | Record::Started(_)
            | Record::Done(_)
            | Record::Compensated(_) => return None,
        }
        Some(())
    }

    fn resolve(&mut self, record: Resolved) -> Option<()> {
        let position = Position(self.records);
        let action = self.actions.get_mut(&record.action)?;
        let stuck = action.stuck.take()?;
        match (record.resolution, stuck.verb) {
            (Resolution::Retry, _) => {}
            (Resolution::Done { result }, ActVerb::Act) => {
                action.done = Some(DoneHistory { at: record.at, position, result });
            }
            (Resolution::Done { .. }, ActVerb::Compensate) => action.compensated = true,
            (Resolution::NotDone, ActVerb::Act) => action.not_done = Some(record.reason),
            (Resolution::NotDone, ActVerb::Compensate) => return None,
            (Resolution::Skip, _) => action.skipped = true,
            (Resolution::Abandon, _) => {
                action.skipped = true;
                self.abandoned = true;
                let plan = &self.begun.as_ref()?.plan;
                for index in record.given_up {
                    plan.action(index)?;
                    let known = self.actions.entry(index).or_default();
                    (known.skipped, known.stuck) = (true, None);
                }
            }
        }
        Some(())
    }

    /// Whether an action or branch is among those that the record of turning back names.
    #[must_use]
    pub fn is_named(&self, index: BranchIndex) -> bool {
        match &self.decided {
            Some(Decided::Abort(aborted)) => aborted.compensate.contains(&index),
            Some(Decided::Commit(_)) | None => false,
        }
    }

    /// How many records were folded: the position of the next one.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.records
    }

    /// Whether there is none; never so for a folded history.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed.is_some() || self.begun.is_none()
    }

    /// The decision, if there is one.
    #[must_use]
    pub fn fate(&self) -> Option<Fate> {
        match &self.decided {
            Some(Decided::Commit(_)) => Some(Fate::Commit),
            Some(Decided::Abort(_)) => Some(Fate::Abort),
            None => self.begun.as_ref().and_then(|begun| begun.plan.fate()),
        }
    }

    /// How the new owner goes on with its group. The caller has excluded every earlier owner by
    /// raising the epoch before it read the records.
    #[must_use]
    pub fn resume_group(&self, plan: &Plan) -> Resumption {
        match &self.decided {
            Some(Decided::Commit(record)) => Resumption::Commit(record.votes.clone()),
            Some(Decided::Abort(record)) => Resumption::Abort(record.reason.clone()),
            None if plan.is_delegated() => Resumption::Recall,
            None => Resumption::DecideAbort,
        }
    }

    /// What an inquiring branch is to do, if the journal alone can tell.
    #[must_use]
    pub fn verdict(&self, branch: BranchIndex) -> Option<Verdict> {
        let known = self
            .begun
            .as_ref()
            .is_none_or(|begun| begun.plan.branch(branch).is_some());
        match self.decided.as_ref()? {
            _ if !known => Some(Verdict::Unknown),
            Decided::Abort(_) => Some(Verdict::Abort),
            Decided::Commit(record) => {
                let begun = self.begun.as_ref();
                let delegated = begun.is_some_and(|begun| begun.plan.is_delegated());
                Some(verdict_of_votes(&record.votes, branch, delegated))
            }
        }
    }

    /// The status that the journal alone can tell.
    #[must_use]
    pub fn status(&self, id: Gtid) -> TransactionStatus {
        let begun = self.begun.as_ref();
        let outcome = match (&self.closed, self.fate()) {
            (Some(closed), _) if !closed.heuristics.is_empty() => Outcome::Heuristic,
            (_, Some(Fate::Commit)) => Outcome::Committed,
            (_, Some(Fate::Abort)) => Outcome::Aborted,
            (_, None) => Outcome::Pending,
        };
        let atomic = begun.is_none_or(|begun| begun.plan.is_atomic());
        let state = match (self.is_closed(), self.fate()) {
            (true, _) => State::Closed,
            (false, Some(Fate::Commit)) if atomic => State::Committing,
            (false, Some(Fate::Abort)) if atomic => State::Aborting,
            (false, None) if atomic => State::Preparing,
            (false, Some(Fate::Commit)) => State::Completing,
            (false, Some(Fate::Abort)) => State::Compensating,
            (false, None) => State::Acting,
        };
        let reason = match &self.decided {
            Some(Decided::Abort(record)) => Some(record.reason.clone()),
            Some(Decided::Commit(_)) | None => None,
        };
        TransactionStatus {
            id,
            tenant: begun.map(|begun| begun.tenant.clone()),
            idempotency_key: begun.map(|begun| begun.key.clone()),
            state,
            outcome,
            reason,
            begun_at: id.minted(),
            deadline: begun.map(|begun| begun.deadline),
            closed_at: self.closed.as_ref().map(|closed| closed.at),
            epoch: None,
            branches: begun.map(|begun| self.branches(begun)).unwrap_or_default(),
            actions: begun
                .map(|begun| self.action_statuses(begun))
                .unwrap_or_default(),
        }
    }

    fn action_statuses(&self, begun: &Begun) -> Vec<ActionStatus> {
        let unknown = ActionHistory::default();
        let status = |planned: &plan::Action| {
            let known = self.actions.get(&planned.index).unwrap_or(&unknown);
            let result = known.done.as_ref().and_then(|done| done.result.clone());
            ActionStatus {
                index: planned.index,
                name: planned.name.clone(),
                participant: planned.participant.clone(),
                state: self.action_state(planned, known),
                attempts: 0,
                result,
                last_error: known.stuck.as_ref().map(|stuck| stuck.error.clone()),
                next_attempt_at: None,
                stuck_at: known.stuck.as_ref().map(|stuck| stuck.at),
            }
        };
        begun.plan.actions().map(status).collect()
    }

    fn action_state(&self, planned: &plan::Action, known: &ActionHistory) -> ActionState {
        let refused = match &self.decided {
            Some(Decided::Abort(Aborted {
                reason: AbortReason::Refused { branch, .. }, ..
            })) => *branch == planned.name,
            Some(Decided::Abort(_) | Decided::Commit(_)) | None => false,
        };
        match &known.stuck {
            Some(stuck) if stuck.verb == ActVerb::Act => return ActionState::StuckActing,
            Some(_) => return ActionState::StuckCompensating,
            None => {}
        }
        let given_up = known.skipped
            || self
                .closed
                .as_ref()
                .is_some_and(|closed| closed.heuristics.contains(&planned.index));
        match (known.compensated, given_up, &known.done, refused) {
            (true, ..) => ActionState::Compensated,
            (false, true, ..) => ActionState::Skipped,
            // Every step of a transaction that happened is done; the record of it is lazy.
            _ if self.closed.is_some() && self.fate() == Some(Fate::Commit) => ActionState::Done,
            _ if self.is_named(planned.index) && self.closed.is_some() => ActionState::Compensated,
            _ if self.is_named(planned.index) => ActionState::Compensating,
            (false, false, Some(_), _) => ActionState::Done,
            (false, false, None, true) => ActionState::Refused,
            (false, false, None, false) if known.not_done.is_some() => ActionState::Refused,
            (false, false, None, false) if known.started => ActionState::Acting,
            (false, false, None, false) => ActionState::Waiting,
        }
    }

    fn branches(&self, begun: &Begun) -> Vec<BranchStatus> {
        let votes: &[VoteRecord] = match &self.decided {
            Some(Decided::Commit(record)) => &record.votes,
            Some(Decided::Abort(_)) | None => &[],
        };
        let status = |branch: &plan::Branch| {
            let vote = votes.iter().find(|vote| vote.branch == branch.index);
            let late = self.closed.iter().flat_map(|closed| &closed.results);
            let mut late = late
                .filter(|(index, _)| *index == branch.index)
                .map(|(_, result)| result);
            let known = self.actions.get(&branch.index);
            let own = known.and_then(|known| known.done.as_ref()?.result.as_ref());
            let result = vote
                .and_then(|vote| vote.result.as_ref())
                .or(own)
                .or_else(|| late.next());
            BranchStatus {
                index: branch.index,
                name: branch.name.clone(),
                participant: branch.participant.clone(),
                state: self.branch_state(branch.index, vote, begun.plan.is_delegated()),
                attempts: 0,
                result: result.cloned(),
                last_error: None,
                next_attempt_at: None,
            }
        };
        begun.plan.branches().map(status).collect()
    }

    fn branch_state(
        &self,
        index: BranchIndex,
        vote: Option<&VoteRecord>,
        delegated: bool,
    ) -> BranchState {
        let heuristic = self
            .closed
            .as_ref()
            .is_some_and(|closed| closed.heuristics.contains(&index));
        let closed = self.closed.is_some();
        match (self.fate(), heuristic, closed) {
            (Some(Fate::Commit), true, _) => BranchState::HeuristicAborted,
            (Some(Fate::Abort), true, _) => BranchState::HeuristicCommitted,
            (Some(Fate::Commit), false, _) if vote.is_some_and(|vote| vote.ended) && !delegated => {
                BranchState::ReadOnly
            }
            (Some(Fate::Commit), false, true) => BranchState::Committed,
            (Some(Fate::Commit), false, false) => BranchState::Committing,
            (Some(Fate::Abort), false, true) => BranchState::Aborted,
            (Some(Fate::Abort), false, false) => BranchState::Aborting,
            (None, ..) => BranchState::Preparing,
        }
    }
}

/// A branch that voted read-only has ended without a marker. If a late repeat of its prepare call
/// brings it to life again, it must not take effect: only branches that were to commit may. A lone
/// branch has ended too, but by its own commit.
#[must_use]
pub fn verdict_of_votes(votes: &[VoteRecord], branch: BranchIndex, delegated: bool) -> Verdict {
    let vote = votes.iter().find(|vote| vote.branch == branch);
    if vote.is_some_and(|vote| vote.ended) && !delegated {
        Verdict::Abort
    } else {
        Verdict::Commit
    }
}
