//! What a transaction is to do: a plan of steps, checked once.
//!
//! One type carries every way of working. In this version a plan is one atomic group of two-phase
//! branches; saga actions, messages and TCC branches have their place in the types and are refused
//! with the code `unsupported`.

mod request;
mod steps;
mod validate;

pub use request::{BranchRequest, GroupRequest, Mode, PlanRequest, StepRequest};
pub use steps::{Branch, Group, Plan, Step, Work};
pub use validate::{PlanFault, PlanFaultCode, PlanFaults};
