//! Requests to the coordinator, each bounded in time and size.

use accordant_protocol::id::ParticipantName;
use accordant_protocol::limits::REASON_BYTES_MAX;
use accordant_protocol::wire::contract::cut;
use bytes::Bytes;
use http::{HeaderName, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use tokio::time::timeout;

use crate::limits::{CONNECT_MAX, COORDINATOR_BYTES_MAX, COORDINATOR_MAX, INQUIRIES_PARALLEL};

/// Why there is no reply. The request may have arrived all the same.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CoordinatorError {
    /// It did not answer in time.
    #[error("the coordinator did not answer in time")]
    Timeout,
    /// It was not reached, or the connection was lost.
    #[error("the coordinator was not reached")]
    Connect(#[source] hyper_util::client::legacy::Error),
    /// It answered with another status than the one that was asked for.
    #[error("the coordinator answered with status {status}: {detail}")]
    Status {
        /// Which.
        status: u16,
        /// What its problem said.
        detail: String,
    },
    /// Its answer is not of the form.
    #[error("the coordinator's answer is not of the form: {0}")]
    Form(String),
    /// No request could be made of what was given.
    #[error("the request is not of the form: {0}")]
    Request(#[from] http::Error),
}

impl CoordinatorError {
    /// Whether the coordinator has refused this request and would refuse it again.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Status { status: 400 | 409 | 413 | 415 | 422, .. }
        )
    }
}

/// A problem, as far as it is read here.
#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    errors: Vec<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    path: String,
    #[serde(default)]
    detail: String,
}

/// A client of the coordinator.
pub(crate) struct Coordinator {
    client: Client<HttpConnector, Full<Bytes>>,
    /// Without a slash at its end.
    base: String,
    /// Who asks.
    pub name: ParticipantName,
}

impl Coordinator {
    /// `None` if `base` is not the address of a coordinator.
    pub(crate) fn new(base: &str, name: ParticipantName) -> Option<Self> {
        let base = base.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().ok()?;
        if uri.scheme_str() != Some("http") || uri.authority().is_none() {
            return None;
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_MAX));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(INQUIRIES_PARALLEL)
            .build(connector);
        Some(Self { client, base, name })
    }

    /// Asks. The reply is the body of a 200.
    pub(crate) async fn get(&self, target: &str) -> Result<Bytes, CoordinatorError> {
        let (status, body) = self.request(Method::GET, target, &[], Bytes::new()).await?;
        match status {
            StatusCode::OK => body,
            status => Err(refusal(status, body)),
        }
    }

    /// Orders. Once the status says that it was taken, only the body may be missing.
    pub(crate) async fn post(
        &self,
        target: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Result<Bytes, CoordinatorError>, CoordinatorError> {
        let (status, body) = self.request(Method::POST, target, headers, body).await?;
        match status.is_success() {
            true => Ok(body),
            false => Err(refusal(status, body)),
        }
    }

    async fn request(
        &self,
        method: Method,
        target: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<(StatusCode, Result<Bytes, CoordinatorError>), CoordinatorError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.base))
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(Full::new(body))?;
        let asking = async {
            let reply = self.client.request(request).await;
            let reply = reply.map_err(CoordinatorError::Connect)?;
            let status = reply.status();
            let body = Limited::new(reply.into_body(), COORDINATOR_BYTES_MAX);
            let body = timeout(COORDINATOR_MAX, body.collect()).await;
            let body = match body {
                Ok(Ok(body)) => Ok(body.to_bytes()),
                Ok(Err(error)) => Err(CoordinatorError::Form(error.to_string())),
                Err(_) => Err(CoordinatorError::Timeout),
            };
            Ok((status, body))
        };
        let asked = timeout(2 * COORDINATOR_MAX, asking).await;
        asked.unwrap_or(Err(CoordinatorError::Timeout))
    }
}

fn refusal(status: StatusCode, body: Result<Bytes, CoordinatorError>) -> CoordinatorError {
    let problem = body
        .ok()
        .and_then(|body| serde_json::from_slice(&body).ok());
    let problem = problem.map(|Problem { code, detail, errors }| {
        let faults = errors
            .iter()
            .map(|it| format!("; {}: {}", it.path, it.detail));
        format!("{code}: {detail}{}", faults.collect::<String>())
    });
    let detail = cut(&problem.unwrap_or_default(), REASON_BYTES_MAX);
    CoordinatorError::Status { status: status.as_u16(), detail }
}
