//! Messages of the outbox: sent if and only if their transaction commits, and until they are taken.

use std::collections::BTreeMap;
use std::time::Duration;

use accordant_participant::protocol::plan::{Plan, PlanRequest};
use accordant_participant::protocol::wire::contract::ActVerb::Act;
use accordant_participant::{Branch, Message, Participant, Refusal, SendError};
use serde_json::json;
use sqlx::{Connection as _, Row as _};

use crate::stub::{Stub, accepted};
use crate::support::{Bank, act, act_call, bank, fresh, is_done, is_refused, until};

async fn started() -> (Bank, Stub, Participant) {
    let (bank, stub) = (bank().await, Stub::start().await);
    let builder = bank.builder().coordinator(stub.url());
    let participant = builder.connect().await.unwrap();
    (bank, stub, participant)
}

fn welcome(user: i32) -> Message {
    Message::new("mail", "welcome", &json!({ "user": user })).unwrap()
}

/// Sends a message in a transaction of its own.
async fn send(bank: &Bank, participant: &Participant, user: i32) -> String {
    let mut admin = bank.admin().await;
    let id = participant.outbox().send(&mut admin, welcome(user)).await;
    id.unwrap().to_string()
}

/// State, attempts and error of what is in the outbox, oldest first.
async fn rows(bank: &Bank) -> Vec<(String, i64, Option<String>)> {
    let rows = "select state, attempts, error from accordant.outbox order by id";
    sqlx::query_as(rows)
        .fetch_all(&mut bank.admin().await)
        .await
        .unwrap()
}

async fn make_due(bank: &Bank) {
    bank.run("update accordant.outbox set next_at = now()")
        .await;
}

#[tokio::test]
async fn message_is_sent_once_its_transaction_has_committed() {
    let (bank, stub, participant) = started().await;
    let outbox = participant.outbox();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut service = bank.admin().await;
    let mut local = service.begin().await.unwrap();
    let id = outbox.send(&mut local, welcome(7)).await.unwrap();
    let trace = trace.parse().unwrap();
    let traced = outbox.send_traced(&mut local, welcome(8), &trace);
    traced.await.unwrap();
    assert_eq!(participant.push_once().await.unwrap().sent, 0);
    assert!(stub.take().is_empty(), "it has not committed");
    local.commit().await.unwrap();
    assert_eq!(participant.push_once().await.unwrap().sent, 2);
    let mut seen = stub.take();
    seen.sort_by_key(|seen| seen.traceparent.clone());
    assert_eq!(seen[0].path, "/v1/transactions");
    assert_eq!(seen[0].key, format!("outbox-{id}"));
    assert_eq!(seen[0].traceparent, None);
    assert_eq!(seen[1].traceparent.as_deref(), Some(trace.as_str()));
    let body = json!({
        "steps": [{"name": "message", "message": {"to": [
            {"participant": "mail", "operation": "welcome", "payload": {"user": 7}}
        ]}}],
        "wait": "accepted",
    });
    assert_eq!(seen[0].body(), body);
    assert!(rows(&bank).await.is_empty());
    assert_eq!(participant.push_once().await.unwrap().sent, 0);
}

#[tokio::test]
async fn message_of_a_transaction_that_rolls_back_is_never_sent() {
    let (bank, stub, participant) = started().await;
    let mut service = bank.admin().await;
    let mut local = service.begin().await.unwrap();
    let sent = participant.outbox().send(&mut local, welcome(7)).await;
    sent.unwrap();
    local.rollback().await.unwrap();
    participant.push_once().await.unwrap();
    assert!(stub.take().is_empty());
}

#[tokio::test]
async fn handler_sends_if_and_only_if_its_branch_commits() {
    async fn tells(branch: &mut Branch, cents: i64) -> Result<(), Refusal> {
        branch.send(Message::new("mail", "spent", &cents)?).await?;
        sqlx::query("update account set cents = cents - $1 where id = 1")
            .bind(cents)
            .execute(branch.connection())
            .await?;
        Ok(())
    }
    async fn tells_rubbish(branch: &mut Branch, (): ()) -> Result<(), Refusal> {
        branch.send(Message::new("mail", "", &1)?).await?;
        Ok(())
    }
    let (bank, stub) = (bank().await, Stub::start().await);
    let builder = bank.builder().coordinator(stub.url());
    let builder = builder.pivot("tells", tells);
    let builder = builder.pivot("tells_rubbish", tells_rubbish);
    let participant = builder.connect().await.unwrap();
    let call = act_call(fresh(), Act, "tells", json!(300));
    is_refused(&act(&participant, &call).await, "accordant.constraint");
    let call = act_call(fresh(), Act, "tells_rubbish", json!(null));
    is_refused(&act(&participant, &call).await, "accordant.message");
    let call = act_call(fresh(), Act, "tells", json!(30));
    for _ in 0..2 {
        is_done(&act(&participant, &call).await, None);
    }
    participant.push_once().await.unwrap();
    let seen = stub.take();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        seen[0].body()["steps"][0]["message"]["to"][0]["payload"],
        30
    );
}

