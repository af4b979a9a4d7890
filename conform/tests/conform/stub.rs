//! A service that keeps its books in memory, written from the contract alone, and that can be told
//! to break it in one way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accordant_conform::protocol::id::{BranchIndex, Gtid};
use accordant_conform::protocol::limits::{CALL_BYTES_MAX, FINISH_ORDERS_MAX, PAYLOAD_BYTES_MAX};
use accordant_conform::protocol::plan::Mode;
use accordant_conform::protocol::time::Timestamp;
use accordant_conform::protocol::wire::contract::{
    ACT_PATH, ActCall, ActVerb, FINISH_PATH, FinishCall, FinishOrder, FinishVerb, PREPARE_PATH,
    PrepareCall,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What a stub does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// Carries a repeated act out again, with a new result.
    RunsRepeats,
    /// Carries a repeated act out again, and says the same as before.
    RunsRepeatsQuietly,
    /// Looks whether an act has come, waits, and carries it out.
    Races,
    /// Passes over a compensation of what never came.
    ForgetsNullCompensation,
    /// Compensates each time it is told to.
    CompensatesTwice,
    /// Does not remember that it has refused, and does it the second time.
    ForgetsRefusals,
    /// Takes a deadline for a reason to refuse an act.
    RefusesTheLate,
    /// Does whatever is asked under any name.
    KnowsEveryOperation,
    /// Leaves the index of the action out of the key.
    KeysByTransaction,
    /// Answers aborted without a seal.
    DoesNotSeal,
    /// Answers committed to a commit of what it never saw.
    CommitsUnknown,
    /// Gives no result to a commit that asks for it.
    LosesResults,
    /// Ends each order as if it were the first one's.
    MixesOrders,
    /// Rolls back what has committed, and says so.
    AbortsCommitted,
    /// Prepares though the deadline has passed.
    PreparesTheLate,
    /// Says *committed* to the confirm of what was never tried.
    InventsReservations,
    /// Cancels what was confirmed.
    CancelsConfirmed,
    /// Says nothing of its database.
    ForgetsIdentity,
    /// Counts its starts backwards.
    GoesBack,
    /// Repeats the first attempt for ever.
    RepeatsFirstAttempt,
    /// Says done to what it cannot read.
    TakesRubbish,
    /// Passes over fields that it does not know.
    TakesUnknownFields,
    /// Answers to any name.
    AnswersForOthers,
    /// Panics where brackets are nested deeply.
    CrashesOnNesting,
    /// Believes every watermark.
    BelievesWatermarks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Done,
    Refused,
    Undone,
    KeptOut,
    Prepared,
    Committed,
    Aborted,
}

#[derive(Clone, Debug)]
struct Row {
    stand: Stand,
    result: Value,
    cents: i64,
}

#[derive(Debug)]
struct Books {
    balance: i64,
    next: u64,
    rows: BTreeMap<(Gtid, BranchIndex, bool), Row>,
    floor: Timestamp,
    starts: u64,
}

struct Service {
    bug: Bug,
    books: Mutex<Books>,
}

type Answer = (StatusCode, String);

pub(crate) fn router(bug: Bug) -> Router {
    let books = Books {
        balance: 1_000_000,
        next: 1,
        rows: BTreeMap::new(),
        floor: Timestamp::ZERO,
        starts: 1_000_000,
    };
    let service = Arc::new(Service { bug, books: Mutex::new(books) });
    Router::new()
        .route(ACT_PATH, post(act))
        .route(PREPARE_PATH, post(prepare))
        .route(FINISH_PATH, post(finish))
        .route("/balance", get(balance))
        .layer(DefaultBodyLimit::max(CALL_BYTES_MAX))
        .with_state(service)
}

async fn balance(State(service): State<Arc<Service>>) -> String {
    service.books.lock().unwrap().balance.to_string()
}

