//! Breadth-first search over every state that a model can reach.
//!
//! Breadth-first, so that the first violation that is found has a shortest path to it. The engine
//! knows nothing of transactions; `textbook.rs` checks it against counts from the literature.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

use crate::fingerprint::fingerprint;

/// A finite transition system with something to check in each state.
pub trait Model {
    /// A state. Equal states hash alike; only the fingerprint is kept of one that was visited.
    type State: Clone + Eq + Hash;
    /// One transition out of a state.
    type Action: Clone;
    /// What can be wrong with a state.
    type Violation;

    /// Where it begins.
    fn initial(&self) -> Vec<Self::State>;

    /// Appends the transitions that are possible in a state.
    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>);

    /// Where a transition leads. Deterministic: a path is stored as its actions and walked again.
    fn apply(&self, state: &Self::State, action: &Self::Action) -> Self::State;

    /// What is wrong with a state, if anything.
    fn check(&mut self, state: &Self::State) -> Option<Self::Violation>;
}

/// Where a search gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Distinct states.
    pub states: usize,
}

/// What a search came to.
#[derive(Clone, Debug)]
pub struct Report<A, V> {
    /// Distinct states that were reached.
    pub states: usize,
    /// Transitions that were taken.
    pub transitions: usize,
    /// Length of the longest of the shortest paths to a state.
    pub depth: usize,
    /// Every reachable state was reached: the limit cut nothing off, and no violation ended it.
    pub complete: bool,
    /// The first violation, by a shortest path.
    pub counterexample: Option<Counterexample<A, V>>,
}

/// A way from an initial state to a violation.
#[derive(Clone, Debug)]
pub struct Counterexample<A, V> {
    /// Which of the initial states it starts from.
    pub initial: usize,
    /// The transitions.
    pub actions: Vec<A>,
    /// What is wrong where they lead.
    pub violation: V,
}

/// How a state was reached first.
struct Step<A> {
    from: Option<(usize, A)>,
    initial: usize,
    depth: usize,
}

/// Searches until everything is visited, something is wrong, or the limit is reached.
pub fn explore<M: Model>(model: &mut M, limit: Limit) -> Report<M::Action, M::Violation> {
    let mut search = Search {
        visited: HashSet::new(),
        steps: Vec::new(),
        queue: VecDeque::new(),
    };
    let mut report = Report {
        states: 0,
        transitions: 0,
        depth: 0,
        complete: true,
        counterexample: None,
    };
    for (initial, state) in model.initial().into_iter().enumerate() {
        search.reach(state, Step { from: None, initial, depth: 0 });
    }
    let mut actions = Vec::new();
    while let Some((number, state)) = search.queue.pop_front() {
        let (initial, depth) = search
            .steps
            .get(number)
            .map_or((0, 0), |step| (step.initial, step.depth));
        report.depth = report.depth.max(depth);
        if let Some(violation) = model.check(&state) {
            let actions = search.path(number);
            report.counterexample = Some(Counterexample { initial, actions, violation });
            report.complete = false;
            break;
        }
        actions.clear();
        model.actions(&state, &mut actions);
        report.transitions += actions.len();
        for action in &actions {
            if search.steps.len() >= limit.states {
                report.complete = false;
                break;
            }
            let next = model.apply(&state, action);
            let from = Some((number, action.clone()));
            search.reach(next, Step { from, initial, depth: depth + 1 });
        }
    }
    report.states = search.steps.len();
    report
}

struct Search<S, A> {
    /// Asked for membership only, so its order does not matter.
    visited: HashSet<u128>,
    /// By order of discovery.
    steps: Vec<Step<A>>,
    queue: VecDeque<(usize, S)>,
}

impl<S: Hash, A: Clone> Search<S, A> {
    fn reach(&mut self, state: S, step: Step<A>) {
        if self.visited.insert(fingerprint(&state)) {
            self.queue.push_back((self.steps.len(), state));
            self.steps.push(step);
        }
    }

    fn path(&self, mut number: usize) -> Vec<A> {
        let mut actions = Vec::new();
        while let Some((from, action)) = self.steps.get(number).and_then(|it| it.from.as_ref()) {
            actions.push(action.clone());
            number = *from;
        }
        actions.reverse();
        actions
    }
}
