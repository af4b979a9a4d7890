//! Room at participants for the branches of pivots.
//!
//! A group that is its whole plan is admitted with it. A pivot comes later, when others may occupy
//! what its participants have few of: it is held until there is room for all its branches at once,
//! and whoever has waited longest goes first. Its plan's deadline bounds the wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::effect::Effect;
use crate::id::{Gtid, ParticipantName};
use crate::plan::{Input, Plan};
use crate::record::Begun;
use crate::time::Timestamp;

use super::machine::Node;

/// Pivots that are ready and not admitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Queue {
    /// To be looked at before the present step ends.
    asking: BTreeSet<Gtid>,
    /// By a participant that had no room for them.
    waiting: BTreeMap<ParticipantName, BTreeSet<Gtid>>,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self { asking: BTreeSet::new(), waiting: BTreeMap::new() }
    }

    pub(super) fn ask(&mut self, gtid: Gtid) {
        self.asking.insert(gtid);
    }

    /// Whether anybody waits for room at a participant: others come after them.
    pub(super) fn is_wanted(&self, participant: &ParticipantName) -> bool {
        self.waiting.contains_key(participant)
    }

    /// There is more room at a participant than there was: the one that has waited longest asks again.
    pub(super) fn released(&mut self, participant: &ParticipantName) {
        let Some(waiting) = self.waiting.get_mut(participant) else {
            return;
        };
        self.asking.extend(waiting.pop_first());
        if waiting.is_empty() {
            self.waiting.remove(participant);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.asking.is_empty() && self.waiting.is_empty()
    }

    fn wait(&mut self, gtid: Gtid, participant: &ParticipantName) {
        let waiting = self.waiting.entry(participant.clone()).or_default();
        waiting.insert(gtid);
    }

    /// It asks no more, whatever becomes of it.
    pub(super) fn leave(&mut self, gtid: Gtid, plan: &Plan) {
        self.asking.remove(&gtid);
        for branch in plan.branches() {
            if let Some(waiting) = self.waiting.get_mut(&branch.participant) {
                waiting.remove(&gtid);
                if waiting.is_empty() {
                    self.waiting.remove(&branch.participant);
                }
            }
        }
    }
}

impl Node {
    /// Lets pivots begin for which there is room.
    pub(super) fn admit_pivots(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        // Without an admission in between, whoever was tried once would fail again.
        let mut tried = BTreeSet::new();
        while let Some(gtid) = self.queue.asking.pop_first() {
            let Some(transaction) = self.transactions.get(&gtid) else {
                continue;
            };
            let begun = Arc::clone(&transaction.begun);
            let wants = transaction.course.wants_room(&begun.plan);
            let full = self.lacks_room(&begun.plan).filter(|_| wants);
            if let Some(full) = full {
                self.queue.wait(gtid, full);
                if !tried.insert(gtid) {
                    continue;
                }
            } else if wants {
                tried.clear();
                self.admit_pivot(now, gtid, &begun, effects);
            }
            // Elsewhere there may be room for the next; and if not, that is how it is found out.
            let others = begun.plan.branches().map(|branch| &branch.participant);
            for name in others.filter(|name| full != Some(*name)) {
                self.queue.released(name);
            }
        }
    }

    fn admit_pivot(
        &mut self,
        now: Timestamp,
        gtid: Gtid,
        begun: &Begun,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(transaction) = self.transactions.get_mut(&gtid) {
            transaction.counted = true;
            self.count_branches(begun, true);
            self.advance(now, gtid, Input::Admitted, effects);
        }
    }

    /// A participant that has no room for all of a plan's branches there.
    pub(super) fn lacks_room<'a>(&self, plan: &'a Plan) -> Option<&'a ParticipantName> {
        let full = |name: &ParticipantName| {
            let open = self.participants.get(name).map_or(0, |it| it.open);
            let wanted = plan.branches().filter(|it| it.participant == *name);
            open + wanted.count() > self.config.participant_open_max
        };
        let mut names = plan.branches().map(|branch| &branch.participant);
        names.find(|name| full(name))
    }
}
