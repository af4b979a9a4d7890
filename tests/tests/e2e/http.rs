//! Plain HTTP, for what the client library does not say: operators' pages, and calls by hand.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A reply.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(&self.text).with_context(|| format!("not JSON: {}", self.text))
    }
}

pub(crate) async fn get(url: &str) -> anyhow::Result<Reply> {
    let request = ::http::Request::get(url).body(Full::default())?;
    call(request).await.with_context(|| format!("GET {url}"))
}

pub(crate) async fn post(url: &str, body: String) -> anyhow::Result<Reply> {
    post_with(url, body, &[]).await
}

pub(crate) async fn post_with(
    url: &str,
    body: String,
    headers: &[(&str, &str)],
) -> anyhow::Result<Reply> {
    let mut request = ::http::Request::post(url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::from(Bytes::from(body)))?;
    call(request).await.with_context(|| format!("POST {url}"))
}

async fn call(request: ::http::Request<Full<Bytes>>) -> anyhow::Result<Reply> {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let reply = tokio::time::timeout(PATIENCE, client.request(request)).await??;
    let status = reply.status().as_u16();
    let body = tokio::time::timeout(PATIENCE, reply.into_body().collect()).await??;
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Ok(Reply { status, text })
}
