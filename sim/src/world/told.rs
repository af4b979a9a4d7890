//! What comes from outside the calls: a sender's local transaction ends, a service calls back, an
//! operator decides about a step that is stuck.

use std::fmt;

use accordant_protocol::effect::RequestId;
use accordant_protocol::id::{Attempt, BranchIndex, Epoch, Gtid};
use accordant_protocol::json::Json;
use accordant_protocol::node::Event;
use accordant_protocol::record::Resolution;
use accordant_protocol::wire::contract::{ActAnswer, ActVerb, Refusal};

use super::config::{Bounded, Config, Voice, branch_name};
use super::driver::process_name;
use super::log::Log;
use super::network::{Order, Verb};
use super::service::result_of;
use super::state::{World, transaction_name};

/// The request of whoever tells something.
pub(super) const TOLD: RequestId = RequestId(8);

/// What an operator decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try again.
    Retry,
    /// It is done: the operator has done it by hand, or has seen that it is.
    Done,
    /// Leave it as it is.
    Skip,
    /// Leave it and everything else as it is.
    Abandon,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Self; 4] = [Self::Retry, Self::Done, Self::Skip, Self::Abandon];
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry => "have it tried again",
            Self::Done => "take it as done, after seeing to it",
            Self::Skip => "leave it as it is",
            Self::Abandon => "give everything up",
        })
    }
}

impl World {
    /// The actions of a process that wait for an operator.
    pub(super) fn stuck(&self, place: usize) -> Vec<(BranchIndex, ActVerb)> {
        let node = self.coordinators.get(place).and_then(|it| it.node.as_ref());
        let transaction = node.zip(self.begun());
        let transaction = transaction.and_then(|(node, gtid)| node.transaction(&gtid));
        let actions = transaction.map(|it| it.course().actions());
        let actions = actions.unwrap_or_default().iter();
        let stuck = actions.filter(|it| it.is_stuck());
        stuck
            .filter_map(|it| Some((it.index, it.verb()?)))
            .collect()
    }

    /// The sender's own local transaction ends: once, if it ever does.
    pub(super) fn end_local(
        &mut self,
        config: &Config,
        branch: BranchIndex,
        voice: Voice,
        log: &mut Log,
    ) {
        let Some(gtid) = self.begun() else {
            return;
        };
        log.say(|| {
            let (name, of) = (branch_name(branch), transaction_name(gtid));
            format!("the local transaction of {name} for {of} ends: {voice}")
        });
        let (epoch, attempt) = (Epoch(0), Attempt(0));
        let verb = Verb::CommitOnePhase;
        let order = Order { gtid, branch, verb, epoch, attempt, said: None };
        if let Some(participant) = self.participants.get_mut(&branch) {
            participant.end_local(config, order, voice, log);
        }
    }

    /// The branch of a sender whose local transaction has not ended.
    pub(super) fn local_branch(&self, ended: bool) -> Option<(BranchIndex, Gtid)> {
        if !self.plan.is_local() {
            return None;
        }
        let gtid = self.begun()?;
        let mut branches = self.branches();
        let branch = branches.find(|(_, it)| it.branch(gtid).ended == ended)?;
        Some((branch.0, gtid))
    }

    /// The sender says that its local transaction has ended.
    pub(super) fn say_ended(&mut self, config: &Config, place: usize, log: &mut Log) {
        let Some(gtid) = self.begun() else {
            return;
        };
        self.budget.spend(Bounded::Tell);
        log.say(|| {
            format!(
                "{} hears that the local transaction is over",
                process_name(place)
            )
        });
        let event = Event::Ended { request: TOLD, gtid };
        self.feed(config, place, self.now(), event, log);
    }

    /// A service says of its own accord how something stands.
    pub(super) fn call_back(
        &mut self,
        config: &Config,
        action: BranchIndex,
        place: usize,
        verb: ActVerb,
        log: &mut Log,
    ) {
        let Some(gtid) = self.begun() else {
            return;
        };
        self.budget.spend(Bounded::Tell);
        let unit = self.unit(gtid, action);
        let answer = match verb {
            ActVerb::Act if unit.acted == 0 => {
                ActAnswer::Refused { refusal: Refusal::new("refused", "the service refused") }
            }
            ActVerb::Act => ActAnswer::Done { result: Json::from_value(&result_of(action)).ok() },
            ActVerb::Compensate => ActAnswer::Done { result: None },
        };
        log.say(|| {
            let (name, process, word) = (branch_name(action), process_name(place), answer.word());
            format!("{name} calls {process} back: {} {word}", verb.word())
        });
        let event = Event::CalledBack { request: TOLD, gtid, action, verb, answer };
        self.feed(config, place, self.now(), event, log);
    }

    /// An operator decides about a step that is stuck, and sees to it where that is what is said.
    pub(super) fn resolve(
        &mut self,
        config: &Config,
        action: BranchIndex,
        place: usize,
        decision: Decision,
        log: &mut Log,
    ) {
        let stuck = self.stuck(place).into_iter().find(|it| it.0 == action);
        let Some(((_, verb), gtid)) = stuck.zip(self.begun()) else {
            return;
        };
        self.budget.spend(Bounded::Resolve);
        self.operated = true;
        log.say(|| {
            let (name, process) = (branch_name(action), process_name(place));
            format!("an operator of {process} decides about {name}: {decision}")
        });
        let resolution = match decision {
            Decision::Retry => Resolution::Retry,
            Decision::Skip => Resolution::Skip,
            Decision::Abandon => Resolution::Abandon,
            Decision::Done => {
                let unit = self.unit_mut(gtid, action);
                match verb {
                    ActVerb::Act => {
                        unit.acted = 1;
                        unit.refused = false;
                    }
                    ActVerb::Compensate => unit.compensated = unit.acted,
                }
                let result = Json::from_value(&result_of(action)).ok();
                Resolution::Done { result: result.filter(|_| verb == ActVerb::Act) }
            }
        };
        let (by, reason) = ("ann".to_owned(), "seen".to_owned());
        let request = TOLD;
        let event = Event::Resolved { request, gtid, action, verb, resolution, by, reason };
        self.feed(config, place, self.now(), event, log);
    }
}
