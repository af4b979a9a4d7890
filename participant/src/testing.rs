//! For a service's own tests: plays the coordinator, and repeats what a real one may repeat.
//!
//! ```no_run
//! # use accordant_participant::{Participant, testing::Rehearsal};
//! # async fn test(participant: Participant) -> Result<(), Box<dyn std::error::Error>> {
//! let rehearsal = Rehearsal::of(&participant);
//! // Prepared, prepared again, committed, committed again, and prepared once more, late.
//! rehearsal.commits_once("debit", &serde_json::json!({ "account": 1, "cents": 30 })).await?;
//! // … now the account has 30 less, and not 60 or 90.
//! // Prepared, aborted, aborted again, and prepared once more, late.
//! rehearsal.aborts("debit", &serde_json::json!({ "account": 1, "cents": 30 })).await?;
//! // … now the account is as before.
//!
//! // An action by two attempts at once, and again; then made good, twice at once, and again; then
//! // acted once more, late.
//! rehearsal.compensates("book", &serde_json::json!({ "nights": 3 })).await?;
//! // Made good before it came. In both cases no booking may be there.
//! rehearsal.keeps_out("book", &serde_json::json!({ "nights": 3 })).await?;
//! // A reservation, confirmed and then cancelled too late; cancelled; cancelled before it came.
//! rehearsal.confirms_once("reserve", &serde_json::json!({ "nights": 3 })).await?;
//! rehearsal.cancels("reserve", &serde_json::json!({ "nights": 3 })).await?;
//! rehearsal.cancels_before("reserve", &serde_json::json!({ "nights": 3 })).await?;
//! # Ok(()) }
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use accordant_protocol::id::{
    Attempt, BranchIndex, Cluster, ClusterError, Epoch, Gtid, GtidError, Incarnation, NameError,
    OperationName, PartitionId,
};
use accordant_protocol::json::Json;
use accordant_protocol::plan::Mode;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::contract::{
    BranchEnd, FinishOrder, FinishVerb, PrepareCall, Vote, Work,
};
use serde::Serialize;

use crate::clock;
use crate::engine::Unanswered;
use crate::finish;
use crate::participant::Participant;
use crate::prepare;

mod actions;
mod tcc;

/// The time that a rehearsed branch has for its work.
const DEADLINE_MS: u64 = 30_000;

/// How often a call is repeated that concluded nothing, and the pause between.
const PATIENCE: u32 = 100;
/// See [`PATIENCE`].
const PATIENCE_PAUSE: Duration = Duration::from_millis(20);

/// Asks as a coordinator does: again, with a later attempt, until something was concluded. What the
/// last answer was, where the patience ends before.
async fn until_concluded<T, F>(
    waits: impl Fn(&T) -> bool,
    mut ask: impl FnMut(u32) -> F,
) -> Result<T, RehearsalError>
where
    F: Future<Output = Result<T, RehearsalError>>,
{
    let mut attempt = 1;
    loop {
        let answer = ask(attempt).await?;
        if !waits(&answer) || attempt >= PATIENCE {
            return Ok(answer);
        }
        attempt += 1;
        tokio::time::sleep(PATIENCE_PAUSE).await;
    }
}

