//! Actions that went on elsewhere: what they came to is settled here before anyone is told.

use std::sync::Arc;
use std::time::Duration;

use accordant_participant::protocol::id::{BranchIndex, Gtid};
use accordant_participant::protocol::json::Json;
use accordant_participant::protocol::wire::contract::ActVerb::{Act, Compensate};
use accordant_participant::protocol::wire::contract::{ActAnswer, Refusal};
use accordant_participant::{Branch, CallBackError, Participant, Refusal as No, SettleError};
use serde_json::json;
use sqlx::Connection as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::stub::Stub;
use crate::support::{
    Bank, COMMITTED, act, act_call, bank, commit, debit_call, fresh, is_done, is_refused, is_yes,
    prepare, spend, until,
};

const BRANCH: BranchIndex = BranchIndex(0);

async fn started() -> (Bank, Stub, Participant) {
    let (bank, stub) = (bank().await, Stub::start().await);
    let builder = bank.builder().coordinator(stub.url());
    let participant = builder.connect().await.unwrap();
    (bank, stub, participant)
}

fn done(result: i64) -> ActAnswer {
    ActAnswer::Done { result: Some(Json::from_value(&result).unwrap()) }
}

fn refused() -> ActAnswer {
    ActAnswer::Refused { refusal: Refusal::new("full", "no room") }
}

async fn settle(bank: &Bank, participant: &Participant, gtid: Gtid, answer: ActAnswer) {
    let mut service = bank.admin().await;
    let mut local = service.begin().await.unwrap();
    let settled = participant.settle(&mut local, gtid, BRANCH, Act, &answer);
    settled.await.unwrap();
    local.commit().await.unwrap();
}

#[tokio::test]
async fn coordinator_is_told_what_was_settled_here_first() {
    let (bank, stub, participant) = started().await;
    let gtid = fresh();
    for _ in 0..2 {
        let told = participant.call_back(gtid, BRANCH, Act, &done(5)).await;
        told.unwrap();
        let seen = stub.take().remove(0);
        assert_eq!(seen.path, format!("/v1/transactions/{gtid}/actions/0"));
        let body = json!({"verb": "act", "answer": {"done": {"result": 5}}});
        assert_eq!(seen.body(), body);
    }
    // The act is not run any more, and a compensation finds it.
    is_done(&act(&participant, &spend(gtid, Act, 30)).await, Some("5"));
    assert_eq!(bank.cents().await, 100);
    let undone = act(&participant, &spend(gtid, Compensate, 30)).await;
    is_done(&undone, Some("5"));
    assert_eq!(bank.cents().await, 130);
}

#[tokio::test]
async fn end_that_comes_after_the_compensation_is_the_services_own_to_give_up() {
    let (_bank, stub, participant) = started().await;
    let gtid = fresh();
    is_done(&act(&participant, &spend(gtid, Compensate, 30)).await, None);
    let late = participant.call_back(gtid, BRANCH, Act, &done(5)).await;
    let late = late.unwrap_err();
    assert!(
        matches!(late, CallBackError::Settle(SettleError::Otherwise { .. })),
        "{late}"
    );
    assert!(stub.take().is_empty(), "nobody was told");
    // That it came to nothing is true all the same.
    let told = participant.call_back(gtid, BRANCH, Act, &refused()).await;
    told.unwrap();
}

#[tokio::test]
async fn refusal_that_is_settled_keeps_the_act_out() {
    let (bank, _stub, participant) = started().await;
    let gtid = fresh();
    settle(&bank, &participant, gtid, refused()).await;
    is_refused(&act(&participant, &spend(gtid, Act, 30)).await, "full");
    assert_eq!(bank.cents().await, 100);
    let mut service = bank.admin().await;
    let answer = done(1);
    let late = participant.settle(&mut service, gtid, BRANCH, Act, &answer);
    let late = late.await.unwrap_err();
    assert!(matches!(late, SettleError::Otherwise { .. }), "{late}");
}

