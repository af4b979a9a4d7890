//! Transactions through the API, with a store in memory and participants that keep the contract.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::allow_attributes,
    reason = "tests"
)]

mod support;

use std::sync::Arc;

use accordant_coordinator::journal::memory::MemoryStore;
use accordant_protocol::branch::Holding;
use accordant_protocol::id::{Gtid, Incarnation};
use accordant_protocol::wire::contract::Identity;
use support::{Bed, Stub, two};

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new("acc".parse().unwrap(), Incarnation(7), 4))
}

fn id(status: &serde_json::Value) -> Gtid {
    status["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn all_yes_commits_everywhere() {
    let bed = Bed::start(store()).await;
    let (code, status) = bed
        .submit("k", &two("agree", "agree", r#","wait":"completed""#))
        .await;
    assert_eq!(
        (code, &status["outcome"]),
        (200, &"committed".into()),
        "{status}"
    );
    assert_eq!(status["branches"][0]["result"]["done"], true);
    assert_eq!(bed.a.holding(id(&status)), [Holding::Committed]);
    assert_eq!(bed.b.holding(id(&status)), [Holding::Committed]);
}

#[tokio::test]
async fn one_no_aborts_everywhere_and_seals_every_branch() {
    let bed = Bed::start(store()).await;
    let (code, status) = bed
        .submit("k", &two("agree", "refuse", r#","wait":"completed""#))
        .await;
    assert_eq!(
        (code, &status["outcome"]),
        (200, &"aborted".into()),
        "{status}"
    );
    assert_eq!(status["reason"]["refusal"]["code"], "refused");
    assert_eq!(bed.a.holding(id(&status)), [Holding::Sealed]);
    assert_eq!(bed.b.holding(id(&status)), [Holding::Sealed]);
}

#[tokio::test]
async fn a_lone_branch_commits_by_itself_in_one_call() {
    let bed = Bed::start(store()).await;
    let body = r#"{"branches":[{"name":"x","participant":"a","operation":"agree"}]}"#;
    let (code, status) = bed.submit("k", body).await;
    assert_eq!(
        (code, &status["outcome"]),
        (200, &"committed".into()),
        "{status}"
    );
    assert_eq!(bed.a.with(|it| (it.prepares, it.finishes)), (1, 0));
}

#[tokio::test]
async fn read_only_branches_are_left_out_of_phase_two() {
    let bed = Bed::start(store()).await;
    let (_, status) = bed
        .submit("k", &two("agree", "read", r#","wait":"completed""#))
        .await;
    assert_eq!(status["outcome"], "committed", "{status}");
    assert_eq!(status["branches"][1]["state"], "read_only");
    assert_eq!(bed.b.with(|it| (it.prepares, it.finishes)), (1, 0));
}

#[tokio::test]
async fn a_lost_reply_is_unknown_and_the_call_is_repeated() {
    let bed = Bed::start(store()).await;
    bed.a.with(|it| it.lose = 2);
    let (_, status) = bed
        .submit("k", &two("agree", "agree", r#","wait":"completed""#))
        .await;
    assert_eq!(status["outcome"], "committed", "{status}");
    // The first reply was lost with the result in it: the marker gives it at commit.
    assert_eq!(status["branches"][0]["result"], "late");
    assert!(bed.a.with(|it| it.prepares) >= 2);
}

#[tokio::test]
async fn silence_past_the_deadline_aborts_and_names_who_was_silent() {
    let bed = Bed::start(store()).await;
    let body = two("agree", "silence", r#","timeout_ms":150"#);
    let (code, status) = bed.submit("k", &body).await;
    assert_eq!(
        (code, &status["outcome"]),
        (200, &"aborted".into()),
        "{status}"
    );
    assert_eq!(status["reason"]["kind"], "deadline_passed");
    assert_eq!(status["reason"]["branches"][0], "y");
}

#[tokio::test]
async fn a_repeat_under_the_same_key_finds_the_first_and_another_body_is_refused() {
    let bed = Bed::start(store()).await;
    let body = two("agree", "agree", "");
    let (_, first) = bed.submit("k", &body).await;
    // The wait level is not part of what was asked for.
    for more in ["", r#","wait":"completed""#, r#","wait":"accepted""#] {
        let (_, again) = bed.submit("k", &two("agree", "agree", more)).await;
        assert_eq!(again["id"], first["id"]);
    }
    assert_eq!(bed.a.with(|it| it.prepares), 1);
    let (code, problem) = bed.submit("k", &two("agree", "refuse", "")).await;
    assert_eq!((code, &problem["code"]), (422, &"key_reused".into()));
    let (code, by_key) = bed.get("/v1/transactions/by-key/k").await;
    assert_eq!((code, &by_key["id"]), (200, &first["id"]));
}

#[tokio::test]
async fn many_repeats_at_once_begin_one_transaction() {
    let bed = Bed::start(store()).await;
    let body = two("agree", "agree", r#","wait":"completed""#);
    let all = (0..20).map(|_| bed.submit("k", &body));
    let all = futures_util::future::join_all(all).await;
    for (code, status) in &all {
        assert_eq!((*code, &status["id"]), (200, &all[0].1["id"]), "{status}");
    }
    assert_eq!(bed.a.with(|it| it.prepares), 1);
}

#[tokio::test]
async fn bad_input_names_the_field_and_begins_nothing() {
    let bed = Bed::start(store()).await;
    let many: Vec<String> = (0..33)
        .map(|n| format!(r#"{{"name":"b{n}","participant":"a","operation":"agree"}}"#))
        .collect();
    let large = "x".repeat(64 * 1024);
    for (body, code, path) in [
        ("{".to_owned(), 400, None),
        ("[]".to_owned(), 400, None),
        ("{}".to_owned(), 422, Some("branches")),
        (r#"{"branches":[]}"#.to_owned(), 422, Some("branches")),
        (
            r#"{"branches":[],"url":"http://x"}"#.to_owned(),
            400,
            Some("url"),
        ),
        (
            r#"{"branches":[{"name":"x","participant":"a","operation":7}]}"#.to_owned(),
            400,
            Some("branches[0].operation"),
        ),
        (
            r#"{"branches":[{"name":"x'","participant":"a","operation":"o"}]}"#.to_owned(),
            422,
            Some("branches[0].name"),
        ),
        (
            r#"{"branches":[{"name":"x","participant":"nobody","operation":"o"}]}"#.to_owned(),
            422,
            Some("branches[0].participant"),
        ),
        (
            format!(r#"{{"branches":[{}]}}"#, many.join(",")),
            422,
            Some("branches"),
        ),
        (
            format!(
                r#"{{"branches":[{{"name":"x","participant":"a","operation":"o","payload":"{large}"}}]}}"#
            ),
            422,
            Some("branches[0].payload"),
        ),
        (
            two("agree", "agree", r#","timeout_ms":-5"#),
            422,
            Some("timeout_ms"),
        ),
        (
            two("agree", "agree", r#","timeout_ms":0"#),
            422,
            Some("timeout_ms"),
        ),
        (
            two("agree", "agree", r#","timeout_ms":99999999999"#),
            422,
            Some("timeout_ms"),
        ),
        (
            two("agree", "agree", r#","timeout_ms":1e99"#),
            400,
            Some("timeout_ms"),
        ),
        (
            two("agree", "agree", "").replace("\"y\"", "\"x\""),
            422,
            Some("branches[1].name"),
        ),
        (
            format!(r#"{{"branches":"{}"}}"#, "x".repeat(2_000_000)),
            413,
            None,
        ),
    ] {
        let (got, problem) = bed.submit("k", &body).await;
        let shown = &body[..body.len().min(120)];
        assert_eq!(got, code, "{shown}: {problem}");
        if let Some(path) = path {
            assert_eq!(problem["errors"][0]["path"], path, "{shown}: {problem}");
        }
        assert_eq!(problem["status"], code, "{problem}");
    }
    let (_, page) = bed.get("/v1/transactions").await;
    assert_eq!(page["transactions"].as_array().unwrap().len(), 0);
    assert_eq!(bed.a.with(|it| it.prepares), 0);
}

#[tokio::test]
async fn headers_and_ids_of_another_form_are_refused() {
    let bed = Bed::start(store()).await;
    let body = two("agree", "agree", "");
    let json = ("content-type", "application/json");
    for (headers, code, name) in [
        (vec![json], 400, "idempotency_key"),
        (
            vec![json, ("idempotency-key", "a b")],
            400,
            "idempotency_key",
        ),
        (
            vec![json, ("idempotency-key", "k"), ("idempotency-key", "l")],
            400,
            "idempotency_key",
        ),
        (
            vec![
                json,
                ("idempotency-key", "k"),
                ("accordant-tenant", "a"),
                ("accordant-tenant", "b"),
            ],
            422,
            "invalid",
        ),
        (vec![("idempotency-key", "k")], 415, "media_type"),
        (
            vec![("content-type", "text/plain"), ("idempotency-key", "k")],
            415,
            "media_type",
        ),
    ] {
        let (got, problem) = bed
            .request("POST", "/v1/transactions", &headers, &body)
            .await;
        assert_eq!((got, &problem["code"]), (code, &name.into()), "{problem}");
    }
    for (path, code, name) in [
        ("/v1/transactions/x", 400, "malformed_id"),
        (
            "/v1/transactions/acc.0.00007.0000000010000000000000000000000000'",
            400,
            "malformed_id",
        ),
        (
            "/v1/transactions/acc.0.00007.00000000100000000000000000000000000",
            410,
            "expired",
        ),
        ("/v1/transactions/by-key/none", 404, "not_found"),
        ("/v1/transactions?limit=0", 422, "invalid"),
        ("/v1/transactions?cursor=x", 422, "invalid"),
        ("/v1/transactions?colour=red", 422, "invalid"),
        ("/v2/transactions", 404, "no_route"),
    ] {
        let (got, problem) = bed.get(path).await;
        assert_eq!(
            (got, &problem["code"]),
            (code, &name.into()),
            "{path}: {problem}"
        );
    }
    let (got, problem) = bed.request("DELETE", "/v1/transactions", &[], "").await;
    assert_eq!((got, &problem["code"]), (405, &"method".into()));
}

#[tokio::test]
async fn a_crash_after_the_decision_is_finished_by_the_next_start() {
    let (store, a, b) = (store(), Stub::default(), Stub::default());
    let bed = Bed::with(store.clone(), a.clone(), b.clone(), |_| {}).await;
    b.with(|it| it.lose = 0);
    let (_, status) = bed.submit("k", &two("agree", "agree", "")).await;
    assert_eq!(status["outcome"], "committed");
    bed.crash();
    let bed = Bed::with(store, a, b, |_| {}).await;
    let (_, status) = bed
        .submit("k", &two("agree", "agree", r#","wait":"completed""#))
        .await;
    assert_eq!(
        (&status["outcome"], &status["state"]),
        (&"committed".into(), &"closed".into())
    );
}

#[tokio::test]
async fn a_participant_that_is_down_in_phase_two_is_told_until_it_answers() {
    let bed = Bed::start(store()).await;
    bed.b.with(|it| it.lose = 0);
    let (_, status) = bed
        .submit("warm", &two("agree", "agree", r#","wait":"completed""#))
        .await;
    assert_eq!(status["state"], "closed");
    let body = two("agree", "agree", r#","wait":"decided""#);
    let down = async {
        while bed.b.with(|it| it.prepares) < 2 {
            tokio::task::yield_now().await;
        }
        bed.b.with(|it| it.down = true);
    };
    let ((_, status), ()) = futures_util::future::join(bed.submit("k", &body), down).await;
    let id = status["id"].as_str().unwrap().to_owned();
    let (_, listed) = bed.get("/v1/admin/in-doubt").await;
    assert!(
        listed["open"].as_u64().unwrap() >= 1 || status["state"] == "closed",
        "{listed}"
    );
    bed.b.with(|it| it.down = false);
    let (_, status) = bed
        .get(&format!("/v1/transactions/{id}?wait=completed"))
        .await;
    assert_eq!(status["state"], "closed", "{status}");
}

#[tokio::test]
async fn an_inquiry_is_answered_by_the_record_and_absence_is_written_down_first() {
    let bed = Bed::start(store()).await;
    let (_, status) = bed
        .submit("k", &two("agree", "read", r#","wait":"completed""#))
        .await;
    let id = status["id"].as_str().unwrap().to_owned();
    let ask = async |id: &str, branch: u8| {
        let (_, reply) = bed
            .get(&format!("/v1/transactions/{id}/outcome?branch={branch}"))
            .await;
        reply["verdict"]
            .as_str()
            .map(str::to_owned)
            .unwrap_or_else(|| reply.to_string())
    };
    assert_eq!(ask(&id, 0).await, "commit");
    assert_eq!(
        ask(&id, 1).await,
        "abort",
        "a read-only branch must not come to life again"
    );
    assert_eq!(ask(&id, 2).await, "unknown", "there is no such branch");
    let forged = format!(
        "{}{}",
        &id[..id.len() - 1],
        if id.ends_with('0') { "1" } else { "0" }
    );
    assert_eq!(ask(&forged, 0).await, "abort");
    let (_, status) = bed.get(&format!("/v1/transactions/{forged}")).await;
    assert_eq!(status["reason"]["kind"], "presumed", "{status}");
    let foreign = id.replacen("acc.", "other.", 1);
    assert_eq!(ask(&foreign, 0).await, "unknown");
}

#[tokio::test]
async fn a_participant_that_answers_from_another_database_is_not_believed_and_halted() {
    let bed = Bed::start(store()).await;
    bed.submit("k1", &two("agree", "agree", r#","wait":"completed""#))
        .await;
    let other = Identity { system: "2/1".to_owned(), timeline: 1, starts: 1 };
    bed.b.with(|it| it.identity = Some(other));
    let body = two("agree", "agree", r#","timeout_ms":200"#);
    let (_, status) = bed.submit("k2", &body).await;
    assert_eq!(status["outcome"], "aborted", "{status}");
    let (code, problem) = bed.submit("k3", &two("agree", "agree", "")).await;
    let both = [&problem["code"], &status["reason"]["kind"]];
    // The halt is per shard: the key may belong to one that has not met the participant yet.
    assert!(
        code == 503 && problem["code"] == "participant_halted" || code == 200,
        "{both:?}"
    );
    let (_, participants) = bed.get("/v1/admin/participants").await;
    assert_eq!(
        participants["participants"][1]["halted"], "foreign",
        "{participants}"
    );
}

#[tokio::test]
async fn a_branch_that_was_ended_behind_our_back_is_reported_as_what_it_is() {
    let bed = Bed::start(store()).await;
    bed.b.with(|it| it.down = false);
    let (store, a, b) = (store(), Stub::default(), Stub::default());
    drop(bed);
    let bed = Bed::with(store, a, b.clone(), |_| {}).await;
    let meddle = async {
        loop {
            let prepared = b.with(|it| {
                let branch = it
                    .holdings
                    .values_mut()
                    .find(|it| **it == Holding::Prepared);
                branch.map(|branch| *branch = Holding::Sealed).is_some()
            });
            if prepared {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    // The other branch answers late, so that there is time to meddle.
    bed.a.with(|it| it.lose = 3);
    let body = two("agree", "agree", r#","wait":"completed""#);
    let ((_, status), ()) = futures_util::future::join(bed.submit("k", &body), meddle).await;
    assert_eq!(status["outcome"], "heuristic", "{status}");
    assert_eq!(
        status["branches"][1]["state"], "heuristic_aborted",
        "{status}"
    );
    // `Closed` is written lazily: the journal has it a moment later.
    loop {
        let (_, page) = bed.get("/v1/transactions?attention=true").await;
        if page["transactions"][0]["outcome"] == "heuristic" {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn listing_pages_through_everything_newest_first() {
    let bed = Bed::start(store()).await;
    for n in 0..7 {
        bed.submit(
            &format!("k{n}"),
            &two("agree", "agree", r#","wait":"completed""#),
        )
        .await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let (_, page) = bed.get(&format!("/v1/transactions?limit=3{cursor}")).await;
        let keys = page["transactions"].as_array().unwrap().iter();
        seen.extend(keys.map(|it| it["idempotency_key"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    seen.sort();
    assert_eq!(seen, (0..7).map(|n| format!("k{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_open_and_refuses_what_is_new() {
    let bed = Bed::start(store()).await;
    let (_, status) = bed
        .submit("k", &two("agree", "agree", r#","wait":"accepted""#))
        .await;
    let id = id(&status);
    bed.coordinator.shutdown().await;
    assert_eq!(bed.a.holding(id), [Holding::Committed]);
    let (code, problem) = bed.submit("k2", &two("agree", "agree", "")).await;
    assert_eq!((code, &problem["code"]), (503, &"draining".into()));
}

#[tokio::test]
async fn a_committed_transaction_of_two_branches_costs_two_forced_flushes_and_four_calls() {
    let bed = Bed::start(store()).await;
    // Let the start's own work settle first.
    bed.submit("warm", &two("agree", "agree", r#","wait":"completed""#))
        .await;
    let before = bed.coordinator.journal().stats();
    bed.submit("k", &two("agree", "agree", r#","wait":"decided""#))
        .await;
    let after = bed.coordinator.journal().stats();
    let calls = |stub: &Stub| stub.with(|it| it.prepares);
    assert_eq!((calls(&bed.a), calls(&bed.b)), (2, 2));
    // The lazy `Closed` of the one before may ride along or come by itself.
    assert!(after.flushes - before.flushes <= 3, "{before:?} {after:?}");
}
