//! The client API, version 1.

use serde::{Deserialize, Serialize};

use super::contract::{ActAnswer, ActVerb, Refusal};
use crate::id::{
    BranchIndex, BranchName, Epoch, Gtid, IdempotencyKey, ParticipantName, TenantName,
};
use crate::json::Json;
use crate::plan::BranchRequest;
use crate::plan::StepRequest;
use crate::record::Resolution;
use crate::time::Timestamp;

/// Where transactions are submitted and listed.
pub const TRANSACTIONS_PATH: &str = "/v1/transactions";

/// The header that carries the client's name for a request.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";

/// The body of `POST /v1/transactions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// The steps of the plan; or give `branches`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<StepRequest>>,
    /// Short for one step, an atomic group of these branches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branches: Option<Vec<BranchRequest>>,
    /// How long the branches have to vote, in milliseconds, from now. After it: abort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<i64>,
    /// When the reply comes.
    #[serde(default)]
    pub wait: Wait,
}

/// When a submit is answered.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// The plan is durable: the transaction will end by itself.
    Accepted,
    /// The decision is durable.
    #[default]
    Decided,
    /// Every branch has ended by the decision.
    Completed,
}

/// A transaction as the coordinator knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionStatus {
    /// Its id.
    pub id: Gtid,
    /// On whose behalf it runs; absent for a presumed abort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantName>,
    /// The client's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<IdempotencyKey>,
    /// What is being done now.
    pub state: State,
    /// What a client may rely on.
    pub outcome: Outcome,
    /// Why it was aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<AbortReason>,
    /// When it was accepted.
    pub begun_at: Timestamp,
    /// Until when the branches may vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// When it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
    /// The epoch of the owner that reports this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Its branches, by index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<BranchStatus>,
    /// Its actions and the targets of its messages, by index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<ActionStatus>,
}

/// What is being done for a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Its plan is being made durable.
    Beginning,
    /// Its branches do their work and vote.
    Preparing,
    /// It has one branch, which commits by itself; only its participant knows the outcome.
    Delegated,
    /// The decision is being made durable.
    Deciding,
    /// Decided; the branches are being committed.
    Committing,
    /// Decided; the branches are being aborted.
    Aborting,
    /// Its steps are being done; nothing is decided.
    Acting,
    /// It will not happen; calls whose outcome is unknown are being cleared up.
    TurningBack,
    /// It does not happen; what was done is being made good.
    Compensating,
    /// It happens: the pivot is passed, and what is left is being done.
    Completing,
    /// A step cannot go on without an operator.
    Stuck,
    /// Every branch has ended, and every step.
    Closed,
    /// Its stored history is not legal: an operator must look.
    Corrupt,
}

/// What a client may rely on. Never changes once it is not `pending`, but for `heuristic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Not decided, or not known yet.
    Pending,
    /// Durably decided: it happens everywhere. `state` tells whether it already has.
    Committed,
    /// It happens nowhere: branches have no effect, actions are made good. `state` tells whether
    /// they already are.
    Aborted,
    /// Some branch was ended by someone else, against the decision, or some step was given up by an
    /// operator.
    Heuristic,
}

/// Why a transaction was aborted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AbortReason {
    /// A branch refused.
    Refused {
        /// Which.
        branch: BranchName,
        /// Its words.
        refusal: Refusal,
    },
    /// These branches had not voted at the deadline.
    DeadlinePassed {
        /// Which.
        branches: Vec<BranchName>,
        /// What the last call to each of them came to, where it is known.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        errors: Vec<String>,
    },
    /// The coordinator restarted, or another took over, before it had decided.
    Recovered,
    /// A participant asked about a transaction of which nothing was recorded.
    Presumed,
    /// A branch that commits by itself was found sealed, so it has not happened.
    Sealed,
    /// A step was tried as often as its plan allows, and its outcome is not known.
    AttemptsUsedUp {
        /// Which.
        branch: BranchName,
        /// What the last attempt came to.
        error: String,
    },
}

/// A branch as the coordinator knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchStatus {
    /// Its index.
    pub index: BranchIndex,
    /// Its name.
    pub name: BranchName,
    /// Who does it.
    pub participant: ParticipantName,
    /// Where it stands.
    pub state: BranchState,
    /// The attempts of the present call.
    #[serde(default)]
    pub attempts: u32,
    /// What its handler returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// What the last call came to, if it was neither an answer nor a vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the call is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
}

/// Where a branch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BranchState {
    /// Nothing was sent yet.
    Waiting,
    /// It was asked to prepare and has not answered.
    Preparing,
    /// It voted yes: it is in doubt until the decision reaches it.
    Prepared,
    /// It voted no.
    Refused,
    /// It wrote nothing and has ended.
    ReadOnly,
    /// It was told to commit and has not confirmed.
    Committing,
    /// It was told to abort and has not confirmed.
    Aborting,
    /// It has committed.
    Committed,
    /// It has aborted.
    Aborted,
    /// Someone else committed it; the decision was abort.
    HeuristicCommitted,
    /// It was lost, or someone else rolled it back; the decision was commit.
    HeuristicAborted,
}

/// An action as the coordinator knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionStatus {
    /// Its index.
    pub index: BranchIndex,
    /// The name of its step. The targets of a message share one.
    pub name: BranchName,
    /// Who does it.
    pub participant: ParticipantName,
    /// Where it stands.
    pub state: ActionState,
    /// The attempts of the present call.
    #[serde(default)]
    pub attempts: u32,
    /// What it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// What the last call came to, if it was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the call is repeated, or a message goes out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// Since when it waits for an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck_at: Option<Timestamp>,
}

/// Where an action stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActionState {
    /// Nothing was sent.
    Waiting,
    /// It was told to act, and its outcome is not known.
    Acting,
    /// It has acted.
    Done,
    /// It refused: nothing of it happened.
    Refused,
    /// It was told to make good, and has not confirmed.
    Compensating,
    /// It is made good.
    Compensated,
    /// It may have acted, and cannot go on without an operator.
    StuckActing,
    /// It may be made good, and cannot go on without an operator.
    StuckCompensating,
    /// An operator has left it as it was.
    Skipped,
}

/// The body of a call-back: how an action stands that was said to be in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallBackRequest {
    /// What the action was told.
    pub verb: ActVerb,
    /// How it stands: done or refused.
    pub answer: ActAnswer,
}

/// The body of an operator's decision about a step that is stuck.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// What the step was told, as the operator has seen it: a decision about an act is none about its
    /// compensation.
    pub verb: ActVerb,
    /// What is to be done.
    pub resolution: Resolution,
    /// Who decides.
    pub by: String,
    /// Why; the evidence, where the step is taken as done.
    pub reason: String,
}

/// The reply to a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionPage {
    /// Newest first.
    pub transactions: Vec<TransactionSummary>,
    /// Give it as `cursor` to get the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A transaction in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionSummary {
    /// Its id.
    pub id: Gtid,
    /// The client's name for it; absent for a presumed abort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<IdempotencyKey>,
    /// What is durable of its outcome.
    pub outcome: Outcome,
    /// Whether every branch has ended.
    pub closed: bool,
    /// When it was accepted.
    pub begun_at: Timestamp,
    /// When it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
}

/// The reply to a participant's inquiry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeReply {
    /// The transaction.
    pub id: Gtid,
    /// What to do.
    pub verdict: Verdict,
}

/// What a participant is to do with a branch in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// Commit it.
    Commit,
    /// Roll it back and seal it.
    Abort,
    /// Not decided yet: ask again.
    Pending,
    /// This coordinator cannot know: leave it alone and raise an alarm.
    Unknown,
}
