//! A transaction as the coordinator knows it, with typed results.

use std::ops::Deref;

use accordant_protocol::id::BranchName;
use accordant_protocol::wire::api::{
    AbortReason, ActionStatus, BranchStatus, Outcome, State, TransactionStatus, Wait,
};
use accordant_protocol::wire::contract::Refusal;
use serde::de::DeserializeOwned;

/// A transaction as the coordinator knows it. Its fields are those of [`TransactionStatus`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status(TransactionStatus);

/// Why the result of a branch or step was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// The transaction has no branch and no step of this name: a mistake of the caller.
    #[error("the transaction has no branch or step {branch:?}")]
    NoSuchBranch {
        /// The name that was asked for.
        branch: String,
    },
    /// There is none: its handler returned nothing, it was aborted or refused, or it has not answered
    /// yet. After a restart of the coordinator a result may be known only once the transaction is
    /// completed: wait for that.
    #[error("{branch:?} has no result")]
    Absent {
        /// Which.
        branch: String,
    },
    /// It is of another form.
    #[error("the result of {branch:?} is not of the expected form")]
    Form {
        /// Which.
        branch: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Status {
    /// What a branch or a step returned; of a message to several, what the first of them did.
    ///
    /// A result says nothing about the outcome: look at `outcome` first. Of a transaction that is
    /// not committed, a result is that of work which may not happen.
    ///
    /// # Errors
    /// [`ResultError`].
    pub fn result<T: DeserializeOwned>(&self, branch: &str) -> Result<T, ResultError> {
        let owned = || branch.to_owned();
        let of_branch = self.branch(branch).map(|it| it.result.as_ref());
        let result = of_branch.or_else(|| self.action(branch).map(|it| it.result.as_ref()));
        let result = result.ok_or_else(|| ResultError::NoSuchBranch { branch: owned() })?;
        let result = result.ok_or_else(|| ResultError::Absent { branch: owned() })?;
        serde_json::from_str(result.text())
            .map_err(|source| ResultError::Form { branch: owned(), source })
    }

    /// The branch of this name.
    #[must_use]
    pub fn branch(&self, name: &str) -> Option<&BranchStatus> {
        self.0
            .branches
            .iter()
            .find(|branch| branch.name.as_str() == name)
    }

    /// The step of this name, if it is an action; of a message, the first of those it goes to.
    #[must_use]
    pub fn action(&self, step: &str) -> Option<&ActionStatus> {
        let mut actions = self.0.actions.iter();
        actions.find(|action| action.name.as_str() == step)
    }

    /// Why the transaction was aborted, if it was.
    #[must_use]
    pub const fn reason(&self) -> Option<&AbortReason> {
        self.0.reason.as_ref()
    }

    /// The branch or step that refused, and its words, if that is why the transaction was aborted.
    #[must_use]
    pub fn refusal(&self) -> Option<(&BranchName, &Refusal)> {
        match self.reason() {
            Some(AbortReason::Refused { branch, refusal }) => Some((branch, refusal)),
            Some(_) | None => None,
        }
    }

    /// Whether the transaction is as far as this.
    #[must_use]
    pub fn has_reached(&self, wait: Wait) -> bool {
        match wait {
            Wait::Accepted => true,
            Wait::Decided => self.0.outcome != Outcome::Pending || self.0.state == State::Closed,
            Wait::Completed => self.0.state == State::Closed,
        }
    }

    /// The status as it came.
    #[must_use]
    pub fn into_inner(self) -> TransactionStatus {
        self.0
    }
}

impl Deref for Status {
    type Target = TransactionStatus;

    fn deref(&self) -> &TransactionStatus {
        &self.0
    }
}

impl From<TransactionStatus> for Status {
    fn from(status: TransactionStatus) -> Self {
        Self(status)
    }
}
