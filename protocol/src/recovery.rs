//! What stored facts add up to, and what is to be done next. Never a guess: a history that no
//! correct coordinator writes is an error of its own transaction, and stops no other.

use crate::id::{BranchIndex, Gtid};
use crate::record::{Aborted, Begun, Closed, Committed, Fate, Record, VoteRecord};
use crate::wire::api::{
    AbortReason, BranchState, BranchStatus, Outcome, State, TransactionStatus, Verdict,
};

/// The facts about one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct History {
    /// Absent for a presumed abort.
    pub begun: Option<Begun>,
    /// The decision.
    pub decided: Option<Decided>,
    /// The end.
    pub closed: Option<Closed>,
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
        let mut history = match records.next() {
            Some(Record::Begun(begun)) => Self { begun: Some(begun), decided: None, closed: None },
            Some(Record::Aborted(aborted)) if aborted.reason == AbortReason::Presumed => Self {
                begun: None,
                decided: Some(Decided::Abort(aborted)),
                closed: None,
            },
            Some(Record::Aborted(_) | Record::Committed(_) | Record::Closed(_)) | None => {
                return Err(CorruptHistory::NotBegun);
            }
        };
        for record in records {
            history.add(record)?;
        }
        Ok(history)
    }

    fn add(&mut self, record: Record) -> Result<(), CorruptHistory> {
        let open = self.closed.is_none() && self.begun.is_some();
        match (record, &self.decided) {
            (Record::Committed(record), None) if open => {
                self.decided = Some(Decided::Commit(record));
            }
            (Record::Aborted(record), None) if open => {
                self.decided = Some(Decided::Abort(record));
            }
            (Record::Closed(record), Some(_)) if open => self.closed = Some(record),
            (
                Record::Begun(_) | Record::Committed(_) | Record::Aborted(_) | Record::Closed(_),
                _,
            ) => return Err(CorruptHistory::Misplaced),
        }
        Ok(())
    }

    /// How many records were folded: the position of the next one.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::from(self.begun.is_some())
            + u32::from(self.decided.is_some())
            + u32::from(self.closed.is_some())
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
    pub const fn fate(&self) -> Option<Fate> {
        match &self.decided {
            Some(Decided::Commit(_)) => Some(Fate::Commit),
            Some(Decided::Abort(_)) => Some(Fate::Abort),
            None => None,
        }
    }

    /// How the new owner goes on with it. The caller has excluded every earlier owner by raising
    /// the epoch before it read the records.
    #[must_use]
    pub fn resume(&self) -> Option<(&Begun, Resumption)> {
        let begun = self.begun.as_ref()?;
        if self.closed.is_some() {
            return None;
        }
        let resumption = match &self.decided {
            Some(Decided::Commit(record)) => Resumption::Commit(record.votes.clone()),
            Some(Decided::Abort(record)) => Resumption::Abort(record.reason.clone()),
            None if begun.plan.is_delegated() => Resumption::Recall,
            None => Resumption::DecideAbort,
        };
        Some((begun, resumption))
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
        let state = match (self.is_closed(), self.fate()) {
            (true, _) => State::Closed,
            (false, Some(Fate::Commit)) => State::Committing,
            (false, Some(Fate::Abort)) => State::Aborting,
            (false, None) => State::Preparing,
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
        }
    }

    fn branches(&self, begun: &Begun) -> Vec<BranchStatus> {
        let votes: &[VoteRecord] = match &self.decided {
            Some(Decided::Commit(record)) => &record.votes,
            Some(Decided::Abort(_)) | None => &[],
        };
        let status = |branch: &crate::plan::Branch| {
            let vote = votes.iter().find(|vote| vote.branch == branch.index);
            let late = self.closed.iter().flat_map(|closed| &closed.results);
            let mut late = late
                .filter(|(index, _)| *index == branch.index)
                .map(|(_, result)| result);
            let result = vote
                .and_then(|vote| vote.result.as_ref())
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
