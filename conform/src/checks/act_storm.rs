//! Calls about one action that meet each other.

use accordant_protocol::json::Json;
use accordant_protocol::wire::contract::{ActAnswer, ActVerb};
use futures_util::future::join_all;

use crate::action::{Action, same, shown, words};
use crate::check::{Verdict, checks, ensure, fail};
use crate::limits::STORM_ROUNDS;
use crate::session::{Heard, Session};

checks! { Act:
    Must "act.concurrent",
        "Duplicates of an act at the same time never give two results.",
        concurrent;
    Must "act.compensate_concurrent",
        "Duplicates of a compensation at the same time are *done*, or asked for again.",
        compensate_concurrent;
    Must "act.storm",
        "After acts and compensations in any order, and a last compensation, the act stays out.",
        storm;
    Must "act.effect_storm",
        "After acts and compensations in any order, and a last compensation, nothing is left of it.",
        effect_storm;
}

/// Sends calls at the same time, each as an attempt of its own.
async fn at_once(action: &Action<'_>, verbs: &[ActVerb]) -> Verdict<Vec<(ActVerb, ActAnswer)>> {
    let calls: Vec<_> = verbs.iter().map(|verb| action.call(*verb)).collect();
    let heard = join_all(calls.iter().map(|call| action.send(call))).await;
    let mut answers = Vec::new();
    for (call, heard) in calls.iter().zip(heard) {
        if let Heard::Said(answer) = heard? {
            answers.push((call.verb, answer));
        }
    }
    Ok(answers)
}

/// The results of the acts that are done are one.
fn one_result(answers: &[(ActVerb, ActAnswer)]) -> Verdict<Option<Option<Json>>> {
    let mut first: Option<Option<Json>> = None;
    for (verb, answer) in answers {
        let ActAnswer::Done { result } = answer else {
            continue;
        };
        match (&first, verb) {
            (_, ActVerb::Compensate) => {}
            (None, ActVerb::Act) => first = Some(result.clone()),
            (Some(first), ActVerb::Act) => ensure(
                same(first.as_ref(), result.as_ref()),
                &format!(
                    "every duplicate that is *done* has one result, {}",
                    shown(first.as_ref())
                ),
                || format!("{}: it was carried out twice", shown(result.as_ref())),
            )?,
        }
    }
    Ok(first)
}

async fn concurrent(s: &Session<'_>) -> Verdict {
    for _ in 0..STORM_ROUNDS {
        let action = Action::fresh(s)?;
        let mut answers = at_once(&action, &vec![ActVerb::Act; s.options.duplicates]).await?;
        let refused =
            |(_, answer): &&(ActVerb, ActAnswer)| matches!(answer, ActAnswer::Refused { .. });
        if let Some((_, refused)) = answers.iter().find(refused) {
            return fail("*done*, *in_progress* or *retry_later*", words(refused));
        }
        answers.push((ActVerb::Act, action.act().await?));
        one_result(&answers)?;
        action.undone().await?;
    }
    Ok(())
}

async fn compensate_concurrent(s: &Session<'_>) -> Verdict {
    for _ in 0..STORM_ROUNDS {
        let action = Action::fresh(s)?;
        action.done().await?;
        let answers = at_once(&action, &vec![ActVerb::Compensate; s.options.duplicates]).await?;
        let refused = answers
            .iter()
            .find(|(_, it)| matches!(it, ActAnswer::Refused { .. }));
        if let Some((_, refused)) = refused {
            return fail("*done*, *in_progress* or *retry_later*", words(refused));
        }
        action.undone().await?;
    }
    Ok(())
}

/// Acts and compensations at once, in an order of the seed's, then a last compensation.
async fn weather(s: &Session<'_>, action: &Action<'_>) -> Verdict<Vec<(ActVerb, ActAnswer)>> {
    let mut verbs = vec![ActVerb::Act; s.options.duplicates];
    for verb in verbs.iter_mut().skip(1).step_by(2) {
        *verb = ActVerb::Compensate;
    }
    s.shuffle(&mut verbs);
    let mut answers = at_once(action, &verbs).await?;
    answers.extend(at_once(action, &verbs).await?);
    action.undone().await?;
    Ok(answers)
}

async fn storm(s: &Session<'_>) -> Verdict {
    for _ in 0..STORM_ROUNDS {
        let action = Action::fresh(s)?;
        let mut answers = weather(s, &action).await?;
        one_result(&answers)?;
        let refused = answers.iter().any(|(verb, answer)| {
            *verb == ActVerb::Act && matches!(answer, ActAnswer::Refused { .. })
        });
        let done = one_result(&answers)?.is_some();
        ensure(
            !(refused && done),
            "an act is *refused* or *done*, not one and then the other",
            || "some duplicates were done, others refused".to_owned(),
        )?;
        for _ in 0..2 {
            let late = action.act().await?;
            if refused && !matches!(late, ActAnswer::Refused { .. }) {
                return fail("*refused*, as before the last compensation", words(&late));
            }
            answers.push((ActVerb::Act, late));
        }
        // Whoever says *done* again and again has carried it out once, or has a new result.
        one_result(&answers)?;
        action.undone().await?;
    }
    Ok(())
}

async fn effect_storm(s: &Session<'_>) -> Verdict {
    let before = s.state().await?;
    for _ in 0..STORM_ROUNDS {
        let action = Action::fresh(s)?;
        weather(s, &action).await?;
        s.unchanged(&before, "after a storm and a last compensation the state")
            .await?;
        action.act().await?;
        s.unchanged(&before, "an act after the last compensation")
            .await?;
    }
    Ok(())
}
