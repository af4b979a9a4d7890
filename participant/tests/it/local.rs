//! Messages in the two-phase form: decided by the sender's own local transaction.

use accordant_participant::protocol::id::Gtid;
use accordant_participant::protocol::plan::{Plan, PlanRequest};
use accordant_participant::protocol::time::Timestamp;
use accordant_participant::protocol::wire::api::SubmitRequest;
use accordant_participant::protocol::wire::contract::{BranchEnd, FinishVerb};
use accordant_participant::{LocalError, LocalMessage, MarkError, Message, Participant};
use serde_json::json;
use sqlx::Connection as _;

use crate::stub::{Stub, accepted};
use crate::support::{
    Bank, COMMITTED, abort, bank, commit, finish_many, fresh, minted_at, now_ms, order, until,
};

const SPEND: &str = "update account set cents = cents - 30 where id = 1";

async fn started(gtid: Gtid) -> (Bank, Stub, Participant) {
    let (bank, stub) = (bank().await, Stub::start().await);
    stub.answer(move |seen| accepted(gtid, &seen.key));
    let builder = bank.builder().coordinator(stub.url());
    let participant = builder.connect().await.unwrap();
    (bank, stub, participant)
}

fn welcome() -> Message {
    Message::new("mail", "welcome", &7).unwrap()
}

#[expect(
    clippy::let_underscore_must_use,
    reason = "only its beginning is looked at"
)]
async fn begins(participant: &Participant, gtid: Gtid) {
    let _ = begun(participant, gtid).await;
}

async fn begun(participant: &Participant, gtid: Gtid) -> LocalMessage {
    let message = participant.local_message(welcome()).await.unwrap();
    assert_eq!(message.gtid(), gtid);
    message
}

#[tokio::test]
async fn message_is_begun_marked_and_submitted() {
    let gtid = fresh();
    let (bank, stub, participant) = started(gtid).await;
    let message = begun(&participant, gtid).await;
    let seen = stub.take().remove(0);
    assert_eq!(seen.path, "/v1/transactions");
    assert!(seen.key.starts_with("local-"), "{}", seen.key);
    let body = json!({
        "steps": [
            {"name": "sender", "group": {"branches": [{"name": "local", "participant": "bank",
                "operation": "local", "payload": null, "mode": "local"}]}},
            {"name": "message", "after": ["sender"], "message": {"to": [
                {"participant": "mail", "operation": "welcome", "payload": 7}
            ]}},
        ],
        "wait": "accepted",
    });
    assert_eq!(seen.body(), body);
    let submit: SubmitRequest = serde_json::from_str(&seen.text).unwrap();
    let plan = PlanRequest { steps: submit.steps, branches: None };
    assert!(Plan::try_from(plan).unwrap().is_local());
    let mut service = bank.admin().await;
    let mut local = service.begin().await.unwrap();
    sqlx::query(SPEND).execute(&mut *local).await.unwrap();
    message.mark(&mut local).await.unwrap();
    local.commit().await.unwrap();
    message.submit().await.unwrap();
    let path = format!("/v1/transactions/{gtid}/commit");
    assert_eq!(stub.take().remove(0).path, path);
    assert_eq!(bank.state(gtid).await.as_deref(), Some("committed"));
    for verb in [FinishVerb::Abort, FinishVerb::Commit] {
        let reply = finish_many(&participant, vec![order(gtid, verb)]).await;
        assert_eq!(reply.answers[0].end, COMMITTED);
    }
    assert_eq!(bank.cents().await, 70);
}

