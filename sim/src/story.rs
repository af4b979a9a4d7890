//! A counter-example as a story that a person can follow: one number per step, and what came of it.

use std::fmt;

use crate::engine::Counterexample;
use crate::explorer::Finding;
use crate::world::{Action, Config, Log, World};

/// A path through the world, told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    steps: Vec<Vec<String>>,
    end: String,
}

impl Story {
    /// Tells how a violation comes about.
    #[must_use]
    pub fn of(config: &Config, found: &Counterexample<Action, Finding>) -> Self {
        let actions = found.actions.iter().chain(&found.violation.healing);
        Self::tell(
            config,
            actions.copied(),
            found.violation.violation.to_string(),
        )
    }

    /// Walks a path again and tells it.
    pub fn tell(config: &Config, actions: impl Iterator<Item = Action>, end: String) -> Self {
        let mut world = World::new(config);
        let mut steps = Vec::new();
        for action in actions {
            let mut log = Log::telling();
            world = world.after(config, action, &mut log);
            steps.push(log.lines.unwrap_or_default());
        }
        Self { steps, end }
    }

    /// How many steps it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, lines) in (1..).zip(&self.steps) {
            for (place, line) in lines.iter().enumerate() {
                if place == 0 {
                    writeln!(f, "{number:>3}. {line}")?;
                } else {
                    writeln!(f, "     - {line}")?;
                }
            }
        }
        writeln!(f, "  => {}", self.end)
    }
}
