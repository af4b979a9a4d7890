//! One step of the world, and which steps are possible.

use accordant_protocol::group::{Group, Phase};
use accordant_protocol::id::BranchIndex;
use accordant_protocol::plan::Direction;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::contract::ActVerb;

use super::config::{Bounded, Config, START, TIMEOUT_MS, Voice};
use super::coordinator::{Coordinator, Hold};
use super::participant::Stage;
use super::rule::Rule;
use super::state::World;
use super::told::Decision;

/// One step. Numbers are places in the lists of the state in which it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The client submits its request to a coordinator.
    Submit(usize),
    /// The client asks a coordinator how its transaction stands.
    Query(usize),
    /// The first write that a coordinator waits for is executed, and it hears what became of it.
    Flush(usize),
    /// A coordinator hears nothing of the writes it waits for.
    FlushUnknown(usize),
    /// A write for which nobody waits arrives after all.
    Land(usize),
    /// A packet arrives.
    Deliver(usize),
    /// A call to an action arrives, and is answered not as usual.
    Serve(usize, Voice),
    /// A call arrives, and a copy of it is still on its way; to an action: only the copy is made.
    Duplicate(usize),
    /// A coordinator gives a call up.
    Unanswered(usize, usize),
    /// A handler ends.
    Vote(BranchIndex, usize, Voice),
    /// A participant carries its next statement out.
    Advance(BranchIndex, usize),
    /// A participant dies, and starts again.
    RestartParticipant(BranchIndex),
    /// A coordinator dies.
    Crash(usize),
    /// A coordinator raises the epoch; it starts first, if it is down.
    Acquire(usize),
    /// A coordinator reads a page of open transactions.
    Load(usize),
    /// A coordinator believes that it has lost the partition.
    Lose(usize),
    /// The time for voting is over.
    Deadline,
    /// A coordinator's next timer is due.
    Timer(usize),
    /// A participant asks a coordinator about a transaction.
    Inquire(BranchIndex, usize, usize),
    /// A coordinator looks in the journal for an inquiry, or tells its core that nothing is there.
    LookUp(usize),
    /// The sender's own local transaction ends.
    EndLocal(BranchIndex, Voice),
    /// The sender says so to a coordinator.
    SayEnded(usize),
    /// A service tells a coordinator how an action stands.
    CallBack(BranchIndex, usize, ActVerb),
    /// An operator of a coordinator decides about a step that is stuck.
    Resolve(BranchIndex, usize, Decision),
    /// Faults stop: what nobody waits for is lost, and whoever was replaced knows it.
    Calm,
}

impl World {
    /// Appends what may happen next.
    pub fn actions(&self, config: &Config, actions: &mut Vec<Action>) {
        self.client_actions(actions);
        self.journal_actions(actions);
        self.network_actions(config, actions);
        self.participant_actions(config, actions);
        self.coordinator_actions(config, actions);
        self.outside_actions(config, actions);
        if self.budget.allows(Bounded::Deadline) && !self.late && self.minds_the_deadline() {
            actions.push(Action::Deadline);
        }
    }

    /// Elsewhere the deadline changes nothing but the times that records carry.
    fn minds_the_deadline(&self) -> bool {
        let nodes = self.coordinators.iter().filter_map(|it| it.node.as_ref());
        nodes
            .flat_map(|node| node.transactions())
            .any(|transaction| {
                let course = transaction.course();
                let phase = transaction.group().map(Group::phase);
                let voting = matches!(
                    phase,
                    Some(Phase::Beginning | Phase::Handing | Phase::Preparing | Phase::Delegated)
                );
                let forward = matches!(
                    course.direction(),
                    Direction::Beginning | Direction::Forward
                );
                voting || (!course.is_atomic() && forward)
            })
    }

    /// The processes that live.
    pub(super) fn up(&self) -> impl Iterator<Item = (usize, &Coordinator)> {
        self.coordinators
            .iter()
            .enumerate()
            .filter(|(_, it)| it.is_up())
    }

    fn client_actions(&self, actions: &mut Vec<Action>) {
        for (place, coordinator) in self.up() {
            let owns = matches!(coordinator.hold, Hold::Owner | Hold::Loading(_));
            if self.budget.allows(Bounded::Submit) && owns {
                actions.push(Action::Submit(place));
            }
            if self.budget.allows(Bounded::Query) && self.begun().is_some() {
                actions.push(Action::Query(place));
            }
        }
    }

    fn journal_actions(&self, actions: &mut Vec<Action>) {
        for (place, _) in self.up() {
            if self.journal.head(place).is_some() {
                actions.push(Action::Flush(place));
                if self.budget.allows(Bounded::FlushUnknown) {
                    actions.push(Action::FlushUnknown(place));
                }
            }
        }
        for (place, pending) in self.journal.pending.iter().enumerate() {
            if pending.writer.is_none() {
                actions.push(Action::Land(place));
            }
        }
    }

    fn network_actions(&self, config: &Config, actions: &mut Vec<Action>) {
        let packets = self.network.packets();
        for (place, packet) in packets.iter().enumerate() {
            let again = place.checked_sub(1).and_then(|before| packets.get(before));
            if again == Some(packet) {
                continue;
            }
            actions.push(Action::Deliver(place));
            if let super::Packet::Call(order) = packet
                && self.is_fresh(order)
            {
                let voices = config.voices_to(order).iter().skip(1);
                actions.extend(voices.map(|voice| Action::Serve(place, *voice)));
            }
            let call = matches!(packet, super::Packet::Call(_));
            if call && self.budget.allows(Bounded::Duplicate) {
                actions.push(Action::Duplicate(place));
            }
        }
        if self.budget.allows(Bounded::Unanswered) {
            for (place, coordinator) in self.up() {
                let waits = 0..coordinator.waits.len();
                actions.extend(waits.map(|wait| Action::Unanswered(place, wait)));
            }
        }
    }

