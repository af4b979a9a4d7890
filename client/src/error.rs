//! Why an operation gave no answer. Each variant says what the caller does next.

use std::fmt;
use std::time::Duration;

use accordant_protocol::id::{Gtid, IdempotencyKey};
use accordant_protocol::wire::problem::Problem;

use crate::status::Status;

/// What lies behind an error.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a text is not a coordinator's address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is not a URI.
    #[error("the coordinator's address is not a URI")]
    Uri(#[from] http::uri::InvalidUri),
    /// It is a URI of another kind.
    #[error("the coordinator's address must be http://HOST[:PORT][/PATH], without user or query")]
    Form,
    /// This version speaks plain HTTP only.
    #[error("the coordinator's address begins with https, which this version does not speak")]
    Https,
}

/// Why a submission gave no status.
///
/// [`SubmitError::Unknown`] alone says that a transaction may have been begun; after any other
/// variant this call has begun none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Nothing was begun, and a repeat would be refused again: mend the transaction.
    #[error("the coordinator refused the transaction: {}", Words(.0))]
    Refused(Box<Problem>),
    /// Nothing was begun: the key belongs to another transaction. Take another key, or submit the
    /// transaction that it was first used for.
    #[error("the idempotency key {key} belongs to another transaction")]
    KeyReused {
        /// The key.
        key: IdempotencyKey,
    },
    /// Nothing was begun: submit again later, with the same key.
    #[error("the coordinator takes no new transaction at present: {}", Words(.problem))]
    Busy {
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// What it said.
        problem: Box<Problem>,
    },
    /// Nothing was begun, since no connection was made: look at the address, and submit again later
    /// with the same key.
    #[error("the coordinator at {address} cannot be reached")]
    Unreachable {
        /// The address that was tried.
        address: String,
        /// What lies behind it.
        source: Cause,
    },
    /// The transaction may have been begun, and may commit. Ask by the key, or submit again with
    /// the **same** key; never call it failure.
    #[error("what became of the transaction with the idempotency key {key} is not known")]
    Unknown {
        /// Under which it is found.
        key: IdempotencyKey,
        /// Why there is no answer.
        source: LostReply,
    },
}

impl SubmitError {
    /// Whether a transaction may have been begun: then only the coordinator can say how it ends.
    #[must_use]
    pub const fn may_have_begun(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

/// Why the reply to a request that was sent says nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LostReply {
    /// The connection broke.
    #[error("the connection broke before the reply")]
    Connection {
        /// What lies behind it.
        source: Cause,
    },
    /// There was no full reply in time.
    #[error("no reply within {} ms", .after.as_millis())]
    Timeout {
        /// The time that was waited.
        after: Duration,
    },
    /// The reply broke off, or is longer than a coordinator's.
    #[error("the reply cannot be read")]
    Body {
        /// What lies behind it.
        source: Cause,
    },
    /// The reply is no coordinator's: perhaps another server, or a gateway, answers at its address.
    #[error("the reply (HTTP status {status}) is not a coordinator's: {what}")]
    Foreign {
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        what: String,
    },
    /// The coordinator itself does not know.
    #[error("the coordinator does not know: {}", Words(.0))]
    Problem(Box<Problem>),
    /// The reply to an earlier attempt was lost, and a repeat was refused: that says nothing about
    /// the earlier one.
    #[error("the reply to an earlier attempt was lost, and a repeat was refused: {}", Words(.0))]
    RepeatRefused(Box<Problem>),
}

/// Why a status was not read. Reading has no effect, so that repeating it is harmless.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// No such transaction is recorded. By itself this proves nothing about a submission whose reply
    /// was lost: it may still be on its way. Submit again with the same key instead.
    #[error("no such transaction is recorded")]
    NotFound,
    /// It is older than what the coordinator keeps: it has ended, and how is no longer known here.
    #[error("the transaction is older than what the coordinator keeps")]
    Expired,
    /// The request itself cannot be answered: mend it.
    #[error("the coordinator refused the request: {}", Words(.0))]
    Refused(Box<Problem>),
    /// The coordinator cannot answer at present: ask again later.
    #[error("the coordinator cannot answer at present: {}", Words(.problem))]
    Unavailable {
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// What it said.
        problem: Box<Problem>,
    },
    /// No connection was made: look at the address, and ask again later.
    #[error("the coordinator at {address} cannot be reached")]
    Unreachable {
        /// The address that was tried.
        address: String,
        /// What lies behind it.
        source: Cause,
    },
    /// There was no usable reply: ask again.
    #[error("the coordinator gave no usable reply")]
    Lost {
        /// Why.
        #[from]
        source: LostReply,
    },
}

