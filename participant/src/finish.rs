//! `finish`: end branches by the decision.
//!
//! Every answer is a fact in the database. That a branch is not prepared proves nothing: its marker
//! or its seal is read, or a seal is set, and the answer is what is there then.

use std::collections::BTreeMap;
use std::sync::Arc;

use accordant_protocol::branch::{Act, Holding, Verb, act};
use accordant_protocol::id::Gid;
use accordant_protocol::json::Json;
use accordant_protocol::wire::contract::{
    BranchEnd, FinishAnswer, FinishOrder, FinishReply, FinishVerb, Identity,
};
use futures_util::{FutureExt, StreamExt as _, stream};
use sqlx::Row as _;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::bounds;
use crate::clock;
use crate::crash::crash_point;
use crate::engine::{Engine, Unanswered};
use crate::inbox::{self, Sealed};
use crate::limits::{FINISH_PARALLEL, LOOK_PAUSE, LOOKS_MAX, STATEMENT_MAX};
use crate::look::{self, bounded, read_json};
use crate::pool::{Lease, LeaseError};
use crate::prepared::{self, Finished};
use crate::statement::{self, Session};
use crate::tcc;

/// How a two-phase branch is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Commit what is prepared.
    Commit,
    /// Roll back what is prepared, and seal.
    Abort,
}

/// The order to end a two-phase branch, or a local one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub gid: Gid,
    pub decision: Decision,
    pub want_result: bool,
}

/// What was seen of a branch in a look at many.
#[derive(Clone, Debug, Default)]
struct Glimpse {
    /// `None` asks for a closer look.
    holding: Option<Holding>,
    result: Option<Json>,
}

/// The look at many.
struct Overview {
    identity: Identity,
    replicated: bool,
    glimpses: BTreeMap<usize, Glimpse>,
}

/// Carries out one call. An order without an answer is unknown. One that cannot be carried out is
/// answered by itself: a whole call that is refused would come again as it is, and with it the ends
/// of other transactions.
///
/// # Durability
/// Each end that is reported is durable before it is returned.
///
/// # Cancel safety
/// Dropping the future leaves each order carried out or not, or a confirm and a cancel at work; a
/// repeat finds out.
pub(crate) async fn finish(
    engine: &Arc<Engine>,
    orders: &[FinishOrder],
) -> Result<FinishReply, Unanswered> {
    for order in orders {
        engine
            .watermarks
            .note(&order.gtid, order.watermark, clock::now());
    }
    let Split { ours, tcc, faulty } = Split::of(orders);
    let two_phase: Vec<Order> = ours.iter().map(|(_, order)| *order).collect();
    let overview = overview(engine, &two_phase).await?;
    let identity = overview.identity.clone();
    // Side by side: they use connections of different pools, and a prepared branch, which holds
    // locks, is not to wait for the work of a confirm.
    let (mut ends, by_tcc) = tokio::join!(
        end_two_phase(engine, ours, overview),
        tcc::end_all(engine, tcc, &identity)
    );
    ends.extend(by_tcc);
    ends.extend(faulty);
    // The contract leaves the order open; that of the call is the easiest to read.
    ends.sort_by_key(|(nr, _)| *nr);
    let answers = ends.into_iter().filter_map(|(nr, end)| {
        let FinishOrder { gtid, branch, attempt, .. } = *orders.get(nr)?;
        Some(FinishAnswer { gtid, branch, attempt, end: end? })
    });
    Ok(FinishReply { identity, answers: answers.collect() })
}

/// The place of an order in its call, and what is said of it.
pub(crate) type End = (usize, Option<BranchEnd>);

/// The orders of a call, by how they are carried out.
#[derive(Default)]
struct Split<'a> {
    ours: Vec<(usize, Order)>,
    tcc: Vec<(usize, &'a FinishOrder)>,
    /// Those that cannot be, with their answers.
    faulty: Vec<End>,
}

