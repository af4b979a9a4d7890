//! Listing transactions, page by page.

use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::{Outcome, TRANSACTIONS_PATH, TransactionPage};

use crate::client::Client;
use crate::error::ListError;
use crate::path::Query;
use crate::reply::{Said, read};
use crate::transport::NoAnswer;

/// Which transactions are listed: those for which every given condition holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "give it to `Client::list`"]
pub struct Listing {
    closed: Option<bool>,
    outcome: Option<Outcome>,
    attention: bool,
    from: Option<Timestamp>,
    before: Option<Timestamp>,
    limit: Option<u32>,
    cursor: Option<String>,
}

impl Listing {
    /// All transactions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those of which every branch has ended, or only the others.
    pub const fn closed(mut self, closed: bool) -> Self {
        self.closed = Some(closed);
        self
    }

    /// Only those of this outcome.
    pub const fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// Only those at which an operator must look: they ended against their decision, or some action
    /// of theirs has waited for one and they have not ended.
    pub const fn attention(mut self) -> Self {
        self.attention = true;
        self
    }

    /// Only those accepted at or after this time.
    pub const fn since(mut self, time: Timestamp) -> Self {
        self.from = Some(time);
        self
    }

    /// Only those accepted before this time.
    pub const fn before(mut self, time: Timestamp) -> Self {
        self.before = Some(time);
        self
    }

    /// At most so many in a page.
    pub const fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The page behind the one that gave this cursor. Give the other conditions again.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    fn target(&self) -> String {
        let mut query = Query::default();
        query.push_some("closed", self.closed);
        query.push_some("outcome", self.outcome.map(word));
        query.push_some("attention", self.attention.then_some(true));
        query.push_some("from_ms", self.from.map(Timestamp::as_millis));
        query.push_some("before_ms", self.before.map(Timestamp::as_millis));
        query.push_some("limit", self.limit);
        query.push_some("cursor", self.cursor.as_ref());
        format!("{TRANSACTIONS_PATH}{}", query.as_str())
    }
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pending => "pending",
        Outcome::Committed => "committed",
        Outcome::Aborted => "aborted",
        Outcome::Heuristic => "heuristic",
        // The protocol may name more; the coordinator then refuses the word and says so.
        _ => "unknown",
    }
}

impl Client {
    /// A page of transactions, newest first. Paging is stable: what was there at the first page and
    /// is still kept comes exactly once.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Errors
    /// [`ListError`]. Not repeated by itself.
    pub async fn list(&self, listing: &Listing) -> Result<TransactionPage, ListError> {
        let call = self.get(listing.target(), self.shared.request_timeout);
        let answer = self
            .shared
            .transport
            .call(call)
            .await
            .map_err(|error| match error {
                NoAnswer::Lost(source) => ListError::Lost { source },
                NoAnswer::NotSent(source) => {
                    let address = self.shared.transport.base().to_owned();
                    ListError::Unreachable { address, source }
                }
            })?;
        match read(&answer)? {
            Said::Value(_, page) => Ok(page),
            Said::Problem(problem) if problem.status < 500 && problem.status != 429 => {
                Err(ListError::Refused(problem))
            }
            Said::Problem(problem) => {
                Err(ListError::Unavailable { retry_after: answer.retry_after, problem })
            }
        }
    }
}
