//! Finds own branches in doubt, asks the coordinator, and ends them by its word. It never decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use accordant_protocol::id::{Gid, GidError};
use accordant_protocol::wire::api::Verdict;
use accordant_protocol::wire::contract::BranchEnd;
use futures_util::StreamExt as _;
use futures_util::stream;
use sqlx::Row as _;
use tracing::{error, info, warn};

use crate::coordinator::Coordinator;
use crate::crash::crash_point;
use crate::engine::{Engine, Unanswered};
use crate::finish::{self, Decision, Order};
use crate::limits::{INQUIRIES_PARALLEL, STATEMENT_MAX, SWEEP_MAX};
use crate::look::bounded;
use crate::metric::{self, Slots};
use crate::pool::Lease;
use crate::statement;

/// What one round came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Branches that were in doubt for longer than the grace period.
    pub found: usize,
    /// Committed by the coordinator's word.
    pub committed: usize,
    /// Rolled back and sealed by the coordinator's word.
    pub aborted: usize,
    /// Left alone: the coordinator has not decided, or did not answer.
    pub pending: usize,
    /// Left alone: the coordinator cannot know. An operator must look.
    pub unknown: usize,
}

/// One round.
pub(crate) async fn round(engine: &Arc<Engine>) -> Result<Swept, Unanswered> {
    let mut lease = engine.control_lease().await?;
    let listed = list(engine, &mut lease).await;
    match &listed {
        Ok(_) => lease.release(),
        Err(_) => lease.discard(),
    }
    let listed = listed?;
    let Some(coordinator) = &engine.coordinator else {
        return Ok(Swept {
            found: listed.len(),
            pending: listed.len(),
            ..Swept::default()
        });
    };
    let tally = Tally::default();
    stream::iter(&listed)
        .for_each_concurrent(INQUIRIES_PARALLEL, |gid| {
            end(engine, coordinator, gid, &tally)
        })
        .await;
    let swept = tally.read(listed.len());
    metric::quarantined(engine, swept.unknown);
    Ok(swept)
}

async fn list(engine: &Engine, lease: &mut Lease) -> Result<Vec<Gid>, Unanswered> {
    let slots = bounded(
        STATEMENT_MAX,
        sqlx::query(statement::SLOTS).fetch_one(lease.pg()),
    );
    let slots = slots.await?;
    metric::slots(
        engine,
        Slots {
            used: slots.try_get("used")?,
            limit: slots.try_get("allowed")?,
            in_doubt: slots.try_get("in_doubt")?,
            oldest_s: slots.try_get("oldest_s")?,
            oldest_xid_age: slots.try_get("oldest_xid_age")?,
        },
    );
    let grace_ms = i64::try_from(engine.settings.sweep_grace.as_millis()).unwrap_or(i64::MAX);
    let listing = sqlx::query(statement::IN_DOUBT)
        .bind(grace_ms)
        .bind(SWEEP_MAX);
    let rows = bounded(STATEMENT_MAX, listing.fetch_all(lease.pg())).await?;
    let mut gids = Vec::with_capacity(rows.len());
    for row in rows {
        let text: String = row.try_get("gid")?;
        match text.parse::<Gid>() {
            Ok(gid) => gids.push(gid),
            Err(GidError::Foreign) => {}
            Err(error) => {
                metric::stuck(engine, "malformed_gid");
                error!(gid = text, %error, "a prepared transaction bears our prefix; left alone");
            }
        }
    }
    Ok(gids)
}

async fn end(engine: &Arc<Engine>, coordinator: &Coordinator, gid: &Gid, tally: &Tally) {
    if engine.closing.is_cancelled() {
        return Tally::count(&tally.pending);
    }
    crash_point!("participant.sweep.before_inquiry");
    let decision = match coordinator.ask(gid).await {
        Ok(Verdict::Commit) => Decision::Commit,
        Ok(Verdict::Abort) => Decision::Abort,
        Ok(Verdict::Pending) => return Tally::count(&tally.pending),
        Ok(Verdict::Unknown) => {
            error!(%gid, "the coordinator cannot know about a branch in doubt; left alone");
            return Tally::count(&tally.unknown);
        }
        Ok(_) => {
            error!(%gid, "the coordinator's verdict is of a later version; left alone");
            return Tally::count(&tally.unknown);
        }
        Err(error) => {
            warn!(%gid, %error, "no word about a branch in doubt; left alone");
            return Tally::count(&tally.pending);
        }
    };
    crash_point!("participant.sweep.before_finish");
    let order = Order { gid: *gid, decision, want_result: false };
    match finish::end_one(engine, order).await {
        Ok(Some(BranchEnd::Committed { .. })) => {
            info!(%gid, "a branch in doubt was committed by the coordinator's word");
            metric::recovered(engine, "committed");
            Tally::count(&tally.committed);
        }
        Ok(Some(BranchEnd::Aborted)) => {
            info!(%gid, "a branch in doubt was aborted by the coordinator's word");
            metric::recovered(engine, "aborted");
            Tally::count(&tally.aborted);
        }
        Ok(Some(end)) => {
            warn!(%gid, ?end, "a branch in doubt could not be ended");
            Tally::count(&tally.pending);
        }
        Ok(None) => Tally::count(&tally.pending),
        Err(error) => {
            warn!(%gid, %error, "a branch in doubt could not be ended");
            Tally::count(&tally.pending);
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    committed: AtomicUsize,
    aborted: AtomicUsize,
    pending: AtomicUsize,
    unknown: AtomicUsize,
}

impl Tally {
    fn count(counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self, found: usize) -> Swept {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Swept {
            found,
            committed: read(&self.committed),
            aborted: read(&self.aborted),
            pending: read(&self.pending),
            unknown: read(&self.unknown),
        }
    }
}
