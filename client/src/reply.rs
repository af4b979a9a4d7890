//! What a reply says: a value, a problem of the coordinator's, or nothing usable.

use accordant_protocol::wire::problem::{Problem, ProblemCode};
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::LostReply;
use crate::transport::Answer;

/// What a reply says.
#[derive(Debug)]
pub(crate) enum Said<T> {
    /// What was asked for, with 200 or 202.
    Value(StatusCode, T),
    /// A refusal in the coordinator's own form.
    Problem(Box<Problem>),
}

/// Reads a reply. Nothing is taken for a coordinator's word that is not exactly of its form.
pub(crate) fn read<T: DeserializeOwned>(answer: &Answer) -> Result<Said<T>, LostReply> {
    let status = answer.status;
    let foreign = |what: String| LostReply::Foreign { status: status.as_u16(), what };
    if status == StatusCode::OK || status == StatusCode::ACCEPTED {
        return match serde_json::from_slice(&answer.body) {
            Ok(value) => Ok(Said::Value(status, value)),
            Err(error) => Err(foreign(error.to_string())),
        };
    }
    if status.is_client_error() || status.is_server_error() {
        return match read_problem(&answer.body) {
            Some(problem) if problem.status == status.as_u16() => {
                Ok(Said::Problem(Box::new(problem)))
            }
            Some(problem) => Err(foreign(format!("its body says {}", problem.status))),
            None => Err(foreign(
                "its body is not a problem of a known kind".to_owned(),
            )),
        };
    }
    Err(foreign("a coordinator gives no such status".to_owned()))
}

/// A problem, also from a newer coordinator that names faults of kinds which are unknown here.
fn read_problem(body: &[u8]) -> Option<Problem> {
    #[derive(Deserialize)]
    struct Known {
        code: ProblemCode,
        status: u16,
        title: String,
        #[serde(default)]
        detail: String,
    }
    serde_json::from_slice(body).ok().or_else(|| {
        let Known { code, status, title, detail } = serde_json::from_slice(body).ok()?;
        Some(Problem { title, status, ..Problem::new(code, detail) })
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer {
            status,
            retry_after: None,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn what_is_not_of_the_form_is_nobodys_word() {
        for (status, body) in [
            (200, "hello"),
            (200, ""),
            (201, "7"),
            (302, "7"),
            (404, "<html>Not Found</html>"),
            (422, r#"{"code":"brand_new","status":422,"title":"t"}"#),
            (500, r#"{"code":"not_found","status":404,"title":"t"}"#),
        ] {
            assert!(matches!(
                read::<u8>(&answer(status, body)),
                Err(LostReply::Foreign { .. })
            ));
        }
    }

    #[test]
    fn a_problem_with_faults_of_unknown_kinds_is_still_read() {
        let body = r#"{"type":"x","code":"invalid","status":422,"title":"t","detail":"d",
            "errors":[{"path":"p","code":"brand_new","detail":"d"}]}"#;
        let Ok(Said::Problem(problem)) = read::<u8>(&answer(422, body)) else {
            panic!("not read");
        };
        assert_eq!(
            (problem.code, problem.detail.as_str()),
            (ProblemCode::Invalid, "d")
        );
    }
}
