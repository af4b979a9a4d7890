//! One action of a check, by the contract.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use accordant_protocol::id::{Attempt, BranchIndex, Epoch, Gtid, OperationName};
use accordant_protocol::json::Json;
use accordant_protocol::limits::RESULT_BYTES_MAX;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::contract::{ACT_PATH, ActAnswer, ActCall, ActVerb, Refusal};
use serde::Deserialize;

use crate::check::{Verdict, fail, skip};
use crate::clock;
use crate::options::Operation;
use crate::session::{Heard, Kind, Session, Unit};

/// A reply of which only the answer must be of its form; the rest is for the witness.
#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    attempt: Option<Json>,
    #[serde(default)]
    identity: Option<Json>,
    answer: ActAnswer,
}

/// An action that a check plays with.
pub(crate) struct Action<'s> {
    session: &'s Session<'s>,
    unit: Unit,
    attempt: AtomicU32,
    /// What the act returned, as far as a coordinator would know.
    result: Mutex<Option<Json>>,
}

impl<'s> Action<'s> {
    /// In a fresh transaction, with the payload that can be done.
    pub(crate) fn fresh(session: &'s Session<'s>) -> Verdict<Self> {
        let operation = operation(session)?;
        let (name, payload) = (operation.name.clone(), operation.payload.clone());
        Ok(Self::new(session, session.gtid()?, 0, name, payload))
    }

    /// In a fresh transaction, with the payload that is refused.
    pub(crate) fn refusable(session: &'s Session<'s>) -> Verdict<Self> {
        let operation = operation(session)?;
        match operation.refused.clone() {
            Some(payload) => {
                let name = operation.name.clone();
                Ok(Self::new(session, session.gtid()?, 0, name, payload))
            }
            None => skip("no payload that is refused was given (--refused)"),
        }
    }

    pub(crate) fn new(
        session: &'s Session<'s>,
        gtid: Gtid,
        branch: u8,
        operation: OperationName,
        payload: Json,
    ) -> Self {
        let branch = BranchIndex(branch);
        let unit = Unit { gtid, branch, kind: Kind::Action, operation, payload };
        session.begin(unit.clone());
        Self::again(session, unit)
    }

    /// One that is known already.
    pub(crate) const fn again(session: &'s Session<'s>, unit: Unit) -> Self {
        let attempt = AtomicU32::new(0);
        Self { session, unit, attempt, result: Mutex::new(None) }
    }

    /// The same action under another index.
    pub(crate) fn sibling(&self, branch: u8) -> Self {
        let Unit { gtid, operation, payload, .. } = self.unit.clone();
        Self::new(self.session, gtid, branch, operation, payload)
    }

