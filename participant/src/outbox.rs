//! The outbox: messages that are written in the service's own transaction, and pushed to the
//! coordinator once it has committed.

use std::sync::Arc;

use accordant_protocol::id::Traceparent;
use accordant_protocol::limits::REQUEST_BYTES_MAX;
use accordant_protocol::plan::{Class, Plan, PlanFaults, PlanRequest};
use accordant_protocol::wire::api::{SubmitRequest, Wait};
use sqlx::PgConnection;

use crate::clock;
use crate::engine::Engine;
use crate::id::{MessageId, RandomError};
use crate::refusal::Refusal;
use crate::statement;

/// Why a message was not written. The service's transaction is as it was, but for
/// [`Database`](Self::Database).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The plan is not one. Each fault says where.
    #[error("the plan is not valid: {0}")]
    Plan(#[from] PlanFaults),
    /// A step could be refused or compensated, and its sender will have committed.
    #[error("{path}: only messages and retriable steps may be sent by an outbox")]
    Refusable {
        /// Where.
        path: String,
    },
    /// The coordinator would not take it.
    #[error("the message has {bytes} bytes; at most {bytes_max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest that the coordinator takes.
        bytes_max: usize,
    },
    /// It cannot be written as JSON.
    #[error("the message is not JSON")]
    Json(#[from] serde_json::Error),
    /// No id could be made.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The database refused: the role needs `insert` on accordant.outbox. The outer transaction must
    /// be rolled back, not only a savepoint in it: its work would be committed without its message.
    #[error("the message could not be written")]
    Database(#[from] sqlx::Error),
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Database(error) => Self::from(error),
            SendError::Random(error) => Self::later(error.to_string()),
            SendError::Plan(_)
            | SendError::Refusable { .. }
            | SendError::TooLarge { .. }
            | SendError::Json(_) => Self::new("accordant.message", error.to_string()),
        }
    }
}

/// Writes messages and has them pushed. Made by
/// [`Participant::outbox`](crate::Participant::outbox); cloning gives another handle.
#[derive(Clone)]
pub struct Outbox {
    pub(crate) engine: Arc<Engine>,
}

impl Outbox {
    /// Writes a message in the transaction that is open on this connection: it is sent if and only
    /// if that commits, then repeated until the coordinator has taken it, and from there until it
    /// is done. Messages are sent in no particular order.
    ///
    /// The connection may be one of the service's own, to the participant's database, or that of a
    /// handler's branch. The transaction is made to commit with `synchronous_commit` on, since
    /// otherwise a crash could undo it after the message has left.
    ///
    /// # Durability
    /// None of its own: the message is as durable as the transaction.
    ///
    /// # Errors
    /// [`SendError`]: the message will not be sent.
    ///
    /// # Examples
    /// ```no_run
    /// # use accordant_participant::{Message, Participant};
    /// # async fn f(participant: Participant, pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let outbox = participant.outbox();
    /// let mut local = pool.begin().await?;
    /// sqlx::query("insert into member (name) values ('ada')").execute(&mut *local).await?;
    /// outbox.send(&mut local, Message::new("mail", "welcome", "ada")?).await?;
    /// local.commit().await?;
    /// outbox.wake();
    /// # Ok(()) }
    /// ```
    pub async fn send(
        &self,
        connection: &mut PgConnection,
        plan: impl Into<PlanRequest>,
    ) -> Result<MessageId, SendError> {
        write(connection, plan.into(), None).await
    }

    /// The same, as a part of this trace.
    ///
    /// # Errors
    /// As for [`Outbox::send`].
    pub async fn send_traced(
        &self,
        connection: &mut PgConnection,
        plan: impl Into<PlanRequest>,
        traceparent: &Traceparent,
    ) -> Result<MessageId, SendError> {
        write(connection, plan.into(), Some(traceparent)).await
    }

    /// Looks for messages now, and not only after [`Builder::outbox`](crate::Builder::outbox).
    /// Call it after the commit; forgetting it costs that time.
    pub fn wake(&self) {
        self.engine.outbox.notify_one();
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

pub(crate) async fn write(
    connection: &mut PgConnection,
    plan: PlanRequest,
    traceparent: Option<&Traceparent>,
) -> Result<MessageId, SendError> {
    let body = body(plan)?;
    let id = MessageId::mint(clock::now())?;
    sqlx::query(statement::SEND)
        .bind(id.to_string())
        .bind(body)
        .bind(traceparent.map(Traceparent::as_str))
        .execute(connection)
        .await?;
    Ok(id)
}

/// What the coordinator is sent, word for word: another wording under the same key would be
/// another request.
fn body(request: PlanRequest) -> Result<String, SendError> {
    let plan = Plan::try_from(request.clone())?;
    if plan.fate().is_none() {
        let steps = plan.steps().iter();
        let refusable = steps
            .map(|step| step.class)
            .position(|it| it != Class::Retriable);
        let path = refusable.map_or_else(|| "steps".to_owned(), |at| format!("steps[{at}].class"));
        return Err(SendError::Refusable { path });
    }
    let submit = SubmitRequest {
        steps: request.steps,
        branches: request.branches,
        timeout_ms: None,
        wait: Wait::Accepted,
    };
    let body = serde_json::to_string(&submit)?;
    let (bytes, bytes_max) = (body.len(), REQUEST_BYTES_MAX);
    if bytes > bytes_max {
        return Err(SendError::TooLarge { bytes, bytes_max });
    }
    Ok(body)
}
