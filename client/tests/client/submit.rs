//! What a submission comes to, for every answer and for every way in which there is none.

use std::time::Duration;

use accordant_client::{
    AbortReason, Client, IdempotencyKey, LostReply, Outcome, ProblemCode, ResultError, State,
    SubmitError, TenantName, Transaction, Wait,
};
use tokio::time::Instant;

use super::stub::{Act, Stub, id, problem, problem_with, status};

const LONG: Duration = Duration::from_secs(20);

fn transfer() -> Transaction {
    Transaction::new()
        .branch(
            "debit",
            "bank-a",
            "debit",
            &serde_json::json!({ "cents": 500 }),
        )
        .unwrap()
        .branch("credit", "bank-b", "credit", &[1, 2, 3])
        .unwrap()
        .timeout(Duration::from_secs(5))
}

fn key() -> IdempotencyKey {
    IdempotencyKey::new("order-1").unwrap()
}

fn client(stub: &Stub, patience: Duration) -> Client {
    let builder = Client::builder(&stub.address).patience(patience);
    builder
        .request_timeout(Duration::from_millis(300))
        .build()
        .unwrap()
}

async fn once(act: Act) -> Result<accordant_client::Submitted, SubmitError> {
    let stub = Stub::start([act]).await;
    let answer = client(&stub, Duration::ZERO)
        .submit(&key(), &transfer())
        .await;
    assert_eq!(
        stub.asked().len(),
        1,
        "without patience there is one attempt"
    );
    answer
}

#[tokio::test]
async fn a_decided_transaction_comes_with_its_outcome_and_its_results() {
    let done = once(status(200, "committed", "committing")).await.unwrap();
    assert_eq!(
        (done.id, done.outcome, done.reached),
        (id(), Outcome::Committed, true)
    );
    assert_eq!(done.status.state, State::Committing);
    let result: serde_json::Value = done.result("debit").unwrap();
    assert_eq!(result["balance"], 95);
    assert!(matches!(
        done.result::<u8>("debit"),
        Err(ResultError::Form { .. })
    ));
    assert!(matches!(
        done.result::<u8>("credit"),
        Err(ResultError::Absent { .. })
    ));
    assert!(matches!(
        done.result::<u8>("other"),
        Err(ResultError::NoSuchBranch { .. })
    ));
}

#[tokio::test]
async fn an_abort_comes_with_the_refusal_of_its_branch() {
    let body = format!(
        r#"{{"id":"{}","state":"closed","outcome":"aborted","begun_at":1,"reason":{{
        "kind":"refused","branch":"debit","refusal":{{"code":"no_funds","detail":"short"}}}}}}"#,
        super::stub::ID
    );
    let done = once(Act::Reply { status: 200, headers: String::new(), body })
        .await
        .unwrap();
    assert_eq!(done.outcome, Outcome::Aborted);
    assert!(matches!(done.reason(), Some(AbortReason::Refused { .. })));
    let (branch, refusal) = done.status.refusal().unwrap();
    assert_eq!(
        (branch.as_str(), refusal.code.as_str()),
        ("debit", "no_funds")
    );
}

#[tokio::test]
async fn a_transaction_that_is_not_that_far_yet_is_pending_and_no_error() {
    let done = once(status(202, "pending", "preparing")).await.unwrap();
    assert_eq!((done.outcome, done.reached), (Outcome::Pending, false));
}

#[tokio::test]
async fn a_transaction_for_whose_acceptance_was_waited_has_reached_it_with_202() {
    let stub = Stub::start([status(202, "pending", "beginning")]).await;
    let transaction = transfer().wait(Wait::Accepted);
    let done = client(&stub, Duration::ZERO)
        .submit(&key(), &transaction)
        .await
        .unwrap();
    assert!(done.reached);
}

#[tokio::test]
async fn the_request_carries_key_tenant_trace_and_plan() {
    let stub = Stub::start([status(200, "committed", "closed")]).await;
    let tenant = TenantName::new("acme").unwrap();
    let client = Client::builder(&format!("{}/base/", stub.address)).tenant(tenant);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let transaction = transfer().traceparent(trace.parse().unwrap());
    client
        .build()
        .unwrap()
        .submit(&key(), &transaction)
        .await
        .unwrap();
    let asked = &stub.asked()[0];
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("POST", "/base/v1/transactions")
    );
    assert_eq!(asked.header("idempotency-key"), Some("order-1"));
    assert_eq!(asked.header("accordant-tenant"), Some("acme"));
    assert_eq!(asked.header("traceparent"), Some(trace));
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert_eq!(
        asked.body,
        concat!(
            r#"{"branches":[{"name":"debit","participant":"bank-a","operation":"debit","#,
            r#""payload":{"cents":500}},{"name":"credit","participant":"bank-b","#,
            r#""operation":"credit","payload":[1,2,3]}],"timeout_ms":5000,"wait":"decided"}"#,
        )
    );
}

