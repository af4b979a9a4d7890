//! Forward: starting what may start, and passing the pivot.

use crate::action::{InputKind, Phase};
use crate::effect::Urgency;
use crate::group;
use crate::id::BranchIndex;
use crate::limits::TIMEOUT_MS_DEFAULT;
use crate::plan::{Class, Order, Plan, Step, Work};
use crate::record::{Closed, Committed, Record, Started};
use crate::time::Timestamp;
use crate::wire::contract::ActVerb;

use super::machine::{Course, Direction};

impl Course {
    /// Starts every step whose time has come, and passes the pivot once it is done.
    pub(super) fn go_forward(&mut self, plan: &Plan, now: Timestamp, orders: &mut Vec<Order>) {
        if self.direction == Direction::Forward && self.may_commit(plan) {
            self.direction = Direction::Passed;
            self.passed_at = Some(now);
            let record = Record::Committed(Committed { at: now, votes: Vec::new() });
            orders.push(Order::Record { record, urgency: Urgency::Forced });
        }
        let ready: Vec<usize> = plan
            .steps()
            .iter()
            .enumerate()
            .filter(|(_, step)| self.is_ready(plan, step))
            .map(|(at, _)| at)
            .collect();
        for step in ready.into_iter().filter_map(|at| plan.steps().get(at)) {
            self.start(plan, now, step, orders);
        }
        let ended = |step| self.is_passed(step);
        if self.direction == Direction::Passed && plan.steps().iter().all(ended) {
            self.close(now, orders);
        }
    }

    /// Whether the pivot is done, or without one every step. A group decides for itself.
    fn may_commit(&self, plan: &Plan) -> bool {
        let mut pivots = plan
            .steps()
            .iter()
            .filter(|step| step.class == Class::Pivot);
        match pivots.next().map(|step| (step, &step.work)) {
            Some((_, Work::Group(_))) => false,
            Some((step, Work::Action(_) | Work::Message(_))) => self.is_passed(step),
            None => plan.steps().iter().all(|step| self.is_passed(step)),
        }
    }

    /// Whether everything in a step is done.
    pub(super) fn is_passed(&self, step: &Step) -> bool {
        match &step.work {
            Work::Group(_) => {
                let group = self.group.as_ref();
                let closed = group.is_some_and(|group| group.phase() == group::Phase::Closed);
                closed && self.direction == Direction::Passed
            }
            Work::Action(_) | Work::Message(_) => {
                let mut actions = step.actions().iter();
                actions.all(|it| self.action(it.index).is_some_and(|it| it.is_passed()))
            }
        }
    }

    fn is_ready(&self, plan: &Plan, step: &Step) -> bool {
        // What comes after the pivot waits for the pivot, and so for its record.
        if step.class == Class::Retriable && self.direction != Direction::Passed {
            return false;
        }
        let mut before = step.after.iter().filter_map(|at| plan.steps().get(*at));
        if !before.all(|before| self.is_passed(before)) {
            return false;
        }
        match &step.work {
            Work::Group(_) => self.admitted && self.is_held(),
            Work::Action(_) | Work::Message(_) => step.actions().iter().any(|planned| {
                let action = self.action(planned.index);
                action.is_some_and(|action| action.phase() == Phase::Waiting)
            }),
        }
    }

    /// Whether the group is all that its step waits for, but for room at its participants.
    pub(crate) fn wants_room(&self, plan: &Plan) -> bool {
        let forward = self.direction == Direction::Forward && !self.admitted && self.is_held();
        let group = |step: &&Step| matches!(step.work, Work::Group(_));
        let step = plan.steps().iter().find(group).filter(|_| forward);
        step.is_some_and(|step| {
            let mut before = step.after.iter().filter_map(|at| plan.steps().get(*at));
            before.all(|before| self.is_passed(before))
        })
    }

    fn is_held(&self) -> bool {
        let group = self.group.as_ref();
        group.is_some_and(|group| group.phase() == group::Phase::Held)
    }

    fn start(&mut self, plan: &Plan, now: Timestamp, step: &Step, orders: &mut Vec<Order>) {
        match &step.work {
            Work::Group(group) => {
                let timeout = group.timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT);
                self.group_deadline = Some(now.plus_millis(timeout));
                self.group_maybe_sent = true;
                // No record stands for it: the table takes this word from here.
                let taken = self.group_input(plan, now, group::Input::Durable, orders);
                debug_assert!(taken.is_ok(), "a group that is held takes it");
            }
            Work::Action(_) => {
                for planned in step.actions() {
                    self.act(now, planned.index, planned.deadline_ms, orders);
                }
            }
            Work::Message(message) => {
                let due = self.passed_at.map(|at| at.plus_millis(message.delay_ms));
                let due = due.filter(|due| *due > now);
                for planned in &message.targets {
                    match (due, self.action_mut(planned.index)) {
                        (Some(due), Some(action)) if action.phase() == Phase::Waiting => {
                            action.calls.retry_at = Some(due);
                        }
                        _ => self.act(now, planned.index, planned.deadline_ms, orders),
                    }
                }
            }
        }
    }

    /// Tells an action to act for the first time.
    pub(super) fn act(
        &mut self,
        now: Timestamp,
        index: BranchIndex,
        deadline_ms: Option<u64>,
        orders: &mut Vec<Order>,
    ) {
        let Some(action) = self.action_mut(index) else {
            return;
        };
        if action.phase() != Phase::Waiting || action.feed(InputKind::Act).is_none() {
            return;
        }
        // One that could start under an earlier owner has its time from then.
        let from_now = || deadline_ms.map(|ms| now.plus_millis(ms));
        action.deadline = action.deadline.or_else(from_now);
        // Nobody could keep these out any more, so it must be known that they may have acted. What
        // comes after the pivot is repeated until it is done in any case.
        let needs_record = match action.class {
            Class::Compensatable => action.plain,
            Class::Pivot => true,
            Class::Retriable => false,
        };
        if needs_record && !action.started {
            action.started = true;
            let record = Record::Started(Started { at: now, action: index });
            orders.push(Order::Record { record, urgency: Urgency::Forced });
        }
        let attempt = action.call();
        orders.push(Order::Act { action: index, verb: ActVerb::Act, attempt });
    }

    /// Nothing is left to do.
    pub(super) fn close(&mut self, at: Timestamp, orders: &mut Vec<Order>) {
        self.direction = Direction::Closed;
        let heuristics = self.heuristics().collect();
        // Where it happened, each of these has a record of its own.
        let late = self.branches().filter(|_| self.reason.is_some());
        let late = late.filter_map(|it| Some((it.index, it.late_result.clone()?)));
        let results = late.collect();
        let record = Record::Closed(Closed { at, heuristics, results });
        orders.push(Order::Record { record, urgency: Urgency::Lazy });
    }
}
