//! The smallest client that can ask a plain service what it holds.

use std::time::Duration;

use accordant_testbed::port::Place;
use anyhow::Context as _;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take.
const WAIT: Duration = Duration::from_secs(10);

/// Asks with `GET`, and reads the JSON that comes back.
///
/// # Errors
/// If nobody answers, or not with 200 and JSON of this form.
pub async fn get<T: DeserializeOwned>(place: Place, path: &str) -> anyhow::Result<T> {
    let asked = tokio::time::timeout(WAIT, exchange(place, path)).await;
    let reply = asked.context("no answer in time")?;
    let reply = reply.with_context(|| format!("{}{path} cannot be asked", place.url()))?;
    let text = String::from_utf8(reply).context("the answer is not text")?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    anyhow::ensure!(status == "200", "{}{path} answers {status}", place.url());
    serde_json::from_str(body).context("the answer is of another form")
}

/// In HTTP/1.0, where the end of the connection is the end of the reply.
async fn exchange(place: Place, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(place.address()).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", place.address());
    stream.write_all(request.as_bytes()).await?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await?;
    Ok(reply)
}
