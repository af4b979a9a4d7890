//! What a plan of steps becomes on the wire, and what is read back from it.

use std::collections::BTreeMap;
use std::time::Duration;

use accordant_client::{
    Action, ActionState, Client, Endpoint, Group, IdempotencyKey, Message, ResultError, Retry,
    Step, Submitted, Transaction, result_of,
};
use serde_json::{Value, json};

use super::stub::{Act, ID, Stub, status};

async fn submit(transaction: &Transaction, act: Act) -> (Submitted, Value) {
    let stub = Stub::start([act]).await;
    let client = Client::builder(&stub.address).patience(Duration::ZERO);
    let key = IdempotencyKey::new("order-1").unwrap();
    let done = client.build().unwrap().submit(&key, transaction).await;
    let body = serde_json::from_str(&stub.asked()[0].body).unwrap();
    (done.unwrap(), body)
}

#[tokio::test]
async fn a_plan_is_written_as_the_coordinator_reads_it() {
    let second = Duration::from_secs(1);
    let flight = Action::operation("airline", "book", &json!({ "seats": 2 })).unwrap();
    let flight = flight
        .timeout(second)
        .deadline(second * 60)
        .compensate_retry(Retry::new().without_end());
    let rooms = json!({ "flight": result_of("flight#/id") });
    let rooms = Endpoint::post("/rooms").body(&rooms).unwrap();
    let rooms = rooms.header("x-a", "b").done([201]).refused([409, 422]);
    let retry = Retry::new().first_pause(second).longest_pause(second * 2);
    let hotel = Action::plain("inn", rooms)
        .compensate(Endpoint::delete("/rooms/{hotel#/id}"))
        .retry(retry.attempts(3));
    let pay = Group::new()
        .branch("debit", "bank", "debit", &5)
        .unwrap()
        .tcc("points", "club", "spend", &7)
        .unwrap()
        .timeout(second * 5);
    let look = Action::plain("inn", Endpoint::get("/sky")).without_compensation();
    let mail = || Action::operation("post", "send", &()).unwrap();
    let message = Message::to(mail()).and_to(mail()).delay(second);
    let plan = Transaction::new()
        .step(Step::action("flight", flight))
        .step(Step::action("look", look))
        .step(Step::action("hotel", hotel).after("flight").after("look"))
        .step(Step::group("pay", pay).after("hotel"))
        .step(Step::message("mail", message).after("pay"));
    let (_, body) = submit(&plan, status(200, "committed", "closed")).await;
    let mail = json!({ "participant": "post", "operation": "send", "payload": null });
    let expected = json!([
        { "name": "flight", "action": { "participant": "airline", "operation": "book",
            "payload": { "seats": 2 }, "timeout_ms": 1000, "deadline_ms": 60_000,
            "compensate_retry": { "attempts": 0 } } },
        { "name": "look", "action": { "participant": "inn",
            "act": { "method": "GET", "path": "/sky" }, "without_compensation": true } },
        { "name": "hotel", "after": ["flight", "look"], "action": { "participant": "inn",
            "act": { "path": "/rooms", "headers": { "x-a": "b" },
                "body": { "flight": { "$result": "flight#/id" } },
                "done": [201], "refused": [409, 422] },
            "compensate": { "method": "DELETE", "path": "/rooms/{hotel#/id}" },
            "retry": { "pause_ms": 1000, "pause_ms_max": 2000, "attempts": 3 } } },
        { "name": "pay", "after": ["hotel"], "group": { "branches": [
            { "name": "debit", "participant": "bank", "operation": "debit", "payload": 5 },
            { "name": "points", "participant": "club", "operation": "spend", "payload": 7,
                "mode": "tcc" } ], "timeout_ms": 5000 } },
        { "name": "mail", "after": ["pay"], "message": { "to": [mail, mail], "delay_ms": 1000 } },
    ]);
    assert_eq!(body["steps"], expected);
    assert!(body.get("branches").is_none());
}

#[tokio::test]
async fn a_pivot_and_a_local_branch_are_named_as_such() {
    let pay = Action::operation("bank", "pay", &1).unwrap();
    let local = Group::local("mine", "shop", "order", &2).unwrap();
    let plan = Transaction::new()
        .step(Step::action("pay", pay).pivot())
        .step(Step::group("order", local));
    let (_, body) = submit(&plan, status(200, "committed", "closed")).await;
    assert_eq!(body["steps"][0]["class"], "pivot");
    assert_eq!(body["steps"][1]["group"]["branches"][0]["mode"], "local");
}

#[test]
fn a_payload_that_is_no_json_names_where_it_stands() {
    let wrong = BTreeMap::from([(vec![1], 1)]);
    let of = [
        Action::operation("p", "book", &wrong).unwrap_err(),
        Endpoint::post("/rooms").body(&wrong).unwrap_err(),
        Group::new().branch("debit", "p", "o", &wrong).unwrap_err(),
        Group::new().tcc("points", "p", "o", &wrong).unwrap_err(),
        Group::local("mine", "p", "o", &wrong).unwrap_err(),
    ];
    for (error, name) in of.iter().zip(["book", "/rooms", "debit", "points", "mine"]) {
        let text = format!("the payload of {name:?} cannot be expressed in JSON");
        assert_eq!(error.to_string(), text);
    }
}

#[tokio::test]
async fn what_steps_returned_is_read_by_their_names() {
    let body = format!(
        r#"{{"id":"{ID}","state":"completing","outcome":"committed","begun_at":1,"actions":[
        {{"index":0,"name":"flight","participant":"airline","state":"done","attempts":1,
          "result":{{"id":"F1"}}}},
        {{"index":1,"name":"mail","participant":"post","state":"acting","attempts":4,
          "last_error":"HTTP 503"}}]}}"#
    );
    let mail = Action::operation("post", "send", &()).unwrap();
    let plan = Transaction::new().step(Step::message("mail", Message::to(mail)));
    let act = Act::Reply { status: 200, headers: String::new(), body };
    let (done, _) = submit(&plan, act).await;
    let result: Value = done.result("flight").unwrap();
    assert_eq!(result["id"], "F1");
    assert!(matches!(
        done.result::<u8>("flight"),
        Err(ResultError::Form { .. })
    ));
    assert!(matches!(
        done.result::<u8>("mail"),
        Err(ResultError::Absent { .. })
    ));
    assert!(matches!(
        done.result::<u8>("x"),
        Err(ResultError::NoSuchBranch { .. })
    ));
    let mail = done.status.action("mail").unwrap();
    assert_eq!((mail.state, mail.attempts), (ActionState::Acting, 4));
    assert!(done.status.action("x").is_none());
}
