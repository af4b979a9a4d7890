//! Rehearsals of actions, compensations and messages.

use accordant_protocol::id::{Attempt, BranchIndex, Epoch, Gtid, OperationName};
use accordant_protocol::json::Json;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::contract::{ActAnswer, ActCall, ActVerb};
use serde::Serialize;

use super::{DEADLINE_MS, Rehearsal, RehearsalError, surprise, until_concluded};
use crate::act;
use crate::clock;

impl Rehearsal<'_> {
    /// Has action 0 done, or made good.
    ///
    /// # Errors
    /// If there was no answer.
    pub async fn act(
        &self,
        gtid: Gtid,
        verb: ActVerb,
        attempt: u32,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<ActAnswer, RehearsalError> {
        let call = ActCall {
            gtid,
            branch: BranchIndex(0),
            participant: self.participant.engine.name.clone(),
            verb,
            attempt: Attempt(attempt),
            epoch: Epoch(1),
            deadline: clock::now().plus_millis(DEADLINE_MS),
            watermark: Timestamp::ZERO,
            operation: OperationName::new(operation)?,
            payload: Json::from_value(payload)?,
            result: None,
        };
        let reply = Box::pin(act::act(&self.participant.engine, &call)).await?;
        Ok(reply.answer)
    }

    /// Has an action or a message done by two attempts at the same time and by one more
    /// afterwards. Its effect must then be there once: look.
    ///
    /// # Errors
    /// If it was not done, or an attempt was told another result than the first.
    pub async fn acts_once(
        &self,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), RehearsalError> {
        let gtid = self.transaction()?;
        self.acts(gtid, operation, payload).await
    }

    /// Has an action done and made good, and repeats every call, before and after. Nothing of it
    /// may then be there: look.
    ///
    /// # Errors
    /// If a call had another answer than it must.
    pub async fn compensates(
        &self,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), RehearsalError> {
        let gtid = self.transaction()?;
        self.acts(gtid, operation, payload).await?;
        let undo = || self.patiently(gtid, ActVerb::Compensate, operation, payload);
        let (first, second) = tokio::join!(undo(), undo());
        let undone = done("compensate", first?)?;
        for (step, answer) in [
            ("compensate at the same time", second?),
            ("compensate again", undo().await?),
        ] {
            same(step, &undone, answer)?;
        }
        let late = self.patiently(gtid, ActVerb::Act, operation, payload);
        done("act after compensate", late.await?)?;
        Ok(())
    }

    /// Makes an action good that never came, and has it come then. Nothing of it may be there:
    /// look.
    ///
    /// # Errors
    /// If a call had another answer than it must.
    pub async fn keeps_out(
        &self,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), RehearsalError> {
        let gtid = self.transaction()?;
        for step in ["compensate before act", "compensate before act again"] {
            let undone = self.patiently(gtid, ActVerb::Compensate, operation, payload);
            done(step, undone.await?)?;
        }
        for step in ["act after compensate", "act after compensate again"] {
            let late = self.patiently(gtid, ActVerb::Act, operation, payload);
            refused(step, late.await?)?;
        }
        Ok(())
    }

    /// Has an action done and made good at the same time. Nothing of it may then be there: look.
    ///
    /// # Errors
    /// If a call had another answer than it must.
    pub async fn races(
        &self,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), RehearsalError> {
        let gtid = self.transaction()?;
        let (acted, undone) = tokio::join!(
            self.patiently(gtid, ActVerb::Act, operation, payload),
            self.patiently(gtid, ActVerb::Compensate, operation, payload),
        );
        done("compensate while it acts", undone?)?;
        let acted = acted?;
        if !matches!(acted, ActAnswer::Done { .. } | ActAnswer::Refused { .. }) {
            return surprise("act while it is compensated", "done or refused", &acted);
        }
        Ok(())
    }

    /// Has an action refused, and repeats it: it must stay refused. Nothing of it may be there:
    /// look.
    ///
    /// # Errors
    /// If a call had another answer than it must.
    pub async fn refuses(
        &self,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), RehearsalError> {
        let gtid = self.transaction()?;
        let act = || self.patiently(gtid, ActVerb::Act, operation, payload);
        let first = refused("act", act().await?)?;
        let undone = self.patiently(gtid, ActVerb::Compensate, operation, payload);
        done("compensate what was refused", undone.await?)?;
        let again = act().await?;
        if again != first {
            return surprise("act again", "the first refusal", &again);
        }
        Ok(())
    }

    async fn acts(
        &self,
        gtid: Gtid,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), RehearsalError> {
        let act = || self.patiently(gtid, ActVerb::Act, operation, payload);
        let (first, second) = tokio::join!(act(), act());
        let first = done("act", first?)?;
        same("act at the same time", &first, second?)?;
        same("act again", &first, act().await?)
    }

    /// Asks as a coordinator does: again, until something was concluded.
    async fn patiently(
        &self,
        gtid: Gtid,
        verb: ActVerb,
        operation: &str,
        payload: &(impl Serialize + Sync + ?Sized),
    ) -> Result<ActAnswer, RehearsalError> {
        let waits = |answer: &ActAnswer| {
            matches!(
                answer,
                ActAnswer::InProgress { .. } | ActAnswer::RetryLater { .. }
            )
        };
        let ask = |attempt| self.act(gtid, verb, attempt, operation, payload);
        until_concluded(waits, ask).await
    }
}

fn done(step: &'static str, answer: ActAnswer) -> Result<ActAnswer, RehearsalError> {
    if matches!(answer, ActAnswer::Done { .. }) {
        return Ok(answer);
    }
    surprise(step, "done", &answer)
}

fn refused(step: &'static str, answer: ActAnswer) -> Result<ActAnswer, RehearsalError> {
    if matches!(answer, ActAnswer::Refused { .. }) {
        return Ok(answer);
    }
    surprise(step, "refused", &answer)
}

fn same(step: &'static str, first: &ActAnswer, answer: ActAnswer) -> Result<(), RehearsalError> {
    if done(step, answer.clone())? == *first {
        return Ok(());
    }
    surprise(step, "the first result", &answer)
}
