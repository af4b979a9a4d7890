//! One branch of a check: two-phase, or a reservation.

use std::sync::atomic::{AtomicU32, Ordering};

use accordant_protocol::id::{Attempt, BranchIndex, Epoch, Gtid, OperationName};
use accordant_protocol::json::Json;
use accordant_protocol::plan::Mode;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::contract::{
    BranchEnd, FINISH_PATH, FinishCall, FinishOrder, FinishVerb, PREPARE_PATH, PrepareCall,
    Refusal, Vote, Work,
};
use serde::Deserialize;

use crate::action::{bounded, shown};
use crate::check::{Verdict, fail, skip};
use crate::clock;
use crate::limits::FRESH_MAX;
use crate::options::Operation;
use crate::session::{Heard, Kind, Session, Unit};

#[derive(Deserialize)]
struct VoteReply {
    #[serde(default)]
    attempt: Option<Json>,
    #[serde(default)]
    identity: Option<Json>,
    vote: Vote,
}

#[derive(Deserialize)]
struct EndReply {
    #[serde(default)]
    identity: Option<Json>,
    answers: Vec<EndAnswer>,
}

#[derive(Deserialize)]
struct EndAnswer {
    gtid: Gtid,
    branch: BranchIndex,
    #[serde(default)]
    attempt: Option<Json>,
    end: BranchEnd,
}

/// A branch that a check plays with.
pub(crate) struct Branch<'s> {
    session: &'s Session<'s>,
    pub unit: Unit,
    mode: Mode,
    attempt: AtomicU32,
}

impl<'s> Branch<'s> {
    /// In a fresh transaction, with the payload that can be done.
    pub(crate) fn fresh(session: &'s Session<'s>, mode: Mode) -> Verdict<Self> {
        let operation = operation(session, mode)?;
        let (name, payload) = (operation.name.clone(), operation.payload.clone());
        Ok(Self::new(session, session.gtid()?, 0, mode, name, payload))
    }

    /// In a fresh transaction, with the payload that is refused.
    pub(crate) fn refusable(session: &'s Session<'s>, mode: Mode) -> Verdict<Self> {
        let operation = operation(session, mode)?;
        match operation.refused.clone() {
            Some(payload) => {
                let name = operation.name.clone();
                Ok(Self::new(session, session.gtid()?, 0, mode, name, payload))
            }
            None => skip("no payload that is refused was given (--refused)"),
        }
    }

    pub(crate) fn new(
        session: &'s Session<'s>,
        gtid: Gtid,
        branch: u8,
        mode: Mode,
        operation: OperationName,
        payload: Json,
    ) -> Self {
        let (branch, kind) = (BranchIndex(branch), Kind::Branch(mode));
        let unit = Unit { gtid, branch, kind, operation, payload };
        session.begin(unit.clone());
        Self::again(session, unit, mode)
    }

    /// One that is known already.
    pub(crate) const fn again(session: &'s Session<'s>, unit: Unit, mode: Mode) -> Self {
        Self { session, unit, mode, attempt: AtomicU32::new(0) }
    }

    /// The same branch under another index.
    pub(crate) fn sibling(&self, branch: u8) -> Self {
        let Unit { gtid, operation, payload, .. } = self.unit.clone();
        Self::new(self.session, gtid, branch, self.mode, operation, payload)
    }

    /// One in a fresh transaction that has voted yes, and the result. What is refused as retryable is
    /// tried again: somebody else may hold a lock.
    pub(crate) async fn prepared(
        session: &'s Session<'s>,
        mode: Mode,
    ) -> Verdict<(Self, Option<Json>)> {
        let mut tries = 0;
        loop {
            tries += 1;
            let branch = Self::fresh(session, mode)?;
            let vote = branch.prepare().await?;
            let passing = matches!(&vote, Vote::No { refusal } if refusal.retryable);
            if !passing || tries == FRESH_MAX {
                let result = is_yes(mode, vote)?;
                return Ok((branch, result));
            }
        }
    }

