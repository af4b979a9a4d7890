//! Submitting a transaction, until it is known whether it was begun.

use std::time::Duration;

use accordant_protocol::id::{Gtid, IdempotencyKey};
use accordant_protocol::limits::REQUEST_BYTES_MAX;
use accordant_protocol::wire::api::{
    AbortReason, Outcome, TRANSACTIONS_PATH, TransactionStatus, Wait,
};
use accordant_protocol::wire::problem::{Problem, ProblemCode};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use tracing::debug;

use crate::backoff::Attempts;
use crate::client::Client;
use crate::error::{LostReply, SubmitError};
use crate::reply::{Said, read};
use crate::status::{ResultError, Status};
use crate::transaction::Transaction;
use crate::transport::{Call, KEY, NoAnswer, TRACEPARENT};

/// A transaction that the coordinator has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Submitted {
    /// Its id.
    pub id: Gtid,
    /// What may be relied upon. [`Outcome::Pending`] means that it will end by itself: follow it
    /// with [`Client::wait`].
    pub outcome: Outcome,
    /// Everything that the coordinator knows of it.
    pub status: Status,
    /// Whether the transaction was as far as [`Transaction::wait`] asked when the coordinator
    /// answered. If not, its time to wait was over.
    pub reached: bool,
}

impl Submitted {
    /// Why it was aborted, if it was.
    #[must_use]
    pub const fn reason(&self) -> Option<&AbortReason> {
        self.status.reason()
    }

    /// What a branch or a step returned; as [`Status::result`].
    ///
    /// # Errors
    /// [`ResultError`].
    pub fn result<T: DeserializeOwned>(&self, branch: &str) -> Result<T, ResultError> {
        self.status.result(branch)
    }
}

/// What an attempt came to, other than a status.
enum Failure {
    /// A repeat can help: nothing was begun, or nobody knows.
    Passing(SubmitError, Option<Duration>),
    /// A repeat would give the same.
    Final(SubmitError),
}

impl Client {
    /// Submits a transaction under a key, and returns what became of it.
    ///
    /// Repeats the request by itself, with the same key, while the coordinator is busy or cannot be
    /// reached or its reply is lost, under a doubling and jittered pause, until the patience that
    /// [`crate::ClientBuilder::patience`] sets is over. The last attempt then still has its time.
    ///
    /// # Durability
    /// On `Ok` the transaction is durable and ends by itself, whatever happens to this process. An
    /// outcome other than [`Outcome::Pending`] is durable too and does not change, except that an
    /// operator's or a database's interference later shows as [`Outcome::Heuristic`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the transaction begun or not, as after [`SubmitError::Unknown`].
    /// If it was begun it goes on: submit again with the same key, or ask by it.
    ///
    /// # Idempotency
    /// The same transaction under the same key is begun once, however often it is submitted and from
    /// wherever; each time the answer is how the first one stands.
    ///
    /// # Errors
    /// [`SubmitError`]. Only after [`SubmitError::Unknown`] may a transaction have been begun.
    ///
    /// # Examples
    /// ```no_run
    /// # use accordant_client::{Client, IdempotencyKey, SubmitError, Submitted, Transaction, Outcome};
    /// # async fn pay(client: &Client, transfer: &Transaction) -> Result<(), Box<dyn std::error::Error>> {
    /// let key = IdempotencyKey::new("order-4711")?;
    /// match client.submit(&key, transfer).await {
    ///     Ok(Submitted { id, outcome: Outcome::Committed, .. }) => println!("{id} is paid"),
    ///     Ok(Submitted { status, .. }) => println!("not paid: {:?}", status.reason()),
    ///     // Never "failed": it may be paid. Come back with the same key.
    ///     Err(SubmitError::Unknown { key, .. }) => println!("ask again for {key}"),
    ///     Err(error) => println!("nothing was begun: {error}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn submit(
        &self,
        key: &IdempotencyKey,
        transaction: &Transaction,
    ) -> Result<Submitted, SubmitError> {
        let body = encode(transaction)?;
        let mut attempts = Attempts::begin(self.shared.patience);
        let mut doubt = None;
        loop {
            let (error, asked) = match self.attempt(key, transaction, body.clone()).await {
                Ok(submitted) => return Ok(submitted),
                Err(Failure::Final(error)) => return Err(in_doubt(error, doubt, key)),
                Err(Failure::Passing(error, asked)) => (error, asked),
            };
            let Some(pause) = attempts.next_pause(asked) else {
                return Err(in_doubt(error, doubt, key));
            };
            debug!(%key, %error, pause_ms = pause.as_millis(), "submitting again");
            if let SubmitError::Unknown { source, .. } = error {
                doubt = Some(source);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        key: &IdempotencyKey,
        transaction: &Transaction,
        body: Bytes,
    ) -> Result<Submitted, Failure> {
        let lost =
            |source| Failure::Passing(SubmitError::Unknown { key: key.clone(), source }, None);
        let call = self.submission(key, transaction, body)?;
        let answer = self
            .shared
            .transport
            .call(call)
            .await
            .map_err(|error| match error {
                NoAnswer::Lost(source) => lost(source),
                NoAnswer::NotSent(source) => {
                    let address = self.shared.transport.base().to_owned();
                    Failure::Passing(SubmitError::Unreachable { address, source }, None)
                }
            })?;
        match read::<TransactionStatus>(&answer).map_err(lost)? {
            Said::Problem(problem) => Err(judge(problem, key, answer.retry_after)),
            Said::Value(http, status) => {
                if status.idempotency_key.as_ref().is_some_and(|it| it != key) {
                    let what = "it is about another idempotency key".to_owned();
                    return Err(lost(LostReply::Foreign { status: http.as_u16(), what }));
                }
                let status = Status::from(status);
                let wait = transaction.request.wait;
                let reached = http == StatusCode::OK || wait == Wait::Accepted;
                Ok(Submitted { id: status.id, outcome: status.outcome, status, reached })
            }
        }
    }

    fn submission(
        &self,
        key: &IdempotencyKey,
        transaction: &Transaction,
        body: Bytes,
    ) -> Result<Call, Failure> {
        // Keys and trace contexts are visible ASCII, so this is not refused.
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|error| {
                let problem = Problem::new(ProblemCode::IdempotencyKey, error.to_string());
                Failure::Final(SubmitError::Refused(Box::new(problem)))
            })
        };
        let mut headers = vec![
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            ),
            (KEY, value(key.as_str())?),
        ];
        headers.extend(self.tenant_header());
        if let Some(traceparent) = &transaction.traceparent {
            headers.push((TRACEPARENT, value(traceparent.as_str())?));
        }
        let target = TRANSACTIONS_PATH.to_owned();
        let timeout = self.shared.request_timeout;
        Ok(Call { method: Method::POST, target, headers, body, timeout })
    }
}

