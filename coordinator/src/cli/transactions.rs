//! `accordant transactions`.

use std::fmt::Write as _;

use accordant_protocol::wire::api::{AbortReason, TransactionStatus, TransactionSummary};
use serde::{Deserialize, Serialize};

use super::arguments::{ListArguments, ShowArguments};
use super::ask::{AskError, Coordinator, encode};
use super::exit::Exit;
use super::table::{age, at, cell, print, print_json, table, word};

/// Transactions that are asked for at a time; the coordinator gives no more.
const PAGE: u32 = 500;

/// A page whose transactions are kept as they came.
#[derive(Serialize, Deserialize)]
struct Page {
    transactions: Vec<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

pub(super) async fn list(arguments: ListArguments) -> Result<Exit, AskError> {
    let coordinator = Coordinator::new(&arguments.target.url)?;
    let page = pages(&coordinator, &arguments).await?;
    if arguments.target.json {
        let json = serde_json::to_vec(&page);
        let json = json.map_err(|error| coordinator.foreign(error.to_string()))?;
        print_json(&json.into())?;
        return Ok(Exit::Ok);
    }
    let mut rows = table(["ID", "OUTCOME", "CLOSED", "BEGUN", "AGE", "KEY"]);
    let count = page.transactions.len();
    for transaction in page.transactions {
        let summary: TransactionSummary = serde_json::from_value(transaction)
            .map_err(|error| coordinator.foreign(error.to_string()))?;
        let key = summary.idempotency_key;
        rows.add_row([
            summary.id.to_string(),
            word(&summary.outcome),
            if summary.closed { "yes" } else { "no" }.to_owned(),
            at(summary.begun_at),
            age(summary.begun_at),
            key.map_or_else(|| "-".to_owned(), |key| key.as_str().to_owned()),
        ]);
    }
    if count == 0 {
        print("no such transactions")?;
    } else {
        print(rows)?;
    }
    if page.next_cursor.is_some() {
        print(format!("... and more: raise --limit above {count}"))?;
    }
    Ok(Exit::Ok)
}

async fn pages(coordinator: &Coordinator, arguments: &ListArguments) -> Result<Page, AskError> {
    let mut all = Page { transactions: Vec::new(), next_cursor: None };
    let mut left = arguments.limit;
    loop {
        let target = target(arguments, left.min(PAGE), all.next_cursor.as_deref());
        let (_, page) = coordinator.ask::<Page>(&target, &[]).await?;
        let got = u32::try_from(page.transactions.len()).unwrap_or(u32::MAX);
        all.transactions.extend(page.transactions);
        all.next_cursor = page.next_cursor;
        left = left.saturating_sub(got);
        if left == 0 || got == 0 || all.next_cursor.is_none() {
            return Ok(all);
        }
    }
}

fn target(arguments: &ListArguments, limit: u32, cursor: Option<&str>) -> String {
    let mut target = format!("/v1/transactions?limit={limit}");
    if arguments.open || arguments.closed {
        let _infallible = write!(target, "&closed={}", arguments.closed);
    }
    if let Some(outcome) = arguments.outcome {
        let _infallible = write!(target, "&outcome={}", outcome.as_str());
    }
    if arguments.attention {
        target.push_str("&attention=true");
    }
    if let Some(cursor) = cursor {
        let _infallible = write!(target, "&cursor={}", encode(cursor));
    }
    target
}

pub(super) async fn show(arguments: ShowArguments) -> Result<Exit, AskError> {
    let coordinator = Coordinator::new(&arguments.target.url)?;
    let target = match (&arguments.id, &arguments.key) {
        (_, Some(key)) => format!("/v1/transactions/by-key/{}", encode(key)),
        (Some(id), None) => format!("/v1/transactions/{}", encode(id)),
        // Not to be typed: one of them is required.
        (None, None) => "/v1/transactions/".to_owned(),
    };
    let headers = [("accordant-tenant", arguments.tenant.as_str())];
    let headers = if arguments.key.is_some() {
        headers.as_slice()
    } else {
        &[]
    };
    let (body, status) = coordinator
        .ask::<TransactionStatus>(&target, headers)
        .await?;
    if arguments.target.json {
        print_json(&body)?;
    } else {
        show_status(&status)?;
    }
    Ok(Exit::Ok)
}

/// Prints everything about a transaction.
pub(super) fn show_status(status: &TransactionStatus) -> std::io::Result<()> {
    print(facts(status))?;
    if !status.branches.is_empty() || status.actions.is_empty() {
        print("")?;
        print(branches(status))?;
    }
    if !status.actions.is_empty() {
        print("")?;
        print(actions(status))?;
    }
    Ok(())
}

fn facts(status: &TransactionStatus) -> String {
    let mut rows = vec![
        ("transaction", status.id.to_string()),
        ("outcome", word(&status.outcome)),
        ("state", word(&status.state)),
    ];
    if let Some(reason) = &status.reason {
        rows.push(("reason", self::reason(reason)));
    }
    rows.push((
        "begun",
        format!("{} ({} ago)", at(status.begun_at), age(status.begun_at)),
    ));
    let deadline = if status.actions.is_empty() {
        "vote until"
    } else {
        "deadline"
    };
    rows.extend(status.deadline.map(|time| (deadline, at(time))));
    rows.extend(status.closed_at.map(|time| ("closed", at(time))));
    rows.extend(
        status
            .idempotency_key
            .as_ref()
            .map(|key| ("key", key.as_str().to_owned())),
    );
    rows.extend(
        status
            .tenant
            .as_ref()
            .map(|tenant| ("tenant", tenant.as_str().to_owned())),
    );
    rows.extend(status.epoch.map(|epoch| ("epoch", epoch.to_string())));
    let lines = rows
        .into_iter()
        .map(|(name, value)| format!("{name:<12} {value}\n"));
    lines.collect()
}

/// Why a transaction was aborted, in words.
fn reason(reason: &AbortReason) -> String {
    match reason {
        AbortReason::Refused { branch, refusal } => cell(&format!(
            "{branch} refused: {} ({})",
            refusal.detail, refusal.code
        )),
        AbortReason::DeadlinePassed { branches, errors } => {
            let names: Vec<&str> = branches.iter().map(|name| name.as_str()).collect();
            let errors: String = errors.iter().map(|error| format!("; {error}")).collect();
            cell(&format!(
                "no vote in time from {}{errors}",
                names.join(", ")
            ))
        }
        AbortReason::Recovered => "not decided before a restart or take-over".to_owned(),
        AbortReason::Presumed => "nothing was recorded when a participant asked".to_owned(),
        AbortReason::Sealed => "its one branch was found not to have happened".to_owned(),
        AbortReason::AttemptsUsedUp { branch, error } => {
            cell(&format!("the attempts of {branch} are used up: {error}"))
        }
        other => word(other),
    }
}

/// The branches of a transaction.
fn branches(status: &TransactionStatus) -> comfy_table::Table {
    let mut rows = table([
        "#",
        "BRANCH",
        "PARTICIPANT",
        "STATE",
        "TRIES",
        "NEXT",
        "LAST ERROR",
    ]);
    for branch in &status.branches {
        rows.add_row([
            branch.index.to_string(),
            branch.name.as_str().to_owned(),
            branch.participant.as_str().to_owned(),
            word(&branch.state),
            branch.attempts.to_string(),
            branch.next_attempt_at.map_or_else(|| "-".to_owned(), at),
            branch
                .last_error
                .as_deref()
                .map_or_else(|| "-".to_owned(), cell),
        ]);
    }
    rows
}

/// The actions of a transaction, and the targets of its messages.
fn actions(status: &TransactionStatus) -> comfy_table::Table {
    let mut rows = table([
        "#",
        "STEP",
        "PARTICIPANT",
        "STATE",
        "TRIES",
        "NEXT",
        "RESULT",
        "LAST ERROR",
    ]);
    for action in &status.actions {
        let result = action.result.as_ref();
        rows.add_row([
            action.index.to_string(),
            action.name.as_str().to_owned(),
            action.participant.as_str().to_owned(),
            word(&action.state),
            action.attempts.to_string(),
            action.next_attempt_at.map_or_else(|| "-".to_owned(), at),
            result.map_or_else(|| "-".to_owned(), |result| cell(result.text())),
            action
                .last_error
                .as_deref()
                .map_or_else(|| "-".to_owned(), cell),
        ]);
    }
    rows
}
