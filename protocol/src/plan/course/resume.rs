//! Going on with a plan that was found in the journal.

use crate::action::{Action, Phase};
use crate::group::Group;
use crate::id::BranchIndex;
use crate::plan::{self, Class, Order, Plan};
use crate::record::Fate;
use crate::recovery::{ActionHistory, Decided, History, Resumption};
use crate::time::Timestamp;
use crate::wire::api::AbortReason;
use crate::wire::contract::ActVerb;

use super::backward::deadline_passed;
use super::machine::{Course, Direction};
use super::operator::not_done;

impl Course {
    /// A plan that was found in the journal, and what is to be done for it first. The caller has
    /// excluded every earlier owner by raising the epoch before it read the records.
    #[must_use]
    pub fn resume(
        plan: &Plan,
        seed: u64,
        minted: Timestamp,
        history: &History,
        now: Timestamp,
    ) -> (Self, Vec<Order>) {
        let mut course = Self::begin(plan, seed);
        if course.atomic {
            let (group, orders) = Group::resume(plan, seed, history.resume_group(plan), now);
            course.group = Some(group);
            return (course, orders);
        }
        course.direction = match history.fate() {
            None => Direction::Forward,
            Some(Fate::Commit) => Direction::Passed,
            Some(Fate::Abort) => Direction::Back,
        };
        match &history.decided {
            Some(Decided::Commit(committed)) => course.passed_at = Some(committed.at),
            Some(Decided::Abort(aborted)) => course.reason = Some(aborted.reason.clone()),
            None => course.passed_at = plan.fate().map(|_| minted),
        }
        course.find_actions(plan, minted, history);
        let mut orders = Vec::new();
        course.find_group(plan, history, now, &mut orders);
        course.go_on(plan, history, now, &mut orders);
        (course, orders)
    }

    fn find_actions(&mut self, plan: &Plan, minted: Timestamp, history: &History) {
        let unknown = ActionHistory::default();
        let started: Vec<bool> = plan
            .actions()
            .map(|planned| {
                let root = plan
                    .step_of(planned.index)
                    .is_some_and(|it| it.after.is_empty());
                root || history.actions.get(&planned.index).is_some_and(has_started)
            })
            .collect();
        for (action, &was_started) in self.actions.iter_mut().zip(&started) {
            let known = history.actions.get(&action.index).unwrap_or(&unknown);
            action.started = was_started;
            action.named = history.is_named(action.index);
            // By the contract no record precedes the call, so it may have been sent unless a step at
            // a plain service before it has not even been started.
            let mut before = plan.actions().zip(&started).filter(|(earlier, _)| {
                earlier.is_plain() && plan.comes_before(earlier.index, action.index)
            });
            // A result is durable before anything is called with it.
            let called_with = plan.action(action.index).map(plan::Action::act_references);
            let mut called_with = called_with.unwrap_or_default().into_iter();
            let known_to = |unit| {
                history
                    .actions
                    .get(&unit)
                    .is_some_and(|it| it.done.is_some())
            };
            let reached = before.all(|(_, started)| *started)
                && called_with.all(|reference| known_to(reference.unit));
            let maybe_sent = if action.plain { was_started } else { reached };
            // What was not among those that an operator gave up was refused, or never sent.
            let open = self.direction == Direction::Forward && !history.abandoned;
            action.maybe_sent = open && maybe_sent;
            // One that was certainly not sent has all its time before it.
            action.deadline = deadline(plan, history, minted, action.index).filter(|_| maybe_sent);
            found(action, known, self.direction);
        }
        if history.abandoned && self.direction == Direction::Forward {
            self.direction = Direction::TurningBack;
        }
    }

    fn find_group(
        &mut self,
        plan: &Plan,
        history: &History,
        now: Timestamp,
        orders: &mut Vec<Order>,
    ) {
        let named = plan.branches().any(|it| history.is_named(it.index));
        let resumption = history.resume_group(plan);
        match &resumption {
            // It is led forward again: its branches say once more how they vote.
            Resumption::DecideAbort => {
                self.group_maybe_sent = true;
                // What an earlier owner has prepared occupies its room already, and holds locks.
                self.admitted = true;
                return;
            }
            Resumption::Abort(_) if !named && !plan.is_local() => return,
            Resumption::Abort(_) | Resumption::Commit(_) | Resumption::Recall => {}
        }
        if self.group.is_none() {
            return;
        }
        let (mut group, told) = Group::resume(plan, self.seed, resumption, now);
        for branch in plan.branches() {
            let known = history.actions.get(&branch.index);
            let result = known.and_then(|known| known.done.as_ref()?.result.clone());
            if result.is_some() {
                self.results_found.push(branch.index);
            }
            if let Some(progress) = group.branch_mut(branch.index) {
                progress.late_result = result;
            }
        }
        self.group = Some(group);
        self.absorb(plan, now, told, orders);
    }

