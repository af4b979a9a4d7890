//! Asking a coordinator, and what to tell the person if there is no answer.

use accordant_protocol::wire::contract::cut;
use accordant_protocol::wire::problem::{Problem, ProblemCode};
use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exit::Exit;
use super::http::{HttpError, request};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("{url:?} is not an address such as http://127.0.0.1:7650; see --url")]
    Url { url: String },
    #[error(
        "the coordinator at {url} cannot be reached; is `accordant serve` running there? Another \
         address is given with --url or ACCORDANT_URL"
    )]
    Unreachable { url: String, source: HttpError },
    #[error("{}", .problem.detail)]
    NotFound { problem: Box<Problem> },
    #[error("the coordinator at {url} cannot answer at present: {}: {}; try again", .problem.title, .problem.detail)]
    Unavailable { url: String, problem: Box<Problem> },
    #[error("the coordinator refused: {}", words(.problem))]
    Refused { problem: Box<Problem> },
    #[error("what answers at {url} is not a coordinator of this version: {what}")]
    Foreign { url: String, what: String },
    #[error("the output cannot be written")]
    Output(#[from] std::io::Error),
}

impl AskError {
    pub(super) const fn exit(&self) -> Exit {
        match self {
            Self::Url { .. } => Exit::Usage,
            Self::Unreachable { .. } | Self::Unavailable { .. } => Exit::Unreachable,
            Self::NotFound { .. } => Exit::NotFound,
            Self::Refused { .. } | Self::Foreign { .. } => Exit::Refused,
            Self::Output(_) => Exit::Internal,
        }
    }
}

fn words(problem: &Problem) -> String {
    let mut text = format!("{}: {}", problem.title, problem.detail);
    for fault in &problem.errors {
        let fault = format!("{}: {}", fault.path, fault.detail);
        // The detail usually names them all.
        if !problem.detail.contains(&fault) {
            text = format!("{text}; {fault}");
        }
    }
    cut(&text, 4096)
}

/// A coordinator that can be asked.
pub(super) struct Coordinator {
    url: String,
}

impl Coordinator {
    pub(super) fn new(url: &str) -> Result<Self, AskError> {
        let wrong = || AskError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() || uri.query().is_some() {
            return Err(wrong());
        }
        Ok(Self { url: url.trim_end_matches('/').to_owned() })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Whatever is said at a path.
    pub(super) async fn raw(
        &self,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(StatusCode, Bytes), AskError> {
        self.exchange(Method::GET, target, headers, Bytes::new())
            .await
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), AskError> {
        let uri: Uri = format!("{}{target}", self.url)
            .parse()
            .map_err(|_| AskError::Url { url: self.url.clone() })?;
        let url = || self.url.clone();
        request(method, uri, headers, body)
            .await
            .map_err(|source| AskError::Unreachable { url: url(), source })
    }

    /// The body of a reply with status 200, as it came and as a value.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Bytes, T), AskError> {
        let (status, body) = self.raw(target, headers).await?;
        self.read(status, body)
    }

    /// The body of the reply, with status 200, to something that it is told.
    pub(super) async fn tell<S: Serialize, T: DeserializeOwned>(
        &self,
        target: &str,
        what: &S,
    ) -> Result<(Bytes, T), AskError> {
        let what = serde_json::to_vec(what).map_err(std::io::Error::other)?;
        let headers = [("content-type", "application/json")];
        let (status, body) = self
            .exchange(Method::POST, target, &headers, what.into())
            .await?;
        self.read(status, body)
    }

    fn read<T: DeserializeOwned>(
        &self,
        status: StatusCode,
        body: Bytes,
    ) -> Result<(Bytes, T), AskError> {
        if status == StatusCode::OK {
            return match serde_json::from_slice(&body) {
                Ok(value) => Ok((body, value)),
                Err(error) => Err(self.foreign(error.to_string())),
            };
        }
        let problem: Box<Problem> = serde_json::from_slice(&body)
            .map_err(|_| self.foreign(format!("it answers {status} without saying why")))?;
        let none = [
            ProblemCode::NotFound,
            ProblemCode::Expired,
            ProblemCode::NoAction,
        ];
        let none = none.contains(&problem.code);
        let later = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Err(if none {
            AskError::NotFound { problem }
        } else if later {
            AskError::Unavailable { url: self.url.clone(), problem }
        } else {
            AskError::Refused { problem }
        })
    }

    pub(super) fn foreign(&self, what: String) -> AskError {
        AskError::Foreign { url: self.url.clone(), what }
    }
}

/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text as one part of a path or query.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}
