//! A handler's no.

use accordant_protocol::wire::contract;

use crate::sqlstate;

/// Why a handler cannot do its branch. The whole transaction is then aborted.
///
/// An [`sqlx::Error`] becomes one by `?`: a lost race or a lack of resources is
/// [`retryable`](Self::retryable), and a lost connection makes no vote at all: the coordinator asks
/// again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    said: contract::Refusal,
    lost: bool,
}

impl Refusal {
    /// Refuses for a reason of the service's own. `code` is for programs, short and stable;
    /// `detail` is for people. Both reach the client; over-long texts are cut.
    #[must_use]
    pub fn new(code: impl AsRef<str>, detail: impl AsRef<str>) -> Self {
        let said = contract::Refusal::new(code.as_ref(), detail.as_ref());
        Self { said, lost: false }
    }

    /// The same refusal, with the advice that a new transaction may succeed.
    #[must_use]
    pub fn retryable(self) -> Self {
        Self { said: self.said.retryable(), lost: self.lost }
    }

    /// Not a refusal: nothing was concluded, and the coordinator is to ask again. For the failure
    /// of something that the handler depends on.
    #[must_use]
    pub fn later(reason: impl AsRef<str>) -> Self {
        Self { lost: true, ..Self::new("accordant.later", reason) }
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
        self.lost
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
        Self { said: said.bounded(), lost: false }
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
            return Self::new(STALE_PLAN, text).retryable();
        }
        match sqlstate::code(&error) {
            Some(code) => {
                let text = format!("{text} (SQLSTATE {code})");
                let refusal = Self::new(sqlstate::refusal_code(&code), text);
                if sqlstate::is_passing(&code) {
                    refusal.retryable()
                } else {
                    refusal
                }
            }
            None if is_mistake(&error) => Self::new("accordant.database", text),
            None => Self { lost: true, ..Self::new("accordant.connection", text) },
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