#[tokio::test]
async fn every_code_of_the_coordinator_says_whether_anything_was_begun() {
    for &code in ProblemCode::ALL {
        let error = once(problem(code)).await.unwrap_err();
        let expected = match code {
            ProblemCode::Malformed
            | ProblemCode::Invalid
            | ProblemCode::IdempotencyKey
            | ProblemCode::NoRoute
            | ProblemCode::Method
            | ProblemCode::TooLarge
            | ProblemCode::MediaType => {
                matches!(&error, SubmitError::Refused(problem) if problem.code == code)
            }
            ProblemCode::KeyReused => {
                matches!(&error, SubmitError::KeyReused { key: it } if *it == key())
            }
            ProblemCode::Overloaded
            | ProblemCode::ParticipantBusy
            | ProblemCode::ParticipantHalted
            | ProblemCode::Unavailable
            | ProblemCode::Draining
            | ProblemCode::NotOwner => {
                matches!(&error, SubmitError::Busy { problem, .. } if problem.code == code)
            }
            // `unknown` and `internal`, and those that are no answer to a submission.
            ProblemCode::Unknown
            | ProblemCode::Internal
            | ProblemCode::MalformedId
            | ProblemCode::NotFound
            | ProblemCode::Expired
            | _ => matches!(
                &error,
                SubmitError::Unknown { source: LostReply::Problem(problem), .. }
                    if problem.code == code
            ),
        };
        assert!(expected, "{code:?}: {error:?}");
        let unknown = matches!(error, SubmitError::Unknown { .. });
        assert_eq!(error.may_have_begun(), unknown, "{code:?}");
    }
}

#[tokio::test]
async fn rubbish_is_never_taken_for_an_answer() {
    let reply =
        |status, body: &str| Act::Reply { status, headers: String::new(), body: body.to_owned() };
    for act in [
        reply(200, "hello"),
        reply(200, ""),
        reply(200, r#"{"outcome":"committed"}"#),
        reply(204, ""),
        reply(302, ""),
        reply(404, "<html>no such page</html>"),
        reply(413, "too large, says some gateway"),
        reply(502, "bad gateway"),
        // A problem whose status is not that of the reply: somebody has tampered with one of them.
        reply(
            503,
            r#"{"type":"x","title":"t","status":422,"code":"invalid","detail":"d"}"#,
        ),
        Act::Bytes("SSH-2.0-OpenSSH_9.6\r\n"),
        Act::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":"),
        Act::Close,
        Act::Hang,
        Act::Endless,
    ] {
        let error = once(act.clone()).await.unwrap_err();
        assert!(
            matches!(&error, SubmitError::Unknown { key: it, .. } if *it == key()),
            "{act:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_status_of_another_key_is_no_answer() {
    let stub = Stub::start([status(200, "committed", "closed")]).await;
    let other = IdempotencyKey::new("order-2").unwrap();
    let error = client(&stub, Duration::ZERO)
        .submit(&other, &transfer())
        .await
        .unwrap_err();
    let SubmitError::Unknown { source: LostReply::Foreign { .. }, .. } = error else {
        panic!("{error:?}");
    };
}

#[tokio::test]
async fn a_reply_that_never_ends_is_given_up_at_its_bound() {
    let stub = Stub::start([Act::Endless]).await;
    let patient = Client::builder(&stub.address)
        .patience(Duration::ZERO)
        .build()
        .unwrap();
    let error = patient.submit(&key(), &transfer()).await.unwrap_err();
    let SubmitError::Unknown { source: LostReply::Body { .. }, .. } = error else {
        panic!("{error:?}");
    };
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again_with_the_same_key_and_body() {
    let stub = Stub::start([
        Act::Close,
        Act::Hang,
        problem(ProblemCode::Unknown),
        problem(ProblemCode::Draining),
        status(200, "committed", "committing"),
    ])
    .await;
    let done = client(&stub, LONG)
        .submit(&key(), &transfer())
        .await
        .unwrap();
    assert_eq!(done.outcome, Outcome::Committed);
    let asked = stub.asked();
    assert_eq!(asked.len(), 5);
    assert!(asked.iter().all(|it| *it == asked[0]), "{asked:#?}");
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    for code in [ProblemCode::Invalid, ProblemCode::KeyReused] {
        let stub = Stub::start([problem(code)]).await;
        client(&stub, LONG)
            .submit(&key(), &transfer())
            .await
            .unwrap_err();
        assert_eq!(stub.asked().len(), 1, "{code:?}");
    }
}

#[tokio::test]
async fn after_a_lost_reply_neither_busy_nor_refused_can_say_that_nothing_was_begun() {
    let short = Duration::from_millis(200);
    for code in [ProblemCode::Unavailable, ProblemCode::Invalid] {
        let stub = Stub::start([Act::Close, problem(code)]).await;
        let error = client(&stub, short)
            .submit(&key(), &transfer())
            .await
            .unwrap_err();
        assert!(error.may_have_begun(), "{code:?}: {error:?}");
    }
    let stub = Stub::start([Act::Close, problem(ProblemCode::KeyReused)]).await;
    let error = client(&stub, short)
        .submit(&key(), &transfer())
        .await
        .unwrap_err();
    assert!(
        matches!(error, SubmitError::KeyReused { .. }),
        "the key is another's: {error:?}"
    );
}

#[tokio::test]
async fn a_busy_coordinator_is_given_the_time_it_asks_for() {
    let busy = problem_with(ProblemCode::Overloaded, "retry-after: 1\r\n");
    let stub = Stub::start([busy.clone(), status(200, "committed", "closed")]).await;
    let begun = Instant::now();
    client(&stub, LONG)
        .submit(&key(), &transfer())
        .await
        .unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));

    let stub = Stub::start([busy]).await;
    let begun = Instant::now();
    let short = Duration::from_millis(500);
    let error = client(&stub, short)
        .submit(&key(), &transfer())
        .await
        .unwrap_err();
    let SubmitError::Busy { retry_after, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(1)));
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "it does not wait in vain"
    );
}

