//! Calls of the right form that are wrong in other ways; and what checks of calls share.

use accordant_protocol::id::{BranchIndex, Gtid, OperationName, ParticipantName};
use accordant_protocol::plan::Mode;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::contract::{ActAnswer, ActVerb, Vote};
use serde_json::{Value, json};

use super::rubbish::{Door, Variant, is_alive, refused_by_all};
use crate::action::{Action, operation, words};
use crate::branch::{self, Branch};
use crate::check::{Stop, Verdict, checks, fail, skip};
use crate::cleanup::{end_all, undo};
use crate::http::describe;
use crate::seed::APART;
use crate::session::{Heard, Kind, Session, Unit, unanswered};

checks! { Contract:
    Must "call.wrong_participant",
        "A call for a participant of another name is answered with a status other than 200.",
        wrong_participant;
    Should "call.wrong_participant_status",
        "A call for a participant of another name is answered with 421.",
        wrong_participant_status;
    Must "call.extremes",
        "The largest numbers that a field can hold neither crash nor hang the service.",
        extremes;
    Must "call.watermark",
        "A watermark at or above the call's own transaction, or of the future, is passed over.",
        watermark;
}

/// An operation that nobody has.
pub(super) fn nobody() -> Verdict<OperationName> {
    OperationName::new("accordant_conform.nobody_has_this")
        .or_else(|error| skip(format!("no name: {error}")))
}

/// A call may also be answered with a status that says that it is at fault.
pub(super) fn at_fault(stop: Stop) -> Verdict<String> {
    if let Stop::Failed { silent: false, came, .. } = &stop
        && came.starts_with("HTTP 4")
    {
        return Ok(came.clone());
    }
    Err(stop)
}

fn stranger(s: &Session<'_>, door: Door) -> Verdict<Vec<Variant>> {
    let stranger = ParticipantName::new("accordant-conform-stranger")
        .or_else(|error| skip(format!("no name: {error}")))?;
    let mut call = door.call(s)?;
    if let Some(name) = call.get_mut("participant") {
        *name = json!(stranger);
    }
    Ok(vec![Variant::json("another name", &call)])
}

async fn wrong_participant(s: &Session<'_>) -> Verdict {
    refused_by_all(s, stranger).await
}

async fn wrong_participant_status(s: &Session<'_>) -> Verdict {
    for door in Door::open(s) {
        for variant in stranger(s, door)? {
            let response = door.send(s, &variant).await;
            let response = response.map_err(|silence| unanswered(&silence))?;
            if response.status.as_u16() != 421 {
                return fail("HTTP 421", describe(&response));
            }
        }
    }
    Ok(())
}

async fn extremes(s: &Session<'_>) -> Verdict {
    let numbers = [
        ("attempt", json!(u32::MAX)),
        ("epoch", json!(u64::MAX)),
        ("epoch", json!(i64::MAX)),
        ("deadline", json!(u64::MAX)),
        ("deadline", json!(i64::MAX)),
        ("branch", json!(95)),
    ];
    for door in Door::open(s) {
        for (field, number) in &numbers {
            let mut call = door.call(s)?;
            let Some(slot) = door.slot(&mut call, field) else {
                continue;
            };
            *slot = number.clone();
            if *field == "branch" {
                remember(s, door, &call, 95);
            }
            let variant = Variant::json(&format!("{field} {number}"), &call);
            let sent = door.send(s, &variant).await;
            let answered = sent.map_err(|silence| unanswered(&silence))?;
            if answered.status.as_u16() == 500 {
                return fail(
                    format!("an answer to {field} {number} other than an internal error"),
                    describe(&answered),
                );
            }
            // What was taken holds locks, and the next call is about the same rows.
            end_all(s).await;
        }
        is_alive(s, door).await?;
    }
    Ok(())
}

/// The call is about another branch than the one that is remembered.
fn remember(s: &Session<'_>, door: Door, call: &Value, branch: u8) {
    let gtid = door.gtid(call);
    let known = s.open().into_iter().find(|unit| Some(unit.gtid) == gtid);
    if let Some(unit) = known {
        s.begin(Unit { branch: BranchIndex(branch), ..unit });
    }
}

async fn watermark(s: &Session<'_>) -> Verdict {
    let day_ms = 24 * 60 * 60 * 1000;
    let absurdities: [fn(Gtid, u64) -> Timestamp; 3] = [
        |gtid, _| gtid.minted(),
        |gtid, day_ms| gtid.minted().plus_millis(day_ms),
        |_, _| Timestamp::from_millis(u64::MAX),
    ];
    for absurd in absurdities {
        let absurd = |gtid| absurd(gtid, day_ms);
        if s.options.act.is_some() {
            watermark_of_act(s, absurd).await?;
        }
        for mode in [Mode::TwoPhase, Mode::Tcc] {
            if branch::operation(s, mode).is_ok() {
                watermark_of_branch(s, mode, absurd).await?;
            }
        }
    }
    Ok(())
}

async fn watermark_of_act(s: &Session<'_>, absurd: impl Fn(Gtid) -> Timestamp) -> Verdict {
    let operation = operation(s)?;
    let (name, payload) = (operation.name.clone(), operation.payload.clone());
    let gtid = s.gtid_in(APART)?;
    let action = Action::new(s, gtid, 0, name, payload);
    let mut call = action.call(ActVerb::Act);
    call.watermark = absurd(gtid);
    if let Heard::Said(answer @ ActAnswer::Refused { .. }) = action.send(&call).await? {
        return fail("*done*: the watermark is passed over", words(&answer));
    }
    action.done().await?;
    action.undone().await.map(drop)
}

async fn watermark_of_branch(
    s: &Session<'_>,
    mode: Mode,
    absurd: impl Fn(Gtid) -> Timestamp,
) -> Verdict {
    let operation = branch::operation(s, mode)?;
    let (name, payload) = (operation.name.clone(), operation.payload.clone());
    let gtid = s.gtid_in(APART)?;
    let branch = Branch::new(s, gtid, 0, mode, name, payload);
    let mut call = branch.call();
    call.watermark = absurd(gtid);
    if let Heard::Said(vote @ Vote::No { .. }) = branch.send(&call).await? {
        return fail("*yes*: the watermark is passed over", branch::words(&vote));
    }
    branch::is_yes(mode, branch.prepare().await?)?;
    branch.aborted(undo(mode), "nobody has committed it").await
}

/// The kind of unit that a door begins.
pub(super) const fn kind_of(door: Door) -> Kind {
    match door {
        Door::Act => Kind::Action,
        Door::Prepare(mode) | Door::Finish(mode) => Kind::Branch(mode),
    }
}
