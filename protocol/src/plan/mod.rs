//! What a transaction is to do: a plan of steps, checked once, and the machine that leads it
//! through.
//!
//! One type carries every way of working: atomic groups of two-phase and TCC branches, saga
//! actions, and messages. [`Course`] is the machine of a plan's direction and scheduling; what
//! happens inside a step it leaves to [`crate::group`] and [`crate::action`].

mod action;
mod climb;
mod course;
mod order;
mod reference;
mod request;
mod steps;
mod stored;
mod template;
mod validate;

pub use action::{Action, Compensation, Endpoint, Retry, Task};
pub use climb::leads_up;
pub use course::{Course, Direction, Input, Refused};
pub use order::{Gate, Order};
pub use reference::Reference;
pub use request::{
    ActionRequest, BranchRequest, Class, EndpointRequest, GroupRequest, MessageRequest, Method,
    Mode, PlanRequest, RetryRequest, StepRequest,
};
pub use steps::{Branch, Group, Message, Plan, Step, Work};
pub use template::{PathTemplate, RenderError, Template};
pub use validate::{PlanFault, PlanFaultCode, PlanFaults};
