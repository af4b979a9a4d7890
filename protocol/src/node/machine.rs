//! The node: takes events, keeps the transactions, gives effects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::effect::{After, Answer, Call, Effect, RequestId, Token};
use crate::id::{
    Attempt, BranchIndex, Cluster, Epoch, Gtid, IdempotencyKey, Incarnation, ParticipantName,
    PartitionId, TenantName,
};
use crate::plan::{Gate, Input, Order, Refused};
use crate::time::Timestamp;
use crate::wire::contract::Kinship;

use super::event::Event;
use super::identity::Participant;
use super::inquiry::Presumption;
use super::ownership::Partition;
use super::records::Awaited;
use super::room::Queue;
use super::timers::{Timer, Timers, wanted};
use super::transaction::Transaction;

/// What a node must know of its surroundings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// The cluster's name, part of each gtid.
    pub cluster: Cluster,
    /// The journal's incarnation, part of each gtid.
    pub incarnation: Incarnation,
    /// Transactions that may be open in this node; more are refused.
    pub open_max: usize,
    /// Branches that may be open at one participant from this node; more are refused. Keep the
    /// sum over all nodes below the participant's prepared-transaction slots.
    pub participant_open_max: usize,
}

/// The coordinator of some partitions.
///
/// Not cancel-safe business: [`Node::step`] is synchronous and total. Whatever comes in, the node
/// stays legal; what no correct peer sends is passed over and counted in [`Node::refusals`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub(super) config: Config,
    pub(super) partitions: BTreeMap<PartitionId, Partition>,
    pub(super) transactions: BTreeMap<Gtid, Transaction>,
    pub(super) keys: BTreeMap<(TenantName, IdempotencyKey), Gtid>,
    pub(super) presumptions: BTreeMap<Gtid, Presumption>,
    pub(super) participants: BTreeMap<ParticipantName, Participant>,
    pub(super) timers: Timers,
    pub(super) draining: bool,
    pub(super) awaited: BTreeMap<Token, Awaited>,
    pub(super) next_token: u64,
    /// Pivots that wait for room.
    pub(super) queue: Queue,
    refusals: u64,
}

