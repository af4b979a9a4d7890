//! Someone ends a prepared branch behind the coordinator's back.

use accordant_client::{BranchState, IdempotencyKey, Listing, Outcome, Status, Wait};
use accordant_testbed::Fault;
use anyhow::{Context as _, ensure};

use crate::oracle::Told;
use crate::teller::{Form, Transfer};
use crate::world::{JournalKind, World};

/// A transfer from bank-b to bank-a, whose branch at bank-b is prepared. Its decision is commit and
/// has not reached bank-b, or has not fallen; the coordinator is dead.
async fn in_doubt(world: &mut World, decided: bool) -> anyhow::Result<(Transfer, String)> {
    let teller = world.teller.clone();
    let mut transfer = teller.next(Form::Across);
    (transfer.from, transfer.to, transfer.hold_ms) = (1, 0, if decided { 400 } else { 5_000 });
    let asked = transfer.clone();
    let client = tokio::spawn(async move { teller.submit(&asked, Wait::Decided).await });
    world
        .until_branch(&transfer.key, "debit", BranchState::Prepared)
        .await?;
    if decided {
        world.banks[1].proxy.set(Fault::Cut);
        world
            .until_branch(&transfer.key, "debit", BranchState::Committing)
            .await?;
        client.await??;
        world.coordinator.kill()?;
    } else {
        world.coordinator.kill()?;
        client.await??;
    }
    let prepared = world.banks[1].prepared().await?;
    let gid = prepared.first().context("a branch is prepared")?.clone();
    Ok((transfer, gid))
}

/// What someone does to the branch at bank-b, and how everything must end then.
struct Case {
    decided: bool,
    verb: &'static str,
    outcome: Outcome,
    debit: BranchState,
    credit: BranchState,
}

const CASES: [Case; 4] = [
    Case {
        decided: true,
        verb: "rollback",
        outcome: Outcome::Heuristic,
        debit: BranchState::HeuristicAborted,
        credit: BranchState::Committed,
    },
    Case {
        decided: false,
        verb: "commit",
        outcome: Outcome::Heuristic,
        debit: BranchState::HeuristicCommitted,
        credit: BranchState::Aborted,
    },
    Case {
        decided: true,
        verb: "commit",
        outcome: Outcome::Committed,
        debit: BranchState::Committed,
        credit: BranchState::Committed,
    },
    Case {
        decided: false,
        verb: "rollback",
        outcome: Outcome::Aborted,
        debit: BranchState::Aborted,
        credit: BranchState::Aborted,
    },
];

async fn play(world: &mut World, case: &Case) -> anyhow::Result<Status> {
    let Case { decided, verb, outcome, debit, credit } = case;
    let (transfer, gid) = in_doubt(world, *decided).await?;
    let by_hand = format!("{verb} prepared '{gid}'");
    world.banks[1].execute(by_hand).await?;
    world.heal().await?;
    let settled = world.settle().await?;
    let client = world.teller.client();
    let key = IdempotencyKey::new(&transfer.key)?;
    let status = client.status_by_key(&key).await?;
    let state = |name: &str| status.branch(name).map(|branch| branch.state);
    let decision = if *decided { "commit" } else { "abort" };
    println!(
        "{verb} by hand, decision {decision}: {:?}, debit {:?}, credit {:?}; settled in {} ms",
        status.outcome,
        state("debit"),
        state("credit"),
        settled.as_millis()
    );
    ensure!(
        status.outcome == *outcome,
        "{verb} against {decision}: {status:?}"
    );
    ensure!(
        state("debit") == Some(*debit),
        "{verb} against {decision}: {status:?}"
    );
    ensure!(
        state("credit") == Some(*credit),
        "{verb} against {decision}: {status:?}"
    );
    let by_id = client.status(&status.id).await?;
    ensure!(by_id.outcome == *outcome, "by id: {by_id:?}");
    Ok(status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branch_ended_by_hand_is_reported_as_what_it_is() -> anyhow::Result<()> {
    let mut world = World::start(JournalKind::Sqlite).await?;
    let mut heuristic = Vec::new();
    let mut by_hand = Vec::new();
    for case in &CASES {
        let status = play(&mut world, case).await?;
        if status.outcome == Outcome::Heuristic {
            heuristic.push(status.id);
            by_hand.extend(status.idempotency_key.as_ref().map(ToString::to_string));
            let metrics = world.metrics().await?;
            ensure!(
                metrics.contains("accordant_heuristic_total 1"),
                "the heuristic outcome is not counted"
            );
        }
        let listed = world
            .teller
            .client()
            .list(&Listing::new().attention())
            .await?;
        let mut listed: Vec<_> = listed.transactions.iter().map(|it| it.id).collect();
        listed.sort();
        heuristic.sort();
        ensure!(
            listed == heuristic,
            "for attention: {listed:?}, and not {heuristic:?}"
        );
    }
    let by_hand: Vec<&str> = by_hand.iter().map(String::as_str).collect();
    world.audit_but(&by_hand).await?;
    let fresh = world.teller.transfer(Form::Across).await?;
    ensure!(fresh == Told::Committed, "a fresh transfer: {fresh:?}");
    Ok(())
}
