//! Refusals as HTTP responses.

use accordant_protocol::effect::Reply;
use accordant_protocol::plan::{PlanFault, PlanFaultCode};
use accordant_protocol::wire::problem::{MEDIA_TYPE, Problem, ProblemCode};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::driver::AskError;
use crate::journal::error::ReadError;

/// A problem document on its way out.
#[derive(Debug)]
pub(super) struct Refusal(Box<Problem>);

impl Refusal {
    pub(super) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(code, detail)))
    }

    #[cfg(test)]
    pub(super) fn problem(&self) -> &Problem {
        &self.0
    }

    /// The body asks for something that cannot be.
    pub(super) fn invalid(errors: Vec<PlanFault>) -> Self {
        let count = errors.len();
        let detail = match errors.first() {
            Some(fault) if count == 1 => format!("{}: {}", fault.path, fault.detail),
            Some(fault) => format!("{}: {} (and {} more)", fault.path, fault.detail, count - 1),
            None => "the request is invalid".to_owned(),
        };
        Self(Box::new(
            Problem::new(ProblemCode::Invalid, detail).with_errors(errors),
        ))
    }

    /// A query parameter or header is not of its form.
    pub(super) fn field(path: &str, code: PlanFaultCode, detail: impl Into<String>) -> Self {
        Self::invalid(vec![PlanFault {
            path: path.to_owned(),
            code,
            detail: detail.into(),
        }])
    }

    /// The shard refused, or answered something that no such question gets.
    pub(super) fn from_reply(reply: &Reply) -> Self {
        match reply {
            Reply::Refused(code) => Self::new(*code, advice(*code)),
            Reply::KeyReused { by } => Self::new(
                ProblemCode::KeyReused,
                format!("the key belongs to transaction {by}, which asked for something else"),
            ),
            Reply::Status(_) | Reply::KeyTaken { .. } | Reply::NotInMemory | Reply::Verdict(_) => {
                Self::new(ProblemCode::Internal, "the reply does not fit the question")
            }
        }
    }
}

const fn advice(code: ProblemCode) -> &'static str {
    match code {
        ProblemCode::Overloaded => {
            "nothing was begun by this request: send the request again later"
        }
        ProblemCode::ParticipantBusy => {
            "nothing was begun: a participant of the plan has as many open branches as it may have"
        }
        ProblemCode::ParticipantHalted => {
            "nothing was begun: a participant answers from another or an older database than \
             before; see /v1/admin/participants"
        }
        ProblemCode::Unavailable => {
            "nothing was begun by this request: the journal cannot be written; see /readyz"
        }
        ProblemCode::Draining => {
            "nothing was begun by this request: send the request to another coordinator, or later"
        }
        ProblemCode::NotOwner => {
            "nothing was begun by this request: another coordinator owns this partition; see /readyz"
        }
        ProblemCode::Unknown => {
            "the transaction may have been begun: send the same request with the same \
             Idempotency-Key again, or ask for the key"
        }
        ProblemCode::Malformed
        | ProblemCode::Invalid
        | ProblemCode::IdempotencyKey
        | ProblemCode::KeyReused
        | ProblemCode::MalformedId
        | ProblemCode::NotFound
        | ProblemCode::Expired
        | ProblemCode::NoAction
        | ProblemCode::OutOfPlace
        | ProblemCode::NoRoute
        | ProblemCode::Method
        | ProblemCode::TooLarge
        | ProblemCode::MediaType
        | ProblemCode::Internal
        | _ => "see the code",
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<AskError> for Refusal {
    fn from(error: AskError) -> Self {
        let code = match error {
            AskError::Overloaded => ProblemCode::Overloaded,
            AskError::Stopped | AskError::Late => ProblemCode::Unknown,
        };
        Self::new(code, advice(code))
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        tracing::warn!(error = %error, "the journal cannot be read");
        let detail = "the journal cannot be read at present: ask again";
        Self::new(ProblemCode::Unavailable, detail)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        let later = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        if later.contains(&status) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
