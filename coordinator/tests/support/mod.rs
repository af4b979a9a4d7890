//! A coordinator with a store in memory, and participants that are nothing but the contract.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::allow_attributes,
    missing_docs,
    reason = "shared by several test programs"
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accordant_coordinator::api::router;
use accordant_coordinator::delivery::Registry;
use accordant_coordinator::driver::{Coordinator, Settings};
use accordant_coordinator::journal::store::Store;
use accordant_protocol::branch::{Act, Holding, Verb, act};
use accordant_protocol::id::{BranchIndex, Gtid, ParticipantName};
use accordant_protocol::json::Json as Text;
use accordant_protocol::wire::contract::{
    ActCall, BranchEnd, FinishAnswer, FinishCall, FinishReply, FinishVerb, Identity, PrepareCall,
    PrepareReply, Refusal, Vote,
};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusBuilder;

/// What a stub does with a prepare call of an operation.
pub const OPERATIONS: [&str; 4] = ["agree", "refuse", "read", "silence"];

/// A participant that keeps the contract in memory.
#[derive(Clone, Default)]
pub struct Stub(Arc<Mutex<Inner>>);

#[derive(Default)]
pub struct Inner {
    pub holdings: BTreeMap<(Gtid, BranchIndex), Holding>,
    /// Replies to lose: the call has its effect, and the caller gets a 500.
    pub lose: usize,
    /// Calls to refuse before they have any effect.
    pub down: bool,
    pub identity: Option<Identity>,
    pub prepares: usize,
    pub finishes: usize,
    pub orders: usize,
    /// What was asked of it besides branches, in order.
    pub asked: Vec<Asked>,
    /// What it answers to that, by [`Asked::what`]: in turn, and the last one from then on.
    pub script: BTreeMap<String, VecDeque<(u16, String)>>,
}

/// A call to act, or a request to a plain endpoint.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `act OPERATION`, `compensate OPERATION`, or `METHOD /path`.
    pub what: String,
    pub headers: HeaderMap,
    pub body: serde_json::Value,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }
}

impl Stub {
    pub fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }

    pub fn holding(&self, gtid: Gtid) -> Vec<Holding> {
        self.with(|it| {
            it.holdings
                .iter()
                .filter(|((id, _), _)| *id == gtid)
                .map(|(_, it)| *it)
                .collect()
        })
    }

    /// Answers this to a question, in turn and the last one from then on.
    pub fn answers(&self, what: &str, answers: &[(u16, &str)]) {
        let answers = answers
            .iter()
            .map(|(code, body)| (*code, (*body).to_owned()));
        self.with(|it| it.script.insert(what.to_owned(), answers.collect()));
    }

    /// What was asked of it besides branches, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.with(|it| it.asked.clone())
    }

    /// The same in one word each.
    pub fn said(&self) -> Vec<String> {
        self.asked().into_iter().map(|it| it.what).collect()
    }

    pub async fn serve(&self) -> String {
        let router = Router::new()
            .route("/accordant/v1/prepare", post(prepare))
            .route("/accordant/v1/finish", post(finish))
            .route("/accordant/v1/act", post(do_act))
            .fallback(plain)
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        address
    }
}

impl Inner {
    fn identity(&self) -> Identity {
        let first = || Identity { system: "1/1".to_owned(), timeline: 1, starts: 1 };
        self.identity.clone().unwrap_or_else(first)
    }

    fn answer(&mut self, asked: Asked, unasked: String) -> (u16, String) {
        let script = self.script.get_mut(&asked.what);
        self.asked.push(asked);
        if self.down {
            return (503, "down".to_owned());
        }
        let next = script.and_then(|script| match script.len() {
            0 | 1 => script.front().cloned(),
            _ => script.pop_front(),
        });
        next.unwrap_or((200, unasked))
    }
}

