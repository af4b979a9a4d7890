//! What is wrong with a request.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One fault of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFault {
    /// Where: `branches[1].participant`.
    pub path: String,
    /// What kind.
    pub code: PlanFaultCode,
    /// In words.
    pub detail: String,
}

/// What is wrong with a plan. The texts on the wire are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PlanFaultCode {
    /// A field that is needed is not there.
    Missing,
    /// There must be at least one.
    Empty,
    /// There are more than allowed.
    TooMany,
    /// It is larger than allowed.
    TooLarge,
    /// It is not of its form.
    Form,
    /// It is out of its range.
    Range,
    /// The name is taken by another step or branch of the plan.
    Duplicate,
    /// No such step or participant.
    Unknown,
    /// Two fields exclude each other.
    Conflict,
    /// A field that does not exist here.
    UnknownField,
    /// The steps wait for each other.
    Cycle,
    /// It does not stand where it may: see the rules on classes and references.
    Order,
    /// This version cannot do it.
    Unsupported,
}

/// All faults that were found; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PlanFaults(pub Vec<PlanFault>);

impl fmt::Display for PlanFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", fault.path, fault.detail)?;
        }
        Ok(())
    }
}
