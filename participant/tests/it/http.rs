//! The contract over HTTP: what is malformed begins nothing and panics nobody.

use std::net::SocketAddr;

use accordant_participant::Participant;
use accordant_participant::protocol::wire::contract::{
    ACT_PATH, ActVerb, FINISH_PATH, FinishVerb, PREPARE_PATH, Vote,
};
use axum::body::Body;
use axum::extract::ConnectInfo;
use futures_util::FutureExt as _;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{bank, call, debit_call, fresh, order, post, prepare, refusal_code, spend};

fn valid() -> Value {
    serde_json::to_value(debit_call(fresh(), 1)).unwrap()
}

fn with(field: &str, value: Value) -> String {
    let mut call = valid();
    call[field] = value;
    call.to_string()
}

fn without(field: &str) -> String {
    let mut call = valid();
    call.as_object_mut().unwrap().remove(field);
    call.to_string()
}

async fn send(participant: &Participant, request: Request<Body>) -> (StatusCode, Value) {
    let response = participant.router().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// Every call is refused with its status, and nothing is begun.
async fn all_refused(path: &str, calls: impl IntoIterator<Item = (String, u16)>) {
    let bank = bank().await;
    let participant = bank.participant().await;
    for (body, status) in calls {
        let shown = body.chars().take(100).collect::<String>();
        let (found, problem) = post(&participant, path, body).await;
        assert_eq!(found.as_u16(), status, "{shown}: {problem}");
        assert_eq!(problem["status"], json!(status), "{shown}: {problem}");
    }
    let row = sqlx::query("select count(*) from accordant.branch");
    let row = row.fetch_one(&mut bank.admin().await).await.unwrap();
    assert_eq!(sqlx::Row::get::<i64, _>(&row, 0), 0);
    assert!(bank.prepared().await.is_empty());
}

fn tcc_in_one_phase() -> String {
    let mut call = valid();
    call["mode"] = json!("tcc");
    call["one_phase"] = json!(true);
    call.to_string()
}

const INJECTION: &str = "acc.0.00001.000000001' ; drop table account; --";

#[tokio::test]
async fn malformed_prepare_is_refused_and_begins_nothing() {
    let calls = [
        (String::new(), 400),
        ("{".to_owned(), 400),
        ("[]".to_owned(), 400),
        ("null".to_owned(), 400),
        ("\u{0}".to_owned(), 400),
        ("[".repeat(100_000), 400),
        (with("gtid", json!(INJECTION)), 400),
        (with("gtid", json!("")), 400),
        (with("gtid", json!(5)), 400),
        (with("branch", json!(-1)), 400),
        (with("branch", json!(256)), 400),
        (with("branch", json!(96)), 422),
        (with("attempt", json!("1")), 400),
        (with("epoch", json!(-1)), 400),
        (with("deadline", json!(1.5)), 400),
        (with("operation", json!("a'b")), 400),
        (with("unheard_of", json!(1)), 400),
        (with("payload", json!("x".repeat(64 * 1024))), 413),
        (with("payload", json!("x".repeat(1024 * 1024))), 413),
        (with("participant", json!("another")), 421),
        (without("payload"), 400),
        (without("watermark"), 400),
        (with("mode", json!("local")), 422),
        (with("mode", json!("three_phase")), 400),
        (tcc_in_one_phase(), 422),
    ];
    all_refused(PREPARE_PATH, calls).await;
}

#[tokio::test]
async fn malformed_act_is_refused_and_begins_nothing() {
    let with = |field: &str, value: Value| {
        let mut call = serde_json::to_value(spend(fresh(), ActVerb::Act, 1)).unwrap();
        call[field] = value;
        call.to_string()
    };
    let calls = [
        (String::new(), 400),
        ("\u{0}".to_owned(), 400),
        ("[".repeat(100_000), 400),
        (with("gtid", json!(INJECTION)), 400),
        (with("branch", json!(96)), 422),
        (with("verb", json!("prepare")), 400),
        (with("attempt", json!(-1)), 400),
        (with("operation", json!("a'b")), 400),
        (with("unheard_of", json!(1)), 400),
        (with("payload", json!("x".repeat(64 * 1024))), 413),
        (with("payload", json!("x".repeat(1024 * 1024))), 413),
        (with("result", json!("x".repeat(16 * 1024))), 413),
        (with("participant", json!("another")), 421),
    ];
    all_refused(ACT_PATH, calls).await;
}

#[tokio::test]
async fn malformed_finish_is_refused_and_begins_nothing() {
    let finish = |field: &str, value: Value| {
        let mut order = serde_json::to_value(order(fresh(), FinishVerb::Abort)).unwrap();
        order[field] = value;
        json!({"participant": "bank", "orders": [order]}).to_string()
    };
    let too_many: Vec<_> = (0..33).map(|_| order(fresh(), FinishVerb::Abort)).collect();
    let calls = [
        ("{}".to_owned(), 400),
        (finish("verb", json!("forget")), 400),
        (finish("branch", json!(96)), 422),
        (finish("gtid", json!(INJECTION)), 400),
        (finish("more", json!(1)), 400),
        (finish("verb", json!("confirm")), 422),
        (finish("verb", json!("cancel")), 422),
        (
            finish("work", json!({"operation": "reserve", "payload": 1})),
            422,
        ),
        (
            json!({"participant": "another", "orders": []}).to_string(),
            421,
        ),
        (
            json!({"participant": "bank", "orders": too_many}).to_string(),
            422,
        ),
    ];
    all_refused(FINISH_PATH, calls).await;
}

#[tokio::test]
async fn extreme_numbers_are_taken_without_a_panic() {
    let bank = bank().await;
    let participant = bank.participant().await;
    for field in ["epoch", "deadline", "watermark"] {
        let mut act = serde_json::to_value(spend(fresh(), ActVerb::Act, 1)).unwrap();
        act[field] = json!(u64::MAX);
        let (status, reply) = post(&participant, ACT_PATH, act.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{field}: {reply}");
        assert!(reply["answer"]["done"].is_object(), "{field}: {reply}");
        let (status, reply) = post(&participant, PREPARE_PATH, with(field, json!(u64::MAX))).await;
        assert_eq!(status, StatusCode::OK, "{field}: {reply}");
        assert!(reply["vote"]["yes"].is_object(), "{field}: {reply}");
        let gid = bank.prepared().await.remove(0);
        bank.run(&format!("rollback prepared '{gid}'")).await;
    }
    participant.retain_once().await.unwrap();
}

#[tokio::test]
async fn method_media_type_and_path_are_checked() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let caller: SocketAddr = "[::1]:9".parse().unwrap();
    for (method, media, status) in [
        (Method::GET, "application/json", 405),
        (Method::POST, "text/plain", 415),
        (Method::POST, "", 415),
        (Method::POST, "Application/JSON; charset=utf-8", 200),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(PREPARE_PATH)
            .header("content-type", media)
            .extension(ConnectInfo(caller))
            .body(Body::from(valid().to_string()))
            .unwrap();
        let (found, reply) = send(&participant, request).await;
        assert_eq!(found.as_u16(), status, "{media}: {reply}");
    }
}

#[tokio::test]
async fn strangers_are_let_in_only_where_the_service_said_so() {
    let bank = bank().await;
    let closed = bank.participant().await;
    let open = bank.builder().insecure(true).connect().await.unwrap();
    for (participant, caller, status) in [
        (&closed, Some("127.0.0.1:9"), 200),
        (&closed, Some("[::ffff:127.0.0.1]:9"), 200),
        (&closed, Some("10.0.0.1:9"), 403),
        (&closed, None, 403),
        (&open, Some("10.0.0.1:9"), 200),
        (&open, None, 200),
    ] {
        let mut request = Request::post(FINISH_PATH)
            .header("content-type", "application/json")
            .body(Body::from(
                json!({"participant": "bank", "orders": []}).to_string(),
            ))
            .unwrap();
        if let Some(caller) = caller {
            let caller: SocketAddr = caller.parse().unwrap();
            request.extensions_mut().insert(ConnectInfo(caller));
        }
        let (found, reply) = send(participant, request).await;
        assert_eq!(found.as_u16(), status, "{caller:?}: {reply}");
    }
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = closed.serve(listener).await.unwrap_err().to_string();
    assert!(refused.contains("insecure(true)"), "{refused}");
}

#[tokio::test]
async fn phase_two_is_taken_while_as_many_prepares_wait_as_may() {
    let bank = bank().await;
    let participant = bank.participant().await;
    let stalled = |path| {
        let caller: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let body = futures_util::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
        let request = Request::post(path)
            .header("content-type", "application/json")
            .extension(ConnectInfo(caller))
            .body(Body::from_stream(body))
            .unwrap();
        participant.router().oneshot(request)
    };
    let mut waiting: Vec<_> = (0..256).map(|_| Box::pin(stalled(PREPARE_PATH))).collect();
    for call in &mut waiting {
        assert!(call.as_mut().now_or_never().is_none());
    }
    let (status, _) = post(&participant, PREPARE_PATH, valid().to_string()).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let orders = json!({"participant": "bank", "orders": []}).to_string();
    let (status, _) = post(&participant, FINISH_PATH, orders).await;
    assert_eq!(status, StatusCode::OK);
    drop(waiting);
    let (status, _) = post(&participant, PREPARE_PATH, valid().to_string()).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn call_that_no_handler_fits_is_a_durable_no() {
    let bank = bank().await;
    let participant = bank.participant().await;
    for (operation, payload, code) in [
        ("unheard_of", json!(1), "accordant.unknown_operation"),
        ("debit", json!({"account": "one"}), "accordant.payload"),
        ("debit", json!(null), "accordant.payload"),
    ] {
        let gtid = fresh();
        let vote = prepare(&participant, &call(gtid, operation, payload)).await;
        assert_eq!(refusal_code(vote), code);
        assert_eq!(bank.state(gtid).await.as_deref(), Some("aborted"));
    }
}

#[tokio::test]
async fn served_over_a_socket_until_the_shutdown() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let bank = bank().await;
    let participant = bank.participant().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn({
        let participant = participant.clone();
        async move { participant.serve(listener).await }
    });
    let body = valid().to_string();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST {PREPARE_PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: \
         application/json\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\
         \r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    assert!(reply.contains(r#""vote":{"yes":{"result":99}}"#), "{reply}");
    participant.shutdown().await;
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn closures_are_handlers_too() {
    let bank = bank().await;
    let participant = bank
        .builder()
        .operation(
            "pay",
            async |branch: &mut accordant_participant::Branch, cents: i64| {
                let paid = crate::support::Debit { account: 1, cents };
                crate::support::debit(branch, paid).await
            },
        )
        .connect()
        .await
        .unwrap();
    let vote = prepare(&participant, &call(fresh(), "pay", json!(30))).await;
    assert!(matches!(vote, Vote::Yes { .. }), "{vote:?}");
}
