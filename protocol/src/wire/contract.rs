//! The participant contract, version 1: three calls, `prepare` and `finish` for the branches of an
//! atomic group, and `act` for saga actions, their compensations, and messages.
//!
//! A participant mounts them at `{base}/accordant/v1/prepare`, `…/finish` and `…/act`.
//! Any HTTP status but 200 and any body that is not the reply's form is *unknown*: neither a yes
//! nor a no.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::id::{Attempt, BranchIndex, Epoch, Gtid, OperationName, ParticipantName};
use crate::json::Json;
use crate::limits::{NAME_BYTES_MAX, REASON_BYTES_MAX};
use crate::plan::Mode;
use crate::time::Timestamp;

/// Where a participant mounts `prepare`, below its base address.
pub const PREPARE_PATH: &str = "/accordant/v1/prepare";

/// Where a participant mounts `finish`, below its base address.
pub const FINISH_PATH: &str = "/accordant/v1/finish";

/// Where a participant mounts `act`, below its base address.
pub const ACT_PATH: &str = "/accordant/v1/act";

/// The order to do a branch's work and to vote.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrepareCall {
    /// The transaction.
    pub gtid: Gtid,
    /// The branch.
    pub branch: BranchIndex,
    /// Which participant is meant. One that goes by another name refuses the call.
    pub participant: ParticipantName,
    /// Which try this is; the reply repeats it.
    pub attempt: Attempt,
    /// The epoch of the partition's owner.
    pub epoch: Epoch,
    /// After this time a yes is of no use any more: the coordinator decides abort.
    pub deadline: Timestamp,
    /// Nothing will be asked any more about transactions minted at or before this time in the
    /// same partition of the same journal.
    pub watermark: Timestamp,
    /// Commit at once instead of preparing: the branch is the only one, and its marker decides.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_phase: bool,
    /// How the branch waits for the decision. For `tcc` the order is *try*: reserve, and commit the
    /// reservation locally before saying yes.
    #[serde(default, skip_serializing_if = "Mode::is_two_phase")]
    pub mode: Mode,
    /// What to do.
    pub operation: OperationName,
    /// With what.
    pub payload: Json,
}

/// The answer to [`PrepareCall`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PrepareReply {
    /// The attempt that is answered.
    pub attempt: Attempt,
    /// The database that answered.
    pub identity: Identity,
    /// What it says.
    pub vote: Vote,
}

/// A participant's answer to prepare.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Vote {
    /// The branch is durably prepared and waits for the decision.
    Yes {
        /// What the handler returned. Absent if an earlier attempt had prepared the branch: its
        /// marker, and the result in it, can be read only after commit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Json>,
    },
    /// The branch wrote nothing and has ended; no decision need follow.
    ReadOnly {
        /// What the handler returned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Json>,
    },
    /// The branch has committed: the answer to a one-phase call, or to a late repeat.
    Committed {
        /// What the handler returned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Json>,
    },
    /// The branch is sealed: nothing of it remains, and nothing of it can ever take effect.
    No {
        /// Why.
        refusal: Refusal,
    },
    /// An earlier attempt is still at work: ask again.
    InProgress,
    /// Nothing was done, and nothing was decided: ask again.
    RetryLater {
        /// Why.
        reason: String,
    },
}

impl Vote {
    /// The vote in one word, as on the wire: for logs and metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Yes { .. } => "yes",
            Self::ReadOnly { .. } => "read_only",
            Self::Committed { .. } => "committed",
            Self::No { .. } => "no",
            Self::InProgress => "in_progress",
            Self::RetryLater { .. } => "retry_later",
        }
    }
}

/// Why a branch cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs: a short stable word, chosen by the service, or one of the library's own that
    /// begin with `accordant.`.
    pub code: String,
    /// For people.
    pub detail: String,
    /// The same transaction may succeed if it is tried again as a new one.
    #[serde(default)]
    pub retryable: bool,
}

impl Refusal {
    /// Makes a refusal that a repeat would not change. Over-long texts are cut.
    #[must_use]
    pub fn new(code: &str, detail: &str) -> Self {
        let (code, detail) = (cut(code, NAME_BYTES_MAX), cut(detail, REASON_BYTES_MAX));
        Self { code, detail, retryable: false }
    }

    /// The same refusal, marked as one that may not come again.
    #[must_use]
    pub fn retryable(self) -> Self {
        Self { retryable: true, ..self }
    }

    /// The same refusal with its texts cut to their bounds: for one that came from outside.
    #[must_use]
    pub fn bounded(self) -> Self {
        let retryable = self.retryable;
        Self { retryable, ..Self::new(&self.code, &self.detail) }
    }
}

/// Cuts a text from outside to at most `bytes_max` bytes, and control characters out of it: it
/// goes into records, statuses and logs.
#[must_use]
pub fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or_default();
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Which database a participant answers from.
///
/// A database that was restored from an older copy, or a service that was pointed at another one,
/// gives itself away here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The server cluster's system identifier and the database's oid. Another one is another database.
    #[serde(deserialize_with = "short")]
    pub system: String,
    /// The timeline: rises with each failover or restore.
    pub timeline: u32,
    /// How often a participant has started on this database: a counter in it, raised durably.
    pub starts: u64,
}

/// It goes into a record with every vote.
fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > NAME_BYTES_MAX {
        let form = format!("a database's identifier of at most {NAME_BYTES_MAX} bytes");
        return Err(serde::de::Error::invalid_length(text.len(), &form.as_str()));
    }
    Ok(text)
}

