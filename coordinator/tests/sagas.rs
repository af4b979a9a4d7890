//! Plans of actions and messages through the API: what is called, in which order, and what is told.
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

use accordant_coordinator::journal::error::OpenError;
use accordant_coordinator::journal::memory::MemoryStore;
use accordant_coordinator::journal::sqlite::{SqliteOptions, SqliteStore};
use accordant_protocol::branch::Holding;
use accordant_protocol::id::{BranchIndex, Gtid, Incarnation};
use serde_json::{Value, json};
use support::{Bed, Stub};

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new("acc".parse().unwrap(), Incarnation(7), 4))
}

/// A plain step, with what makes it good.
fn plain(name: &str, participant: &str, after: &[&str], body: &Value) -> Value {
    json!({ "name": name, "after": after, "action": {
        "participant": participant,
        "act": { "path": format!("/{name}"), "body": body },
        "compensate": { "method": "DELETE", "path": format!("/{name}/{{gtid}}") },
        "retry": { "pause_ms": 10, "pause_ms_max": 20 },
        "compensate_retry": { "pause_ms": 10, "pause_ms_max": 20, "attempts": 2 },
    }})
}

/// A step by the contract; its operation has its name.
fn contract(name: &str, participant: &str, after: &[&str]) -> Value {
    json!({ "name": name, "after": after, "action": {
        "participant": participant, "operation": name,
        "retry": { "pause_ms": 10, "pause_ms_max": 20 },
        "compensate_retry": { "pause_ms": 10, "pause_ms_max": 20, "attempts": 2 },
    }})
}

fn trip(wait: &str) -> String {
    let hotel = json!({ "flight": { "$result": "flight#/id" } });
    let steps = [
        plain("flight", "a", &[], &json!({ "seats": 2 })),
        plain("hotel", "b", &["flight"], &hotel),
    ];
    json!({ "steps": steps, "wait": wait }).to_string()
}

async fn post(bed: &Bed, path: &str, body: &Value) -> (u16, Value) {
    let headers = [("content-type", "application/json")];
    bed.request("POST", path, &headers, &body.to_string()).await
}