async fn act(State(service): State<Arc<Service>>, headers: HeaderMap, body: Bytes) -> Answer {
    let call: ActCall = match service.read(&headers, &body) {
        Ok(call) => call,
        Err(answer) => return answer,
    };
    if let Err(answer) = service.admit(call.participant.as_str(), call.branch, call.payload.text())
    {
        return answer;
    }
    if service.bug == Bug::Races && call.verb == ActVerb::Act {
        let key = service.key(call.gtid, call.branch, true);
        let stood = service.books.lock().unwrap().rows.contains_key(&key);
        // The width of the race that is planted here: as long as a look and a write in a database take.
        // A barrier cannot stand in for it, since a call may come alone.
        tokio::time::sleep(Duration::from_millis(5)).await;
        if !stood {
            service.books.lock().unwrap().rows.remove(&key);
        }
    }
    let said = service.act(&call);
    let attempt = call.attempt.0;
    service.reply(attempt, call.gtid, call.watermark, |reply| {
        reply["answer"] = said
    })
}

async fn prepare(State(service): State<Arc<Service>>, headers: HeaderMap, body: Bytes) -> Answer {
    let call: PrepareCall = match service.read(&headers, &body) {
        Ok(call) => call,
        Err(answer) => return answer,
    };
    if let Err(answer) = service.admit(call.participant.as_str(), call.branch, call.payload.text())
    {
        return answer;
    }
    if call.mode == Mode::Local || (call.mode == Mode::Tcc && call.one_phase) {
        return (StatusCode::UNPROCESSABLE_ENTITY, String::new());
    }
    let said = service.prepare(&call);
    let attempt = call.attempt.0;
    service.reply(attempt, call.gtid, call.watermark, |reply| {
        reply["vote"] = said
    })
}

async fn finish(State(service): State<Arc<Service>>, headers: HeaderMap, body: Bytes) -> Answer {
    let call: FinishCall = match service.read(&headers, &body) {
        Ok(call) => call,
        Err(answer) => return answer,
    };
    let small = call.orders.len() <= FINISH_ORDERS_MAX;
    let fits = |order: &FinishOrder| {
        let tcc = matches!(order.verb, FinishVerb::Confirm | FinishVerb::Cancel);
        let payload = order.work.as_ref().map_or("", |work| work.payload.text());
        let name = call.participant.as_str();
        order.work.is_some() == tcc && service.admit(name, order.branch, payload).is_ok()
    };
    let named = service.admit(call.participant.as_str(), BranchIndex(0), "");
    if let Err(answer) = named {
        return answer;
    }
    if !small || !call.orders.iter().all(fits) {
        return (StatusCode::UNPROCESSABLE_ENTITY, String::new());
    }
    let first = call.orders.first().map(|order| order.verb);
    let answers: Vec<Value> = call
        .orders
        .iter()
        .map(|order| {
            let mixed = first.filter(|_| service.bug == Bug::MixesOrders);
            let verb = mixed.unwrap_or(order.verb);
            let end = service.finish(order, verb);
            let attempt = service.attempt(order.attempt.0);
            json!({ "gtid": order.gtid, "branch": order.branch, "attempt": attempt, "end": end })
        })
        .collect();
    let mut reply = json!({ "answers": answers });
    service.sign(&mut reply);
    (StatusCode::OK, reply.to_string())
}

