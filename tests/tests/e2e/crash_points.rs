//! A process dies at each of its named points, while transfers of all forms are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use accordant_client::{BranchState, Wait};
use accordant_testbed::Fault;
use tokio::task::JoinHandle;

use crate::bank::BankOptions;
use crate::oracle::Told;
use crate::teller::Form;
use crate::world::{JournalKind, World, died};

const SIGKILL: i32 = 9;
const SIGABRT: i32 = 6;

/// What a case came to.
struct Found {
    in_doubt: [usize; 2],
    settled: Duration,
}

/// Clients that move money until they are told to stop.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    working: JoinHandle<anyhow::Result<()>>,
}

impl Clients {
    pub(crate) fn start(world: &World) -> Self {
        let (teller, stop) = (world.teller.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let working = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                teller.some().await?;
            }
            Ok(())
        });
        Self { stop, working }
    }

    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.working.await?
    }
}

fn print_head(title: &str) {
    println!(
        "\n{title}\n{:<52}{:>9}{:>11}{:>9}{:>9}{:>11}",
        "point", "in doubt", "committed", "aborted", "again", "settled"
    );
}

async fn judge(world: &mut World, point: &str, in_doubt: [usize; 2]) -> anyhow::Result<Found> {
    let before = world.teller.oracle.tally();
    let settled = world.settle().await?;
    world.audit().await?;
    // Without faults, all yes means commit.
    let fresh = world.teller.transfer(Form::Across).await?;
    anyhow::ensure!(
        fresh == Told::Committed,
        "a fresh transfer after {point}: {fresh:?}"
    );
    world.settle().await?;
    let after = world.teller.oracle.tally();
    let [a, b] = in_doubt;
    println!(
        "{point:<52}{:>9}{:>11}{:>9}{:>9}{:>8} ms",
        format!("{a} + {b}"),
        after.committed - before.committed,
        after.aborted - before.aborted,
        before.unknown + before.not_begun,
        settled.as_millis()
    );
    Ok(Found { in_doubt, settled })
}

async fn coordinator_dies_at_each_point(journal: JournalKind) -> anyhow::Result<()> {
    let mut world = World::start(journal).await?;
    print_head(&format!("coordinator, {journal:?} journal"));
    let (mut in_doubt, mut slowest) = (0, Duration::ZERO);
    for name in accordant_coordinator::crash::POINTS {
        for hit in 1..=2 {
            let point = format!("{name}:{hit}");
            world.restart_to_die_at(&point).await?;
            let clients = Clients::start(&world);
            died(&mut world.coordinator, SIGKILL).await?;
            clients.end().await?;
            let prepared = world.prepared().await?;
            world.restart().await?;
            let found = judge(&mut world, &point, prepared).await?;
            in_doubt += found.in_doubt.iter().sum::<usize>();
            slowest = slowest.max(found.settled);
        }
    }
    println!("in doubt at the deaths: {in_doubt} in all; the slowest settled in {slowest:?}");
    anyhow::ensure!(in_doubt > 0, "no death met a branch in doubt");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinator_with_a_sqlite_journal_may_die_at_any_point() -> anyhow::Result<()> {
    coordinator_dies_at_each_point(JournalKind::Sqlite).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinator_with_a_postgres_journal_may_die_at_any_point() -> anyhow::Result<()> {
    coordinator_dies_at_each_point(JournalKind::Postgres).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participant_may_die_at_any_point() -> anyhow::Result<()> {
    // The sweep is switched on only where it is to be killed: elsewhere it must not be needed.
    let mut world = World::start(JournalKind::Sqlite).await?;
    print_head("participant");
    for name in accordant_participant::crash::POINTS {
        // Actions have a test of their own, and the outbox that of the library.
        let others = ["sweep", "act", "outbox", "local"];
        if others
            .iter()
            .any(|it| name.starts_with(&format!("participant.{it}.")))
        {
            continue;
        }
        for hit in 1..=2 {
            let point = format!("{name}:{hit}");
            world.banks[1].restart_to_die_at(&point).await?;
            let clients = Clients::start(&world);
            died(&mut world.banks[1].process, SIGABRT).await?;
            let prepared = world.prepared().await?;
            world.banks[1].restart().await?;
            clients.end().await?;
            judge(&mut world, &point, prepared).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participant_may_die_at_any_point_of_its_sweep() -> anyhow::Result<()> {
    let options = BankOptions { sweep_ms: Some((100, 300)), ..BankOptions::default() };
    let mut world = World::with(JournalKind::Sqlite, options).await?;
    print_head("participant, cut off from the coordinator, and asking it");
    let points = accordant_participant::crash::POINTS;
    for point in points
        .iter()
        .filter(|point| point.starts_with("participant.sweep."))
    {
        world.banks[1].restart_to_die_at(point).await?;
        // The decision falls and does not reach the bank, so that the bank asks.
        let teller = world.teller.clone();
        let mut transfer = teller.next(Form::Across);
        (transfer.from, transfer.to, transfer.hold_ms) = (1, 0, 500);
        let key = transfer.key.clone();
        let client = tokio::spawn(async move { teller.submit(&transfer, Wait::Decided).await });
        world
            .until_branch(&key, "debit", BranchState::Prepared)
            .await?;
        world.banks[1].proxy.set(Fault::Cut);
        let told = client.await??;
        anyhow::ensure!(told == Told::Committed, "both voted yes: {told:?}");
        died(&mut world.banks[1].process, SIGABRT).await?;
        let prepared = world.prepared().await?;
        world.heal().await?;
        judge(&mut world, point, prepared).await?;
    }
    Ok(())
}
