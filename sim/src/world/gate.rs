//! What waits for which record, and what is remembered of the calls to actions that leave.

use accordant_protocol::plan::Class;
use accordant_protocol::record::Record;

use super::config::Config;
use super::coordinator::Leaving;
use super::log::{Log, Mark};
use super::network::{Order, Verb};
use super::rule::Rule;
use super::state::World;
use crate::invariant::closure;

impl World {
    /// Whether something waits for its record: always, unless a rule about that is removed.
    pub(super) fn waits_for_record(&self, config: &Config, leaving: &Leaving) -> bool {
        let removed = |rule| !config.keeps(rule);
        if removed(Rule::DurableBeforeSend) {
            return false;
        }
        let Leaving::Call(order) = leaving else {
            return true;
        };
        let first = self.journal.rows(order.gtid).first();
        let recovers = first.is_some_and(|row| row.entry.epoch != order.epoch);
        let class = self.plan.action(order.branch).map(|it| it.class);
        let early = match (order.verb, class) {
            (Verb::Abort, _) => removed(Rule::AbortDurableBeforeSend),
            (Verb::Compensate, _) => {
                removed(Rule::TurnedBackFirst)
                    || (recovers && removed(Rule::TurnedBackFirstInRecovery))
            }
            (Verb::Act, Some(Class::Compensatable)) => removed(Rule::StartedFirst),
            (Verb::Act, Some(Class::Pivot)) => removed(Rule::PivotStartedFirst),
            (Verb::Act, Some(Class::Retriable)) => removed(Rule::CommittedFirst),
            (Verb::Prepare | Verb::CommitOnePhase | Verb::Commit | Verb::Act, _) => false,
        };
        !early
    }

    /// What the invariants remember of a call to an action.
    pub(super) fn note_sent(&mut self, order: &Order, log: &mut Log) {
        let (gtid, epoch) = (order.gtid, order.epoch);
        if let Some(violation) = closure::check_sent(self, order) {
            self.alarm(violation);
        }
        match order.verb {
            Verb::Act => {
                let found = self.journal.rows(gtid).iter().any(|row| {
                    row.entry.epoch < epoch && matches!(row.entry.record, Record::Done(_))
                });
                if found && order.said.is_some() {
                    log.mark(Mark::ResultFromJournal);
                }
                self.unit_mut(gtid, order.branch).asked = true;
            }
            Verb::Compensate => {
                let first = self.turned.entry(gtid).or_insert(epoch);
                *first = epoch.min(*first);
            }
            Verb::Prepare | Verb::CommitOnePhase | Verb::Commit | Verb::Abort => {}
        }
    }
}
