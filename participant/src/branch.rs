//! A branch, as its handler sees it.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::Arc;

use accordant_protocol::id::{Attempt, BranchIndex, Epoch, Gid, Gtid};
use accordant_protocol::plan::PlanRequest;
use accordant_protocol::time::Timestamp;
use sqlx::PgConnection;

use crate::id::MessageId;
use crate::outbox::{self, SendError};
use crate::pool::Lease;
use crate::refusal::Refusal;

/// One participant's part of a transaction, while its handler works.
///
/// Its local transaction is open. The handler must neither commit nor roll it back, and must not
/// start work that goes on after it has returned.
pub struct Branch {
    pub(crate) lease: Lease,
    pub(crate) gid: Gid,
    pub(crate) attempt: Attempt,
    pub(crate) epoch: Epoch,
    pub(crate) deadline: Timestamp,
    pub(crate) states: Arc<States>,
}

/// What the service gave its handlers, one value of each type.
pub(crate) type States = BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>;

impl Branch {
    /// The connection on which the local transaction is open: all work of the branch goes through
    /// it.
    ///
    /// `begin` on it makes a savepoint, whose `commit` and `rollback` are the handler's own.
    /// `set local` is fine. In a two-phase branch `notify`, temporary tables and cursors `with hold`
    /// are not: PostgreSQL cannot prepare them, and the vote becomes a no.
    pub fn connection(&mut self) -> &mut PgConnection {
        self.lease.pg()
    }

    /// Writes a message in the branch's local transaction: it is sent if and only if that commits.
    /// See [`Outbox::send`](crate::Outbox::send).
    ///
    /// # Errors
    /// [`SendError`]: the message will not be sent. It becomes a refusal by `?`.
    pub async fn send(&mut self, plan: impl Into<PlanRequest>) -> Result<MessageId, SendError> {
        outbox::write(self.lease.pg(), plan.into(), None).await
    }

    /// The transaction.
    #[must_use]
    pub fn gtid(&self) -> Gtid {
        self.gid.gtid
    }

    /// The place of the branch in the transaction's plan. Together with [`Branch::gtid`] it is an
    /// idempotency key for calls to others.
    #[must_use]
    pub fn index(&self) -> BranchIndex {
        self.gid.branch
    }

    /// Which try this is, from 1. Nothing of an earlier one remains in the database.
    #[must_use]
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// The epoch of the coordinator that ordered the work.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// When the handler is stopped. A two-phase branch is refused then; anything else is asked for
    /// again.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// What the service gave to [`Builder::state`](crate::Builder::state), by its type.
    ///
    /// # Errors
    /// A refusal if nothing of the type was given.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<Arc<T>, Refusal> {
        let state = self.states.get(&TypeId::of::<T>()).cloned();
        state
            .and_then(|state| state.downcast().ok())
            .ok_or_else(|| {
                let name = std::any::type_name::<T>();
                Refusal::new(
                    "accordant.no_state",
                    format!("no state of type {name} was given"),
                )
            })
    }
}

impl std::fmt::Debug for Branch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Branch")
            .field("gid", &self.gid)
            .field("attempt", &self.attempt)
            .finish()
    }
}