async fn prepare(
    State(stub): State<Stub>,
    Json(call): Json<PrepareCall>,
) -> Result<Json<PrepareReply>, StatusCode> {
    stub.with(|it| {
        it.prepares += 1;
        if it.down || call.operation.as_str() == "silence" {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let key = (call.gtid, call.branch);
        let holding = it.holdings.get(&key).copied().unwrap_or(Holding::Nothing);
        let verb = if call.one_phase {
            Verb::CommitOnePhase
        } else {
            Verb::Prepare
        };
        let result = Some(Text::from_text(r#"{"done":true}"#.to_owned()).unwrap());
        let no = || Vote::No { refusal: Refusal::new("refused", "as it was told") };
        let vote = match act(verb, holding) {
            Act::Work => match call.operation.as_str() {
                "refuse" => {
                    it.holdings.insert(key, Holding::Sealed);
                    no()
                }
                "read" => Vote::ReadOnly { result },
                _ if call.one_phase => {
                    it.holdings.insert(key, Holding::Committed);
                    Vote::Committed { result }
                }
                _ => {
                    it.holdings.insert(key, Holding::Prepared);
                    Vote::Yes { result }
                }
            },
            Act::VoteYes => Vote::Yes { result: None },
            Act::VoteCommitted => Vote::Committed { result },
            Act::VoteNo => no(),
            _ => Vote::InProgress,
        };
        if it.lose > 0 {
            it.lose -= 1;
            return Err(StatusCode::INTERNAL_SERVER_ERROR);
        }
        Ok(Json(PrepareReply {
            attempt: call.attempt,
            identity: it.identity(),
            vote,
        }))
    })
}

/// Keeps no barrier: it does what it is told as often as it is told.
async fn do_act(
    State(stub): State<Stub>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    let call: ActCall = serde_json::from_str(&body).unwrap();
    let what = format!("{} {}", call.verb.word(), call.operation);
    let body = serde_json::from_str(&body).unwrap();
    let unasked = format!(r#"{{"done":{{"result":{{"from":"{}"}}}}}}"#, call.operation);
    let (code, answer) = stub.with(|it| it.answer(Asked { what, headers, body }, unasked));
    let identity = stub.with(|it| serde_json::to_string(&it.identity()).unwrap());
    let attempt = call.attempt.0;
    let reply = format!(r#"{{"attempt":{attempt},"identity":{identity},"answer":{answer}}}"#);
    (StatusCode::from_u16(code).unwrap(), reply)
}

async fn plain(
    State(stub): State<Stub>,
    method: http::Method,
    uri: http::Uri,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, HeaderMap, String) {
    let what = format!("{method} {uri}");
    let body = serde_json::from_str(&body).unwrap_or_default();
    let unasked = format!(r#"{{"id":"{}"}}"#, uri.path().trim_matches('/'));
    let (code, answer) = stub.with(|it| it.answer(Asked { what, headers, body }, unasked));
    let code = StatusCode::from_u16(code).unwrap();
    let mut headers = HeaderMap::new();
    if code.is_redirection() {
        headers.insert("location", "/elsewhere".parse().unwrap());
    }
    if code == StatusCode::TOO_EARLY {
        headers.insert("retry-after", answer.parse().unwrap());
    }
    (code, headers, answer)
}

async fn finish(
    State(stub): State<Stub>,
    Json(call): Json<FinishCall>,
) -> Result<Json<FinishReply>, StatusCode> {
    stub.with(|it| {
        it.finishes += 1;
        it.orders += call.orders.len();
        if it.down {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let mut answers = Vec::new();
        for order in call.orders {
            let key = (order.gtid, order.branch);
            let holding = it.holdings.get(&key).copied().unwrap_or(Holding::Nothing);
            let verb = match order.verb {
                FinishVerb::Commit | FinishVerb::Confirm => Verb::Commit,
                FinishVerb::Abort | FinishVerb::Cancel => Verb::Abort,
            };
            let result = order
                .want_result
                .then(|| Text::from_text("\"late\"".to_owned()).unwrap());
            let (holding, end) = match act(verb, holding) {
                Act::CommitPrepared | Act::SayCommitted => {
                    (Holding::Committed, BranchEnd::Committed { result })
                }
                _ => (Holding::Sealed, BranchEnd::Aborted),
            };
            it.holdings.insert(key, holding);
            let FinishOrderParts { gtid, branch, attempt } = FinishOrderParts {
                gtid: order.gtid,
                branch: order.branch,
                attempt: order.attempt,
            };
            answers.push(FinishAnswer { gtid, branch, attempt, end });
        }
        if it.lose > 0 {
            it.lose -= 1;
            return Err(StatusCode::INTERNAL_SERVER_ERROR);
        }
        Ok(Json(FinishReply { identity: it.identity(), answers }))
    })
}

struct FinishOrderParts {
    gtid: Gtid,
    branch: BranchIndex,
    attempt: accordant_protocol::id::Attempt,
}

/// A coordinator behind its API.
pub struct Bed {
    pub coordinator: Arc<Coordinator>,
    pub url: String,
    pub a: Stub,
    pub b: Stub,
    server: tokio::task::JoinHandle<()>,
}

impl Bed {
    pub async fn start(store: Arc<dyn Store>) -> Self {
        Self::with(store, Stub::default(), Stub::default(), |_| {}).await
    }

    pub async fn with(
        store: Arc<dyn Store>,
        a: Stub,
        b: Stub,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let bed = Self::serve(store, a, b, change).await;
        bed.coordinator.owned_all().await;
        bed
    }

    /// One that may own nothing.
    pub async fn unowned(store: Arc<dyn Store>) -> Self {
        Self::serve(store, Stub::default(), Stub::default(), |_| {}).await
    }

    async fn serve(
        store: Arc<dyn Store>,
        a: Stub,
        b: Stub,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut registry = Registry::default();
        for (name, stub) in [("a", &a), ("b", &b)] {
            registry
                .register(ParticipantName::new(name).unwrap(), &stub.serve().await)
                .unwrap();
        }
        let mut settings = Settings::new(registry, "test".to_owned());
        change(&mut settings);
        let coordinator = Arc::new(Coordinator::start(store, settings).unwrap());
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let router = router(Arc::clone(&coordinator), metrics);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { coordinator, url, a, b, server }
    }

    /// Stops as a crash would: nothing is drained.
    pub fn crash(self) {
        self.server.abort();
    }

    pub async fn get(&self, path: &str) -> (u16, serde_json::Value) {
        self.request("GET", path, &[], "").await
    }

    /// Asks until it is so, and gives what was said last. Panics with that if it takes too long.
    pub async fn until(
        &self,
        path: &str,
        is_so: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let asking = async {
            loop {
                let (_, reply) = self.get(path).await;
                if is_so(&reply) {
                    return reply;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(10), asking).await {
            Ok(reply) => reply,
            Err(_) => panic!("not in time: {}", self.get(path).await.1),
        }
    }

    /// The same, of a transaction.
    pub async fn until_status(
        &self,
        id: &str,
        is_so: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        self.until(&format!("/v1/transactions/{id}"), is_so).await
    }

    pub async fn submit(&self, key: &str, body: &str) -> (u16, serde_json::Value) {
        let headers = [
            ("idempotency-key", key),
            ("content-type", "application/json"),
        ];
        self.request("POST", "/v1/transactions", &headers, body)
            .await
    }

    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, serde_json::Value) {
        use http_body_util::{BodyExt, Full};
        let client =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                .build_http::<Full<bytes::Bytes>>();
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(bytes::Bytes::from(body.to_owned()));
        let response = client.request(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (
            status,
            serde_json::from_slice(&body).unwrap_or(serde_json::Value::Null),
        )
    }
}

/// A body with one branch at `a` and one at `b`.
pub fn two(a: &str, b: &str, more: &str) -> String {
    format!(
        r#"{{"branches":[{{"name":"x","participant":"a","operation":"{a}"}},
            {{"name":"y","participant":"b","operation":"{b}"}}]{more}}}"#
    )
}