impl Node {
    /// A node that owns nothing yet.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            partitions: BTreeMap::new(),
            transactions: BTreeMap::new(),
            keys: BTreeMap::new(),
            presumptions: BTreeMap::new(),
            participants: BTreeMap::new(),
            timers: Timers::new(),
            draining: false,
            awaited: BTreeMap::new(),
            next_token: 0,
            queue: Queue::new(),
            refusals: 0,
        }
    }

    /// Takes an event and gives what is to be done.
    pub fn step(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Submitted(submission) => self.submit(now, *submission, &mut effects),
            Event::Queried { request, gtid, wait } => {
                self.query(request, gtid, wait, &mut effects);
            }
            Event::Ended { request, gtid } => {
                self.told(now, request, gtid, Input::Ended, &mut effects);
            }
            Event::CalledBack { request, gtid, action, verb, answer } => {
                let input = Input::CalledBack { action, verb, answer };
                self.told(now, request, gtid, input, &mut effects);
            }
            Event::Resolved { request, gtid, action, verb, resolution, by, reason } => {
                let input = Input::Resolved { action, verb, resolution, by, reason };
                self.told(now, request, gtid, input, &mut effects);
            }
            Event::Inquired { request, gtid, branch } => {
                self.inquire(now, request, gtid, branch, &mut effects);
            }
            Event::NotRecorded { request, gtid } => {
                self.presume(now, request, gtid, &mut effects);
            }
            Event::Flushed { token, outcome } => self.flushed(now, token, outcome, &mut effects),
            Event::Answered { gtid, epoch, branch, attempt, answer } => {
                self.answered(now, gtid, epoch, branch, attempt, answer, &mut effects);
            }
            Event::Acquired { partition, epoch, horizon } => {
                self.acquired(partition, epoch, horizon, &mut effects);
            }
            Event::Loaded { partition, epoch, found, last } => {
                self.loaded(now, partition, epoch, found, last, &mut effects);
            }
            Event::Quarantined { gtid } => self.quarantine(gtid),
            Event::Identified { participant, identity } => {
                self.identified(participant, &identity);
            }
            Event::HorizonRaised { partition, horizon } => self.raise_horizon(partition, horizon),
            Event::Lost { partition } => self.lose(partition, &mut effects),
            Event::Timer => self.fire(now, &mut effects),
            Event::Withdrawn { requests } => self.withdraw(&requests),
            Event::Draining => self.draining = true,
        }
        self.admit_pivots(now, &mut effects);
        effects
    }

    /// When [`Event::Timer`] is due.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// The transactions in memory, by age within each partition.
    pub fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.transactions.values()
    }

    /// One transaction in memory.
    #[must_use]
    pub fn transaction(&self, gtid: &Gtid) -> Option<&Transaction> {
        self.transactions.get(gtid)
    }

    /// How many transactions are in memory.
    #[must_use]
    pub fn open(&self) -> usize {
        self.transactions.len()
    }

    /// Inputs that no correct peer sends, since the start.
    #[must_use]
    pub const fn refusals(&self) -> u64 {
        self.refusals
    }

    /// The participants that had a part in any transaction here.
    pub fn participants(&self) -> impl Iterator<Item = &ParticipantName> {
        self.participants.keys()
    }

    /// Participants that answered from another or an older database, each with what it was.
    pub fn halted(&self) -> impl Iterator<Item = (&ParticipantName, Kinship)> {
        self.participants
            .iter()
            .filter_map(|(name, it)| it.halted.map(|how| (name, how)))
    }

    /// Makes room for others that want to wait.
    fn withdraw(&mut self, requests: &BTreeSet<RequestId>) {
        for transaction in self.transactions.values_mut() {
            transaction
                .waiters
                .retain(|(request, _)| !requests.contains(request));
        }
    }

    fn fire(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some((gtid, timer)) = self.timers.take_due(now) {
            let input = match timer {
                Timer::Deadline => Input::Deadline,
                Timer::Retry(branch) => Input::Retry { branch },
            };
            self.advance(now, gtid, input, effects);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one event, taken apart"
    )]
    fn answered(
        &mut self,
        now: Timestamp,
        gtid: Gtid,
        epoch: Epoch,
        branch: BranchIndex,
        attempt: Attempt,
        answer: Answer,
        effects: &mut Vec<Effect>,
    ) {
        // An answer to a call of an earlier epoch knows nothing of what this one has asked.
        let present = self
            .transactions
            .get(&gtid)
            .is_some_and(|it| it.epoch == epoch);
        if !present {
            return;
        }
        self.note_identity(gtid, branch, attempt, &answer);
        self.advance(
            now,
            gtid,
            Input::Answer { branch, attempt, answer },
            effects,
        );
    }

    /// Feeds a plan one input, and carries its orders over into effects.
    pub(super) fn advance(
        &mut self,
        now: Timestamp,
        gtid: Gtid,
        input: Input,
        effects: &mut Vec<Effect>,
    ) {
        if let Err(_refused) = self.try_advance(now, gtid, input, effects) {
            self.refusals = self.refusals.saturating_add(1);
        }
    }

    pub(super) fn try_advance(
        &mut self,
        now: Timestamp,
        gtid: Gtid,
        input: Input,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let Some(transaction) = self.transactions.get_mut(&gtid) else {
            return Ok(());
        };
        let begun = Arc::clone(&transaction.begun);
        let orders = transaction.course.step(&begun.plan, now, input)?;
        self.carry_out(now, gtid, orders, effects);
        Ok(())
    }

    pub(super) fn carry_out(
        &mut self,
        now: Timestamp,
        gtid: Gtid,
        orders: Vec<Order>,
        effects: &mut Vec<Effect>,
    ) {
        let mut unrenderable = Vec::new();
        for order in orders {
            match order {
                Order::Record { record, urgency } => {
                    self.record(now, gtid, record, urgency, effects);
                }
                Order::Prepare { branch, attempt, one_phase } => {
                    match self.prepare_call(gtid, branch, attempt, one_phase) {
                        Ok(call) => {
                            effects.extend(call.map(|call| self.send(gtid, Gate::Record, call)))
                        }
                        Err(error) => unrenderable.push((branch, attempt, error)),
                    }
                }
                Order::Finish { after, branch, fate, attempt, want_result } => {
                    let call = self.finish_call(gtid, branch, fate, attempt, want_result);
                    effects.extend(call.map(|call| self.send(gtid, after, call)));
                }
                Order::Act { action, verb, attempt } => {
                    match self.act_call(now, gtid, action, verb, attempt) {
                        Ok(call) => {
                            effects.extend(call.map(|call| self.send(gtid, Gate::Record, call)))
                        }
                        Err(error) => unrenderable.push((action, attempt, error)),
                    }
                }
            }
        }
        self.settle(gtid, effects);
        for (action, attempt, error) in unrenderable {
            let error = error.to_string();
            let input = Input::Unrenderable { action, attempt, error };
            self.advance(now, gtid, input, effects);
        }
    }

    fn send(&self, gtid: Gtid, after: Gate, call: Call) -> Effect {
        let gate = self.transactions.get(&gtid).and_then(|it| it.gate);
        let after = match (after, gate) {
            (Gate::Record, Some(token)) => After::Durable(token),
            (Gate::Record, None) | (Gate::Open, _) => After::Now,
        };
        Effect::Send { after, call }
    }

    /// Answers whoever has waited long enough, and sets the timers anew.
    pub(super) fn settle(&mut self, gtid: Gtid, effects: &mut Vec<Effect>) {
        let Some(transaction) = self.transactions.get_mut(&gtid) else {
            return;
        };
        let holds = transaction.course.holds_branches();
        if holds != transaction.counted {
            transaction.counted = holds;
            let begun = Arc::clone(&transaction.begun);
            self.count_branches(&begun, holds);
        }
        let Some(transaction) = self.transactions.get_mut(&gtid) else {
            return;
        };
        if transaction.course.wants_room(&transaction.begun.plan) {
            self.queue.ask(gtid);
        } else if !transaction.course.is_atomic() {
            self.queue.leave(gtid, &transaction.begun.plan);
        }
        let timers = wanted(&transaction.course, transaction.begun.deadline);
        if timers != transaction.timers {
            self.timers.replace(gtid, &transaction.timers, &timers);
            transaction.timers = timers;
        }
        let waiters = std::mem::take(&mut transaction.waiters);
        let (reached, waiting): (Vec<_>, Vec<_>) = waiters
            .into_iter()
            .partition(|(_, wait)| transaction.has_reached(*wait));
        transaction.waiters = waiting;
        for (request, wait) in reached {
            self.reply_status(gtid, request, wait, effects);
        }
    }

    /// Removes a transaction from memory.
    pub(super) fn forget(&mut self, gtid: Gtid) {
        if let Some(transaction) = self.transactions.remove(&gtid) {
            self.timers.remove(gtid, &transaction.timers);
            let begun = &transaction.begun;
            let key = (begun.tenant.clone(), begun.key.clone());
            // A repeat that the journal refused must not take the first one's entry along.
            if self.keys.get(&key) == Some(&gtid) {
                self.keys.remove(&key);
            }
            self.queue.leave(gtid, &begun.plan);
            if transaction.counted {
                self.count_branches(begun, false);
            }
        }
    }

    /// Counts the branches of a transaction at their participants, in or out.
    pub(super) fn count_branches(&mut self, begun: &crate::record::Begun, begins: bool) {
        for branch in begun.plan.branches() {
            let participant = self
                .participants
                .entry(branch.participant.clone())
                .or_default();
            participant.open = if begins {
                participant.open.saturating_add(1)
            } else {
                self.queue.released(&branch.participant);
                participant.open.saturating_sub(1)
            };
        }
    }
}
