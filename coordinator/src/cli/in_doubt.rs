//! `accordant in-doubt`.

use accordant_protocol::wire::api::{BranchState, TransactionStatus};
use serde::{Deserialize, Serialize};

use super::arguments::InDoubtArguments;
use super::ask::{AskError, Coordinator};
use super::exit::Exit;
use super::table::{age, age_s, cell, print, print_json, table, word};

/// What the coordinator says.
#[derive(Serialize, Deserialize)]
struct InDoubt {
    count: usize,
    open: usize,
    transactions: Vec<serde_json::Value>,
    quarantined: Vec<Quarantined>,
}

#[derive(Serialize, Deserialize)]
struct Quarantined {
    id: String,
    error: String,
}

pub(super) async fn in_doubt(arguments: InDoubtArguments) -> Result<Exit, AskError> {
    let coordinator = Coordinator::new(&arguments.target.url)?;
    let target = format!("/v1/admin/in-doubt?limit={}", arguments.limit);
    let (_, mut found) = coordinator.ask::<InDoubt>(&target, &[]).await?;
    let mut statuses = Vec::new();
    for value in &found.transactions {
        let status = TransactionStatus::deserialize(value);
        statuses.push(status.map_err(|error| coordinator.foreign(error.to_string()))?);
    }
    let old = |status: &TransactionStatus| age_s(status.begun_at) >= arguments.older_than_s;
    let kept: Vec<bool> = statuses.iter().map(old).collect();
    let mut keep = kept.iter().copied();
    found.transactions.retain(|_| keep.next().unwrap_or(true));
    let mut keep = kept.iter().copied();
    statuses.retain(|_| keep.next().unwrap_or(true));
    let exit = if statuses.is_empty() && found.quarantined.is_empty() {
        Exit::Ok
    } else {
        Exit::Attention
    };
    if arguments.target.json {
        let json = serde_json::to_vec(&found);
        let json = json.map_err(|error| coordinator.foreign(error.to_string()))?;
        print_json(&json.into())?;
    } else {
        show(&found, &statuses, arguments.older_than_s)?;
    }
    Ok(exit)
}

fn show(
    found: &InDoubt,
    statuses: &[TransactionStatus],
    older_than_s: u64,
) -> Result<(), AskError> {
    let (count, open, shown) = (found.count, found.open, statuses.len());
    print(format!("{count} of {open} open transactions are in doubt"))?;
    if older_than_s > 0 || shown < count {
        print(format!(
            "{shown} shown, the oldest first, at least {older_than_s} s old"
        ))?;
    }
    if !statuses.is_empty() {
        let mut rows = table([
            "ID",
            "AGE",
            "OUTCOME",
            "STATE",
            "BRANCH",
            "AT",
            "LAST ERROR",
        ]);
        for status in statuses {
            let waiting = status
                .branches
                .iter()
                .filter(|branch| is_waiting(branch.state));
            for branch in waiting {
                rows.add_row([
                    status.id.to_string(),
                    age(status.begun_at),
                    word(&status.outcome),
                    word(&branch.state),
                    branch.name.as_str().to_owned(),
                    branch.participant.as_str().to_owned(),
                    branch
                        .last_error
                        .as_deref()
                        .map_or_else(|| "-".to_owned(), cell),
                ]);
            }
        }
        print(rows)?;
    }
    if !found.quarantined.is_empty() {
        print("quarantined: the stored history is not legal, and nothing is done for them")?;
        let mut rows = table(["ID", "ERROR"]);
        for quarantined in &found.quarantined {
            rows.add_row([cell(&quarantined.id), cell(&quarantined.error)]);
        }
        print(rows)?;
    }
    Ok(())
}

/// Whether a branch may still hold locks.
const fn is_waiting(state: BranchState) -> bool {
    match state {
        BranchState::Waiting
        | BranchState::Refused
        | BranchState::ReadOnly
        | BranchState::Committed
        | BranchState::Aborted
        | BranchState::HeuristicCommitted
        | BranchState::HeuristicAborted => false,
        BranchState::Preparing
        | BranchState::Prepared
        | BranchState::Committing
        | BranchState::Aborting => true,
        _ => true,
    }
}
