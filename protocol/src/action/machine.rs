//! The machine that follows the table.

use crate::calls::{Calls, Pause};
use crate::id::{Attempt, BranchIndex, BranchName, Position};
use crate::json::Json;
use crate::limits::{PROGRESS_MS_MAX, REASON_BYTES_MAX};
use crate::plan::{self, Class, Compensation, Retry};
use crate::time::Timestamp;
use crate::wire::contract::{ActVerb, cut};

use super::table::{InputKind, Phase, Rule, rule};

/// The first pause before what could not be sent is tried again, if the plan has none that is longer.
const UNSENT_MS: u64 = 200;

/// An action on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// Its number in the plan.
    pub index: BranchIndex,
    /// The name of its step.
    pub name: BranchName,
    /// What may become of its step.
    pub class: Class,
    /// Whether it is done by a service that has no barrier.
    pub plain: bool,
    /// Whether there is anything to make good.
    pub compensatable: bool,
    phase: Phase,
    /// The calls to it.
    pub calls: Calls,
    /// What it returned.
    pub result: Option<Json>,
    /// Where its result stands in the journal: before that is durable nobody hears of it.
    pub recorded: Option<Position>,
    /// An earlier owner may have told it to act, or this one has.
    pub(crate) maybe_sent: bool,
    /// The present call to act is not the first that may have been sent.
    pub(crate) repeated: bool,
    /// It is durable that it may be told to act, where that is asked for.
    pub(crate) started: bool,
    /// It is among those that the record of turning back names.
    pub(crate) named: bool,
    /// Its saga turns back, and it is only asked whether it has acted: that is a part of making good,
    /// and as much patience is had with it.
    pub(crate) clearing_up: bool,
    /// When its time is over.
    pub(crate) deadline: Option<Timestamp>,
    /// Since when it is stuck.
    pub stuck_at: Option<Timestamp>,
    act: Retry,
    compensate: Retry,
}

impl Action {
    /// An action to which nothing was sent.
    #[must_use]
    pub fn new(planned: &plan::Action) -> Self {
        Self {
            index: planned.index,
            name: planned.name.clone(),
            class: planned.class,
            plain: planned.is_plain(),
            compensatable: planned.compensation != Compensation::Nothing,
            phase: Phase::Waiting,
            calls: Calls::default(),
            result: None,
            recorded: None,
            maybe_sent: false,
            repeated: false,
            started: false,
            named: false,
            clearing_up: false,
            deadline: None,
            stuck_at: None,
            act: planned.retry,
            compensate: planned.compensate_retry,
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Puts it where the journal says that it stands.
    pub(crate) const fn found(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// What it was told last, as long as that is not known to be done.
    #[must_use]
    pub const fn verb(&self) -> Option<ActVerb> {
        match self.phase {
            Phase::Acting | Phase::StuckActing => Some(ActVerb::Act),
            Phase::Compensating | Phase::StuckCompensating => Some(ActVerb::Compensate),
            Phase::Waiting | Phase::Done | Phase::Refused | Phase::Compensated | Phase::Skipped => {
                None
            }
        }
    }

    /// Whether it cannot go on without an operator.
    #[must_use]
    pub const fn is_stuck(&self) -> bool {
        matches!(self.phase, Phase::StuckActing | Phase::StuckCompensating)
    }

    /// Whether what comes after it may start.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        match self.phase {
            Phase::Done => true,
            // What comes after the pivot goes on without a step that an operator gave up.
            Phase::Skipped => self.class == Class::Retriable,
            Phase::Waiting
            | Phase::Acting
            | Phase::Refused
            | Phase::Compensating
            | Phase::Compensated
            | Phase::StuckActing
            | Phase::StuckCompensating => false,
        }
    }

    /// Whether nothing more will be done to make it good.
    #[must_use]
    pub const fn is_undone(&self) -> bool {
        matches!(self.phase, Phase::Compensated | Phase::Skipped)
    }

    /// Whether it may have acted, and nobody knows.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        match self.phase {
            Phase::Acting | Phase::StuckActing => true,
            Phase::Waiting => self.maybe_sent,
            Phase::Done
            | Phase::Refused
            | Phase::Compensating
            | Phase::Compensated
            | Phase::StuckCompensating
            | Phase::Skipped => false,
        }
    }

    /// Whether its attempts are used up.
    pub(crate) fn is_exhausted(&self) -> bool {
        let retry = self.retry();
        retry.attempts.is_some_and(|most| self.calls.tries >= most)
    }

    /// Follows the table. Tells whether it moved; `None` if the input has no place here.
    pub(crate) fn feed(&mut self, input: InputKind) -> Option<bool> {
        match rule(self.phase, input) {
            Rule::To(phase) => {
                self.phase = phase;
                self.calls.end();
                self.calls.begin();
                self.stuck_at = None;
                Some(true)
            }
            Rule::Stay => Some(false),
            Rule::Refuse => None,
        }
    }

    /// When to look at it again.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        let repeat = self.calls.retry_at.filter(|_| !self.is_stuck());
        let deadline = self.deadline.filter(|_| self.phase == Phase::Acting);
        repeat.into_iter().chain(deadline).min()
    }

    /// Counts a call that goes out now.
    pub(crate) fn call(&mut self) -> Attempt {
        self.repeated = self.maybe_sent;
        self.maybe_sent = true;
        self.calls.call()
    }

    /// Plans a repeat after a call that came to nothing.
    pub(crate) fn retry_later(&mut self, now: Timestamp, seed: u64, error: &str) {
        let Retry { pause_ms, pause_ms_max, .. } = self.retry();
        let pause = Pause { ms: pause_ms, ms_max: pause_ms_max };
        let error = Some(cut(error, REASON_BYTES_MAX));
        self.calls.retry_later(now, pause, seed, self.index, error);
    }

    /// Plans to send what was not sent.
    pub(crate) fn send_later(&mut self, now: Timestamp, seed: u64, error: &str) {
        let Retry { pause_ms, pause_ms_max, .. } = self.retry();
        let ms = pause_ms.max(UNSENT_MS);
        let pause = Pause { ms, ms_max: pause_ms_max.max(ms) };
        let error = Some(cut(error, REASON_BYTES_MAX));
        self.calls.send_later(now, pause, seed, self.index, error);
    }

    /// Plans to ask again: it is under way, so this was no failed attempt. But what a saga that turns
    /// back waits for is not under way for ever.
    pub(crate) fn ask_later(&mut self, now: Timestamp, seed: u64, after_ms: Option<u64>) {
        if self.phase == Phase::Acting && !self.clearing_up {
            self.calls.tries = self.calls.tries.saturating_sub(1);
        }
        let Retry { pause_ms, pause_ms_max, .. } = self.retry();
        let least = pause_ms.min(PROGRESS_MS_MAX);
        let ms = after_ms
            .unwrap_or(pause_ms_max)
            .clamp(least, PROGRESS_MS_MAX);
        // The upper half of a pause is spread: what was asked for is the least.
        let pause = Pause { ms: 2 * ms, ms_max: 2 * ms };
        self.calls.retry_later(now, pause, seed, self.index, None);
    }

    const fn retry(&self) -> Retry {
        match self.phase {
            Phase::Compensating | Phase::Compensated | Phase::StuckCompensating => self.compensate,
            Phase::Acting | Phase::StuckActing if self.clearing_up => self.compensate,
            Phase::Waiting
            | Phase::Acting
            | Phase::Done
            | Phase::Refused
            | Phase::StuckActing
            | Phase::Skipped => self.act,
        }
    }
}
