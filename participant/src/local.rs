//! The two-phase form of a message: begun at the coordinator, decided by the service's own local
//! transaction, and asked for by the coordinator if nobody tells it.

use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::id::Gtid;
use accordant_protocol::json::Json;
use accordant_protocol::plan::{
    BranchRequest, GroupRequest, Mode, Plan, PlanFaults, PlanRequest, StepRequest,
};
use accordant_protocol::wire::api::{SubmitRequest, TRANSACTIONS_PATH, Wait};
use bytes::Bytes;
use sqlx::PgConnection;
use tokio::time::sleep;

use crate::clock;
use crate::coordinator::{Coordinator, CoordinatorError};
use crate::crash::crash_point;
use crate::engine::Engine;
use crate::id::{MessageId, RandomError};
use crate::limits::{BEGIN_PAUSE, BEGINS_MAX};
use crate::sqlstate::{self, MarkFault};
use crate::statement;

/// Why a message was not begun or not told about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The participant was built without `coordinator`.
    #[error("the participant has no coordinator; give the builder its address")]
    NoCoordinator,
    /// The plan is not one. Each fault says where; the first step is the sender's own.
    #[error("the plan is not valid: {0}")]
    Plan(#[from] PlanFaults),
    /// It cannot be written as JSON.
    #[error("the message is not JSON")]
    Json(#[from] serde_json::Error),
    /// No key could be made.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The coordinator refuses, and would refuse again.
    #[error("the coordinator refuses: {0}")]
    Refused(String),
    /// The coordinator was not reached, or its answer was lost. What it has begun it ends by
    /// itself: it finds no marker, and gives the message up.
    #[error("the coordinator gave no answer: {0}")]
    Unanswered(String),
}

impl From<CoordinatorError> for LocalError {
    fn from(error: CoordinatorError) -> Self {
        match error.is_final() {
            true => Self::Refused(error.to_string()),
            false => Self::Unanswered(error.to_string()),
        }
    }
}

/// Why the marker was not written. **Roll back the outer transaction**, and with it the work that
/// the message is about.
///
/// PostgreSQL itself refuses to commit a transaction in which the marker has failed. But where it
/// was written inside a savepoint, which a nested `begin` of sqlx is, rolling that back revives the
/// outer transaction: committed then, its work is done and its message is never sent. Nothing that
/// is written inside a savepoint can prevent that, so mark outside of any.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MarkError {
    /// The coordinator has asked meanwhile and found nothing, so the message has been given up: it
    /// is sealed. Or it was marked before.
    #[error("the message was given up by the coordinator, or marked before: roll back")]
    Ended,
    /// The transaction is at or below the retention floor.
    #[error("the transaction is older than what this participant keeps: roll back")]
    Expired,
    /// The database refused: the role needs `insert` on accordant.branch and `select` on
    /// accordant.floor.
    #[error("the marker could not be written")]
    Database(#[source] sqlx::Error),
}

impl From<MarkError> for crate::Refusal {
    fn from(error: MarkError) -> Self {
        match error {
            MarkError::Database(error) => Self::from(error),
            MarkError::Ended | MarkError::Expired => {
                Self::new("accordant.message", error.to_string())
            }
        }
    }
}

/// A message that the coordinator knows of, and that is sent if the service's local transaction
/// commits with its marker.
#[derive(Clone)]
#[must_use = "without `mark` the message is given up"]
pub struct LocalMessage {
    engine: Arc<Engine>,
    gtid: Gtid,
}

impl LocalMessage {
    pub(crate) async fn begin(
        engine: &Arc<Engine>,
        plan: PlanRequest,
        within: Option<Duration>,
    ) -> Result<Self, LocalError> {
        let coordinator = coordinator(engine)?;
        let PlanRequest { steps, branches } = plan;
        let steps = with_sender(engine, steps.unwrap_or_default());
        Plan::try_from(PlanRequest { steps: Some(steps.clone()), branches })?;
        let submit = SubmitRequest {
            steps: Some(steps),
            // What does not fit is far above what the coordinator allows, and it says so.
            timeout_ms: within.map(|it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX)),
            wait: Wait::Accepted,
            ..SubmitRequest::default()
        };
        let body = Bytes::from(serde_json::to_vec(&submit)?);
        let key = format!("local-{}", MessageId::mint(clock::now())?);
        let mut begun = Err(LocalError::Unanswered("it was not asked".to_owned()));
        for attempt in 0..BEGINS_MAX {
            if attempt > 0 {
                sleep(BEGIN_PAUSE).await;
            }
            let submitted = coordinator.submit(&key, &[], body.clone()).await;
            begun = submitted.map_err(LocalError::from);
            if !matches!(begun, Err(LocalError::Unanswered(_))) {
                break;
            }
        }
        Ok(Self { engine: Arc::clone(engine), gtid: begun? })
    }

    /// The transaction.
    #[must_use]
    pub fn gtid(&self) -> Gtid {
        self.gtid
    }

    /// Writes the marker in the transaction that is open on this connection, to the participant's
    /// database: the message is sent if and only if that transaction commits.
    ///
    /// The transaction is made to commit with `synchronous_commit` on. Call it outside of any
    /// savepoint (a nested `begin` of sqlx): a savepoint that is rolled back takes the marker along.
    ///
    /// # Durability
    /// None of its own: the message is as durable as the transaction. Until that has ended the
    /// coordinator cannot give the message up: it waits.
    ///
    /// # Errors
    /// [`MarkError`]: the outer transaction must be rolled back, not only a savepoint in it.
    pub async fn mark(&self, connection: &mut PgConnection) -> Result<(), MarkError> {
        let minted = i64::try_from(self.gtid.minted().as_millis()).unwrap_or(i64::MAX);
        let marked = sqlx::query(statement::MARK)
            .bind(self.gtid.to_string())
            .bind(statement::issuer(&self.gtid))
            .bind(minted)
            .execute(connection)
            .await;
        marked
            .map(drop)
            .map_err(|error| match sqlstate::of_mark(&error) {
                MarkFault::Taken => MarkError::Ended,
                MarkFault::BelowFloor => MarkError::Expired,
                MarkFault::Other => MarkError::Database(error),
            })
    }

    /// Tells the coordinator that the local transaction has committed. Only that: if it is never
    /// told, or this fails, it asks after a while, finds the marker, and sends the message.
    ///
    /// # Errors
    /// If the coordinator gave no answer. Nothing need be done about it.
    pub async fn submit(&self) -> Result<(), LocalError> {
        crash_point!("participant.local.before_submit");
        self.tell("commit").await
    }

    /// Tells the coordinator that the local transaction has been rolled back, so that it need not
    /// wait before it gives the message up. It believes nobody and seals the branch first.
    ///
    /// # Errors
    /// If the coordinator gave no answer. Nothing need be done about it.
    pub async fn abandon(&self) -> Result<(), LocalError> {
        self.tell("abort").await
    }

    async fn tell(&self, verb: &str) -> Result<(), LocalError> {
        let target = format!("{TRANSACTIONS_PATH}/{}/{verb}", self.gtid);
        let body = Bytes::from_static(b"{}");
        let coordinator = coordinator(&self.engine)?;
        coordinator
            .post(&target, body)
            .await
            .map_err(LocalError::from)
    }
}

