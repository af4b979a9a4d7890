//! Actions one call at a time.

use accordant_protocol::limits::NAME_BYTES_MAX;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::contract::{ActAnswer, ActVerb};

use crate::action::{Action, is_settled, operation, same, shown, words};
use crate::check::{Verdict, checks, ensure, fail};
use crate::session::{Heard, Session};

checks! { Act:
    Must "act.done",
        "An act that can be done is answered *done*.",
        done;
    Must "act.repeat",
        "A repeat of an act under another attempt is *done* with the first result.",
        repeat;
    Must "act.compensate",
        "The compensation of an act that is done is *done*.",
        compensate;
    Must "act.compensate_repeat",
        "A repeated compensation is *done* again.",
        compensate_repeat;
    Should "act.compensate_result",
        "A repeated compensation gives the result of the first.",
        compensate_result;
    Must "act.repeat_after_compensate",
        "An act that comes again after its compensation does nothing: the first result, or *refused*.",
        repeat_after_compensate;
    Must "act.null_compensation",
        "A compensation of an act that never came is *done*.",
        null_compensation;
    Must "act.late_after_compensate",
        "An act that comes after its compensation is *refused*, and stays so.",
        late;
    Must "act.refused",
        "What business refuses is answered *refused*, and a repeat is too.",
        refused;
    Should "act.refused_same",
        "A repeat of what was refused gives the same code, which is neither empty nor too long.",
        refused_same;
    Must "act.refused_compensate",
        "The compensation of an act that was refused is *done*, and the act stays *refused*.",
        refused_compensate;
    Must "act.branches",
        "Two actions of one transaction are apart: what happens to one leaves the other alone.",
        branches;
    Must "act.deadline",
        "A deadline that has passed is never a reason to refuse an act.",
        deadline;
    Must "act.unknown_operation",
        "An operation that is not known is never *done*.",
        unknown_operation;
    Should "act.unknown_operation_again",
        "An operation that is not known is asked for again, not refused: it may be a later version's.",
        unknown_operation_again;
    Must "act.effect_once",
        "Repeats of act and compensation change the state once, and late ones not at all.",
        effect_once;
    Must "act.effect_none",
        "An act that its compensation kept out, or that was refused, changes nothing.",
        effect_none;
}

async fn done(s: &Session<'_>) -> Verdict {
    Action::fresh(s)?.done().await.map(drop)
}

async fn repeat(s: &Session<'_>) -> Verdict {
    let action = Action::fresh(s)?;
    let first = action.done().await?;
    for _ in 0..3 {
        let again = action.done().await?;
        ensure(
            same(first.as_ref(), again.as_ref()),
            &format!(
                "*done* with the first execution's {}",
                shown(first.as_ref())
            ),
            || format!("done, {}", shown(again.as_ref())),
        )?;
    }
    Ok(())
}

async fn compensate(s: &Session<'_>) -> Verdict {
    let action = Action::fresh(s)?;
    action.done().await?;
    action.undone().await.map(drop)
}

async fn compensate_repeat(s: &Session<'_>) -> Verdict {
    let action = Action::fresh(s)?;
    action.done().await?;
    for _ in 0..3 {
        action.undone().await?;
    }
    Ok(())
}

async fn compensate_result(s: &Session<'_>) -> Verdict {
    let action = Action::fresh(s)?;
    action.done().await?;
    let first = action.undone().await?;
    let again = action.undone().await?;
    ensure(
        same(first.as_ref(), again.as_ref()),
        &format!(
            "*done* with the first compensation's {}",
            shown(first.as_ref())
        ),
        || format!("done, {}", shown(again.as_ref())),
    )
}

async fn repeat_after_compensate(s: &Session<'_>) -> Verdict {
    let action = Action::fresh(s)?;
    let first = action.done().await?;
    action.undone().await?;
    for _ in 0..2 {
        // An answer that settles something is *refused*, or this.
        if let ActAnswer::Done { result } = action.act().await? {
            ensure(
                same(first.as_ref(), result.as_ref()),
                &format!(
                    "*refused*, or *done* with the first {}",
                    shown(first.as_ref())
                ),
                || format!("done, {}: it was carried out again", shown(result.as_ref())),
            )?;
        }
    }
    action.undone().await.map(drop)
}

async fn null_compensation(s: &Session<'_>) -> Verdict {
    let action = Action::fresh(s)?;
    action.undone().await?;
    action.undone().await.map(drop)
}

async fn late(s: &Session<'_>) -> Verdict {
    let action = Action::fresh(s)?;
    action.undone().await?;
    for _ in 0..2 {
        action.refused("it was compensated before it came").await?;
    }
    action.undone().await?;
    action
        .refused("it was compensated before it came")
        .await
        .map(drop)
}

