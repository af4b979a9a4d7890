//! Room at participants for the branches of pivots.
//!
//! A group that is its whole plan is admitted with it. A pivot comes later, when others may occupy
//! what its participants have few of: it is held until there is room for all its branches at once.
//! Whoever has asked first goes first, and nobody passes it at the participant that it waits for. Its
//! plan's deadline bounds the wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::effect::Effect;
use crate::id::{Gtid, ParticipantName};
use crate::plan::{Input, Plan};
use crate::record::Begun;
use crate::time::Timestamp;

use super::machine::Node;

/// In which order pivots have asked.
type Turn = u64;

/// Pivots that are ready and not admitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Queue {
    turns: BTreeMap<Gtid, Turn>,
    /// To be looked at before the present step ends.
    asking: BTreeSet<(Turn, Gtid)>,
    /// By a participant that had no room for them. Whoever makes room, or leaves, passes the word to
    /// the first: there is always somebody who asks while there may be room.
    waiting: BTreeMap<ParticipantName, BTreeSet<(Turn, Gtid)>>,
    next: Turn,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self {
            turns: BTreeMap::new(),
            asking: BTreeSet::new(),
            waiting: BTreeMap::new(),
            next: 0,
        }
    }

    /// Asks for the first time; one that waits already goes on waiting.
    pub(super) fn ask(&mut self, gtid: Gtid) {
        if self.turns.contains_key(&gtid) {
            return;
        }
        self.turns.insert(gtid, self.next);
        self.asking.insert((self.next, gtid));
        self.next += 1;
    }

    /// Whether anybody waits for room at a participant: others come after them.
    pub(super) fn is_wanted(&self, participant: &ParticipantName) -> bool {
        self.waiting.contains_key(participant)
    }

    /// Whether anybody waits there who has asked before.
    fn is_wanted_before(&self, participant: &ParticipantName, turn: Turn) -> bool {
        let waiting = self.waiting.get(participant);
        let first = waiting.and_then(|waiting| waiting.first());
        first.is_some_and(|(first, _)| *first < turn)
    }

    /// There may be more room at a participant than there was: the first that waits asks again.
    pub(super) fn released(&mut self, participant: &ParticipantName) {
        let Some(waiting) = self.waiting.get_mut(participant) else {
            return;
        };
        self.asking.extend(waiting.pop_first());
        if waiting.is_empty() {
            self.waiting.remove(participant);
        }
    }

    fn wait(&mut self, turn: Turn, gtid: Gtid, participant: &ParticipantName) {
        let waiting = self.waiting.entry(participant.clone()).or_default();
        waiting.insert((turn, gtid));
    }

    /// It asks no more, whatever becomes of it, and passes the word on.
    pub(super) fn leave(&mut self, gtid: Gtid, plan: &Plan) {
        let Some(turn) = self.turns.remove(&gtid) else {
            return;
        };
        self.asking.remove(&(turn, gtid));
        for branch in plan.branches() {
            if let Some(waiting) = self.waiting.get_mut(&branch.participant) {
                waiting.remove(&(turn, gtid));
            }
            self.released(&branch.participant);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty() && self.asking.is_empty() && self.waiting.is_empty()
    }
}

impl Node {
    /// Lets pivots begin for which there is room.
    pub(super) fn admit_pivots(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        // Without an admission in between, whoever was tried once would fail again.
        let mut tried = BTreeSet::new();
        while let Some((turn, gtid)) = self.queue.asking.pop_first() {
            let Some(transaction) = self.transactions.get(&gtid) else {
                continue;
            };
            let begun = Arc::clone(&transaction.begun);
            if !transaction.course.wants_room(&begun.plan) {
                self.queue.leave(gtid, &begun.plan);
            } else if let Some(full) = self.lacks_room(turn, &begun.plan) {
                self.queue.wait(turn, gtid, full);
                if tried.insert(gtid) {
                    // Elsewhere there may be room for the next.
                    let others = begun.plan.branches().map(|branch| &branch.participant);
                    let others = others.filter(|name| *name != full);
                    others.for_each(|name| self.queue.released(name));
                }
            } else {
                tried.clear();
                self.admit_pivot(now, gtid, &begun, effects);
                self.queue.leave(gtid, &begun.plan);
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

    /// A participant at which a pivot must wait. One where nothing is open has room in any case: a
    /// bound that was lowered since the plan was accepted must not keep it out for ever.
    fn lacks_room<'a>(&self, turn: Turn, plan: &'a Plan) -> Option<&'a ParticipantName> {
        let mut names = plan.branches().map(|branch| &branch.participant);
        names.find(|name| {
            let open = self.participants.get(*name).map_or(0, |it| it.open);
            self.queue.is_wanted_before(name, turn) || (open > 0 && self.is_full(name, plan))
        })
    }

    /// Whether a participant has no room for all of a plan's branches there.
    pub(super) fn is_full(&self, name: &ParticipantName, plan: &Plan) -> bool {
        let open = self.participants.get(name).map_or(0, |it| it.open);
        let wanted = plan.branches().filter(|it| it.participant == *name);
        open + wanted.count() > self.config.participant_open_max
    }
}
