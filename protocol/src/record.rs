//! Facts in the journal, in the past tense.
//!
//! A record is stored as JSON inside an envelope that names its version. Old versions are decoded
//! for ever; a version that is not known is refused, never skipped.

use serde::{Deserialize, Serialize};

use crate::id::{BranchIndex, Fingerprint, IdempotencyKey, TenantName, Traceparent};
use crate::json::Json;
use crate::plan::Plan;
use crate::time::Timestamp;
use crate::wire::api::AbortReason;
use crate::wire::contract::{ActVerb, Identity};

/// One fact about one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// A client asked for a transaction. A plan of one branch is thereby delegated to it; an action
    /// that no step comes before is thereby started.
    Begun(Begun),
    /// It happens: all branches voted yes, the pivot is passed, or every step is done. Excludes
    /// `Aborted` for ever.
    Committed(Committed),
    /// It does not happen: the group is aborted, or the saga has turned back. Excludes `Committed`
    /// for ever.
    Aborted(Aborted),
    /// Every branch has ended, and every step.
    Closed(Closed),
    /// An action is about to be told to act that nobody could keep out any more: at a plain service,
    /// or as the pivot. From then on it may have acted, until its outcome is known.
    Started(Started),
    /// An action is done, or a result is known that another step is called with.
    Done(Done),
    /// An action is made good.
    Compensated(Compensated),
    /// A step cannot go on without an operator.
    Stuck(Stuck),
    /// An operator has decided about a step.
    Resolved(Resolved),
}

/// See [`Record::Begun`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Begun {
    /// On whose behalf.
    pub tenant: TenantName,
    /// The client's name for the request, unique per tenant.
    pub key: IdempotencyKey,
    /// What the client asked for, digested.
    pub fingerprint: Fingerprint,
    /// What is to be done.
    pub plan: Plan,
    /// Until when the branches may vote.
    pub deadline: Timestamp,
    /// The client's trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Traceparent>,
}

/// See [`Record::Committed`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Committed {
    /// When.
    pub at: Timestamp,
    /// How each branch voted.
    pub votes: Vec<VoteRecord>,
}

/// How a branch voted, as far as phase two and later replies need it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VoteRecord {
    /// The branch.
    pub branch: BranchIndex,
    /// It wrote nothing, or it has already committed: phase two passes it by.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// The database that voted: only this one can confirm.
    pub identity: Identity,
    /// What the handler returned, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
}

/// See [`Record::Aborted`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Aborted {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: AbortReason,
    /// The actions to be made good and the branches to be told, where the group is not the whole
    /// plan: whoever goes on with it need not guess what may have been sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compensate: Vec<BranchIndex>,
}

/// See [`Record::Closed`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Closed {
    /// When.
    pub at: Timestamp,
    /// Branches that ended against the decision, and steps that an operator gave up. Not empty: an operator must look, and the
    /// transaction is kept until one has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heuristics: Vec<BranchIndex>,
    /// Results that became known only at commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<(BranchIndex, Json)>,
}

/// See [`Record::Started`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Started {
    /// When.
    pub at: Timestamp,
    /// The action.
    pub action: BranchIndex,
}

/// See [`Record::Done`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Done {
    /// When.
    pub at: Timestamp,
    /// The action, or the branch.
    pub action: BranchIndex,
    /// What it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
}

/// See [`Record::Compensated`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Compensated {
    /// When.
    pub at: Timestamp,
    /// The action.
    pub action: BranchIndex,
}

/// See [`Record::Stuck`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stuck {
    /// When.
    pub at: Timestamp,
    /// The action.
    pub action: BranchIndex,
    /// What it was told.
    pub verb: ActVerb,
    /// What the last call came to.
    pub error: String,
}

/// See [`Record::Resolved`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resolved {
    /// When.
    pub at: Timestamp,
    /// The action.
    pub action: BranchIndex,
    /// What is to be done.
    pub resolution: Resolution,
    /// Who decided.
    pub by: String,
    /// Why; the evidence, where it is taken as done.
    pub reason: String,
    /// With *abandon*: every action that had not ended, and is left as it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<BranchIndex>,
}

/// What an operator decides about a step that is stuck.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// Try again, with as many attempts as at first.
    Retry,
    /// Take it as done: the operator has seen that it is, or has done it by hand.
    Done {
        /// What it returned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Json>,
    },
    /// Take it as not done: the operator has seen that it has not acted, and sees to it that it never
    /// will. For an act that may be refused.
    NotDone,
    /// Leave it undone and go on. The transaction ends as heuristic.
    Skip,
    /// Leave it, and every other step that has not ended, undone. The transaction ends as heuristic.
    Abandon,
}

/// What a record decides. At most one per transaction, over all epochs: the journal holds a unique
/// key on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It happens.
    Commit,
    /// It does not happen.
    Abort,
}

impl Record {
    /// The fate that the record seals.
    #[must_use]
    pub fn fate(&self) -> Option<Fate> {
        match self {
            Self::Begun(begun) => begun.plan.fate(),
            Self::Closed(_)
            | Self::Started(_)
            | Self::Done(_)
            | Self::Compensated(_)
            | Self::Stuck(_)
            | Self::Resolved(_) => None,
            Self::Committed(_) => Some(Fate::Commit),
            Self::Aborted(_) => Some(Fate::Abort),
        }
    }

