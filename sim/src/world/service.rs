//! A model of the service of one action: what it holds, and what a call means to it.
//!
//! Carrying a call out is one step: a call that is at work for long is one that arrives late. Both
//! kinds of service do an act once and answer it alike ever after.
//!
//! | call | by the contract, behind the barrier | at a plain service |
//! |---|---|---|
//! | act, done before | done, with the first result | the same |
//! | act, refused before | refused | the same |
//! | act, after a compensation that found nothing | refused | does it: nobody keeps it out |
//! | act, otherwise | does it, or refuses for ever | the same |
//! | compensate, done before | done | the same |
//! | compensate, after the act | makes good, once | the same |
//! | compensate, nothing done | blocks the act for ever | an alarm: it knows nothing of an act |

use std::collections::BTreeMap;

use accordant_protocol::effect::Answer;
use accordant_protocol::id::{BranchIndex, Gtid};
use accordant_protocol::json::Json;
use accordant_protocol::wire::contract::{ActAnswer, Identity, Refusal};

use super::config::{Config, Voice, branch_name};
use super::log::{Log, Mark};
use super::network::{Order, Verb};
use super::rule::Rule;
use super::state::World;
use crate::invariant::closure;

/// The service of one action, for each transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Service {
    /// What it holds, by transaction.
    pub units: BTreeMap<Gtid, Unit>,
}

/// What a service holds of an action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Unit {
    /// How often it has acted.
    pub acted: u8,
    /// It has refused, durably.
    pub refused: bool,
    /// A compensation came first, and keeps the act out.
    pub blocked: bool,
    /// How often it was made good.
    pub compensated: u8,
    /// An act was sent to it. Kept for the invariants.
    pub asked: bool,
    /// It has refused, whether it remembers or not. Kept for the invariants.
    pub unwilling: bool,
}

impl Unit {
    /// Whether no act can take effect any more, but one that has.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.acted > 0 || self.refused || self.blocked
    }
}

impl Service {
    /// What it holds for a transaction.
    #[must_use]
    pub fn unit(&self, gtid: Gtid) -> Unit {
        self.units.get(&gtid).copied().unwrap_or_default()
    }

    pub(super) fn unit_mut(&mut self, gtid: Gtid) -> &mut Unit {
        self.units.entry(gtid).or_default()
    }
}

/// What the one execution of an action returns: never the same for two actions.
#[must_use]
pub fn result_of(index: BranchIndex) -> u64 {
    10 + u64::from(index.0)
}

fn result(index: BranchIndex) -> Option<Json> {
    Json::from_value(&result_of(index)).ok()
}

fn refusal() -> ActAnswer {
    ActAnswer::Refused { refusal: Refusal::new("refused", "the service refused") }
}

impl World {
    /// The service of an action.
    #[must_use]
    pub fn unit(&self, gtid: Gtid, index: BranchIndex) -> Unit {
        let service = self.services.get(&index);
        service.map(|it| it.unit(gtid)).unwrap_or_default()
    }

    pub(super) fn unit_mut(&mut self, gtid: Gtid, index: BranchIndex) -> &mut Unit {
        self.services.entry(index).or_default().unit_mut(gtid)
    }

    pub(super) fn is_plain(&self, index: BranchIndex) -> bool {
        self.plan.action(index).is_some_and(|it| it.is_plain())
    }

    /// Whether a call would do something for the first time, so that its service has a say in it.
    pub(super) fn is_fresh(&self, order: &Order) -> bool {
        let unit = self.unit(order.gtid, order.branch);
        match order.verb {
            Verb::Act => !unit.is_settled(),
            Verb::Compensate => unit.acted > unit.compensated,
            Verb::Prepare | Verb::CommitOnePhase | Verb::Commit | Verb::Abort => false,
        }
    }

    /// A call arrives at its service, which carries it out.
    pub(super) fn serve(&mut self, config: &Config, order: Order, voice: Voice, log: &mut Log) {
        let answer = match order.verb {
            Verb::Compensate => self.make_good(config, order, voice, log),
            Verb::Prepare | Verb::CommitOnePhase | Verb::Commit | Verb::Abort | Verb::Act => {
                self.act(config, order, voice, log)
            }
        };
        let system = branch_name(order.branch).to_owned();
        let identity = Identity { system, timeline: 1, starts: 1 };
        let identity = (!self.is_plain(order.branch)).then_some(identity);
        self.respond(config, order, Some(Answer::Acted { identity, answer }), log);
    }

    fn act(&mut self, config: &Config, order: Order, voice: Voice, log: &mut Log) -> ActAnswer {
        let (gtid, index) = (order.gtid, order.branch);
        let plain = self.is_plain(index);
        let unit = self.unit(gtid, index);
        if unit.acted > 0 {
            return ActAnswer::Done { result: result(index) };
        }
        if unit.blocked && !plain {
            log.mark(Mark::LateActRefused);
        }
        if unit.refused || (unit.blocked && !plain) {
            return refusal();
        }
        if voice == Voice::No {
            log.mark(Mark::ActRefused);
            let keeps = config.keeps(Rule::RefusalIsStored);
            let unit = self.unit_mut(gtid, index);
            unit.unwilling = true;
            unit.refused = keeps;
            return refusal();
        }
        for violation in closure::check_act(self, &order) {
            self.alarm(violation);
        }
        log.say(|| format!("{} acts", branch_name(index)));
        self.unit_mut(gtid, index).acted += 1;
        if voice == Voice::Later {
            log.mark(Mark::ActInProgress);
            return ActAnswer::InProgress { retry_after_ms: None };
        }
        ActAnswer::Done { result: result(index) }
    }

    fn make_good(
        &mut self,
        config: &Config,
        order: Order,
        voice: Voice,
        log: &mut Log,
    ) -> ActAnswer {
        let (gtid, index) = (order.gtid, order.branch);
        let unit = self.unit(gtid, index);
        if unit.acted > unit.compensated && voice == Voice::No {
            log.mark(Mark::CompensationRefused);
            return refusal();
        }
        for violation in closure::check_compensation(self, &order) {
            self.alarm(violation);
        }
        let unit = self.unit_mut(gtid, index);
        if unit.acted > unit.compensated {
            unit.compensated += 1;
            log.say(|| format!("{} makes good", branch_name(index)));
        } else if unit.acted == 0 && !unit.refused {
            log.mark(Mark::CompensatedFirst);
            log.say(|| format!("{} has done nothing, and makes a note", branch_name(index)));
            unit.blocked = config.keeps(Rule::NullCompensation);
        }
        if voice == Voice::Later {
            return ActAnswer::InProgress { retry_after_ms: None };
        }
        ActAnswer::Done { result: None }
    }
}
