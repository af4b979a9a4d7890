//! What is tested.

use std::time::Duration;

use accordant_protocol::id::{OperationName, ParticipantName};
use accordant_protocol::json::Json;
use accordant_protocol::plan::{
    Action, ActionRequest, Class, Compensation, Endpoint, Plan, PlanFaults, PlanRequest,
    StepRequest, Task,
};
use http::Uri;

use crate::check::Area;
use crate::checks::checks;
use crate::limits::{
    DUPLICATES_DEFAULT, DUPLICATES_MAX, PATIENCE_MS_DEFAULT, TIMEOUT_MS_DEFAULT, WAIT_MS_MAX,
};
use crate::seed::Seed;

/// Which service is tested, and what it is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address below which the service answers, as it is registered at a coordinator.
    pub base: Uri,
    /// The name by which it goes.
    pub name: ParticipantName,
    /// An action and its compensation.
    pub act: Option<Operation>,
    /// A branch that is prepared in the database. Its payload must make it write something.
    pub two_phase: Option<Operation>,
    /// A reservation that is confirmed or cancelled.
    pub tcc: Option<Operation>,
    /// Endpoints that know nothing of Accordant.
    pub plain: Option<Plain>,
    /// A path below the base address whose `GET` shows what the operations change and nothing else,
    /// such as a balance. With it the kit sees effects, and not only answers.
    pub state: Option<String>,
    /// How long one call may take.
    pub timeout: Duration,
    /// How long a question is asked again while the answer is to ask again.
    pub patience: Duration,
    /// How many calls are sent at once where repeats meet each other.
    pub duplicates: usize,
    /// What ids and choices follow from.
    pub seed: Seed,
    /// Only checks whose id begins with one of these; all if empty.
    pub only: Vec<String>,
}

/// An operation by the contract.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Which.
    pub name: OperationName,
    /// One that it carries out, each time it is asked as a new transaction.
    pub payload: Json,
    /// One that it refuses for reasons of business.
    pub refused: Option<Json>,
}

/// The requests of a plain action.
#[derive(Clone, Debug)]
pub struct Plain {
    action: Action,
    /// A body of the act that is refused, with 409 or what the action names.
    pub refused: Option<Json>,
}

/// Why nothing can be tested with these options.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Not an address that can be called.
    #[error("the address of the service must be http://HOST[:PORT][/PATH], without query")]
    Base,
    /// No way of working was named.
    #[error("nothing to test: name an operation, or the requests of a plain service")]
    Nothing,
    /// The plain action is not one that a plan could hold.
    #[error("the plain action is not of its form: {0}")]
    Plain(#[from] PlanFaults),
    /// It is an operation by the contract.
    #[error("the plain action must have `act`, a request")]
    NotPlain,
    /// Not a path below the base address.
    #[error("the path of the state must begin with a slash")]
    State,
    /// The service does not answer there with its state.
    #[error("GET {path} does not show the state with HTTP 200: {came}")]
    StateUnseen {
        /// Where.
        path: String,
        /// What came instead.
        came: String,
    },
    /// A number that makes no sense here.
    #[error("{what} must be from {min} to {max}")]
    Range {
        /// Which.
        what: &'static str,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// No check has such an id.
    #[error("no check begins with {0:?}; `--list` shows them all")]
    Only(String),
}

impl Options {
    /// Options with the usual waits, that test nothing yet.
    #[must_use]
    pub const fn new(base: Uri, name: ParticipantName, seed: Seed) -> Self {
        Self {
            base,
            name,
            act: None,
            two_phase: None,
            tcc: None,
            plain: None,
            state: None,
            timeout: Duration::from_millis(TIMEOUT_MS_DEFAULT),
            patience: Duration::from_millis(PATIENCE_MS_DEFAULT),
            duplicates: DUPLICATES_DEFAULT,
            seed,
            only: Vec::new(),
        }
    }

    /// Checks that something can be tested.
    ///
    /// # Errors
    /// [`OptionsError`] says what to change.
    pub fn check(&self) -> Result<(), OptionsError> {
        let callable = self.base.scheme_str() == Some("http") && self.base.host().is_some();
        if !callable || self.base.query().is_some() {
            return Err(OptionsError::Base);
        }
        if Area::ALL.iter().all(|area| !self.has(*area)) {
            return Err(OptionsError::Nothing);
        }
        if self
            .state
            .as_ref()
            .is_some_and(|path| !path.starts_with('/'))
        {
            return Err(OptionsError::State);
        }
        for (what, wait) in [
            ("the timeout", self.timeout),
            ("the patience", self.patience),
        ] {
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            range(what, ms, 1, WAIT_MS_MAX)?;
        }
        let (duplicates, max) = (self.duplicates as u64, DUPLICATES_MAX as u64);
        range("the number of duplicates", duplicates, 2, max)?;
        let unknown = |only: &&String| !checks().any(|it| it.id.starts_with(only.as_str()));
        match self.only.iter().find(unknown) {
            Some(only) => Err(OptionsError::Only(only.clone())),
            None => Ok(()),
        }
    }

    /// Whether checks of an area apply.
    #[must_use]
    pub const fn has(&self, area: Area) -> bool {
        let group = self.two_phase.is_some() || self.tcc.is_some();
        match area {
            Area::Act => self.act.is_some(),
            Area::TwoPhase => self.two_phase.is_some(),
            Area::Tcc => self.tcc.is_some(),
            Area::Plain => self.plain.is_some(),
            Area::Contract => self.act.is_some() || group,
        }
    }
}

const fn range(what: &'static str, value: u64, min: u64, max: u64) -> Result<(), OptionsError> {
    if value < min || value > max {
        return Err(OptionsError::Range { what, min, max });
    }
    Ok(())
}

/// The name of the step in the plan that holds the plain action: its compensation may refer to the
/// result as `{act#/pointer}`.
pub(crate) const STEP: &str = "act";

impl Plain {
    /// Takes an action as it would stand in a plan: `act` and `compensate` are requests.
    ///
    /// # Errors
    /// [`OptionsError`] if a plan would not take it.
    pub fn new(request: ActionRequest, refused: Option<Json>) -> Result<Self, OptionsError> {
        let class = request.compensate.is_none() && !request.without_compensation;
        let step = StepRequest {
            name: STEP.to_owned(),
            class: class.then_some(Class::Pivot),
            action: Some(request),
            ..StepRequest::default()
        };
        let plan = PlanRequest { steps: Some(vec![step]), branches: None };
        let plan = Plan::try_from(plan)?;
        let action = plan.actions().find(|action| action.is_plain()).cloned();
        let action = action.ok_or(OptionsError::NotPlain)?;
        Ok(Self { action, refused })
    }

    pub(crate) const fn act(&self) -> Option<&Endpoint> {
        match &self.action.act {
            Task::Endpoint(endpoint) => Some(endpoint),
            Task::Operation { .. } => None,
        }
    }

    pub(crate) const fn compensate(&self) -> Option<&Endpoint> {
        match &self.action.compensation {
            Compensation::Endpoint(endpoint) => Some(endpoint),
            Compensation::Nothing | Compensation::Operation => None,
        }
    }
}
