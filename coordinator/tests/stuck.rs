//! What an operator sees of an action that cannot go on, and what each of the four verbs does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "tests"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use accordant_coordinator::journal::memory::MemoryStore;
use accordant_coordinator::journal::store::{Lease, OwnerId, Store};
use accordant_protocol::id::{Incarnation, PartitionId};
use serde_json::{Value, json};
use support::{Bed, Stub};

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new("acc".parse().unwrap(), Incarnation(7), 4))
}

/// Its second step is refused, and the compensation of the first is given up after two attempts.
fn saga(wait: &str) -> String {
    let retry = json!({ "pause_ms": 10, "pause_ms_max": 10, "attempts": 2 });
    let steps = json!([
        { "name": "flight", "action": {
            "participant": "a", "operation": "flight", "compensate_retry": retry,
        }},
        { "name": "hotel", "after": ["flight"], "action": {
            "participant": "b", "operation": "hotel",
        }},
    ]);
    json!({ "steps": steps, "wait": wait }).to_string()
}

async fn bed() -> Bed {
    let bed = Bed::start(store()).await;
    script(&bed.a, &bed.b);
    bed
}

fn script(a: &Stub, b: &Stub) {
    let refused = r#"{"refused":{"refusal":{"code":"full","detail":"no rooms"}}}"#;
    b.answers("act hotel", &[(200, refused)]);
    a.answers("compensate flight", &[(500, "oops")]);
}

async fn post(bed: &Bed, path: &str, body: &Value) -> (u16, Value) {
    let headers = [("content-type", "application/json")];
    bed.request("POST", path, &headers, &body.to_string()).await
}

/// Submits one and waits until it is stuck. Returns its id.
async fn stuck(bed: &Bed, key: &str) -> String {
    let (_, status) = bed.submit(key, &saga("decided")).await;
    assert_eq!(status["outcome"], "aborted", "{status}");
    let id = status["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/transactions/{id}");
    bed.until(&path, |status| status["state"] == "stuck").await;
    id
}

fn decision(resolution: &Value) -> Value {
    decision_on("compensate", resolution)
}

fn decision_on(verb: &str, resolution: &Value) -> Value {
    json!({ "verb": verb, "resolution": resolution, "by": "ann", "reason": "seen in the ledger" })
}

#[tokio::test]
async fn what_is_stuck_is_listed_with_why_and_since_when() {
    let bed = bed().await;
    let (_, none) = bed.get("/v1/admin/stuck").await;
    assert_eq!(none, json!({ "count": 0, "actions": [] }));
    let id = stuck(&bed, "k").await;
    let (code, found) = bed.get("/v1/admin/stuck").await;
    assert_eq!((code, &found["count"]), (200, &1.into()), "{found}");
    let action = &found["actions"][0];
    let since = action["since"].as_u64().unwrap();
    let expected = json!({ "id": id, "index": 0, "name": "flight", "participant": "a",
        "verb": "compensate", "since": since, "attempts": 2, "last_error": "HTTP 500" });
    assert_eq!(action, &expected);
    assert!(found.get("next_cursor").is_none());
    assert_eq!(
        bed.a.said(),
        ["act flight", "compensate flight", "compensate flight"]
    );
}

