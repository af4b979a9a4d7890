//! The engine over the world: every state is checked, and from every state the world heals.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::engine::{Limit, Model, Report, explore};
use crate::fingerprint::fingerprint;
use crate::invariant::{Invariant, Violation, check, termination};
use crate::world::{Action, Config, Log, Marks, World};

/// More steps than the longest course to a quiet state. If it takes longer, nothing ends.
const HEAL_STEPS_MAX: usize = 600;

/// What is wrong, and where: in the state itself, or where it leads once faults stop.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What.
    pub violation: Violation,
    /// The steps after faults stopped, if that is how it shows.
    pub healing: Vec<Action>,
}

/// The world as a model for the engine.
#[derive(Debug)]
pub struct Exploration<'a> {
    config: &'a Config,
    /// Only these count. All, unless a removed rule is to be shown by a certain consequence.
    watched: Vec<Invariant>,
    /// States from which everything ends.
    healed: HashSet<u128>,
    log: RefCell<Log>,
}

impl<'a> Exploration<'a> {
    /// Watches every invariant.
    #[must_use]
    pub fn new(config: &'a Config) -> Self {
        Self::watching(config, &Invariant::ALL)
    }

    /// Watches some invariants.
    #[must_use]
    pub fn watching(config: &'a Config, watched: &[Invariant]) -> Self {
        let (watched, healed) = (watched.to_vec(), HashSet::new());
        Self { config, watched, healed, log: RefCell::new(Log::default()) }
    }

    /// Explores up to a limit.
    pub fn run(&mut self, limit: Limit) -> Report<Action, Finding> {
        explore(self, limit)
    }

    /// What was passed on the way.
    #[must_use]
    pub fn marks(&self) -> Marks {
        self.log.borrow().marks.clone()
    }

    pub(crate) fn step(&self, world: &World, action: Action) -> World {
        world.after(self.config, action, &mut self.log.borrow_mut())
    }

    fn pick(&self, violations: Vec<Violation>) -> Option<Violation> {
        violations
            .into_iter()
            .find(|it| self.watched.contains(&it.invariant))
    }

    /// Lets faults stop and follows the world until it is quiet.
    pub(crate) fn heal(&mut self, state: &World) -> Option<Finding> {
        let mut log = Log::default();
        let mut passed = Vec::new();
        let mut healing = vec![Action::Calm];
        let mut asked = Vec::new();
        let mut world = state.after(self.config, Action::Calm, &mut log);
        loop {
            let print = fingerprint(&world);
            if asked.is_empty() && self.healed.contains(&print) {
                break;
            }
            passed.push(print);
            if let Some(violation) = self.pick(check(&world)) {
                return Some(Finding { violation, healing });
            }
            let Some(action) = world.heal(self.config, &asked) else {
                let mut violations = Vec::new();
                termination::check(self.config, &world, &mut violations);
                match self.pick(violations) {
                    Some(violation) => return Some(Finding { violation, healing }),
                    None => break,
                }
            };
            if matches!(action, Action::Inquire(..)) {
                asked.push(action);
            } else if !matches!(action, Action::LookUp(_)) {
                asked.clear();
            }
            healing.push(action);
            world = world.after(self.config, action, &mut log);
            if healing.len() > HEAL_STEPS_MAX {
                let what = format!("after {HEAL_STEPS_MAX} steps in health it is not quiet");
                let violation = Violation { invariant: Invariant::Termination, what };
                return self
                    .pick(vec![violation])
                    .map(|violation| Finding { violation, healing });
            }
        }
        self.healed.extend(passed);
        None
    }
}

impl Model for Exploration<'_> {
    type State = World;
    type Action = Action;
    type Violation = Finding;

    fn initial(&self) -> Vec<World> {
        vec![World::new(self.config)]
    }

    fn actions(&self, state: &World, actions: &mut Vec<Action>) {
        state.actions(self.config, actions);
    }

    fn apply(&self, state: &World, action: &Action) -> World {
        state.after(self.config, *action, &mut self.log.borrow_mut())
    }

    fn check(&mut self, state: &World) -> Option<Finding> {
        if let Some(violation) = self.pick(check(state)) {
            return Some(Finding { violation, healing: Vec::new() });
        }
        self.heal(state)
    }
}
