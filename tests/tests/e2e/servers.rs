//! A PostgreSQL dies under a bank, or under the journal.

use std::time::Duration;

use accordant_client::{BranchState, Wait};
use accordant_testbed::Fault;
use anyhow::Context as _;
use sqlx::Connection as _;

use crate::crash_points::Clients;
use crate::oracle::Told;
use crate::teller::Form;
use crate::world::{JournalKind, World};

/// How a server dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    Kill,
    Immediate,
}

/// When it dies.
#[derive(Clone, Copy, Debug)]
enum Moment {
    HandlersWork,
    Prepared,
    /// The decision has fallen, and has not reached the bank.
    Decided,
}

async fn die(server: &accordant_testbed::postgres::Postgres, death: Death) -> anyhow::Result<()> {
    match death {
        Death::Kill => server.kill().await?,
        Death::Immediate => server.stop_immediate().await?,
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_of_a_bank_may_die_at_any_moment() -> anyhow::Result<()> {
    let mut world = World::start(JournalKind::Sqlite).await?;
    println!("\nserver of bank-b");
    for death in [Death::Kill, Death::Immediate] {
        for moment in [Moment::HandlersWork, Moment::Prepared, Moment::Decided] {
            let teller = world.teller.clone();
            let mut transfer = teller.next(Form::Across);
            // The branch that dies is at bank-b; the slow one keeps the decision waiting.
            (transfer.from, transfer.to) = match moment {
                Moment::HandlersWork => (0, 1),
                Moment::Prepared | Moment::Decided => (1, 0),
            };
            transfer.hold_ms = 600;
            let key = transfer.key.clone();
            let client = tokio::spawn(async move { teller.submit(&transfer, Wait::Decided).await });
            world
                .until_branch(&key, "debit", BranchState::Prepared)
                .await?;
            if matches!(moment, Moment::Decided) {
                world.banks[1].proxy.set(Fault::Cut);
                world
                    .until_branch(&key, "debit", BranchState::Committing)
                    .await?;
            }
            let prepared = world.prepared().await?;
            die(&world.banks[1].server, death).await?;
            let mut told = Told::Unknown;
            if matches!(moment, Moment::Decided | Moment::Prepared) {
                // Nobody waits for a bank that has voted.
                told = client.await??;
                anyhow::ensure!(told == Told::Committed, "{moment:?}: {told:?}");
                world.heal().await?;
            } else {
                world.heal().await?;
                let _any = client.await??;
            }
            let settled = world.settle().await?;
            world.audit().await?;
            println!(
                "{death:?} at {moment:?}: {} + {} in doubt, told {told:?}, settled in {} ms",
                prepared[0],
                prepared[1],
                settled.as_millis()
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_of_a_bank_may_die_under_load() -> anyhow::Result<()> {
    let mut world = World::start(JournalKind::Sqlite).await?;
    let mut in_doubt = 0;
    for (round, death) in [Death::Kill, Death::Immediate, Death::Kill]
        .into_iter()
        .enumerate()
    {
        let clients: Vec<_> = (0..3).map(|_| Clients::start(&world)).collect();
        world
            .until(
                "a branch is prepared at bank-a",
                Duration::from_secs(10),
                async |world| Ok(world.banks[0].prepared().await?.len() > 1),
            )
            .await?;
        die(&world.banks[0].server, death).await?;
        world.heal().await?;
        // Its prepared branches are there again before anybody ends them.
        for client in clients {
            client.end().await?;
        }
        let prepared = world.prepared().await?;
        in_doubt += prepared.iter().sum::<usize>();
        let settled = world.settle().await?;
        world.audit().await?;
        println!(
            "round {round}, {death:?}: settled in {} ms",
            settled.as_millis()
        );
    }
    println!("{in_doubt} were still in doubt when the clients had ended");
    Ok(())
}

/// Ends every session in a database but the asking one.
async fn cut_sessions(url: &str) -> anyhow::Result<()> {
    let mut pg = sqlx::PgConnection::connect(url).await?;
    sqlx::raw_sql(
        "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()",
    )
    .execute(&mut pg)
    .await?;
    Ok(pg.close().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_session_may_be_cut_under_load() -> anyhow::Result<()> {
    let world = World::start(JournalKind::Postgres).await?;
    let journal = world.journal.as_ref().context("a server")?.url("journal");
    let [a, b] = [0, 1].map(|bank: usize| world.banks[bank].server.url("bank"));
    for round in 0..2 {
        let clients: Vec<_> = (0..3).map(|_| Clients::start(&world)).collect();
        let mut met = 0;
        for cut in 0..12 {
            tokio::time::sleep(Duration::from_millis(120)).await;
            met += world.prepared().await?.iter().sum::<usize>();
            let url = [&journal, &a, &journal, &b][cut % 4];
            cut_sessions(url).await?;
        }
        for client in clients {
            client.end().await?;
        }
        let settled = world.settle().await?;
        let tally = world.teller.oracle.tally();
        println!("round {round}: {met} in doubt at 12 cuts; settled in {settled:?}; {tally:?}");
        anyhow::ensure!(met > 0, "no cut met a branch in doubt");
        world.audit().await?;
    }
    Ok(())
}
