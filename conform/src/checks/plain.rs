//! Endpoints that know nothing of Accordant.

use accordant_protocol::wire::contract::ActVerb::{Act, Compensate};
use bytes::Bytes;
use futures_util::future::join_all;

use crate::check::{Verdict, checks, ensure, fail, skip};
use crate::endpoint::{Requests, Said};
use crate::http::{Response, describe, excerpt};
use crate::session::Session;

checks! { Plain:
    Must "plain.act",
        "An act that can be done is answered with a status that says so.",
        act;
    Must "plain.act_repeat",
        "An act that is repeated with its Idempotency-Key is done again.",
        act_repeat;
    Should "plain.act_same_body",
        "An act that is repeated with its Idempotency-Key gives the first body.",
        act_same_body;
    Must "plain.concurrent",
        "Of duplicates of an act at the same time none is refused while another is done.",
        concurrent;
    Should "plain.concurrent_same_body",
        "Duplicates of an act at the same time that are done give one body.",
        concurrent_same_body;
    Must "plain.refused",
        "Once an act is refused, it stays refused for its Idempotency-Key.",
        refused;
    Must "plain.compensate",
        "The compensation of an act that is done is done.",
        compensate;
    Must "plain.compensate_repeat",
        "A compensation that is repeated with its Idempotency-Key is done again.",
        compensate_repeat;
    Must "plain.repeat_after_compensate",
        "An act that comes once more after its compensation changes nothing.",
        repeat_after_compensate;
    Should "plain.malformed",
        "A body that is no JSON is not answered as done.",
        malformed;
    Must "plain.effect_once",
        "Repeats of act and compensation change the state once.",
        effect_once;
}

async fn act(s: &Session<'_>) -> Verdict {
    Requests::fresh(s)?.done(Act).await.map(drop)
}

async fn act_repeat(s: &Session<'_>) -> Verdict {
    let requests = Requests::fresh(s)?;
    for _ in 0..4 {
        requests.done(Act).await?;
    }
    Ok(())
}

fn same_body(first: &Response, again: &Response) -> Verdict {
    let value = |response: &Response| {
        serde_json::from_slice::<serde_json::Value>(&response.body)
            .map_err(|_| response.body.clone())
    };
    ensure(
        value(first) == value(again),
        &format!("the first body, {}", excerpt(&first.body)),
        || describe(again),
    )
}

async fn act_same_body(s: &Session<'_>) -> Verdict {
    let requests = Requests::fresh(s)?;
    let first = requests.done(Act).await?;
    for _ in 0..2 {
        same_body(&first, &requests.done(Act).await?)?;
    }
    Ok(())
}

/// Sends the act many times at once; what came back.
async fn at_once(s: &Session<'_>, requests: &Requests<'_>) -> Verdict<Vec<(Said, Response)>> {
    let sent = (0..s.options.duplicates).map(|_| requests.once(Act));
    let heard = join_all(sent).await;
    heard.into_iter().collect()
}

async fn concurrent(s: &Session<'_>) -> Verdict {
    let requests = Requests::fresh(s)?;
    let heard = at_once(s, &requests).await?;
    requests.done(Act).await?;
    match heard.iter().find(|(said, _)| *said == Said::Refused) {
        Some((_, response)) => fail(
            "a status that says done, or that it is in progress",
            describe(response),
        ),
        None => Ok(()),
    }
}

async fn concurrent_same_body(s: &Session<'_>) -> Verdict {
    let requests = Requests::fresh(s)?;
    let heard = at_once(s, &requests).await?;
    let last = requests.done(Act).await?;
    for (said, response) in &heard {
        if *said == Said::Done {
            same_body(&last, response)?;
        }
    }
    Ok(())
}

async fn refused(s: &Session<'_>) -> Verdict {
    let requests = Requests::refusable(s)?;
    requests.refused("the body is one that is refused").await?;
    for _ in 0..2 {
        requests.refused("it was refused before").await?;
    }
    Ok(())
}

async fn compensate(s: &Session<'_>) -> Verdict {
    let requests = Requests::fresh(s)?;
    requests.compensation()?;
    requests.done(Act).await?;
    requests.done(Compensate).await.map(drop)
}

async fn compensate_repeat(s: &Session<'_>) -> Verdict {
    let requests = Requests::fresh(s)?;
    requests.compensation()?;
    requests.done(Act).await?;
    for _ in 0..3 {
        requests.done(Compensate).await?;
    }
    Ok(())
}

/// A duplicate that was long on its way, or a replica that woke up late. Nobody waits for its answer, so
/// whatever it says is right.
async fn repeat_after_compensate(s: &Session<'_>) -> Verdict {
    let requests = Requests::fresh(s)?;
    requests.compensation()?;
    s.state().await?;
    requests.done(Act).await?;
    requests.done(Compensate).await?;
    let undone = s.state().await?;
    requests.once(Act).await?;
    s.unchanged(
        &undone,
        "an act that comes once more after its compensation",
    )
    .await
}

async fn malformed(s: &Session<'_>) -> Verdict {
    let requests = Requests::fresh(s)?;
    if requests.act()?.body.is_none() {
        return skip("the act has no body");
    }
    for text in ["{\"half\":", "rubbish"] {
        let (said, response) = requests
            .send(Act, Some(Bytes::from_static(text.as_bytes())))
            .await?;
        ensure(
            said != Said::Done,
            "a status that does not say done",
            || describe(&response),
        )?;
    }
    // Another key: the first may stand for the rubbish now.
    Requests::fresh(s)?.done(Act).await.map(drop)
}

async fn effect_once(s: &Session<'_>) -> Verdict {
    let before = s.state().await?;
    let requests = Requests::fresh(s)?;
    requests.done(Act).await?;
    let acted = s.state().await?;
    ensure(
        acted != before,
        "an act that is done changes the state",
        || format!("it stays as it was: {acted}"),
    )?;
    requests.done(Act).await?;
    s.unchanged(&acted, "a repeated act").await?;
    if requests.compensation().is_ok() {
        requests.done(Compensate).await?;
        s.unchanged(&before, "a compensation leads back, and")
            .await?;
        requests.done(Compensate).await?;
        s.unchanged(&before, "a repeated compensation").await?;
    }
    Ok(())
}
