//! A plain HTTP service that knows nothing of Accordant but its headers: idempotent by key, told by
//! its path what to do, and remembering every call in the order in which they came.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use accordant_testbed::{LocalService, port};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

/// The name under which it is registered.
pub(crate) const DESK: &str = "desk";

/// One call that came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) trip: String,
    pub(crate) step: String,
    pub(crate) verb: String,
    pub(crate) gtid: String,
    pub(crate) body: Value,
    /// It took effect, and had not before.
    pub(crate) executed: bool,
}

/// What the desk remembers.
#[derive(Debug, Default)]
struct Book {
    calls: Vec<Call>,
    /// By idempotency key: how often it was asked, and what the one execution returned.
    keys: BTreeMap<String, (u32, Option<Value>)>,
    executions: u64,
    /// What the trips' names begin with that are let go on.
    let_go: Vec<String>,
}

type Shared = Arc<Mutex<Book>>;

/// The service, inside the test's process: it outlives whatever is killed.
pub(crate) struct Desk {
    book: Shared,
    server: Option<LocalService>,
    place: port::Place,
}

impl Desk {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let place = port::reserve()?;
        let mut desk = Self { book: Shared::default(), server: None, place };
        desk.open().await?;
        Ok(desk)
    }

    /// Begins to answer (again); what it remembers it has kept.
    pub(crate) async fn open(&mut self) -> anyhow::Result<()> {
        let router = Router::new()
            .route("/{trip}/{step}/{verb}/{how}", post(serve))
            .with_state(Arc::clone(&self.book));
        self.server = Some(LocalService::start(self.place, router).await?);
        Ok(())
    }

    /// Is away.
    pub(crate) fn close(&mut self) {
        self.server = None;
    }

    /// Lets every trip go on whose name begins like this.
    pub(crate) fn let_go(&self, trips: &str) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.let_go.push(trips.to_owned());
    }

    pub(crate) fn url(&self) -> String {
        self.place.url()
    }

    /// Every call of a trip, in the order in which they came.
    pub(crate) fn calls(&self, trip: &str) -> Vec<Call> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = book.calls.iter().filter(|call| call.trip == trip);
        calls.cloned().collect()
    }

    /// How often something took effect.
    pub(crate) fn executed(&self, trip: &str, step: &str, verb: &str) -> usize {
        let calls = self.calls(trip);
        let calls = calls.iter().filter(|it| it.step == step && it.verb == verb);
        calls.filter(|it| it.executed).count()
    }

    /// How often it was called.
    pub(crate) fn called(&self, trip: &str, step: &str, verb: &str) -> usize {
        let calls = self.calls(trip);
        let calls = calls.iter().filter(|it| it.step == step && it.verb == verb);
        calls.count()
    }
}

/// `how` is `done`, `refuse`, `away-N` (the first N attempts are not carried out), `lose-N` (the
/// first N are carried out, and the reply says nothing), `busy-N` (the first N are in progress), or
/// `until-HOW` (away until the trip is let go on, and then as it says).
async fn serve(
    State(book): State<Shared>,
    Path((trip, step, verb, how)): Path<(String, String, String, String)>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (key, gtid) = (header("idempotency-key"), header("accordant-transaction"));
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = book.keys.entry(key.clone()).or_default();
    entry.0 += 1;
    let (asked, known) = entry.clone();
    let held = how.strip_prefix("until-").map(|then| {
        let let_go = book.let_go.iter().any(|start| trip.starts_with(start));
        if let_go { then } else { "away-4000000000" }
    });
    let how = held.unwrap_or(&how);
    let (word, most) = how.split_once('-').unwrap_or((how, "0"));
    let early = asked <= most.parse().unwrap_or(0);
    let carry_out = match word {
        "refuse" => false,
        "away" | "busy" => !early,
        _ => true,
    };
    let executed = carry_out && known.is_none();
    if executed {
        book.executions += 1;
        let result = json!({"id": book.executions, "step": step});
        book.keys.insert(key, (asked, Some(result)));
    }
    let result = known.or_else(|| {
        let executions = book.executions;
        executed.then(|| json!({"id": executions, "step": step}))
    });
    book.calls
        .push(Call { trip, step, verb, gtid, body, executed });
    match (word, early) {
        ("refuse", _) => {
            let refusal = json!({"code": "full", "detail": "as it was asked to"});
            (StatusCode::CONFLICT, Json(refusal)).into_response()
        }
        ("away" | "lose", true) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        ("busy", true) => StatusCode::from_u16(425)
            .unwrap_or(StatusCode::ACCEPTED)
            .into_response(),
        _ => Json(result).into_response(),
    }
}
