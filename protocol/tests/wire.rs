//! What is said over HTTP, as it stands on the wire. A change that breaks one of these breaks
//! participants and clients of version 1.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::fmt::Debug;

use accordant_protocol::limits::NAME_BYTES_MAX;
use accordant_protocol::plan::PlanRequest;
use accordant_protocol::wire::api::{
    CallBackRequest, OutcomeReply, ResolveRequest, SubmitRequest, TransactionPage,
    TransactionStatus,
};
use accordant_protocol::wire::contract::{
    ActCall, ActReply, FinishCall, FinishReply, PrepareCall, PrepareReply,
};
use accordant_protocol::wire::problem::{Problem, ProblemCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

const GTID: &str = "acc.3.00009.1hf7yat1000000000000000000000000001";

fn comes_back<T: Serialize + DeserializeOwned>(golden: &str) -> T {
    let golden = golden.replace("GTID", GTID);
    let value: T =
        serde_json::from_str(&golden).unwrap_or_else(|error| panic!("{error}: {golden}"));
    assert_eq!(serde_json::to_string(&value).unwrap(), golden);
    value
}

/// Adds a field that this version does not know to the outermost object.
fn with_more(golden: &str) -> String {
    golden
        .replace("GTID", GTID)
        .replacen('{', r#"{"more":1,"#, 1)
}

fn refuses_more<T: Serialize + DeserializeOwned + Debug>(golden: &str) {
    comes_back::<T>(golden);
    let refusal = serde_json::from_str::<T>(&with_more(golden)).unwrap_err();
    assert!(
        refusal.to_string().contains("unknown field `more`"),
        "{refusal}"
    );
}

fn passes_more_over<T: Serialize + DeserializeOwned + Debug + PartialEq>(golden: &str) {
    let known = comes_back::<T>(golden);
    assert_eq!(
        serde_json::from_str::<T>(&with_more(golden)).unwrap(),
        known
    );
}

#[test]
fn requests_keep_their_form_and_refuse_fields_that_are_not_known() {
    for call in [
        r#"{"gtid":"GTID","branch":1,"participant":"bank","attempt":2,"epoch":5,"deadline":1700000030000,"watermark":0,"operation":"debit","payload":{"amount":1.10}}"#,
        r#"{"gtid":"GTID","branch":0,"participant":"bank","attempt":1,"epoch":5,"deadline":1700000030000,"watermark":0,"one_phase":true,"operation":"debit","payload":null}"#,
        r#"{"gtid":"GTID","branch":2,"participant":"store","attempt":1,"epoch":5,"deadline":1700000030000,"watermark":0,"mode":"tcc","operation":"reserve","payload":{"items":2}}"#,
    ] {
        refuses_more::<PrepareCall>(call);
    }
    for call in [
        r#"{"gtid":"GTID","branch":0,"participant":"air","verb":"act","attempt":1,"epoch":5,"deadline":1700000010000,"watermark":0,"operation":"book","payload":{"seats":1}}"#,
        r#"{"gtid":"GTID","branch":0,"participant":"air","verb":"compensate","attempt":2,"epoch":5,"deadline":1700000010000,"watermark":0,"operation":"book","payload":{"seats":1},"result":{"id":7}}"#,
    ] {
        refuses_more::<ActCall>(call);
    }
    refuses_more::<CallBackRequest>(r#"{"verb":"act","answer":{"done":{"result":{"id":7}}}}"#);
    for request in [
        r#"{"verb":"compensate","resolution":"retry","by":"ann","reason":"it is up again"}"#,
        r#"{"verb":"act","resolution":{"done":{"result":7}},"by":"ann","reason":"seen in the ledger"}"#,
        r#"{"verb":"compensate","resolution":"abandon","by":"ann","reason":"ticket 12"}"#,
    ] {
        refuses_more::<ResolveRequest>(request);
    }
    refuses_more::<FinishCall>(
        r#"{"participant":"store","orders":[{"gtid":"GTID","branch":2,"verb":"cancel","attempt":3,"epoch":5,"watermark":0,"want_result":true,"work":{"operation":"reserve","payload":{"items":2}}}]}"#,
    );
    refuses_more::<FinishCall>(
        r#"{"participant":"bank","orders":[{"gtid":"GTID","branch":0,"verb":"commit","attempt":2,"epoch":5,"watermark":7},{"gtid":"GTID","branch":1,"verb":"abort","attempt":1,"epoch":5,"watermark":7,"want_result":true}]}"#,
    );
    refuses_more::<SubmitRequest>(
        r#"{"branches":[{"name":"a","participant":"bank","operation":"debit","payload":{"amount":1.10}}],"timeout_ms":5000,"wait":"completed"}"#,
    );
    refuses_more::<PlanRequest>(
        r#"{"steps":[{"name":"pay","group":{"branches":[{"name":"a","participant":"bank","operation":"debit","payload":null,"mode":"tcc"}]}}]}"#,
    );
}

#[test]
fn inner_objects_of_a_request_refuse_fields_that_are_not_known_too() {
    for body in [
        r#"{"branches":[{"name":"a","participant":"p","operation":"o","url":"http://x"}]}"#,
        r#"{"steps":[{"name":"s","group":{"branches":[],"more":1}}]}"#,
        r#"{"steps":[{"name":"s","retry":3}]}"#,
    ] {
        assert!(
            serde_json::from_str::<SubmitRequest>(body).is_err(),
            "{body}"
        );
    }
    let order = r#"{"participant":"p","orders":[{"gtid":"GTID","branch":0,"verb":"commit","attempt":2,"epoch":5,"watermark":7,"force":true}]}"#;
    assert!(serde_json::from_str::<FinishCall>(&order.replace("GTID", GTID)).is_err());
}

#[test]
fn every_vote_and_every_end_keeps_its_form() {
    let identity = r#"{"system":"7/16384","timeline":1,"starts":3}"#;
    for vote in [
        r#"{"yes":{"result":{"id":7}}}"#,
        r#"{"yes":{}}"#,
        r#"{"read_only":{}}"#,
        r#"{"committed":{"result":"ok"}}"#,
        r#"{"no":{"refusal":{"code":"funds","detail":"not enough","retryable":false}}}"#,
        r#""in_progress""#,
        r#"{"retry_later":{"reason":"busy"}}"#,
    ] {
        passes_more_over::<PrepareReply>(&format!(
            r#"{{"attempt":2,"identity":{identity},"vote":{vote}}}"#
        ));
    }
    for end in [
        r#"{"committed":{}}"#,
        r#"{"committed":{"result":1.10}}"#,
        r#""aborted""#,
        r#""in_progress""#,
        r#"{"retry_later":{"reason":"busy"}}"#,
    ] {
        passes_more_over::<FinishReply>(&format!(
            r#"{{"identity":{identity},"answers":[{{"gtid":"GTID","branch":0,"attempt":2,"end":{end}}}]}}"#
        ));
    }
}

#[test]
fn a_vote_that_is_not_known_is_no_vote() {
    let reply =
        r#"{"attempt":2,"identity":{"system":"7","timeline":1,"starts":3},"vote":{"perhaps":{}}}"#;
    assert!(serde_json::from_str::<PrepareReply>(reply).is_err());
}

#[test]
fn an_identity_that_would_swell_every_record_is_refused() {
    let reply = |bytes| {
        let system = "7".repeat(bytes);
        format!(
            r#"{{"attempt":2,"identity":{{"system":"{system}","timeline":1,"starts":3}},"vote":{{"yes":{{}}}}}}"#
        )
    };
    assert!(serde_json::from_str::<PrepareReply>(&reply(NAME_BYTES_MAX)).is_ok());
    let refusal = serde_json::from_str::<PrepareReply>(&reply(NAME_BYTES_MAX + 1)).unwrap_err();
    assert!(
        refusal.to_string().contains("at most 63 bytes"),
        "{refusal}"
    );
}

#[test]
fn replies_to_clients_keep_their_form_and_may_grow() {
    passes_more_over::<TransactionStatus>(
        r#"{"id":"GTID","tenant":"default","idempotency_key":"k-1","state":"aborting","outcome":"aborted","reason":{"kind":"refused","branch":"a","refusal":{"code":"funds","detail":"not enough","retryable":false}},"begun_at":1700000000000,"deadline":1700000030000,"epoch":5,"branches":[{"index":0,"name":"a","participant":"bank","state":"aborting","attempts":1,"result":{"n":1.10},"last_error":"HTTP 500","next_attempt_at":1700000000050}]}"#,
    );
    passes_more_over::<TransactionStatus>(
        r#"{"id":"GTID","state":"closed","outcome":"aborted","reason":{"kind":"presumed"},"begun_at":1700000000000,"closed_at":1700000000001}"#,
    );
    for reason in [
        r#"{"kind":"deadline_passed","branches":["a"]}"#,
        r#"{"kind":"recovered"}"#,
        r#"{"kind":"sealed"}"#,
    ] {
        comes_back::<accordant_protocol::wire::api::AbortReason>(reason);
    }
    passes_more_over::<TransactionPage>(
        r#"{"transactions":[{"id":"GTID","idempotency_key":"k-1","outcome":"heuristic","closed":true,"begun_at":1700000000000,"closed_at":1700000000001}],"next_cursor":"c"}"#,
    );
    for verdict in ["commit", "abort", "pending", "unknown"] {
        passes_more_over::<OutcomeReply>(&format!(r#"{{"id":"GTID","verdict":"{verdict}"}}"#));
    }
}

#[test]
fn a_problem_keeps_its_form_and_every_code_its_text_and_status() {
    passes_more_over::<Problem>(
        r#"{"type":"urn:accordant:problem:invalid","title":"The request is invalid","status":422,"code":"invalid","detail":"see errors","errors":[{"path":"branches[1].name","code":"duplicate","detail":"taken"}]}"#,
    );
    let texts: Vec<_> = ProblemCode::ALL
        .iter()
        .map(|code| format!("{} {}", code.as_str(), code.describe().0))
        .collect();
    let known = [
        "malformed 400",
        "invalid 422",
        "idempotency_key 400",
        "key_reused 422",
        "malformed_id 400",
        "not_found 404",
        "expired 410",
        "no_route 404",
        "method 405",
        "too_large 413",
        "media_type 415",
        "overloaded 429",
        "participant_busy 429",
        "participant_halted 503",
        "unavailable 503",
        "draining 503",
        "not_owner 503",
        "unknown 503",
        "internal 500",
    ];
    let lost = known
        .iter()
        .find(|known| !texts.iter().any(|text| text == *known));
    assert_eq!(lost, None, "a code that clients know has changed");
    for code in ProblemCode::ALL {
        assert_eq!(
            serde_json::to_string(code).unwrap(),
            format!("{:?}", code.as_str())
        );
    }
}

#[test]
fn answers_of_actions_keep_their_form() {
    for answer in [
        r#"{"done":{"result":{"id":7}}}"#,
        r#"{"done":{}}"#,
        r#"{"refused":{"refusal":{"code":"full","detail":"no seat left","retryable":false}}}"#,
        r#"{"in_progress":{"retry_after_ms":500}}"#,
        r#"{"retry_later":{"reason":"busy"}}"#,
    ] {
        passes_more_over::<ActReply>(&format!(
            r#"{{"attempt":1,"identity":{{"system":"7/16384","timeline":1,"starts":3}},"answer":{answer}}}"#
        ));
    }
}
