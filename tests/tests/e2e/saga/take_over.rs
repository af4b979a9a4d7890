//! A second coordinator takes sagas over under a higher epoch, from one that is killed and from one
//! that is frozen and wakes up again.

use std::time::Duration;

use crate::world::JournalKind;

use super::change::Change;
use super::stage::{Stage, Travellers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_go_on_under_another_coordinator() -> anyhow::Result<()> {
    let mut stage = Stage::start(JournalKind::Postgres).await?;
    for round in 0..6 {
        let travellers = Travellers::start(&stage.traveller, 3);
        let goal = stage.traveller.count() + 12;
        let traveller = stage.traveller.clone();
        stage
            .world
            .until("trips are under way", Duration::from_secs(20), async |_| {
                Ok(traveller.count() >= goal)
            })
            .await?;
        let change = if round % 2 == 1 {
            Change::Frozen
        } else {
            Change::Killed
        };
        let former = stage.change(change).await?;
        if let Some(former) = &former {
            // What it still wants to write or send, it wants as the owner that it no longer is.
            former.wake()?;
        }
        travellers.end().await?;
        let tally = stage.audit().await?;
        println!("{change:?}: {tally:?}");
    }
    Ok(())
}
