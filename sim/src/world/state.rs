//! The whole world: processes, journal, network, databases, client.

use std::collections::{BTreeMap, BTreeSet};

use accordant_protocol::id::{BranchIndex, Epoch, Gtid};
use accordant_protocol::plan::Plan;
use accordant_protocol::record::Record;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::Outcome;

use super::config::{Budget, Config, START, TIMEOUT_MS};
use super::coordinator::Coordinator;
use super::journal::Journal;
use super::log::Log;
use super::network::Network;
use super::participant::Participant;
use super::service::Service;
use crate::fingerprint::Hashed;
use crate::invariant::Violation;

/// A state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// Two processes, of which the second may take over from the first, and back.
    pub coordinators: [Coordinator; 2],
    /// Their journal.
    pub journal: Journal,
    /// What is on its way.
    pub network: Network,
    /// One participant per branch, by index in the plan.
    pub participants: BTreeMap<BranchIndex, Participant>,
    /// One service per action, by index.
    pub services: BTreeMap<BranchIndex, Service>,
    /// The first owner that sent a compensation, by its epoch. Kept for the invariants.
    pub turned: BTreeMap<Gtid, Epoch>,
    /// An operator has had a hand in it. Kept for the invariants.
    pub operated: bool,
    /// What the client asks for.
    pub plan: Hashed<Plan>,
    /// The client.
    pub client: Client,
    /// The time for voting is over. Time is no more than this: all that a coordinator does for
    /// other reasons happens at one instant, and a timer fires at the time for which it was set.
    /// So the clock may even step back, which no rule forbids.
    pub late: bool,
    /// What may still happen.
    pub budget: Budget,
    /// What went wrong in the step that led here.
    pub alarms: Vec<Violation>,
}

/// One client, with one request under one idempotency key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// How often it has submitted its request.
    pub submitted: u8,
    /// Every transaction that was minted for it, whether it has heard of it or not.
    pub gtids: Vec<Gtid>,
    /// All that it was ever told, but for "pending".
    pub told: BTreeSet<(Gtid, Outcome)>,
}

impl World {
    /// One coordinator owns the partition; nothing was submitted yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let plan = &config.plan;
        let participants = plan.branches().map(|it| (it.index, Participant::new()));
        let services = plan.actions().map(|it| (it.index, Service::default()));
        let mut world = Self {
            coordinators: [Coordinator::down(), Coordinator::down()],
            journal: Journal::new(),
            network: Network::default(),
            participants: participants.collect(),
            services: services.collect(),
            turned: BTreeMap::new(),
            operated: false,
            plan: Hashed::new(plan.clone()),
            client: Client::default(),
            late: false,
            budget: config.budget,
            alarms: Vec::new(),
        };
        let mut log = Log::default();
        world.own(config, &mut log);
        world
    }

    /// Every transaction that was minted.
    pub fn gtids(&self) -> impl Iterator<Item = Gtid> {
        self.client.gtids.iter().copied()
    }

    /// The participants, with the index of their branch.
    pub fn branches(&self) -> impl Iterator<Item = (BranchIndex, &Participant)> {
        self.participants
            .iter()
            .map(|(branch, participant)| (*branch, participant))
    }

    /// Whether the durable decision passes a branch by because it had nothing to write.
    #[must_use]
    pub fn is_read_only(&self, gtid: Gtid, branch: BranchIndex) -> bool {
        let participant = self.participants.get(&branch);
        let nothing = participant.is_some_and(|it| it.branch(gtid).read_only.is_some());
        nothing
            && self
                .journal
                .rows(gtid)
                .iter()
                .any(|row| match &row.entry.record {
                    Record::Committed(record) => record
                        .votes
                        .iter()
                        .any(|vote| vote.branch == branch && vote.ended),
                    Record::Begun(_) | Record::Aborted(_) | Record::Closed(_) | _ => false,
                })
    }

    /// Whether a branch waits for a decision that is there: `gtid` by its place.
    #[must_use]
    pub fn is_decided_in_doubt(&self, branch: BranchIndex, gtid: usize) -> bool {
        let participant = self.participants.get(&branch);
        let gtid = self.client.gtids.get(gtid).copied();
        gtid.zip(participant).is_some_and(|(gtid, participant)| {
            participant.is_prepared(gtid) && self.journal.fate(gtid).is_some()
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        if self.late {
            START.plus_millis(TIMEOUT_MS)
        } else {
            START
        }
    }

    pub(super) fn alarm(&mut self, violation: Violation) {
        if !self.alarms.contains(&violation) {
            self.alarms.push(violation);
        }
    }
}

/// What a transaction is called in a story.
#[must_use]
pub fn transaction_name(gtid: Gtid) -> String {
    format!("T{}", gtid.random())
}
