//! Processes and servers are killed at random while money moves.
//!
//! The seed is printed; `ACCORDANT_TEST_SEED` repeats what it drew, though not the timing.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use accordant_client::Wait;
use tokio::task::JoinSet;

use crate::crash_points::Clients;
use crate::oracle::Told;
use crate::teller::{Form, Teller};
use crate::world::{JournalKind, World};

const CLIENTS: usize = 8;

/// xorshift64*, as published by Vigna.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

fn seed() -> anyhow::Result<u64> {
    Ok(match std::env::var("ACCORDANT_TEST_SEED") {
        Ok(text) => text.parse()?,
        Err(_) => RandomState::new().hash_one(0) >> 1 | 1,
    })
}

/// Moves money until so many transfers were asked for. A payer who is not told asks again.
async fn pay(teller: Teller, left: Arc<AtomicUsize>) -> anyhow::Result<()> {
    const FORMS: [Form; 5] = [
        Form::Across,
        Form::Within,
        Form::AcrossAndRead,
        Form::Across,
        Form::Refused,
    ];
    loop {
        let taken = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        let Ok(number) = taken else { return Ok(()) };
        let form = FORMS
            .get(number % FORMS.len())
            .copied()
            .unwrap_or(Form::Across);
        let transfer = teller.next(form);
        for _ in 0..60 {
            let told = teller.submit(&transfer, Wait::Decided).await?;
            if matches!(told, Told::Committed | Told::Aborted) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn kill_at_random(journal: JournalKind, transfers: usize) -> anyhow::Result<()> {
    let seed = seed()?;
    println!("\n{journal:?} journal: ACCORDANT_TEST_SEED={seed}");
    let mut draw = Draw(seed);
    let mut world = World::start(journal).await?;
    let left = Arc::new(AtomicUsize::new(transfers));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(pay(world.teller.clone(), Arc::clone(&left)));
    }
    let victims = if world.journal.is_some() { 6 } else { 5 };
    let mut kills = [0; 6];
    let mut met = 0;
    while left.load(Ordering::SeqCst) > 0 {
        tokio::time::sleep(draw.ms(30, 400)).await;
        let victim = draw.below(victims);
        let prepared: usize = world.prepared().await?.iter().sum();
        met += usize::from(prepared > 0);
        match victim {
            0 => world.coordinator.kill()?,
            1 => world.banks[0].process.kill()?,
            2 => world.banks[1].process.kill()?,
            3 => world.banks[0].server.kill().await?,
            4 => world.banks[1].server.stop_immediate().await?,
            _ => {
                if let Some(server) = &world.journal {
                    server.kill().await?;
                }
            }
        }
        if let Some(count) = kills.get_mut(usize::try_from(victim)?) {
            *count += 1;
        }
        tokio::time::sleep(draw.ms(0, 300)).await;
        world.heal().await?;
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    world.heal().await?;
    let settled = world.settle().await?;
    world.audit().await?;
    let tally = world.teller.oracle.tally();
    println!(
        "seed {seed}: kills {kills:?} of coordinator, bank-a, bank-b, server a, server b, journal; \
         {met} met prepared branches; {} committed, {} aborted; settled in {} ms",
        tally.committed,
        tally.aborted,
        settled.as_millis()
    );
    anyhow::ensure!(met > 0, "no kill met a prepared branch: seed {seed}");
    anyhow::ensure!(tally.committed > 0, "nothing was committed: seed {seed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_is_conserved_whatever_dies_with_a_sqlite_journal() -> anyhow::Result<()> {
    kill_at_random(JournalKind::Sqlite, 300).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_is_conserved_whatever_dies_with_a_postgres_journal() -> anyhow::Result<()> {
    kill_at_random(JournalKind::Postgres, 300).await
}

/// The power fails: every process and every server at the same moment.
async fn everything_dies(journal: JournalKind) -> anyhow::Result<()> {
    let mut world = World::start(journal).await?;
    for round in 0..3 {
        let clients: Vec<_> = (0..3).map(|_| Clients::start(&world)).collect();
        world
            .until(
                "branches are prepared",
                Duration::from_secs(10),
                async |world| Ok(world.prepared().await?.iter().sum::<usize>() > 2),
            )
            .await?;
        world.coordinator.kill()?;
        for bank in &mut world.banks {
            bank.process.kill()?;
            bank.server.kill().await?;
        }
        if let Some(server) = &world.journal {
            server.kill().await?;
        }
        for client in clients {
            client.end().await?;
        }
        // The servers alone, to see what they hold.
        for bank in &world.banks {
            bank.server.start_again().await?;
        }
        let prepared = world.prepared().await?;
        world.heal().await?;
        let settled = world.settle().await?;
        world.audit().await?;
        println!("{journal:?}, round {round}: {prepared:?} in doubt; settled in {settled:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_may_die_at_once() -> anyhow::Result<()> {
    everything_dies(JournalKind::Sqlite).await?;
    everything_dies(JournalKind::Postgres).await
}
