//! Faults stop: the one fair course of things after that, to see that everything ends.
//!
//! From each state that the explorer reaches, this leads to a quiet state, or to a state from which
//! nothing moves on, which is a violation. One fair course is enough to find a rule without which
//! something is forgotten; that every fair course ends is not shown.

use accordant_protocol::group::{Group, Phase};
use accordant_protocol::wire::contract::ActVerb;

use super::action::Action;
use super::config::{Config, Voice};
use super::coordinator::Hold;
use super::network::{Order, Packet, Verb};
use super::participant::Stage;
use super::rule::Rule;
use super::state::World;
use super::told::Decision;

impl World {
    /// The next step in health; none if all is quiet. `asked` are the inquiries made since anything
    /// else happened.
    #[must_use]
    pub fn heal(&self, config: &Config, asked: &[Action]) -> Option<Action> {
        self.heal_owner()
            .or_else(|| self.heal_flush())
            .or_else(|| self.heal_packet(config))
            .or_else(|| self.heal_job(config))
            .or_else(|| self.heal_local(config))
            .or_else(|| self.heal_timer(config))
            .or_else(|| self.heal_stuck())
            .or_else(|| self.heal_inquiry(asked))
    }

    fn heal_owner(&self) -> Option<Action> {
        let holds = |hold| {
            self.up()
                .find(|(_, it)| it.hold == hold)
                .map(|(place, _)| place)
        };
        if let Some(place) = holds(Hold::Reloading) {
            return Some(Action::Acquire(place));
        }
        if let Some(place) = self.coordinators.iter().position(|it| it.stale.is_some()) {
            return Some(Action::Acquire(place));
        }
        let loading = self
            .up()
            .find(|(_, it)| matches!(it.hold, Hold::Loading(_)));
        if let Some((place, _)) = loading {
            return Some(Action::Load(place));
        }
        let owned = self
            .up()
            .any(|(_, it)| it.hold == Hold::Owner && it.epoch == self.journal.epoch);
        if owned {
            return None;
        }
        (0..self.coordinators.len())
            .find(|place| self.may_acquire(*place))
            .map(Action::Acquire)
    }

    fn heal_flush(&self) -> Option<Action> {
        let mut places = 0..self.coordinators.len();
        places
            .find(|place| self.journal.head(*place).is_some())
            .map(Action::Flush)
    }

    /// Whether a call still arrives once faults have stopped.
    pub(super) fn arrives_in_health(&self, config: &Config, order: &Order) -> bool {
        let awaited = self.coordinators.iter().any(|it| it.waits.contains(order));
        // Where nobody waits for compensations, they are not lost for that.
        let sure = order.verb == Verb::Compensate && !config.keeps(Rule::LastIsMadeGoodFirst);
        awaited || sure
    }

    fn heal_packet(&self, config: &Config) -> Option<Action> {
        let due = |packet: &Packet| match packet {
            Packet::Call(order) => self.arrives_in_health(config, order),
            Packet::Answer { .. } | Packet::Verdict { .. } => true,
        };
        self.network
            .packets()
            .iter()
            .position(due)
            .map(Action::Deliver)
    }

    fn heal_job(&self, config: &Config) -> Option<Action> {
        let (branch, participant) = self.branches().find(|(_, it)| !it.jobs.is_empty())?;
        let job = participant.jobs.first()?;
        Some(match job.stage {
            Stage::Working => {
                let voice = config.voices(branch).first().copied().unwrap_or(Voice::Yes);
                Action::Vote(branch, 0, voice)
            }
            Stage::Refusing | Stage::Committing | Stage::RollingBack | Stage::Sealing => {
                Action::Advance(branch, 0)
            }
        })
    }

    fn heal_timer(&self, config: &Config) -> Option<Action> {
        let look_up = self.up().find(|(_, it)| !it.look_ups.is_empty());
        if let Some((place, _)) = look_up {
            return Some(Action::LookUp(place));
        }
        let mut places = 0..self.coordinators.len();
        if let Some(place) = places.find(|place| self.timer_is_due(config, *place)) {
            return Some(Action::Timer(place));
        }
        // A call that is awaited and neither on its way nor at work was lost.
        self.up()
            .find(|(_, it)| !it.waits.is_empty())
            .map(|(place, _)| Action::Unanswered(place, 0))
    }

    /// The sender's local transaction ends, and the sender says so.
    fn heal_local(&self, config: &Config) -> Option<Action> {
        let (owner, holder) = self.up().find(|(_, it)| it.hold == Hold::Owner)?;
        if let Some((branch, _)) = self.local_branch(false) {
            let voice = config.voices(branch).first().copied();
            return Some(Action::EndLocal(branch, voice.unwrap_or(Voice::Yes)));
        }
        let (_, gtid) = self.local_branch(true)?;
        let transaction = holder.node.as_ref()?.transaction(&gtid)?;
        let phase = transaction.group().map(Group::phase);
        (phase == Some(Phase::Delegated)).then_some(Action::SayEnded(owner))
    }

    /// What refused for good is done by hand; everything else is tried again.
    fn heal_stuck(&self) -> Option<Action> {
        let (place, _) = self.up().find(|(_, it)| it.hold == Hold::Owner)?;
        let (action, verb) = self.stuck(place).into_iter().next()?;
        let refused = self.unit(self.begun()?, action).refused;
        let decision = if refused && verb == ActVerb::Act {
            Decision::Done
        } else {
            Decision::Retry
        };
        Some(Action::Resolve(action, place, decision))
    }

    fn heal_inquiry(&self, asked: &[Action]) -> Option<Action> {
        let (place, _) = self.up().find(|(_, it)| it.hold == Hold::Owner)?;
        let gtids = self.client.gtids.iter().enumerate();
        let due = gtids.flat_map(|(number, gtid)| {
            let prepared = self
                .branches()
                .filter(|(_, it)| it.is_prepared(*gtid) && it.asking.is_none());
            prepared.map(move |(branch, _)| Action::Inquire(branch, number, place))
        });
        due.into_iter().find(|action| !asked.contains(action))
    }
}
