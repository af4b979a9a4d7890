//! The form in which a plan arrives and is stored. Nothing here has been checked yet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::Json;

/// A plan as a client writes it: `steps`, or for a single atomic group just its `branches`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The steps of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<StepRequest>>,
    /// Short for one step, an atomic group of these branches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branches: Option<Vec<BranchRequest>>,
}

/// A step as a client writes it: exactly one of `group`, `action` and `message`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRequest {
    /// Unique in the plan.
    pub name: String,
    /// Names of the steps that must be done before this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// What may become of an action. Left out: compensatable before the pivot or where there is
    /// none, retriable after it. A group is the pivot, a message is retriable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Branches that happen all or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupRequest>,
    /// A call that takes effect at once, and may be made good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionRequest>,
    /// Calls that are repeated until each is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageRequest>,
}

/// What may become of a step.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Its effects can be made good.
    #[default]
    Compensatable,
    /// Once it is done the transaction happens; it may be refused.
    Pivot,
    /// It comes after the pivot, and is repeated until it is done.
    Retriable,
}

/// A saga action as a client writes it: an `operation` of a participant that keeps the contract, or
/// `act` and `compensate` at one that is a plain HTTP service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionRequest {
    /// A registered participant.
    pub participant: String,
    /// One of its operations, which acts and is made good under this one name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// For the operation's handlers; `null` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Json>,
    /// The request that acts, at a plain service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<EndpointRequest>,
    /// The request that makes good, at a plain service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<EndpointRequest>,
    /// There is nothing to make good: the step only looks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_compensation: bool,
    /// How long one attempt may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How long the step may take in all, in milliseconds from its first attempt. After it a
    /// compensatable step's saga turns back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// How the act is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryRequest>,
    /// How the compensation is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate_retry: Option<RetryRequest>,
}

/// A request to a plain HTTP service, as a client writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointRequest {
    /// `POST` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Behind the participant's base address. `{gtid}` and `{step#/pointer}` are filled in.
    pub path: String,
    /// Sent along as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A JSON value; none if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Json>,
    /// The statuses that say *done*; each of 200 to 299 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Vec<u16>>,
    /// The statuses that say *refused*; 409 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Vec<u16>>,
}

/// How a plain service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `PATCH`.
    Patch,
    /// `DELETE`.
    Delete,
}

impl Method {
    /// As it stands in the request line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// How a call is repeated, as a client writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// The first pause, in milliseconds; it doubles with each attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<u64>,
    /// The longest pause, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms_max: Option<u64>,
    /// How many attempts are made; without an end if 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}

/// A message as a client writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageRequest {
    /// Where it goes: to each of these.
    pub to: Vec<ActionRequest>,
    /// How long it is held back, in milliseconds from when the transaction was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
}

/// An atomic group as a client writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRequest {
    /// The branches.
    pub branches: Vec<BranchRequest>,
    /// How long the branches have to vote, in milliseconds from when they are first asked. Only in
    /// a plan with other steps: alone, the group has the transaction's own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// A branch as a client writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BranchRequest {
    /// Unique in the plan.
    pub name: String,
    /// A registered participant.
    pub participant: String,
    /// One of its operations.
    pub operation: String,
    /// For the operation's handler; `null` if left out.
    #[serde(default = "Json::null")]
    pub payload: Json,
    /// How the branch waits for the decision.
    #[serde(default, skip_serializing_if = "Mode::is_two_phase")]
    pub mode: Mode,
}

/// How a branch waits for the decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As a prepared transaction in the participant's database.
    #[default]
    TwoPhase,
    /// As a reservation that the service holds itself: try, then confirm or cancel.
    Tcc,
    /// Not at all: the service commits it by itself, with the marker inside its own local
    /// transaction, and only the marker or a seal tells. The branch is alone in its group, and the
    /// group is the first step: what the sender does before its messages go out.
    Local,
}

impl Mode {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature that serde asks for"
    )]
    pub(crate) fn is_two_phase(&self) -> bool {
        *self == Self::TwoPhase
    }
}