    /// An operator has given something up before the saga had turned back, or the saga was turning
    /// back already: forward is no way any more.
    fn go_on(&mut self, plan: &Plan, history: &History, now: Timestamp, orders: &mut Vec<Order>) {
        let lost = self.actions.iter().find(|action| {
            let given_up = matches!(action.phase(), Phase::StuckActing | Phase::Skipped);
            given_up && action.class == Class::Compensatable
        });
        let lost = lost.map(|action| AbortReason::AttemptsUsedUp {
            branch: action.name.clone(),
            error: action.calls.last_error.clone().unwrap_or_default(),
        });
        let not_done = self.actions.iter().find_map(|action| {
            let reason = history.actions.get(&action.index)?.not_done.as_ref()?;
            let branch = action.name.clone();
            Some(AbortReason::Refused { branch, refusal: not_done(reason) })
        });
        let late = history
            .begun
            .as_ref()
            .is_some_and(|begun| begun.deadline <= now);
        let late = late && !plan.is_local() && !self.pivot_may_have_acted();
        let overdue = self.actions.iter().find(|action| {
            let late = action.deadline.is_some_and(|deadline| deadline <= now);
            let open = action.phase() == Phase::Waiting && action.maybe_sent;
            late && open && action.class == Class::Compensatable
        });
        let overdue = overdue.map(|it| deadline_passed([(&it.name, &it.calls)].into_iter()));
        let reason = not_done
            .or(lost)
            .or(overdue)
            .or_else(|| late.then(|| self.late()));
        match (self.direction, reason) {
            (Direction::TurningBack, reason) => {
                let reason = reason.unwrap_or(AbortReason::Recovered);
                self.turn_back(plan, now, reason, orders);
            }
            (Direction::Forward, Some(reason)) => self.turn_back(plan, now, reason, orders),
            _ => self.advance(plan, now, orders),
        }
    }
}

/// When the time of an action is over that could start under an earlier owner: it runs from the
/// moment when the last step was done that it comes after, whoever has led it since.
fn deadline(
    plan: &Plan,
    history: &History,
    minted: Timestamp,
    index: BranchIndex,
) -> Option<Timestamp> {
    let ms = plan.action(index)?.deadline_ms?;
    let before = plan.step_of(index)?.after.iter();
    let before = before.filter_map(|at| plan.steps().get(*at));
    let mut since = minted;
    for earlier in before.flat_map(|step| step.actions()) {
        let done = history.actions.get(&earlier.index)?.done.as_ref()?;
        since = since.max(done.at);
    }
    Some(since.plus_millis(ms))
}

const fn has_started(known: &ActionHistory) -> bool {
    known.started || known.done.is_some()
}

/// Puts an action where its records say that it stands.
fn found(action: &mut Action, known: &ActionHistory, direction: Direction) {
    if let Some(done) = &known.done {
        action.result.clone_from(&done.result);
        action.recorded = Some(done.position);
    }
    if let Some(stuck) = &known.stuck {
        action.stuck_at = Some(stuck.at);
        action.calls.last_error = Some(stuck.error.clone());
    }
    let stuck = known.stuck.as_ref().map(|stuck| stuck.verb);
    // What comes before the pivot is done where the pivot is passed.
    let passed = direction == Direction::Passed && action.class != Class::Retriable;
    action.found(match (known, stuck) {
        (ActionHistory { compensated: true, .. }, _) => Phase::Compensated,
        (ActionHistory { skipped: true, .. }, _) => Phase::Skipped,
        (ActionHistory { not_done: Some(_), .. }, _) => Phase::Refused,
        (_, Some(ActVerb::Act)) => Phase::StuckActing,
        (_, Some(ActVerb::Compensate)) => Phase::StuckCompensating,
        (ActionHistory { done: Some(_), .. }, None) => Phase::Done,
        (_, None) if passed => Phase::Done,
        (_, None) => Phase::Waiting,
    });
}