impl Service {
    fn read<T: DeserializeOwned>(&self, headers: &HeaderMap, body: &Bytes) -> Result<T, Answer> {
        let media = headers.get("content-type").and_then(|it| it.to_str().ok());
        if media != Some("application/json") {
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, String::new()));
        }
        let depth = body.iter().filter(|byte| **byte == b'[').count();
        assert!(
            self.bug != Bug::CrashesOnNesting || depth < 1000,
            "a planted crash"
        );
        let read = serde_json::from_slice(body);
        if self.bug == Bug::TakesUnknownFields && read.is_err() {
            let mut value: Value = serde_json::from_slice(body).unwrap_or_default();
            for place in ["", "/orders/0"] {
                let object = value.pointer_mut(place).and_then(Value::as_object_mut);
                object.map(|object| object.remove("accordant_conform"));
            }
            if let Ok(call) = serde_json::from_str(&value.to_string()) {
                return Ok(call);
            }
        }
        read.map_err(|error| {
            if self.bug == Bug::TakesRubbish {
                let said = json!({ "attempt": 1, "answer": { "done": {} }, "vote": { "yes": {} }, "answers": [] });
                return (StatusCode::OK, said.to_string());
            }
            (StatusCode::BAD_REQUEST, error.to_string())
        })
    }

    fn admit(&self, name: &str, branch: BranchIndex, payload: &str) -> Result<(), Answer> {
        if name != "bank" && self.bug != Bug::AnswersForOthers {
            return Err((StatusCode::MISDIRECTED_REQUEST, String::new()));
        }
        if branch.0 > 95 || payload.len() > PAYLOAD_BYTES_MAX {
            return Err((StatusCode::UNPROCESSABLE_ENTITY, String::new()));
        }
        Ok(())
    }

    fn reply(
        &self,
        attempt: u32,
        gtid: Gtid,
        watermark: Timestamp,
        fill: impl FnOnce(&mut Value),
    ) -> Answer {
        if self.bug == Bug::BelievesWatermarks {
            let mut books = self.books.lock().unwrap();
            books.floor = books.floor.max(watermark);
            if gtid.minted() <= books.floor {
                return (StatusCode::GONE, String::new());
            }
        }
        let mut reply = json!({ "attempt": self.attempt(attempt) });
        fill(&mut reply);
        self.sign(&mut reply);
        (StatusCode::OK, reply.to_string())
    }

    fn attempt(&self, attempt: u32) -> u32 {
        if self.bug == Bug::RepeatsFirstAttempt {
            1
        } else {
            attempt
        }
    }

    fn sign(&self, reply: &mut Value) {
        let mut books = self.books.lock().unwrap();
        if self.bug == Bug::GoesBack {
            books.starts -= 1;
        }
        if self.bug != Bug::ForgetsIdentity {
            reply["identity"] =
                json!({ "system": "stub/1", "timeline": 1, "starts": books.starts });
        }
    }

    fn key(&self, gtid: Gtid, branch: BranchIndex, act: bool) -> (Gtid, BranchIndex, bool) {
        let forgets = self.bug == Bug::KeysByTransaction;
        let branch = if forgets { BranchIndex(0) } else { branch };
        (gtid, branch, act)
    }

    fn act(&self, call: &ActCall) -> Value {
        let key = self.key(call.gtid, call.branch, true);
        let mut books = self.books.lock().unwrap();
        let row = books.rows.get(&key).cloned();
        let stand = row.as_ref().map(|row| row.stand);
        let refused = || json!({ "refused": { "refusal": { "code": "refused", "detail": "no" } } });
        match (call.verb, stand) {
            (ActVerb::Act, None) => {
                let past = call.deadline.as_millis() < 1_000_000;
                if past && self.bug == Bug::RefusesTheLate {
                    return refused();
                }
                let cents = cents(call.payload.text());
                if call.operation.as_str() != "debit" && self.bug != Bug::KnowsEveryOperation {
                    return json!({ "retry_later": { "reason": "not known" } });
                }
                books.act(key, cents)
            }
            (ActVerb::Act, Some(Stand::Done | Stand::Undone)) if self.bug == Bug::RunsRepeats => {
                books.act(key, cents(call.payload.text()))
            }
            (ActVerb::Act, Some(Stand::Done | Stand::Undone)) => {
                let row = row.unwrap();
                if self.bug == Bug::RunsRepeatsQuietly {
                    books.balance -= row.cents;
                }
                json!({ "done": { "result": row.result } })
            }
            (ActVerb::Act, Some(Stand::Refused)) if self.bug == Bug::ForgetsRefusals => {
                books.act(key, 0)
            }
            (ActVerb::Act, Some(_)) => refused(),
            (ActVerb::Compensate, None) => {
                if self.bug != Bug::ForgetsNullCompensation {
                    books.put(key, Stand::KeptOut, 0);
                }
                json!({ "done": {} })
            }
            (ActVerb::Compensate, Some(stand)) => {
                if stand == Stand::Done || self.bug == Bug::CompensatesTwice {
                    books.balance += row.unwrap().cents;
                    books.stand(key, Stand::Undone);
                }
                json!({ "done": {} })
            }
        }
    }

    fn prepare(&self, call: &PrepareCall) -> Value {
        let key = self.key(call.gtid, call.branch, false);
        let mut books = self.books.lock().unwrap();
        if let Some(row) = books.rows.get(&key).cloned() {
            return match row.stand {
                Stand::Prepared if call.mode == Mode::TwoPhase && call.one_phase => {
                    json!("in_progress")
                }
                Stand::Prepared => json!({ "yes": { "result": row.result } }),
                Stand::Committed => json!({ "committed": { "result": row.result } }),
                Stand::Done | Stand::Refused | Stand::Undone | Stand::KeptOut | Stand::Aborted => {
                    no()
                }
            };
        }
        let cents = cents(call.payload.text());
        let late = call.deadline.as_millis() < 1_000_000 && self.bug != Bug::PreparesTheLate;
        let known = call.operation.as_str() == "debit" || self.bug == Bug::KnowsEveryOperation;
        if books.balance < cents || late || !known {
            books.put(key, Stand::Aborted, 0);
            return no();
        }
        let result = books.put(key, Stand::Prepared, cents);
        match (call.one_phase, call.mode) {
            (true, _) => {
                books.balance -= cents;
                books.stand(key, Stand::Committed);
                json!({ "committed": { "result": result } })
            }
            (false, Mode::Tcc) => {
                books.balance -= cents;
                json!({ "yes": { "result": result } })
            }
            (false, _) => json!({ "yes": { "result": result } }),
        }
    }

    fn finish(&self, order: &FinishOrder, verb: FinishVerb) -> Value {
        let key = self.key(order.gtid, order.branch, false);
        let mut books = self.books.lock().unwrap();
        let row = books.rows.get(&key).cloned();
        let committed = |row: &Row| {
            if self.bug == Bug::LosesResults {
                return json!({ "committed": {} });
            }
            json!({ "committed": { "result": row.result } })
        };
        let tcc = matches!(verb, FinishVerb::Confirm | FinishVerb::Cancel);
        let forward = matches!(verb, FinishVerb::Commit | FinishVerb::Confirm);
        let Some(row) = row else {
            let invents = match verb {
                FinishVerb::Commit => self.bug == Bug::CommitsUnknown,
                FinishVerb::Confirm => self.bug == Bug::InventsReservations,
                FinishVerb::Abort | FinishVerb::Cancel => false,
            };
            if invents {
                return json!({ "committed": {} });
            }
            if self.bug != Bug::DoesNotSeal {
                books.put(key, Stand::Aborted, 0);
            }
            return json!("aborted");
        };
        let undoes = match verb {
            FinishVerb::Abort => self.bug == Bug::AbortsCommitted,
            FinishVerb::Cancel => self.bug == Bug::CancelsConfirmed,
            FinishVerb::Commit | FinishVerb::Confirm => false,
        };
        match (row.stand, forward) {
            (Stand::Prepared, true) => {
                if !tcc {
                    books.balance -= row.cents;
                }
                books.stand(key, Stand::Committed);
                committed(&row)
            }
            (Stand::Prepared, false) => {
                if tcc {
                    books.balance += row.cents;
                }
                books.stand(key, Stand::Aborted);
                json!("aborted")
            }
            (Stand::Committed, false) if undoes => {
                books.balance += row.cents;
                books.stand(key, Stand::Aborted);
                json!("aborted")
            }
            (Stand::Committed, _) => committed(&row),
            _ => json!("aborted"),
        }
    }
}

fn no() -> Value {
    json!({ "no": { "refusal": { "code": "refused", "detail": "no", "retryable": false } } })
}

/// What a payload of any form asks for.
fn cents(payload: &str) -> i64 {
    let payload: Value = serde_json::from_str(payload).unwrap_or_default();
    payload["cents"].as_i64().unwrap_or_default()
}

impl Books {
    fn act(&mut self, key: (Gtid, BranchIndex, bool), cents: i64) -> Value {
        if self.balance < cents {
            self.put(key, Stand::Refused, 0);
            return json!({ "refused": { "refusal": { "code": "refused", "detail": "no" } } });
        }
        self.balance -= cents;
        let result = self.put(key, Stand::Done, cents);
        json!({ "done": { "result": result } })
    }

    fn put(&mut self, key: (Gtid, BranchIndex, bool), stand: Stand, cents: i64) -> Value {
        let result = json!({ "number": self.next });
        self.next += 1;
        self.rows
            .insert(key, Row { stand, result: result.clone(), cents });
        result
    }

    fn stand(&mut self, key: (Gtid, BranchIndex, bool), stand: Stand) {
        if let Some(row) = self.rows.get_mut(&key) {
            row.stand = stand;
        }
    }
}