#[tokio::test]
async fn message_that_is_asked_about_before_it_is_marked_can_never_be_marked() {
    for verb in [FinishVerb::Abort, FinishVerb::Commit] {
        let gtid = fresh();
        let (bank, stub, participant) = started(gtid).await;
        let message = begun(&participant, gtid).await;
        let mut service = bank.admin().await;
        let mut local = service.begin().await.unwrap();
        sqlx::query(SPEND).execute(&mut *local).await.unwrap();
        let reply = finish_many(&participant, vec![order(gtid, verb)]).await;
        assert_eq!(reply.answers[0].end, BranchEnd::Aborted);
        let refused = message.mark(&mut local).await.unwrap_err();
        assert!(matches!(refused, MarkError::Ended), "{refused}");
        // A service that passes over it does not commit either.
        drop(local.commit().await);
        assert_eq!(bank.cents().await, 100);
        assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted);
        message.abandon().await.unwrap();
        let path = format!("/v1/transactions/{gtid}/abort");
        assert_eq!(stub.take().pop().unwrap().path, path);
    }
}

/// Not what a service should do, but what PostgreSQL lets it do: hence the warning at `MarkError`.
#[tokio::test]
async fn mark_that_failed_inside_a_savepoint_does_not_keep_the_outer_transaction_from_committing() {
    let gtid = fresh();
    let (bank, _stub, participant) = started(gtid).await;
    let message = begun(&participant, gtid).await;
    assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted);
    let mut service = bank.admin().await;
    let mut outer = service.begin().await.unwrap();
    sqlx::query(SPEND).execute(&mut *outer).await.unwrap();
    let mut savepoint = outer.begin().await.unwrap();
    let refused = message.mark(&mut savepoint).await.unwrap_err();
    assert!(refused.to_string().contains("roll back"), "{refused}");
    savepoint.rollback().await.unwrap();
    outer.commit().await.unwrap();
    // The work is there, and its message never goes out.
    assert_eq!(bank.cents().await, 70);
    assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted);
}

#[tokio::test]
async fn abort_does_not_seal_past_a_local_transaction_that_is_open() {
    let gtid = fresh();
    let (bank, _stub, participant) = started(gtid).await;
    let message = begun(&participant, gtid).await;
    let mut service = bank.admin().await;
    let mut local = service.begin().await.unwrap();
    sqlx::query(SPEND).execute(&mut *local).await.unwrap();
    message.mark(&mut local).await.unwrap();
    assert_eq!(abort(&participant, gtid).await, BranchEnd::InProgress);
    assert_eq!(commit(&participant, gtid).await, BranchEnd::InProgress);
    // One that asks just when it commits waits for it.
    let asking = tokio::spawn({
        let participant = participant.clone();
        async move { abort(&participant, gtid).await }
    });
    until("it waits at the marker", || async {
        bank.waiting_for_locks().await > 0
    })
    .await;
    local.commit().await.unwrap();
    assert_eq!(asking.await.unwrap(), COMMITTED);
    assert_eq!(abort(&participant, gtid).await, COMMITTED);
    assert_eq!(bank.cents().await, 70);
}

#[tokio::test]
async fn message_whose_transaction_rolled_back_is_given_up() {
    let gtid = fresh();
    let (bank, _stub, participant) = started(gtid).await;
    let message = begun(&participant, gtid).await;
    let mut service = bank.admin().await;
    let mut local = service.begin().await.unwrap();
    message.mark(&mut local).await.unwrap();
    local.rollback().await.unwrap();
    assert_eq!(abort(&participant, gtid).await, BranchEnd::Aborted);
    assert_eq!(bank.state(gtid).await.as_deref(), Some("aborted"));
}

#[tokio::test]
async fn message_below_the_floor_cannot_be_marked() {
    let gtid = minted_at(now_ms() - 60_000);
    let (bank, _stub, participant) = started(gtid).await;
    let message = begun(&participant, gtid).await;
    let mut carrier = order(fresh(), FinishVerb::Abort);
    carrier.watermark = Timestamp::from_millis(now_ms() - 30_000);
    finish_many(&participant, vec![carrier]).await;
    participant.retain_once().await.unwrap();
    let mut service = bank.admin().await;
    let mut local = service.begin().await.unwrap();
    let refused = message.mark(&mut local).await.unwrap_err();
    assert!(matches!(refused, MarkError::Expired), "{refused}");
}

