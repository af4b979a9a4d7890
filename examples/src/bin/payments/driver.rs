//! Makes the transfers, and compares what was said with what the databases hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use accordant_client::{Client, IdempotencyKey, Outcome, Transaction, Wait};
use accordant_examples::dice::Dice;
use anyhow::Context as _;
use futures_util::future::{join_all, try_join};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::Arguments;
use crate::audit;
use crate::killer;
use crate::report::Report;
use crate::scene::{ACCOUNTS, BANKS, CENTS, Scene};
use accordant_examples::bank::Posting;

/// How long everything may take to come to rest at the end.
const REST_MAX: Duration = Duration::from_secs(60);
/// One transfer in so many asks for more than any account can hold.
const ABSURD_EVERY: u64 = 20;

/// What a client was told of one transfer.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub key: String,
    /// What it was to move.
    pub cents: i64,
    pub outcome: Said,
    pub ms: f64,
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Committed,
    Refused,
    Unknown,
}

/// Makes all transfers, carries the kills out, and audits.
pub(crate) async fn play(arguments: &Arguments, scene: &mut Scene) -> anyhow::Result<Report> {
    let money_before = all_money(scene).await?;
    let bar = ProgressBar::new(arguments.transfers.into());
    let style = "{bar:40} {pos}/{len} transfers  {per_sec}  {elapsed}";
    bar.set_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut dice = Dice::new(arguments.seed);
    let plan = killer::plan(arguments, &mut dice);
    let start = now();
    let url = scene.coordinator_url.clone();
    let clients = run_clients(arguments, &url, &bar);
    let (told, kills) = try_join(clients, killer::run(plan, scene, &bar, dice)).await?;
    let seconds = start.elapsed().as_secs_f64();
    bar.finish();
    let prepared_left = rest(scene).await?;
    let money_after = all_money(scene).await?;
    let untrue = compare(scene, &told).await?;
    Ok(Report::new(
        arguments,
        &told,
        seconds,
        money_before,
        money_after,
        prepared_left,
        kills,
        untrue,
    ))
}

async fn run_clients(
    arguments: &Arguments,
    url: &str,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<Told>> {
    // Longer than any kill lasts: an outcome that a client cannot learn counts as unknown.
    let client = Client::builder(url)
        .patience(Duration::from_secs(60))
        .build()?;
    let next = Arc::new(AtomicU32::new(0));
    let clients = (0..arguments.clients).map(|_| {
        let (client, next, bar) = (client.clone(), Arc::clone(&next), bar.clone());
        let (transfers, seed) = (arguments.transfers, arguments.seed);
        tokio::spawn(async move {
            let mut told = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= transfers {
                    return anyhow::Ok(told);
                }
                told.push(transfer(&client, seed, number).await?);
                bar.inc(1);
            }
        })
    });
    let mut all = Vec::new();
    for told in join_all(clients).await {
        all.extend(told.context("a client ended badly")??);
    }
    Ok(all)
}

/// One transfer, under a key of its own.
async fn transfer(client: &Client, seed: u64, number: u32) -> anyhow::Result<Told> {
    let mut dice = Dice::new(seed ^ (u64::from(number) << 20));
    let accounts = u64::try_from(ACCOUNTS)?;
    let key = format!("transfer-{seed}-{number}");
    let absurd = dice.below(ABSURD_EVERY) == 0;
    let cents = if absurd {
        CENTS * i64::from(ACCOUNTS) * 4
    } else {
        i64::try_from(1 + dice.below(20_000))?
    };
    let mut posting = || {
        let account = i32::try_from(1 + dice.below(accounts)).unwrap_or(1);
        Posting { transfer: key.clone(), account, cents }
    };
    let (debit, credit) = (posting(), posting());
    let (from, to) = if dice.below(2) == 0 { (0, 1) } else { (1, 0) };
    let [from, to] = [from, to].map(|at: usize| BANKS.get(at).copied().unwrap_or_default());
    let transaction = Transaction::new()
        .branch("debit", from, "debit", &debit)?
        .branch("credit", to, "credit", &credit)?
        .timeout(Duration::from_secs(20))
        .wait(Wait::Decided);
    let start = now();
    let name = IdempotencyKey::new(&key)?;
    let outcome = match client.submit(&name, &transaction).await {
        Ok(submitted) => match submitted.outcome {
            Outcome::Committed => Said::Committed,
            Outcome::Aborted => Said::Refused,
            Outcome::Pending | Outcome::Heuristic | _ => Said::Unknown,
        },
        Err(error) if error.may_have_begun() => Said::Unknown,
        Err(error) => return Err(error).with_context(|| format!("{key} was not taken")),
    };
    Ok(Told {
        key,
        cents,
        outcome,
        ms: start.elapsed().as_secs_f64() * 1000.0,
    })
}

