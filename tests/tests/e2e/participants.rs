//! A participant that is down, slow, talks rubbish, is not heard, or is not who it was.

use std::time::Duration;

use accordant_client::{
    AbortReason, BranchState, IdempotencyKey, Outcome, Status, SubmitError, Wait,
};
use accordant_testbed::Fault;
use anyhow::{Context as _, bail, ensure};

use crate::bank::{self, BankOptions};
use crate::http;
use crate::oracle::Told;
use crate::relay::Mode;
use crate::teller::{Form, Transfer};
use crate::world::{JournalKind, World};

/// A transfer from bank-b to bank-a, whose branch at bank-b works at once.
fn from_b(world: &World, hold_ms: i64) -> Transfer {
    let transfer = world.teller.next(Form::Across);
    Transfer { from: 1, to: 0, hold_ms, ..transfer }
}

async fn status(world: &World, transfer: &Transfer) -> anyhow::Result<Status> {
    let key = IdempotencyKey::new(&transfer.key)?;
    Ok(world.teller.client().status_by_key(&key).await?)
}

/// A world whose banks can be made to talk rubbish.
async fn relayed() -> anyhow::Result<World> {
    let options = BankOptions { relayed: true, ..BankOptions::default() };
    World::with(JournalKind::Sqlite, options).await
}

/// The operators' listing names the participant, and the transaction as in doubt.
async fn named_in_doubt(world: &World, transfer: &Transfer) -> anyhow::Result<()> {
    let listed = world.in_doubt().await?;
    let transactions = listed
        .get("transactions")
        .and_then(serde_json::Value::as_array)
        .context("a list")?;
    let found = transactions
        .iter()
        .find(|it| it["idempotency_key"] == transfer.key.as_str());
    let found = found.with_context(|| format!("{} is not listed: {listed}", transfer.key))?;
    let branches = found["branches"].as_array().context("branches")?;
    let branch = branches
        .iter()
        .find(|branch| branch["participant"] == "bank-b")
        .context("bank-b is named")?;
    ensure!(branch["state"] == "committing", "{branch}");
    println!("  in doubt at bank-b: {}", branch["last_error"]);
    ensure!(
        branch["last_error"].is_string(),
        "no cause is given: {branch}"
    );
    world
        .until(
            "the metrics name bank-b",
            Duration::from_secs(6),
            async |world| {
                let metrics = world.metrics().await?;
                Ok(metrics.lines().any(|line| {
                    line.starts_with("accordant_in_doubt{")
                        && line.contains("participant=\"bank-b\"")
                        && !line.ends_with(" 0")
                }))
            },
        )
        .await
}

