//! One HTTP request and its reply, both bounded.

use std::time::Duration;

use accordant_protocol::wire::api::IDEMPOTENCY_KEY_HEADER;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::error::{AddressError, Cause, LostReply};
use crate::limits::{CONNECT_WAIT, IDLE_CONNECTIONS_MAX, IDLE_WAIT, KEEPALIVE, REPLY_BYTES_MAX};

/// On whose behalf a request is made.
pub(crate) const TENANT: HeaderName = HeaderName::from_static("accordant-tenant");
/// The client's name for a request.
pub(crate) const KEY: HeaderName = HeaderName::from_static(IDEMPOTENCY_KEY_HEADER);
/// The trace that a request belongs to.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query, below the coordinator's address.
    pub(crate) target: String,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    pub(crate) timeout: Duration,
}

/// A full reply.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

/// Why there is no full reply.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// No connection was made, so nothing was sent.
    NotSent(Cause),
    /// The request may have arrived.
    Lost(LostReply),
}

/// Kept-alive HTTP/1.1 connections to one coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    client: legacy::Client<HttpConnector, Full<Bytes>>,
    /// Without a slash at its end.
    base: String,
}

impl Transport {
    pub(crate) fn new(address: &str) -> Result<Self, AddressError> {
        let base = check(address)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_WAIT));
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_keepalive_interval(Some(KEEPALIVE / 2));
        connector.set_keepalive_retries(Some(3));
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_WAIT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Ok(Self { client, base })
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request and reads the reply. Follows no redirect.
    pub(crate) async fn call(&self, call: Call) -> Result<Answer, NoAnswer> {
        let timeout = call.timeout;
        tokio::time::timeout(timeout, self.exchange(call))
            .await
            .unwrap_or(Err(NoAnswer::Lost(LostReply::Timeout { after: timeout })))
    }

    async fn exchange(&self, call: Call) -> Result<Answer, NoAnswer> {
        let mut request = http::Request::builder()
            .method(call.method)
            .uri(format!("{}{}", self.base, call.target));
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(call.body));
        let request = request.map_err(|error| NoAnswer::NotSent(error.into()))?;
        let reply = self.client.request(request).await.map_err(|error| {
            if error.is_connect() {
                NoAnswer::NotSent(error.into())
            } else {
                NoAnswer::Lost(LostReply::Connection { source: error.into() })
            }
        })?;
        let status = reply.status();
        let retry_after = reply.headers().get(header::RETRY_AFTER).and_then(seconds);
        let body = Limited::new(reply.into_body(), REPLY_BYTES_MAX).collect();
        let body = body
            .await
            .map_err(|source| NoAnswer::Lost(LostReply::Body { source }))?;
        Ok(Answer { status, retry_after, body: body.to_bytes() })
    }
}

/// Seconds only: a date would need a clock that agrees with the coordinator's.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn check(address: &str) -> Result<String, AddressError> {
    let uri: Uri = address.parse()?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(AddressError::Https),
        Some(_) | None => return Err(AddressError::Form),
    }
    let authority = uri.authority().ok_or(AddressError::Form)?;
    if authority.host().is_empty() || authority.as_str().contains('@') || uri.query().is_some() {
        return Err(AddressError::Form);
    }
    Ok(uri.to_string().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_can_be_called_are_taken() {
        assert_eq!(
            check("http://127.0.0.1:7650").unwrap(),
            "http://127.0.0.1:7650"
        );
        assert_eq!(check("http://host/base/").unwrap(), "http://host/base");
        assert!(matches!(check("https://host"), Err(AddressError::Https)));
        for wrong in [
            "",
            "host:7650",
            "ftp://host",
            "http:///x",
            "http://a@host",
            "http://h?x=1",
        ] {
            let refusal = check(wrong).unwrap_err();
            assert!(
                matches!(refusal, AddressError::Form | AddressError::Uri(_)),
                "{wrong}"
            );
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        assert_eq!(
            seconds(&HeaderValue::from_static("7")),
            Some(Duration::from_secs(7))
        );
        for other in ["-1", "soon", "Fri, 31 Dec 1999 23:59:59 GMT", ""] {
            assert_eq!(seconds(&HeaderValue::from_static(other)), None, "{other}");
        }
    }
}