/// Waits until nothing is prepared any more, and returns what is after all.
async fn rest(scene: &Scene) -> anyhow::Result<usize> {
    let start = now();
    loop {
        let mut left = 0;
        for bank in &scene.banks {
            left += audit::prepared(&bank.server).await?.len();
        }
        if left == 0 || start.elapsed() > REST_MAX {
            return Ok(left);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn all_money(scene: &Scene) -> anyhow::Result<i64> {
    let mut sum = 0;
    for bank in &scene.banks {
        sum += audit::money(&bank.server).await?;
    }
    Ok(sum)
}

/// What clients were told, against what stands in both ledgers and the accounts. Returns what does
/// not agree.
async fn compare(scene: &Scene, told: &[Told]) -> anyhow::Result<Vec<String>> {
    let mut untrue = Vec::new();
    let mut ledgers: Vec<BTreeMap<String, Vec<i64>>> = Vec::new();
    for bank in &scene.banks {
        ledgers.push(audit::ledger(&bank.server).await?);
        for account in audit::unbalanced(&bank.server, CENTS).await? {
            let name = bank.name;
            untrue.push(format!(
                "account {account} of bank {name} is not what its ledger says"
            ));
        }
    }
    for Told { key, cents, outcome, .. } in told {
        let postings: Vec<Vec<i64>> = ledgers
            .iter_mut()
            .map(|ledger| ledger.remove(key).unwrap_or_default())
            .collect();
        if !fits(*outcome, *cents, &postings) {
            untrue.push(format!(
                "{key} was told {outcome:?}, the ledgers hold {postings:?}"
            ));
        }
    }
    let unheard = ledgers.iter().flat_map(BTreeMap::keys);
    untrue.extend(unheard.map(|key| format!("{key} stands in a ledger, and nobody asked for it")));
    Ok(untrue)
}

/// Whether the postings, by bank, are what was told: in full at both, once, or at neither.
fn fits(told: Said, cents: i64, postings: &[Vec<i64>]) -> bool {
    let whole = matches!(postings, [north, south]
        if matches!((north.as_slice(), south.as_slice()), ([one], [other])
            if one.abs() == cents && one + other == 0));
    let nothing = postings.iter().all(Vec::is_empty);
    match told {
        Said::Committed => whole,
        Said::Refused => nothing,
        Said::Unknown => whole || nothing,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the demo measures what a client sees"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_a_half_a_doubled_and_a_falsely_told_transfer_do_not_fit() {
        for (postings, committed, refused, unknown) in [
            ([vec![-5], vec![5]], true, false, true),
            ([vec![5], vec![-5]], true, false, true),
            ([vec![], vec![]], false, true, true),
            ([vec![-5], vec![]], false, false, false),
            ([vec![], vec![5]], false, false, false),
            ([vec![-5, -5], vec![5, 5]], false, false, false),
            ([vec![-5, -5], vec![5]], false, false, false),
            ([vec![-5], vec![4]], false, false, false),
            ([vec![-4], vec![4]], false, false, false),
            ([vec![-5, 5], vec![]], false, false, false),
        ] {
            assert_eq!(
                fits(Said::Committed, 5, &postings),
                committed,
                "{postings:?}"
            );
            assert_eq!(fits(Said::Refused, 5, &postings), refused, "{postings:?}");
            assert_eq!(fits(Said::Unknown, 5, &postings), unknown, "{postings:?}");
        }
    }
}
