//! One mode after the other, with real processes: success, refusal at each step, services that are
//! away, late calls, call-backs, messages, and plans that are none.

use std::time::Duration;

use accordant_client::Client;
use accordant_testbed::Fault;
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::http;
use crate::world::JournalKind;

use super::stage::Stage;
use super::trip::{Form, Trip};

fn outcome(status: &Value) -> (&str, &str) {
    let text = |name: &str| status[name].as_str().unwrap_or_default();
    (text("outcome"), text("state"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_form_of_trip_comes_to_what_it_should() -> anyhow::Result<()> {
    for journal in [JournalKind::Sqlite, JournalKind::Postgres] {
        let stage = Stage::start(journal).await?;
        for form in Form::ALL {
            let trip = Trip { key: format!("{form:?}"), form };
            let status = stage.play(&trip.key, trip.steps()).await?;
            let expected = if form.happens() {
                "committed"
            } else {
                "aborted"
            };
            ensure!(
                outcome(&status) == (expected, "closed"),
                "{form:?}: {status}"
            );
            let again = stage.play(&trip.key, trip.steps()).await?;
            for field in ["id", "outcome", "reason"] {
                ensure!(again[field] == status[field], "{form:?}, repeated: {again}");
            }
            let trips = stage.traveller.trips.lock();
            trips
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(trip);
        }
        let tally = stage.audit().await?;
        ensure!(tally.happened == 5 && tally.made_good == 4, "{tally:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_at_any_step_undoes_exactly_the_steps_before_it() -> anyhow::Result<()> {
    let stage = Stage::start(JournalKind::Sqlite).await?;
    for refusing in 0..4 {
        let key = format!("refused-{refusing}");
        let mut before: Option<String> = None;
        let mut steps = Vec::new();
        for number in 0..4 {
            let how = if number == refusing { "refuse" } else { "done" };
            let name = format!("s{number}");
            let after: Vec<&String> = before.iter().collect();
            let action = Stage::plain(&key, &name, how, "done");
            steps.push(json!({"name": name, "after": after, "action": action}));
            before = Some(name);
        }
        let status = stage.play(&key, Value::Array(steps)).await?;
        ensure!(outcome(&status) == ("aborted", "closed"), "{status}");
        ensure!(
            status["reason"]["branch"] == format!("s{refusing}"),
            "{status}"
        );
        ensure!(status["reason"]["refusal"]["code"] == "full", "{status}");
        let verbs: Vec<String> = stage
            .desk
            .calls(&key)
            .iter()
            .map(|call| format!("{} {}", call.verb, call.step))
            .collect();
        let acts = (0..=refusing).map(|number| format!("act s{number}"));
        let undone = (0..refusing)
            .rev()
            .map(|number| format!("compensate s{number}"));
        let expected: Vec<String> = acts.chain(undone).collect();
        ensure!(verbs == expected, "{verbs:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_passed_on_and_stay_the_same_after_a_crash() -> anyhow::Result<()> {
    let mut stage = Stage::start(JournalKind::Sqlite).await?;
    let key = "passed";
    let mut second = Stage::plain(key, "second", "away-30", "done");
    second["act"]["body"] = json!({"first": {"$result": "first#/id"}});
    let third = Stage::bank(
        key,
        "bank-a",
        "enter",
        7,
        json!({"payload": {"transfer": {"$result": "first#/step"},
        "account": {"$result": "first#/id"}, "cents": 0}}),
    );
    let steps = json!([
        {"name": "first", "action": Stage::plain(key, "first", "done", "done")},
        {"name": "second", "after": ["first"], "action": second},
        {"name": "third", "after": ["second"], "action": third},
    ]);
    stage.submit(key, steps, "accepted").await?;
    for _ in 0..3 {
        let seen = stage.desk.called(key, "second", "act");
        stage
            .world
            .until(
                "the second step is tried",
                Duration::from_secs(10),
                async |_| Ok(stage.desk.called(key, "second", "act") > seen),
            )
            .await?;
        stage.world.restart().await?;
    }
    let status = stage
        .until(key, "it has ended", |status| status["state"] == "closed")
        .await?;
    ensure!(status["outcome"] == "committed", "{status}");
    let calls = stage.desk.calls(key);
    let first = calls
        .iter()
        .filter(|call| call.step == "first" && call.executed);
    ensure!(first.count() == 1, "{calls:?}");
    let bodies: Vec<&Value> = calls
        .iter()
        .filter(|call| call.step == "second")
        .map(|call| &call.body["first"])
        .collect();
    ensure!(bodies.iter().all(|body| **body == json!(1)), "{bodies:?}");
    let (ledger, _) = stage.world.banks[0].books().await?;
    let entered = ledger
        .iter()
        .filter(|(key, entry)| key == "first" && entry.account == 1);
    ensure!(entered.count() == 1, "{ledger:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_that_is_away_is_waited_for_in_both_directions() -> anyhow::Result<()> {
    let mut stage = Stage::start(JournalKind::Sqlite).await?;
    let key = "away";
    let steps = json!([
        {"name": "one", "action": Stage::bank(key, "bank-a", "enter", 1, json!({}))},
        {"name": "two", "after": ["one"], "action": Stage::plain(key, "two", "refuse", "done")},
    ]);
    stage.world.banks[0].proxy.set(Fault::Cut);
    stage.submit(key, steps, "accepted").await?;
    stage
        .until(key, "the first step is tried again", |status| {
            status["actions"][0]["attempts"].as_u64() > Some(2)
        })
        .await?;
    stage.desk.close();
    stage.world.banks[0].proxy.set(Fault::None);
    stage
        .until(key, "the second step is tried again", |status| {
            status["actions"][1]["attempts"].as_u64() > Some(2)
        })
        .await?;
    stage.world.banks[0].proxy.set(Fault::LoseReplies);
    stage.desk.open().await?;
    stage
        .until(key, "it is made good, and nobody hears of it", |status| {
            let first = &status["actions"][0];
            first["state"] == "compensating" && first["attempts"].as_u64() > Some(2)
        })
        .await?;
    stage.world.banks[0].proxy.set(Fault::None);
    let status = stage
        .until(key, "it has ended", |status| status["state"] == "closed")
        .await?;
    ensure!(status["outcome"] == "aborted", "{status}");
    let (ledger, _) = stage.world.banks[0].books().await?;
    let mut cents: Vec<i64> = ledger.iter().map(|(_, entry)| entry.cents).collect();
    cents.sort_unstable();
    ensure!(cents == [-1, 1], "{ledger:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_that_comes_after_its_compensation_has_no_effect() -> anyhow::Result<()> {
    let stage = Stage::start(JournalKind::Sqlite).await?;
    let key = "late";
    // The act never reaches the bank; its attempts are used up, and it is made good unheard.
    stage.world.banks[0].proxy.set(Fault::Cut);
    let retry = json!({"retry": {"pause_ms": 10, "attempts": 2}});
    let steps = json!([{"name": "one", "action": Stage::bank(key, "bank-a", "enter", 1, retry)}]);
    let begun = stage.submit(key, steps, "accepted").await?;
    stage
        .until(key, "it has turned back", |status| {
            status["outcome"] == "aborted"
        })
        .await?;
    stage.world.banks[0].proxy.set(Fault::None);
    let status = stage
        .until(key, "it has ended", |status| status["state"] == "closed")
        .await?;
    ensure!(status["actions"][0]["state"] == "compensated", "{status}");
    // Now it comes.
    let call = json!({"gtid": begun["id"], "branch": 0, "participant": "bank-a", "verb": "act",
        "attempt": 1, "epoch": 1, "deadline": 99_999_999_999_999_u64, "watermark": 0,
        "operation": "enter", "payload": {"transfer": key, "account": 1, "cents": 0}});
    let url = format!("{}/accordant/v1/act", stage.world.banks[0].proxy.url());
    let reply = http::post(&url, call.to_string()).await?;
    ensure!(reply.status == 200, "{}", reply.text);
    let answer = reply.json()?;
    ensure!(answer["answer"]["refused"].is_object(), "{answer}");
    let (ledger, _) = stage.world.banks[0].books().await?;
    ensure!(ledger.is_empty(), "{ledger:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compensation_waits_for_an_act_that_is_still_at_work() -> anyhow::Result<()> {
    let stage = Stage::start(JournalKind::Sqlite).await?;
    let key = "slow";
    let slow = json!({"timeout_ms": 200, "retry": {"pause_ms": 10, "attempts": 1},
        "payload": {"transfer": key, "account": 1, "cents": 0, "hold_ms": 1500}});
    let steps = json!([{"name": "one", "action": Stage::bank(key, "bank-a", "enter", 1, slow)}]);
    let status = stage.play(key, steps).await?;
    ensure!(outcome(&status) == ("aborted", "closed"), "{status}");
    // The act was given up, or has taken effect and was made good: never the one without the other.
    tokio::time::sleep(Duration::from_millis(1600)).await;
    let (ledger, _) = stage.world.banks[0].books().await?;
    let sum: i64 = ledger.iter().map(|(_, entry)| entry.cents).sum();
    ensure!(sum == 0 && ledger.len() % 2 == 0, "{ledger:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_progress_is_asked_again_or_calls_back() -> anyhow::Result<()> {
    let stage = Stage::start(JournalKind::Sqlite).await?;
    let asked = "asked";
    let steps = json!([{"name": "one", "action": Stage::plain(asked, "one", "busy-2", "done")}]);
    let status = stage.play(asked, steps).await?;
    ensure!(status["outcome"] == "committed", "{status}");
    ensure!(stage.desk.called(asked, "one", "act") == 3, "asked thrice");
    let key = "called-back";
    let mut slow = Stage::plain(key, "one", "busy-1000000", "done");
    slow["retry"] = json!({"pause_ms": 1000, "pause_ms_max": 60_000});
    let second = Stage::plain(key, "two", "done", "done");
    let steps = json!([
        {"name": "one", "action": slow},
        {"name": "two", "after": ["one"], "action": second},
    ]);
    let begun = stage.submit(key, steps, "accepted").await?;
    stage
        .world
        .until(
            "the service has been asked",
            Duration::from_secs(5),
            async |_| Ok(stage.desk.called(key, "one", "act") > 0),
        )
        .await?;
    let id = begun["id"].as_str().context("an id")?;
    let url = format!("{}/v1/transactions/{id}/actions/0", stage.world.url());
    let body = json!({"verb": "act", "answer": {"done": {"result": {"id": 9}}}}).to_string();
    let wrong = json!({"verb": "compensate", "answer": {"done": {}}}).to_string();
    ensure!(
        http::post(&url, wrong).await?.status == 409,
        "it was told to act"
    );
    let mut heard = http::post(&url, body.clone()).await?;
    // The answer to the call itself may still be under way.
    for _ in 0..50 {
        if heard.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        heard = http::post(&url, body.clone()).await?;
    }
    ensure!(heard.status == 200, "{} {}", heard.status, heard.text);
    let status = stage
        .until(key, "it has ended", |status| status["state"] == "closed")
        .await?;
    ensure!(status["outcome"] == "committed", "{status}");
    ensure!(status["actions"][0]["result"]["id"] == 9, "{status}");
    let again = http::post(&url, body).await?;
    ensure!(
        again.status == 200,
        "a repeat: {} {}",
        again.status,
        again.text
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_outlasts_its_target_and_the_coordinator() -> anyhow::Result<()> {
    let mut stage = Stage::start(JournalKind::Sqlite).await?;
    let key = "posted";
    stage.desk.close();
    let note = Stage::bank(key, "bank-a", "note", 5, json!({}));
    let note = json!({"participant": note["participant"], "operation": note["operation"],
        "payload": note["payload"]});
    let path = Stage::path(key, "tell", "act", "done");
    let desk = json!({"participant": "desk", "act": {"path": path},
        "retry": {"pause_ms": 20, "pause_ms_max": 100}});
    let steps = json!([{"name": "tell", "message": {"delay_ms": 300, "to": [desk, note]}}]);
    let status = stage.submit(key, steps, "decided").await?;
    ensure!(
        status["outcome"] == "committed",
        "decided by being accepted: {status}"
    );
    stage.world.restart().await?;
    stage
        .until(key, "the bank has it", |status| {
            status["actions"][1]["state"] == "done"
        })
        .await?;
    stage.world.restart().await?;
    stage.desk.open().await?;
    stage
        .until(key, "it has ended", |status| status["state"] == "closed")
        .await?;
    ensure!(
        stage.desk.executed(key, "tell", "act") == 1,
        "delivered once"
    );
    let (ledger, _) = stage.world.banks[0].books().await?;
    ensure!(ledger.len() == 1, "{ledger:?}");
    Ok(())
}

/// Plans that cannot be, each with the path of its fault.
fn bad_plans() -> anyhow::Result<Vec<(Value, &'static str)>> {
    let plain = |step: &str| Stage::plain("none", step, "done", "done");
    let mut bare = plain("a");
    let bare_map = bare.as_object_mut().context("an object")?;
    bare_map.remove("compensate");
    bare_map.remove("compensate_retry");
    let mut refers = plain("a");
    refers["act"]["body"] = json!({"$result": "b#/id"});
    let pivot = json!({"participant": "bank-a", "operation": "note"});
    let unknown = json!({"participant": "nobody", "operation": "note"});
    let group = json!({"branches": [
        {"name": "x", "participant": "bank-a", "operation": "debit"}]});
    let other = json!({"branches": [
        {"name": "y", "participant": "bank-a", "operation": "debit"}]});
    Ok(vec![
        (
            json!([{"name": "a", "after": ["b"], "action": plain("a")},
                {"name": "b", "after": ["a"], "action": plain("b")}]),
            "steps[0].after",
        ),
        (
            json!([{"name": "a", "after": ["z"], "action": plain("a")}]),
            "steps[0].after[0]",
        ),
        (
            json!([{"name": "p", "class": "pivot", "action": pivot},
                {"name": "a", "action": plain("a")}]),
            "steps[1].class",
        ),
        (
            json!([{"name": "p", "class": "pivot", "action": pivot},
                {"name": "q", "class": "pivot", "after": ["p"], "action": pivot}]),
            "steps[1].class",
        ),
        (
            json!([{"name": "g", "group": group}, {"name": "h", "after": ["g"], "group": other}]),
            "steps[1].group",
        ),
        (
            json!([{"name": "a", "action": refers}, {"name": "b", "action": plain("b")}]),
            "steps[0].action.act.body",
        ),
        (
            json!([{"name": "a", "action": bare}]),
            "steps[0].action.compensate",
        ),
        (
            json!([{"name": "a", "action": unknown}]),
            "steps[0].action.participant",
        ),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_that_cannot_be_are_refused_with_the_path_of_the_fault() -> anyhow::Result<()> {
    let stage = Stage::start(JournalKind::Sqlite).await?;
    for (steps, path) in bad_plans()? {
        let reply = stage
            .traveller
            .ask("none", steps.clone(), "accepted")
            .await?;
        ensure!(
            reply.status == 422,
            "{steps}: {} {}",
            reply.status,
            reply.text
        );
        let problem = reply.json()?;
        let faults = problem["errors"].as_array().context("faults")?;
        let named = faults.iter().any(|fault| fault["path"] == path);
        ensure!(named, "{steps}: {problem}");
    }
    let key = "none".parse()?;
    let client = Client::new(&stage.world.url())?;
    ensure!(
        client.status_by_key(&key).await.is_err(),
        "nothing was begun"
    );
    Ok(())
}
