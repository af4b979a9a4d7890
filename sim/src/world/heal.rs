//! Faults stop: the one fair course of things after that, to see that everything ends.
//!
//! From each state that the explorer reaches, this leads to a quiet state, or to a state from which
//! nothing moves on, which is a violation. One fair course is enough to find a rule without which
//! something is forgotten; that every fair course ends is not shown.

use super::action::Action;
use super::config::{Config, Voice};
use super::coordinator::Hold;
use super::network::{Order, Packet};
use super::participant::Stage;
use super::state::World;

impl World {
    /// The next step in health; none if all is quiet. `asked` are the inquiries made since anything
    /// else happened.
    #[must_use]
    pub fn heal(&self, config: &Config, asked: &[Action]) -> Option<Action> {
        self.heal_owner()
            .or_else(|| self.heal_flush())
            .or_else(|| self.heal_packet())
            .or_else(|| self.heal_job(config))
            .or_else(|| self.heal_timer(config))
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

    fn heal_packet(&self) -> Option<Action> {
        let awaited = |order: &Order| self.coordinators.iter().any(|it| it.waits.contains(order));
        let due = |packet: &Packet| match packet {
            Packet::Call(order) => awaited(order),
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