#[tokio::test]
async fn message_is_marked_once() {
    let gtid = fresh();
    let (bank, _stub, participant) = started(gtid).await;
    let message = begun(&participant, gtid).await;
    let mut service = bank.admin().await;
    message.mark(&mut service).await.unwrap();
    let refused = message.mark(&mut service).await.unwrap_err();
    assert!(matches!(refused, MarkError::Ended), "{refused}");
}

#[tokio::test]
async fn lost_reply_to_the_beginning_is_asked_for_again_under_the_same_key() {
    let gtid = fresh();
    let (_bank, stub, participant) = started(gtid).await;
    let mut replies = vec![
        accepted(fresh(), "of another request"),
        (200, "not the form".to_owned()),
    ];
    stub.answer(move |seen| replies.pop().unwrap_or_else(|| accepted(gtid, &seen.key)));
    begins(&participant, gtid).await;
    let seen = stub.take();
    assert_eq!(seen.len(), 3);
    assert!(
        seen.iter()
            .all(|it| it.key == seen[0].key && it.text == seen[0].text)
    );
    // A fresh message has a fresh key.
    stub.answer(move |seen| accepted(gtid, &seen.key));
    begins(&participant, gtid).await;
    assert_ne!(stub.take()[0].key, seen[0].key);
}

#[tokio::test]
async fn what_cannot_be_begun_has_an_error_of_its_own() {
    let (bank, mut stub, participant) = started(fresh()).await;
    let rubbish = Message::new("", "welcome", &7).unwrap();
    let refused = participant.local_message(rubbish).await.unwrap_err();
    assert!(matches!(refused, LocalError::Plan(_)), "{refused}");
    for (plan, path) in [
        (json!({"branches": []}), "branches"),
        (
            json!({"steps": [{"name": "one", "class": "compensatable",
                "action": {"participant": "mail", "operation": "a"}}]}),
            "steps[1].class",
        ),
    ] {
        let plan: PlanRequest = serde_json::from_str(&plan.to_string()).unwrap();
        let refused = participant.local_message(plan).await.unwrap_err();
        assert!(
            matches!(&refused, LocalError::Plan(faults) if faults.0[0].path == path),
            "{refused}"
        );
    }
    stub.answer(|_| (422, json!({"code": "invalid", "detail": "no"}).to_string()));
    let refused = participant.local_message(welcome()).await.unwrap_err();
    assert!(
        matches!(&refused, LocalError::Refused(detail) if detail.contains("invalid: no")),
        "{refused}"
    );
    stub.leave().await;
    let lost = participant.local_message(welcome()).await.unwrap_err();
    assert!(matches!(lost, LocalError::Unanswered(_)), "{lost}");
    let without = bank.participant().await;
    let refused = without.local_message(welcome()).await.unwrap_err();
    assert!(matches!(refused, LocalError::NoCoordinator), "{refused}");
}

#[tokio::test]
async fn steps_of_the_service_keep_their_names_and_their_order() {
    let gtid = fresh();
    let (_bank, stub, participant) = started(gtid).await;
    let plan = json!({"steps": [
        {"name": "sender", "message": {"to": [{"participant": "mail", "operation": "a"}]}},
        {"name": "local", "after": ["sender"],
            "action": {"participant": "mail", "operation": "b"}},
    ]});
    let plan: PlanRequest = serde_json::from_str(&plan.to_string()).unwrap();
    drop(participant.local_message(plan).await.unwrap());
    let steps = stub.take()[0].body()["steps"].clone();
    let names: Vec<_> = steps
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(names, ["sender-2", "sender", "local"]);
    assert_eq!(steps[0]["group"]["branches"][0]["name"], "local-2");
    assert_eq!(steps[1]["after"], json!(["sender-2"]));
    assert_eq!(steps[2]["after"], json!(["sender"]));
}
