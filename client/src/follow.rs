//! Asking how a transaction stands, and waiting for it.

use std::time::Duration;

use accordant_protocol::id::{Gtid, IdempotencyKey};
use accordant_protocol::wire::api::{TRANSACTIONS_PATH, TransactionStatus, Wait};
use accordant_protocol::wire::problem::{Problem, ProblemCode};

use crate::backoff::Attempts;
use crate::client::Client;
use crate::clock::Span;
use crate::error::{LostReply, StatusError, WaitError};
use crate::limits::{POLL_MARGIN, POLL_WAIT};
use crate::path::{Query, encode};
use crate::reply::{Said, read};
use crate::status::Status;
use crate::transport::NoAnswer;

impl Client {
    /// How a transaction stands.
    ///
    /// # Durability
    /// Whatever outcome it names is durable, unless it is [`crate::Outcome::Pending`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Idempotency
    /// Asking changes nothing.
    ///
    /// # Errors
    /// [`StatusError`]. Not repeated by itself.
    pub async fn status(&self, id: &Gtid) -> Result<Status, StatusError> {
        let target = format!("{TRANSACTIONS_PATH}/{id}");
        self.ask(id, target, self.shared.request_timeout).await
    }

    /// How the transaction stands that was submitted under a key.
    ///
    /// [`StatusError::NotFound`] does not prove that a submission whose reply was lost will have no
    /// effect: it may still be on its way. Submitting again with the same key does settle it.
    ///
    /// # Durability, cancel safety, idempotency
    /// As [`Client::status`].
    ///
    /// # Errors
    /// [`StatusError`]. Not repeated by itself.
    pub async fn status_by_key(&self, key: &IdempotencyKey) -> Result<Status, StatusError> {
        let target = format!("{TRANSACTIONS_PATH}/by-key/{}", encode(key.as_str()));
        let status = self.fetch(target, self.shared.request_timeout).await?;
        match &status.idempotency_key {
            Some(found) if found != key => Err(about_another("idempotency key")),
            Some(_) | None => Ok(Status::from(status)),
        }
    }

    /// Waits until a transaction is as far as this, and returns how it stands then.
    ///
    /// Asks again by itself while the coordinator cannot be reached or does not know.
    ///
    /// # Durability
    /// As [`Client::status`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect: the transaction goes on by itself.
    ///
    /// # Idempotency
    /// Waiting changes nothing.
    ///
    /// # Errors
    /// [`WaitError`]. [`WaitError::NotYet`] and [`WaitError::Unknown`] say that the time is over, and
    /// nothing about how the transaction will end.
    pub async fn wait(
        &self,
        id: &Gtid,
        wait: Wait,
        timeout: Duration,
    ) -> Result<Status, WaitError> {
        let span = Span::begin(timeout);
        let mut attempts = Attempts::begin(timeout);
        loop {
            let poll = span.left().min(POLL_WAIT);
            let polling = Span::begin(poll);
            let answer = self
                .ask(id, target(id, wait, poll), poll + POLL_MARGIN)
                .await;
            let (error, asked) = match answer {
                Ok(status) if status.has_reached(wait) => return Ok(status),
                Ok(status) => {
                    // A coordinator that is about to stop answers at once: then the pauses grow.
                    if polling.left().is_zero() {
                        attempts = Attempts::begin(span.left());
                    }
                    (WaitError::NotYet(Box::new(status)), None)
                }
                Err(error) if error.is_passing() => {
                    let asked = asked(&error);
                    (WaitError::Unknown { id: *id, source: error }, asked)
                }
                Err(error) => return Err(WaitError::Status(error)),
            };
            match attempts.next_pause(asked) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    async fn ask(&self, id: &Gtid, target: String, wait: Duration) -> Result<Status, StatusError> {
        let status = self.fetch(target, wait).await?;
        if status.id == *id {
            Ok(Status::from(status))
        } else {
            Err(about_another("transaction"))
        }
    }

    async fn fetch(
        &self,
        target: String,
        timeout: Duration,
    ) -> Result<TransactionStatus, StatusError> {
        let call = self.get(target, timeout);
        let answer = self
            .shared
            .transport
            .call(call)
            .await
            .map_err(|error| match error {
                NoAnswer::Lost(source) => StatusError::Lost { source },
                NoAnswer::NotSent(source) => {
                    let address = self.shared.transport.base().to_owned();
                    StatusError::Unreachable { address, source }
                }
            })?;
        match read(&answer)? {
            Said::Value(_, status) => Ok(status),
            Said::Problem(problem) => Err(judge(problem, answer.retry_after)),
        }
    }
}

fn target(id: &Gtid, wait: Wait, poll: Duration) -> String {
    let mut query = Query::default();
    match wait {
        Wait::Accepted => {}
        Wait::Decided => query.push("wait", "decided"),
        Wait::Completed => query.push("wait", "completed"),
    }
    if wait != Wait::Accepted {
        query.push("wait_ms", &poll.as_millis().to_string());
    }
    format!("{TRANSACTIONS_PATH}/{id}{}", query.as_str())
}

const fn asked(error: &StatusError) -> Option<Duration> {
    match error {
        StatusError::Unavailable { retry_after, .. } => *retry_after,
        StatusError::NotFound
        | StatusError::Expired
        | StatusError::Refused(_)
        | StatusError::Unreachable { .. }
        | StatusError::Lost { .. } => None,
    }
}

fn about_another(what: &str) -> StatusError {
    let what = format!("it is about another {what}");
    StatusError::Lost { source: LostReply::Foreign { status: 200, what } }
}

fn judge(problem: Box<Problem>, retry_after: Option<Duration>) -> StatusError {
    if problem.code == ProblemCode::NotFound {
        StatusError::NotFound
    } else if problem.code == ProblemCode::Expired {
        StatusError::Expired
    } else if problem.status < 500 && problem.status != 429 {
        StatusError::Refused(problem)
    } else {
        StatusError::Unavailable { retry_after, problem }
    }
}