#[tokio::test]
async fn compensation_is_settled_only_for_an_act_that_is_done() {
    let (bank, _stub, participant) = started().await;
    let gtid = fresh();
    let never = participant
        .call_back(gtid, BRANCH, Compensate, &done(1))
        .await;
    let never = never.unwrap_err().to_string();
    assert!(never.contains("could not be settled"), "{never}");
    assert!(bank.rows(gtid).await.is_empty());
    settle(&bank, &participant, gtid, done(5)).await;
    let told = participant
        .call_back(gtid, BRANCH, Compensate, &done(1))
        .await;
    told.unwrap();
    let undone = act(&participant, &spend(gtid, Compensate, 30)).await;
    is_done(&undone, Some("1"));
    assert_eq!(bank.cents().await, 100);
}

#[tokio::test]
async fn end_is_as_durable_as_the_services_transaction() {
    let (bank, _stub, participant) = started().await;
    let gtid = fresh();
    let mut service = bank.admin().await;
    let mut local = service.begin().await.unwrap();
    let answer = done(5);
    let settled = participant.settle(&mut local, gtid, BRANCH, Act, &answer);
    settled.await.unwrap();
    local.rollback().await.unwrap();
    assert!(bank.rows(gtid).await.is_empty());
    is_done(&act(&participant, &spend(gtid, Act, 30)).await, Some("70"));
}

#[tokio::test]
async fn coordinator_that_is_away_asks_by_itself_later() {
    let (bank, mut stub, participant) = started().await;
    let gtid = fresh();
    stub.leave().await;
    let lost = participant.call_back(gtid, BRANCH, Act, &done(5)).await;
    let lost = lost.unwrap_err();
    assert!(matches!(lost, CallBackError::Unanswered(_)), "{lost}");
    is_done(&act(&participant, &spend(gtid, Act, 30)).await, Some("5"));
    stub.come_back().await;
    for (status, is_final) in [
        (503, false),
        (429, false),
        (404, true),
        (410, true),
        (422, true),
    ] {
        // Without a problem of a coordinator's it may be anybody.
        stub.answer(move |_| (status, "<html>no</html>".to_owned()));
        let told = participant.call_back(gtid, BRANCH, Act, &done(5)).await;
        let told = told.unwrap_err();
        assert!(matches!(told, CallBackError::Unanswered(_)), "{told}");
        let problem = json!({"code": "out_of_place", "detail": "no"}).to_string();
        stub.answer(move |_| (status, problem.clone()));
        let told = participant.call_back(gtid, BRANCH, Act, &done(5)).await;
        let told = told.unwrap_err();
        assert_eq!(
            matches!(told, CallBackError::Refused(_)),
            is_final,
            "{told}"
        );
    }
    let without = bank.participant().await;
    let told = without.call_back(gtid, BRANCH, Act, &done(5)).await;
    assert!(matches!(told, Err(CallBackError::NoCoordinator)));
}

#[tokio::test]
async fn what_is_no_end_is_not_settled() {
    let (bank, _stub, participant) = started().await;
    let large = "x".repeat(16 * 1024);
    let large = ActAnswer::Done { result: Some(Json::from_value(&large).unwrap()) };
    let gtid = fresh();
    for answer in [
        ActAnswer::InProgress { retry_after_ms: None },
        ActAnswer::RetryLater { reason: String::new() },
        large,
    ] {
        let told = participant.call_back(gtid, BRANCH, Act, &answer).await;
        assert!(matches!(told, Err(CallBackError::Settle(_))), "{told:?}");
    }
    assert!(bank.rows(gtid).await.is_empty());
}

/// Lets handlers stop in the middle until a test lets them go on.
struct Gate {
    arrived: Semaphore,
    go_on: Semaphore,
}

