//! Refusals: RFC 9457 problem details with stable codes.

use serde::{Deserialize, Serialize};

use crate::plan::PlanFault;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was refused. `code` is for programs and never changes its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URI that names the kind of problem: `urn:accordant:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words.
    pub title: String,
    /// The HTTP status, repeated.
    pub status: u16,
    /// The kind of problem, for programs.
    pub code: ProblemCode,
    /// What is wrong with this request, and what to do about it.
    pub detail: String,
    /// The faults of the body, each with the path of its field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<PlanFault>,
}

impl Problem {
    /// Makes a problem of a kind.
    #[must_use]
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        let (status, title) = code.describe();
        Self {
            kind: format!("urn:accordant:problem:{}", code.as_str()),
            title: title.to_owned(),
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// The same problem with the faults of the body.
    #[must_use]
    pub fn with_errors(self, errors: Vec<PlanFault>) -> Self {
        Self { errors, ..self }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// The kinds of problems. Texts on the wire are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ProblemCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl ProblemCode {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The text on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status and the title.
            #[must_use]
            pub const fn describe(self) -> (u16, &'static str) {
                match self { $(Self::$name => ($status, $title),)* }
            }
        }
    };
}

codes! {
    /// The body is not JSON, or not of the request's form.
    Malformed = "malformed", 400, "The request is malformed";
    /// The body is well formed and asks for something that cannot be.
    Invalid = "invalid", 422, "The request is invalid";
    /// The `Idempotency-Key` header is missing or not of its form.
    IdempotencyKey = "idempotency_key", 400, "The Idempotency-Key header is missing or malformed";
    /// The key belongs to another request.
    KeyReused = "key_reused", 422, "The idempotency key belongs to another request";
    /// The text is not the id of a transaction.
    MalformedId = "malformed_id", 400, "The transaction id is malformed";
    /// No such transaction is recorded.
    NotFound = "not_found", 404, "No such transaction is recorded";
    /// The transaction is older than what this journal keeps.
    Expired = "expired", 410, "The transaction is older than what the journal keeps";
    /// The transaction has no such action.
    NoAction = "no_action", 404, "The transaction has no such action";
    /// The transaction, or the action, does not stand where this could be asked for.
    OutOfPlace = "out_of_place", 409, "It does not stand where this could be asked for";
    /// No such route.
    NoRoute = "no_route", 404, "There is nothing at this path";
    /// The route does not take this method.
    Method = "method", 405, "The method is not allowed here";
    /// The body is larger than allowed.
    TooLarge = "too_large", 413, "The request is too large";
    /// The body is not JSON by its media type.
    MediaType = "media_type", 415, "The media type is not application/json";
    /// Too much is open: try again later.
    Overloaded = "overloaded", 429, "Too much is open at the moment";
    /// A participant of the plan has as many open branches as it may.
    ParticipantBusy = "participant_busy", 429, "A participant has no room for another branch";
    /// A participant answers from another or an older database.
    ParticipantHalted = "participant_halted", 503, "A participant answers from another or older database";
    /// The journal cannot be written at the moment: nothing was begun.
    Unavailable = "unavailable", 503, "The journal is not available";
    /// The coordinator is shutting down: nothing was begun.
    Draining = "draining", 503, "The coordinator is shutting down";
    /// Another coordinator owns the partition.
    NotOwner = "not_owner", 503, "Another coordinator owns the partition";
    /// What became of the request is not known: ask by the idempotency key, or send it again.
    Unknown = "unknown", 503, "What became of the request is not known";
    /// A fault of ours.
    Internal = "internal", 500, "The coordinator failed";
}
