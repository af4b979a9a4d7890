//! A saga action, or a target of a message, that has been checked.

use super::reference::Reference;
use super::request::{Class, Method};
use super::template::{PathTemplate, Template};
use crate::id::{BranchIndex, BranchName, OperationName, ParticipantName};
use crate::limits::{ACT_PAUSE_MS_DEFAULT, ACT_PAUSE_MS_MAX_DEFAULT, COMPENSATE_ATTEMPTS_DEFAULT};

/// A call that takes effect at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// Its number over the whole plan.
    pub index: BranchIndex,
    /// The name of its step.
    pub name: BranchName,
    /// Who does it.
    pub participant: ParticipantName,
    /// What its step may become.
    pub class: Class,
    /// How it acts.
    pub act: Task,
    /// How it is made good.
    pub compensation: Compensation,
    /// How long one attempt may take, in milliseconds; as configured if absent.
    pub timeout_ms: Option<u64>,
    /// How long the act may take in all, in milliseconds from its first attempt.
    pub deadline_ms: Option<u64>,
    /// How the act is repeated.
    pub retry: Retry,
    /// How the compensation is repeated.
    pub compensate_retry: Retry,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// An operation of a participant that keeps the contract.
    Operation {
        /// Which.
        operation: OperationName,
        /// With what.
        payload: Template,
    },
    /// A request to a plain HTTP service.
    Endpoint(Endpoint),
}

/// How an action is made good.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Compensation {
    /// There is nothing to make good.
    Nothing,
    /// By the contract, under the name of the operation.
    Operation,
    /// By a request to a plain HTTP service.
    Endpoint(Endpoint),
}

/// A request to a plain HTTP service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The method.
    pub method: Method,
    /// Behind the participant's base address.
    pub path: PathTemplate,
    /// Sent along.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Template>,
    /// The statuses that say *done*; each of 200 to 299 if empty.
    pub done: Vec<u16>,
    /// The statuses that say *refused*; 409 if empty.
    pub refused: Vec<u16>,
}

/// How a call is repeated: capped exponential backoff with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Retry {
    /// The first pause, in milliseconds.
    pub pause_ms: u64,
    /// The longest pause, in milliseconds.
    pub pause_ms_max: u64,
    /// How many attempts are made; without an end if absent.
    pub attempts: Option<u32>,
}

impl Retry {
    /// For an act, unasked: for ever, or until a deadline.
    pub const ACT: Self = Self {
        pause_ms: ACT_PAUSE_MS_DEFAULT,
        pause_ms_max: ACT_PAUSE_MS_MAX_DEFAULT,
        attempts: None,
    };

    /// For a compensation, unasked: an operator is called after a while.
    pub const COMPENSATE: Self = Self { attempts: Some(COMPENSATE_ATTEMPTS_DEFAULT), ..Self::ACT };
}

impl Action {
    /// Whether it is done by a service that knows nothing of Accordant: then nobody keeps a late
    /// act out, and one whose outcome is unknown must be known before it is made good.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        matches!(self.act, Task::Endpoint(_))
    }

    /// What it refers to, acting.
    #[must_use]
    pub fn act_references(&self) -> Vec<&Reference> {
        match &self.act {
            Task::Operation { payload, .. } => payload.references().collect(),
            Task::Endpoint(endpoint) => endpoint.references(),
        }
    }

    /// What it refers to, acting and making good.
    #[must_use]
    pub fn references(&self) -> Vec<&Reference> {
        let act = self.act_references();
        let compensation = match &self.compensation {
            Compensation::Endpoint(endpoint) => endpoint.references(),
            Compensation::Nothing | Compensation::Operation => Vec::new(),
        };
        [act, compensation].concat()
    }
}

impl Endpoint {
    fn references(&self) -> Vec<&Reference> {
        let body = self.body.iter().flat_map(Template::references);
        self.path.references().chain(body).collect()
    }
}
