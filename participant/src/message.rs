//! Messages, as a service writes them.

use std::time::Duration;

use accordant_protocol::json::Json;
use accordant_protocol::plan::{ActionRequest, MessageRequest, PlanRequest, StepRequest};
use serde::Serialize;

use crate::outbox::SendError;

/// A message to one or more participants: each is called until it is done there.
///
/// It is short for a plan of one step; give a [`PlanRequest`] for more.
///
/// # Examples
/// ```
/// # use accordant_participant::Message;
/// let message = Message::new("mail", "welcome", &serde_json::json!({ "user": 7 }))?;
/// # drop(message);
/// # Ok::<_, accordant_participant::SendError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before it is given to an outbox"]
pub struct Message(MessageRequest);

impl Message {
    /// A message to one operation of a registered participant.
    ///
    /// # Errors
    /// If the payload is not JSON.
    pub fn new(
        participant: &str,
        operation: &str,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<Self, SendError> {
        Self(MessageRequest::default()).and_to(participant, operation, payload)
    }

    /// The same message to one more.
    ///
    /// # Errors
    /// If the payload is not JSON.
    pub fn and_to(
        mut self,
        participant: &str,
        operation: &str,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<Self, SendError> {
        self.0.to.push(ActionRequest {
            participant: participant.to_owned(),
            operation: Some(operation.to_owned()),
            payload: Some(Json::from_value(payload)?),
            ..ActionRequest::default()
        });
        Ok(self)
    }

    /// Holds it back for so long, from when it reaches the coordinator.
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.0.delay_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self
    }
}

impl From<Message> for PlanRequest {
    fn from(message: Message) -> Self {
        let step = StepRequest {
            name: "message".to_owned(),
            message: Some(message.0),
            ..StepRequest::default()
        };
        Self { steps: Some(vec![step]), branches: None }
    }
}