fn states(status: &Value) -> Vec<&str> {
    let actions = status["actions"].as_array().unwrap().iter();
    actions.map(|it| it["state"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_saga_of_two_plain_steps_costs_one_call_each_and_three_forced_writes() {
    let bed = Bed::start(store()).await;
    let before = bed.coordinator.journal().stats().flushes;
    let (code, status) = bed.submit("k", &trip("decided")).await;
    let flushes = bed.coordinator.journal().stats().flushes - before;
    assert_eq!(
        (code, &status["outcome"]),
        (200, &"committed".into()),
        "{status}"
    );
    // Its beginning; the result of the first with the start of the second; the decision.
    assert_eq!(flushes, 3);
    assert_eq!(states(&status), ["done", "done"]);
    assert_eq!(status["actions"][0]["result"]["id"], "flight");
    let id = status["id"].as_str().unwrap();
    bed.until_status(id, |status| status["state"] == "closed")
        .await;
    let (a, b) = (bed.a.asked(), bed.b.asked());
    assert_eq!((a.len(), b.len()), (1, 1));
    assert_eq!(
        (a[0].what.as_str(), &a[0].body),
        ("POST /flight", &json!({ "seats": 2 }))
    );
    assert_eq!(
        (b[0].what.as_str(), &b[0].body),
        ("POST /hotel", &json!({ "flight": "flight" }))
    );
    for (name, value) in [
        ("idempotency-key", format!("{id}:1:act")),
        ("accordant-transaction", id.to_owned()),
        ("accordant-step", "hotel".to_owned()),
        ("accordant-verb", "act".to_owned()),
        (
            "accordant-call-back",
            format!("/v1/transactions/{id}/actions/1"),
        ),
        ("content-type", "application/json".to_owned()),
    ] {
        assert_eq!(b[0].header(name), value, "{name}");
    }
}

#[tokio::test]
async fn a_refusal_makes_good_what_was_done_before_and_nothing_else() {
    let bed = Bed::start(store()).await;
    bed.b.answers(
        "POST /hotel",
        &[(409, r#"{"code":"full","detail":"no rooms"}"#)],
    );
    let (code, status) = bed.submit("k", &trip("completed")).await;
    assert_eq!(
        (code, &status["outcome"]),
        (200, &"aborted".into()),
        "{status}"
    );
    assert_eq!(status["reason"]["branch"], "hotel");
    assert_eq!(status["reason"]["refusal"]["code"], "full");
    assert_eq!(states(&status), ["compensated", "refused"]);
    let id = status["id"].as_str().unwrap();
    assert_eq!(
        bed.a.said(),
        ["POST /flight".to_owned(), format!("DELETE /flight/{id}")]
    );
    assert_eq!(bed.b.said(), ["POST /hotel"]);
    let undo = &bed.a.asked()[1];
    assert_eq!(undo.header("idempotency-key"), format!("{id}:0:compensate"));
    assert_eq!(undo.header("accordant-verb"), "compensate");
    let (_, again) = bed.get(&format!("/v1/transactions/{id}")).await;
    assert_eq!(
        (&again["outcome"], &again["reason"]),
        (&status["outcome"], &status["reason"])
    );
}

#[tokio::test]
async fn a_saga_by_the_contract_is_made_good_with_what_its_act_returned() {
    let bed = Bed::start(store()).await;
    let refused = r#"{"refused":{"refusal":{"code":"full","detail":"no rooms"}}}"#;
    bed.b.answers("act hotel", &[(200, refused)]);
    let steps = [
        contract("flight", "a", &[]),
        contract("hotel", "b", &["flight"]),
    ];
    let body = json!({ "steps": steps, "wait": "completed" }).to_string();
    let (_, status) = bed.submit("k", &body).await;
    assert_eq!(status["outcome"], "aborted", "{status}");
    assert_eq!(states(&status), ["compensated", "refused"]);
    let id = status["id"].as_str().unwrap();
    let asked = bed.a.asked();
    assert_eq!(bed.a.said(), ["act flight", "compensate flight"]);
    assert_eq!(asked[1].body["result"], json!({ "from": "flight" }));
    assert_eq!(
        asked[1].header("idempotency-key"),
        format!("{id}:0:compensate")
    );
    assert_eq!(asked[0].header("content-type"), "application/json");
}

#[tokio::test]
async fn what_is_not_known_is_asked_again_under_the_same_key() {
    let bed = Bed::start(store()).await;
    let moved = [(500, "oops"), (302, ""), (404, "{}"), (200, "{\"id\":7}")];
    bed.a.answers("POST /flight", &moved);
    let (_, status) = bed.submit("k", &trip("completed")).await;
    assert_eq!(status["outcome"], "committed", "{status}");
    let asked = bed.a.asked();
    // A redirect is not followed: the stub's leads to another path of its own.
    assert_eq!(bed.a.said(), ["POST /flight"; 4]);
    let keys = asked.iter().map(|it| it.header("idempotency-key"));
    let keys: Vec<_> = keys
        .map(|key| key == asked[0].header("idempotency-key"))
        .collect();
    assert_eq!(keys, [true; 4]);
    let attempts: Vec<_> = asked
        .iter()
        .map(|it| it.header("accordant-attempt"))
        .collect();
    assert_eq!(attempts, ["1", "2", "3", "4"]);
    assert_eq!(bed.b.asked()[0].body, json!({ "flight": 7 }));
}

#[tokio::test]
async fn a_step_in_progress_is_called_back_and_the_acceptance_costs_one_forced_write() {
    let bed = Bed::with(store(), Stub::default(), Stub::default(), |it| {
        it.public_url = Some("http://coordinator:7650".to_owned());
    })
    .await;
    bed.a.answers("POST /flight", &[(425, "3600")]);
    let before = bed.coordinator.journal().stats().flushes;
    let (code, status) = bed.submit("k", &trip("accepted")).await;
    assert_eq!(
        (code, &status["outcome"]),
        (202, &"pending".into()),
        "{status}"
    );
    let id = status["id"].as_str().unwrap();
    let asked = |status: &Value| status["actions"][0]["next_attempt_at"].is_u64();
    let status = bed.until_status(id, asked).await;
    assert_eq!(bed.coordinator.journal().stats().flushes - before, 1);
    let next = status["actions"][0]["next_attempt_at"].as_u64().unwrap();
    assert!(
        next > status["begun_at"].as_u64().unwrap() + 1_700_000,
        "{status}"
    );
    let path = format!("/v1/transactions/{id}/actions/0");
    let heard = &bed.a.asked()[0];
    let url = format!("http://coordinator:7650{path}");
    assert_eq!(heard.header("accordant-call-back"), url);

    let done = json!({ "verb": "act", "answer": { "done": { "result": { "id": "F1" } } } });
    let wrong = json!({ "verb": "compensate", "answer": { "done": {} } });
    let (code, problem) = post(&bed, &path, &wrong).await;
    assert_eq!((code, &problem["code"]), (409, &"out_of_place".into()));
    let (code, status) = post(&bed, &path, &done).await;
    assert_eq!(
        (code, &status["actions"][0]["state"]),
        (200, &"done".into()),
        "{status}"
    );
    bed.until_status(id, |status| status["state"] == "closed")
        .await;
    assert_eq!(bed.b.asked()[0].body, json!({ "flight": "F1" }));
    // Heard again, after the end: the same answer.
    let (code, status) = post(&bed, &path, &done).await;
    assert_eq!(
        (code, &status["outcome"]),
        (200, &"committed".into()),
        "{status}"
    );
    assert_eq!(bed.a.asked().len(), 1);
}

#[tokio::test]
async fn a_call_back_that_says_nothing_usable_is_refused_with_its_path() {
    let bed = Bed::start(store()).await;
    bed.a.answers("POST /flight", &[(425, "3600")]);
    let (_, status) = bed.submit("k", &trip("accepted")).await;
    let id = status["id"].as_str().unwrap();
    let at = |index: &str| format!("/v1/transactions/{id}/actions/{index}");
    let done = json!({ "verb": "act", "answer": { "done": {} } });
    for index in ["9", "300", "x", "-1"] {
        let (code, problem) = post(&bed, &at(index), &done).await;
        assert_eq!(
            (code, &problem["code"]),
            (404, &"no_action".into()),
            "{index}"
        );
    }
    let other = id.replacen("acc.", "acd.", 1);
    let (code, problem) = post(&bed, &format!("/v1/transactions/{other}/actions/0"), &done).await;
    assert_eq!(
        (code, &problem["code"]),
        (404, &"not_found".into()),
        "{problem}"
    );
    let (code, problem) = post(&bed, "/v1/transactions/x/actions/0", &done).await;
    assert_eq!((code, &problem["code"]), (400, &"malformed_id".into()));
    let large = "x".repeat(17_000);
    for (body, code, path) in [
        (
            json!({ "verb": "act", "answer": "in_progress" }),
            400,
            "answer.in_progress",
        ),
        (
            json!({ "verb": "act", "answer": { "in_progress": {} } }),
            422,
            "answer",
        ),
        (
            json!({ "verb": "act", "answer": { "retry_later": { "reason": "r" } } }),
            422,
            "answer",
        ),
        (
            json!({ "verb": "try", "answer": { "done": {} } }),
            400,
            "verb",
        ),
        (
            json!({ "verb": "act", "answer": { "done": {} }, "by": 1 }),
            400,
            "by",
        ),
        (
            json!({ "verb": "act", "answer": { "done": { "result": large } } }),
            422,
            "answer.done.result",
        ),
    ] {
        let (found, problem) = post(&bed, &at("0"), &body).await;
        let error = &problem["errors"][0]["path"];
        assert_eq!((found, error), (code, &path.into()), "{problem}");
    }
    let (code, problem) = bed.request("POST", &at("0"), &[], "{}").await;
    assert_eq!((code, &problem["code"]), (415, &"media_type".into()));
}

#[tokio::test]
async fn a_plan_that_cannot_be_is_refused_with_the_path_of_each_fault() {
    let bed = Bed::start(store()).await;
    let act = json!({ "path": "/x" });
    let nobody = json!({ "participant": "nobody", "operation": "o" });
    let bare = json!({ "participant": "a", "act": act });
    let message = json!({ "to": [{ "participant": "a", "operation": "o" }, nobody] });
    let late = json!({ "participant": "a", "operation": "o", "payload": { "$result": "two" } });
    let month = 31_u64 * 24 * 3_600_000;
    let group = json!({ "branches": [
        { "name": "x", "participant": "nobody", "operation": "o" },
    ]});
    for (body, path) in [
        (
            json!({ "steps": [{ "name": "one", "action": nobody }] }),
            "steps[0].action.participant",
        ),
        (
            json!({ "steps": [{ "name": "one", "message": message }] }),
            "steps[0].message.to[1].participant",
        ),
        (
            json!({ "steps": [plain("one", "a", &[], &json!(1)), { "name": "g", "after": ["one"], "group": group }] }),
            "steps[1].group.branches[0].participant",
        ),
        (
            json!({ "steps": [{ "name": "one", "group": group }] }),
            "steps[0].group.branches[0].participant",
        ),
        (
            json!({ "steps": [{ "name": "one", "action": bare }] }),
            "steps[0].action.compensate",
        ),
        (
            json!({ "steps": [{ "name": "one", "action": late }, contract("two", "a", &["one"])] }),
            "steps[0].action.payload",
        ),
        (
            json!({ "steps": [contract("one", "a", &["two"])] }),
            "steps[0].after[0]",
        ),
        (
            json!({ "steps": [contract("one", "a", &[])], "timeout_ms": month }),
            "timeout_ms",
        ),
        (
            json!({ "steps": [{ "name": "g", "group": { "branches": [
                { "name": "x", "participant": "a", "operation": "agree" }] } }],
                "timeout_ms": 3_600_001 }),
            "timeout_ms",
        ),
    ] {
        let (code, problem) = bed.submit("k", &body.to_string()).await;
        assert_eq!(
            (code, &problem["errors"][0]["path"]),
            (422, &path.into()),
            "{problem}"
        );
    }
    assert!(bed.a.asked().is_empty());
}

#[tokio::test]
async fn a_saga_may_take_weeks_and_gets_an_hour_unasked() {
    let bed = Bed::start(store()).await;
    bed.a.answers(
        "act one",
        &[(200, r#"{"in_progress":{"retry_after_ms":3600000}}"#)],
    );
    let week = 7 * 24 * 3_600_000_u64;
    for (asked, ms) in [(None, 3_600_000), (Some(week), week)] {
        let body = json!({ "steps": [contract("one", "a", &[])], "wait": "accepted",
            "timeout_ms": asked });
        let (_, status) = bed.submit(&format!("k{ms}"), &body.to_string()).await;
        let of = |name: &str| status[name].as_u64().unwrap();
        let left = of("deadline") - of("begun_at");
        assert!(left.abs_diff(ms) < 1_000, "{status}");
    }
}

#[tokio::test]
async fn a_plan_of_messages_is_committed_by_being_accepted() {
    let bed = Bed::start(store()).await;
    let down = [(503, "down"), (503, "down"), (200, r#"{"done":{}}"#)];
    bed.b.answers("act send", &down);
    let body = json!({ "wait": "decided", "steps": [{ "name": "mail", "message": { "to": [
        { "participant": "a", "operation": "send" },
        { "participant": "b", "operation": "send", "retry": { "pause_ms": 60 } },
    ]}}]});
    let (code, status) = bed.submit("k", &body.to_string()).await;
    assert_eq!(
        (code, &status["outcome"]),
        (200, &"committed".into()),
        "{status}"
    );
    let (_, page) = bed.get("/v1/transactions?outcome=committed").await;
    assert_eq!(page["transactions"][0]["id"], status["id"], "{page}");
    let id = status["id"].as_str().unwrap();
    let status = bed
        .until_status(id, |status| status["state"] == "closed")
        .await;
    assert_eq!(states(&status), ["done", "done"]);
    assert_eq!((bed.a.asked().len(), bed.b.asked().len()), (1, 3));
}

#[tokio::test]
async fn messages_go_out_once_the_senders_local_transaction_has_committed() {
    let bed = Bed::start(store()).await;
    for (key, held, outcome) in [
        ("k1", Holding::Committed, "committed"),
        ("k2", Holding::Nothing, "aborted"),
    ] {
        let body = json!({ "wait": "accepted", "steps": [
            { "name": "order", "group": { "branches": [
                { "name": "mine", "participant": "a", "operation": "order", "mode": "local" },
            ]}},
            { "name": "mail", "after": ["order"], "message": { "to": [
                { "participant": "b", "operation": "send" },
            ]}},
        ]});
        let (code, status) = bed.submit(key, &body.to_string()).await;
        assert_eq!(
            (code, &status["outcome"]),
            (202, &"pending".into()),
            "{status}"
        );
        let deadline = status["deadline"].as_u64().unwrap();
        let left = deadline - status["begun_at"].as_u64().unwrap();
        assert!(left.abs_diff(30_000) < 1_000, "{status}");
        let gtid: Gtid = status["id"].as_str().unwrap().parse().unwrap();
        bed.a
            .with(|it| it.holdings.insert((gtid, BranchIndex(0)), held));
        let path = format!("/v1/transactions/{gtid}/commit");
        let (code, status) = bed.request("POST", &path, &[], "").await;
        assert_eq!(
            (code, &status["id"]),
            (202, &gtid.to_string().into()),
            "{status}"
        );
        let id = gtid.to_string();
        let status = bed
            .until_status(&id, |status| status["state"] == "closed")
            .await;
        assert_eq!(status["outcome"], outcome, "{status}");
        // Said again after the end: how it has ended.
        let (code, again) = bed.request("POST", &path, &[], "").await;
        assert_eq!((code, &again["outcome"]), (200, &outcome.into()), "{again}");
    }
    assert_eq!(
        bed.a.with(|it| it.prepares),
        0,
        "the sender does it by itself"
    );
    assert_eq!(
        bed.b.said(),
        ["act send"],
        "only of the one that has happened"
    );
}

#[tokio::test]
async fn only_a_plan_with_a_local_branch_is_told_that_it_has_ended() {
    let bed = Bed::start(store()).await;
    bed.a
        .answers("POST /flight", &[(425, "3600"), (200, "{\"id\":1}")]);
    let (_, status) = bed.submit("k", &trip("accepted")).await;
    let id = status["id"].as_str().unwrap();
    let path = format!("/v1/transactions/{id}/commit");
    let (code, problem) = bed.request("POST", &path, &[], "").await;
    assert_eq!(
        (code, &problem["code"]),
        (409, &"out_of_place".into()),
        "{problem}"
    );
    let (_, status) = bed.submit("k2", &trip("completed")).await;
    let path = format!("/v1/transactions/{}/commit", status["id"].as_str().unwrap());
    let (code, problem) = bed.request("POST", &path, &[], "").await;
    assert_eq!(
        (code, &problem["code"]),
        (409, &"out_of_place".into()),
        "{problem}"
    );
    let unknown = path.replacen("acc.", "acd.", 1);
    let (code, problem) = bed.request("POST", &unknown, &[], "").await;
    assert_eq!(
        (code, &problem["code"]),
        (404, &"not_found".into()),
        "{problem}"
    );
}

#[tokio::test]
async fn a_mixed_plan_makes_good_what_came_before_a_group_that_aborts() {
    let bed = Bed::start(store()).await;
    for (operation, outcome, said) in [
        ("agree", "committed", vec!["act one", "act mail"]),
        ("refuse", "aborted", vec!["act one", "compensate one"]),
    ] {
        let before = bed.a.asked().len();
        let body = json!({ "wait": "completed", "steps": [
            contract("one", "a", &[]),
            { "name": "pay", "after": ["one"], "group": { "branches": [
                { "name": "x", "participant": "a", "operation": "agree" },
                { "name": "y", "participant": "b", "operation": operation, "mode": "tcc" },
            ]}},
            { "name": "mail", "after": ["pay"], "message": { "to": [
                { "participant": "a", "operation": "mail" },
            ]}},
        ]});
        let (code, status) = bed.submit(operation, &body.to_string()).await;
        assert_eq!(
            (code, &status["outcome"]),
            (200, &outcome.into()),
            "{status}"
        );
        assert_eq!(bed.a.said()[before..], said);
    }
}

#[tokio::test]
async fn a_saga_goes_on_where_it_was_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let open = || {
        let (cluster, path) = ("acc".parse().unwrap(), path.clone());
        let options = SqliteOptions { path, cluster, partitions: Some(2), restored: false };
        SqliteStore::open(options).map(Arc::new)
    };
    let bed = Bed::start(open().unwrap()).await;
    bed.b.with(|it| it.down = true);
    let (_, status) = bed.submit("k", &trip("accepted")).await;
    let id = status["id"].as_str().unwrap().to_owned();
    bed.until_status(&id, |status| {
        status["actions"][1]["attempts"].as_u64() > Some(1)
    })
    .await;
    let (a, b) = (bed.a.clone(), bed.b.clone());
    let key = b.asked()[0].header("idempotency-key").to_owned();
    bed.crash();
    b.with(|it| {
        it.down = false;
        it.asked.clear();
    });
    let bed = again(open, a, b).await;
    let status = bed
        .until_status(&id, |status| status["state"] == "closed")
        .await;
    assert_eq!(status["outcome"], "committed", "{status}");
    // The result that the second step needs was durable, so the first is not asked again.
    assert_eq!(bed.a.asked().len(), 1);
    let asked = bed.b.asked();
    assert_eq!(asked[0].body, json!({ "flight": "flight" }));
    assert_eq!(asked[0].header("idempotency-key"), key);
}

/// Starts again once the tasks of the former coordinator have let go of the file.
async fn again(open: impl Fn() -> Result<Arc<SqliteStore>, OpenError>, a: Stub, b: Stub) -> Bed {
    let opening = async {
        loop {
            match open() {
                Ok(store) => return store,
                Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let store = tokio::time::timeout(Duration::from_secs(10), opening).await;
    Bed::with(store.unwrap(), a, b, |_| {}).await
}