#[tokio::test]
async fn plan_that_cannot_be_sent_is_refused_at_once_with_the_place_of_its_fault() {
    let (bank, _stub, participant) = started().await;
    let outbox = participant.outbox();
    let mut service = bank.admin().await;
    let mut local = service.begin().await.unwrap();
    let plan = |steps: serde_json::Value| -> PlanRequest {
        serde_json::from_str(&json!({ "steps": steps }).to_string()).unwrap()
    };
    let to = json!([{"participant": "mail", "operation": "a'b"}]);
    let sent = outbox.send(
        &mut local,
        plan(json!([{"name": "one", "message": {"to": to}}])),
    );
    let SendError::Plan(faults) = sent.await.unwrap_err() else {
        panic!()
    };
    assert_eq!(faults.0[0].path, "steps[0].message.to[0].operation");
    let act = json!([{"name": "one", "action": {"participant": "mail", "operation": "a"}}]);
    let refused = outbox.send(&mut local, plan(act)).await.unwrap_err();
    assert!(
        matches!(&refused, SendError::Refusable { path } if path == "steps[0].class"),
        "{refused}"
    );
    let many: Vec<_> = (0..20)
        .map(|nr| {
            let payload = "x".repeat(60_000);
            let to = json!([{"participant": "mail", "operation": "a", "payload": payload}]);
            json!({"name": format!("step-{nr}"), "message": {"to": to}})
        })
        .collect();
    let refused = outbox.send(&mut local, plan(json!(many))).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, SendError::TooLarge { .. }), "{refused}");
    // The transaction is as it was.
    let retriable = json!([{"name": "one", "class": "retriable",
        "action": {"participant": "mail", "operation": "a"}}]);
    outbox.send(&mut local, plan(retriable)).await.unwrap();
    local.commit().await.unwrap();
    assert_eq!(rows(&bank).await.len(), 1);
}

#[tokio::test]
async fn message_waits_for_a_coordinator_that_is_away() {
    let (bank, mut stub, participant) = started().await;
    send(&bank, &participant, 1).await;
    stub.leave().await;
    assert_eq!(participant.push_once().await.unwrap().later, 1);
    let (state, attempts, error) = rows(&bank).await.remove(0);
    assert_eq!((state.as_str(), attempts), ("waiting", 1));
    assert!(error.unwrap().contains("not reached"));
    // Not again before its time.
    assert_eq!(participant.push_once().await.unwrap().later, 0);
    let pause =
        "select extract(epoch from next_at - clock_timestamp())::float8 from accordant.outbox";
    bank.run("update accordant.outbox set attempts = 40, next_at = now()")
        .await;
    assert_eq!(participant.push_once().await.unwrap().later, 1);
    let row = sqlx::query(pause);
    let row = row.fetch_one(&mut bank.admin().await).await.unwrap();
    let pause = row.get::<f64, _>(0);
    assert!((20.0..40.0).contains(&pause), "{pause}");
    stub.come_back().await;
    for status in [500, 503, 429, 404, 401, 307] {
        stub.answer(move |_| (status, "not a problem".to_owned()));
        make_due(&bank).await;
        assert_eq!(participant.push_once().await.unwrap().later, 1, "{status}");
    }
    stub.answer(|seen| accepted(fresh(), &seen.key));
    make_due(&bank).await;
    assert_eq!(participant.push_once().await.unwrap().sent, 1);
    assert!(rows(&bank).await.is_empty());
    let keys: Vec<_> = stub
        .take()
        .into_iter()
        .map(|seen| (seen.key, seen.text))
        .collect();
    assert_eq!(keys.len(), 7);
    assert!(
        keys.iter().all(|key| *key == keys[0]),
        "one request, word for word"
    );
}

