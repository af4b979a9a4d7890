//! The group inside the plan. Where it is the whole plan, its orders pass as they are; otherwise its
//! decision is the plan's, and its end is not.

use crate::effect::Urgency;
use crate::group;
use crate::plan::{Order, Plan};
use crate::record::{Aborted, Closed, Committed, Done, Record};
use crate::time::Timestamp;

use super::machine::{Course, Direction, Refused};

impl Course {
    pub(super) fn group_input(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        input: group::Input,
        orders: &mut Vec<Order>,
    ) -> Result<(), Refused> {
        let Some(group) = self.group.as_mut() else {
            return Ok(());
        };
        // Without a group of its own in the plan's way, nothing waits for a decision.
        let held = group.phase() == group::Phase::Held;
        if held && self.direction != Direction::Forward {
            return Ok(());
        }
        let given = group.step(now, input).map_err(Refused::Group)?;
        self.absorb(plan, now, given, orders);
        Ok(())
    }

    pub(super) fn absorb(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        given: Vec<Order>,
        orders: &mut Vec<Order>,
    ) {
        if self.atomic {
            return orders.extend(given);
        }
        let mut moved = false;
        for order in given {
            match order {
                Order::Record { record: Record::Committed(committed), urgency } => {
                    self.group_committed(&committed);
                    let record = Record::Committed(committed);
                    orders.push(Order::Record { record, urgency });
                }
                Order::Record { record: Record::Aborted(Aborted { at, reason, .. }), urgency } => {
                    self.reason = Some(reason.clone());
                    let record = self.record_of_turning_back(at, reason, true);
                    orders.push(Order::Record { record, urgency });
                    moved = true;
                }
                Order::Record { record: Record::Closed(closed), .. } => {
                    self.group_closed(plan, closed, orders);
                    moved = true;
                }
                order @ (Order::Record { .. }
                | Order::Prepare { .. }
                | Order::Finish { .. }
                | Order::Act { .. }) => orders.push(order),
            }
        }
        if moved {
            self.advance(plan, now, orders);
        }
    }

    fn group_committed(&mut self, committed: &Committed) {
        self.direction = Direction::Passed;
        self.passed_at = Some(committed.at);
    }

    /// A result that became known only with the end of its branch is written down before a step that
    /// is called with it.
    fn group_closed(&mut self, plan: &Plan, closed: Closed, orders: &mut Vec<Order>) {
        // What someone has committed against the decision is no result for anybody.
        if self.direction != Direction::Passed {
            return;
        }
        let found = std::mem::take(&mut self.results_found);
        let new = closed.results.into_iter();
        for (action, result) in new.filter(|(index, _)| !found.contains(index)) {
            let urgency = if plan.is_referenced(action) {
                Urgency::Forced
            } else {
                Urgency::Lazy
            };
            let record = Record::Done(Done { at: closed.at, action, result: Some(result) });
            orders.push(Order::Record { record, urgency });
        }
    }
}
