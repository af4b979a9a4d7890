//! The machine that follows the table.

use crate::effect::{Answer, Urgency};
use crate::id::{Attempt, BranchIndex};
use crate::limits::REASON_BYTES_MAX;
use crate::plan::{Gate, Order, Plan};
use crate::record::{Aborted, Closed, Committed, Fate, Record, VoteRecord};
use crate::recovery::Resumption;
use crate::time::Timestamp;
use crate::wire::api::AbortReason;
use crate::wire::contract::{Refusal, cut};

use super::progress::{Ended, Progress, Stage};
use super::reading::{Reading, read};
use super::table::{InputKind, Phase, Rule, rule};

/// An atomic group on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    phase: Phase,
    branches: Vec<Progress>,
    /// Only the marker or a seal at the lone branch decides.
    delegated: bool,
    /// The lone branch is the sender's own local transaction: nobody is told to do its work.
    local: bool,
    reason: Option<AbortReason>,
    /// Spreads the pauses before repeats.
    seed: u64,
}

/// What comes in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The record that the phase waits for is durable.
    Durable,
    /// A call to a branch came to something, or to nothing.
    Answer {
        /// Which branch.
        branch: BranchIndex,
        /// Which attempt.
        attempt: Attempt,
        /// What.
        answer: Answer,
    },
    /// The time for voting is over.
    Deadline,
    /// The pause before a repeat is over.
    Retry {
        /// Which branch.
        branch: BranchIndex,
    },
}

/// An input that no correct peer sends in this phase. The state is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{input:?} has no place in {phase:?}")]
pub struct Refused {
    /// Where the group stands.
    pub phase: Phase,
    /// What came in.
    pub input: InputKind,
}

impl Group {
    /// A group whose `Begun` is on its way into the journal.
    #[must_use]
    pub fn begin(plan: &Plan, seed: u64) -> Self {
        let (delegated, local) = (plan.is_delegated(), plan.is_local());
        let phase = match (delegated, plan.is_atomic()) {
            (true, _) => Phase::Handing,
            (false, true) => Phase::Beginning,
            (false, false) => Phase::Held,
        };
        let branches = plan.branches();
        let branches = branches
            .map(|it| Progress::new(it.index, it.name.clone()))
            .collect();
        Self { phase, branches, delegated, local, reason: None, seed }
    }

    /// A group that was found in the journal, and what is to be done for it first.
    #[must_use]
    pub fn resume(
        plan: &Plan,
        seed: u64,
        resumption: Resumption,
        now: Timestamp,
    ) -> (Self, Vec<Order>) {
        let mut group = Self::begin(plan, seed);
        let mut orders = Vec::new();
        match resumption {
            Resumption::Commit(votes) => {
                group.phase = Phase::Committing;
                for branch in &mut group.branches {
                    branch.vote = votes
                        .iter()
                        .find(|vote| vote.branch == branch.index)
                        .cloned();
                }
                group.tell_commit(Gate::Open, &mut orders);
                group.close_if_ended(now, &mut orders);
            }
            Resumption::Abort(reason) => {
                group.phase = Phase::Aborting;
                group.reason = Some(reason);
                group.tell_abort(Gate::Open, &mut orders);
            }
            Resumption::DecideAbort => {
                group.phase = Phase::DecidingAbort;
                group.record_abort(now, AbortReason::Recovered, &mut orders);
                group.tell_abort(Gate::Record, &mut orders);
            }
            Resumption::Recall => {
                group.phase = Phase::Recalling;
                group.tell_abort(Gate::Open, &mut orders);
            }
        }
        (group, orders)
    }

