//! How a call gets to a participant.

use std::time::Duration;

use accordant_protocol::limits::CALL_BYTES_MAX;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// One HTTP request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where to.
    pub uri: Uri,
    /// Headers besides the content type.
    pub headers: HeaderMap,
    /// A JSON text.
    pub body: Bytes,
    /// How long to wait for the whole reply. When it is over the outcome is unknown.
    pub timeout: Duration,
}

/// Why there is no reply. Whether the participant acted is unknown in every case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The connection was not made or broke.
    #[error("{text}")]
    Connection {
        /// The chain of causes.
        text: String,
    },
    /// No full reply in time.
    #[error("no reply within {ms} ms")]
    Timeout {
        /// The time that was waited.
        ms: u128,
    },
    /// The reply is longer than allowed, or broke off.
    #[error("the reply's body cannot be read: {text}")]
    Body {
        /// Why.
        text: String,
    },
}

/// Carries requests out. Tests put their own in.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Posts a request and reads the reply.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; whether the participant acted is unknown.
    ///
    /// # Errors
    /// [`TransportError`]: whether the participant acted is unknown.
    async fn post(&self, request: Request) -> Result<(StatusCode, Bytes), TransportError>;
}

/// HTTP/1.1 with kept-alive connections.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    client: Client<HttpConnector, Full<Bytes>>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

impl HttpTransport {
    /// A transport that keeps at most so many idle connections to each participant.
    #[must_use]
    pub fn new(idle_per_host_max: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(idle_per_host_max)
            .build(connector);
        Self { client }
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn post(&self, request: Request) -> Result<(StatusCode, Bytes), TransportError> {
        let timeout = request.timeout;
        let call = async {
            let mut post = http::Request::post(request.uri)
                .body(Full::new(request.body))
                .map_err(|error| TransportError::Connection { text: error.to_string() })?;
            *post.headers_mut() = request.headers;
            post.headers_mut().insert(
                http::header::CONTENT_TYPE,
                http::HeaderValue::from_static("application/json"),
            );
            let reply = self.client.request(post).await;
            let reply =
                reply.map_err(|error| TransportError::Connection { text: chain(&error) })?;
            let status = reply.status();
            let body = Limited::new(reply.into_body(), CALL_BYTES_MAX)
                .collect()
                .await;
            let body = body.map_err(|error| TransportError::Body { text: error.to_string() })?;
            Ok((status, body.to_bytes()))
        };
        let late = TransportError::Timeout { ms: timeout.as_millis() };
        tokio::time::timeout(timeout, call)
            .await
            .unwrap_or(Err(late))
    }
}

/// An error with its causes; hyper's own text leaves the operating system's out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