    fn attempt(&self) -> Attempt {
        Attempt(self.attempt.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The next call to prepare.
    pub(crate) fn call(&self) -> PrepareCall {
        let Unit { gtid, branch, operation, payload, .. } = self.unit.clone();
        let timeout_ms = self.session.options.timeout.as_millis();
        let timeout_ms = u64::try_from(timeout_ms).unwrap_or(u64::MAX);
        PrepareCall {
            gtid,
            branch,
            participant: self.session.options.name.clone(),
            attempt: self.attempt(),
            epoch: Epoch(1),
            deadline: clock::now().plus_millis(timeout_ms),
            watermark: Timestamp::ZERO,
            one_phase: false,
            mode: self.mode,
            operation,
            payload,
        }
    }

    /// Prepares once.
    pub(crate) async fn send(&self, call: &PrepareCall) -> Verdict<Heard<Vote>> {
        let Unit { gtid, branch, .. } = self.unit;
        let key = format!("{gtid}:{branch}:prepare");
        let before = self.session.witness.highest();
        self.session.reopen(gtid, branch);
        let heard = self
            .session
            .ask::<VoteReply>(PREPARE_PATH, &key, call)
            .await?;
        let reply = match heard {
            Heard::Said(reply) => reply,
            Heard::Unknown(why) => return Ok(Heard::Unknown(why)),
        };
        let witness = self.session.witness;
        witness.identity(before.as_ref(), reply.identity.as_ref());
        witness.attempt(call.attempt, reply.attempt.as_ref());
        bounded(result_of(&reply.vote))?;
        if matches!(
            reply.vote,
            Vote::No { .. } | Vote::Committed { .. } | Vote::ReadOnly { .. }
        ) {
            self.session.end(gtid, branch);
        }
        Ok(Heard::Said(reply.vote))
    }

    /// Prepares until the vote settles something.
    pub(crate) async fn prepare(&self) -> Verdict<Vote> {
        self.voted(false).await
    }

    /// The same, as the only branch.
    pub(crate) async fn commit_at_once(&self) -> Verdict<Vote> {
        self.voted(true).await
    }

    async fn voted(&self, one_phase: bool) -> Verdict<Vote> {
        let mut waiting = self.session.waiting();
        loop {
            let call = PrepareCall { one_phase, ..self.call() };
            match self.send(&call).await? {
                Heard::Said(vote) if is_settled(&vote) => return Ok(vote),
                Heard::Said(vote) => waiting.pause(&words(&vote)).await?,
                Heard::Unknown(why) => waiting.pause(&why).await?,
            }
        }
    }

    /// Prepares, and gives the refusal.
    pub(crate) async fn no(&self, why: &str) -> Verdict<Refusal> {
        let vote = self.prepare().await?;
        if let Vote::No { refusal } = vote {
            return Ok(refusal);
        }
        fail(format!("the vote is *no*: {why}"), words(&vote))
    }

    /// The next order to end it.
    pub(crate) fn order(&self, verb: FinishVerb) -> FinishOrder {
        let Unit { gtid, branch, operation, payload, .. } = self.unit.clone();
        let work = match verb {
            FinishVerb::Confirm | FinishVerb::Cancel => Some(Work { operation, payload }),
            FinishVerb::Commit | FinishVerb::Abort => None,
        };
        FinishOrder {
            gtid,
            branch,
            verb,
            attempt: self.attempt(),
            epoch: Epoch(1),
            watermark: Timestamp::ZERO,
            want_result: true,
            work,
        }
    }

    /// Orders once.
    pub(crate) async fn finish_once(&self, verb: FinishVerb) -> Verdict<Heard<BranchEnd>> {
        let mut ends = self.session.finish(vec![self.order(verb)]).await?;
        Ok(ends
            .pop()
            .unwrap_or_else(|| Heard::Unknown("no answer".to_owned())))
    }

    /// Orders until the end is known.
    pub(crate) async fn finish(&self, verb: FinishVerb) -> Verdict<BranchEnd> {
        let mut waiting = self.session.waiting();
        loop {
            match self.finish_once(verb).await? {
                Heard::Said(end) if has_ended(&end) => return Ok(end),
                Heard::Said(end) => waiting.pause(&end_words(&end)).await?,
                Heard::Unknown(why) => waiting.pause(&why).await?,
            }
        }
    }

    /// Orders, and gives the result of what has committed.
    pub(crate) async fn committed(&self, verb: FinishVerb, why: &str) -> Verdict<Option<Json>> {
        let end = self.finish(verb).await?;
        if let BranchEnd::Committed { result } = end {
            return Ok(result);
        }
        let expected = format!("{} is answered *committed*: {why}", verb.word());
        fail(expected, end_words(&end))
    }

    /// Orders what ends aborted.
    pub(crate) async fn aborted(&self, verb: FinishVerb, why: &str) -> Verdict {
        let end = self.finish(verb).await?;
        if end == BranchEnd::Aborted {
            return Ok(());
        }
        let expected = format!("{} is answered *aborted*: {why}", verb.word());
        fail(expected, end_words(&end))
    }
}

impl Session<'_> {
    /// Sends orders in one call: what is heard of each, in their order.
    pub(crate) async fn finish(&self, orders: Vec<FinishOrder>) -> Verdict<Vec<Heard<BranchEnd>>> {
        let call = FinishCall { participant: self.options.name.clone(), orders };
        let first = call.orders.first();
        let key = first.map(|it| format!("{}:{}:{}", it.gtid, it.branch, it.verb.word()));
        let before = self.witness.highest();
        let heard = self
            .ask::<EndReply>(FINISH_PATH, &key.unwrap_or_default(), &call)
            .await?;
        let reply = match heard {
            Heard::Said(reply) => reply,
            Heard::Unknown(why) => {
                return Ok(call
                    .orders
                    .iter()
                    .map(|_| Heard::Unknown(why.clone()))
                    .collect());
            }
        };
        self.witness
            .identity(before.as_ref(), reply.identity.as_ref());
        let mut answers: Vec<Option<EndAnswer>> = reply.answers.into_iter().map(Some).collect();
        Ok(call
            .orders
            .iter()
            .map(|order| self.end_of(order, &mut answers))
            .collect())
    }

    /// Takes the answer to an order out of those that have come. One of the right attempt comes
    /// before others, because one call may hold several orders about a branch.
    fn end_of(&self, order: &FinishOrder, answers: &mut [Option<EndAnswer>]) -> Heard<BranchEnd> {
        let meant = |answer: &EndAnswer| answer.gtid == order.gtid && answer.branch == order.branch;
        let exact = |answer: &EndAnswer| {
            let attempt = answer.attempt.as_ref().and_then(|it| it.to::<u32>().ok());
            meant(answer) && attempt == Some(order.attempt.0)
        };
        let found = answers.iter().position(|it| it.as_ref().is_some_and(exact));
        let found = found.or_else(|| answers.iter().position(|it| it.as_ref().is_some_and(meant)));
        let answer = found
            .and_then(|at| answers.get_mut(at))
            .and_then(Option::take);
        let Some(answer) = answer else {
            return Heard::Unknown("no answer to this order in the reply".to_owned());
        };
        self.witness.attempt(order.attempt, answer.attempt.as_ref());
        if has_ended(&answer.end) {
            self.end(order.gtid, order.branch);
        }
        Heard::Said(answer.end)
    }
}

pub(crate) fn operation<'s>(session: &'s Session<'_>, mode: Mode) -> Verdict<&'s Operation> {
    let operation = match mode {
        Mode::Tcc => session.options.tcc.as_ref(),
        Mode::TwoPhase | Mode::Local => session.options.two_phase.as_ref(),
    };
    operation.map_or_else(|| skip("no operation was named"), Ok)
}

/// The result of a yes.
pub(crate) fn is_yes(mode: Mode, vote: Vote) -> Verdict<Option<Json>> {
    match (vote, mode) {
        (Vote::Yes { result }, _) => Ok(result),
        (Vote::ReadOnly { .. }, Mode::TwoPhase | Mode::Local) => {
            skip("the vote was read_only: the payload must make the operation write something")
        }
        (other, _) => fail("the vote is *yes*", words(&other)),
    }
}

pub(crate) const fn result_of(vote: &Vote) -> Option<&Json> {
    match vote {
        Vote::Yes { result } | Vote::ReadOnly { result } | Vote::Committed { result } => {
            result.as_ref()
        }
        Vote::No { .. } | Vote::InProgress | Vote::RetryLater { .. } | _ => None,
    }
}

pub(crate) const fn is_settled(vote: &Vote) -> bool {
    !matches!(vote, Vote::InProgress | Vote::RetryLater { .. })
}

pub(crate) const fn has_ended(end: &BranchEnd) -> bool {
    matches!(end, BranchEnd::Committed { .. } | BranchEnd::Aborted)
}

/// A vote in words.
pub(crate) fn words(vote: &Vote) -> String {
    match vote {
        Vote::Yes { result } | Vote::ReadOnly { result } | Vote::Committed { result } => {
            format!("{}, {}", vote.word(), shown(result.as_ref()))
        }
        Vote::No { refusal } => format!("no, {}", refusal.code),
        Vote::RetryLater { reason } => format!("retry_later, {reason}"),
        Vote::InProgress | _ => vote.word().to_owned(),
    }
}

/// An end in words.
pub(crate) fn end_words(end: &BranchEnd) -> String {
    match end {
        BranchEnd::Committed { result } => format!("committed, {}", shown(result.as_ref())),
        BranchEnd::RetryLater { reason } => format!("retry_later, {reason}"),
        BranchEnd::Aborted | BranchEnd::InProgress | _ => end.word().to_owned(),
    }
}