/// The body, once for all attempts: the key belongs to exactly these bytes.
fn encode(transaction: &Transaction) -> Result<Bytes, SubmitError> {
    let refused = |code, detail| SubmitError::Refused(Box::new(Problem::new(code, detail)));
    let body = serde_json::to_vec(&transaction.request)
        .map_err(|error| refused(ProblemCode::Malformed, error.to_string()))?;
    // The coordinator would close the connection, and whether it was read would look unknown.
    if body.len() > REQUEST_BYTES_MAX {
        let bytes = body.len();
        let detail = format!("The body has {bytes} bytes; {REQUEST_BYTES_MAX} are allowed.");
        return Err(refused(ProblemCode::TooLarge, detail));
    }
    Ok(Bytes::from(body))
}

/// An error, given that an earlier attempt may have begun the transaction.
fn in_doubt(error: SubmitError, doubt: Option<LostReply>, key: &IdempotencyKey) -> SubmitError {
    let key = key.clone();
    match (error, doubt) {
        (error, None) => error,
        // The latest word is the more useful one.
        (error @ SubmitError::Unknown { .. }, Some(_)) => error,
        // The key is another transaction's, so that no attempt has begun this one.
        (error @ SubmitError::KeyReused { .. }, Some(_)) => error,
        (SubmitError::Refused(problem), Some(_)) => {
            SubmitError::Unknown { key, source: LostReply::RepeatRefused(problem) }
        }
        (SubmitError::Busy { .. } | SubmitError::Unreachable { .. }, Some(source)) => {
            SubmitError::Unknown { key, source }
        }
    }
}

/// What a refusal by the coordinator says.
fn judge(problem: Box<Problem>, key: &IdempotencyKey, retry_after: Option<Duration>) -> Failure {
    let unknown = |problem| {
        let source = LostReply::Problem(problem);
        Failure::Passing(
            SubmitError::Unknown { key: key.clone(), source },
            retry_after,
        )
    };
    match problem.code {
        ProblemCode::KeyReused => Failure::Final(SubmitError::KeyReused { key: key.clone() }),
        ProblemCode::Malformed
        | ProblemCode::Invalid
        | ProblemCode::IdempotencyKey
        | ProblemCode::NoRoute
        | ProblemCode::Method
        | ProblemCode::TooLarge
        | ProblemCode::MediaType => Failure::Final(SubmitError::Refused(problem)),
        ProblemCode::Overloaded
        | ProblemCode::ParticipantBusy
        | ProblemCode::ParticipantHalted
        | ProblemCode::Unavailable
        | ProblemCode::Draining
        | ProblemCode::NotOwner => {
            Failure::Passing(SubmitError::Busy { retry_after, problem }, retry_after)
        }
        ProblemCode::Unknown | ProblemCode::Internal => unknown(problem),
        // No answers to a submission, so that they say nothing about one; nor does a code that is
        // newer than this client.
        ProblemCode::MalformedId
        | ProblemCode::NotFound
        | ProblemCode::Expired
        | ProblemCode::NoAction
        | ProblemCode::OutOfPlace => unknown(problem),
        _ => unknown(problem),
    }
}
