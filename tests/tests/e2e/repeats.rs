//! Calls and requests that come twice, late, or after the end.

use accordant_client::{BranchState, Gtid, IdempotencyKey, SubmitError, Wait};
use accordant_protocol::id::{Attempt, BranchIndex, Epoch};
use accordant_protocol::json::Json;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::contract::{
    BranchEnd, FINISH_PATH, FinishCall, FinishOrder, FinishReply, FinishVerb, PREPARE_PATH,
    PrepareCall, PrepareReply, Vote,
};
use anyhow::{Context as _, bail, ensure};

use crate::bank::{Bank, BankOptions};
use crate::http;
use crate::oracle::Told;
use crate::relay::Mode;
use crate::teller::{Form, Transfer};
use crate::world::{JournalKind, World};

/// The coordinator's call for the debit of a transfer, once more.
fn prepare_call(
    transfer: &Transfer,
    id: Gtid,
    bank: &Bank,
    attempt: u32,
) -> anyhow::Result<PrepareCall> {
    let payload = serde_json::json!({
        "transfer": transfer.key, "account": transfer.debtor, "cents": transfer.cents,
    });
    Ok(PrepareCall {
        gtid: id,
        branch: BranchIndex(0),
        participant: bank.name.parse()?,
        attempt: Attempt(attempt),
        epoch: Epoch(1),
        deadline: Timestamp::from_millis(id.minted().as_millis() + 600_000),
        watermark: Timestamp::from_millis(0),
        one_phase: false,
        mode: accordant_protocol::plan::Mode::TwoPhase,
        operation: "debit".parse()?,
        payload: Json::from_value(&payload)?,
    })
}

async fn prepare(bank: &Bank, call: &PrepareCall) -> anyhow::Result<Vote> {
    let url = format!("{}{PREPARE_PATH}", bank.place.url());
    let reply = http::post(&url, serde_json::to_string(call)?).await?;
    let read: PrepareReply =
        serde_json::from_str(&reply.text).with_context(|| reply.text.clone())?;
    Ok(read.vote)
}

async fn finish(bank: &Bank, id: Gtid, verb: FinishVerb) -> anyhow::Result<BranchEnd> {
    let order = FinishOrder {
        gtid: id,
        branch: BranchIndex(0),
        verb,
        attempt: Attempt(99),
        epoch: Epoch(1),
        watermark: Timestamp::from_millis(0),
        want_result: false,
        work: None,
    };
    let call = FinishCall { participant: bank.name.parse()?, orders: vec![order] };
    let url = format!("{}{FINISH_PATH}", bank.place.url());
    let reply = http::post(&url, serde_json::to_string(&call)?).await?;
    let read: FinishReply =
        serde_json::from_str(&reply.text).with_context(|| reply.text.clone())?;
    let answer = read.answers.into_iter().next().context("no answer")?;
    Ok(answer.end)
}

