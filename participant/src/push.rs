//! Pushes what is in the outbox to the coordinator.
//!
//! A message is *claimed* by a statement that counts the attempt and puts the next one off; then it
//! is sent, and deleted once the coordinator has said that it took this one. Whoever crashes in between leaves it to
//! be sent again under the same idempotency key. What the coordinator refuses for good is set
//! aside, and never stands in the way of the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use accordant_protocol::limits::REASON_BYTES_MAX;
use accordant_protocol::wire::contract::cut;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::HeaderName;
use sqlx::Row as _;
use tracing::{debug, error, warn};

use crate::coordinator::{Coordinator, CoordinatorError};
use crate::crash::crash_point;
use crate::engine::{Engine, Unanswered};
use crate::limits::{
    PUSH_BACKOFF_MS_MAX, PUSH_BACKOFF_MS_MIN, PUSH_BATCH, PUSH_BATCHES_MAX, PUSH_CLAIM_MS,
    PUSH_COUNT_MAX, PUSH_PARALLEL, STATEMENT_MAX,
};
use crate::look::bounded;
use crate::metric;
use crate::pool::Lease;
use crate::statement;

/// What one round came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// Taken by the coordinator.
    pub sent: usize,
    /// Refused by the coordinator for good, and set aside: an operator must look.
    pub refused: usize,
    /// To be sent again later.
    pub later: usize,
}

/// A message that was claimed.
struct Claimed {
    id: String,
    plan: String,
    traceparent: Option<String>,
    attempts: i64,
}

/// One round: as many batches as are due, but no more once the coordinator is not there.
pub(crate) async fn round(engine: &Arc<Engine>) -> Result<Pushed, Unanswered> {
    let Some(coordinator) = &engine.coordinator else {
        return Ok(Pushed::default());
    };
    let tally = Tally::default();
    for _ in 0..PUSH_BATCHES_MAX {
        let batch = claim(engine).await?;
        let full = batch.len() >= usize::try_from(PUSH_BATCH).unwrap_or(usize::MAX);
        stream::iter(&batch)
            .for_each_concurrent(PUSH_PARALLEL, |claimed| {
                push(engine, coordinator, claimed, &tally)
            })
            .await;
        if !full || tally.read().later > 0 || engine.closing.is_cancelled() {
            break;
        }
    }
    count(engine).await?;
    Ok(tally.read())
}

async fn claim(engine: &Engine) -> Result<Vec<Claimed>, Unanswered> {
    on_lease(engine, async |lease| {
        let claim = sqlx::query(statement::CLAIM)
            .bind(PUSH_CLAIM_MS)
            .bind(PUSH_BATCH)
            .fetch_all(lease.pg());
        let rows = bounded(STATEMENT_MAX, claim).await?;
        let read = rows.iter().map(|row| {
            Ok(Claimed {
                id: row.try_get("id")?,
                plan: row.try_get("plan")?,
                traceparent: row.try_get("traceparent")?,
                attempts: row.try_get("attempts")?,
            })
        });
        read.collect()
    })
    .await
}

async fn push(engine: &Engine, coordinator: &Coordinator, claimed: &Claimed, tally: &Tally) {
    if engine.closing.is_cancelled() {
        // It is sent when its claim has run out.
        return;
    }
    let Claimed { id, attempts, .. } = claimed;
    let sent = send(coordinator, claimed).await;
    crash_point!("participant.outbox.after_send");
    let (outcome, counter) = match &sent {
        Ok(()) => {
            debug!(
                message = id,
                attempts, "a message was taken by the coordinator"
            );
            ("sent", &tally.sent)
        }
        Err(refused) if refused.is_final() => {
            error!(
                message = id, attempts, error = %refused,
                "the coordinator has refused a message for good; it is set aside in \
                 accordant.outbox, where its state can be put back to 'waiting'"
            );
            ("refused", &tally.refused)
        }
        Err(error) => {
            warn!(message = id, attempts, %error, "a message is to be sent again");
            ("later", &tally.later)
        }
    };
    metric::pushed(engine, outcome);
    counter.fetch_add(1, Ordering::Relaxed);
    // What is not noted is sent again when the claim has run out.
    if let Err(error) = note(engine, claimed, sent).await {
        warn!(message = id, %error, "what became of a message could not be noted");
    }
}

