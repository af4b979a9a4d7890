//! What the machine is and what comes in.

use crate::action::Action;
use crate::effect::Answer;
use crate::group::{self, Group};
use crate::id::{Attempt, BranchIndex};
use crate::plan::{Order, Plan};
use crate::record::{Fate, Resolution};
use crate::time::Timestamp;
use crate::wire::api::AbortReason;
use crate::wire::contract::{ActAnswer, ActVerb};

/// A plan on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Course {
    pub(super) direction: Direction,
    /// The atomic group, if there is one.
    pub(super) group: Option<Group>,
    /// Actions and targets of messages, by index.
    pub(super) actions: Vec<Action>,
    /// The group is all there is.
    pub(super) atomic: bool,
    /// An earlier owner may have told the group's branches to prepare.
    pub(super) group_maybe_sent: bool,
    /// Branches whose results an earlier owner has written down.
    pub(super) results_found: Vec<BranchIndex>,
    /// There is room at its participants for the branches of a group that is the pivot.
    pub(super) admitted: bool,
    /// Until when the branches of a group that is the pivot may vote.
    pub(super) group_deadline: Option<Timestamp>,
    pub(super) reason: Option<AbortReason>,
    /// When it was decided that it happens: messages are held back from then on.
    pub(super) passed_at: Option<Timestamp>,
    /// Spreads the pauses before repeats.
    pub(super) seed: u64,
}

/// Which way a plan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// `Begun` is on its way into the journal.
    Beginning,
    /// Steps are being done; nothing is decided.
    Forward,
    /// It will not happen, but what may have acted is not known yet.
    TurningBack,
    /// It does not happen: what was done is being made good.
    Back,
    /// It happens: what is left is being done.
    Passed,
    /// Nothing is left to do.
    Closed,
}

/// What comes in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// `Begun` is durable.
    Begun {
        /// The plan's time was over before.
        late: bool,
    },
    /// There is room for the group's branches at their participants.
    Admitted,
    /// The decision is durable.
    Decided,
    /// A call to a branch or an action came to something, or to nothing.
    Answer {
        /// Which branch or action.
        branch: BranchIndex,
        /// Which attempt.
        attempt: Attempt,
        /// What.
        answer: Answer,
    },
    /// The plan's time is over, or that of its group.
    Deadline,
    /// A pause of a branch or action is over, or its time.
    Retry {
        /// Which.
        branch: BranchIndex,
    },
    /// The sender says that its local transaction has ended.
    Ended,
    /// A call to an action cannot be made: the result that it is to be called with has not what the
    /// plan refers to.
    Unrenderable {
        /// Which action or branch.
        action: BranchIndex,
        /// Which attempt: another may have taken its place since.
        attempt: Attempt,
        /// What is wrong.
        error: String,
    },
    /// A participant calls back: an action that was in progress is done, or refused.
    CalledBack {
        /// Which action.
        action: BranchIndex,
        /// What it was told.
        verb: ActVerb,
        /// How it stands.
        answer: ActAnswer,
    },
    /// An operator decides about an action that is stuck.
    Resolved {
        /// Which.
        action: BranchIndex,
        /// What it was told when he looked.
        verb: ActVerb,
        /// What.
        resolution: Resolution,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

/// An input that has no place where the plan stands. The state is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The group's table refuses it.
    #[error(transparent)]
    Group(group::Refused),
    /// The plan has no such action.
    #[error("there is no such action")]
    NoAction,
    /// The action does not stand where this could be said of it.
    #[error("the action does not stand where this has a place")]
    Misplaced,
    /// A pivot that may have passed is not left as it is: find out whether it has.
    #[error("a pivot cannot be skipped: find out whether it is done")]
    Pivot,
}

impl Course {
    /// A plan whose `Begun` is on its way into the journal.
    #[must_use]
    pub fn begin(plan: &Plan, seed: u64) -> Self {
        Self {
            direction: Direction::Beginning,
            group: plan.group().map(|_| Group::begin(plan, seed)),
            actions: plan.actions().map(Action::new).collect(),
            atomic: plan.is_atomic(),
            group_maybe_sent: false,
            results_found: Vec::new(),
            admitted: false,
            group_deadline: None,
            reason: None,
            passed_at: None,
            seed,
        }
    }

