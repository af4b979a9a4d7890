//! How far one branch has come, as the coordinator sees it.

use std::sync::Arc;

use crate::id::{Attempt, BranchIndex, BranchName};
use crate::json::Json;
use crate::limits::{BACKOFF_MS_MAX, BACKOFF_MS_MIN};
use crate::record::VoteRecord;
use crate::time::Timestamp;
use crate::wire::api::BranchState;
use crate::wire::contract::{FinishVerb, Identity, Refusal};

/// One branch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// Its index in the plan.
    pub index: BranchIndex,
    /// Its name in the plan.
    pub name: BranchName,
    /// Where it stands.
    pub stage: Stage,
    /// The latest attempt of any call to it. Answers to earlier ones are not listened to.
    pub attempt: Attempt,
    /// The attempts of the present verb: the pause between them grows with it.
    pub tries: u32,
    /// A call is out and its answer has not come.
    pub in_flight: bool,
    /// When the call is repeated.
    pub retry_at: Option<Timestamp>,
    /// The participant's database as far as it was known when the call went out.
    pub floor: Option<Arc<Identity>>,
    /// The vote, if it was yes.
    pub vote: Option<VoteRecord>,
    /// A result that became known only at commit.
    pub late_result: Option<Json>,
    /// What the last call came to, if it was neither a vote nor an end.
    pub last_error: Option<String>,
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
    Told(FinishVerb),
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
    pub const fn new(index: BranchIndex, name: BranchName) -> Self {
        Self {
            index,
            name,
            stage: Stage::Waiting,
            attempt: Attempt(0),
            tries: 0,
            in_flight: false,
            retry_at: None,
            floor: None,
            vote: None,
            late_result: None,
            last_error: None,
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
        self.tries = 0;
        self.last_error = None;
        self.retry_at = None;
    }

    /// Counts a call that goes out now.
    pub(super) fn call(&mut self) -> Attempt {
        self.attempt = self.attempt.next();
        self.tries = self.tries.saturating_add(1);
        self.in_flight = true;
        self.retry_at = None;
        self.attempt
    }

    /// Ends it; nothing is sent to it any more.
    pub(super) fn end(&mut self, ended: Ended) {
        self.stage = Stage::Ended(ended);
        self.in_flight = false;
        self.retry_at = None;
        self.last_error = None;
    }

    /// Plans a repeat: capped exponential backoff, the upper half of each pause spread by a hash,
    /// so that many branches do not come back in step.
    pub(super) fn retry_later(&mut self, now: Timestamp, seed: u64, error: Option<String>) {
        let doublings = self.tries.saturating_sub(1).min(16);
        let pause = BACKOFF_MS_MIN
            .saturating_mul(1 << doublings)
            .min(BACKOFF_MS_MAX);
        let draw = scramble(seed ^ u64::from(self.index.0) << 32 ^ u64::from(self.attempt.0));
        let pause = pause / 2 + draw % (pause / 2 + 1);
        self.in_flight = false;
        self.retry_at = Some(now.plus_millis(pause));
        self.last_error = error;
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
            Stage::Told(FinishVerb::Commit) => BranchState::Committing,
            Stage::Told(FinishVerb::Abort) => BranchState::Aborting,
            Stage::Ended(Ended::ReadOnly) => BranchState::ReadOnly,
            Stage::Ended(Ended::Committed) => BranchState::Committed,
            Stage::Ended(Ended::Aborted) => BranchState::Aborted,
            Stage::Ended(Ended::HeuristicCommitted) => BranchState::HeuristicCommitted,
            Stage::Ended(Ended::HeuristicAborted) => BranchState::HeuristicAborted,
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, *Fast Splittable Pseudorandom Number
/// Generators*, 2014): spreads a seed, and is no source of randomness.
const fn scramble(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
