//! What waits for an operator, and deciding about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use super::support::{Serving, http, poll, server};

fn columns(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A shop that books, and undoes with this status.
fn shop(undo: &Arc<AtomicU16>) -> String {
    let undo = Arc::clone(undo);
    server(move |target, _| match target {
        "/book" => (200, r#"{"id":7}"#.to_owned()),
        "/pay" => (409, r#"{"code":"poor","detail":"no money"}"#.to_owned()),
        _ => (undo.load(Ordering::SeqCst), "oops".to_owned()),
    })
}

/// Submits one and waits until it is stuck. Returns its id.
fn stuck(serving: &Serving, key: &str) -> String {
    let retry = json!({ "pause_ms": 10, "attempts": 2 });
    let body = json!({ "steps": [
        { "name": "book", "action": { "participant": "shop", "act": { "path": "/book" },
            "compensate": { "path": "/undo/{book#/id}" }, "compensate_retry": retry } },
        { "name": "pay", "after": ["book"], "class": "pivot", "action": {
            "participant": "shop", "act": { "path": "/pay" } } },
    ]});
    let head = format!(
        "POST /v1/transactions HTTP/1.1\r\nidempotency-key: {key}\r\n\
         content-type: application/json\r\n"
    );
    let (status, body) = http(serving.address, &head, &body.to_string());
    assert_eq!(status, 200, "{body}");
    let status: Value = serde_json::from_str(&body).unwrap();
    let id = status["id"].as_str().unwrap().to_owned();
    state(serving, &id, "stuck");
    id
}

/// Waits until a transaction is in this state.
fn state(serving: &Serving, id: &str, state: &str) -> Value {
    let asked = poll(|| {
        let (_, body) = serving.get(&format!("/v1/transactions/{id}"));
        let status: Value = serde_json::from_str(&body).unwrap();
        (status["state"] == state).then_some(status)
    });
    asked.unwrap_or_else(|| panic!("never {state}"))
}

#[test]
fn what_is_stuck_is_listed_and_says_so_by_the_exit_code() {
    let undo = Arc::new(AtomicU16::new(500));
    let serving = Serving::start(&["--participant", &format!("shop={}", shop(&undo))]);
    let ran = serving.ask(&["stuck"]);
    let none = "no action is stuck\n";
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), none));
    let ids = [stuck(&serving, "k1"), stuck(&serving, "k2")];
    let ran = serving.ask(&["stuck"]);
    assert_eq!(ran.code, Some(1));
    let lines: Vec<_> = ran.out.lines().map(columns).collect();
    assert_eq!(
        ran.out.lines().next(),
        Some("2 actions wait for an operator")
    );
    let head = [
        "ID", "#", "STEP", "AT", "VERB", "SINCE", "AGE", "TRIES", "LAST", "ERROR",
    ];
    assert_eq!(lines[1], head);
    let row = [ids[0].as_str(), "0", "book", "shop", "compensate"];
    assert_eq!(lines[2][..5], row, "{}", ran.out);
    assert!(ran.out.contains("HTTP 500: oops"), "{}", ran.out);
    let ran = serving.ask(&["stuck", "--limit", "1", "--json"]);
    assert_eq!(ran.code, Some(1));
    let found = ran.json();
    assert_eq!(
        (&found["count"], found["actions"].as_array().unwrap().len()),
        (&2.into(), 1)
    );
    let ran = serving.ask(&["stuck", "--limit", "1"]);
    assert!(
        ran.out.ends_with("... and more: raise --limit above 1\n"),
        "{}",
        ran.out
    );
}

#[test]
fn an_operator_decides_and_is_shown_how_the_transaction_stands() {
    let undo = Arc::new(AtomicU16::new(500));
    let serving = Serving::start(&["--participant", &format!("shop={}", shop(&undo))]);
    let id = stuck(&serving, "k1");
    let ran = serving.ask(&["transactions", "show", &id]);
    let row = ran.out.lines().map(columns).find(|it| it.contains(&"book"));
    let row = row.unwrap_or_else(|| panic!("{}", ran.out));
    let expected = [
        "0",
        "book",
        "shop",
        "stuck_compensating",
        "2",
        "-",
        "{\"id\":7}",
    ];
    assert_eq!(row[..7], expected, "{}", ran.out);
    assert!(
        ran.out.contains("pay refused: no money (poor)"),
        "{}",
        ran.out
    );

    let why = ["--by", "ann", "--reason", "seen"];
    let resolve = |id: &str, more: &[&str]| {
        serving.ask(&[&["resolve", id, "0", "compensate"], more, &why].concat())
    };
    undo.store(200, Ordering::SeqCst);
    let ran = resolve(&id, &["--retry"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains(&id), "{}", ran.out);
    assert_eq!(state(&serving, &id, "closed")["outcome"], "aborted");

    undo.store(500, Ordering::SeqCst);
    for (key, verb, outcome) in [
        ("k2", &["--done"][..], "aborted"),
        ("k3", &["--skip"], "heuristic"),
        ("k4", &["--abandon", "--json"], "heuristic"),
    ] {
        let id = stuck(&serving, key);
        let ran = resolve(&id, verb);
        assert_eq!(ran.code, Some(0), "{verb:?}: {ran:?}");
        assert_eq!(
            state(&serving, &id, "closed")["outcome"],
            outcome,
            "{verb:?}"
        );
    }
    assert_eq!(serving.ask(&["stuck"]).code, Some(0));
    assert!(
        serving.err().contains("an operator has decided"),
        "{}",
        serving.err()
    );
}

#[test]
fn a_decision_that_cannot_be_ends_with_a_code_that_says_why() {
    let undo = Arc::new(AtomicU16::new(500));
    let serving = Serving::start(&["--participant", &format!("shop={}", shop(&undo))]);
    let id = stuck(&serving, "k1");
    let other = id.replacen("acc.", "acd.", 1);
    let who = ["--by", "a", "--reason", "b"];
    for (id, arguments, who, code) in [
        (&id, "1 compensate --retry", &who[..], 11),
        (&id, "0 act --retry", &who, 11),
        (&id, "7 compensate --retry", &who, 8),
        (&other, "0 compensate --retry", &who, 8),
        (
            &id,
            "0 compensate --retry",
            &["--by", " ", "--reason", "b"],
            11,
        ),
        (&id, "0 compensate --not-done", &who, 11),
        (&id, "0 compensate --retry", &who[..2], 2),
        (&id, "0 compensate", &who, 2),
        (&id, "0 --retry", &who, 2),
        (&id, "0 prepare --retry", &who, 2),
        (&id, "0 compensate --retry --skip", &who, 2),
        (&id, "0 compensate --skip --result 1", &who, 2),
        (&id, "0 compensate --done --result {", &who, 2),
        (&id, "300 compensate --retry", &who, 2),
    ] {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let ran = serving.ask(&[&["resolve", id], &arguments[..], who].concat());
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
    }
    assert_eq!(serving.ask(&["stuck", "--json"]).json()["count"], 1);
}
