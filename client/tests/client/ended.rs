//! Saying that a local transaction has ended, for every answer.

use std::time::Duration;

use accordant_client::{Client, EndedError, LostReply, Outcome, ProblemCode};

use super::stub::{Act, ID, Stub, id, problem_with, status};

async fn ended(act: Act) -> Result<accordant_client::Status, EndedError> {
    let stub = Stub::start([act]).await;
    let client = Client::builder(&stub.address).request_timeout(Duration::from_millis(300));
    let answer = client.build().unwrap().ended(&id()).await;
    let asked = stub.asked();
    assert_eq!(asked.len(), 1, "not repeated by itself");
    assert_eq!(asked[0].method, "POST");
    assert_eq!(asked[0].target, format!("/v1/transactions/{ID}/commit"));
    assert_eq!(asked[0].body, "");
    answer
}

#[tokio::test]
async fn the_status_comes_back_decided_or_not() {
    let pending = ended(status(202, "pending", "delegated")).await.unwrap();
    assert_eq!(pending.outcome, Outcome::Pending);
    let done = ended(status(200, "committed", "closed")).await.unwrap();
    assert_eq!(done.outcome, Outcome::Committed);
}

#[tokio::test]
async fn every_code_says_what_to_do() {
    for &code in ProblemCode::ALL {
        let error = ended(problem_with(code, "retry-after: 3\r\n"))
            .await
            .unwrap_err();
        let (http, _) = code.describe();
        let expected = match (code, http) {
            (ProblemCode::NotFound, _) => matches!(error, EndedError::NotFound),
            (ProblemCode::Expired, _) => matches!(error, EndedError::Expired),
            (ProblemCode::OutOfPlace, _) => matches!(error, EndedError::NotLocal(_)),
            (_, 429 | 500..) => matches!(
                error,
                EndedError::Unavailable { retry_after: Some(after), .. } if after.as_secs() == 3
            ),
            _ => matches!(error, EndedError::Refused(_)),
        };
        assert!(expected, "{code:?}: {error:?}");
    }
}

#[tokio::test]
async fn no_reply_and_no_coordinators_reply_are_lost() {
    for act in [
        Act::Close,
        Act::Hang,
        Act::Bytes("HTTP/1.1 200 OK\r\n\r\n{}"),
    ] {
        let error = ended(act).await.unwrap_err();
        assert!(matches!(error, EndedError::Lost { .. }), "{error:?}");
    }
    let other = status(200, "committed", "closed");
    let Act::Reply { status, headers, body } = other else {
        panic!("a reply")
    };
    let body = body.replacen("acc.3.", "acc.4.", 1);
    let error = ended(Act::Reply { status, headers, body })
        .await
        .unwrap_err();
    let foreign = matches!(
        &error,
        EndedError::Lost { source: LostReply::Foreign { .. } }
    );
    assert!(foreign, "{error:?}");
    let client = Client::new("http://127.0.0.1:1").unwrap();
    let error = client.ended(&id()).await.unwrap_err();
    assert!(matches!(error, EndedError::Unreachable { .. }), "{error:?}");
}
