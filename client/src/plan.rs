//! Steps of a plan: actions, messages, and atomic groups among them.
//!
//! Everything is checked by the coordinator, which knows the rules and the participants and reports
//! every fault with its path; here nothing but payloads can fail.

use std::time::Duration;

use accordant_protocol::json::Json;
use accordant_protocol::plan::{
    ActionRequest, BranchRequest, Class, EndpointRequest, GroupRequest, MessageRequest, Method,
    Mode, RetryRequest, StepRequest,
};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// A payload cannot be expressed in JSON, for example a map whose keys are not strings.
#[derive(Debug, thiserror::Error)]
#[error("the payload of {of:?} cannot be expressed in JSON")]
pub struct PayloadError {
    of: String,
    source: serde_json::Error,
}

pub(crate) fn json<P: Serialize + ?Sized>(of: &str, payload: &P) -> Result<Json, PayloadError> {
    Json::from_value(payload).map_err(|source| PayloadError { of: of.to_owned(), source })
}

fn ms(duration: Duration) -> Option<u64> {
    // What does not fit is far above what the coordinator allows, and it says so.
    Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// What an earlier step returned, in the place of a part of a payload.
///
/// `"flight"` is all of it, `"flight#/seats/0"` the value at a JSON pointer in it. The earlier step
/// must be one of those that are done before, by [`Step::after`].
///
/// # Examples
/// ```
/// use accordant_client::{Endpoint, result_of};
/// use serde_json::json;
///
/// let book = Endpoint::post("/rooms").body(&json!({ "flight": result_of("flight#/id") }))?;
/// # Ok::<(), accordant_client::PayloadError>(())
/// ```
#[must_use]
pub fn result_of(reference: impl Into<String>) -> ResultOf {
    ResultOf(reference.into())
}

/// See [`result_of`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultOf(String);

impl Serialize for ResultOf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("$result", &self.0)?;
        map.end()
    }
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "give it to `Transaction::step`"]
pub struct Step(StepRequest);

impl Step {
    /// A step that acts, under a name that is unique in the transaction.
    pub fn action(name: impl Into<String>, action: Action) -> Self {
        Self(StepRequest {
            name: name.into(),
            action: Some(action.0),
            ..StepRequest::default()
        })
    }

    /// An atomic group among other steps. It is the pivot: once it is committed the transaction
    /// happens.
    pub fn group(name: impl Into<String>, group: Group) -> Self {
        Self(StepRequest {
            name: name.into(),
            group: Some(group.0),
            ..StepRequest::default()
        })
    }

    /// A step that tells somebody, and is repeated until each has heard.
    pub fn message(name: impl Into<String>, message: Message) -> Self {
        Self(StepRequest {
            name: name.into(),
            message: Some(message.0),
            ..StepRequest::default()
        })
    }

    /// Comes after that step. Call it once for each.
    pub fn after(mut self, step: impl Into<String>) -> Self {
        self.0.after.push(step.into());
        self
    }

    /// The transaction happens once this action is done. Before it steps can be made good; after it
    /// they are repeated until they are done.
    pub const fn pivot(mut self) -> Self {
        self.0.class = Some(Class::Pivot);
        self
    }

    pub(crate) fn into_request(self) -> StepRequest {
        self.0
    }
}

/// A call that takes effect at once, and how it is made good.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use accordant_client::{Action, Endpoint, Retry, Step, Transaction, result_of};
/// use serde_json::json;
///
/// # fn trip() -> Result<Transaction, accordant_client::PayloadError> {
/// let flight = Action::operation("airline", "book", &json!({ "seats": 2 }))?;
/// let rooms = json!({ "flight": result_of("flight#/id") });
/// let hotel = Action::plain("hotel", Endpoint::post("/rooms").body(&rooms)?)
///     .compensate(Endpoint::delete("/rooms/{hotel#/id}"))
///     .retry(Retry::new().first_pause(Duration::from_millis(200)).attempts(10));
/// let trip = Transaction::new()
///     .step(Step::action("flight", flight))
///     .step(Step::action("hotel", hotel).after("flight"));
/// # Ok(trip) }
/// # trip().unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "give it to `Step::action` or `Message::to`"]
pub struct Action(ActionRequest);

impl Action {
    /// An operation of a participant that keeps the contract: it acts and is made good under this
    /// one name.
    ///
    /// # Errors
    /// [`PayloadError`] if the payload cannot be expressed in JSON.
    pub fn operation<P: Serialize + ?Sized>(
        participant: impl Into<String>,
        operation: impl Into<String>,
        payload: &P,
    ) -> Result<Self, PayloadError> {
        let operation = operation.into();
        let payload = json(&operation, payload)?;
        Ok(Self(ActionRequest {
            participant: participant.into(),
            operation: Some(operation),
            payload: Some(payload),
            ..ActionRequest::default()
        }))
    }

    /// A request to a plain HTTP service, which knows nothing of Accordant but the idempotency key.
    /// Say also how it is made good.
    pub fn plain(participant: impl Into<String>, act: Endpoint) -> Self {
        Self(ActionRequest {
            participant: participant.into(),
            act: Some(act.0),
            ..ActionRequest::default()
        })
    }

    /// How a plain service is asked to make good. Its path and body may refer to what the step
    /// itself returned.
    pub fn compensate(mut self, compensate: Endpoint) -> Self {
        self.0.compensate = Some(compensate.0);
        self
    }

    /// There is nothing to make good: the step only looks.
    pub const fn without_compensation(mut self) -> Self {
        self.0.without_compensation = true;
        self
    }

