//! What is to happen, everywhere or nowhere.

use std::time::Duration;

use accordant_protocol::id::Traceparent;
use accordant_protocol::plan::{BranchRequest, Mode};
use accordant_protocol::wire::api::{SubmitRequest, Wait};
use serde::Serialize;

use crate::plan::{PayloadError, Step, json};

/// A transaction to be submitted: branches that happen all or none, or the steps of a plan.
///
/// Give branches *or* steps; an atomic group among other steps is a step of its own, by
/// [`Step::group`].
///
/// Names are checked by the coordinator, which knows the participants and reports every fault with
/// its path. The order of the branches is part of the request: a repeat under the same key must be
/// built in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    pub(crate) request: SubmitRequest,
    pub(crate) traceparent: Option<Traceparent>,
}

impl Transaction {
    /// A transaction without branches, decided within 30 seconds, and answered once it is decided.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a branch: `operation` of `participant`, with a payload.
    ///
    /// The name is unique in the transaction, and what [`crate::Status::result`] asks for.
    ///
    /// # Errors
    /// [`PayloadError`] if the payload cannot be expressed in JSON.
    pub fn branch<P: Serialize + ?Sized>(
        mut self,
        name: impl Into<String>,
        participant: impl Into<String>,
        operation: impl Into<String>,
        payload: &P,
    ) -> Result<Self, PayloadError> {
        let name = name.into();
        let payload = json(&name, payload)?;
        let (participant, operation) = (participant.into(), operation.into());
        let branch = BranchRequest { name, participant, operation, payload, mode: Mode::TwoPhase };
        self.request.branches.get_or_insert_default().push(branch);
        Ok(self)
    }

    /// Adds a step of a plan. Steps that do not come after each other are done at the same time.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        let steps = self.request.steps.get_or_insert_default();
        steps.push(step.into_request());
        self
    }

    /// How long the branches have to do their work and vote, from the moment that the coordinator
    /// takes the transaction. After it: abort. 30 seconds unless given. For a plan with other steps
    /// it is the time until its saga turns back, an hour unless given; and for one with a local
    /// branch the time until the coordinator looks by itself how that has ended, 30 seconds unless
    /// given.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        // What does not fit is far above what the coordinator allows, and it says so.
        let ms = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        self.request.timeout_ms = Some(ms);
        self
    }

    /// When the reply comes: once it is decided, unless given.
    #[must_use]
    pub const fn wait(mut self, wait: Wait) -> Self {
        self.request.wait = wait;
        self
    }

    /// The W3C trace context of the caller, carried through to the participants.
    #[must_use]
    pub fn traceparent(mut self, traceparent: Traceparent) -> Self {
        self.traceparent = Some(traceparent);
        self
    }
}
