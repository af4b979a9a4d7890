//! What the answers of actions lead to.

use crate::action::{Action, InputKind, Phase, Reading, read};
use crate::effect::{Answer, Urgency};
use crate::id::{Attempt, BranchIndex};
use crate::json::Json;
use crate::limits::REASON_BYTES_MAX;
use crate::plan::{Class, Order, Plan};
use crate::record::{Compensated, Done, Record, Stuck};
use crate::time::Timestamp;
use crate::wire::api::AbortReason;
use crate::wire::contract::{ActVerb, Refusal, cut};

use super::backward::deadline_passed;
use super::machine::{Course, Direction};

impl Course {
    pub(super) fn answer(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        index: BranchIndex,
        attempt: Attempt,
        answer: Answer,
        orders: &mut Vec<Order>,
    ) {
        let seed = self.seed;
        let Some(action) = self.action_mut(index) else {
            return;
        };
        if !action.calls.listens_to(attempt) {
            return;
        }
        match read(&action.calls, answer) {
            Reading::Done(result) => {
                let urgency = self.urgency_of(plan, index);
                self.done(plan, now, index, result, urgency, orders);
            }
            Reading::Refused(refusal) => self.refused(plan, now, index, refusal, orders),
            Reading::InProgress(after_ms) => {
                action.ask_later(now, seed, after_ms);
                if action.is_exhausted() {
                    self.exhausted(plan, now, index, "in progress for too long", orders);
                }
            }
            Reading::Unsent(error) => action.send_later(now, seed, &error),
            Reading::Unclear(error) => {
                action.retry_later(now, seed, &error);
                if action.is_exhausted() {
                    self.exhausted(plan, now, index, &error, orders);
                }
            }
        }
    }

    /// Only a result that another step is called with must be durable at once: of any other, a lost
    /// record costs a repeated call.
    fn urgency_of(&self, plan: &Plan, index: BranchIndex) -> Urgency {
        if plan.is_referenced(index) {
            Urgency::Forced
        } else {
            Urgency::Lazy
        }
    }

    /// What it was told is done.
    pub(super) fn done(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        index: BranchIndex,
        result: Option<Json>,
        urgency: Urgency,
        orders: &mut Vec<Order>,
    ) {
        let Some(action) = self.action_mut(index) else {
            return;
        };
        let verb = action.verb();
        if action.feed(InputKind::Done) != Some(true) {
            return;
        }
        let record = match verb {
            Some(ActVerb::Act) => {
                action.result.clone_from(&result);
                Record::Done(Done { at: now, action: index, result })
            }
            Some(ActVerb::Compensate) | None => {
                Record::Compensated(Compensated { at: now, action: index })
            }
        };
        orders.push(Order::Record { record, urgency });
        self.advance(plan, now, orders);
    }

    pub(super) fn refused(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        index: BranchIndex,
        refusal: Refusal,
        orders: &mut Vec<Order>,
    ) {
        let direction = self.direction;
        let Some(action) = self.action_mut(index) else {
            return;
        };
        let may_refuse = action.verb() == Some(ActVerb::Act) && action.class != Class::Retriable;
        if !may_refuse {
            let error = format!("refused: {}: {}", refusal.code, refusal.detail);
            return self.stuck(now, index, &error, orders);
        }
        let branch = action.name.clone();
        if action.feed(InputKind::Refused) != Some(true) {
            return;
        }
        if direction == Direction::Forward {
            let reason = AbortReason::Refused { branch, refusal };
            self.turn_back(plan, now, reason, orders);
        } else {
            self.advance(plan, now, orders);
        }
    }

    /// The attempts of what it was told are used up; whether it has happened is not known.
    fn exhausted(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        index: BranchIndex,
        error: &str,
        orders: &mut Vec<Order>,
    ) {
        let forward = self.direction == Direction::Forward;
        let Some(action) = self.action_mut(index) else {
            return;
        };
        let acting = action.verb() == Some(ActVerb::Act);
        if forward && acting && action.class == Class::Compensatable {
            let branch = action.name.clone();
            let error = cut(error, REASON_BYTES_MAX);
            let reason = AbortReason::AttemptsUsedUp { branch, error };
            self.turn_back(plan, now, reason, orders);
        } else {
            self.stuck(now, index, error, orders);
        }
    }

    /// It cannot go on without an operator.
    pub(super) fn stuck(
        &mut self,
        now: Timestamp,
        index: BranchIndex,
        error: &str,
        orders: &mut Vec<Order>,
    ) {
        let Some(action) = self.action_mut(index) else {
            return;
        };
        let Some(verb) = action.verb() else {
            return;
        };
        let tries = action.calls.tries;
        if action.feed(InputKind::Exhausted) != Some(true) {
            return;
        }
        let error = cut(error, REASON_BYTES_MAX);
        action.stuck_at = Some(now);
        action.calls.tries = tries;
        action.calls.last_error = Some(error.clone());
        let record = Record::Stuck(Stuck { at: now, action: index, verb, error });
        orders.push(Order::Record { record, urgency: Urgency::Lazy });
    }

    /// Nothing was sent, since the call could not be made out. That is a refusal, unless one may have
    /// been sent before: by an owner of another build, whose bounds were others. Then it is not known
    /// whether it has acted.
    pub(super) fn unrenderable(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        index: BranchIndex,
        error: &str,
        orders: &mut Vec<Order>,
    ) {
        let refusal = Refusal::new("accordant.reference", error);
        if plan.branch(index).is_some() {
            let group = self.group.as_mut();
            let refused = group.map(|group| group.refuse(now, index, refusal));
            if let Some(Ok(told)) = refused {
                self.absorb(plan, now, told, orders);
            }
            return;
        }
        let forward = self.direction == Direction::Forward;
        let Some(action) = self.action_mut(index) else {
            return;
        };
        action.calls.in_flight = false;
        if !action.repeated || action.verb() != Some(ActVerb::Act) {
            return self.refused(plan, now, index, refusal, orders);
        }
        if forward && !action.plain && action.class == Class::Compensatable {
            let branch = action.name.clone();
            self.turn_back(plan, now, AbortReason::Refused { branch, refusal }, orders);
        } else {
            self.stuck(now, index, error, orders);
        }
    }

    /// A pause is over, or the time of an action.
    pub(super) fn repeat(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        index: BranchIndex,
        orders: &mut Vec<Order>,
    ) {
        let direction = self.direction;
        let Some(action) = self.action_mut(index) else {
            return;
        };
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if action.phase() == Phase::Waiting {
            return self.advance(plan, now, orders);
        }
        if is_late(action, now) && direction == Direction::Forward {
            let reason = deadline_passed(std::iter::once((&action.name, &action.calls)));
            return self.turn_back(plan, now, reason, orders);
        }
        // A service that had not answered in time may be asked for its outcome later.
        if due(action.deadline) {
            action.deadline = None;
        }
        let Some(verb) = action.verb().filter(|_| due(action.calls.retry_at)) else {
            return;
        };
        if action.calls.in_flight || action.is_stuck() {
            return;
        }
        let attempt = action.call();
        orders.push(Order::Act { action: index, verb, attempt });
    }
}

/// Whether the saga turns back because of it: before the pivot has started, and not after.
fn is_late(action: &Action, now: Timestamp) -> bool {
    action.deadline.is_some_and(|deadline| deadline <= now)
        && action.phase() == Phase::Acting
        && action.class == Class::Compensatable
}
