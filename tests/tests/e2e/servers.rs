//! A PostgreSQL dies under a bank, or under the journal.

use std::time::Duration;

use accordant_client::{BranchState, Wait};
use accordant_testbed::Fault;

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
