//! Calls to act over HTTP: bounds of their own at each participant, and replies of any size.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "tests"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accordant_coordinator::delivery::{
    HttpTransport, Request, Response, Transport, TransportError,
};
use accordant_coordinator::journal::memory::MemoryStore;
use accordant_protocol::id::Incarnation;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use support::{Bed, Stub, two};
use tokio::sync::{Semaphore, watch};

/// Lets branches through, and acts only as far as it is opened.
struct Held {
    inner: HttpTransport,
    open: Semaphore,
    /// How many acts are out, and how many have been at a time.
    out: watch::Sender<(usize, usize)>,
}

impl Held {
    async fn until_out(&self, count: usize) {
        let mut out = self.out.subscribe();
        let so_many = out.wait_for(|(out, _)| *out >= count);
        let waited = tokio::time::timeout(Duration::from_secs(10), so_many).await;
        waited
            .expect("so many are out in time")
            .expect("it is there");
    }

    fn out_most(&self) -> usize {
        self.out.borrow().1
    }
}

#[async_trait]
impl Transport for Held {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        if !request.uri.path().ends_with("/act") {
            return self.inner.send(request).await;
        }
        self.out.send_modify(|(out, most)| {
            *out += 1;
            *most = (*most).max(*out);
        });
        self.open.acquire().await.unwrap().forget();
        let reply = self.inner.send(request).await;
        self.out.send_modify(|(out, _)| *out -= 1);
        reply
    }
}

async fn held(acts_max: usize) -> (Bed, Arc<Held>) {
    let held = Arc::new(Held {
        inner: HttpTransport::new(4),
        open: Semaphore::new(0),
        out: watch::Sender::default(),
    });
    let transport = Arc::<Held>::clone(&held);
    let store = Arc::new(MemoryStore::new("acc".parse().unwrap(), Incarnation(7), 4));
    let bed = Bed::with(store, Stub::default(), Stub::default(), |it| {
        it.transport = transport;
        it.delivery.acts_max = acts_max;
    });
    (bed.await, held)
}

fn one(participant: &str, timeout_ms: u64) -> String {
    json!({ "wait": "accepted", "steps": [{ "name": "one", "action": {
        "participant": participant, "operation": "one", "timeout_ms": timeout_ms,
        "retry": { "pause_ms": 10, "pause_ms_max": 10 },
    }}]})
    .to_string()
}

