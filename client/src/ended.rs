//! Saying that a sender's local transaction has ended.

use std::time::Duration;

use accordant_protocol::id::Gtid;
use accordant_protocol::wire::api::{TRANSACTIONS_PATH, TransactionStatus};
use accordant_protocol::wire::problem::{Problem, ProblemCode};
use bytes::Bytes;
use http::Method;

use crate::client::Client;
use crate::error::{EndedError, LostReply};
use crate::reply::{Said, read};
use crate::status::Status;
use crate::transport::{Call, NoAnswer};

impl Client {
    /// Says that the local transaction of a plan with [`crate::Group::local`] has ended, however it
    /// has: the coordinator looks at the marker in the sender's database, and sends the messages if
    /// it is there. Returns how the transaction stands then.
    ///
    /// Saying it makes the messages go out at once. If it is never said, the coordinator looks by
    /// itself when the time of the transaction is over.
    ///
    /// # Durability
    /// An outcome other than [`crate::Outcome::Pending`] is durable and does not change, but for
    /// [`crate::Outcome::Heuristic`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves it said or not; the transaction goes on either way.
    ///
    /// # Idempotency
    /// Saying it again finds what it had said before, also after the end of the transaction.
    ///
    /// # Errors
    /// [`EndedError`]. Not repeated by itself.
    ///
    /// # Examples
    /// ```no_run
    /// use accordant_client::{Action, Client, Group, Message, Step, Transaction, Wait};
    ///
    /// # async fn order(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mail = Action::operation("post", "send", &"thank you")?;
    /// let order = Transaction::new()
    ///     .step(Step::group("order", Group::local("mine", "shop", "order", &4711)?))
    ///     .step(Step::message("mail", Message::to(mail)).after("order"))
    ///     .wait(Wait::Accepted);
    /// let accepted = client.submit(&client.fresh_key()?, &order).await?;
    /// // Now the local transaction, with the branch's marker in it; then:
    /// client.ended(&accepted.id).await?;
    /// # Ok(()) }
    /// ```
    pub async fn ended(&self, id: &Gtid) -> Result<Status, EndedError> {
        let call = Call {
            method: Method::POST,
            target: format!("{TRANSACTIONS_PATH}/{id}/commit"),
            headers: self.tenant_header().collect(),
            body: Bytes::new(),
            timeout: self.shared.request_timeout,
        };
        let answer = self.shared.transport.call(call).await;
        let answer = answer.map_err(|error| match error {
            NoAnswer::Lost(source) => EndedError::Lost { source },
            NoAnswer::NotSent(source) => {
                let address = self.shared.transport.base().to_owned();
                EndedError::Unreachable { address, source }
            }
        })?;
        match read::<TransactionStatus>(&answer)? {
            Said::Value(_, status) if status.id == *id => Ok(Status::from(status)),
            Said::Value(http, _) => {
                let what = "it is about another transaction".to_owned();
                let source = LostReply::Foreign { status: http.as_u16(), what };
                Err(EndedError::Lost { source })
            }
            Said::Problem(problem) => Err(judge(problem, answer.retry_after)),
        }
    }
}

fn judge(problem: Box<Problem>, retry_after: Option<Duration>) -> EndedError {
    if problem.code == ProblemCode::NotFound {
        EndedError::NotFound
    } else if problem.code == ProblemCode::Expired {
        EndedError::Expired
    } else if problem.code == ProblemCode::OutOfPlace {
        EndedError::NotLocal(problem)
    } else if problem.status < 500 && problem.status != 429 {
        EndedError::Refused(problem)
    } else {
        EndedError::Unavailable { retry_after, problem }
    }
}
