//! Asking for a transaction, waiting for it, and listing.

use std::time::Duration;

use accordant_client::{
    Client, IdempotencyKey, ListError, Listing, Outcome, ProblemCode, State, StatusError,
    Timestamp, Wait, WaitError,
};
use tokio::time::Instant;

use super::stub::{Act, ID, Stub, id, problem, problem_with, status};

fn client(stub: &Stub) -> Client {
    let timeout = Duration::from_millis(300);
    Client::builder(&stub.address)
        .request_timeout(timeout)
        .build()
        .unwrap()
}

fn key() -> IdempotencyKey {
    IdempotencyKey::new("order-1").unwrap()
}

#[tokio::test]
async fn a_status_is_asked_for_by_id_and_by_key() {
    let stub = Stub::start([status(200, "committed", "closed")]).await;
    assert_eq!(
        client(&stub).status(&id()).await.unwrap().outcome,
        Outcome::Committed
    );
    assert_eq!(client(&stub).status_by_key(&key()).await.unwrap().id, id());
    let asked = stub.asked();
    assert_eq!(asked[0].target, format!("/v1/transactions/{ID}"));
    assert_eq!(asked[1].target, "/v1/transactions/by-key/order-1");
}

#[tokio::test]
async fn a_key_with_signs_of_its_own_stays_one_part_of_the_path() {
    let stub = Stub::start([problem(ProblemCode::NotFound)]).await;
    let key = IdempotencyKey::new("a/b?c#d%e").unwrap();
    client(&stub).status_by_key(&key).await.unwrap_err();
    assert_eq!(
        stub.asked()[0].target,
        "/v1/transactions/by-key/a%2Fb%3Fc%23d%25e"
    );
}

#[tokio::test]
async fn every_code_says_what_to_do_about_a_status() {
    for &code in ProblemCode::ALL {
        let stub = Stub::start([problem_with(code, "retry-after: 3\r\n")]).await;
        let error = client(&stub).status(&id()).await.unwrap_err();
        let (http, _) = code.describe();
        let expected = match (code, http) {
            (ProblemCode::NotFound, _) => matches!(error, StatusError::NotFound),
            (ProblemCode::Expired, _) => matches!(error, StatusError::Expired),
            (_, 429 | 500..) => matches!(
                error,
                StatusError::Unavailable { retry_after: Some(after), .. } if after.as_secs() == 3
            ),
            _ => matches!(&error, StatusError::Refused(problem) if problem.code == code),
        };
        assert!(expected, "{code:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_status_of_another_transaction_is_no_answer() {
    let stub = Stub::start([status(200, "committed", "closed")]).await;
    let other = ID.replace("acc.3", "acc.4").parse().unwrap();
    let error = client(&stub).status(&other).await.unwrap_err();
    assert!(matches!(error, StatusError::Lost { .. }), "{error:?}");
    let other = IdempotencyKey::new("order-2").unwrap();
    let error = client(&stub).status_by_key(&other).await.unwrap_err();
    assert!(matches!(error, StatusError::Lost { .. }), "{error:?}");
}

#[tokio::test]
async fn a_lost_status_is_lost_and_nothing_else() {
    for act in [
        Act::Close,
        Act::Hang,
        Act::Endless,
        Act::Bytes("HTTP/1.1 200 OK\r\n\r\nhm"),
    ] {
        let stub = Stub::start([act.clone()]).await;
        let error = client(&stub).status(&id()).await.unwrap_err();
        assert!(
            matches!(error, StatusError::Lost { .. }),
            "{act:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_wait_outlasts_outages_and_ends_with_what_was_waited_for() {
    let stub = Stub::start([
        status(200, "pending", "preparing"),
        Act::Close,
        problem(ProblemCode::Unavailable),
        status(200, "committed", "committing"),
        status(200, "committed", "closed"),
    ])
    .await;
    let client = client(&stub);
    let wait = Duration::from_secs(10);
    let decided = client.wait(&id(), Wait::Decided, wait).await.unwrap();
    assert_eq!(decided.state, State::Committing);
    let completed = client.wait(&id(), Wait::Completed, wait).await.unwrap();
    assert_eq!(completed.state, State::Closed);
    let target = &stub.asked()[0].target;
    let wanted = format!("/v1/transactions/{ID}?wait=decided&wait_ms=");
    let ms: u64 = target.strip_prefix(&wanted).unwrap().parse().unwrap();
    assert!(ms > 9_000 && ms <= 10_000, "{ms}");
    assert!(stub.asked()[4].target.contains("?wait=completed&wait_ms="));
}

#[tokio::test]
async fn a_wait_whose_time_is_over_says_how_far_the_transaction_is() {
    let stub = Stub::start([status(200, "committed", "committing")]).await;
    let begun = Instant::now();
    let wait = Duration::from_millis(300);
    let error = client(&stub)
        .wait(&id(), Wait::Completed, wait)
        .await
        .unwrap_err();
    let WaitError::NotYet(status) = error else {
        panic!("{error:?}")
    };
    assert_eq!(status.outcome, Outcome::Committed);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(stub.asked().len() < 10, "asked at once again and again");
}

#[tokio::test]
async fn a_wait_that_learns_nothing_says_so_and_one_that_cannot_learn_ends_at_once() {
    let wait = Duration::from_millis(200);
    let stub = Stub::start([Act::Close]).await;
    let error = client(&stub)
        .wait(&id(), Wait::Decided, wait)
        .await
        .unwrap_err();
    assert!(matches!(error, WaitError::Unknown { .. }), "{error:?}");
    let stub = Stub::start([problem(ProblemCode::Expired)]).await;
    let error = client(&stub)
        .wait(&id(), Wait::Decided, Duration::from_secs(9))
        .await;
    assert!(matches!(
        error.unwrap_err(),
        WaitError::Status(StatusError::Expired)
    ));
    assert_eq!(stub.asked().len(), 1);
}

#[tokio::test]
async fn a_listing_asks_for_what_it_was_given() {
    let body = format!(
        r#"{{"transactions":[{{"id":"{ID}","outcome":"pending","closed":false,"begun_at":5}}],
        "next_cursor":"more of it"}}"#
    );
    let stub = Stub::start([Act::Reply { status: 200, headers: String::new(), body }]).await;
    let page = client(&stub).list(&Listing::new()).await.unwrap();
    assert_eq!(page.transactions[0].id, id());
    let listing = Listing::new()
        .closed(false)
        .outcome(Outcome::Heuristic)
        .attention()
        .since(Timestamp::from_millis(1))
        .before(Timestamp::from_millis(2))
        .limit(10)
        .cursor(page.next_cursor.unwrap());
    client(&stub).list(&listing).await.unwrap();
    let asked = stub.asked();
    assert_eq!(asked[0].target, "/v1/transactions");
    assert_eq!(
        asked[1].target,
        "/v1/transactions?closed=false&outcome=heuristic&attention=true&from_ms=1&before_ms=2\
         &limit=10&cursor=more%20of%20it"
    );
}

#[tokio::test]
async fn a_listing_that_is_refused_or_lost_says_so() {
    let stub = Stub::start([
        problem(ProblemCode::Malformed),
        problem(ProblemCode::NotOwner),
        Act::Close,
    ]);
    let stub = stub.await;
    let client = client(&stub);
    let listing = Listing::new();
    assert!(matches!(
        client.list(&listing).await,
        Err(ListError::Refused(_))
    ));
    assert!(matches!(
        client.list(&listing).await,
        Err(ListError::Unavailable { .. })
    ));
    assert!(matches!(
        client.list(&listing).await,
        Err(ListError::Lost { .. })
    ));
}
