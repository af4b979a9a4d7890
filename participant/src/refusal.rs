//! A handler's no.

use std::time::Duration;

use accordant_protocol::id::OperationName;
use accordant_protocol::limits::PAUSE_MS_MAX;
use accordant_protocol::wire::contract;

use crate::sqlstate;

/// Why a handler cannot do its work. A two-phase branch or a reservation is then refused, and with
/// it the whole transaction; an action is refused for good, and its saga turns back; a message, a
/// retriable step or a compensation, which must be done, waits for an operator.
///
/// An [`sqlx::Error`] becomes one by `?`: a lost race or a lack of resources is
/// [`retryable`](Self::retryable) and refuses a two-phase branch only, whose locks others may wait
/// for; anything else is asked for again. A lost connection refuses nothing: the coordinator asks
/// again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    said: contract::Refusal,
    kind: Kind,
}

/// What a refusal is, besides what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A no.
    No,
    /// A lost race, a lack of resources or of time: another attempt may succeed.
    Passing,
    /// Nothing was concluded.
    Later,
    /// The work goes on elsewhere; how long to wait before it is asked about, in milliseconds.
    InProgress(Option<u64>),
}

impl Refusal {
    /// Refuses for a reason of the service's own. `code` is for programs, short and stable;
    /// `detail` is for people. Both reach the client; over-long texts are cut.
    #[must_use]
    pub fn new(code: impl AsRef<str>, detail: impl AsRef<str>) -> Self {
        let said = contract::Refusal::new(code.as_ref(), detail.as_ref());
        Self { said, kind: Kind::No }
    }

    /// The same refusal, with the advice that a new transaction may succeed.
    #[must_use]
    pub fn retryable(self) -> Self {
        Self { said: self.said.retryable(), kind: self.kind }
    }

    /// Not a refusal: nothing was concluded, and the coordinator is to ask again. For the failure
    /// of something that the handler depends on.
    #[must_use]
    pub fn later(reason: impl AsRef<str>) -> Self {
        Self { kind: Kind::Later, ..Self::new("accordant.later", reason) }
    }

    /// Not a refusal: the work has begun elsewhere and goes on there. The coordinator asks again
    /// after `retry_after`, or after its own backoff.
    ///
    /// The local transaction of this attempt is rolled back and nothing is stored: the next attempt
    /// runs the handler again, which looks whether the work has ended and then returns its result.
    /// So beginning the work elsewhere must be idempotent; the gtid and the index of the branch are
    /// a key for it. What the work came to can also be told as soon as it is known: see
    /// [`Participant::call_back`](crate::Participant::call_back), which also says what holds when
    /// the saga has turned back meanwhile.
    #[must_use]
    pub fn in_progress(retry_after: Option<Duration>) -> Self {
        let millis = |after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let after_ms = retry_after.map(|after| millis(after).min(PAUSE_MS_MAX));
        let said = Self::new("accordant.in_progress", "the work goes on elsewhere");
        Self { kind: Kind::InProgress(after_ms), ..said }
    }

    /// No handler goes by this name.
    pub(crate) fn unknown_operation(operation: &OperationName) -> Self {
        let name = operation.as_str();
        let detail = format!("this participant has no operation {name:?}");
        Self::new("accordant.unknown_operation", detail)
    }

    /// Another attempt may succeed.
    pub(crate) fn passing(code: &str, detail: impl AsRef<str>) -> Self {
        let said = Self::new(code, detail).retryable();
        Self { kind: Kind::Passing, ..said }
    }

    /// For programs.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.said.code
    }

    /// For people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.said.detail
    }

    /// Whether a new transaction may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.said.retryable
    }

    /// Whether this is no refusal at all, but the wish to be asked again.
    #[must_use]
    pub fn is_later(&self) -> bool {
        matches!(self.kind, Kind::Later | Kind::InProgress(_))
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn into_wire(self) -> contract::Refusal {
        self.said
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.said.code, self.said.detail)
    }
}

impl std::error::Error for Refusal {}

/// The code of a refusal after which the session is not to be used again.
pub(crate) const STALE_PLAN: &str = "accordant.stale_plan";

impl From<contract::Refusal> for Refusal {
    fn from(said: contract::Refusal) -> Self {
        Self { said: said.bounded(), kind: Kind::No }
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        // The server's text says what was wrong without the values: those are in its DETAIL.
        let text = match error.as_database_error() {
            Some(answer) => answer.message().to_owned(),
            None => error.to_string(),
        };
        if sqlstate::is_stale_plan(&error) {
            return Self::passing(STALE_PLAN, text);
        }
        match sqlstate::code(&error) {
            Some(code) => {
                let text = format!("{text} (SQLSTATE {code})");
                let word = sqlstate::refusal_code(&code);
                if sqlstate::is_passing(&code) {
                    Self::passing(word, text)
                } else {
                    Self::new(word, text)
                }
            }
            None if is_mistake(&error) => Self::new("accordant.database", text),
            None => Self { kind: Kind::Later, ..Self::new("accordant.connection", text) },
        }
    }
}

/// Whether the error arose in this process, from what the handler asked for. sqlx adds variants
/// now and then; an unknown one is not a mistake, so nothing is concluded from it.
fn is_mistake(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::RowNotFound
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Encode(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::InvalidArgument(_)
            | sqlx::Error::InvalidSavePointStatement
            | sqlx::Error::BeginFailed
    )
}