#[tokio::test]
async fn the_listing_is_paged_by_how_long_they_have_waited() {
    let bed = bed().await;
    let mut ids = Vec::new();
    for key in 0..5 {
        ids.push(stuck(&bed, &format!("k{key}")).await);
        // One by one, also by the millisecond.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let (_, page) = bed.get(&format!("/v1/admin/stuck?limit=2{cursor}")).await;
        assert_eq!(page["count"], 5, "{page}");
        let actions = page["actions"].as_array().unwrap();
        assert!(actions.len() <= 2);
        seen.extend(
            actions
                .iter()
                .map(|it| it["id"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    for (query, path) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("cursor=x", "cursor"),
    ] {
        let (code, problem) = bed.get(&format!("/v1/admin/stuck?{query}")).await;
        assert_eq!(
            (code, &problem["errors"][0]["path"]),
            (422, &path.into()),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn each_verb_ends_what_is_stuck_as_it_says() {
    let bed = bed().await;
    for (verb, outcome, state, more_calls) in [
        (json!("retry"), "aborted", "compensated", 1),
        (json!({ "done": {} }), "aborted", "compensated", 0),
        (json!("skip"), "heuristic", "skipped", 0),
        (json!("abandon"), "heuristic", "skipped", 0),
    ] {
        script(&bed.a, &bed.b);
        let id = stuck(&bed, &format!("k{verb}").replace('"', "")).await;
        // The record is written a moment after.
        bed.until(ATTENTION, |page| listed(page, &id) == Some("aborted"))
            .await;
        bed.a
            .answers("compensate flight", &[(200, r#"{"done":{}}"#)]);
        let before = bed.a.asked().len();
        let path = format!("/v1/admin/transactions/{id}/actions/0");
        let (code, status) = post(&bed, &path, &decision(&verb)).await;
        assert_eq!(
            (code, &status["id"]),
            (200, &id.clone().into()),
            "{verb}: {status}"
        );
        let at = format!("/v1/transactions/{id}");
        let status = bed.until(&at, |status| status["state"] == "closed").await;
        assert_eq!(status["outcome"], outcome, "{verb}: {status}");
        assert_eq!(status["actions"][0]["state"], state, "{verb}: {status}");
        assert_eq!(bed.a.asked().len() - before, more_calls, "{verb}");
        let (_, left) = bed.get("/v1/admin/stuck").await;
        assert_eq!(left["count"], 0, "{verb}");
        // The reply may have been lost: the same again, and nothing else.
        let (code, again) = post(&bed, &path, &decision(&verb)).await;
        assert_eq!(
            (code, &again["outcome"]),
            (200, &outcome.into()),
            "{verb}: {again}"
        );
        let mut other = decision(&verb);
        other["by"] = "bob".into();
        let (code, problem) = post(&bed, &path, &other).await;
        assert_eq!(
            (code, &problem["code"]),
            (409, &"out_of_place".into()),
            "{verb}"
        );
        let stays = (outcome == "heuristic").then_some("heuristic");
        bed.until(ATTENTION, |page| listed(page, &id) == stays)
            .await;
    }
}

/// Where an operator is shown what needs attention.
const ATTENTION: &str = "/v1/transactions?attention=true";

/// The outcome with which it is shown there.
fn listed<'a>(page: &'a Value, id: &str) -> Option<&'a str> {
    let mut all = page["transactions"].as_array().unwrap().iter();
    all.find(|it| it["id"] == id)?["outcome"].as_str()
}

#[tokio::test]
async fn a_step_that_is_taken_as_done_has_the_result_that_the_operator_gives() {
    let bed = Bed::start(store()).await;
    let refused = r#"{"refused":{"refusal":{"code":"no","detail":"never"}}}"#;
    bed.a.answers("act mail", &[(200, refused)]);
    let body = json!({ "wait": "decided", "steps": [
        { "name": "pay", "class": "pivot", "action": { "participant": "a", "operation": "pay" } },
        { "name": "mail", "after": ["pay"], "action": { "participant": "a", "operation": "mail" } },
        { "name": "book", "after": ["mail"], "action": { "participant": "b", "operation": "book",
            "payload": { "mail": { "$result": "mail#/id" } } } },
    ]});
    let (_, status) = bed.submit("k", &body.to_string()).await;
    assert_eq!(status["outcome"], "committed", "{status}");
    let id = status["id"].as_str().unwrap();
    let at = format!("/v1/transactions/{id}");
    let status = bed.until(&at, |status| status["state"] == "stuck").await;
    assert_eq!(status["actions"][1]["state"], "stuck_acting");
    assert_eq!(status["actions"][1]["last_error"], "refused: no: never");
    let path = format!("/v1/admin/transactions/{id}/actions/1");
    let done = decision_on("act", &json!({ "done": { "result": { "id": 7 } } }));
    let (code, status) = post(&bed, &path, &done).await;
    assert_eq!(code, 200, "{status}");
    let status = bed.until(&at, |status| status["state"] == "closed").await;
    assert_eq!(status["outcome"], "committed");
    assert_eq!(status["actions"][1]["result"], json!({ "id": 7 }));
    assert_eq!(bed.b.asked()[0].body["payload"], json!({ "mail": 7 }));
}

#[tokio::test]
async fn a_pivot_is_never_left_undone() {
    let bed = Bed::start(store()).await;
    bed.a.answers("act pay", &[(500, "oops")]);
    let body = json!({ "wait": "accepted", "steps": [
        { "name": "pay", "class": "pivot", "action": { "participant": "a", "operation": "pay",
            "retry": { "pause_ms": 10, "pause_ms_max": 10, "attempts": 1 } } },
    ]});
    let (_, status) = bed.submit("k", &body.to_string()).await;
    let id = status["id"].as_str().unwrap();
    let at = format!("/v1/transactions/{id}");
    bed.until(&at, |status| status["state"] == "stuck").await;
    let path = format!("/v1/admin/transactions/{id}/actions/0");
    for verb in ["skip", "abandon"] {
        let (code, problem) = post(&bed, &path, &decision_on("act", &json!(verb))).await;
        assert_eq!(
            (code, &problem["code"]),
            (409, &"out_of_place".into()),
            "{problem}"
        );
    }
    let (code, _) = post(&bed, &path, &decision_on("act", &json!({ "done": {} }))).await;
    assert_eq!(code, 200);
    let status = bed.until(&at, |status| status["state"] == "closed").await;
    assert_eq!(status["outcome"], "committed", "{status}");
}

#[tokio::test]
async fn a_pivot_that_is_seen_not_to_have_happened_turns_its_saga_back() {
    let bed = Bed::start(store()).await;
    bed.b.answers("act pay", &[(500, "oops")]);
    let body = json!({ "wait": "accepted", "steps": [
        { "name": "book", "action": { "participant": "a", "operation": "book" } },
        { "name": "pay", "class": "pivot", "after": ["book"], "action": { "participant": "b",
            "operation": "pay", "retry": { "pause_ms": 10, "pause_ms_max": 10, "attempts": 1 } } },
    ]});
    let (_, status) = bed.submit("k", &body.to_string()).await;
    let id = status["id"].as_str().unwrap();
    let at = format!("/v1/transactions/{id}");
    bed.until(&at, |status| status["state"] == "stuck").await;
    let path = format!("/v1/admin/transactions/{id}/actions/1");
    // It is not being made good, so nothing is decided about that.
    let (code, problem) = post(&bed, &path, &decision(&json!("not_done"))).await;
    assert_eq!(
        (code, &problem["code"]),
        (409, &"out_of_place".into()),
        "{problem}"
    );
    let not_done = decision_on("act", &json!("not_done"));
    for _repeat in 0..2 {
        let (code, status) = post(&bed, &path, &not_done).await;
        assert_eq!(code, 200, "{status}");
    }
    let status = bed.until(&at, |status| status["state"] == "closed").await;
    assert_eq!(status["outcome"], "aborted", "{status}");
    assert_eq!(
        status["reason"]["refusal"]["code"], "accordant.not_done",
        "{status}"
    );
    assert_eq!(bed.a.said(), ["act book", "compensate book"]);
}

#[tokio::test]
async fn a_call_back_ends_what_is_stuck_also_in_the_journals_eyes() {
    let bed = Bed::start(store()).await;
    bed.a.answers("act pay", &[(500, "oops")]);
    let body = json!({ "wait": "accepted", "steps": [
        { "name": "pay", "class": "pivot", "action": { "participant": "a", "operation": "pay",
            "retry": { "pause_ms": 10, "pause_ms_max": 10, "attempts": 1 } } },
    ]});
    for (key, answer, outcome, state) in [
        (
            "k1",
            json!({ "done": { "result": 7 } }),
            "committed",
            "done",
        ),
        (
            "k2",
            json!({ "refused": { "refusal": { "code": "c", "detail": "d" } } }),
            "aborted",
            "refused",
        ),
    ] {
        let (_, status) = bed.submit(key, &body.to_string()).await;
        let id = status["id"].as_str().unwrap();
        let at = format!("/v1/transactions/{id}");
        bed.until(&at, |status| status["state"] == "stuck").await;
        let path = format!("/v1/transactions/{id}/actions/0");
        let (code, status) = post(&bed, &path, &json!({ "verb": "act", "answer": answer })).await;
        assert_eq!(
            (code, &status["actions"][0]["state"]),
            (200, &state.into()),
            "{status}"
        );
        // Without an epoch: it is in nobody's memory any more.
        let gone = |status: &Value| status.get("epoch").is_none();
        let status = bed.until(&at, gone).await;
        assert_eq!(
            (&status["outcome"], &status["actions"][0]["state"]),
            (&outcome.into(), &state.into()),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_decision_without_a_name_or_a_reason_is_refused_with_its_path() {
    let bed = bed().await;
    let id = stuck(&bed, "k").await;
    let path = format!("/v1/admin/transactions/{id}/actions/0");
    let (long, reason) = ("x".repeat(256), "x".repeat(1025));
    for (field, value, code) in [
        ("by", json!(""), 422),
        ("by", json!(" \t"), 422),
        ("by", json!(long), 422),
        ("by", json!("a\nb"), 422),
        ("reason", json!("  "), 422),
        ("reason", json!(reason), 422),
        ("reason", json!("a\u{1b}b"), 422),
        ("resolution", json!("never"), 400),
        ("ticket", json!(1), 400),
    ] {
        let mut body = decision(&json!("retry"));
        body[field] = value;
        let (found, problem) = post(&bed, &path, &body).await;
        let at = problem["errors"][0]["path"].as_str().unwrap();
        assert_eq!((found, at), (code, field), "{problem}");
    }
    let none = json!({ "verb": "compensate", "resolution": "retry", "by": "ann" });
    let (code, problem) = post(&bed, &path, &none).await;
    assert_eq!(
        (code, &problem["errors"][0]["code"]),
        (400, &"missing".into()),
        "{problem}"
    );
    let large = json!({ "done": { "result": "x".repeat(17_000) } });
    let (code, problem) = post(&bed, &path, &decision_on("act", &large)).await;
    let at = &problem["errors"][0]["path"];
    assert_eq!(
        (code, at),
        (422, &"resolution.done.result".into()),
        "{problem}"
    );
    let other = format!("/v1/admin/transactions/{id}/actions/7");
    let (code, problem) = post(&bed, &other, &decision(&json!("retry"))).await;
    assert_eq!(
        (code, &problem["code"]),
        (404, &"no_action".into()),
        "{problem}"
    );
    let unknown = path.replacen("acc.", "acd.", 1);
    let (code, problem) = post(&bed, &unknown, &decision(&json!("retry"))).await;
    assert_eq!(
        (code, &problem["code"]),
        (404, &"not_found".into()),
        "{problem}"
    );
    let (_, found) = bed.get("/v1/admin/stuck").await;
    assert_eq!(found["count"], 1, "nothing of it was taken");
}

#[tokio::test]
async fn whoever_does_not_own_the_partition_says_who_does() {
    let store = store();
    let lease = Lease { owner: OwnerId::new("the-other").unwrap(), ms: 60_000 };
    for partition in 0..4 {
        store.acquire(PartitionId(partition), &lease).await.unwrap();
    }
    let bed = Bed::unowned(store).await;
    let id = "acc.3.00007.0000000017zzzzzzzzzzzzzzzzzzzzzzzzz";
    let resolve = format!("/v1/admin/transactions/{id}/actions/0");
    let call_back = format!("/v1/transactions/{id}/actions/0");
    let done = json!({ "verb": "act", "answer": { "done": {} } });
    let commit = format!("/v1/transactions/{id}/commit");
    for (path, body) in [
        (resolve, decision(&json!("retry"))),
        (call_back, done),
        (commit, json!({})),
    ] {
        let (code, problem) = post(&bed, &path, &body).await;
        assert_eq!(
            (code, &problem["code"]),
            (503, &"not_owner".into()),
            "{problem}"
        );
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("the-other"), "{detail}");
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_nothing_that_waits_for_an_operator_or_for_long() {
    let bed = bed().await;
    stuck(&bed, "k").await;
    bed.a.answers(
        "act later",
        &[(200, r#"{"in_progress":{"retry_after_ms":3600000}}"#)],
    );
    let body = json!({ "wait": "accepted", "steps": [
        { "name": "later", "action": { "participant": "a", "operation": "later" } },
    ]});
    let (_, status) = bed.submit("k2", &body.to_string()).await;
    let at = format!("/v1/transactions/{}", status["id"].as_str().unwrap());
    bed.until(&at, |status| {
        status["actions"][0]["next_attempt_at"].is_u64()
    })
    .await;
    let stopped = tokio::time::timeout(Duration::from_secs(5), bed.coordinator.shutdown());
    stopped
        .await
        .expect("well below the time for it, 20 seconds");
}

#[tokio::test]
async fn a_shutdown_waits_for_what_is_repeated_soon() {
    let bed = bed().await;
    bed.a.answers("act soon", &[(500, "oops")]);
    let body = json!({ "wait": "accepted", "steps": [
        { "name": "soon", "action": { "participant": "a", "operation": "soon",
            "retry": { "pause_ms": 20, "pause_ms_max": 20 } } },
    ]});
    bed.submit("k", &body.to_string()).await;
    let mended = async {
        while bed.a.said().len() <= 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bed.a.answers("act soon", &[(200, r#"{"done":{}}"#)]);
        assert_eq!(bed.coordinator.in_doubt(0).await.open, 1, "it has waited");
    };
    let both = async { tokio::join!(bed.coordinator.shutdown(), mended) };
    tokio::time::timeout(Duration::from_secs(10), both)
        .await
        .expect("it ends by itself");
}

#[tokio::test]
async fn what_is_stuck_stays_so_over_a_restart() {
    let store = store();
    let bed = Bed::start(Arc::<MemoryStore>::clone(&store)).await;
    script(&bed.a, &bed.b);
    let id = stuck(&bed, "k").await;
    // Until the record of it, for which nobody waits, is durable too.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (_, before) = bed.get("/v1/admin/stuck").await;
    let (a, b) = (bed.a.clone(), bed.b.clone());
    let calls = a.asked().len();
    bed.crash();
    let bed = Bed::with(store, a, b, |_| {}).await;
    let after = bed
        .until("/v1/admin/stuck", |found| found["count"] == 1)
        .await;
    for field in ["id", "since", "last_error", "verb"] {
        assert_eq!(
            after["actions"][0][field], before["actions"][0][field],
            "{field}"
        );
    }
    let path = format!("/v1/admin/transactions/{id}/actions/0");
    let (code, _) = post(&bed, &path, &decision(&json!({ "done": {} }))).await;
    assert_eq!(code, 200);
    let at = format!("/v1/transactions/{id}");
    bed.until(&at, |status| status["state"] == "closed").await;
    assert_eq!(
        bed.a.asked().len(),
        calls,
        "an operator has done it by hand"
    );
}
