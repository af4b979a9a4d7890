//! Turning back, and making good.

use crate::action::{InputKind, Phase};
use crate::calls::Calls;
use crate::effect::Urgency;
use crate::group;
use crate::id::{BranchIndex, BranchName};
use crate::limits::REASON_BYTES_MAX;
use crate::plan::{Class, Order, Plan};
use crate::record::{Aborted, Record};
use crate::time::Timestamp;
use crate::wire::api::AbortReason;
use crate::wire::contract::{ActVerb, cut};

use super::machine::{Course, Direction};

impl Course {
    /// From now on nothing new acts.
    pub(super) fn turn_back(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        reason: AbortReason,
        orders: &mut Vec<Order>,
    ) {
        self.direction = Direction::TurningBack;
        self.reason = Some(reason);
        for action in &mut self.actions {
            action.clearing_up = action.plain;
            match (action.phase(), action.plain) {
                // By the contract a late act is kept out by the compensation. What is on its way may
                // still bring a result, which is of no use any more.
                (Phase::Acting | Phase::StuckActing, false) => action.calls.end(),
                // The saga waits for nothing else now.
                (Phase::Acting, true) => {
                    action.calls.tries = 0;
                    if !action.calls.in_flight {
                        action.calls.retry_at = Some(now);
                    }
                }
                _ => {}
            }
        }
        self.advance(plan, now, orders);
    }

    /// Waits until it is known of every act at a plain service whether it has acted. Only then is it
    /// written down that the saga has turned back, with what is to be made good.
    pub(super) fn clear_up(&mut self, plan: &Plan, now: Timestamp, orders: &mut Vec<Order>) {
        let unknown = |action: &&crate::action::Action| {
            action.plain && action.class != Class::Retriable && action.is_unknown()
        };
        let open: Vec<BranchIndex> = self
            .actions
            .iter()
            .filter(unknown)
            .map(|action| action.index)
            .collect();
        if !open.is_empty() {
            // One that an earlier owner may have sent is asked about by asking once more.
            return open
                .into_iter()
                .for_each(|index| self.act(now, index, None, orders));
        }
        let reason = self.reason.clone().unwrap_or(AbortReason::Recovered);
        if self.group_maybe_sent {
            let group = self.group.as_mut();
            let told = group.map(|group| group.abort_held(now, reason.clone()));
            if let Some(told) = told.filter(|told| !told.is_empty()) {
                return self.absorb(plan, now, told, orders);
            }
        }
        let record = self.record_of_turning_back(now, reason, false);
        orders.push(Order::Record { record, urgency: Urgency::Forced });
        self.advance(plan, now, orders);
    }

    /// Names what is to be made good, and turns round.
    pub(super) fn record_of_turning_back(
        &mut self,
        at: Timestamp,
        reason: AbortReason,
        with_group: bool,
    ) -> Record {
        self.direction = Direction::Back;
        let mut compensate = Vec::new();
        for action in &mut self.actions {
            let done = action.phase() == Phase::Done;
            let unknown = action.is_unknown();
            action.named = action.compensatable && (done || unknown);
            if action.named {
                compensate.push(action.index);
            }
            action.calls.end();
        }
        if with_group {
            let branches = self.group.iter().flat_map(|group| group.branches());
            compensate.extend(branches.map(|branch| branch.index));
        }
        Record::Aborted(Aborted { at, reason, compensate })
    }

    /// Makes good whatever nothing that came after it stands in the way of.
    pub(super) fn go_back(&mut self, plan: &Plan, now: Timestamp, orders: &mut Vec<Order>) {
        let ready: Vec<BranchIndex> = self
            .actions
            .iter()
            .filter(|action| action.named && self.may_be_made_good(plan, action.index))
            .map(|action| action.index)
            .collect();
        for index in ready {
            let Some(action) = self.action_mut(index) else {
                continue;
            };
            if action.feed(InputKind::Compensate) == Some(true) {
                let attempt = action.call();
                orders.push(Order::Act { action: index, verb: ActVerb::Compensate, attempt });
            }
        }
        let mut named = self.actions.iter().filter(|action| action.named);
        let undone = named.all(|action| action.is_undone());
        let told = self
            .group
            .as_ref()
            .is_none_or(|group| matches!(group.phase(), group::Phase::Held | group::Phase::Closed));
        if undone && told {
            self.close(now, orders);
        }
    }

    /// Whether it is not yet told to make good, and all that came after it is made good.
    fn may_be_made_good(&self, plan: &Plan, index: BranchIndex) -> bool {
        let action = self.action(index);
        let pending = action.is_some_and(|action| {
            matches!(
                action.phase(),
                Phase::Done | Phase::Acting | Phase::StuckActing
            ) || (action.phase() == Phase::Waiting && action.named)
        });
        pending
            && self
                .actions
                .iter()
                .filter(|later| later.named && plan.comes_before(index, later.index))
                .all(|later| later.is_undone())
    }

    /// Why a plan whose time is over turns back.
    pub(super) fn late(&self) -> AbortReason {
        let acting = self.actions.iter().filter(|it| it.phase() == Phase::Acting);
        let late = acting.map(|action| (&action.name, &action.calls));
        deadline_passed(late)
    }
}

/// The reason that names what had not answered in time.
pub(super) fn deadline_passed<'a>(
    late: impl Iterator<Item = (&'a BranchName, &'a Calls)>,
) -> AbortReason {
    let (mut branches, mut errors) = (Vec::new(), Vec::new());
    for (name, calls) in late {
        branches.push(name.clone());
        let error = calls.last_error.as_ref();
        errors.extend(error.map(|error| cut(&format!("{name}: {error}"), REASON_BYTES_MAX)));
    }
    AbortReason::DeadlinePassed { branches, errors }
}