/// Holds its barrier, and no other lock.
async fn gated(branch: &mut Branch, (): ()) -> Result<i64, No> {
    let gate = branch.state::<Arc<Gate>>()?;
    gate.arrived.add_permits(1);
    gate.go_on.acquire().await.unwrap().forget();
    Ok(5)
}

/// A participant at which so many acts are at work, by their gtids.
async fn with_acts_at_work(
    bank: &Bank,
    stub: &Stub,
    count: u32,
    lock_timeout: Duration,
) -> (Participant, Arc<Gate>, Vec<Gtid>, JoinSet<ActAnswer>) {
    let gate = Arc::new(Gate { arrived: Semaphore::new(0), go_on: Semaphore::new(0) });
    let builder = bank.builder().coordinator(stub.url());
    let builder = builder.state(Arc::clone(&gate)).pivot("gated", gated);
    let builder = builder.lock_timeout(lock_timeout).connections_max(16);
    let participant = builder.connect().await.unwrap();
    let (mut gtids, mut acts) = (Vec::new(), JoinSet::new());
    for _ in 0..count {
        let (participant, gtid) = (participant.clone(), fresh());
        gtids.push(gtid);
        acts.spawn(async move {
            let call = act_call(gtid, Act, "gated", json!(null));
            act(&participant, &call).await
        });
    }
    gate.arrived.acquire_many(count).await.unwrap().forget();
    (participant, gate, gtids, acts)
}

/// Calls back until it succeeds, as a service is told to.
async fn call_back_until_heard(participant: Participant, gtid: Gtid) {
    loop {
        match participant.call_back(gtid, BRANCH, Act, &done(5)).await {
            Ok(()) => return,
            Err(CallBackError::AtWork | CallBackError::Busy) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn phase_two_goes_on_while_any_number_of_call_backs_wait_for_acts_at_work() {
    let (bank, stub) = (bank().await, Stub::start().await);
    let wait = Duration::from_secs(2);
    let (participant, gate, gtids, mut acts) = with_acts_at_work(&bank, &stub, 8, wait).await;
    let (prepared, mut call_backs) = (fresh(), JoinSet::new());
    is_yes(&prepare(&participant, &debit_call(prepared, 30)).await);
    for gtid in gtids.iter().cycle().take(40) {
        call_backs.spawn(call_back_until_heard(participant.clone(), *gtid));
    }
    until("call-backs wait for acts", || async {
        bank.waiting_for_locks().await >= 8
    })
    .await;
    assert_eq!(commit(&participant, prepared).await, COMMITTED);
    assert_eq!(bank.cents().await, 70);
    assert!(
        call_backs.try_join_next().is_none(),
        "each waits, or asks again"
    );
    gate.go_on.add_permits(8);
    while let Some(answer) = acts.join_next().await {
        is_done(&answer.unwrap(), Some("5"));
    }
    while let Some(heard) = call_backs.join_next().await {
        heard.unwrap();
    }
    let told = stub.take().into_iter().map(|seen| seen.path);
    assert_eq!(told.count(), 40);
}

#[tokio::test]
async fn call_back_that_meets_an_act_at_work_is_told_so_and_leaves_no_session_waiting() {
    let (bank, stub) = (bank().await, Stub::start().await);
    let wait = Duration::from_millis(50);
    let (participant, gate, gtids, mut acts) = with_acts_at_work(&bank, &stub, 1, wait).await;
    for _ in 0..3 {
        let told = participant.call_back(gtids[0], BRANCH, Act, &done(5)).await;
        let told = told.unwrap_err();
        assert!(matches!(told, CallBackError::AtWork), "{told}");
        assert_eq!(bank.waiting_for_locks().await, 0);
        assert_eq!(bank.open_transactions().await, 1, "that of the act");
    }
    assert!(stub.take().is_empty(), "nobody was told");
    gate.go_on.add_permits(1);
    is_done(&acts.join_next().await.unwrap().unwrap(), Some("5"));
    let told = participant.call_back(gtids[0], BRANCH, Act, &done(5)).await;
    told.unwrap();
}