    /// Takes an input and gives the orders that follow from it.
    ///
    /// # Errors
    /// [`Refused`] if the input has no place; the state is then as it was.
    pub fn step(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        input: Input,
    ) -> Result<Vec<Order>, Refused> {
        let mut orders = Vec::new();
        match input {
            Input::Begun { late } => self.begun(plan, now, late, &mut orders)?,
            Input::Admitted => {
                self.admitted = true;
                self.advance(plan, now, &mut orders);
            }
            Input::Decided => self.group_input(plan, now, group::Input::Durable, &mut orders)?,
            Input::Deadline => self.time_is_over(plan, now, &mut orders)?,
            Input::Ended if plan.is_local() => {
                self.group_input(plan, now, group::Input::Deadline, &mut orders)?;
            }
            Input::Ended => return Err(Refused::Misplaced),
            Input::Retry { branch } => self.retry(plan, now, branch, &mut orders)?,
            Input::Answer { branch, attempt, answer } if plan.branch(branch).is_some() => {
                let input = group::Input::Answer { branch, attempt, answer };
                self.group_input(plan, now, input, &mut orders)?;
            }
            Input::Answer { branch, attempt, answer } => {
                self.answer(plan, now, branch, attempt, answer, &mut orders);
            }
            Input::Unrenderable { action, attempt, error } => {
                let calls = self.calls(action);
                if calls.is_some_and(|calls| calls.listens_to(attempt)) {
                    self.unrenderable(plan, now, action, &error, &mut orders);
                }
            }
            Input::CalledBack { action, verb, answer } => {
                self.called_back(plan, now, action, verb, answer, &mut orders)?;
            }
            Input::Resolved { action, verb, resolution, by, reason } => {
                let told = self.action(action).map(Action::verb);
                if told.ok_or(Refused::NoAction)? != Some(verb) {
                    return Err(Refused::Misplaced);
                }
                self.resolved(plan, now, action, resolution, by, reason, &mut orders)?;
            }
        }
        Ok(orders)
    }

    fn begun(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        late: bool,
        orders: &mut Vec<Order>,
    ) -> Result<(), Refused> {
        if self.direction != Direction::Beginning {
            return Ok(());
        }
        self.direction = match plan.fate() {
            Some(Fate::Commit) => Direction::Passed,
            Some(Fate::Abort) | None => Direction::Forward,
        };
        if self.direction == Direction::Passed {
            self.passed_at = Some(now);
        }
        // Nothing was sent, and a later owner cannot know that: it asks whether anything has acted.
        if late && !self.atomic && !plan.is_delegated() && self.direction == Direction::Forward {
            let reason = self.late();
            self.turn_back(plan, now, reason, orders);
            return Ok(());
        }
        // What no step comes before is started by being begun.
        for planned in plan.steps().iter().filter(|step| step.after.is_empty()) {
            for root in planned.actions() {
                if let Some(action) = self.action_mut(root.index) {
                    action.started = true;
                }
            }
        }
        if self.atomic || plan.is_delegated() {
            self.group_input(plan, now, group::Input::Durable, orders)?;
        }
        self.advance(plan, now, orders);
        Ok(())
    }

    fn time_is_over(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        orders: &mut Vec<Order>,
    ) -> Result<(), Refused> {
        let asked = self
            .group
            .as_ref()
            .is_some_and(|group| group.phase() != group::Phase::Held);
        if asked {
            return self.group_input(plan, now, group::Input::Deadline, orders);
        }
        if self.direction == Direction::Forward && !self.pivot_may_have_acted() {
            let reason = self.late();
            self.turn_back(plan, now, reason, orders);
        }
        Ok(())
    }

    fn retry(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        branch: BranchIndex,
        orders: &mut Vec<Order>,
    ) -> Result<(), Refused> {
        if plan.branch(branch).is_some() {
            return self.group_input(plan, now, group::Input::Retry { branch }, orders);
        }
        self.repeat(plan, now, branch, orders);
        Ok(())
    }

    /// Does what may be done now, until nothing more follows.
    pub(super) fn advance(&mut self, plan: &Plan, now: Timestamp, orders: &mut Vec<Order>) {
        if self.atomic {
            return;
        }
        match self.direction {
            Direction::Forward | Direction::Passed => self.go_forward(plan, now, orders),
            Direction::TurningBack => self.clear_up(plan, now, orders),
            Direction::Back => self.go_back(plan, now, orders),
            Direction::Beginning | Direction::Closed => {}
        }
    }

    pub(super) fn action_mut(&mut self, index: BranchIndex) -> Option<&mut Action> {
        self.actions.iter_mut().find(|action| action.index == index)
    }
}