async fn send(coordinator: &Coordinator, claimed: &Claimed) -> Result<(), CoordinatorError> {
    let key = format!("outbox-{}", claimed.id);
    let trace = claimed.traceparent.as_deref();
    let headers = trace.map(|trace| (HeaderName::from_static("traceparent"), trace));
    let body = Bytes::from(claimed.plan.clone());
    // From the moment that it is taken the row is deleted: whatever is not a coordinator's own word
    // leaves it there.
    coordinator
        .submit(&key, headers.as_slice(), body)
        .await
        .map(drop)
}

async fn note(
    engine: &Engine,
    claimed: &Claimed,
    sent: Result<(), CoordinatorError>,
) -> Result<(), Unanswered> {
    let Claimed { id, attempts, .. } = claimed;
    on_lease(engine, async |lease| {
        let query = match &sent {
            Ok(()) => sqlx::query(statement::SENT).bind(id),
            Err(error) if error.is_final() => sqlx::query(statement::REFUSED)
                .bind(id)
                .bind(cut(&chain(error), REASON_BYTES_MAX)),
            Err(error) => sqlx::query(statement::LATER)
                .bind(id)
                .bind(*attempts)
                .bind(backoff_ms(*attempts, id))
                .bind(cut(&chain(error), REASON_BYTES_MAX)),
        };
        bounded(STATEMENT_MAX, query.execute(lease.pg())).await?;
        Ok(())
    })
    .await
}

/// An error with its causes.
fn chain(error: &CoordinatorError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// How long the next attempt is put off: doubled each time up to a cap, and spread by the message,
/// so that those which failed together do not come back together.
fn backoff_ms(attempts: i64, id: &str) -> i64 {
    let doublings = u32::try_from(attempts.clamp(1, 20) - 1).unwrap_or(0);
    let pause = (PUSH_BACKOFF_MS_MIN << doublings).min(PUSH_BACKOFF_MS_MAX);
    let spread = id
        .bytes()
        .fold(0, |sum: i64, byte| (sum * 31 + i64::from(byte)) % 256);
    pause + pause * spread / 1024
}

/// Tells how much waits.
async fn count(engine: &Engine) -> Result<(), Unanswered> {
    on_lease(engine, async |lease| {
        let waiting = sqlx::query(statement::WAITING).bind(PUSH_COUNT_MAX);
        let row = bounded(STATEMENT_MAX, waiting.fetch_one(lease.pg())).await?;
        let waiting = metric::Waiting {
            waiting: row.try_get("waiting")?,
            refused: row.try_get("refused")?,
            oldest_s: row.try_get("oldest_s")?,
        };
        metric::outbox(engine, waiting);
        Ok(())
    })
    .await
}

async fn on_lease<T>(
    engine: &Engine,
    ask: impl AsyncFnOnce(&mut Lease) -> Result<T, Unanswered>,
) -> Result<T, Unanswered> {
    let mut lease = engine.control.lease().await?;
    let asked = ask(&mut lease).await;
    match &asked {
        Ok(_) => lease.release(),
        Err(_) => lease.discard(),
    }
    asked
}

#[derive(Debug, Default)]
struct Tally {
    sent: AtomicUsize,
    refused: AtomicUsize,
    later: AtomicUsize,
}

impl Tally {
    fn read(&self) -> Pushed {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Pushed {
            sent: read(&self.sent),
            refused: read(&self.refused),
            later: read(&self.later),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_cap_and_are_spread() {
        let id = "01234567-89ab-7fff-bfff-ffffffffffff";
        let mut last = 0;
        for attempts in 1..100 {
            let pause = backoff_ms(attempts, id);
            assert!(
                pause >= last && pause <= PUSH_BACKOFF_MS_MAX * 5 / 4,
                "{attempts}: {pause}"
            );
            last = pause;
        }
        assert!(last >= PUSH_BACKOFF_MS_MAX);
        assert!(backoff_ms(1, id) < 2 * PUSH_BACKOFF_MS_MIN);
        assert!(backoff_ms(i64::MAX, id) <= PUSH_BACKOFF_MS_MAX * 5 / 4);
    }
}