impl std::fmt::Debug for LocalMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalMessage")
            .field("gtid", &self.gtid)
            .finish_non_exhaustive()
    }
}

fn coordinator(engine: &Engine) -> Result<&Coordinator, LocalError> {
    engine.coordinator.as_ref().ok_or(LocalError::NoCoordinator)
}

/// Puts the sender's own local transaction before all that the service wants to send.
fn with_sender(engine: &Engine, steps: Vec<StepRequest>) -> Vec<StepRequest> {
    let name = free_name(&steps, "sender");
    let branch = BranchRequest {
        name: free_name(&steps, "local"),
        participant: engine.name.as_str().to_owned(),
        operation: "local".to_owned(),
        payload: Json::null(),
        mode: Mode::Local,
    };
    let group = GroupRequest { branches: vec![branch], timeout_ms: None };
    let sender = StepRequest {
        name: name.clone(),
        group: Some(group),
        ..StepRequest::default()
    };
    let after = steps.into_iter().map(|mut step| {
        if step.after.is_empty() {
            step.after.push(name.clone());
        }
        step
    });
    std::iter::once(sender).chain(after).collect()
}

/// A name that no step and no branch of the service has.
fn free_name(steps: &[StepRequest], wish: &str) -> String {
    let is_free = |name: &String| {
        let branches = |step: &StepRequest| {
            let mut branches = step.group.iter().flat_map(|group| &group.branches);
            branches.any(|branch| branch.name == *name)
        };
        !steps
            .iter()
            .any(|step| step.name == *name || branches(step))
    };
    let numbered = (2_usize..).map(|nr| format!("{wish}-{nr}"));
    let mut names = std::iter::once(wish.to_owned()).chain(numbered);
    names.find(is_free).unwrap_or_else(|| wish.to_owned())
}
