//! `accordant stuck` and `accordant resolve`.

use accordant_protocol::record::Resolution;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::{ResolveRequest, TransactionStatus};
use accordant_protocol::wire::contract::ActVerb;
use serde::{Deserialize, Serialize};

use super::arguments::{ResolveArguments, StuckArguments, Told};
use super::ask::{AskError, Coordinator, encode};
use super::exit::Exit;
use super::table::{age, at, cell, print, print_json, table};
use super::transactions::show_status;

/// Actions that are asked for at a time; the coordinator gives no more.
const PAGE: u32 = 1_000;

/// What the coordinator says, with the actions as they came.
#[derive(Serialize, Deserialize)]
struct Page {
    count: u64,
    actions: Vec<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Stuck {
    id: String,
    index: u8,
    name: String,
    participant: String,
    verb: String,
    since: Timestamp,
    attempts: u32,
    #[serde(default)]
    last_error: Option<String>,
}

pub(super) async fn stuck(arguments: StuckArguments) -> Result<Exit, AskError> {
    let coordinator = Coordinator::new(&arguments.target.url)?;
    let page = pages(&coordinator, arguments.limit).await?;
    let exit = if page.count == 0 {
        Exit::Ok
    } else {
        Exit::Attention
    };
    if arguments.target.json {
        let json = serde_json::to_vec(&page);
        let json = json.map_err(|error| coordinator.foreign(error.to_string()))?;
        print_json(&json.into())?;
        return Ok(exit);
    }
    let (count, shown) = (page.count, page.actions.len());
    print(match count {
        0 => "no action is stuck".to_owned(),
        1 => "1 action waits for an operator".to_owned(),
        _ => format!("{count} actions wait for an operator"),
    })?;
    if shown > 0 {
        print(rows(&coordinator, page.actions)?)?;
    }
    if page.next_cursor.is_some() {
        print(format!("... and more: raise --limit above {shown}"))?;
    }
    Ok(exit)
}

fn rows(
    coordinator: &Coordinator,
    actions: Vec<serde_json::Value>,
) -> Result<comfy_table::Table, AskError> {
    let mut rows = table([
        "ID",
        "#",
        "STEP",
        "AT",
        "VERB",
        "SINCE",
        "AGE",
        "TRIES",
        "LAST ERROR",
    ]);
    for action in actions {
        let action: Stuck = serde_json::from_value(action)
            .map_err(|error| coordinator.foreign(error.to_string()))?;
        rows.add_row([
            cell(&action.id),
            action.index.to_string(),
            cell(&action.name),
            cell(&action.participant),
            cell(&action.verb),
            at(action.since),
            age(action.since),
            action.attempts.to_string(),
            action
                .last_error
                .as_deref()
                .map_or_else(|| "-".to_owned(), cell),
        ]);
    }
    Ok(rows)
}

async fn pages(coordinator: &Coordinator, limit: u32) -> Result<Page, AskError> {
    let mut all = Page { count: 0, actions: Vec::new(), next_cursor: None };
    let mut left = limit;
    loop {
        let mut target = format!("/v1/admin/stuck?limit={}", left.min(PAGE));
        if let Some(cursor) = &all.next_cursor {
            target = format!("{target}&cursor={}", encode(cursor));
        }
        let (_, page) = coordinator.ask::<Page>(&target, &[]).await?;
        let got = u32::try_from(page.actions.len()).unwrap_or(u32::MAX);
        all.count = page.count;
        all.actions.extend(page.actions);
        all.next_cursor = page.next_cursor;
        left = left.saturating_sub(got);
        if left == 0 || got == 0 || all.next_cursor.is_none() {
            return Ok(all);
        }
    }
}

pub(super) async fn resolve(arguments: ResolveArguments) -> Result<Exit, AskError> {
    let coordinator = Coordinator::new(&arguments.target.url)?;
    let ResolveArguments { id, index, verb, decision, result, by, reason, target } = arguments;
    let verb = match verb {
        Told::Act => ActVerb::Act,
        Told::Compensate => ActVerb::Compensate,
    };
    let resolution = if decision.done {
        Resolution::Done { result }
    } else if decision.not_done {
        Resolution::NotDone
    } else if decision.skip {
        Resolution::Skip
    } else if decision.abandon {
        Resolution::Abandon
    } else {
        Resolution::Retry
    };
    let request = ResolveRequest { verb, resolution, by, reason };
    let path = format!("/v1/admin/transactions/{}/actions/{index}", encode(&id));
    let (body, status) = coordinator
        .tell::<_, TransactionStatus>(&path, &request)
        .await?;
    if target.json {
        print_json(&body)?;
    } else {
        print("it is recorded; the transaction stands so now:")?;
        show_status(&status)?;
    }
    Ok(Exit::Ok)
}