    /// Whether a transaction of which this is the first record has ended with it: a presumed abort.
    #[must_use]
    pub const fn is_presumed(&self) -> bool {
        matches!(
            self,
            Self::Aborted(Aborted { reason: AbortReason::Presumed, .. })
        )
    }

    /// For the journal.
    ///
    /// # Errors
    /// If a value in it cannot be expressed in JSON; none that passed validation is.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&EnvelopeRef { v: VERSION, record: self })
    }

    /// From the journal.
    ///
    /// # Errors
    /// [`DecodeError`]: the transaction's history must not be acted upon.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let version = serde_json::from_str::<VersionOnly>(text)?.v;
        if version != VERSION {
            return Err(DecodeError::Version { version });
        }
        Ok(serde_json::from_str::<Envelope>(text)?.record)
    }
}

/// The version that this build writes.
pub const VERSION: u32 = 1;

/// Why a stored record could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A newer build wrote it: run that build.
    #[error("record version {version} is not known; this build reads up to {VERSION}")]
    Version {
        /// The version found.
        version: u32,
    },
    /// It is damaged, or no record.
    #[error("not a record")]
    Form(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct EnvelopeRef<'a> {
    v: u32,
    record: &'a Record,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

#[derive(Deserialize)]
struct Envelope {
    record: Record,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What version 1 wrote. A change that breaks one of these breaks every journal out there.
    const GOLDEN: [&str; 11] = [
        r#"{"v":1,"record":{"begun":{"tenant":"default","key":"k-1","fingerprint":"0707070707070707070707070707070707070707070707070707070707070707","plan":{"steps":[{"name":"group","group":{"branches":[{"name":"a","participant":"p","operation":"o","payload":{"amount":1.10}}]}}]},"deadline":1700000030000}}}"#,
        r#"{"v":1,"record":{"committed":{"at":1700000000001,"votes":[{"branch":0,"identity":{"system":"7/16384","timeline":1,"starts":3},"result":{"ok":true}},{"branch":1,"ended":true,"identity":{"system":"8/16384","timeline":1,"starts":1}}]}}}"#,
        r#"{"v":1,"record":{"aborted":{"at":1700000000002,"reason":{"kind":"refused","branch":"a","refusal":{"code":"funds","detail":"not enough","retryable":false}}}}}"#,
        r#"{"v":1,"record":{"closed":{"at":1700000000003,"heuristics":[1],"results":[[0,{"n":2}]]}}}"#,
        r#"{"v":1,"record":{"begun":{"tenant":"default","key":"k-2","fingerprint":"0707070707070707070707070707070707070707070707070707070707070707","plan":{"steps":[{"name":"flight","class":"compensatable","action":{"participant":"air","operation":"book","payload":{"seats":1},"deadline_ms":60000}},{"name":"hotel","after":["flight"],"class":"compensatable","action":{"participant":"inn","act":{"path":"/rooms","headers":{"x-a":"b"},"body":{"flight":{"$result":"flight#/id"}},"refused":[409,422]},"compensate":{"method":"DELETE","path":"/rooms/{hotel#/id}"},"compensate_retry":{"pause_ms":5,"pause_ms_max":50,"attempts":3}}},{"name":"pay","after":["hotel"],"group":{"branches":[{"name":"debit","participant":"bank","operation":"debit","payload":1,"mode":"tcc"}],"timeout_ms":30000}},{"name":"mail","after":["pay"],"message":{"to":[{"participant":"post","operation":"send","payload":null}],"delay_ms":1000}}]},"deadline":1700003600000}}}"#,
        r#"{"v":1,"record":{"aborted":{"at":1700000000002,"reason":{"kind":"attempts_used_up","branch":"hotel","error":"HTTP 500"},"compensate":[0,1]}}}"#,
        r#"{"v":1,"record":{"started":{"at":1700000000001,"action":1}}}"#,
        r#"{"v":1,"record":{"done":{"at":1700000000001,"action":0,"result":{"id":"F1"}}}}"#,
        r#"{"v":1,"record":{"compensated":{"at":1700000000001,"action":0}}}"#,
        r#"{"v":1,"record":{"stuck":{"at":1700000000001,"action":0,"verb":"compensate","error":"HTTP 500"}}}"#,
        r#"{"v":1,"record":{"resolved":{"at":1700000000001,"action":0,"resolution":{"done":{"result":1}},"by":"ann","reason":"seen in the ledger"}}}"#,
    ];

    #[test]
    fn golden_records_of_version_1_are_read_and_written_back_unchanged() {
        for golden in GOLDEN {
            let record = Record::decode(golden).unwrap();
            assert_eq!(record.encode().unwrap(), golden);
        }
    }

    #[test]
    fn an_unknown_version_is_refused() {
        let newer = GOLDEN[3].replacen("\"v\":1", "\"v\":2", 1);
        assert!(matches!(
            Record::decode(&newer),
            Err(DecodeError::Version { version: 2 })
        ));
        assert!(matches!(Record::decode("{}"), Err(DecodeError::Form(_))));
    }
}