/// What a rehearsal found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RehearsalError {
    /// A step gave another answer than it must.
    #[error("{step}: expected {expected}, got {found}")]
    Surprise {
        /// What was tried.
        step: &'static str,
        /// What must come of it.
        expected: &'static str,
        /// What came of it.
        found: String,
    },
    /// The participant did not answer.
    #[error("the participant did not answer")]
    Unanswered(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The operation's name is not one.
    #[error("the operation's name {0}")]
    Name(#[from] NameError),
    /// The payload is not JSON.
    #[error("the payload is not JSON")]
    Payload(#[from] serde_json::Error),
    /// No transaction id could be made.
    #[error("no transaction id could be made")]
    Id(#[from] GtidError),
    /// No transaction id could be made.
    #[error("no transaction id could be made")]
    Cluster(#[from] ClusterError),
}

impl From<Unanswered> for RehearsalError {
    fn from(cause: Unanswered) -> Self {
        Self::Unanswered(Box::new(cause))
    }
}

/// A coordinator for tests, of one participant, with a journal of one transaction.
#[derive(Debug)]
pub struct Rehearsal<'a> {
    participant: &'a Participant,
}

impl<'a> Rehearsal<'a> {
    /// Rehearses with this participant.
    #[must_use]
    pub fn of(participant: &'a Participant) -> Self {
        Self { participant }
    }

    /// Makes the id of a transaction that no other test has.
    ///
    /// # Errors
    /// If the clock is beyond what an id can hold.
    pub fn transaction(&self) -> Result<Gtid, RehearsalError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let random = u128::from(std::process::id()) << 64 | u128::from(count);
        let cluster = Cluster::new("test")?;
        Ok(Gtid::mint(
            cluster,
            PartitionId(0),
            Incarnation(0),
            clock::now(),
            random,
        )?)
    }

    /// Has the work of branch 0 done.
    ///
    /// # Errors
    /// If there was no answer.
    pub async fn prepare(
        &self,
        gtid: Gtid,
        attempt: u32,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<Vote, RehearsalError> {
        let call = self.call(gtid, attempt, operation, payload)?;
        Ok(Box::pin(prepare::prepare(&self.participant.engine, &call))
            .await?
            .vote)
    }

    fn call(
        &self,
        gtid: Gtid,
        attempt: u32,
        operation: &str,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<PrepareCall, RehearsalError> {
        Ok(PrepareCall {
            gtid,
            branch: BranchIndex(0),
            participant: self.participant.engine.name.clone(),
            attempt: Attempt(attempt),
            epoch: Epoch(1),
            deadline: clock::now().plus_millis(DEADLINE_MS),
            watermark: Timestamp::ZERO,
            one_phase: false,
            mode: Mode::TwoPhase,
            operation: OperationName::new(operation)?,
            payload: Json::from_value(payload)?,
        })
    }

    /// Ends branch 0.
    ///
    /// # Errors
    /// If there was no answer.
    pub async fn finish(&self, gtid: Gtid, verb: FinishVerb) -> Result<BranchEnd, RehearsalError> {
        self.finish_by(gtid, verb, None).await
    }

    async fn finish_by(
        &self,
        gtid: Gtid,
        verb: FinishVerb,
        work: Option<Work>,
    ) -> Result<BranchEnd, RehearsalError> {
        let order = FinishOrder {
            gtid,
            branch: BranchIndex(0),
            verb,
            attempt: Attempt(1),
            epoch: Epoch(1),
            watermark: Timestamp::ZERO,
            want_result: false,
            work,
        };
        let reply = finish::finish(&self.participant.engine, &[order]).await?;
        let answer = reply.answers.into_iter().next();
        answer
            .map(|answer| answer.end)
            .ok_or_else(|| Unanswered::Task.into())
    }

    /// Commits an operation and repeats every call, before and after. Its effect must then be
    /// there once: look.
    ///
    /// # Errors
    /// If a call had another answer than it must.
    pub async fn commits_once(
        &self,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), RehearsalError> {
        let gtid = self.transaction()?;
        let vote = self.prepare(gtid, 1, operation, payload).await?;
        if matches!(vote, Vote::ReadOnly { .. }) {
            // Nothing is left to commit, and a repeat works again.
            return Ok(());
        }
        if !matches!(vote, Vote::Yes { .. }) {
            return surprise("prepare", "yes", &vote);
        }
        let vote = self.prepare(gtid, 2, operation, payload).await?;
        if !matches!(vote, Vote::Yes { .. }) {
            return surprise("prepare again", "yes", &vote);
        }
        for step in ["commit", "commit again"] {
            let end = self.finish(gtid, FinishVerb::Commit).await?;
            if !matches!(end, BranchEnd::Committed { .. }) {
                return surprise(step, "committed", &end);
            }
        }
        let vote = self.prepare(gtid, 3, operation, payload).await?;
        if !matches!(vote, Vote::Committed { .. }) {
            return surprise("prepare after commit", "committed", &vote);
        }
        Ok(())
    }

    /// Aborts an operation and repeats every call, before and after. Nothing of it may then be
    /// there: look.
    ///
    /// # Errors
    /// If a call had another answer than it must.
    pub async fn aborts(
        &self,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), RehearsalError> {
        let gtid = self.transaction()?;
        let vote = self.prepare(gtid, 1, operation, payload).await?;
        if !matches!(
            vote,
            Vote::Yes { .. } | Vote::ReadOnly { .. } | Vote::No { .. }
        ) {
            return surprise("prepare", "a vote", &vote);
        }
        for step in ["abort", "abort again"] {
            let end = self.finish(gtid, FinishVerb::Abort).await?;
            if end != BranchEnd::Aborted {
                return surprise(step, "aborted", &end);
            }
        }
        let vote = self.prepare(gtid, 2, operation, payload).await?;
        if !matches!(vote, Vote::No { .. }) {
            return surprise("prepare after abort", "no", &vote);
        }
        Ok(())
    }
}

fn surprise<T>(
    step: &'static str,
    expected: &'static str,
    found: &impl std::fmt::Debug,
) -> Result<T, RehearsalError> {
    Err(RehearsalError::Surprise { step, expected, found: format!("{found:?}") })
}