    /// The next call.
    pub(crate) fn call(&self, verb: ActVerb) -> ActCall {
        let Unit { gtid, branch, operation, payload, .. } = self.unit.clone();
        let timeout_ms = self.session.options.timeout.as_millis();
        let timeout_ms = u64::try_from(timeout_ms).unwrap_or(u64::MAX);
        let known = self.result.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner).clone();
        ActCall {
            gtid,
            branch,
            participant: self.session.options.name.clone(),
            verb,
            attempt: Attempt(self.attempt.fetch_add(1, Ordering::Relaxed) + 1),
            epoch: Epoch(1),
            deadline: clock::now().plus_millis(timeout_ms),
            watermark: Timestamp::ZERO,
            operation,
            payload,
            result: known.filter(|_| verb == ActVerb::Compensate),
        }
    }

    /// Calls once.
    pub(crate) async fn send(&self, call: &ActCall) -> Verdict<Heard<ActAnswer>> {
        let Unit { gtid, branch, .. } = self.unit;
        let key = format!("{gtid}:{branch}:{}", call.verb.word());
        let before = self.session.witness.highest();
        self.session.reopen(gtid, branch);
        let heard = self.session.ask::<Reply>(ACT_PATH, &key, call).await?;
        let reply = match heard {
            Heard::Said(reply) => reply,
            Heard::Unknown(why) => return Ok(Heard::Unknown(why)),
        };
        let witness = self.session.witness;
        witness.identity(before.as_ref(), reply.identity.as_ref());
        witness.attempt(call.attempt, reply.attempt.as_ref());
        if let ActAnswer::Done { result } = &reply.answer {
            bounded(result.as_ref())?;
            if call.verb == ActVerb::Act {
                let known = self.result.lock();
                *known.unwrap_or_else(PoisonError::into_inner) = result.clone();
            } else {
                self.session.end(gtid, branch);
            }
        }
        Ok(Heard::Said(reply.answer))
    }

    pub(crate) async fn once(&self, verb: ActVerb) -> Verdict<Heard<ActAnswer>> {
        self.send(&self.call(verb)).await
    }

    /// Calls until it is *done* or *refused*.
    pub(crate) async fn settled(&self, verb: ActVerb) -> Verdict<ActAnswer> {
        let mut waiting = self.session.waiting();
        loop {
            match self.once(verb).await? {
                Heard::Said(answer) if is_settled(&answer) => return Ok(answer),
                Heard::Said(answer) => waiting.pause(&words(&answer)).await?,
                Heard::Unknown(why) => waiting.pause(&why).await?,
            }
        }
    }

    pub(crate) async fn act(&self) -> Verdict<ActAnswer> {
        self.settled(ActVerb::Act).await
    }

    /// Acts, and gives the result.
    pub(crate) async fn done(&self) -> Verdict<Option<Json>> {
        let answer = self.act().await?;
        if let ActAnswer::Done { result } = answer {
            return Ok(result);
        }
        fail("the act is *done*", words(&answer))
    }

    /// Acts, and gives the refusal.
    pub(crate) async fn refused(&self, why: &str) -> Verdict<Refusal> {
        let answer = self.act().await?;
        if let ActAnswer::Refused { refusal } = answer {
            return Ok(refusal);
        }
        fail(format!("the act is *refused*: {why}"), words(&answer))
    }

    /// Compensates, and gives the result.
    pub(crate) async fn undone(&self) -> Verdict<Option<Json>> {
        let answer = self.settled(ActVerb::Compensate).await?;
        if let ActAnswer::Done { result } = answer {
            return Ok(result);
        }
        fail("the compensation is *done*", words(&answer))
    }
}

pub(crate) fn operation<'s>(session: &'s Session<'_>) -> Verdict<&'s Operation> {
    let operation = session.options.act.as_ref();
    operation.map_or_else(|| skip("no action was named"), Ok)
}

pub(crate) fn bounded(result: Option<&Json>) -> Verdict {
    match result.map(|result| result.text().len()) {
        Some(bytes) if bytes > RESULT_BYTES_MAX => fail(
            format!("a result of at most {RESULT_BYTES_MAX} bytes"),
            format!("{bytes} bytes"),
        ),
        Some(_) | None => Ok(()),
    }
}

pub(crate) const fn is_settled(answer: &ActAnswer) -> bool {
    matches!(answer, ActAnswer::Done { .. } | ActAnswer::Refused { .. })
}

/// A result in words.
pub(crate) fn shown(result: Option<&Json>) -> String {
    result.map_or_else(
        || "no result".to_owned(),
        |result| format!("result {}", result.text()),
    )
}

/// An answer in words.
pub(crate) fn words(answer: &ActAnswer) -> String {
    match answer {
        ActAnswer::Done { result } => format!("done, {}", shown(result.as_ref())),
        ActAnswer::Refused { refusal } => format!("refused, {}", refusal.code),
        ActAnswer::RetryLater { reason } => format!("retry_later, {reason}"),
        ActAnswer::InProgress { .. } | _ => answer.word().to_owned(),
    }
}

/// Whether two results are the same value; `null` and none are.
pub(crate) fn same(one: Option<&Json>, other: Option<&Json>) -> bool {
    let value = |it: Option<&Json>| it.map(|it| it.to::<serde_json::Value>().unwrap_or_default());
    value(one).unwrap_or_default() == value(other).unwrap_or_default()
}