#[tokio::test]
async fn a_coordinator_that_is_not_there_has_begun_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::builder(&address)
        .patience(Duration::from_millis(100))
        .build()
        .unwrap();
    let error = client.submit(&key(), &transfer()).await.unwrap_err();
    let SubmitError::Unreachable { address: tried, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(tried, address);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_not_sent() {
    let stub = Stub::start([status(200, "committed", "closed")]).await;
    let large = Transaction::new()
        .branch("a", "b", "c", &"x".repeat(2 << 20))
        .unwrap();
    let error = client(&stub, LONG)
        .submit(&key(), &large)
        .await
        .unwrap_err();
    let SubmitError::Refused(problem) = error else {
        panic!("{error:?}")
    };
    assert_eq!(problem.code, ProblemCode::TooLarge);
    assert!(stub.asked().is_empty());
}

#[tokio::test]
async fn an_error_names_every_fault_and_its_cause() {
    let body = r#"{"type":"urn:accordant:problem:invalid","title":"The request is invalid",
        "status":422,"code":"invalid","detail":"2 faults","errors":[
        {"path":"branches[1].participant","code":"unknown","detail":"no such participant"}]}"#;
    let reply = Act::Reply { status: 422, headers: String::new(), body: body.to_owned() };
    let named = reply.clone();
    let text = once(reply).await.unwrap_err().to_string();
    assert_eq!(
        text,
        "the coordinator refused the transaction: The request is invalid: 2 faults; \
         branches[1].participant: no such participant"
    );
    let Act::Reply { status, headers, body } = named else {
        unreachable!("it is a reply");
    };
    let all = "branches[1].participant: no such participant";
    let body = body.replace("2 faults", all);
    let text = once(Act::Reply { status, headers, body })
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(text.matches(all).count(), 1, "{text}");
}

#[tokio::test]
async fn fresh_keys_differ() {
    let client = Client::new("http://127.0.0.1:1").unwrap();
    let (one, other) = (client.fresh_key().unwrap(), client.fresh_key().unwrap());
    assert_ne!(one, other);
    assert_eq!(one.as_str().len(), 32);
}

#[test]
fn a_payload_that_is_no_json_is_refused_with_its_branch() {
    let odd = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = Transaction::new()
        .branch("debit", "a", "b", &odd)
        .unwrap_err();
    assert!(error.to_string().contains("\"debit\""), "{error}");
}
