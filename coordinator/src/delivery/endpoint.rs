//! Requests to plain HTTP services, and what their statuses say. Such a service knows nothing of
//! Accordant: the status is all that it says, and every status that nobody gave a meaning to is
//! unknown.

use std::time::Duration;

use accordant_protocol::effect::{Answer, EndpointCall};
use accordant_protocol::id::Traceparent;
use accordant_protocol::json::Json;
use accordant_protocol::limits::{REASON_BYTES_MAX, RESULT_BYTES_MAX};
use accordant_protocol::plan::leads_up;
use accordant_protocol::wire::api::TRANSACTIONS_PATH;
use accordant_protocol::wire::contract::{ActAnswer, Refusal, cut};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use super::act::Head;
use super::registry::join;
use super::transport::{Request, Response, TransportError};

/// Bytes of a reply's text that go into an error: enough to know it again.
const EXCERPT_BYTES_MAX: usize = 256;

/// Headers that a plan may not set: those of the connection, and ours. A plan that has them is
/// refused; one that an earlier version took must not slip them in either.
fn is_ours(name: &HeaderName) -> bool {
    let connection = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::EXPECT,
        header::HOST,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    let ours = ["idempotency-key", "keep-alive", "traceparent"];
    let name_text = name.as_str();
    connection.contains(name)
        || ours.contains(&name_text)
        || name_text.starts_with("accordant-")
        || name_text.starts_with("proxy-")
}

/// The request that a call comes to. The time for it is left open.
///
/// # Errors
/// In words, why it cannot be made.
pub(super) fn request(
    base: &Uri,
    call: &EndpointCall,
    public_url: Option<&str>,
    trace: Option<&Traceparent>,
) -> Result<Request, String> {
    let head = Head::from(call);
    let mut headers = HeaderMap::new();
    for (name, value) in &call.headers {
        let name: HeaderName = name.parse().map_err(|_| wrong("a header's name"))?;
        let value = HeaderValue::from_str(value).map_err(|_| wrong("a header's value"))?;
        if !is_ours(&name) {
            headers.append(name, value);
        }
    }
    let (gtid, index) = (call.gtid, call.branch);
    let call_back = format!(
        "{}{TRANSACTIONS_PATH}/{gtid}/actions/{index}",
        public_url.unwrap_or_default()
    );
    let attempt = call.attempt.0.to_string();
    let ours = [
        ("idempotency-key", head.idempotency_key()),
        ("accordant-transaction", gtid.to_string()),
        ("accordant-step", call.step.as_str().to_owned()),
        ("accordant-verb", call.verb.word().to_owned()),
        ("accordant-attempt", attempt),
        ("accordant-call-back", call_back),
    ];
    let trace = trace.map(|trace| ("traceparent", trace.as_str().to_owned()));
    for (name, value) in ours.into_iter().chain(trace) {
        let value = HeaderValue::from_str(&value).map_err(|_| wrong(name))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    let body = call.body.as_ref().map(|body| body.text().to_owned());
    if body.is_some() {
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    Ok(Request {
        method: method(call.method),
        uri: target(base, &call.path)?,
        headers,
        body: body.map(Bytes::from).unwrap_or_default(),
        reply_bytes_max: RESULT_BYTES_MAX,
        timeout: Duration::ZERO,
    })
}

fn wrong(what: &str) -> String {
    format!("not sent: {what} is not of its form")
}

const fn method(method: accordant_protocol::plan::Method) -> Method {
    use accordant_protocol::plan::Method as Planned;
    match method {
        Planned::Get => Method::GET,
        Planned::Post => Method::POST,
        Planned::Put => Method::PUT,
        Planned::Patch => Method::PATCH,
        Planned::Delete => Method::DELETE,
    }
}

/// Below the base address, and nowhere else: what a result has put into the path leads no way out.
fn target(base: &Uri, path: &str) -> Result<Uri, String> {
    let uri = join(base, path).map_err(|_| wrong("the path"))?;
    let same = uri.scheme() == base.scheme() && uri.authority() == base.authority();
    if !path.starts_with('/') || leads_up(path) || !same {
        return Err("not sent: the path leads away from the participant".to_owned());
    }
    Ok(uri)
}

/// Reads what came back.
pub(super) fn read(call: &EndpointCall, received: Result<Response, TransportError>) -> Answer {
    let response = match received {
        Ok(response) => response,
        Err(error) => {
            let error = cut(&error.to_string(), REASON_BYTES_MAX);
            return Answer::Unanswered { error };
        }
    };
    let Response { status, headers, body } = response;
    let acted = |answer| Answer::Acted { identity: None, answer };
    match said(call, status) {
        Said::Done => acted(ActAnswer::Done { result: result(body.as_ref()) }),
        Said::Refused => acted(ActAnswer::Refused { refusal: refusal(status, body.as_ref()) }),
        Said::InProgress => {
            let retry_after_ms = retry_after_ms(&headers);
            acted(ActAnswer::InProgress { retry_after_ms })
        }
        Said::Nothing => {
            let text = text(body.as_ref());
            let text = cut(text.trim(), EXCERPT_BYTES_MAX);
            let separator = if text.is_empty() { "" } else { ": " };
            let error = format!("HTTP {}{separator}{text}", status.as_u16());
            Answer::Unanswered { error }
        }
    }
}

/// What a status says.
enum Said {
    Done,
    Refused,
    InProgress,
    Nothing,
}

fn said(call: &EndpointCall, status: StatusCode) -> Said {
    let code = status.as_u16();
    let done = if call.done.is_empty() {
        status.is_success()
    } else {
        call.done.contains(&code)
    };
    let refused = if call.refused.is_empty() {
        status == StatusCode::CONFLICT
    } else {
        call.refused.contains(&code)
    };
    match (status == StatusCode::TOO_EARLY, done, refused) {
        (true, _, _) => Said::InProgress,
        (false, true, _) => Said::Done,
        (false, false, true) => Said::Refused,
        (false, false, false) => Said::Nothing,
    }
}

/// The body if it is a JSON value of a size that may be kept. The status has said *done*, whatever
/// it brings along.
fn result(body: Option<&Bytes>) -> Option<Json> {
    let body = body.filter(|body| body.len() <= RESULT_BYTES_MAX)?;
    let text = std::str::from_utf8(body).ok()?.trim();
    // A stored null is read back as none.
    Json::from_text(text.to_owned())
        .ok()
        .filter(|json| json.text() != "null")
}

fn refusal(status: StatusCode, body: Option<&Bytes>) -> Refusal {
    let value: serde_json::Value = body
        .and_then(|body| serde_json::from_slice(body).ok())
        .unwrap_or_default();
    let member = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
    let code = member("code").map(str::to_owned);
    let code = code.filter(|code| !code.trim().is_empty());
    let code = code.unwrap_or_else(|| format!("http_{}", status.as_u16()));
    let detail = member("detail").or_else(|| member("message"));
    let detail = detail.map_or_else(|| text(body), str::to_owned);
    Refusal::new(&code, detail.trim())
}

fn text(body: Option<&Bytes>) -> String {
    body.map(|body| String::from_utf8_lossy(body).into_owned())
        .unwrap_or_default()
}

/// Seconds only: a date would need a clock that agrees with the service's.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = value.trim().parse().ok()?;
    Some(seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests;
