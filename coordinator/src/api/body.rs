//! Reads a JSON body, and says where it is wrong.

use accordant_protocol::limits::REQUEST_BYTES_MAX;
use accordant_protocol::plan::{PlanFault, PlanFaultCode};
use accordant_protocol::wire::problem::{Problem, ProblemCode};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;

use super::problem::Refusal;

/// Reads a body as a type.
///
/// # Errors
/// A problem with the path of the fault.
pub(super) fn read<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<T, Refusal> {
    let media = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media = media.map(|value| value.split(';').next().unwrap_or_default().trim());
    if media.is_none_or(|media| !media.eq_ignore_ascii_case("application/json")) {
        let detail = "set the header Content-Type: application/json";
        return Err(Refusal::new(ProblemCode::MediaType, detail));
    }
    let body = body.map_err(|rejection| {
        if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = format!("the body may have at most {REQUEST_BYTES_MAX} bytes");
            Refusal::new(ProblemCode::TooLarge, detail)
        } else {
            Refusal::new(
                ProblemCode::Malformed,
                "the body could not be read to its end",
            )
        }
    })?;
    parse(&body)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    // Serde takes an array for a struct, field by field; no client means that.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal::new(
            ProblemCode::Malformed,
            "the body is not a JSON object",
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        refusal(path, &error)
    })?;
    json.end()
        .map_err(|error| refusal(".".to_owned(), &error))?;
    Ok(value)
}

fn refusal(path: String, error: &serde_json::Error) -> Refusal {
    let detail = error.to_string();
    if !error.is_data() {
        return Refusal::new(
            ProblemCode::Malformed,
            format!("the body is not JSON: {detail}"),
        );
    }
    let code = if detail.starts_with("unknown field") {
        PlanFaultCode::UnknownField
    } else if detail.starts_with("missing field") {
        PlanFaultCode::Missing
    } else {
        PlanFaultCode::Form
    };
    let problem = Problem::new(ProblemCode::Malformed, format!("{path}: {detail}"));
    Refusal::from(problem.with_errors(vec![PlanFault { path, code, detail }]))
}

#[cfg(test)]
mod tests {
    use accordant_protocol::wire::api::SubmitRequest;

    use super::*;

    fn error(body: &str) -> (String, PlanFaultCode) {
        let refusal = parse::<SubmitRequest>(body.as_bytes()).unwrap_err();
        let fault = refusal.problem().errors.first().cloned().unwrap();
        (fault.path, fault.code)
    }

    #[test]
    fn the_path_of_a_fault_is_named() {
        use PlanFaultCode::{Form, Missing, UnknownField};
        let branch = |it: &str| format!(r#"{{"branches":[{it}]}}"#);
        for (body, path, code) in [
            (r#"{"wiat":"decided"}"#.to_owned(), "wiat", UnknownField),
            (r#"{"wait":"later"}"#.to_owned(), "wait", Form),
            (r#"{"timeout_ms":"soon"}"#.to_owned(), "timeout_ms", Form),
            (branch(r#"{"name":1}"#), "branches[0].name", Form),
            (
                branch(r#"{"name":"a","participant":"p"}"#),
                "branches[0]",
                Missing,
            ),
            (
                branch(r#"{"name":"a","participant":"p","operation":"o","url":"x"}"#),
                "branches[0].url",
                UnknownField,
            ),
        ] {
            assert_eq!(error(&body), (path.to_owned(), code), "{body}");
        }
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        for body in ["", "{", "nul", "{}{}", "{\"branches\":[}", "\u{0}"] {
            let refusal = parse::<SubmitRequest>(body.as_bytes()).unwrap_err();
            assert_eq!(refusal.problem().code, ProblemCode::Malformed, "{body:?}");
        }
        let deep = format!("{{\"branches\":{}", "[".repeat(100_000));
        assert!(parse::<SubmitRequest>(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_payload_keeps_its_text() {
        let body = r#"{"branches":[{"name":"a","participant":"p","operation":"o",
            "payload":{"n": 123456789012345678901234567890.10}}]}"#;
        let request: SubmitRequest = parse(body.as_bytes()).unwrap();
        let branches = request.branches.unwrap();
        assert_eq!(
            branches[0].payload.text(),
            r#"{"n": 123456789012345678901234567890.10}"#
        );
    }
}