impl<'a> Split<'a> {
    fn of(orders: &'a [FinishOrder]) -> Self {
        let mut split = Self::default();
        for (nr, order) in orders.iter().enumerate() {
            if let Err(fault) = bounds::of_order(order) {
                let FinishOrder { gtid, branch, .. } = order;
                error!(%gtid, %branch, fault, "an order cannot be carried out");
                split.faulty.push((nr, Some(later(&fault))));
                continue;
            }
            match Order::of(order) {
                Some(ours) => split.ours.push((nr, ours)),
                None => split.tcc.push((nr, order)),
            }
        }
        split
    }
}

async fn end_two_phase(
    engine: &Arc<Engine>,
    orders: Vec<(usize, Order)>,
    overview: Overview,
) -> Vec<End> {
    let Overview { identity, replicated, mut glimpses } = overview;
    let identity = &identity;
    let ends = orders.into_iter().enumerate().map(|(at, (nr, order))| {
        let glimpse = glimpses.remove(&at).unwrap_or_default();
        let ending = Ending { engine, order, identity, replicated };
        async move { (nr, ending.end(glimpse).await) }
    });
    let ends: Vec<_> = ends.map(FutureExt::boxed).collect();
    stream::iter(ends)
        .buffer_unordered(FINISH_PARALLEL)
        .collect()
        .await
}

impl Order {
    /// `None` for the orders of TCC branches.
    fn of(order: &FinishOrder) -> Option<Self> {
        let decision = match order.verb {
            FinishVerb::Commit => Decision::Commit,
            FinishVerb::Abort => Decision::Abort,
            FinishVerb::Confirm | FinishVerb::Cancel => return None,
        };
        let gid = Gid { gtid: order.gtid, branch: order.branch };
        Some(Self { gid, decision, want_result: order.want_result })
    }
}

/// Ends one branch, for the sweep. `None` if that could not be learnt.
pub(crate) async fn end_one(
    engine: &Arc<Engine>,
    order: Order,
) -> Result<Option<BranchEnd>, Unanswered> {
    let Overview { identity, replicated, mut glimpses } = overview(engine, &[order]).await?;
    let glimpse = glimpses.remove(&0).unwrap_or_default();
    let ending = Ending { engine, order, identity: &identity, replicated };
    Ok(ending.end(glimpse).await)
}

async fn overview(engine: &Engine, orders: &[Order]) -> Result<Overview, Unanswered> {
    let mut seen = Err(Unanswered::Timeout);
    // A connection that died while it was idle is replaced: a look changes nothing.
    for _ in 0..2 {
        let mut lease = engine.control_lease().await?;
        seen = overview_on(&mut lease, orders).await;
        if seen.is_ok() {
            lease.release();
            break;
        }
        lease.discard();
    }
    seen
}

async fn overview_on(lease: &mut Lease, orders: &[Order]) -> Result<Overview, Unanswered> {
    let server = lease.server().clone();
    let numbers: Vec<i64> = (0..).take(orders.len()).collect();
    let gtids: Vec<String> = orders
        .iter()
        .map(|order| order.gid.gtid.to_string())
        .collect();
    let branches: Vec<i64> = orders
        .iter()
        .map(|order| order.gid.branch.0.into())
        .collect();
    let gids: Vec<String> = orders.iter().map(|order| order.gid.to_string()).collect();
    if orders.is_empty() {
        let row = bounded(
            STATEMENT_MAX,
            sqlx::query(statement::STARTS).fetch_one(lease.pg()),
        );
        let identity = Engine::identity(&server, look::starts(&row.await?)?);
        return Ok(Overview { identity, replicated: false, glimpses: BTreeMap::new() });
    }
    let asked = sqlx::query(statement::OVERVIEW)
        .bind(numbers)
        .bind(gtids)
        .bind(branches)
        .bind(gids)
        .fetch_all(lease.pg());
    let rows = bounded(STATEMENT_MAX, asked).await?;
    let Some(first) = rows.first() else {
        return Err(Unanswered::Corrupt("a look gave no rows"));
    };
    if first.try_get::<bool, _>("recovering")? {
        return Err(Unanswered::Standby);
    }
    let identity = Engine::identity(&server, look::starts(first)?);
    let replicated = first.try_get("replicated")?;
    let mut glimpses = BTreeMap::new();
    let is_abort = |nr: usize| {
        let order = orders.get(nr);
        order.is_some_and(|order| order.decision == Decision::Abort)
    };
    for row in &rows {
        let nr = usize::try_from(row.try_get::<i64, _>("nr")?).unwrap_or(usize::MAX);
        let state: Option<String> = row.try_get("state")?;
        let holding = match state.as_deref() {
            Some("committed") => Some(Holding::Committed),
            // Prepared without our marker, by the handler itself or by hand: what a no has
            // disowned ends at the latest by the coordinator's abort.
            Some("aborted") if is_abort(nr) && row.try_get("prepared")? => Some(Holding::Prepared),
            Some("aborted") => Some(Holding::Sealed),
            Some(_) => {
                return Err(Unanswered::Corrupt(
                    "accordant.branch holds an unknown state",
                ));
            }
            None => row
                .try_get::<bool, _>("prepared")?
                .then_some(Holding::Prepared),
        };
        glimpses.insert(nr, Glimpse { holding, result: read_json(row, "result")? });
    }
    Ok(Overview { identity, replicated, glimpses })
}

