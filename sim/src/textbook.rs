//! The textbook model of two-phase commit, to calibrate the engine against known counts.
//!
//! Reference: Gray and Lamport, *Consensus on Transaction Commit* (2006), module `TwoPhase`; the
//! same model is an example of Stateright. It has 288 distinct states for three resource managers,
//! 8,832 for five and 296,448 for seven. An engine that prunes or repeats states misses the counts.

use crate::engine::Model;

/// Two-phase commit without faults in its messages, which are never taken out again.
#[derive(Clone, Copy, Debug)]
pub struct TwoPhase {
    /// How many resource managers take part.
    pub managers: u8,
    /// The rule that the transaction manager waits for all; a control that must fail without it.
    pub waits_for_all: bool,
}

/// A state of [`TwoPhase`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    managers: Vec<Manager>,
    decision: Option<Decision>,
    /// Those whose `Prepared` the transaction manager has received.
    received: u8,
    /// Those whose `Prepared` is in the set of messages.
    sent: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Manager {
    Working,
    Prepared,
    Committed,
    Aborted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Decision {
    Commit,
    Abort,
}

/// A step of [`TwoPhase`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The transaction manager decides commit.
    Commit,
    /// The transaction manager decides abort.
    Abort,
    /// The transaction manager receives a `Prepared`.
    Receive(u8),
    /// A resource manager prepares.
    Prepare(u8),
    /// A resource manager aborts of its own accord.
    ChooseAbort(u8),
    /// A resource manager obeys the decision.
    Obey(u8),
}

/// One manager has committed and another aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inconsistent;

impl Model for TwoPhase {
    type State = State;
    type Action = Action;
    type Violation = Inconsistent;

    fn initial(&self) -> Vec<State> {
        let managers = vec![Manager::Working; usize::from(self.managers)];
        vec![State { managers, decision: None, received: 0, sent: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let all = (1 << self.managers) - 1;
        if state.decision.is_none() {
            if state.received == all || (!self.waits_for_all && state.received != 0) {
                actions.push(Action::Commit);
            }
            actions.push(Action::Abort);
        }
        for (manager, number) in state.managers.iter().zip(0_u8..) {
            let bit = 1 << number;
            if state.decision.is_none() && state.sent & bit != 0 && state.received & bit == 0 {
                actions.push(Action::Receive(number));
            }
            if *manager == Manager::Working {
                actions.push(Action::Prepare(number));
                actions.push(Action::ChooseAbort(number));
            }
            if state.decision.is_some() {
                actions.push(Action::Obey(number));
            }
        }
    }

    fn apply(&self, state: &State, action: &Action) -> State {
        let mut next = state.clone();
        let (number, manager) = match *action {
            Action::Commit => {
                next.decision = Some(Decision::Commit);
                return next;
            }
            Action::Abort => {
                next.decision = Some(Decision::Abort);
                return next;
            }
            Action::Receive(number) => {
                next.received |= 1 << number;
                return next;
            }
            Action::Prepare(number) => {
                next.sent |= 1 << number;
                (number, Manager::Prepared)
            }
            Action::ChooseAbort(number) => (number, Manager::Aborted),
            Action::Obey(number) => {
                let obeyed = match state.decision {
                    Some(Decision::Commit) => Manager::Committed,
                    Some(Decision::Abort) | None => Manager::Aborted,
                };
                (number, obeyed)
            }
        };
        if let Some(place) = next.managers.get_mut(usize::from(number)) {
            *place = manager;
        }
        next
    }

    fn check(&mut self, state: &State) -> Option<Inconsistent> {
        let has = |manager| state.managers.contains(&manager);
        (has(Manager::Committed) && has(Manager::Aborted)).then_some(Inconsistent)
    }
}
