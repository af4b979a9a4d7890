//! Requests to the coordinator, each bounded in time and size.

use accordant_protocol::id::{Gtid, IdempotencyKey, ParticipantName};
use accordant_protocol::limits::REASON_BYTES_MAX;
use accordant_protocol::wire::api::{IDEMPOTENCY_KEY_HEADER, TRANSACTIONS_PATH};
use accordant_protocol::wire::contract::cut;
use accordant_protocol::wire::problem::ProblemCode;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use tokio::time::timeout;

use crate::limits::{
    CONNECT_MAX, COORDINATOR_BYTES_MAX, COORDINATOR_MAX, INQUIRIES_PARALLEL, MEDIA_BYTES_MAX,
};

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
        /// It said one of a coordinator's problems. Else whatever stands there may be somebody else,
        /// whose no is none.
        is_problem: bool,
    },
    /// Something took the request, and did not say what a coordinator says: another server at this
    /// address, or one in between that answers by itself.
    ///
    /// Of its body nothing is repeated, since it may contain what was sent.
    #[error(
        "{at} answered with status {status} and {media}, and not with the status of this \
         transaction: check the coordinator's address, and what stands between"
    )]
    Stranger {
        /// Where it was asked.
        at: String,
        /// With which status.
        status: u16,
        /// Of which form its answer was.
        media: String,
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
            Self::Status { status: 400 | 409 | 413 | 415 | 422, is_problem: true, .. }
        )
    }
}

/// The status of a transaction, as far as every version of a coordinator writes it for what it has
/// begun under a key.
#[derive(Deserialize)]
struct Begun {
    id: Gtid,
    idempotency_key: IdempotencyKey,
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

/// A reply of any status.
struct Reply {
    status: StatusCode,
    /// What it says that its body is.
    media: String,
    body: Result<Bytes, CoordinatorError>,
}

/// A client of the coordinator.
pub(crate) struct Coordinator {
    client: Client<HttpConnector, Full<Bytes>>,
    /// Without a slash at its end.
    base: String,
    /// Host and port, for an error: whatever else the address holds may be secret.
    at: String,
    /// Who asks.
    pub name: ParticipantName,
}

impl Coordinator {
    /// `None` if `base` is not the address of a coordinator.
    pub(crate) fn new(base: &str, name: ParticipantName) -> Option<Self> {
        let base = base.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().ok()?;
        if uri.scheme_str() != Some("http") {
            return None;
        }
        let authority = uri.authority()?;
        let at = match authority.port_u16() {
            Some(port) => format!("{}:{port}", authority.host()),
            None => authority.host().to_owned(),
        };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_MAX));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(INQUIRIES_PARALLEL)
            .build(connector);
        Some(Self { client, base, at, name })
    }

    /// Asks. The reply is the body of a 200.
    pub(crate) async fn get(&self, target: &str) -> Result<Bytes, CoordinatorError> {
        let reply = self.request(Method::GET, target, &[], Bytes::new()).await?;
        match reply.status {
            StatusCode::OK => reply.body,
            status => Err(refusal(status, reply.body)),
        }
    }

    /// Has a transaction begun, once for each key, and returns its id.
    ///
    /// A status of success is no proof that a coordinator has given it. So the body must say so too,
    /// and that it is about this very key; else nothing is known, and the same may be asked again.
    pub(crate) async fn submit(
        &self,
        key: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Gtid, CoordinatorError> {
        let mut all = vec![(HeaderName::from_static(IDEMPOTENCY_KEY_HEADER), key)];
        all.extend_from_slice(headers);
        let reply = self
            .request(Method::POST, TRANSACTIONS_PATH, &all, body)
            .await?;
        let Reply { status, media, body } = reply;
        if !status.is_success() {
            return Err(refusal(status, body));
        }
        let begun: Option<Begun> = serde_json::from_slice(&body?).ok();
        match begun.filter(|begun| begun.idempotency_key.as_str() == key) {
            Some(begun) => Ok(begun.id),
            None => Err(CoordinatorError::Stranger {
                at: self.at.clone(),
                status: status.as_u16(),
                media,
            }),
        }
    }

    /// Tells what does no harm if it is lost: the coordinator asks by itself. Once the status says
    /// that it was heard, only the body may be missing.
    pub(crate) async fn post(&self, target: &str, body: Bytes) -> Result<(), CoordinatorError> {
        let reply = self.request(Method::POST, target, &[], body).await?;
        match reply.status.is_success() {
            true => Ok(()),
            false => Err(refusal(reply.status, reply.body)),
        }
    }

    async fn request(
        &self,
        method: Method,
        target: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Reply, CoordinatorError> {
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
            let (status, media) = (reply.status(), media(reply.headers()));
            let body = Limited::new(reply.into_body(), COORDINATOR_BYTES_MAX);
            let body = timeout(COORDINATOR_MAX, body.collect()).await;
            let body = match body {
                Ok(Ok(body)) => Ok(body.to_bytes()),
                Ok(Err(error)) => Err(CoordinatorError::Form(error.to_string())),
                Err(_) => Err(CoordinatorError::Timeout),
            };
            Ok(Reply { status, media, body })
        };
        let asked = timeout(2 * COORDINATOR_MAX, asking).await;
        asked.unwrap_or(Err(CoordinatorError::Timeout))
    }
}

/// What a body is said to be, in few words.
fn media(headers: &HeaderMap) -> String {
    let media = headers.get(header::CONTENT_TYPE);
    let media = media.and_then(|media| media.to_str().ok());
    cut(media.unwrap_or("no content type"), MEDIA_BYTES_MAX)
}

fn refusal(status: StatusCode, body: Result<Bytes, CoordinatorError>) -> CoordinatorError {
    let problem = body
        .ok()
        .and_then(|body| serde_json::from_slice(&body).ok());
    let is_problem = |it: &Problem| ProblemCode::ALL.iter().any(|code| code.as_str() == it.code);
    let known = problem.as_ref().is_some_and(is_problem);
    let problem = problem.map(|Problem { code, detail, errors }| {
        let faults = errors
            .iter()
            .map(|it| format!("; {}: {}", it.path, it.detail));
        format!("{code}: {detail}{}", faults.collect::<String>())
    });
    let detail = cut(&problem.unwrap_or_default(), REASON_BYTES_MAX);
    CoordinatorError::Status { status: status.as_u16(), detail, is_problem: known }
}
