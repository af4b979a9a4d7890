//! A plan that has been checked.

use serde::{Deserialize, Serialize};

use super::request::PlanRequest;
use crate::id::{BranchIndex, BranchName, OperationName, ParticipantName, StepName};
use crate::json::Json;

/// A validated plan. The only ways to one are validation and a record that held one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "PlanRequest", into = "PlanRequest")]
pub struct Plan {
    pub(super) steps: Vec<Step>,
}

/// A node of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// Unique in the plan.
    pub name: StepName,
    /// What is done.
    pub work: Work,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Branches that happen all or none.
    Group(Group),
}

/// An atomic group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// At least one.
    pub branches: Vec<Branch>,
}

/// One participant's part of an atomic group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Branch {
    /// Its number over the whole plan.
    pub index: BranchIndex,
    /// Unique in the plan.
    pub name: BranchName,
    /// Who does it.
    pub participant: ParticipantName,
    /// What is done there.
    pub operation: OperationName,
    /// Handed to the operation's handler as it is.
    pub payload: Json,
}

impl Plan {
    /// The steps, in the order in which the client gave them.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The atomic group. Every plan of this version has exactly one.
    #[must_use]
    pub fn group(&self) -> Option<&Group> {
        self.steps
            .iter()
            .map(|step| match &step.work {
                Work::Group(group) => group,
            })
            .next()
    }

    /// All branches, by index.
    pub fn branches(&self) -> impl Iterator<Item = &Branch> {
        self.steps.iter().flat_map(|step| match &step.work {
            Work::Group(group) => group.branches.iter(),
        })
    }

    /// The branch of this index.
    #[must_use]
    pub fn branch(&self, index: BranchIndex) -> Option<&Branch> {
        self.branches().find(|branch| branch.index == index)
    }

    /// Whether the plan is one branch alone: then it is delegated, and only the marker or a seal
    /// at that branch decides.
    #[must_use]
    pub fn is_delegated(&self) -> bool {
        self.branches().take(2).count() == 1
    }
}
