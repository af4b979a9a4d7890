//! Two coordinators on one PostgreSQL journal that change places again and again.

use std::time::Duration;

use accordant_client::Wait;
use accordant_testbed::{Process, port};
use anyhow::ensure;
use sqlx::Connection as _;

use crate::coordinators::{CONTINUE, STOP, is_ready, journal_of, signal};
use crate::oracle::Told;
use crate::teller::{Form, Teller};
use crate::world::{JournalKind, World, coordinator};

/// Moves money, at whichever coordinator takes it, until so many transfers have an outcome.
async fn pay(tellers: [Teller; 2], transfers: usize) -> anyhow::Result<()> {
    for number in 0..transfers {
        let [first, second] = &tellers;
        let transfer = first.next(if number % 4 == 3 {
            Form::Within
        } else {
            Form::Across
        });
        for attempt in 0..200 {
            let teller = if attempt % 2 == 0 { first } else { second };
            let told = teller.submit(&transfer, Wait::Decided).await?;
            if matches!(told, Told::Committed | Told::Aborted) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// A second coordinator beside that of the world.
async fn beside(world: &World, name: &str) -> anyhow::Result<(Process, port::Place)> {
    let place = port::reserve()?;
    let journal = journal_of(world)?;
    let role = coordinator(name, place, &journal, &world.banks, world.directory.path());
    Ok((Process::start(role).await?, place))
}

/// Waits until one of two owns the partitions and calls itself ready, and makes it that of the world.
/// One that has just woken up may call itself ready before it has looked.
async fn follow(
    world: &mut World,
    other: &mut Process,
    place: &mut port::Place,
) -> anyhow::Result<()> {
    let start = tokio::time::Instant::now();
    loop {
        let [first, last] = owners(world).await?;
        let owns = |place: &port::Place| {
            let address = place.address().to_string();
            first == last
                && first
                    .as_ref()
                    .is_some_and(|owner| owner.ends_with(&address))
        };
        if owns(&world.place) && is_ready(world.place).await.unwrap_or(false) {
            return Ok(());
        }
        if owns(place) && is_ready(*place).await.unwrap_or(false) {
            std::mem::swap(&mut world.coordinator, other);
            std::mem::swap(&mut world.place, place);
            world.teller = world.teller.at(&world.place.url())?;
            return Ok(());
        }
        if start.elapsed() > Duration::from_secs(15) {
            let one = world.ready().await;
            let two = crate::http::get(&format!("{}/readyz", place.url())).await;
            anyhow::bail!("none of the two becomes ready: {one:?} and {two:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_is_conserved_while_two_coordinators_change_places() -> anyhow::Result<()> {
    let mut world = World::start(JournalKind::Postgres).await?;
    let (mut other, mut place) = beside(&world, "second").await?;
    let tellers = [world.teller.clone(), world.teller.at(&place.url())?];
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..6 {
        clients.spawn(pay(tellers.clone(), 40));
    }
    let mut met = 0;
    for round in 0..6 {
        follow(&mut world, &mut other, &mut place).await?;
        world
            .until(
                "a branch is prepared, or all is paid",
                Duration::from_secs(15),
                async |world| Ok(world.prepared().await?.iter().sum::<usize>() > 1),
            )
            .await?;
        let prepared: usize = world.prepared().await?.iter().sum();
        met += prepared;
        let paused = round % 2 == 1;
        if paused {
            signal(&world.coordinator, STOP)?;
        } else {
            world.coordinator.kill()?;
        }
        // The other one's turn.
        let start = tokio::time::Instant::now();
        while !is_ready(place).await? {
            ensure!(
                start.elapsed() < Duration::from_secs(15),
                "nobody takes over"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let how = if paused { "paused" } else { "killed" };
        println!(
            "round {round}: {how} with {prepared} prepared; taken over in {:?}",
            start.elapsed()
        );
        if paused {
            signal(&world.coordinator, CONTINUE)?;
        } else {
            world.coordinator.start_again().await?;
        }
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    follow(&mut world, &mut other, &mut place).await?;
    let settled = world.settle().await?;
    println!("{met} prepared branches met; settled in {settled:?}");
    ensure!(met > 0, "nothing was in doubt");
    world.audit().await
}

/// Who owns the first and the last partition. None for one that was given back.
async fn owners(world: &World) -> anyhow::Result<[Option<String>; 2]> {
    let url = journal_of(world)?;
    let mut pg = sqlx::PgConnection::connect(&url).await?;
    let rows: Vec<(Option<String>,)> =
        sqlx::query_as("select owner from accordant_journal.partition order by id")
            .fetch_all(&mut pg)
            .await?;
    pg.close().await?;
    let owner = |row: Option<&(Option<String>,)>| row.and_then(|(owner,)| owner.clone());
    Ok([owner(rows.first()), owner(rows.last())])
}

/// How often one of the two had a part, and gave it up for the other.
fn gave_ways(world: &World) -> anyhow::Result<usize> {
    let mut count = 0;
    for name in ["coordinator", "second"] {
        let log = world.directory.path().join(format!("{name}.log"));
        count += std::fs::read_to_string(log)?.matches("giving way").count();
    }
    Ok(count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owner_that_wakes_in_the_middle_of_a_take_over_leaves_one_that_is_ready()
-> anyhow::Result<()> {
    let mut world = World::start(JournalKind::Postgres).await?;
    let (mut other, mut place) = beside(&world, "second").await?;
    for round in 0..6 {
        let [before, _] = owners(&world).await?;
        signal(&world.coordinator, STOP)?;
        let start = tokio::time::Instant::now();
        while owners(&world).await?[0] == before {
            ensure!(
                start.elapsed() < Duration::from_secs(10),
                "nobody takes over"
            );
        }
        // The other one has the first partition, and not yet the last.
        signal(&world.coordinator, CONTINUE)?;
        world
            .until(
                "all partitions are one owner's",
                Duration::from_secs(10),
                async |world| {
                    let [first, last] = owners(world).await?;
                    Ok(first.is_some() && first == last)
                },
            )
            .await?;
        follow(&mut world, &mut other, &mut place).await?;
        let first = owners(&world).await?[0].clone().unwrap_or_default();
        let gave_way = gave_ways(&world)?;
        println!("round {round}: all partitions are {first}'s; {gave_way} times one gave way");
        if gave_way > 0 {
            break;
        }
    }
    world.teller.some().await?;
    world.settle().await?;
    world.audit().await
}
