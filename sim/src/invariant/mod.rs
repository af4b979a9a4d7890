//! What must hold, one invariant a file, with its name in the literature.
//!
//! State invariants are checked in every state. Those about a step (what may leave a process, what
//! a row may be written under) are raised where the step is made, and kept in the world as alarms.

pub mod agreement;
pub mod answer;
pub mod closure;
pub mod durability;
pub mod fencing;
pub mod honesty;
pub mod once;
pub mod termination;
pub mod uniqueness;
pub mod validity;

use std::fmt;

use crate::world::World;

/// Which invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// I1, AC1: no branch committed and another aborted.
    Agreement,
    /// I2, AC2: at most one decision per transaction, over all epochs.
    OneDecision,
    /// I3: durable before it is sent or told.
    DurableFirst,
    /// I4: what was told stays true.
    AnswerTruth,
    /// I5, AC3: commit only if every branch has agreed.
    Validity,
    /// I6: no branch is left prepared.
    NoOrphan,
    /// I7: each effect once, and only if it was asked for.
    Once,
    /// I9: no row of an earlier epoch after the epoch was raised.
    Fencing,
    /// I10: a saga goes one way, to its end.
    Closure,
    /// I11, AC5: everything ends.
    Termination,
    /// AC4: without faults and if all vote yes, commit.
    NonTriviality,
    /// I12, I13: no branch ends against the decision, and no alarm is raised without a cause.
    Honesty,
    /// What `protocol::invariant` says about a node.
    Core,
}

impl Invariant {
    /// Every invariant.
    pub const ALL: [Self; 13] = [
        Self::Agreement,
        Self::OneDecision,
        Self::DurableFirst,
        Self::AnswerTruth,
        Self::Validity,
        Self::NoOrphan,
        Self::Once,
        Self::Fencing,
        Self::Closure,
        Self::Termination,
        Self::NonTriviality,
        Self::Honesty,
        Self::Core,
    ];

    /// The number in the documentation.
    #[must_use]
    pub const fn number(self) -> &'static str {
        match self {
            Self::Agreement => "I1",
            Self::OneDecision => "I2",
            Self::DurableFirst => "I3",
            Self::AnswerTruth => "I4",
            Self::Validity => "I5",
            Self::NoOrphan => "I6",
            Self::Once => "I7",
            Self::Fencing => "I9",
            Self::Closure => "I10",
            Self::Termination => "I11",
            Self::NonTriviality => "AC4",
            Self::Honesty => "I13",
            Self::Core => "core",
        }
    }
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Violation {
    /// Which invariant it breaks.
    pub invariant: Invariant,
    /// How.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(invariant: Invariant, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({:?}): {}",
            self.invariant.number(),
            self.invariant,
            self.what
        )
    }
}

/// Everything that is wrong with a state, the alarms of the step into it included.
#[must_use]
pub fn check(world: &World) -> Vec<Violation> {
    let mut violations = world.alarms.clone();
    agreement::check(world, &mut violations);
    uniqueness::check(world, &mut violations);
    answer::check(world, &mut violations);
    validity::check(world, &mut violations);
    once::check(world, &mut violations);
    fencing::check(world, &mut violations);
    closure::check(world, &mut violations);
    honesty::check(world, &mut violations);
    violations
}
