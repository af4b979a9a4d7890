//! The smallest client that can ask a plain service what it holds.

use std::time::Duration;

use accordant_testbed::port::Place;
use anyhow::Context as _;
use serde::Serialize;
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
    let (status, body) = ask(place, "GET", path, "").await?;
    anyhow::ensure!(status == 200, "{}{path} answers {status}", place.url());
    serde_json::from_str(&body).context("the answer is of another form")
}

/// Sends JSON with `POST`, and returns the status and the body of the reply.
///
/// # Errors
/// If there is no reply.
pub async fn post<T: Serialize>(
    place: Place,
    path: &str,
    body: &T,
) -> anyhow::Result<(u16, String)> {
    ask(place, "POST", path, &serde_json::to_string(body)?).await
}

async fn ask(place: Place, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, String)> {
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        place.address(),
        body.len(),
    );
    let asked = tokio::time::timeout(WAIT, exchange(place, &request)).await;
    let reply = asked.context("no answer in time")?;
    let reply = reply.with_context(|| format!("{}{path} cannot be asked", place.url()))?;
    let text = String::from_utf8(reply).context("the answer is not text")?;
    let (head, body) = text.split_once("\r\n\r\n").context("there is no answer")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    Ok((
        status.parse().context("the answer is not HTTP")?,
        body.to_owned(),
    ))
}

/// In HTTP/1.0, where the end of the connection is the end of the reply.
async fn exchange(place: Place, request: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(place.address()).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await?;
    Ok(reply)
}
