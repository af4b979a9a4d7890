//! One request, bounded in time and size. Follows no redirect.

use std::time::Duration;

use accordant_protocol::wire::contract::cut;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::check::Exchange;
use crate::limits::EXCERPT_BYTES_MAX;

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub method: Method,
    /// Below the base address.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Bytes of the reply that are read.
    pub reply_bytes_max: usize,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Why nothing came back.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Silence {
    #[error("the request cannot be made: {0}")]
    Request(String),
    #[error("no connection, or it broke: {0}")]
    Connection(String),
    #[error("no full reply within {0} ms")]
    Timeout(u128),
    #[error("the reply's body cannot be read: {0}")]
    Body(String),
}

/// Carries requests out.
#[derive(Debug)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    base: Uri,
    timeout: Duration,
}

impl Http {
    pub(crate) fn new(base: Uri, timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        // A connection that the service closes after rubbish must not spoil the next call.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Self { client, base, timeout }
    }

    pub(crate) async fn send(&self, request: Request) -> Result<Response, Silence> {
        let made = |error: http::Error| Silence::Request(error.to_string());
        let mut sent = http::Request::new(Full::new(request.body));
        *sent.uri_mut() = self.target(&request.path).map_err(made)?;
        *sent.method_mut() = request.method;
        *sent.headers_mut() = request.headers;
        let call = async {
            let reply = self.client.request(sent).await;
            let reply = reply.map_err(|error| Silence::Connection(chain(&error)))?;
            let status = reply.status();
            let body = Limited::new(reply.into_body(), request.reply_bytes_max);
            let body = body.collect().await;
            let body = body.map_err(|error| Silence::Body(error.to_string()))?;
            Ok(Response { status, body: body.to_bytes() })
        };
        tokio::time::timeout(self.timeout, call)
            .await
            .unwrap_or(Err(Silence::Timeout(self.timeout.as_millis())))
    }

    fn target(&self, path: &str) -> Result<Uri, http::Error> {
        let base = self.base.path().trim_end_matches('/');
        let mut parts = uri::Parts::default();
        parts.scheme = self.base.scheme().cloned();
        parts.authority = self.base.authority().cloned();
        parts.path_and_query = Some(format!("{base}{path}").parse()?);
        Ok(Uri::from_parts(parts)?)
    }
}

/// What a person is shown of an exchange.
pub(crate) fn exchange(request: &Request, response: &Result<Response, Silence>) -> Exchange {
    let body = excerpt(&request.body);
    let separator = if body.is_empty() { "" } else { " " };
    let sent = format!("{} {}{separator}{body}", request.method, request.path);
    let response = match response {
        Ok(response) => describe(response),
        Err(silence) => silence.to_string(),
    };
    Exchange { request: sent, response }
}

/// Status and body.
pub(crate) fn describe(response: &Response) -> String {
    let body = excerpt(&response.body);
    let separator = if body.is_empty() { "" } else { " " };
    format!("HTTP {}{separator}{body}", response.status.as_u16())
}

/// The beginning of a body, without what could command a terminal.
pub(crate) fn excerpt(body: &Bytes) -> String {
    let head = body
        .get(..body.len().min(EXCERPT_BYTES_MAX))
        .unwrap_or_default();
    let text = cut(&String::from_utf8_lossy(head), EXCERPT_BYTES_MAX);
    if head.len() < body.len() {
        format!("{text}… ({} bytes)", body.len())
    } else {
        text
    }
}

/// An error with its causes.
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