/// Both have voted, and the decision is commit; bank-b does not hear of it because of `fault`.
async fn decided_and_not_heard(
    world: &mut World,
    fault: impl FnOnce(&mut World) -> anyhow::Result<()>,
) -> anyhow::Result<Transfer> {
    let transfer = from_b(world, 500);
    let (teller, asked) = (world.teller.clone(), transfer.clone());
    let client = tokio::spawn(async move { teller.submit(&asked, Wait::Decided).await });
    world
        .until_branch(&transfer.key, "debit", BranchState::Prepared)
        .await?;
    fault(world)?;
    let told = client.await??;
    ensure!(told == Told::Committed, "both voted yes: {told:?}");
    world
        .until(
            "a call to bank-b has failed",
            Duration::from_secs(8),
            async |world| {
                let status = status(world, &transfer).await?;
                Ok(status
                    .branch("debit")
                    .is_some_and(|it| it.last_error.is_some()))
            },
        )
        .await?;
    Ok(transfer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participant_that_does_not_answer_is_named_and_ends_once_it_is_back() -> anyhow::Result<()>
{
    let mut world = World::start(JournalKind::Sqlite).await?;
    println!("\nbank-b is killed after its vote");
    let transfer =
        decided_and_not_heard(&mut world, |world| Ok(world.banks[1].process.kill()?)).await?;
    named_in_doubt(&world, &transfer).await?;
    world.heal().await?;
    println!("  settled in {} ms", world.settle().await?.as_millis());

    println!("its replies are lost after its vote");
    let lose = |world: &mut World| {
        world.banks[1].proxy.set(Fault::LoseReplies);
        Ok(())
    };
    let transfer = decided_and_not_heard(&mut world, lose).await?;
    named_in_doubt(&world, &transfer).await?;
    ensure!(
        world.banks[1].prepared().await?.is_empty(),
        "the call had its effect"
    );
    world.heal().await?;
    println!("  settled in {} ms", world.settle().await?.as_millis());
    world.audit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participant_that_answers_rubbish_stays_in_doubt_and_is_named() -> anyhow::Result<()> {
    let mut world = relayed().await?;
    for (status, text) in [
        (200, "hello"),
        (200, "{}"),
        (
            200,
            "{\"identity\":{\"system\":\"1/1\",\"timeline\":1,\"starts\":1},\"answers\":[]}",
        ),
        (204, ""),
        (404, "<html>not here</html>"),
        (500, "{\"answers\":[]}"),
    ] {
        println!("it answers {status} {text:?} after its vote");
        let rubbish = |world: &mut World| {
            world.banks[1].relay.set(Mode::Rubbish(status, text));
            Ok(())
        };
        let transfer = decided_and_not_heard(&mut world, rubbish).await?;
        named_in_doubt(&world, &transfer).await?;
        world.heal().await?;
        println!("  settled in {} ms", world.settle().await?.as_millis());
    }
    world.audit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participant_that_does_not_vote_in_time_is_named_in_the_abort() -> anyhow::Result<()> {
    let mut world = relayed().await?;
    type Break = fn(&mut World) -> anyhow::Result<()>;
    let faults: [(&str, Break); 5] = [
        ("down", |world| Ok(world.banks[1].process.kill()?)),
        ("slow", |world| {
            world.banks[1].proxy.set(Fault::Hold);
            Ok(())
        }),
        ("not heard", |world| {
            world.banks[1].proxy.set(Fault::LoseReplies);
            Ok(())
        }),
        ("talking rubbish", |world| {
            world.banks[1]
                .relay
                .set(Mode::Rubbish(200, "{\"vote\":\"yes\"}"));
            Ok(())
        }),
        ("answering for another attempt", |world| {
            let text = "{\"attempt\":4711,\"identity\":{\"system\":\"1/1\",\"timeline\":1,\
                \"starts\":1},\"vote\":{\"yes\":{}}}";
            world.banks[1].relay.set(Mode::Rubbish(200, text));
            Ok(())
        }),
    ];
    for (name, break_it) in faults {
        break_it(&mut world)?;
        let transfer = Transfer { timeout: Duration::from_secs(1), ..from_b(&world, 0) };
        let told = world.teller.submit(&transfer, Wait::Decided).await?;
        let status = status(&world, &transfer).await?;
        println!("bank-b is {name}: {told:?}, {:?}", status.reason());
        ensure!(told == Told::Aborted, "{name}: {told:?}");
        let Some(AbortReason::DeadlinePassed { branches, .. }) = status.reason() else {
            bail!("{name}: {:?}", status.reason());
        };
        ensure!(
            branches.iter().any(|it| it.as_str() == "debit"),
            "{branches:?}"
        );
        world.heal().await?;
        println!("  settled in {} ms", world.settle().await?.as_millis());
    }
    world.audit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vote_whose_reply_was_lost_is_found_by_the_next_attempt() -> anyhow::Result<()> {
    let world = World::start(JournalKind::Sqlite).await?;
    let transfer = from_b(&world, 0);
    world.banks[1].proxy.set(Fault::LoseReplies);
    let (teller, asked) = (world.teller.clone(), transfer.clone());
    let client = tokio::spawn(async move { teller.submit(&asked, Wait::Completed).await });
    world
        .until(
            "bank-b has prepared",
            Duration::from_secs(8),
            async |world| Ok(world.banks[1].prepared().await?.len() == 1),
        )
        .await?;
    world.banks[1].proxy.set(Fault::None);
    let told = client.await??;
    ensure!(told == Told::Committed, "{told:?}");
    world.audit().await
}

/// Operators see on the page of the participants, and in the metrics, that bank-b is another one.
async fn halted_as_foreign(world: &World) -> anyhow::Result<()> {
    world
        .until(
            "bank-b is halted as foreign",
            Duration::from_secs(10),
            async |world| {
                let url = format!("{}/v1/admin/participants", world.url());
                let listed = http::get(&url).await?.json()?;
                let list = listed.get("participants");
                let list = list.and_then(serde_json::Value::as_array).cloned();
                let listed = list.unwrap_or_default();
                Ok(listed
                    .iter()
                    .any(|it| it["name"] == "bank-b" && it["halted"] == "foreign"))
            },
        )
        .await?;
    world
        .until(
            "the metrics say so",
            Duration::from_secs(6),
            async |world| {
                let metrics = world.metrics().await?;
                let halted = "accordant_participant_halted{participant=\"bank-b\"} 1";
                Ok(metrics.lines().any(|line| line.starts_with(halted)))
            },
        )
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participant_on_another_database_is_halted_until_the_right_one_is_back()
-> anyhow::Result<()> {
    let mut world = World::start(JournalKind::Sqlite).await?;
    let cut = |world: &mut World| {
        world.banks[1].proxy.set(Fault::Cut);
        Ok(())
    };
    let transfer = decided_and_not_heard(&mut world, cut).await?;

    let other = bank::server(64).await?;
    let right = world.banks[1].process.role().arguments.clone();
    let (from, to) = (world.banks[1].server.url("bank"), other.url("bank"));
    world.banks[1].process.kill()?;
    for argument in &mut world.banks[1].process.role_mut().arguments {
        if argument.to_str() == Some(from.as_str()) {
            *argument = to.clone().into();
        }
    }
    world.banks[1].process.start_again().await?;
    world.banks[1].proxy.set(Fault::None);
    halted_as_foreign(&world).await?;
    let doubtful = status(&world, &transfer).await?;
    println!(
        "on another database: {:?}, {:?}",
        doubtful.outcome,
        doubtful.branch("debit")
    );
    ensure!(doubtful.outcome == Outcome::Committed, "{doubtful:?}");
    ensure!(
        doubtful
            .branch("debit")
            .is_some_and(|it| it.state == BranchState::Committing),
        "a stranger's word ended the branch: {doubtful:?}"
    );
    // Nothing new is begun with a stranger.
    let refused = from_b(&world, 0);
    let key = IdempotencyKey::new(&refused.key)?;
    let answer = world
        .teller
        .client()
        .submit(&key, &refused.transaction(Wait::Decided)?)
        .await;
    let Err(SubmitError::Busy { problem, .. }) = answer else {
        bail!("a transaction with a stranger: {answer:?}");
    };
    println!("a new one: {}", problem.detail);
    ensure!(problem.code.as_str() == "participant_halted", "{problem:?}");

    world.banks[1].process.kill()?;
    world.banks[1].process.role_mut().arguments = right;
    world.heal().await?;
    println!(
        "on the right one again: settled in {} ms",
        world.settle().await?.as_millis()
    );
    // What was halted stays so until an operator has looked and starts the coordinator anew.
    world.restart().await?;
    let fresh = world.teller.transfer(Form::Across).await?;
    ensure!(fresh == Told::Committed, "a fresh transfer: {fresh:?}");
    world.audit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_prepared_slot_the_vote_is_a_clear_no() -> anyhow::Result<()> {
    let options = BankOptions { slots: 2, ..BankOptions::default() };
    let world = World::with(JournalKind::Sqlite, options).await?;
    // Two hold both slots of bank-b while their other branches work.
    let mut holders = tokio::task::JoinSet::new();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let (teller, transfer) = (world.teller.clone(), from_b(&world, 2_000));
        keys.push(transfer.key.clone());
        holders.spawn(async move { teller.submit(&transfer, Wait::Decided).await });
    }
    for key in &keys {
        world
            .until_branch(key, "debit", BranchState::Prepared)
            .await?;
    }
    let transfer = from_b(&world, 0);
    let told = world.teller.submit(&transfer, Wait::Decided).await?;
    let refused = status(&world, &transfer).await?;
    println!("no slot is free: {told:?}, {:?}", refused.reason());
    ensure!(told == Told::Aborted, "{told:?}");
    let (branch, refusal) = refused.refusal().context("a refusal")?;
    ensure!(
        branch.as_str() == "debit" && refusal.retryable,
        "{refusal:?}"
    );
    ensure!(refusal.code == "accordant.slots_exhausted", "{refusal:?}");
    while let Some(told) = holders.join_next().await {
        ensure!(told?? == Told::Committed, "one that had a slot");
    }
    let fresh = world
        .teller
        .submit(&from_b(&world, 0), Wait::Completed)
        .await?;
    ensure!(fresh == Told::Committed, "with room again: {fresh:?}");
    world.audit().await
}
