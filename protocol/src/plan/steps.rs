//! A plan that has been checked.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::request::{Class, Mode, PlanRequest};
use super::stored::StoredPlan;
use super::template::Template;
use crate::id::{BranchIndex, BranchName, OperationName, ParticipantName, StepName};
use crate::record::Fate;

/// A validated plan. The only ways to one are validation and a record that held one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StoredPlan", into = "PlanRequest")]
pub struct Plan {
    pub(super) steps: Vec<Step>,
    /// What other steps are called with the results of.
    pub(super) referenced: BTreeSet<BranchIndex>,
    /// By step: all that are done before it.
    pub(super) ancestors: Vec<BTreeSet<usize>>,
}

/// A node of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// Unique in the plan.
    pub name: StepName,
    /// The places of the steps that must be done before this one.
    pub after: Vec<usize>,
    /// What may become of it.
    pub class: Class,
    /// What is done.
    pub work: Work,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Branches that happen all or none.
    Group(Group),
    /// A call that takes effect at once.
    Action(Box<Action>),
    /// Calls that are repeated until each is done.
    Message(Message),
}

/// An atomic group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// At least one.
    pub branches: Vec<Branch>,
    /// How long the branches have to vote, from when they are first asked, in milliseconds. Absent
    /// where the group is the whole plan.
    pub timeout_ms: Option<u64>,
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
    /// Handed to the operation's handler.
    pub payload: Template,
    /// How it waits for the decision.
    pub mode: Mode,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Where it goes. At least one.
    pub targets: Vec<Action>,
    /// How long it is held back, from when the transaction was decided, in milliseconds.
    pub delay_ms: u64,
}

impl Step {
    /// The actions in it: one, one for each of a message's targets, or none.
    #[must_use]
    pub fn actions(&self) -> &[Action] {
        match &self.work {
            Work::Group(_) => &[],
            Work::Action(action) => std::slice::from_ref(action),
            Work::Message(message) => &message.targets,
        }
    }
}

impl Plan {
    /// The steps, in the order in which the client gave them.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The atomic group, if there is one.
    #[must_use]
    pub fn group(&self) -> Option<&Group> {
        self.steps.iter().find_map(|step| match &step.work {
            Work::Group(group) => Some(group),
            Work::Action(_) | Work::Message(_) => None,
        })
    }

    /// The branches of the atomic group, by index.
    pub fn branches(&self) -> impl Iterator<Item = &Branch> {
        self.group().into_iter().flat_map(|group| &group.branches)
    }

    /// The branch of this index.
    #[must_use]
    pub fn branch(&self, index: BranchIndex) -> Option<&Branch> {
        self.branches().find(|branch| branch.index == index)
    }

    /// All actions and targets of messages, by index.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.steps.iter().flat_map(Step::actions)
    }

    /// The action of this index.
    #[must_use]
    pub fn action(&self, index: BranchIndex) -> Option<&Action> {
        self.actions().find(|action| action.index == index)
    }

    /// Who does a branch or an action.
    #[must_use]
    pub fn participant(&self, index: BranchIndex) -> Option<&ParticipantName> {
        let branch = self.branch(index).map(|branch| &branch.participant);
        branch.or_else(|| self.action(index).map(|action| &action.participant))
    }

    /// The step that the action of this index belongs to.
    #[must_use]
    pub fn step_of(&self, index: BranchIndex) -> Option<&Step> {
        let holds = |step: &&Step| step.actions().iter().any(|action| action.index == index);
        self.steps.iter().find(holds)
    }

    /// Whether a step that holds the one action is done before a step that holds the other.
    #[must_use]
    pub fn comes_before(&self, earlier: BranchIndex, later: BranchIndex) -> bool {
        let place = |index| {
            let holds = |step: &Step| step.actions().iter().any(|it| it.index == index);
            self.steps.iter().position(holds)
        };
        let ancestors = place(later).and_then(|at| self.ancestors.get(at));
        ancestors
            .zip(place(earlier))
            .is_some_and(|(ancestors, at)| ancestors.contains(&at))
    }

    /// Whether an atomic group is all there is.
    #[must_use]
    pub fn is_atomic(&self) -> bool {
        self.steps.len() == 1 && self.group().is_some()
    }

    /// Whether only the marker or a seal at its lone branch decides: it commits by itself, either
    /// at our order, being all there is, or within the sender's own local transaction.
    #[must_use]
    pub fn is_delegated(&self) -> bool {
        let mut branches = self.branches();
        match (branches.next(), branches.next()) {
            (Some(branch), None) => match branch.mode {
                Mode::TwoPhase => self.is_atomic(),
                Mode::Tcc => false,
                Mode::Local => true,
            },
            _ => false,
        }
    }

    /// Whether its first step is the sender's own local transaction.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.branches().any(|branch| branch.mode == Mode::Local)
    }

    /// What is decided by its very beginning: nothing is left to refuse where every step is
    /// repeated until it is done.
    #[must_use]
    pub fn fate(&self) -> Option<Fate> {
        let all = self.steps.iter().all(|step| step.class == Class::Retriable);
        all.then_some(Fate::Commit)
    }

    /// Whether another step is called with the result of this one.
    #[must_use]
    pub fn is_referenced(&self, index: BranchIndex) -> bool {
        self.referenced.contains(&index)
    }
}