async fn id_of(world: &World, transfer: &Transfer) -> anyhow::Result<Gtid> {
    let key = IdempotencyKey::new(&transfer.key)?;
    Ok(world.teller.client().status_by_key(&key).await?.id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_calls_change_nothing_after_the_end() -> anyhow::Result<()> {
    let world = World::start(JournalKind::Sqlite).await?;
    for form in [Form::Refused, Form::Across] {
        let transfer = world.teller.next(form);
        let told = world.teller.submit(&transfer, Wait::Completed).await?;
        let id = id_of(&world, &transfer).await?;
        let bank = world
            .banks
            .get(transfer.from)
            .context("there are two banks")?;
        for round in 0..2 {
            let call = prepare_call(&transfer, id, bank, 7 + round)?;
            let vote = prepare(bank, &call).await?;
            let commit = finish(bank, id, FinishVerb::Commit).await?;
            let abort = finish(bank, id, FinishVerb::Abort).await?;
            println!("after {told:?}: prepare {vote:?}, commit {commit:?}, abort {abort:?}");
            match told {
                Told::Aborted => {
                    ensure!(matches!(vote, Vote::No { .. }), "late prepare: {vote:?}");
                    ensure!(commit == BranchEnd::Aborted && abort == BranchEnd::Aborted);
                }
                Told::Committed => {
                    ensure!(
                        matches!(vote, Vote::Committed { .. }),
                        "late prepare: {vote:?}"
                    );
                    ensure!(matches!(commit, BranchEnd::Committed { .. }), "{commit:?}");
                    ensure!(matches!(abort, BranchEnd::Committed { .. }), "{abort:?}");
                }
                Told::Unknown | Told::NotBegun | Told::Heuristic => {
                    bail!("{form:?} ended as {told:?}")
                }
            }
            ensure!(
                bank.prepared().await?.is_empty(),
                "a late call has prepared a branch"
            );
        }
    }
    world.audit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_attempt_finds_what_the_first_has_prepared() -> anyhow::Result<()> {
    let world = World::start(JournalKind::Sqlite).await?;
    let teller = world.teller.clone();
    let mut transfer = teller.next(Form::Across);
    transfer.hold_ms = 1_000;
    let asked = transfer.clone();
    let client = tokio::spawn(async move { teller.submit(&asked, Wait::Completed).await });
    world
        .until_branch(&transfer.key, "debit", BranchState::Prepared)
        .await?;
    let id = id_of(&world, &transfer).await?;
    let bank = world
        .banks
        .get(transfer.from)
        .context("there are two banks")?;
    for attempt in 2..5 {
        let vote = prepare(bank, &prepare_call(&transfer, id, bank, attempt)?).await?;
        ensure!(
            matches!(vote, Vote::Yes { .. }),
            "attempt {attempt}: {vote:?}"
        );
        ensure!(
            bank.prepared().await?.len() == 1,
            "attempt {attempt} has prepared again"
        );
    }
    let told = client.await??;
    ensure!(told == Told::Committed, "{told:?}");
    world.audit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_may_come_twice() -> anyhow::Result<()> {
    let world = World::with(
        JournalKind::Sqlite,
        BankOptions { relayed: true, ..BankOptions::default() },
    )
    .await?;
    for bank in &world.banks {
        bank.relay.set(Mode::Twice);
    }
    for _ in 0..5 {
        world.teller.some().await?;
    }
    let settled = world.settle().await?;
    let calls: usize = world.banks.iter().map(|bank| bank.relay.doubled()).sum();
    println!(
        "{calls} calls came twice; settled in {} ms",
        settled.as_millis()
    );
    ensure!(calls > 40, "only {calls} calls were doubled");
    let before = world.teller.oracle.tally();
    ensure!(
        before.committed >= 20,
        "without faults, all yes means commit: {before:?}"
    );
    world.audit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn same_key_finds_the_first_after_a_crash_and_another_body_is_refused() -> anyhow::Result<()>
{
    let mut world = World::start(JournalKind::Sqlite).await?;
    for point in [
        "coordinator.begun.appended",
        "coordinator.begun.durable",
        "coordinator.decision.durable",
        "coordinator.reply.sending",
        "coordinator.closed.durable",
    ] {
        world.restart_to_die_at(point).await?;
        let transfer = world.teller.next(Form::Across);
        let first = world.teller.submit(&transfer, Wait::Decided).await?;
        crate::world::died(&mut world.coordinator, 9).await?;
        world.restart().await?;
        let second = world.teller.submit(&transfer, Wait::Completed).await?;
        let id = id_of(&world, &transfer).await?;
        world.restart().await?;
        let third = world.teller.submit(&transfer, Wait::Completed).await?;
        println!("{point}: told {first:?}, then {second:?} and {third:?}");
        ensure!(
            matches!(second, Told::Committed | Told::Aborted),
            "{second:?}"
        );
        ensure!(second == third, "{second:?} became {third:?}");
        ensure!(id == id_of(&world, &transfer).await?, "the id has changed");
        let another = Transfer { cents: transfer.cents + 1, ..transfer.clone() };
        let key = IdempotencyKey::new(&transfer.key)?;
        let refused = world
            .teller
            .client()
            .submit(&key, &another.transaction(Wait::Decided)?)
            .await;
        ensure!(
            matches!(refused, Err(SubmitError::KeyReused { .. })),
            "{refused:?}"
        );
    }
    world.audit().await
}