/// One order under way.
struct Ending<'a> {
    engine: &'a Arc<Engine>,
    order: Order,
    identity: &'a Identity,
    replicated: bool,
}

/// What one act came to.
enum Step {
    Answer(BranchEnd),
    /// The database refused: look again.
    LookAgain,
    /// The answer was lost with the connection: look again, on another one.
    Lost,
}

impl Ending<'_> {
    /// `None` if nothing is known.
    async fn end(self, glimpse: Glimpse) -> Option<BranchEnd> {
        let (mut glimpse, mut known) = (glimpse, true);
        for round in 0..LOOKS_MAX {
            match self.round(glimpse, round).await {
                Ok(Step::Answer(end)) => return Some(end),
                Ok(Step::LookAgain | Step::Lost) => glimpse = Glimpse::default(),
                Err(Unanswered::Lease(LeaseError::Busy)) => {
                    let reason = "every control connection of the participant is in use";
                    return Some(BranchEnd::RetryLater { reason: reason.to_owned() });
                }
                Err(Unanswered::Expired) => {
                    error!(gid = %self.order.gid, "an order is older than what is kept here");
                    let reason = "the transaction is older than what this participant keeps";
                    return Some(BranchEnd::RetryLater { reason: reason.to_owned() });
                }
                Err(error) => {
                    warn!(gid = %self.order.gid, %error, "an order could not be carried out");
                    glimpse = Glimpse::default();
                    known = false;
                }
            }
        }
        known.then_some(BranchEnd::InProgress)
    }

    async fn round(&self, glimpse: Glimpse, round: usize) -> Result<Step, Unanswered> {
        if round > 1 {
            sleep(LOOK_PAUSE).await;
        }
        let mut lease = self.engine.control_lease().await?;
        let server = lease.server();
        if server.system != self.identity.system || server.timeline != self.identity.timeline {
            // The identity of the reply would not be that of this answer.
            lease.discard();
            return Err(Unanswered::Corrupt(
                "two connections lead to different servers",
            ));
        }
        let step = self.act(&mut lease, glimpse).await;
        match &step {
            Ok(Step::Answer(_) | Step::LookAgain) => lease.release(),
            Ok(Step::Lost) | Err(Unanswered::Database(_) | Unanswered::Timeout) => lease.discard(),
            Err(_) => drop(lease),
        }
        step
    }

    async fn act(&self, lease: &mut Lease, glimpse: Glimpse) -> Result<Step, Unanswered> {
        let Glimpse { holding, mut result } = glimpse;
        let verb = match self.order.decision {
            Decision::Commit => Verb::Commit,
            Decision::Abort => Verb::Abort,
        };
        let holding = match holding {
            Some(holding) => holding,
            None => {
                let look = look::look(lease, &self.order.gid).await?;
                let unknown = matches!(look.holding, Holding::Nothing | Holding::Active);
                if unknown && look.below_floor {
                    // Its row may have been deleted: absence says even less than usual.
                    return Err(Unanswered::Expired);
                }
                result = look.result;
                look.holding
            }
        };
        match act(verb, holding) {
            Act::CommitPrepared => self.commit(lease).await,
            Act::RollBackPrepared => self.roll_back(lease).await,
            Act::Seal => self.seal(lease).await,
            Act::SayCommitted => {
                self.settle(lease).await?;
                Ok(Step::Answer(self.committed(result)))
            }
            Act::SayAborted => {
                self.settle(lease).await?;
                Ok(Step::Answer(BranchEnd::Aborted))
            }
            Act::SayInProgress | Act::Work | Act::VoteYes | Act::VoteCommitted | Act::VoteNo => {
                Ok(Step::Answer(BranchEnd::InProgress))
            }
        }
    }

    async fn commit(&self, lease: &mut Lease) -> Result<Step, Unanswered> {
        crash_point!("participant.finish.before_commit_prepared");
        let finished = prepared::commit(self.engine, lease, &self.order.gid).await;
        crash_point!("participant.finish.after_commit_prepared");
        match finished {
            Finished::Done if self.order.want_result => Ok(Step::LookAgain),
            Finished::Done => Ok(Step::Answer(BranchEnd::Committed { result: None })),
            Finished::Missing | Finished::Busy => Ok(Step::LookAgain),
            Finished::Later(reason) => Ok(Step::Answer(later(&reason))),
            Finished::Unknown => Ok(Step::Lost),
        }
    }

    async fn roll_back(&self, lease: &mut Lease) -> Result<Step, Unanswered> {
        crash_point!("participant.finish.before_rollback_prepared");
        let finished = prepared::roll_back(self.engine, lease, &self.order.gid).await;
        crash_point!("participant.finish.between_rollback_and_seal");
        match finished {
            Finished::Done | Finished::Missing => self.seal(lease).await,
            Finished::Busy => Ok(Step::LookAgain),
            Finished::Later(reason) => Ok(Step::Answer(later(&reason))),
            Finished::Unknown => Ok(Step::Lost),
        }
    }

    async fn seal(&self, lease: &mut Lease) -> Result<Step, Unanswered> {
        let gid = &self.order.gid;
        let sealed = inbox::seal(self.engine, lease, gid, None, Session::Clean).await?;
        crash_point!("participant.finish.after_seal");
        match sealed {
            Sealed::Aborted { .. } => {
                if self.order.decision == Decision::Commit {
                    error!(%gid, "a branch that was to be committed is not prepared any more");
                }
                Ok(Step::Answer(BranchEnd::Aborted))
            }
            Sealed::Committed { result, .. } => Ok(Step::Answer(self.committed(result))),
            Sealed::Blocked => {
                // The message has failed in the middle of its transaction.
                bounded(STATEMENT_MAX, sqlx::raw_sql("rollback").execute(lease.pg())).await?;
                Ok(Step::LookAgain)
            }
        }
    }

    /// What was only read may not have reached the standbys yet.
    async fn settle(&self, lease: &mut Lease) -> Result<(), Unanswered> {
        if self.replicated {
            look::barrier(lease).await
        } else {
            Ok(())
        }
    }

    fn committed(&self, result: Option<Json>) -> BranchEnd {
        if self.order.decision == Decision::Abort {
            // Ordinary for a lone branch, which commits by itself and is recalled after a restart.
            // Of any other one the coordinator says that its end is heuristic.
            info!(gid = %self.order.gid, "told to abort a branch that has committed");
        }
        BranchEnd::Committed { result: result.filter(|_| self.order.want_result) }
    }
}

fn later(reason: &str) -> BranchEnd {
    let bytes_max = accordant_protocol::limits::REASON_BYTES_MAX;
    BranchEnd::RetryLater {
        reason: accordant_protocol::wire::contract::cut(reason, bytes_max),
    }
}
