//! A coordinator that writes down what it is told, and answers as a test says.

use std::sync::{Arc, Mutex};

use accordant_participant::protocol::id::Gtid;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::fresh;

/// A request that has come.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) key: String,
    pub(crate) traceparent: Option<String>,
    pub(crate) text: String,
}

impl Seen {
    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// A status as a coordinator answers a submission with. This one is of a later version: it has
/// fields and a state that nobody here knows.
pub(crate) fn accepted(id: Gtid, key: &str) -> (u16, String) {
    let status = json!({
        "id": id, "idempotency_key": key, "tenant": "default", "state": "of tomorrow",
        "outcome": "pending", "begun_at": 1, "of_tomorrow": {},
    });
    (202, status.to_string())
}

type Answer = Box<dyn FnMut(&Seen) -> (u16, String) + Send>;

struct Inner {
    seen: Mutex<Vec<Seen>>,
    answer: Mutex<Answer>,
}

/// Dropping it closes the port.
pub(crate) struct Stub {
    port: u16,
    inner: Arc<Inner>,
    serving: JoinHandle<()>,
}

impl Stub {
    pub(crate) async fn start() -> Self {
        let answer: Answer = Box::new(|seen| accepted(fresh(), &seen.key));
        let inner = Inner { seen: Mutex::default(), answer: Mutex::new(answer) };
        let inner = Arc::new(inner);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = serve(listener, &inner);
        Self { port, inner, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Closes the port, and every connection.
    pub(crate) async fn leave(&mut self) {
        self.serving.abort();
        drop((&mut self.serving).await);
    }

    pub(crate) async fn come_back(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.serving = serve(listener, &self.inner);
    }

    pub(crate) fn answer(&self, answer: impl FnMut(&Seen) -> (u16, String) + Send + 'static) {
        *self.inner.answer.lock().unwrap() = Box::new(answer);
    }

    /// What has come since the last time.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.inner.seen.lock().unwrap())
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn serve(listener: TcpListener, inner: &Arc<Inner>) -> JoinHandle<()> {
    let router = axum::Router::new()
        .fallback(heard)
        .with_state(Arc::clone(inner));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
}

async fn heard(
    State(inner): State<Arc<Inner>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let header = |name: &str| {
        let value = headers.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let seen = Seen {
        path: uri.path().to_owned(),
        key: header("idempotency-key").unwrap_or_default(),
        traceparent: header("traceparent"),
        text: String::from_utf8(body.to_vec()).unwrap(),
    };
    let (status, body) = (inner.answer.lock().unwrap())(&seen);
    inner.seen.lock().unwrap().push(seen);
    (StatusCode::from_u16(status).unwrap(), body)
}
