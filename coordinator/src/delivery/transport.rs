//! How a call gets to a participant.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// One HTTP request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub uri: Uri,
    /// Every header but those of the connection.
    pub headers: HeaderMap,
    /// A JSON text, or nothing.
    pub body: Bytes,
    /// Bytes of the reply's body that are read.
    pub reply_bytes_max: usize,
    /// How long to wait for the whole reply. When it is over the outcome is unknown.
    pub timeout: Duration,
}

/// One HTTP reply.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; none if that is longer than was to be read.
    pub body: Option<Bytes>,
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
    /// The reply broke off.
    #[error("the reply's body cannot be read: {text}")]
    Body {
        /// Why.
        text: String,
    },
}

/// Carries requests out. Tests put their own in.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends a request and reads the reply. Follows no redirect: a request goes where it is sent to
    /// and nowhere else.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; whether the participant acted is unknown.
    ///
    /// # Errors
    /// [`TransportError`]: whether the participant acted is unknown.
    async fn send(&self, request: Request) -> Result<Response, TransportError>;
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
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let (timeout, bytes_max) = (request.timeout, request.reply_bytes_max);
        let call = async {
            let mut sent = http::Request::new(Full::new(request.body));
            *sent.method_mut() = request.method;
            *sent.uri_mut() = request.uri;
            *sent.headers_mut() = request.headers;
            let reply = self.client.request(sent).await;
            let reply =
                reply.map_err(|error| TransportError::Connection { text: chain(&error) })?;
            let (head, body) = reply.into_parts();
            let body = match Limited::new(body, bytes_max).collect().await {
                Ok(body) => Some(body.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => None,
                Err(error) => return Err(TransportError::Body { text: error.to_string() }),
            };
            Ok(Response { status: head.status, headers: head.headers, body })
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
