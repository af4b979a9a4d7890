//! The coordinator dies at each of its points, forward and backward, while trips of all forms are
//! under way.

use accordant_coordinator::crash::{ACTION_POINTS, POINTS};

use crate::world::{JournalKind, died};

use super::change::Change;
use super::stage::{Stage, Travellers};

const SIGKILL: i32 = 9;
const SIGABRT: i32 = 6;

/// Dies at each point when it is passed for these times, and then this one goes on.
async fn coordinator_dies_at_each_point(
    journal: JournalKind,
    hits: &[u32],
    then: Change,
) -> anyhow::Result<()> {
    let mut stage = Stage::start(journal).await?;
    println!(
        "\ncoordinator, {journal:?} journal\n{:<52}trips so far",
        "point"
    );
    let points = POINTS.iter().chain(ACTION_POINTS);
    // Those of what is stuck have a test of their own.
    let by_operator = |point: &str| point.contains(".stuck.") || point.contains(".resolved.");
    for point in points.filter(|point| !by_operator(point)) {
        for hit in hits {
            let point = format!("{point}:{hit}");
            stage.world.restart_to_die_at(&point).await?;
            let travellers = Travellers::start(&stage.traveller, 3);
            died(&mut stage.world.coordinator, SIGKILL).await?;
            travellers.end().await?;
            stage.change(then).await?;
            let tally = stage.audit().await?;
            println!("{point:<52}{tally:?}");
        }
    }
    let tally = stage.audit().await?;
    anyhow::ensure!(tally.happened > 0 && tally.made_good > 0, "{tally:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_survive_a_coordinator_that_dies_at_any_point_with_sqlite() -> anyhow::Result<()> {
    coordinator_dies_at_each_point(JournalKind::Sqlite, &[1, 4], Change::Restart).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_are_taken_over_from_a_coordinator_that_dies_at_any_point() -> anyhow::Result<()> {
    coordinator_dies_at_each_point(JournalKind::Postgres, &[2], Change::Killed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_survive_a_participant_that_dies_at_any_point_of_an_act() -> anyhow::Result<()> {
    let mut stage = Stage::start(JournalKind::Sqlite).await?;
    let points = accordant_participant::crash::POINTS.iter();
    for point in points.filter(|point| point.starts_with("participant.act.")) {
        stage.world.banks[0].restart_to_die_at(point).await?;
        let travellers = Travellers::start(&stage.traveller, 3);
        died(&mut stage.world.banks[0].process, SIGABRT).await?;
        stage.world.banks[0].restart().await?;
        travellers.end().await?;
        let tally = stage.audit().await?;
        println!("{point:<52}{tally:?}");
    }
    Ok(())
}
