//! `accordant status`.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::arguments::StatusArguments;
use super::ask::{AskError, Coordinator};
use super::exit::Exit;
use super::table::{cell, print, print_json, table};

#[derive(Deserialize)]
struct Readiness {
    ready: bool,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Participants {
    participants: Vec<Participant>,
}

#[derive(Deserialize)]
struct Participant {
    name: String,
    address: String,
    halted: Option<String>,
}

#[derive(Deserialize)]
struct Partitions {
    partitions: Vec<Partition>,
}

#[derive(Deserialize)]
struct Partition {
    partition: u16,
    epoch: u64,
    owner: Option<String>,
    owned: bool,
    loaded: bool,
}

pub(super) async fn status(arguments: StatusArguments) -> Result<Exit, AskError> {
    let coordinator = Coordinator::new(&arguments.target.url)?;
    let (http, body) = coordinator.raw("/readyz", &[]).await?;
    let known = http == StatusCode::OK || http == StatusCode::SERVICE_UNAVAILABLE;
    let readiness = serde_json::from_slice::<Readiness>(&body).ok();
    let readiness = readiness.filter(|_| known);
    let readiness =
        readiness.ok_or_else(|| coordinator.foreign(format!("/readyz answers {http}")))?;
    let participants = coordinator
        .ask::<Value>("/v1/admin/participants", &[])
        .await?
        .1;
    // They are in the journal, which may be what is not available.
    let partitions = match coordinator.ask::<Value>("/v1/admin/partitions", &[]).await {
        Ok((_, partitions)) => Some(partitions),
        Err(AskError::Unavailable { .. }) => None,
        Err(error) => return Err(error),
    };
    if arguments.target.json {
        let all = json!({
            "url": coordinator.url(),
            "ready": readiness.ready,
            "reason": readiness.reason,
            "participants": participants.get("participants"),
            "partitions": partitions.as_ref().and_then(|it| it.get("partitions")),
        });
        print_json(&all.to_string().into())?;
    } else {
        let foreign = |error: serde_json::Error| coordinator.foreign(error.to_string());
        show_readiness(&coordinator, &readiness)?;
        show_participants(&serde_json::from_value(participants).map_err(foreign)?)?;
        match partitions {
            Some(it) => show_partitions(&serde_json::from_value(it).map_err(foreign)?)?,
            None => print("\nthe partitions cannot be read at present")?,
        }
    }
    Ok(if readiness.ready {
        Exit::Ok
    } else {
        Exit::Attention
    })
}

fn show_readiness(coordinator: &Coordinator, readiness: &Readiness) -> std::io::Result<()> {
    let ready = match (&readiness.ready, &readiness.reason) {
        (true, _) => "ready: the journal takes writes, and every partition is served".to_owned(),
        (false, Some(reason)) => format!("not ready: {}", cell(reason)),
        (false, None) => "not ready".to_owned(),
    };
    print(format!("{} {ready}", coordinator.url()))
}

fn show_participants(found: &Participants) -> std::io::Result<()> {
    if found.participants.is_empty() {
        return print("\nno participants are registered");
    }
    let mut rows = table(["PARTICIPANT", "ADDRESS", "HALTED"]);
    for participant in &found.participants {
        let halted = participant.halted.as_deref();
        let halted = halted.map_or_else(|| "no".to_owned(), |why| format!("{why} database"));
        rows.add_row([
            cell(&participant.name),
            cell(&participant.address),
            cell(&halted),
        ]);
    }
    print("")?;
    print(rows)
}

fn show_partitions(found: &Partitions) -> std::io::Result<()> {
    let mut rows = table(["PARTITION", "EPOCH", "OWNER", "SERVED HERE"]);
    for partition in &found.partitions {
        let served = match (partition.owned, partition.loaded) {
            (true, true) => "yes",
            (true, false) => "being loaded",
            (false, _) => "no",
        };
        rows.add_row([
            partition.partition.to_string(),
            partition.epoch.to_string(),
            partition
                .owner
                .as_deref()
                .map_or_else(|| "-".to_owned(), cell),
            served.to_owned(),
        ]);
    }
    print("")?;
    print(rows)
}
