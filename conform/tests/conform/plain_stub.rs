//! A plain booking service, which can be told to do one thing wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use serde_json::{Value, json};

/// What a stub does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// Books again for each repeat.
    IgnoresTheKey,
    /// Answers a repeat with 409: it is there already.
    RefusesRepeats,
    /// Refuses once, and books the second time.
    ForgetsRefusals,
    /// Says 404 to the second compensation.
    MissesTheSecondTime,
    /// Forgets what it answered once the booking is cancelled, and books again.
    ForgetsTheKeyWithTheBooking,
    /// Shows its state until something is booked.
    HidesTheState,
    /// Sends the caller elsewhere.
    Redirects,
    /// Takes what is no JSON.
    TakesRubbish,
}

#[derive(Default)]
struct Books {
    next: u64,
    /// By key.
    answers: BTreeMap<String, (StatusCode, Value)>,
    bookings: BTreeMap<u64, bool>,
}

type Shared = Arc<(Bug, Mutex<Books>)>;
type Answer = (StatusCode, [(&'static str, &'static str); 1], String);

pub(crate) fn router(bug: Bug) -> Router {
    let shared: Shared = Arc::new((bug, Mutex::default()));
    Router::new()
        .route("/bookings", post(book))
        .route("/bookings/{id}/cancel", post(cancel))
        .route("/balance", get(balance))
        .with_state(shared)
}

async fn balance(State(shared): State<Shared>) -> (StatusCode, String) {
    let books = shared.1.lock().unwrap();
    if shared.0 == Bug::HidesTheState && !books.bookings.is_empty() {
        return (StatusCode::NOT_FOUND, String::new());
    }
    let open = books.bookings.values().filter(|open| **open).count();
    (StatusCode::OK, open.to_string())
}

fn answer(status: StatusCode, body: &Value) -> Answer {
    (
        status,
        [("location", "http://127.0.0.1:1/elsewhere")],
        body.to_string(),
    )
}

async fn book(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Answer {
    let (bug, books) = (shared.0, &shared.1);
    let mut books = books.lock().unwrap();
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    if bug == Bug::Redirects {
        return answer(StatusCode::TEMPORARY_REDIRECT, &json!({}));
    }
    let known = books.answers.get(&key).cloned();
    match (known, bug) {
        (None, _) | (Some(_), Bug::IgnoresTheKey) => {}
        (Some(_), Bug::RefusesRepeats) => return answer(StatusCode::CONFLICT, &json!({})),
        (Some((StatusCode::CONFLICT, _)), Bug::ForgetsRefusals) => {
            return answer(StatusCode::CREATED, &json!({ "id": 0 }));
        }
        (Some((status, body)), _) => return answer(status, &body),
    }
    let order: Value = match (serde_json::from_slice(&body), bug) {
        (Ok(order), _) => order,
        (Err(_), Bug::TakesRubbish) => json!({ "nights": 1 }),
        (Err(_), _) => return answer(StatusCode::BAD_REQUEST, &json!({})),
    };
    let said = if order["nights"].as_u64().unwrap_or_default() > 30 {
        (StatusCode::CONFLICT, json!({ "code": "fully_booked" }))
    } else {
        books.next += 1;
        let id = books.next;
        books.bookings.insert(id, true);
        (StatusCode::CREATED, json!({ "id": id }))
    };
    books.answers.insert(key, said.clone());
    answer(said.0, &said.1)
}

async fn cancel(State(shared): State<Shared>, Path(id): Path<u64>) -> StatusCode {
    let mut books = shared.1.lock().unwrap();
    if shared.0 == Bug::ForgetsTheKeyWithTheBooking {
        books.answers.retain(|_, (_, body)| body["id"] != id);
    }
    match books.bookings.insert(id, false) {
        Some(false) if shared.0 == Bug::MissesTheSecondTime => StatusCode::NOT_FOUND,
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}