    fn outside_actions(&self, config: &Config, actions: &mut Vec<Action>) {
        if let Some((branch, _)) = self.local_branch(false) {
            let voices = config.voices(branch).iter();
            actions.extend(voices.map(|voice| Action::EndLocal(branch, *voice)));
        }
        for (place, _) in self.up() {
            if self.budget.allows(Bounded::Tell) {
                if self.local_branch(true).is_some() {
                    actions.push(Action::SayEnded(place));
                }
                self.call_backs(place, actions);
            }
            if self.budget.allows(Bounded::Resolve) {
                for (action, _) in self.stuck(place) {
                    let decisions = Decision::ALL.into_iter();
                    actions.extend(decisions.map(|it| Action::Resolve(action, place, it)));
                }
            }
        }
    }

    fn call_backs(&self, place: usize, actions: &mut Vec<Action>) {
        let Some(gtid) = self.begun() else {
            return;
        };
        for index in self.services.keys() {
            let unit = self.unit(gtid, *index);
            if unit.acted > 0 || unit.refused {
                actions.push(Action::CallBack(*index, place, ActVerb::Act));
            }
            if unit.compensated > 0 {
                actions.push(Action::CallBack(*index, place, ActVerb::Compensate));
            }
        }
    }

    fn participant_actions(&self, config: &Config, actions: &mut Vec<Action>) {
        for (branch, participant) in self.branches() {
            for (place, job) in participant.jobs.iter().enumerate() {
                if job.stage == Stage::Working {
                    let voices = config.voices(branch).iter();
                    actions.extend(voices.map(|voice| Action::Vote(branch, place, *voice)));
                } else {
                    actions.push(Action::Advance(branch, place));
                }
            }
            let has_state = !participant.jobs.is_empty() || participant.asking.is_some();
            let asked = participant.branches.values().any(|it| it.prepared);
            if self.budget.allows(Bounded::ParticipantCrash) && (has_state || asked) {
                actions.push(Action::RestartParticipant(branch));
            }
            if self.budget.allows(Bounded::Inquiry) && participant.asking.is_none() {
                for (place, _) in self.up() {
                    let gtids = 0..self.client.gtids.len();
                    actions.extend(gtids.map(|gtid| Action::Inquire(branch, gtid, place)));
                }
            }
        }
    }

    fn coordinator_actions(&self, config: &Config, actions: &mut Vec<Action>) {
        let allows = |what| self.budget.allows(what);
        for (place, coordinator) in self.coordinators.iter().enumerate() {
            if self.may_acquire(place) {
                actions.push(Action::Acquire(place));
            }
            if !coordinator.is_up() {
                continue;
            }
            if allows(Bounded::Crash) {
                actions.push(Action::Crash(place));
            }
            if matches!(coordinator.hold, Hold::Loading(_)) {
                actions.push(Action::Load(place));
            }
            if allows(Bounded::LeaseLost) && coordinator.hold != Hold::None {
                actions.push(Action::Lose(place));
            }
            let free = self.late && self.next_timer(place).is_some_and(|at| at <= self.now());
            if (free || allows(Bounded::Retry)) && self.timer_is_due(config, place) {
                actions.push(Action::Timer(place));
            }
            if !coordinator.look_ups.is_empty() {
                actions.push(Action::LookUp(place));
            }
        }
    }

    /// A retry is due at any time; a deadline only once it has passed.
    pub(super) fn timer_is_due(&self, config: &Config, place: usize) -> bool {
        let phases = if self.late { 2 } else { 1 };
        let before = START.plus_millis(TIMEOUT_MS * phases);
        self.next_timer(place).is_some_and(|at| at < before) && config.keeps(Rule::Repeat)
    }

    pub(super) fn next_timer(&self, place: usize) -> Option<Timestamp> {
        self.coordinators
            .get(place)
            .and_then(|it| it.node.as_ref()?.next_timer())
    }

    /// Whoever must raise its epoch may; if no living process owns the partition, anyone else may,
    /// one that is down only as the first of those; and if one does, another may take it over.
    pub(super) fn may_acquire(&self, place: usize) -> bool {
        let Some(coordinator) = self.coordinators.get(place) else {
            return false;
        };
        if coordinator.hold == Hold::Reloading || coordinator.stale.is_some() {
            return true;
        }
        if self.owns(coordinator) {
            return false;
        }
        let first_down = self.coordinators.iter().position(|it| !it.is_up());
        if !coordinator.is_up() && first_down != Some(place) {
            return false;
        }
        let owned = self.coordinators.iter().any(|it| self.owns(it));
        !owned || self.budget.allows(Bounded::TakeOver)
    }

    /// Whether a living process holds the partition under its present epoch.
    fn owns(&self, it: &Coordinator) -> bool {
        it.is_up() && it.hold != Hold::None && it.epoch == self.journal.epoch
    }

    /// Whether it would be replaced, if this process raised the epoch.
    #[must_use]
    pub fn is_take_over(&self, place: usize) -> bool {
        let others = self
            .coordinators
            .iter()
            .enumerate()
            .filter(|(it, _)| *it != place);
        others.map(|(_, it)| it).any(|it| self.owns(it))
    }
}
