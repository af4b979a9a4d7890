//! What comes from outside the calls: an operator's decisions, and call-backs.

use crate::action::{Action, InputKind, Phase};
use crate::effect::Urgency;
use crate::group;
use crate::id::BranchIndex;
use crate::json::Json;
use crate::plan::{Class, Order, Plan};
use crate::record::{Record, Resolution, Resolved};
use crate::time::Timestamp;
use crate::wire::contract::{ActAnswer, ActVerb, Refusal};

use super::machine::{Course, Direction, Refused};

impl Course {
    /// An operator decides about an action that is stuck. Nothing follows from it before the record
    /// of it is durable.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one input, taken apart"
    )]
    pub(super) fn resolved(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        index: BranchIndex,
        resolution: Resolution,
        by: String,
        reason: String,
        orders: &mut Vec<Order>,
    ) -> Result<(), Refused> {
        let group_open = self.group_is_open();
        let direction = self.direction;
        let action = self.action_mut(index).ok_or(Refused::NoAction)?;
        let over = matches!(direction, Direction::Back | Direction::Closed);
        if !may_be_resolved(action, direction) || (over && action.verb() == Some(ActVerb::Act)) {
            return Err(Refused::Misplaced);
        }
        let pivot = action.class == Class::Pivot;
        let refusable = action.verb() == Some(ActVerb::Act) && action.class != Class::Retriable;
        match &resolution {
            Resolution::Skip | Resolution::Abandon if pivot => return Err(Refused::Pivot),
            // What must happen is skipped, as is what must be made good.
            Resolution::NotDone if !refusable => return Err(Refused::Misplaced),
            // A branch in doubt is never left to itself.
            Resolution::Abandon if group_open => return Err(Refused::Misplaced),
            Resolution::Retry
            | Resolution::Done { .. }
            | Resolution::NotDone
            | Resolution::Skip
            | Resolution::Abandon => {}
        }
        // One that is repeated without an end waits for an operator from the moment that he comes.
        let error = action.calls.last_error.clone().unwrap_or_default();
        self.stuck(now, index, &error, orders);
        let kept = resolution.clone();
        let given_up = match &resolution {
            Resolution::Abandon => self.unended(),
            Resolution::Retry
            | Resolution::Done { .. }
            | Resolution::NotDone
            | Resolution::Skip => Vec::new(),
        };
        let refusal = not_done(&reason);
        let record = Resolved {
            at: now,
            action: index,
            resolution: kept,
            by,
            reason,
            given_up,
        };
        let record = Record::Resolved(record);
        orders.push(Order::Record { record, urgency: Urgency::Forced });
        match resolution {
            Resolution::Retry => self.try_again(index, orders),
            Resolution::Done { result } => self.take_as_done(index, result),
            Resolution::NotDone => {
                self.refused(plan, now, index, refusal, orders);
                return Ok(());
            }
            Resolution::Skip => self.skip(index),
            Resolution::Abandon => self.give_up(),
        }
        self.advance(plan, now, orders);
        Ok(())
    }

    fn try_again(&mut self, index: BranchIndex, orders: &mut Vec<Order>) {
        let Some(action) = self.action_mut(index) else {
            return;
        };
        if action.feed(InputKind::Retry) != Some(true) {
            return;
        }
        if let Some(verb) = action.verb() {
            let attempt = action.call();
            orders.push(Order::Act { action: index, verb, attempt });
        }
    }

    fn take_as_done(&mut self, index: BranchIndex, result: Option<Json>) {
        let Some(action) = self.action_mut(index) else {
            return;
        };
        let acting = action.verb() == Some(ActVerb::Act);
        if action.feed(InputKind::MarkDone) == Some(true) && acting {
            action.result = result;
        }
    }

    fn skip(&mut self, index: BranchIndex) {
        let action = self.action_mut(index);
        // Whether it has a place was looked at before.
        let _moved = action.and_then(|action| action.feed(InputKind::Skip));
    }

    /// Gives up whatever has not ended.
    fn give_up(&mut self) {
        for index in self.unended() {
            if let Some(action) = self.action_mut(index) {
                action.calls.end();
                action.found(Phase::Skipped);
            }
        }
    }

    fn unended(&self) -> Vec<BranchIndex> {
        let direction = self.direction;
        let open = self.actions.iter().filter(|action| match action.phase() {
            Phase::Acting | Phase::Compensating | Phase::StuckActing | Phase::StuckCompensating => {
                true
            }
            Phase::Waiting => direction == Direction::Passed || action.named || action.maybe_sent,
            Phase::Done => {
                action.named || (direction == Direction::TurningBack && action.compensatable)
            }
            Phase::Refused | Phase::Compensated | Phase::Skipped => false,
        });
        open.map(|action| action.index).collect()
    }

    fn group_is_open(&self) -> bool {
        self.group.as_ref().is_some_and(|group| {
            !matches!(group.phase(), group::Phase::Held | group::Phase::Closed)
        })
    }

    /// A participant calls back. What it says is durable before it is told that it was heard.
    pub(super) fn called_back(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        index: BranchIndex,
        verb: ActVerb,
        answer: ActAnswer,
        orders: &mut Vec<Order>,
    ) -> Result<(), Refused> {
        let direction = self.direction;
        let action = self.action_mut(index).ok_or(Refused::NoAction)?;
        let heard = matches!(
            (action.phase(), verb),
            (Phase::Done | Phase::Refused, ActVerb::Act)
                | (Phase::Compensated, ActVerb::Compensate)
        );
        if heard {
            return Ok(());
        }
        // Once it has turned back, what is to be made good follows in any case, and nothing else does:
        // a record of what was done would have no place any more.
        if verb == ActVerb::Act && matches!(direction, Direction::Back | Direction::Closed) {
            return Ok(());
        }
        if action.verb() != Some(verb) {
            return Err(Refused::Misplaced);
        }
        match answer {
            ActAnswer::Done { result } => {
                self.done(plan, now, index, result, Urgency::Forced, orders);
            }
            ActAnswer::Refused { refusal } => {
                self.refused(plan, now, index, refusal.bounded(), orders);
            }
            ActAnswer::InProgress { .. } | ActAnswer::RetryLater { .. } => {
                return Err(Refused::Misplaced);
            }
        }
        Ok(())
    }
}

/// The refusal that an operator's word stands for.
pub(super) fn not_done(reason: &str) -> Refusal {
    Refusal::new("accordant.not_done", reason)
}

/// Whether an operator may decide about an action: it is stuck, or its call has come to nothing and
/// is repeated, where nothing else would end that.
fn may_be_resolved(action: &Action, direction: Direction) -> bool {
    let between = action.calls.retry_at.is_some() && !action.calls.in_flight;
    let endless = direction != Direction::Forward || action.class == Class::Pivot;
    action.is_stuck() || (action.verb().is_some() && between && endless)
}