    /// How long one attempt may take: 10 seconds unless given.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout_ms = ms(timeout);
        self
    }

    /// How long the step may take in all, from its first attempt. After it a step that can be made
    /// good turns its saga back. Without an end unless given.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.0.deadline_ms = ms(deadline);
        self
    }

    /// How the act is repeated: for ever, unless given.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.0.retry = Some(retry.0);
        self
    }

    /// How the compensation is repeated: 40 times, then an operator is called, unless given.
    pub fn compensate_retry(mut self, retry: Retry) -> Self {
        self.0.compensate_retry = Some(retry.0);
        self
    }
}

/// A request to a plain HTTP service, below its base address.
///
/// In the path `{gtid}` and `{STEP#/POINTER}` are filled in. A status of 200 to 299 says *done*, 409
/// *refused*, 425 *in progress*; whatever else comes is unknown, and the request is repeated under
/// the same idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "give it to `Action::plain` or `Action::compensate`"]
pub struct Endpoint(EndpointRequest);

impl Endpoint {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self(EndpointRequest {
            method: (method != Method::Post).then_some(method),
            path: path.into(),
            ..EndpointRequest::default()
        })
    }

    /// A `GET`.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::Get, path)
    }

    /// A `POST`.
    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::Post, path)
    }

    /// A `PUT`.
    pub fn put(path: impl Into<String>) -> Self {
        Self::new(Method::Put, path)
    }

    /// A `PATCH`.
    pub fn patch(path: impl Into<String>) -> Self {
        Self::new(Method::Patch, path)
    }

    /// A `DELETE`.
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::Delete, path)
    }

    /// A header to go along. Those that the coordinator sets itself are refused.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.headers.insert(name.into(), value.into());
        self
    }

    /// The body.
    ///
    /// # Errors
    /// [`PayloadError`] if it cannot be expressed in JSON.
    pub fn body<P: Serialize + ?Sized>(mut self, body: &P) -> Result<Self, PayloadError> {
        self.0.body = Some(json(&self.0.path, body)?);
        Ok(self)
    }

    /// The statuses that say *done*, in place of 200 to 299.
    pub fn done(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.0.done = Some(statuses.into_iter().collect());
        self
    }

    /// The statuses that say *refused*, in place of 409.
    pub fn refused(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.0.refused = Some(statuses.into_iter().collect());
        self
    }
}

/// How a call is repeated: under a pause that doubles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "give it to `Action::retry` or `Action::compensate_retry`"]
pub struct Retry(RetryRequest);

impl Retry {
    /// As the coordinator does it unasked.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first pause.
    pub fn first_pause(mut self, pause: Duration) -> Self {
        self.0.pause_ms = ms(pause);
        self
    }

    /// The longest pause.
    pub fn longest_pause(mut self, pause: Duration) -> Self {
        self.0.pause_ms_max = ms(pause);
        self
    }

    /// How many attempts are made.
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = Some(attempts);
        self
    }

    /// Attempts are made without an end.
    pub const fn without_end(self) -> Self {
        self.attempts(0)
    }
}

/// Branches that happen all or none, among the steps of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "give it to `Step::group`"]
pub struct Group(GroupRequest);

impl Group {
    /// A group without branches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a branch that waits for the decision as a prepared transaction in its database.
    ///
    /// # Errors
    /// [`PayloadError`] if the payload cannot be expressed in JSON.
    pub fn branch<P: Serialize + ?Sized>(
        self,
        name: impl Into<String>,
        participant: impl Into<String>,
        operation: impl Into<String>,
        payload: &P,
    ) -> Result<Self, PayloadError> {
        let (participant, operation) = (participant.into(), operation.into());
        self.add(name.into(), participant, operation, payload, Mode::TwoPhase)
    }

    /// Adds a branch that waits for the decision as a reservation of the service's own: try, then
    /// confirm or cancel.
    ///
    /// # Errors
    /// [`PayloadError`] if the payload cannot be expressed in JSON.
    pub fn tcc<P: Serialize + ?Sized>(
        self,
        name: impl Into<String>,
        participant: impl Into<String>,
        operation: impl Into<String>,
        payload: &P,
    ) -> Result<Self, PayloadError> {
        let (participant, operation) = (participant.into(), operation.into());
        self.add(name.into(), participant, operation, payload, Mode::Tcc)
    }

    /// The sender's own local transaction, as the first step before its messages: the sender does it
    /// by itself once the transaction is accepted, and then says so by [`crate::Client::ended`].
    ///
    /// # Errors
    /// [`PayloadError`] if the payload cannot be expressed in JSON.
    pub fn local<P: Serialize + ?Sized>(
        name: impl Into<String>,
        participant: impl Into<String>,
        operation: impl Into<String>,
        payload: &P,
    ) -> Result<Self, PayloadError> {
        let (participant, operation) = (participant.into(), operation.into());
        Self::new().add(name.into(), participant, operation, payload, Mode::Local)
    }

    fn add<P: Serialize + ?Sized>(
        mut self,
        name: String,
        participant: String,
        operation: String,
        payload: &P,
        mode: Mode,
    ) -> Result<Self, PayloadError> {
        let payload = json(&name, payload)?;
        let branch = BranchRequest { name, participant, operation, payload, mode };
        self.0.branches.push(branch);
        Ok(self)
    }

    /// How long the branches have to vote, from when they are first asked.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout_ms = ms(timeout);
        self
    }
}

/// Calls that are repeated until each is done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "give it to `Step::message`"]
pub struct Message(MessageRequest);

impl Message {
    /// A message to one.
    pub fn to(target: Action) -> Self {
        Self(MessageRequest { to: vec![target.0], delay_ms: None })
    }

    /// To another one as well.
    pub fn and_to(mut self, target: Action) -> Self {
        self.0.to.push(target.0);
        self
    }

    /// How long it is held back, from when the transaction was decided.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.0.delay_ms = ms(delay);
        self
    }
}
