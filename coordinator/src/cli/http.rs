//! One request, bounded in time and size.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Bytes of a reply: ten thousand transactions in doubt, each with its branches.
const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

const CONNECT_WAIT: Duration = Duration::from_secs(3);
const REPLY_WAIT: Duration = Duration::from_secs(30);

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("the address cannot be used")]
    Address(#[from] http::Error),
    #[error("no connection")]
    Connection(#[from] hyper_util::client::legacy::Error),
    #[error("no reply within {} s", REPLY_WAIT.as_secs())]
    Timeout,
    #[error("the reply cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Asks, and reads the reply. Follows no redirect.
pub(super) async fn request(
    method: Method,
    uri: Uri,
    headers: &[(&'static str, &str)],
    body: Bytes,
) -> Result<(StatusCode, Bytes), HttpError> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_WAIT));
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body))?;
    let exchange = async {
        let reply = client.request(request).await?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), REPLY_BYTES_MAX).collect();
        let body = body.await.map_err(HttpError::Body)?;
        Ok((status, body.to_bytes()))
    };
    tokio::time::timeout(REPLY_WAIT, exchange)
        .await
        .unwrap_or(Err(HttpError::Timeout))
}
