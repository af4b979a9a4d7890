//! Rehearsals of TCC branches.

use accordant_protocol::id::{Gtid, OperationName};
use accordant_protocol::json::Json;
use accordant_protocol::plan::Mode;
use accordant_protocol::wire::contract::{BranchEnd, FinishVerb, Vote, Work};
use serde::Serialize;

use super::{PATIENCE, Rehearsal, RehearsalError, surprise, until_concluded};
use crate::tcc;

impl Rehearsal<'_> {
    /// Has branch 0 reserved.
    ///
    /// # Errors
    /// If there was no answer.
    pub async fn reserve(
        &self,
        gtid: Gtid,
        attempt: u32,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<Vote, RehearsalError> {
        let mut call = self.call(gtid, attempt, operation, payload)?;
        call.mode = Mode::Tcc;
        let reply = Box::pin(tcc::reserve(&self.participant.engine, &call)).await?;
        Ok(reply.vote)
    }

    /// Confirms or cancels branch 0.
    ///
    /// # Errors
    /// If there was no answer.
    pub async fn end(
        &self,
        gtid: Gtid,
        verb: FinishVerb,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<BranchEnd, RehearsalError> {
        let work = Work {
            operation: OperationName::new(operation)?,
            payload: Json::from_value(payload)?,
        };
        self.finish_by(gtid, verb, Some(work)).await
    }

    /// Reserves and confirms, and repeats every call, before and after; then tries to cancel. The
    /// reservation must then be made good, once: look.
    ///
    /// # Errors
    /// If a call had another answer than it must.
    pub async fn confirms_once(
        &self,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), RehearsalError> {
        let gtid = self.transaction()?;
        self.reserves(gtid, operation, payload).await?;
        let confirm = || self.ends(gtid, FinishVerb::Confirm, operation, payload);
        let (first, second) = tokio::join!(confirm(), confirm());
        for (step, end) in [
            ("confirm", first?),
            ("confirm at the same time", second?),
            ("confirm again", confirm().await?),
            (
                "cancel after confirm",
                self.ends(gtid, FinishVerb::Cancel, operation, payload)
                    .await?,
            ),
        ] {
            if !matches!(end, BranchEnd::Committed { .. }) {
                return surprise(step, "committed", &end);
            }
        }
        let late = self.reserve(gtid, PATIENCE, operation, payload).await?;
        if !matches!(late, Vote::Committed { .. }) {
            return surprise("try after confirm", "committed", &late);
        }
        Ok(())
    }

    /// Reserves and cancels, and repeats every call, before and after; then tries to confirm.
    /// Nothing of it may then be there: look.
    ///
    /// # Errors
    /// If a call had another answer than it must.
    pub async fn cancels(
        &self,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), RehearsalError> {
        let gtid = self.transaction()?;
        self.reserves(gtid, operation, payload).await?;
        self.gives_up(gtid, operation, payload).await
    }

    /// Cancels a reservation that was never made, and has the try come then. Nothing of it may be
    /// there: look.
    ///
    /// # Errors
    /// If a call had another answer than it must.
    pub async fn cancels_before(
        &self,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), RehearsalError> {
        let gtid = self.transaction()?;
        self.gives_up(gtid, operation, payload).await
    }

    async fn gives_up(
        &self,
        gtid: Gtid,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), RehearsalError> {
        let cancel = || self.ends(gtid, FinishVerb::Cancel, operation, payload);
        let (first, second) = tokio::join!(cancel(), cancel());
        for (step, end) in [
            ("cancel", first?),
            ("cancel at the same time", second?),
            ("cancel again", cancel().await?),
            (
                "confirm after cancel",
                self.ends(gtid, FinishVerb::Confirm, operation, payload)
                    .await?,
            ),
        ] {
            if end != BranchEnd::Aborted {
                return surprise(step, "aborted", &end);
            }
        }
        let late = self.reserve(gtid, PATIENCE, operation, payload).await?;
        if !matches!(late, Vote::No { .. }) {
            return surprise("try after cancel", "no", &late);
        }
        Ok(())
    }

    async fn reserves(
        &self,
        gtid: Gtid,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), RehearsalError> {
        let reserve = || self.reserves_patiently(gtid, operation, payload);
        let (first, second) = tokio::join!(reserve(), reserve());
        let first = first?;
        if !matches!(first, Vote::Yes { .. }) {
            return surprise("try", "yes", &first);
        }
        for (step, vote) in [
            ("try at the same time", second?),
            ("try again", reserve().await?),
        ] {
            if vote != first {
                return surprise(step, "the first vote", &vote);
            }
        }
        Ok(())
    }

    async fn reserves_patiently(
        &self,
        gtid: Gtid,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<Vote, RehearsalError> {
        let waits = |vote: &Vote| matches!(vote, Vote::InProgress | Vote::RetryLater { .. });
        let ask = |attempt| self.reserve(gtid, attempt, operation, payload);
        until_concluded(waits, ask).await
    }

    async fn ends(
        &self,
        gtid: Gtid,
        verb: FinishVerb,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<BranchEnd, RehearsalError> {
        let waits =
            |end: &BranchEnd| matches!(end, BranchEnd::InProgress | BranchEnd::RetryLater { .. });
        until_concluded(waits, |_| self.end(gtid, verb, operation, payload)).await
    }
}
