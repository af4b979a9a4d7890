//! How the plan stands, for the node and for statuses.

use crate::action::{Action, Phase};
use crate::calls::Calls;
use crate::group::{self, Group, Progress};
use crate::id::{BranchIndex, Position};
use crate::json::Json;
use crate::plan::Class;
use crate::record::Fate;
use crate::time::Timestamp;
use crate::wire::api::AbortReason;

use super::machine::{Course, Direction};

impl Course {
    /// Which way it goes.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// The atomic group, if there is one.
    #[must_use]
    pub const fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// Whether the group is all there is.
    #[must_use]
    pub const fn is_atomic(&self) -> bool {
        self.atomic
    }

    /// The branches of the group, by index.
    pub fn branches(&self) -> impl Iterator<Item = &Progress> {
        self.group.iter().flat_map(|group| group.branches())
    }

    /// The actions and targets of messages, by index.
    #[must_use]
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// The action of this index.
    #[must_use]
    pub fn action(&self, index: BranchIndex) -> Option<&Action> {
        self.actions.iter().find(|action| action.index == index)
    }

    /// The calls to a branch or an action.
    #[must_use]
    pub fn calls(&self, index: BranchIndex) -> Option<&Calls> {
        let branch = self.branches().find(|branch| branch.index == index);
        let calls = branch.map(|branch| &branch.calls);
        calls.or_else(|| self.action(index).map(|action| &action.calls))
    }

    /// See [`Course::calls`].
    pub(crate) fn calls_mut(&mut self, index: BranchIndex) -> Option<&mut Calls> {
        let branch = self
            .group
            .as_mut()
            .and_then(|group| group.branch_mut(index));
        match branch {
            Some(branch) => Some(&mut branch.calls),
            None => {
                let action = self.actions.iter_mut().find(|action| action.index == index);
                action.map(|action| &mut action.calls)
            }
        }
    }

    /// What a branch or an action returned, as far as it is known.
    #[must_use]
    pub fn result(&self, index: BranchIndex) -> Option<&Json> {
        let branch = self.branches().find(|branch| branch.index == index);
        let result = branch.and_then(Progress::result);
        result.or_else(|| self.action(index)?.result.as_ref())
    }

    /// Notes where the record of a result stands.
    pub(crate) fn note_recorded(&mut self, index: BranchIndex, position: Position) {
        let action = self.actions.iter_mut().find(|action| action.index == index);
        if let Some(action) = action {
            action.recorded = Some(position);
        }
    }

    /// Why it does not happen.
    #[must_use]
    pub fn reason(&self) -> Option<&AbortReason> {
        let of_group = self.group.as_ref().and_then(Group::reason);
        if self.atomic {
            of_group
        } else {
            self.reason.as_ref()
        }
    }

    /// What is decided. Whether that is durable, the node knows.
    #[must_use]
    pub fn fate(&self) -> Option<Fate> {
        if self.atomic {
            return self.group.as_ref().and_then(Group::fate);
        }
        match self.direction {
            Direction::Passed => Some(Fate::Commit),
            Direction::Back => Some(Fate::Abort),
            Direction::Closed if self.reason.is_some() => Some(Fate::Abort),
            Direction::Closed => Some(Fate::Commit),
            Direction::Beginning if self.is_retriable_only() => Some(Fate::Commit),
            Direction::Beginning | Direction::Forward | Direction::TurningBack => None,
        }
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let group_closed = || {
            let group = self.group.as_ref();
            group.is_some_and(|group| group.phase() == group::Phase::Closed)
        };
        self.direction == Direction::Closed || (self.atomic && group_closed())
    }

    /// Whether branches of the group may occupy what a participant has few of. A pivot that is held
    /// back, and a group that has ended, leave them to others.
    #[must_use]
    pub fn holds_branches(&self) -> bool {
        use group::Phase as Group;
        let phase = self.group.as_ref().map(|group| group.phase());
        !matches!(phase, None | Some(Group::Held | Group::Closed))
    }

    /// Whether a step waits for an operator.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.actions.iter().any(Action::is_stuck)
    }

    /// The branches that ended against the decision, and the actions that were given up.
    pub fn heuristics(&self) -> impl Iterator<Item = BranchIndex> {
        let branches = self.branches().filter(|branch| branch.is_heuristic());
        let branches = branches.map(|branch| branch.index);
        let skipped = self
            .actions
            .iter()
            .filter(|it| it.phase() == Phase::Skipped);
        branches.chain(skipped.map(|action| action.index))
    }

    /// When the time is over for what is under way: the plan's, or that of its group.
    #[must_use]
    pub fn deadline(&self, of_plan: Timestamp) -> Option<Timestamp> {
        use group::Phase as Group;
        let phase = self.group.as_ref().map(|group| group.phase());
        match phase {
            Some(Group::Preparing | Group::Delegated) => Some(of_plan),
            Some(Group::PreparingPivot) => {
                Some(self.group_deadline.map_or(of_plan, |at| at.min(of_plan)))
            }
            None | Some(Group::Held) => {
                let forward = self.direction == Direction::Forward;
                (forward && !self.pivot_may_have_acted()).then_some(of_plan)
            }
            Some(
                Group::Beginning
                | Group::DecidingCommit
                | Group::Committing
                | Group::DecidingAbort
                | Group::Aborting
                | Group::Handing
                | Group::Recalling
                | Group::RecordingCommit
                | Group::RecordingAbort
                | Group::Closed,
            ) => None,
        }
    }

    /// Whether the pivot may have acted. From then on it is repeated until it is done or refused.
    #[must_use]
    pub fn pivot_may_have_acted(&self) -> bool {
        let mut pivots = self.actions.iter().filter(|it| it.class == Class::Pivot);
        pivots.any(|pivot| pivot.started && pivot.phase() != Phase::Refused)
    }

    fn is_retriable_only(&self) -> bool {
        let retriable = |action: &Action| action.class == Class::Retriable;
        self.group.is_none() && self.actions.iter().all(retriable)
    }
}
