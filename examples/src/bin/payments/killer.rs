//! Kills processes hard in mid-run, and starts them again.

use std::time::Duration;

use accordant_examples::dice::Dice;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::arguments::{Arguments, Victim};
use crate::audit;
use crate::scene::Scene;

/// One kill.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Kill {
    /// Who was killed.
    pub victim: String,
    /// After how many transfers.
    pub after_transfers: u64,
    /// How many transactions were in doubt at that moment: prepared at a bank, and the outcome not
    /// there yet.
    pub in_doubt: usize,
}

/// When to kill whom: after so many transfers, in order.
pub(crate) fn plan(arguments: &Arguments, dice: &mut Dice) -> Vec<(u64, Victim)> {
    let transfers = u64::from(arguments.transfers);
    // Not at the very start or end: there is nothing in flight.
    let (first, span) = (transfers / 10, (transfers * 8 / 10).max(1));
    let mut plan = Vec::new();
    for victim in &arguments.kill {
        plan.extend((0..arguments.kills).map(|_| (first + dice.below(span), *victim)));
    }
    plan.sort_by_key(|(after, _)| *after);
    plan
}

/// Carries the plan out while the bar advances.
pub(crate) async fn run(
    plan: Vec<(u64, Victim)>,
    scene: &mut Scene,
    bar: &ProgressBar,
    mut dice: Dice,
) -> anyhow::Result<Vec<Kill>> {
    let mut kills = Vec::new();
    for (after, victim) in plan {
        while bar.position() < after {
            if bar.is_finished() {
                return Ok(kills);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        wait_for_doubt(scene).await;
        let kill = kill(victim, scene, bar, &mut dice).await?;
        bar.println(format!(
            "  killed {} after {} transfers, with {} in doubt",
            kill.victim, kill.after_transfers, kill.in_doubt,
        ));
        kills.push(kill);
    }
    Ok(kills)
}

async fn kill(
    victim: Victim,
    scene: &mut Scene,
    bar: &ProgressBar,
    dice: &mut Dice,
) -> anyhow::Result<Kill> {
    let pause = Duration::from_millis(100 + dice.below(400));
    let after_transfers = bar.position();
    let (name, in_doubt);
    match victim {
        Victim::Coordinator => {
            scene.coordinator.kill()?;
            name = "coordinator".to_owned();
            in_doubt = count(scene).await;
            tokio::time::sleep(pause).await;
            scene.coordinator.start_again().await?;
        }
        Victim::Bank => {
            let at = choose(scene.banks.len(), dice);
            let Some(bank) = scene.banks.get_mut(at) else {
                anyhow::bail!("there is no bank")
            };
            bank.process.kill()?;
            name = format!("bank {}", bank.name);
            in_doubt = count(scene).await;
            tokio::time::sleep(pause).await;
            if let Some(bank) = scene.banks.get_mut(at) {
                bank.process.start_again().await?;
            }
        }
        Victim::Postgres => {
            let servers = scene.banks.len() + usize::from(scene.journal.is_some());
            let at = choose(servers, dice);
            // A server that is down cannot be asked any more.
            in_doubt = count(scene).await;
            let (bank, journal) = (scene.banks.get(at), scene.journal.as_ref());
            let Some(server) = bank.map(|bank| &bank.server).or(journal) else {
                anyhow::bail!("there is no server");
            };
            server.kill().await?;
            name = bank.map_or_else(
                || "postgres of the journal".to_owned(),
                |bank| format!("postgres of bank {}", bank.name),
            );
            tokio::time::sleep(pause).await;
            server.start_again().await?;
        }
    }
    Ok(Kill { victim: name, after_transfers, in_doubt })
}

fn choose(count: usize, dice: &mut Dice) -> usize {
    let count = u64::try_from(count).unwrap_or(1).max(1);
    usize::try_from(dice.below(count)).unwrap_or(0)
}

/// Waits a moment for something to be in doubt: a kill between transactions shows little.
async fn wait_for_doubt(scene: &Scene) {
    for _ in 0..200 {
        if count(scene).await > 0 {
            return;
        }
    }
}

/// Distinct transactions that are prepared at some bank.
async fn count(scene: &Scene) -> usize {
    let mut all = std::collections::BTreeSet::new();
    for bank in &scene.banks {
        if bank.server.is_running() {
            all.extend(audit::prepared(&bank.server).await.unwrap_or_default());
        }
    }
    all.len()
}