    /// Takes an input and gives the orders that follow from it.
    ///
    /// # Errors
    /// [`Refused`] if the table refuses the input; the state is then as it was.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Result<Vec<Order>, Refused> {
        let mut orders = Vec::new();
        match input {
            Input::Durable => self.durable(now, &mut orders)?,
            Input::Deadline => self.deadline(now, &mut orders)?,
            Input::Retry { branch } => self.repeat(branch, &mut orders),
            Input::Answer { branch, attempt, answer } => {
                self.answer(now, branch, attempt, answer, &mut orders)?;
            }
        }
        Ok(orders)
    }

    /// Where the group stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The branches, by index.
    #[must_use]
    pub fn branches(&self) -> &[Progress] {
        &self.branches
    }

    /// A branch, to note the floor of a call that goes out.
    pub(crate) fn branch_mut(&mut self, index: BranchIndex) -> Option<&mut Progress> {
        self.branches
            .iter_mut()
            .find(|branch| branch.index == index)
    }

    /// Why it is aborted.
    #[must_use]
    pub const fn reason(&self) -> Option<&AbortReason> {
        self.reason.as_ref()
    }

    /// What is decided. Whether that is durable, the node knows.
    #[must_use]
    pub const fn fate(&self) -> Option<Fate> {
        match self.phase {
            Phase::Beginning
            | Phase::Preparing
            | Phase::Held
            | Phase::PreparingPivot
            | Phase::Handing
            | Phase::Delegated
            | Phase::Recalling => None,
            Phase::DecidingCommit | Phase::Committing | Phase::RecordingCommit => {
                Some(Fate::Commit)
            }
            Phase::DecidingAbort | Phase::Aborting | Phase::RecordingAbort => Some(Fate::Abort),
            Phase::Closed => Some(if self.reason.is_some() {
                Fate::Abort
            } else {
                Fate::Commit
            }),
        }
    }

    fn durable(&mut self, now: Timestamp, orders: &mut Vec<Order>) -> Result<(), Refused> {
        match self.rule(InputKind::Durable)? {
            Rule::To(phase @ (Phase::Preparing | Phase::PreparingPivot)) => {
                self.phase = phase;
                self.ask_all(false, orders);
            }
            Rule::To(Phase::Delegated) => {
                self.phase = Phase::Delegated;
                if !self.local {
                    self.ask_all(true, orders);
                }
            }
            Rule::To(Phase::Closed) => self.close(now, orders),
            Rule::To(phase) => {
                self.phase = phase;
                // Read-only branches have ended already, and so may all the others by now.
                self.close_if_ended(now, orders);
            }
            Rule::Until(_) | Rule::Stay | Rule::Refuse => {}
        }
        Ok(())
    }

    fn deadline(&mut self, now: Timestamp, orders: &mut Vec<Order>) -> Result<(), Refused> {
        match self.rule(InputKind::Deadline)? {
            Rule::To(Phase::Recalling) => {
                self.phase = Phase::Recalling;
                self.tell_abort(Gate::Open, orders);
            }
            Rule::To(phase) => {
                let late = || self.branches.iter().filter(|branch| !branch.has_agreed());
                let branches = late().map(|branch| branch.name.clone()).collect();
                let errors = late().filter_map(|branch| {
                    let error = branch.calls.last_error.as_ref()?;
                    Some(cut(&format!("{}: {error}", branch.name), REASON_BYTES_MAX))
                });
                let errors = errors.collect();
                let reason = AbortReason::DeadlinePassed { branches, errors };
                self.abort(now, phase, reason, orders);
            }
            Rule::Until(_) | Rule::Stay | Rule::Refuse => {}
        }
        Ok(())
    }

    fn answer(
        &mut self,
        now: Timestamp,
        index: BranchIndex,
        attempt: Attempt,
        answer: Answer,
        orders: &mut Vec<Order>,
    ) -> Result<(), Refused> {
        let seed = self.seed;
        let delegated = self.delegated;
        let Some(branch) = self.branch_mut(index) else {
            return Ok(());
        };
        if !branch.calls.listens_to(attempt) {
            return Ok(());
        }
        match read(branch, delegated, answer) {
            Reading::Unclear(error) => {
                branch.retry_later(now, seed, error.map(|text| cut(&text, REASON_BYTES_MAX)));
                Ok(())
            }
            Reading::Agreed(vote) => self.agreed(now, index, vote, orders),
            Reading::Refused(refusal) => self.refused(now, index, refusal, orders),
            Reading::Committed(vote) => self.committed(now, index, vote, orders),
            Reading::Aborted => self.aborted(now, index, orders),
        }
    }

    fn agreed(
        &mut self,
        now: Timestamp,
        index: BranchIndex,
        vote: VoteRecord,
        orders: &mut Vec<Order>,
    ) -> Result<(), Refused> {
        let rule = self.rule(InputKind::Yes)?;
        if matches!(rule, Rule::Stay | Rule::Refuse) {
            return Ok(());
        }
        if let Some(branch) = self.branch_mut(index) {
            branch.begin(Stage::Agreed);
            branch.calls.in_flight = false;
            branch.vote = Some(vote);
        }
        match rule {
            Rule::Until(phase) if self.branches.iter().all(Progress::has_agreed) => {
                self.phase = phase;
                self.record_commit(now, orders);
                self.tell_commit(Gate::Record, orders);
            }
            Rule::To(phase) => {
                self.phase = phase;
                self.record_commit(now, orders);
                self.tell_commit(Gate::Record, orders);
            }
            Rule::Until(_) | Rule::Stay | Rule::Refuse => {}
        }
        Ok(())
    }

    fn refused(
        &mut self,
        now: Timestamp,
        index: BranchIndex,
        refusal: Refusal,
        orders: &mut Vec<Order>,
    ) -> Result<(), Refused> {
        let rule = self.rule(InputKind::No)?;
        let Rule::To(phase) = rule else {
            return Ok(());
        };
        let Some(branch) = self.branch_mut(index) else {
            return Ok(());
        };
        let reason = AbortReason::Refused { branch: branch.name.clone(), refusal: refusal.clone() };
        branch.begin(Stage::Refused(refusal));
        branch.calls.in_flight = false;
        if phase == Phase::RecordingAbort {
            self.phase = phase;
            self.record_abort(now, reason, orders);
            self.end_all(Ended::Aborted);
        } else {
            self.abort(now, phase, reason, orders);
        }
        Ok(())
    }

    /// A branch says that its marker is there.
    fn committed(
        &mut self,
        now: Timestamp,
        index: BranchIndex,
        vote: VoteRecord,
        orders: &mut Vec<Order>,
    ) -> Result<(), Refused> {
        let rule = self.rule(InputKind::Committed)?;
        let against = self.fate() == Some(Fate::Abort);
        let Some(branch) = self.branch_mut(index) else {
            return Ok(());
        };
        match rule {
            Rule::Until(_) => {
                if branch.result().is_none() {
                    branch.late_result = vote.result;
                }
                branch.end(if against {
                    Ended::HeuristicCommitted
                } else {
                    Ended::Committed
                });
                self.close_if_ended(now, orders);
            }
            Rule::To(phase) => {
                branch.vote = Some(vote);
                self.phase = phase;
                self.record_commit(now, orders);
                self.end_all(Ended::Committed);
            }
            Rule::Stay | Rule::Refuse => {}
        }
        Ok(())
    }

    /// A branch says that its seal is there.
    fn aborted(
        &mut self,
        now: Timestamp,
        index: BranchIndex,
        orders: &mut Vec<Order>,
    ) -> Result<(), Refused> {
        let rule = self.rule(InputKind::Aborted)?;
        let against = self.fate() == Some(Fate::Commit);
        match rule {
            Rule::Until(_) => {
                if let Some(branch) = self.branch_mut(index) {
                    branch.end(if against {
                        Ended::HeuristicAborted
                    } else {
                        Ended::Aborted
                    });
                }
                self.close_if_ended(now, orders);
            }
            Rule::To(phase) => {
                self.phase = phase;
                self.record_abort(now, AbortReason::Sealed, orders);
                self.end_all(Ended::Aborted);
            }
            Rule::Stay | Rule::Refuse => {}
        }
        Ok(())
    }

    /// The owner that began the group decides abort. Where the group is the whole plan nothing need
    /// be durable first: whoever finds it begun and undecided aborts it too. A pivot that is found
    /// so is led forward again, so its abort is.
    fn abort(
        &mut self,
        now: Timestamp,
        phase: Phase,
        reason: AbortReason,
        orders: &mut Vec<Order>,
    ) {
        self.phase = phase;
        self.record_abort(now, reason, orders);
        let after = if phase == Phase::Aborting {
            Gate::Open
        } else {
            Gate::Record
        };
        self.tell_abort(after, orders);
    }

    /// A branch could not be asked: nothing was sent to it, and that counts as a refusal.
    pub(crate) fn refuse(
        &mut self,
        now: Timestamp,
        index: BranchIndex,
        refusal: Refusal,
    ) -> Result<Vec<Order>, Refused> {
        let mut orders = Vec::new();
        self.refused(now, index, refusal, &mut orders)?;
        Ok(orders)
    }

    /// Aborts a pivot that this owner has not asked to prepare, but an earlier one may have.
    pub(crate) fn abort_held(&mut self, now: Timestamp, reason: AbortReason) -> Vec<Order> {
        let mut orders = Vec::new();
        if self.phase == Phase::Held {
            self.abort(now, Phase::DecidingAbort, reason, &mut orders);
        }
        orders
    }

    fn record_commit(&mut self, at: Timestamp, orders: &mut Vec<Order>) {
        let votes = self
            .branches
            .iter()
            .filter_map(|branch| branch.vote.clone())
            .collect();
        let record = Record::Committed(Committed { at, votes });
        orders.push(Order::Record { record, urgency: Urgency::Forced });
    }

    fn record_abort(&mut self, at: Timestamp, reason: AbortReason, orders: &mut Vec<Order>) {
        self.reason = Some(reason.clone());
        let record = Record::Aborted(Aborted { at, reason, compensate: Vec::new() });
        orders.push(Order::Record { record, urgency: Urgency::Forced });
    }

    fn ask_all(&mut self, one_phase: bool, orders: &mut Vec<Order>) {
        for branch in &mut self.branches {
            branch.begin(Stage::Asked);
            let attempt = branch.calls.call();
            orders.push(Order::Prepare { branch: branch.index, attempt, one_phase });
        }
    }

    fn tell_commit(&mut self, after: Gate, orders: &mut Vec<Order>) {
        let ended = if self.delegated {
            Ended::Committed
        } else {
            Ended::ReadOnly
        };
        for branch in &mut self.branches {
            if matches!(branch.vote, Some(VoteRecord { ended: true, .. })) {
                branch.end(ended);
                continue;
            }
            branch.begin(Stage::Told(Fate::Commit));
            orders.push(finish(branch, after, Fate::Commit));
        }
    }

    /// Abort goes to every branch, those that voted no or read-only included: the seal there
    /// stops a late repeat of the prepare call.
    fn tell_abort(&mut self, after: Gate, orders: &mut Vec<Order>) {
        for branch in &mut self.branches {
            branch.begin(Stage::Told(Fate::Abort));
            orders.push(finish(branch, after, Fate::Abort));
        }
    }

    fn repeat(&mut self, index: BranchIndex, orders: &mut Vec<Order>) {
        let one_phase = self.delegated;
        let Some(branch) = self.branch_mut(index) else {
            return;
        };
        if branch.calls.in_flight || branch.calls.retry_at.is_none() {
            return;
        }
        match branch.stage {
            Stage::Asked => {
                let attempt = branch.calls.call();
                orders.push(Order::Prepare { branch: index, attempt, one_phase });
            }
            // The record was durable before the first try.
            Stage::Told(fate) => orders.push(finish(branch, Gate::Open, fate)),
            Stage::Waiting | Stage::Agreed | Stage::Refused(_) | Stage::Ended(_) => {}
        }
    }

    fn end_all(&mut self, ended: Ended) {
        self.branches
            .iter_mut()
            .for_each(|branch| branch.end(ended));
    }

    fn close_if_ended(&mut self, now: Timestamp, orders: &mut Vec<Order>) {
        let telling = matches!(self.phase, Phase::Committing | Phase::Aborting);
        if telling && self.branches.iter().all(Progress::has_ended) {
            self.close(now, orders);
        }
    }

    fn close(&mut self, at: Timestamp, orders: &mut Vec<Order>) {
        self.phase = Phase::Closed;
        let heuristic = self.branches.iter().filter(|branch| branch.is_heuristic());
        let heuristics = heuristic.map(|branch| branch.index).collect();
        let late = self.branches.iter().filter_map(|branch| {
            branch
                .late_result
                .clone()
                .map(|result| (branch.index, result))
        });
        let record = Record::Closed(Closed { at, heuristics, results: late.collect() });
        orders.push(Order::Record { record, urgency: Urgency::Lazy });
    }

    fn rule(&self, input: InputKind) -> Result<Rule, Refused> {
        match rule(self.phase, input) {
            Rule::Refuse => Err(Refused { phase: self.phase, input }),
            rule @ (Rule::To(_) | Rule::Until(_) | Rule::Stay) => Ok(rule),
        }
    }
}

fn finish(branch: &mut Progress, after: Gate, fate: Fate) -> Order {
    let attempt = branch.calls.call();
    // A recalled branch may turn out to have committed, so an abort asks for the result as well.
    let want_result = branch.result().is_none();
    Order::Finish { after, branch: branch.index, fate, attempt, want_result }
}