impl Identity {
    /// Judges a later answer against this earlier one.
    #[must_use]
    pub fn judge(&self, later: &Self) -> Kinship {
        if self.system != later.system {
            Kinship::Foreign
        } else if later.timeline < self.timeline || later.starts < self.starts {
            Kinship::Older
        } else {
            Kinship::Same
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "system {}, timeline {}, start {}",
            self.system, self.timeline, self.starts
        )
    }
}

/// How a later answer's database relates to an earlier one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kinship {
    /// The same database, at the same state or a later one.
    Same,
    /// The same database at an earlier state: it was restored.
    Older,
    /// Another database.
    Foreign,
}

/// Orders of phase two, for one participant. The orders are independent of each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinishCall {
    /// Which participant is meant.
    pub participant: ParticipantName,
    /// At most [`crate::limits::FINISH_ORDERS_MAX`].
    pub orders: Vec<FinishOrder>,
}

/// The order to end one branch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinishOrder {
    /// The transaction.
    pub gtid: Gtid,
    /// The branch.
    pub branch: BranchIndex,
    /// How it ends.
    pub verb: FinishVerb,
    /// Which try this is; the answer repeats it.
    pub attempt: Attempt,
    /// The epoch of the partition's owner.
    pub epoch: Epoch,
    /// As in [`PrepareCall::watermark`].
    pub watermark: Timestamp,
    /// The coordinator does not know the result and asks for the one in the marker.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub want_result: bool,
    /// What to confirm or to cancel: given with these two verbs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
}

/// The work of a TCC branch, once more: a cancel may come to a participant that never heard of its
/// try.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// As in [`PrepareCall::operation`].
    pub operation: OperationName,
    /// As in [`PrepareCall::payload`].
    pub payload: Json,
}

/// How a branch is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishVerb {
    /// Commit what is prepared.
    Commit,
    /// Roll back what is prepared, and seal the branch in any case.
    Abort,
    /// Make the reservation of a TCC branch good.
    Confirm,
    /// Give the reservation of a TCC branch up; where the try never came, keep it out for ever.
    Cancel,
}

impl FinishVerb {
    /// The verb in one word, as on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Abort => "abort",
            Self::Confirm => "confirm",
            Self::Cancel => "cancel",
        }
    }
}

/// The answer to [`FinishCall`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FinishReply {
    /// The database that answered.
    pub identity: Identity,
    /// One for each order, in any order. One that is missing is unknown.
    pub answers: Vec<FinishAnswer>,
}

/// What became of one order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FinishAnswer {
    /// The transaction.
    pub gtid: Gtid,
    /// The branch.
    pub branch: BranchIndex,
    /// The attempt that is answered.
    pub attempt: Attempt,
    /// What is durably so at the participant now.
    pub end: BranchEnd,
}

/// The order to act, or to make good what an act did. It is also how a message is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActCall {
    /// The transaction.
    pub gtid: Gtid,
    /// The number of the action in the plan.
    pub branch: BranchIndex,
    /// Which participant is meant. One that goes by another name refuses the call.
    pub participant: ParticipantName,
    /// What is asked for.
    pub verb: ActVerb,
    /// Which try this is; the reply repeats it.
    pub attempt: Attempt,
    /// The epoch of the partition's owner.
    pub epoch: Epoch,
    /// Until when the coordinator listens to the reply of this attempt. What comes later is asked
    /// for again.
    pub deadline: Timestamp,
    /// As in [`PrepareCall::watermark`].
    pub watermark: Timestamp,
    /// Which operation acts, or is made good.
    pub operation: OperationName,
    /// With what. To a compensation: with what the act was called.
    pub payload: Json,
    /// To a compensation: what the act returned, as far as the coordinator knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
}

/// What an action is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActVerb {
    /// Do it.
    Act,
    /// Make good what was done. It may come before the act, and then keeps it out for ever.
    Compensate,
}

impl ActVerb {
    /// The verb in one word, as on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Compensate => "compensate",
        }
    }
}

/// The answer to [`ActCall`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ActReply {
    /// The attempt that is answered.
    pub attempt: Attempt,
    /// The database that answered.
    pub identity: Identity,
    /// What it says.
    pub answer: ActAnswer,
}

/// How an action stands at its participant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActAnswer {
    /// It is done, durably; or was done before, and this is the first execution's result.
    Done {
        /// What the handler returned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Json>,
    },
    /// Nothing of it happened, and, durably, nothing of it ever will.
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// It is under way. Ask again, or be called back.
    InProgress {
        /// How long to wait before asking again, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// Nothing was concluded: ask again.
    RetryLater {
        /// Why.
        reason: String,
    },
}

impl ActAnswer {
    /// The answer in one word, as on the wire: for logs and metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Refused { .. } => "refused",
            Self::InProgress { .. } => "in_progress",
            Self::RetryLater { .. } => "retry_later",
        }
    }
}

/// How a branch stands at its participant, as a durable fact: never inferred from "not found".
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BranchEnd {
    /// The marker is there. To an abort order this says that someone else had committed it.
    Committed {
        /// From the marker, if it was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Json>,
    },
    /// The seal is there. To a commit order this says that the prepared branch was lost or
    /// rolled back by someone else.
    Aborted,
    /// Someone else is ending it just now: ask again.
    InProgress,
    /// Nothing was concluded: ask again.
    RetryLater {
        /// Why.
        reason: String,
    },
}

impl BranchEnd {
    /// The end in one word, as on the wire: for logs and metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Committed { .. } => "committed",
            Self::Aborted => "aborted",
            Self::InProgress => "in_progress",
            Self::RetryLater { .. } => "retry_later",
        }
    }
}