async fn submit(bed: &Bed, key: &str, body: &str) -> String {
    let (code, status) = bed.submit(key, body).await;
    assert_eq!(code, 202, "{status}");
    status["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn only_so_many_acts_are_out_at_a_participant_and_all_are_done_in_the_end() {
    let (bed, held) = held(2).await;
    let mut ids = Vec::new();
    for key in 0..6 {
        ids.push(submit(&bed, &format!("k{key}"), &one("a", 10_000)).await);
    }
    // Another participant's are not held up by them.
    ids.push(submit(&bed, "other", &one("b", 10_000)).await);
    // Two at the one, and one at the other.
    held.until_out(3).await;
    held.open.add_permits(ids.len());
    for id in ids {
        bed.until_status(&id, |status| status["outcome"] == "committed")
            .await;
    }
    assert_eq!(held.out_most(), 3);
    assert_eq!((bed.a.asked().len(), bed.b.asked().len()), (6, 1));
}

#[tokio::test]
async fn acts_that_hang_hold_up_no_prepare_and_no_commit() {
    let (bed, _held) = held(1).await;
    for key in 0..3 {
        submit(&bed, &format!("k{key}"), &one("a", 10_000)).await;
    }
    let (code, status) = bed
        .submit("k", &two("agree", "agree", r#","wait":"completed""#))
        .await;
    assert_eq!(
        (code, &status["outcome"]),
        (200, &"committed".into()),
        "{status}"
    );
    assert!(bed.a.asked().is_empty());
}

#[tokio::test]
async fn what_has_no_room_is_sent_later_and_that_uses_up_no_attempt() {
    let (bed, held) = held(1).await;
    let first = submit(&bed, "k1", &one("a", 10_000)).await;
    held.until_out(1).await;
    let second = json!({ "wait": "accepted", "steps": [{ "name": "one", "action": {
        "participant": "a", "operation": "one", "timeout_ms": 500,
        "retry": { "pause_ms": 10, "attempts": 1 },
    }}]});
    let second = submit(&bed, "k2", &second.to_string()).await;
    let waited = |status: &Value| {
        let action = &status["actions"][0];
        action["last_error"] == "too many calls are out" && action["attempts"] == 0
    };
    bed.until_status(&second, waited).await;
    assert_eq!(held.out_most(), 1, "it was never sent");
    held.open.add_permits(1_000);
    for id in [first, second] {
        bed.until_status(&id, |status| status["outcome"] == "committed")
            .await;
    }
}

#[tokio::test]
async fn owner_whose_lease_may_be_over_sends_no_act_and_uses_up_no_attempt() {
    let store = MemoryStore::new("acc".parse().unwrap(), Incarnation(7), 4);
    let shared = Arc::new(store.clone());
    let bed = Bed::with(shared, Stub::default(), Stub::default(), |it| {
        it.lease_ms = 600
    });
    let bed = bed.await;
    store.fail_renewals(true);
    // The journal takes records all the same: it is the lease that is not renewed.
    let mut number = 0;
    let unsent = loop {
        number += 1;
        let once = json!({ "wait": "accepted", "steps": [{ "name": "one", "action": {
            "participant": "a", "operation": "one", "retry": { "attempts": 1 } }}]});
        let id = submit(&bed, &format!("k{number}"), &once.to_string()).await;
        let so = |status: &Value| {
            let unsent = status["actions"][0]["last_error"] == "the lease is not renewed";
            unsent || status["state"] == "closed"
        };
        bed.until_status(&id, so).await;
        if bed.get(&format!("/v1/transactions/{id}")).await.1["state"] != "closed" {
            break id;
        }
    };
    let sent = bed.a.asked().len();
    assert_eq!(sent, number - 1, "one call for each that was sent before");
    store.fail_renewals(false);
    bed.until_status(&unsent, |status| status["outcome"] == "committed")
        .await;
    assert_eq!(bed.a.asked().len(), number);
}

#[tokio::test]
async fn a_reply_too_large_to_keep_is_done_by_its_status_and_unknown_by_the_contract() {
    let (bed, held) = held(64).await;
    held.open.add_permits(1_000);
    let large = format!("\"{}\"", "x".repeat(2 * 1024 * 1024));
    bed.a.answers("POST /one", &[(200, &large)]);
    let plain = json!({ "wait": "decided", "steps": [{ "name": "one", "action": {
        "participant": "a", "act": { "path": "/one" }, "without_compensation": true } }]});
    let (code, status) = bed.submit("k1", &plain.to_string()).await;
    assert_eq!(
        (code, &status["outcome"]),
        (200, &"committed".into()),
        "{status}"
    );
    assert!(status["actions"][0].get("result").is_none());
    assert_eq!(bed.a.asked().len(), 1);

    let done = format!(r#"{{"done":{{"result":{large}}}}}"#);
    bed.b.answers(
        "act one",
        &[(200, &done), (200, r#"{"done":{"result":1}}"#)],
    );
    let id = submit(&bed, "k2", &one("b", 10_000)).await;
    bed.until_status(&id, |status| status["outcome"] == "committed")
        .await;
    assert_eq!(bed.b.asked().len(), 2);
}

/// Holds finish calls back until it is opened, and does not take any that a certain transaction is in.
struct Picky {
    inner: HttpTransport,
    open: watch::Sender<bool>,
    unwanted: Mutex<Option<String>>,
    /// The orders in each finish call, by whom it was for.
    finishes: Mutex<BTreeMap<u16, Vec<usize>>>,
}

#[async_trait]
impl Transport for Picky {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        if !request.uri.path().ends_with("/finish") {
            return self.inner.send(request).await;
        }
        let call: Value = serde_json::from_slice(&request.body).unwrap();
        let port = request.uri.port_u16().unwrap();
        let orders = call["orders"].as_array().unwrap().len();
        self.finishes
            .lock()
            .unwrap()
            .entry(port)
            .or_default()
            .push(orders);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        let unwanted = self.unwanted.lock().unwrap().clone();
        if unwanted.is_some_and(|id| call.to_string().contains(&id)) {
            let (status, headers) = (StatusCode::PAYLOAD_TOO_LARGE, HeaderMap::new());
            return Ok(Response { status, headers, body: Some(Bytes::new()) });
        }
        self.inner.send(request).await
    }
}

#[tokio::test]
async fn an_order_that_is_never_taken_holds_up_no_others() {
    let picky = Arc::new(Picky {
        inner: HttpTransport::new(4),
        open: watch::Sender::new(false),
        unwanted: Mutex::default(),
        finishes: Mutex::default(),
    });
    let transport = Arc::<Picky>::clone(&picky);
    let store = Arc::new(MemoryStore::new("acc".parse().unwrap(), Incarnation(7), 4));
    let bed = Bed::with(store, Stub::default(), Stub::default(), |it| {
        it.transport = transport;
        it.delivery.finishes_max = 1;
    })
    .await;
    let mut ids = Vec::new();
    for key in 0..6 {
        let body = two("agree", "agree", r#","wait":"decided""#);
        let (code, status) = bed.submit(&format!("k{key}"), &body).await;
        assert_eq!(status["outcome"], "committed", "{code}: {status}");
        ids.push(status["id"].as_str().unwrap().to_owned());
    }
    // The first is on its way alone; the others wait for the next call, and this one among them.
    let unwanted = ids.remove(3);
    *picky.unwanted.lock().unwrap() = Some(unwanted.clone());
    picky.open.send_replace(true);
    for id in ids {
        bed.until_status(&id, |status| status["state"] == "closed")
            .await;
    }
    for (port, finishes) in picky.finishes.lock().unwrap().iter() {
        let [1, many, rest @ ..] = &finishes[..] else {
            panic!("{port}: {finishes:?}")
        };
        assert!(*many > 1 && rest.len() >= *many, "{port}: {finishes:?}");
        assert_eq!(rest[..*many], vec![1; *many], "{port}: {finishes:?}");
    }
    *picky.unwanted.lock().unwrap() = None;
    bed.until_status(&unwanted, |status| status["state"] == "closed")
        .await;
}
