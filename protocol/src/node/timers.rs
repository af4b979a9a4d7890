//! When to look at a transaction again.

use std::collections::BTreeSet;

use crate::id::{BranchIndex, Gtid};
use crate::plan::Course;
use crate::time::Timestamp;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// The time of the plan is over, or of its group.
    Deadline,
    /// The pause before a repeat is over, or the time of an action.
    Retry(BranchIndex),
}

/// All timers of a node, by time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Timers(BTreeSet<(Timestamp, Gtid, Timer)>);

impl Timers {
    pub(super) const fn new() -> Self {
        Self(BTreeSet::new())
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.first().map(|(at, _, _)| *at)
    }

    /// Takes one that is due.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<(Gtid, Timer)> {
        let (at, gtid, timer) = *self.0.first()?;
        if at > now {
            return None;
        }
        self.0.pop_first();
        Some((gtid, timer))
    }

    /// Replaces the timers of one transaction.
    pub(super) fn replace(
        &mut self,
        gtid: Gtid,
        old: &[(Timestamp, Timer)],
        new: &[(Timestamp, Timer)],
    ) {
        for (at, timer) in old {
            self.0.remove(&(*at, gtid, *timer));
        }
        self.0
            .extend(new.iter().map(|(at, timer)| (*at, gtid, *timer)));
    }

    pub(super) fn remove(&mut self, gtid: Gtid, timers: &[(Timestamp, Timer)]) {
        self.replace(gtid, timers, &[]);
    }
}

/// The timers that a plan needs now.
pub(super) fn wanted(course: &Course, deadline: Timestamp) -> Vec<(Timestamp, Timer)> {
    let deadline = course.deadline(deadline).map(|at| (at, Timer::Deadline));
    let branches = course.branches();
    let branches =
        branches.filter_map(|it| it.calls.retry_at.map(|at| (at, Timer::Retry(it.index))));
    let actions = course.actions().iter();
    let actions = actions.filter_map(|it| it.wake_at().map(|at| (at, Timer::Retry(it.index))));
    deadline
        .into_iter()
        .chain(branches)
        .chain(actions)
        .collect()
}