async fn refused(s: &Session<'_>) -> Verdict {
    let action = Action::refusable(s)?;
    action.refused("the payload is one that is refused").await?;
    for _ in 0..2 {
        action.refused("it was refused before").await?;
    }
    Ok(())
}

async fn refused_same(s: &Session<'_>) -> Verdict {
    let action = Action::refusable(s)?;
    let first = action.refused("the payload is one that is refused").await?;
    let bytes = first.code.len();
    ensure(
        (1..=NAME_BYTES_MAX).contains(&bytes),
        &format!("a code of 1 to {NAME_BYTES_MAX} bytes"),
        || format!("{bytes} bytes"),
    )?;
    let again = action.refused("it was refused before").await?;
    ensure(
        first.code == again.code,
        &format!("the code of the first refusal, {:?}", first.code),
        || format!("{:?}", again.code),
    )
}

async fn refused_compensate(s: &Session<'_>) -> Verdict {
    let action = Action::refusable(s)?;
    action.refused("the payload is one that is refused").await?;
    action.undone().await?;
    action.refused("it was refused before").await.map(drop)
}

async fn branches(s: &Session<'_>) -> Verdict {
    let one = Action::fresh(s)?;
    let other = one.sibling(1);
    let first = one.done().await?;
    other.undone().await?;
    other.refused("its own compensation came before it").await?;
    let again = one.done().await?;
    ensure(
        same(first.as_ref(), again.as_ref()),
        &format!("action 0 keeps its {}", shown(first.as_ref())),
        || shown(again.as_ref()),
    )?;
    one.undone().await.map(drop)
}

async fn deadline(s: &Session<'_>) -> Verdict {
    let action = Action::fresh(s)?;
    for past in [Timestamp::ZERO, Timestamp::from_millis(1)] {
        let mut call = action.call(ActVerb::Act);
        call.deadline = past;
        if let Heard::Said(answer @ ActAnswer::Refused { .. }) = action.send(&call).await? {
            return fail(
                "anything but *refused*: the act can still be done",
                words(&answer),
            );
        }
    }
    action.done().await.map(drop)
}

/// Sends an act of an operation that nobody has.
async fn of_nobody<'s>(s: &'s Session<'s>) -> Verdict<(Action<'s>, Heard<ActAnswer>)> {
    let payload = operation(s)?.payload.clone();
    let name = super::call::nobody()?;
    let action = Action::new(s, s.gtid()?, 0, name, payload);
    let heard = action.once(ActVerb::Act).await;
    // A service may also say that the call is at fault.
    let heard = heard.or_else(|stop| super::call::at_fault(stop).map(Heard::Unknown))?;
    Ok((action, heard))
}

async fn unknown_operation(s: &Session<'_>) -> Verdict {
    let (_, heard) = of_nobody(s).await?;
    match heard {
        Heard::Said(answer @ ActAnswer::Done { .. }) => fail("anything but *done*", words(&answer)),
        Heard::Said(_) | Heard::Unknown(_) => Ok(()),
    }
}

async fn unknown_operation_again(s: &Session<'_>) -> Verdict {
    let (_, heard) = of_nobody(s).await?;
    match heard {
        Heard::Said(answer) if is_settled(&answer) => {
            fail("*retry_later*, or a status other than 200", words(&answer))
        }
        Heard::Said(_) | Heard::Unknown(_) => Ok(()),
    }
}

async fn effect_once(s: &Session<'_>) -> Verdict {
    let before = s.state().await?;
    let action = Action::fresh(s)?;
    action.done().await?;
    let acted = s.state().await?;
    ensure(
        acted != before,
        "an act that is done changes the state",
        || format!("it stays as it was: {acted}"),
    )?;
    action.done().await?;
    s.unchanged(&acted, "a repeated act").await?;
    action.undone().await?;
    s.unchanged(
        &before,
        "after the compensation the state is as before the act: it",
    )
    .await?;
    action.undone().await?;
    s.unchanged(&before, "a repeated compensation").await?;
    action.act().await?;
    s.unchanged(&before, "an act that comes again after its compensation")
        .await
}

async fn effect_none(s: &Session<'_>) -> Verdict {
    let before = s.state().await?;
    let action = Action::fresh(s)?;
    action.undone().await?;
    s.unchanged(&before, "a compensation of what never came")
        .await?;
    action.act().await?;
    s.unchanged(&before, "an act that was kept out").await?;
    if s.options
        .act
        .as_ref()
        .is_some_and(|it| it.refused.is_some())
    {
        let action = Action::refusable(s)?;
        action.act().await?;
        s.unchanged(&before, "an act that was refused").await?;
        action.undone().await?;
        s.unchanged(&before, "the compensation of an act that was refused")
            .await?;
    }
    Ok(())
}
