//! How recovery reads a history: as it is written, unless a rule of recovery is removed.

use accordant_protocol::id::Position;
use accordant_protocol::plan::{Class, Plan};
use accordant_protocol::recovery::{Decided, DoneHistory, History};
use accordant_protocol::time::Timestamp;

use super::config::Config;
use super::rule::Rule;

/// A history as it is read.
pub(super) fn read(config: &Config, mut history: History) -> History {
    let plan = &config.plan;
    if plan.is_atomic() {
        return history;
    }
    let removed = |rule| !config.keeps(rule);
    if removed(Rule::StartedIsRead) {
        history
            .actions
            .values_mut()
            .for_each(|it| it.started = false);
    }
    if removed(Rule::PivotStartedIsRead) {
        let pivots = plan.actions().filter(|it| it.class == Class::Pivot);
        for pivot in pivots {
            history.actions.entry(pivot.index).or_default().started = false;
        }
    }
    if removed(Rule::StartedIsAskedAbout) && history.decided.is_none() {
        take_started_for_done(plan, &mut history);
    }
    if removed(Rule::DirectionIsRead) {
        history
            .decided
            .take_if(|it| matches!(it, Decided::Abort(_)));
    }
    if let Some(Decided::Abort(aborted)) = &mut history.decided {
        if removed(Rule::UnknownIsMadeGood) {
            let actions = &history.actions;
            let known = |index: &_| actions.get(index).is_some_and(|it| it.done.is_some());
            aborted
                .compensate
                .retain(|it| plan.branch(*it).is_some() || known(it));
        }
        if removed(Rule::NamedIsMadeGood) {
            aborted.compensate.pop();
        }
    }
    history
}

fn take_started_for_done(plan: &Plan, history: &mut History) {
    let position = Position(history.len().saturating_sub(1));
    for action in plan.actions().filter(|it| it.is_plain()) {
        let root = plan
            .step_of(action.index)
            .is_some_and(|it| it.after.is_empty());
        let known = history.actions.entry(action.index).or_default();
        if (root || known.started) && known.done.is_none() {
            let at = Timestamp::ZERO;
            known.done = Some(DoneHistory { at, position, result: None });
        }
    }
}
