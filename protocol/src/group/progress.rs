//! How far one branch has come, as the coordinator sees it.

use crate::calls::{Calls, Pause};
use crate::id::{BranchIndex, BranchName};
use crate::json::Json;
use crate::limits::{BACKOFF_MS_MAX, BACKOFF_MS_MIN};
use crate::record::{Fate, VoteRecord};
use crate::time::Timestamp;
use crate::wire::api::BranchState;
use crate::wire::contract::Refusal;

/// One branch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// Its index in the plan.
    pub index: BranchIndex,
    /// Its name in the plan.
    pub name: BranchName,
    /// Where it stands.
    pub stage: Stage,
    /// The calls to it.
    pub calls: Calls,
    /// The vote, if it was yes.
    pub vote: Option<VoteRecord>,
    /// A result that became known only at commit.
    pub late_result: Option<Json>,
}

/// Where a branch stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Nothing was sent.
    Waiting,
    /// It was told to prepare, or to commit by itself.
    Asked,
    /// It voted yes, or read-only.
    Agreed,
    /// It voted no: it is sealed.
    Refused(Refusal),
    /// It was told the decision, or recalled.
    Told(Fate),
    /// It has ended.
    Ended(Ended),
}

/// How a branch has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ended {
    /// It wrote nothing.
    ReadOnly,
    /// It has committed, as decided.
    Committed,
    /// It has aborted, as decided.
    Aborted,
    /// Someone else committed it, against the decision.
    HeuristicCommitted,
    /// It was lost, or someone else rolled it back, against the decision.
    HeuristicAborted,
}

impl Progress {
    /// A branch to which nothing was sent.
    #[must_use]
    pub fn new(index: BranchIndex, name: BranchName) -> Self {
        Self {
            index,
            name,
            stage: Stage::Waiting,
            calls: Calls::default(),
            vote: None,
            late_result: None,
        }
    }

    /// Whether it agreed to commit.
    #[must_use]
    pub const fn has_agreed(&self) -> bool {
        matches!(self.stage, Stage::Agreed)
    }

    /// Whether it has ended.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }

    /// Whether it ended against the decision.
    #[must_use]
    pub const fn is_heuristic(&self) -> bool {
        matches!(
            self.stage,
            Stage::Ended(Ended::HeuristicCommitted | Ended::HeuristicAborted)
        )
    }

    /// What its handler returned, as far as it is known.
    #[must_use]
    pub fn result(&self) -> Option<&Json> {
        self.vote
            .as_ref()
            .and_then(|vote| vote.result.as_ref())
            .or(self.late_result.as_ref())
    }

    /// Starts on another verb: the pauses begin anew.
    pub(super) fn begin(&mut self, stage: Stage) {
        self.stage = stage;
        self.calls.begin();
    }

    /// Ends it; nothing is sent to it any more.
    pub(super) fn end(&mut self, ended: Ended) {
        self.stage = Stage::Ended(ended);
        self.calls.end();
    }

    /// Plans a repeat.
    pub(super) fn retry_later(&mut self, now: Timestamp, seed: u64, error: Option<String>) {
        let pause = Pause { ms: BACKOFF_MS_MIN, ms_max: BACKOFF_MS_MAX };
        self.calls.retry_later(now, pause, seed, self.index, error);
    }

    /// For statuses.
    #[must_use]
    pub const fn state(&self) -> BranchState {
        match &self.stage {
            Stage::Waiting => BranchState::Waiting,
            Stage::Asked => BranchState::Preparing,
            Stage::Agreed => match &self.vote {
                Some(VoteRecord { ended: true, .. }) => BranchState::ReadOnly,
                _ => BranchState::Prepared,
            },
            Stage::Refused(_) => BranchState::Refused,
            Stage::Told(Fate::Commit) => BranchState::Committing,
            Stage::Told(Fate::Abort) => BranchState::Aborting,
            Stage::Ended(Ended::ReadOnly) => BranchState::ReadOnly,
            Stage::Ended(Ended::Committed) => BranchState::Committed,
            Stage::Ended(Ended::Aborted) => BranchState::Aborted,
            Stage::Ended(Ended::HeuristicCommitted) => BranchState::HeuristicCommitted,
            Stage::Ended(Ended::HeuristicAborted) => BranchState::HeuristicAborted,
        }
    }
}
