//! The form in which a plan arrives and is stored. Nothing here has been checked yet.

use serde::{Deserialize, Serialize};

use super::{Branch, Plan, Work};
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRequest {
    /// Unique in the plan.
    pub name: String,
    /// Names of the steps that must be done before this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Branches that happen all or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupRequest>,
    /// A saga action: not supported by this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Json>,
    /// A message: not supported by this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Json>,
}

/// An atomic group as a client writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRequest {
    /// The branches.
    pub branches: Vec<BranchRequest>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As a prepared transaction in the participant's database.
    #[default]
    TwoPhase,
    /// As a reservation that the service holds itself: not supported by this version.
    Tcc,
}

impl Mode {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature that serde asks for"
    )]
    fn is_two_phase(&self) -> bool {
        *self == Self::TwoPhase
    }
}

impl From<Plan> for PlanRequest {
    fn from(plan: Plan) -> Self {
        let steps = plan.steps.into_iter().map(|step| {
            let Work::Group(group) = step.work;
            let branches = group
                .branches
                .into_iter()
                .map(BranchRequest::from)
                .collect();
            StepRequest {
                name: step.name.as_str().to_owned(),
                after: Vec::new(),
                group: Some(GroupRequest { branches }),
                action: None,
                message: None,
            }
        });
        Self { steps: Some(steps.collect()), branches: None }
    }
}

impl From<Branch> for BranchRequest {
    fn from(branch: Branch) -> Self {
        Self {
            name: branch.name.as_str().to_owned(),
            participant: branch.participant.as_str().to_owned(),
            operation: branch.operation.as_str().to_owned(),
            payload: branch.payload,
            mode: Mode::TwoPhase,
        }
    }
}
