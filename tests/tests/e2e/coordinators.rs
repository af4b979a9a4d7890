//! Two coordinators on one journal, and one that is told to end.

use std::time::Duration;

use accordant_client::{BranchState, Wait};
use accordant_testbed::postgres::Postgres;
use accordant_testbed::{Fault, Process, ProcessError, port};
use anyhow::{Context as _, bail, ensure};

use crate::crash_points::Clients;
use crate::http;
use crate::oracle::Told;
use crate::teller::Form;
use crate::world::{JournalKind, World, coordinator};

/// A freeze of a process and its end.
pub(crate) const STOP: i32 = 19;
pub(crate) const CONTINUE: i32 = 18;

pub(crate) fn signal(process: &Process, number: i32) -> anyhow::Result<()> {
    let signal = rustix::process::Signal::from_named_raw(number).context("a signal")?;
    Ok(process.signal(signal)?)
}

fn second(world: &World, journal: &str, place: port::Place) -> accordant_testbed::Role {
    coordinator(
        "second",
        place,
        journal,
        &world.banks,
        world.directory.path(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_coordinator_on_a_sqlite_file_is_refused() -> anyhow::Result<()> {
    let world = World::start(JournalKind::Sqlite).await?;
    let journal = format!(
        "sqlite:{}",
        world.directory.path().join("journal.db").display()
    );
    let started = Process::start(second(&world, &journal, port::reserve()?)).await;
    let Err(ProcessError::Ended { status, log, .. }) = started else {
        bail!("a second coordinator has started");
    };
    println!("{status}: {log}");
    ensure!(
        !status.success() && log.contains("in use"),
        "{status}: {log}"
    );
    // The first is none the worse for it.
    world.teller.some().await?;
    world.settle().await?;
    world.audit().await
}

/// The second takes the first one's place in the world.
fn change_places(
    world: &mut World,
    second: Process,
    place: port::Place,
) -> anyhow::Result<Process> {
    world.teller = world.teller.at(&place.url())?;
    world.place = place;
    Ok(std::mem::replace(&mut world.coordinator, second))
}

pub(crate) async fn is_ready(place: port::Place) -> anyhow::Result<bool> {
    Ok(http::get(&format!("{}/readyz", place.url())).await?.status == 200)
}

pub(crate) fn journal_of(world: &World) -> anyhow::Result<String> {
    Ok(world.journal.as_ref().context("a server")?.url("journal"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_coordinator_takes_over_from_a_killed_one() -> anyhow::Result<()> {
    let mut world = World::start(JournalKind::Postgres).await?;
    let place = port::reserve()?;
    let other = Process::start(second(&world, &journal_of(&world)?, place)).await?;
    ensure!(
        !is_ready(place).await?,
        "the second is ready beside the first"
    );
    // One is decided and in doubt at bank-b.
    let teller = world.teller.clone();
    let mut transfer = teller.next(Form::Across);
    (transfer.from, transfer.to, transfer.hold_ms) = (1, 0, 400);
    let key = transfer.key.clone();
    let client = tokio::spawn(async move { teller.submit(&transfer, Wait::Decided).await });
    world
        .until_branch(&key, "debit", BranchState::Prepared)
        .await?;
    world.banks[1].proxy.set(Fault::Cut);
    ensure!(client.await?? == Told::Committed, "both voted yes");
    world.banks[1].proxy.set(Fault::None);
    let clients = Clients::start(&world);
    world
        .until(
            "branches are prepared",
            Duration::from_secs(10),
            async |world| Ok(world.prepared().await?.iter().sum::<usize>() > 2),
        )
        .await?;
    let killed = tokio::time::Instant::now();
    world.coordinator.kill()?;
    clients.end().await?;
    let prepared = world.prepared().await?;
    let mut first = change_places(&mut world, other, place)?;
    world.until_ready().await?;
    let taken = killed.elapsed();
    let settled = world.settle().await?;
    println!("{prepared:?} in doubt; taken over {taken:?} after the kill, settled in {settled:?}");
    world.audit().await?;
    // The first comes back and waits in its turn.
    first.start_again().await?;
    let fresh = world.teller.transfer(Form::Across).await?;
    ensure!(fresh == Told::Committed, "{fresh:?}");
    world.audit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_coordinator_changes_nothing_after_the_take_over() -> anyhow::Result<()> {
    let mut world = World::start(JournalKind::Postgres).await?;
    for round in 0..2 {
        let place = port::reserve()?;
        let name = if round == 0 { "second" } else { "third" };
        let journal = journal_of(&world)?;
        let role = coordinator(name, place, &journal, &world.banks, world.directory.path());
        let other = Process::start(role).await?;
        let clients: Vec<_> = (0..3).map(|_| Clients::start(&world)).collect();
        world
            .until(
                "branches are prepared",
                Duration::from_secs(10),
                async |world| Ok(world.prepared().await?.iter().sum::<usize>() > 2),
            )
            .await?;
        signal(&world.coordinator, STOP)?;
        let prepared = world.prepared().await?;
        let teller = world.teller.clone();
        let first = change_places(&mut world, other, place)?;
        world.until_ready().await?;
        let taken = world.settle().await?;
        // Money moves at the second while the first wakes up and goes on where it was.
        let others = Clients::start(&world);
        signal(&first, CONTINUE)?;
        for client in clients {
            client.end().await?;
        }
        others.end().await?;
        let settled = world.settle().await?;
        println!(
            "round {round}: {prepared:?} in doubt at the pause; settled at the next in {taken:?}, \
             and again in {settled:?} after the sleeper woke"
        );
        // The sleeper does not answer for what it has lost.
        let stale = teller.transfer(Form::Across).await?;
        ensure!(
            matches!(stale, Told::NotBegun),
            "the sleeper answered {stale:?}"
        );
        world.audit().await?;
        drop(first);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinator_told_to_end_leaves_nothing_in_doubt() -> anyhow::Result<()> {
    for journal in [JournalKind::Sqlite, JournalKind::Postgres] {
        let mut world = World::start(journal).await?;
        for round in 0..2 {
            let clients: Vec<_> = (0..3).map(|_| Clients::start(&world)).collect();
            world
                .until(
                    "branches are prepared",
                    Duration::from_secs(10),
                    async |world| Ok(world.prepared().await?.iter().sum::<usize>() > 2),
                )
                .await?;
            let under_way = world.prepared().await?;
            let told = tokio::time::Instant::now();
            let ended = world.coordinator.stop(Duration::from_secs(25)).await?;
            let took = told.elapsed();
            let ended = ended.context("it ran")?;
            let left = world.prepared().await?;
            for client in clients {
                client.end().await?;
            }
            println!(
                "{journal:?}, round {round}: {under_way:?} were prepared; {ended} after {took:?}, left \
                 {left:?}"
            );
            ensure!(ended.success(), "it ended with {ended}\n{}", world.logs());
            ensure!(left == [0, 0], "it left {left:?} in doubt");
            world.restart().await?;
            world.audit().await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_of_the_journal_may_die_under_load() -> anyhow::Result<()> {
    async fn stop(server: &Postgres, round: usize) -> anyhow::Result<()> {
        if round.is_multiple_of(2) {
            server.kill().await?;
        } else {
            server.stop_immediate().await?;
        }
        Ok(())
    }
    let mut world = World::start(JournalKind::Postgres).await?;
    for round in 0..4 {
        let clients: Vec<_> = (0..3).map(|_| Clients::start(&world)).collect();
        world
            .until(
                "branches are prepared",
                Duration::from_secs(10),
                async |world| Ok(world.prepared().await?.iter().sum::<usize>() > 2),
            )
            .await?;
        let server = world.journal.as_ref().context("a server")?;
        stop(server, round).await?;
        let prepared = world.prepared().await?;
        world
            .until(
                "the coordinator is not ready",
                Duration::from_secs(10),
                async |world| Ok(!world.coordinator_answers_ready().await),
            )
            .await?;
        let server = world.journal.as_ref().context("a server")?;
        server.start_again().await?;
        for client in clients {
            client.end().await?;
        }
        world.heal().await?;
        let settled = world.settle().await?;
        println!("round {round}: {prepared:?} in doubt; settled in {settled:?}");
        world.audit().await?;
    }
    Ok(())
}
