//! From a request to a plan, or to the list of its faults, each with its path.
//!
//! First the steps are taken one by one: names, numbers, forms. Then what they are to each other:
//! the order, what may become of each (its class), and what may refer to whose result.

mod action;
mod check;
mod fault;
mod graph;
mod group;
mod plan;
#[cfg(test)]
mod tests;

pub use fault::{PlanFault, PlanFaultCode, PlanFaults};