#[tokio::test]
async fn message_is_kept_until_a_coordinator_says_that_it_has_taken_this_one() {
    let (bank, stub, participant) = started().await;
    let id = send(&bank, &participant, 1).await;
    let (gtid, key) = (fresh(), format!("outbox-{id}"));
    for (status, body) in [
        (200, String::new()),
        (200, "<html>We are back soon.</html>".to_owned()),
        (202, "{}".to_owned()),
        (200, json!({ "ok": true }).to_string()),
        (204, String::new()),
        (200, json!({ "id": gtid }).to_string()),
        (200, json!({ "id": 7, "idempotency_key": key }).to_string()),
        (200, json!({ "idempotency_key": key }).to_string()),
        accepted(gtid, "outbox-another"),
    ] {
        stub.answer({
            let body = body.clone();
            move |_| (status, body.clone())
        });
        make_due(&bank).await;
        let pushed = participant.push_once().await.unwrap();
        assert_eq!(
            (pushed.sent, pushed.refused, pushed.later),
            (0, 0, 1),
            "{body}"
        );
        let (state, _, error) = rows(&bank).await.remove(0);
        assert_eq!(state, "waiting", "{body}");
        let error = error.unwrap();
        assert!(error.contains(&format!("status {status}")), "{error}");
        let address = stub.url().replace("http://", "");
        assert!(error.contains(&address), "{error}");
        assert!(error.contains("check the coordinator's address"), "{error}");
        assert!(
            !error.contains("back soon"),
            "what answers may repeat payloads: {error}"
        );
    }
    stub.answer(move |seen| accepted(gtid, &seen.key));
    make_due(&bank).await;
    assert_eq!(participant.push_once().await.unwrap().sent, 1);
    assert!(rows(&bank).await.is_empty());
}

#[tokio::test]
async fn message_that_somebody_else_refuses_is_kept_and_tried_again() {
    for (status, body) in [
        (413, "<html>too large</html>".to_owned()),
        (
            422,
            json!({"code": "teapot", "detail": "who are you?"}).to_string(),
        ),
        (409, String::new()),
    ] {
        let (bank, stub, participant) = started().await;
        send(&bank, &participant, 1).await;
        stub.answer(move |_| (status, body.clone()));
        let pushed = participant.push_once().await.unwrap();
        assert_eq!(
            (pushed.sent, pushed.refused, pushed.later),
            (0, 0, 1),
            "{status}"
        );
        stub.answer(|seen| accepted(fresh(), &seen.key));
        make_due(&bank).await;
        assert_eq!(participant.push_once().await.unwrap().sent, 1, "{status}");
    }
}

#[tokio::test]
async fn message_that_is_refused_for_good_is_set_aside_and_blocks_nobody() {
    for status in [400, 409, 413, 422] {
        let (bank, stub, participant) = started().await;
        let poison = send(&bank, &participant, 666).await;
        send(&bank, &participant, 1).await;
        // What somebody else wrote there.
        bank.run("insert into accordant.outbox (id, plan) values (gen_random_uuid(), 'rubbish')")
            .await;
        stub.answer(
            move |seen| match seen.text.contains("666") || seen.text == "rubbish" {
                true => {
                    let problem = json!({"code": "invalid", "detail": "no", "errors": [
                        {"path": "steps[0].name", "code": "form", "detail": "of evil"}
                    ]});
                    (status, problem.to_string())
                }
                false => accepted(fresh(), &seen.key),
            },
        );
        let pushed = participant.push_once().await.unwrap();
        assert_eq!((pushed.sent, pushed.refused, pushed.later), (1, 2, 0));
        let set_aside = rows(&bank).await;
        assert_eq!(set_aside.len(), 2);
        for (state, _, error) in set_aside {
            assert_eq!(state, "refused");
            let error = error.unwrap();
            assert!(
                error.contains("invalid: no; steps[0].name: of evil"),
                "{error}"
            );
        }
        stub.take();
        make_due(&bank).await;
        participant.push_once().await.unwrap();
        assert!(stub.take().is_empty(), "not again");
        // An operator has mended what was wrong.
        stub.answer(|seen| accepted(fresh(), &seen.key));
        bank.run("update accordant.outbox set state = 'waiting'")
            .await;
        assert_eq!(participant.push_once().await.unwrap().sent, 2);
        let keys = stub.take();
        assert!(
            keys.iter()
                .any(|seen| seen.key == format!("outbox-{poison}"))
        );
    }
}

#[tokio::test]
async fn replicas_share_the_work_and_send_nothing_twice() {
    let (bank, stub, one) = started().await;
    let two = bank.builder().coordinator(stub.url()).connect().await;
    let two = two.unwrap();
    let mut service = bank.admin().await;
    let mut local = service.begin().await.unwrap();
    for user in 0..200 {
        let sent = one.outbox().send(&mut local, welcome(user)).await;
        sent.unwrap();
    }
    local.commit().await.unwrap();
    let (by_one, by_two) = tokio::join!(one.push_once(), two.push_once());
    let (by_one, by_two) = (by_one.unwrap(), by_two.unwrap());
    assert_eq!(by_one.sent + by_two.sent, 200);
    assert!(by_one.sent > 0 && by_two.sent > 0, "{by_one:?} {by_two:?}");
    let mut times = BTreeMap::<String, usize>::new();
    for seen in stub.take() {
        *times.entry(seen.key).or_default() += 1;
    }
    assert_eq!(times.len(), 200);
    assert!(times.values().all(|&times| times == 1));
    assert!(rows(&bank).await.is_empty());
}

