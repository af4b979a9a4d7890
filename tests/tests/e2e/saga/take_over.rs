//! A second coordinator takes sagas over under a higher epoch, from one that is killed and from one
//! that is frozen and wakes up again.

use std::time::Duration;

use accordant_testbed::{Process, port};
use anyhow::ensure;

use crate::coordinators::{CONTINUE, STOP, is_ready, journal_of, signal};
use crate::world::{JournalKind, coordinator, with_plain};

use super::stage::{Stage, Travellers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_go_on_under_another_coordinator() -> anyhow::Result<()> {
    let mut stage = Stage::start(JournalKind::Postgres).await?;
    for round in 0..6 {
        let place = port::reserve()?;
        let world = &stage.world;
        let (journal, directory) = (journal_of(world)?, world.directory.path());
        let name = format!("coordinator-{round}");
        let role = coordinator(&name, place, &journal, &world.banks, directory);
        let other = Process::start(with_plain(role, &world.plain)).await?;
        let travellers = Travellers::start(&stage.traveller, 3);
        let goal = stage.traveller.count() + 12;
        let traveller = stage.traveller.clone();
        stage
            .world
            .until("trips are under way", Duration::from_secs(20), async |_| {
                Ok(traveller.count() >= goal)
            })
            .await?;
        let frozen = round % 2 == 1;
        if frozen {
            signal(&stage.world.coordinator, STOP)?;
        } else {
            stage.world.coordinator.kill()?;
        }
        let start = tokio::time::Instant::now();
        while !is_ready(place).await? {
            ensure!(
                start.elapsed() < Duration::from_secs(20),
                "nobody takes over"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!(
            "round {round}: frozen {frozen}, taken over in {:?}",
            start.elapsed()
        );
        stage.traveller.turn_to(&place.url());
        if frozen {
            // What it still wants to write or send, it wants as the owner that it no longer is.
            signal(&stage.world.coordinator, CONTINUE)?;
        }
        travellers.end().await?;
        let mut former = std::mem::replace(&mut stage.world.coordinator, other);
        stage.world.place = place;
        stage.world.until_ready().await?;
        let tally = stage.audit().await?;
        println!("{tally:?}");
        former.kill()?;
        stage.world.until_ready().await?;
    }
    Ok(())
}
