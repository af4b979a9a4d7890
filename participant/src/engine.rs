//! What the parts of a participant share.

use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::id::ParticipantName;
use accordant_protocol::wire::contract::Identity;
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::branch::States;
use crate::coordinator::Coordinator;
use crate::handler::Operations;
use crate::limits::{BARRIER_WAIT, FULL_PAUSE, FULL_TRIES, STATEMENT_MAX};
use crate::look::{self, bounded};
use crate::pool::{Lease, LeaseError, Pool, Server};
use crate::retention::Watermarks;
use crate::statement;
use crate::work::millis;

/// One participant at work.
pub(crate) struct Engine {
    pub name: ParticipantName,
    pub operations: Operations,
    pub states: Arc<States>,
    /// For handlers.
    pub work: Arc<Pool>,
    /// For phase two, seals and looks: never behind a handler that waits for a lock.
    pub control: Arc<Pool>,
    pub watermarks: Watermarks,
    pub coordinator: Option<Coordinator>,
    /// Wakes the pusher.
    pub outbox: Notify,
    pub settings: Settings,
    /// Prepare calls that are taken at the same time.
    pub prepares: Arc<Semaphore>,
    /// Act calls that are taken at the same time.
    pub acts: Arc<Semaphore>,
    /// Finish calls that are taken at the same time: never behind a prepare that waits for a lock.
    pub finishes: Arc<Semaphore>,
    /// Branches at work. They go on when a caller hangs up.
    pub tasks: TaskTracker,
    /// Cancelled when the participant shuts down.
    pub closing: CancellationToken,
}

/// Why a call is told to come later.
pub(crate) const BUSY: &str = "every branch connection of the participant is in use";

/// What the service chose.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub lock_timeout: Duration,
    pub sweep_every: Duration,
    pub sweep_grace: Duration,
    pub retention_every: Duration,
    pub retention_grace: Duration,
    pub outbox_every: Duration,
    pub insecure: bool,
}

impl Settings {
    /// How long a call waits at a barrier. To PostgreSQL 0 would mean for ever.
    pub(crate) fn barrier_wait_ms(&self) -> u64 {
        millis(self.lock_timeout.min(BARRIER_WAIT)).max(1)
    }
}

/// No answer can be given: the caller is told that nothing is known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// No connection to the database.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The database did not answer, or not in a way to rely on.
    #[error("the database gave no answer")]
    Database(#[from] sqlx::Error),
    /// It did not answer in time.
    #[error("the database did not answer in time")]
    Timeout,
    /// It is a standby now.
    #[error("the server is in recovery; a participant needs the primary")]
    Standby,
    /// What it holds is not what our statements leave there.
    #[error("{0}")]
    Corrupt(&'static str),
    /// The transaction is at or below the retention floor: rows of its like may be deleted.
    #[error("the transaction is older than what this participant keeps")]
    Expired,
    /// The work was lost in this process.
    #[error("the branch's task has ended without an answer")]
    Task,
}

impl Engine {
    /// A connection for what ends branches. If the server has no more, those that lie idle for
    /// handlers are given up for it: a branch that cannot be ended keeps its locks.
    pub(crate) async fn control_lease(&self) -> Result<Lease, LeaseError> {
        let mut outcome = self.control.lease().await;
        for _ in 0..FULL_TRIES {
            let full = matches!(&outcome, Err(error) if error.is_server_full());
            if !full {
                break;
            }
            self.work.clear();
            // The server takes note of a closed connection a moment later.
            sleep(FULL_PAUSE).await;
            outcome = self.control.lease().await;
        }
        outcome
    }

    /// The identity to answer with where there is no connection for the work itself: every answer
    /// carries one.
    pub(crate) async fn present_identity(&self) -> Result<Identity, Unanswered> {
        let mut lease = self.control_lease().await?;
        let server = lease.server().clone();
        let asked = sqlx::query(statement::STARTS).fetch_one(lease.pg());
        let row = bounded(STATEMENT_MAX, asked).await?;
        let identity = Self::identity(&server, look::starts(&row)?);
        lease.release();
        Ok(identity)
    }

    /// The identity to answer with. The count is the one that the database holds now: with
    /// several replicas, each would otherwise answer with a count of its own.
    pub(crate) fn identity(server: &Server, starts: i64) -> Identity {
        Identity {
            system: server.system.clone(),
            timeline: server.timeline,
            starts: u64::try_from(starts).unwrap_or(0),
        }
    }
}