#[tokio::test]
async fn message_that_somebody_else_is_claiming_is_not_waited_for() {
    let (bank, stub, participant) = started().await;
    let theirs = send(&bank, &participant, 1).await;
    let ours = send(&bank, &participant, 2).await;
    let mut other = bank.admin().await;
    let mut claiming = other.begin().await.unwrap();
    let lock = "select from accordant.outbox where id = $1::text::uuid for update";
    let lock = sqlx::query(lock).bind(&theirs);
    lock.execute(&mut *claiming).await.unwrap();
    assert_eq!(participant.push_once().await.unwrap().sent, 1);
    assert_eq!(stub.take()[0].key, format!("outbox-{ours}"));
    claiming.rollback().await.unwrap();
    assert_eq!(participant.push_once().await.unwrap().sent, 1);
    assert_eq!(stub.take()[0].key, format!("outbox-{theirs}"));
}

#[tokio::test]
async fn claim_of_a_process_that_is_gone_runs_out() {
    let (bank, stub, participant) = started().await;
    send(&bank, &participant, 1).await;
    // As a process leaves it that dies between the sending and the deleting.
    bank.run("update accordant.outbox set attempts = 1, next_at = now() + interval '60 s'")
        .await;
    participant.push_once().await.unwrap();
    assert!(stub.take().is_empty(), "somebody is at it");
    make_due(&bank).await;
    assert_eq!(participant.push_once().await.unwrap().sent, 1);
    assert_eq!(stub.take().len(), 1);
}

#[tokio::test]
async fn messages_are_pushed_by_themselves_and_after_a_restart() {
    let (bank, mut stub) = (bank().await, Stub::start().await);
    let builder = |every: Duration| {
        Participant::builder("bank")
            .database(&bank.url)
            .allow_unsafe_durability(true)
            .unsafe_test_build(true)
            .coordinator(stub.url())
            .outbox(every)
    };
    let (seldom, often) = (Duration::from_secs(3600), Duration::from_millis(10));
    let (seldom, often) = (builder(seldom), builder(often));
    let participant = seldom.connect().await.unwrap();
    send(&bank, &participant, 1).await;
    participant.outbox().wake();
    until("pushed when woken", || async {
        rows(&bank).await.is_empty()
    })
    .await;
    send(&bank, &participant, 2).await;
    participant.shutdown().await;
    stub.leave().await;
    assert_eq!(rows(&bank).await.len(), 1);
    let participant = often.connect().await.unwrap();
    until("tried", || async { rows(&bank).await[0].1 > 0 }).await;
    stub.come_back().await;
    until("pushed by itself", || async {
        rows(&bank).await.is_empty()
    })
    .await;
    participant.shutdown().await;
    let users: Vec<_> = stub.take().iter().map(|seen| seen.text.clone()).collect();
    assert_eq!(users.len(), 2);
}

#[tokio::test]
async fn transaction_with_a_message_commits_durably_whatever_its_session_says() {
    let (bank, _stub, participant) = started().await;
    let mut service = bank.admin().await;
    for (level, expected) in [
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("on", "on"),
        ("remote_apply", "remote_apply"),
    ] {
        let set = format!("set synchronous_commit = {level}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(set))
            .execute(&mut service)
            .await
            .unwrap();
        let mut local = service.begin().await.unwrap();
        let sent = participant.outbox().send(&mut local, welcome(1)).await;
        sent.unwrap();
        let row = sqlx::query("select current_setting('synchronous_commit')");
        let row = row.fetch_one(&mut *local).await.unwrap();
        assert_eq!(row.get::<String, _>(0), expected, "{level}");
        local.commit().await.unwrap();
    }
}

#[tokio::test]
async fn participant_without_a_coordinator_leaves_messages_for_one_that_has_it() {
    let bank = bank().await;
    let participant = bank.participant().await;
    send(&bank, &participant, 1).await;
    assert_eq!(participant.push_once().await.unwrap().sent, 0);
    assert_eq!(rows(&bank).await.len(), 1);
}

#[test]
fn message_builder_makes_a_plan_of_messages() {
    let message = welcome(1).and_to("audit", "note", &json!(2)).unwrap();
    let message = message.delayed(Duration::from_secs(5));
    let plan = Plan::try_from(PlanRequest::from(message)).unwrap();
    assert!(plan.fate().is_some());
    assert_eq!(plan.actions().count(), 2);
}