impl StatusError {
    /// Whether asking again can help.
    pub(crate) const fn is_passing(&self) -> bool {
        match self {
            Self::NotFound | Self::Expired | Self::Refused(_) => false,
            Self::Unavailable { .. } | Self::Unreachable { .. } | Self::Lost { .. } => true,
        }
    }
}

/// Why a wait did not end with what was waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// Not yet: wait again. The transaction goes on by itself.
    #[error("the transaction {} is not that far yet", .0.id)]
    NotYet(Box<Status>),
    /// Nothing was learnt in time: wait again. The transaction goes on by itself.
    #[error("nothing was learnt about the transaction {id} in time")]
    Unknown {
        /// The transaction.
        id: Gtid,
        /// What the last request came to.
        source: StatusError,
    },
    /// Asking again would not help.
    #[error("the transaction cannot be waited for")]
    Status(#[source] StatusError),
}

/// Why it is not known whether it was heard that a local transaction has ended. Saying it again is
/// harmless after every variant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndedError {
    /// No such transaction is recorded: a mistake of the caller, or the submission never arrived.
    #[error("no such transaction is recorded")]
    NotFound,
    /// It is older than what the coordinator keeps: it has ended, and how is no longer known here.
    #[error("the transaction is older than what the coordinator keeps")]
    Expired,
    /// The transaction waits for no local transaction: a mistake of the caller.
    #[error("the transaction waits for no local transaction: {}", Words(.0))]
    NotLocal(Box<Problem>),
    /// The request itself cannot be answered: mend it.
    #[error("the coordinator refused the request: {}", Words(.0))]
    Refused(Box<Problem>),
    /// The coordinator cannot answer at present: say it again later, or leave it to the deadline of
    /// the transaction.
    #[error("the coordinator cannot answer at present: {}", Words(.problem))]
    Unavailable {
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// What it said.
        problem: Box<Problem>,
    },
    /// No connection was made: as after [`EndedError::Unavailable`].
    #[error("the coordinator at {address} cannot be reached")]
    Unreachable {
        /// The address that was tried.
        address: String,
        /// What lies behind it.
        source: Cause,
    },
    /// There was no usable reply: it may have been heard. Say it again.
    #[error("the coordinator gave no usable reply")]
    Lost {
        /// Why.
        #[from]
        source: LostReply,
    },
}

/// Why a listing was not read. Repeating it is harmless.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// A filter or the cursor cannot be used: mend it.
    #[error("the coordinator refused the listing: {}", Words(.0))]
    Refused(Box<Problem>),
    /// The coordinator cannot answer at present: ask again later.
    #[error("the coordinator cannot answer at present: {}", Words(.problem))]
    Unavailable {
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// What it said.
        problem: Box<Problem>,
    },
    /// No connection was made: look at the address, and ask again later.
    #[error("the coordinator at {address} cannot be reached")]
    Unreachable {
        /// The address that was tried.
        address: String,
        /// What lies behind it.
        source: Cause,
    },
    /// There was no usable reply: ask again.
    #[error("the coordinator gave no usable reply")]
    Lost {
        /// Why.
        #[from]
        source: LostReply,
    },
}

/// A problem in words, with the faults of the body.
struct Words<'a>(&'a Problem);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { title, detail, errors, .. } = self.0;
        write!(f, "{title}")?;
        if !detail.is_empty() && detail != title {
            write!(f, ": {detail}")?;
        }
        for fault in errors {
            let fault = format!("{}: {}", fault.path, fault.detail);
            // The detail of a coordinator usually names them all.
            if !detail.contains(&fault) {
                write!(f, "; {fault}")?;
            }
        }
        Ok(())
    }
}
