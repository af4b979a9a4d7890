//! One shard: a node, its queues, and the carrying out of its effects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use accordant_protocol::effect::{
    After, Answer, Appended, Effect, Entry, Reply, RequestId, Token, Urgency,
};
use accordant_protocol::id::{ParticipantName, PartitionId};
use accordant_protocol::node::{Event, Node};
use accordant_protocol::record::Record;
use accordant_protocol::wire::contract::Identity;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::gates::Gates;
use super::look::{Look, busy, in_doubt, stuck};
use super::points::Point;
use super::spans::Spans;
use crate::delivery::{Answered, Delivery};
use crate::journal::group_commit::{
    Append, AppendRefused, Completion, Completions, Journal, ShardIndex,
};
use crate::telemetry::observe;
use crate::{clock, crash};

/// Requests that may wait for a shard to take them up; past it they are refused.
const REQUESTS_WAITING_MAX: usize = 4 * 1024;
/// Answers that may wait; past it the calls' tasks wait, which are bounded themselves.
const ANSWERS_WAITING_MAX: usize = 4 * 1024;
/// Orders of the owner of the partitions that may wait; past it the owner waits.
const CONTROLS_WAITING_MAX: usize = 64;
/// Events that are taken up before the journal gets what they appended: a longer turn makes
/// larger flushes, and a later first one.
const TURN_EVENTS_MAX: usize = 256;
/// Appends that are handed to the journal at a time. A backlog may be larger than all the room that
/// the journal has, so it goes over in parts; so many of the largest records fit into half of it.
const PART_APPENDS_MAX: usize = 128;
/// Looks at the whole of a shard that may wait; past it those who look wait.
const LOOKS_WAITING_MAX: usize = 64;
/// How often gauges are brought up to date.
const GAUGES_EVERY: Duration = Duration::from_secs(2);

/// An event that names a request, with where its reply goes.
pub(super) struct Ask {
    pub(super) make: Box<dyn FnOnce(RequestId) -> Event + Send>,
    pub(super) reply: oneshot::Sender<Reply>,
}

/// Gives a shard work. Cheap to clone.
#[derive(Clone)]
pub struct ShardHandle {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) looks: mpsc::Sender<Look>,
    pub(super) controls: mpsc::Sender<Event>,
}

/// The ends of a shard's queues.
pub(super) struct Inbox {
    asks: mpsc::Receiver<Ask>,
    looks: mpsc::Receiver<Look>,
    controls: mpsc::Receiver<Event>,
    answers: mpsc::Receiver<Answered>,
    completions: Completions,
}

/// Makes the queues of a shard.
pub(super) fn queues(completions: Completions) -> (ShardHandle, mpsc::Sender<Answered>, Inbox) {
    let (asks, asks_end) = mpsc::channel(REQUESTS_WAITING_MAX);
    let (looks, looks_end) = mpsc::channel(LOOKS_WAITING_MAX);
    let (controls, controls_end) = mpsc::channel(CONTROLS_WAITING_MAX);
    let (answers, answers_end) = mpsc::channel(ANSWERS_WAITING_MAX);
    let inbox = Inbox {
        asks: asks_end,
        looks: looks_end,
        controls: controls_end,
        answers: answers_end,
        completions,
    };
    (ShardHandle { asks, looks, controls }, answers, inbox)
}

/// One shard.
pub(super) struct Shard {
    pub(super) index: ShardIndex,
    pub(super) node: Node,
    pub(super) journal: Journal,
    pub(super) delivery: Delivery,
    pub(super) reloads: mpsc::Sender<PartitionId>,
    pub(super) gates: Gates,
    pub(super) requests: BTreeMap<RequestId, oneshot::Sender<Reply>>,
    pub(super) request: u64,
    /// Appends of this turn, and those that the journal had no room for.
    pub(super) appends: VecDeque<Append>,
    /// What this turn has caused by itself.
    pub(super) caused: VecDeque<Event>,
    pub(super) points: BTreeMap<Token, Point>,
    /// The other shards.
    pub(super) peers: Vec<mpsc::Sender<Event>>,
    /// From which database each participant answered last.
    pub(super) heard: BTreeMap<ParticipantName, Identity>,
    pub(super) spans: Spans,
}

impl Shard {
    pub(super) fn new(
        index: ShardIndex,
        node: Node,
        journal: Journal,
        delivery: Delivery,
        reloads: mpsc::Sender<PartitionId>,
    ) -> Self {
        Self {
            index,
            node,
            journal,
            delivery,
            reloads,
            gates: Gates::default(),
            requests: BTreeMap::new(),
            request: 0,
            appends: VecDeque::new(),
            caused: VecDeque::new(),
            points: BTreeMap::new(),
            peers: Vec::new(),
            heard: BTreeMap::new(),
            spans: Spans::default(),
        }
    }

    /// Works until it is stopped. What is unfinished then, the next owner finishes.
    pub(super) async fn run(mut self, mut inbox: Inbox, stop: CancellationToken) {
        let mut gauges = tokio::time::interval(GAUGES_EVERY);
        gauges.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let pause = self.pause();
            // While the journal has no room, nothing new is begun; what is under way goes on.
            let room = self.appends.is_empty();
            tokio::select! {
                biased;
                // What is rare first: requests may never cease to come.
                () = stop.cancelled() => return,
                _ = gauges.tick() => {
                    self.withdraw();
                    observe::gauges(self.index, &self.node);
                    self.spans.sweep(&self.node);
                }
                Some(batch) = inbox.completions.next() => self.completed(batch),
                Some(event) = inbox.controls.recv() => self.take(event),
                Some(look) = inbox.looks.recv() => self.look(look),
                Some(answered) = inbox.answers.recv(), if room => self.answered(answered),
                Some(ask) = inbox.asks.recv(), if room => self.ask(ask),
                () = tokio::time::sleep(pause) => {}
            }
            self.drain(&mut inbox, room);
            // In every turn: the pause above is never over while there is always something to do.
            if self.is_timer_due() {
                self.take(Event::Timer);
            }
            self.hand_over();
        }
    }

    /// Takes up what is there without waiting; without room only what makes some.
    fn drain(&mut self, inbox: &mut Inbox, room: bool) {
        for _ in 0..TURN_EVENTS_MAX {
            if let Some(batch) = inbox.completions.try_next() {
                self.completed(batch);
            } else if !room {
                return;
            } else if let Ok(answered) = inbox.answers.try_recv() {
                self.answered(answered);
            } else if let Ok(ask) = inbox.asks.try_recv() {
                self.ask(ask);
            } else {
                return;
            }
        }
    }

    fn is_timer_due(&self) -> bool {
        let next = self.node.next_timer();
        next.is_some_and(|at| at <= clock::now())
    }

    fn pause(&self) -> Duration {
        let idle = Duration::from_secs(60);
        let left = self
            .node
            .next_timer()
            .map(|at| at.millis_since(clock::now()));
        // One more millisecond: a timer that fires a moment early would fire in vain.
        left.map_or(idle, |ms| {
            Duration::from_millis(ms.saturating_add(1)).min(idle)
        })
    }

    fn ask(&mut self, Ask { make, reply }: Ask) {
        let request = RequestId(self.request);
        self.request += 1;
        self.requests.insert(request, reply);
        self.take(make(request));
    }

    /// Lets go of requests whose caller is gone: others may want to wait in their place.
    fn withdraw(&mut self) {
        let gone = self.requests.extract_if(.., |_, reply| reply.is_closed());
        let requests: BTreeSet<RequestId> = gone.map(|(request, _)| request).collect();
        if !requests.is_empty() {
            self.take(Event::Withdrawn { requests });
        }
    }

    fn look(&self, look: Look) {
        match look {
            Look::InDoubt(limit, reply) => {
                // Whoever asked may be gone.
                let _gone = reply.send(in_doubt(&self.node, limit));
            }
            Look::Stuck(after, limit, reply) => {
                let _gone = reply.send(stuck(&self.node, after, limit));
            }
            Look::Busy(until, reply) => {
                let _gone = reply.send(busy(&self.node, until));
            }
            Look::Halted(reply) => {
                let halted = self.node.halted().map(|(name, how)| (name.clone(), how));
                let _gone = reply.send(halted.collect());
            }
        }
    }

    fn answered(&mut self, answered: Answered) {
        self.tell_peers(&answered);
        self.take(event_of(answered));
    }

    /// What one shard hears of a participant's database, the others must know too.
    fn tell_peers(&mut self, answered: &Answered) {
        let identity = match &answered.answer {
            Answer::Vote { identity, .. }
            | Answer::End { identity, .. }
            | Answer::Acted { identity: Some(identity), .. } => identity,
            Answer::Acted { identity: None, .. }
            | Answer::Unanswered { .. }
            | Answer::Unsent { .. } => return,
        };
        if self.heard.get(&answered.participant) == Some(identity) {
            return;
        }
        self.heard
            .insert(answered.participant.clone(), identity.clone());
        for peer in &self.peers {
            let (participant, identity) = (answered.participant.clone(), identity.clone());
            // A peer that has no room now hears it from the participant itself.
            let _full = peer.try_send(Event::Identified { participant, identity });
        }
    }

    fn completed(&mut self, batch: Vec<Completion>) {
        for Completion { token, outcome } in batch {
            // The node first: what waited may act only on a node that knows.
            self.take(Event::Flushed { token, outcome });
            let waited = self.gates.take(token);
            if outcome == Appended::Durable {
                self.durable(token);
                waited.into_iter().for_each(|effect| self.perform(effect));
                self.take_caused();
            }
        }
    }

    /// A test may kill the process here: the record is durable, and nobody has heard of it.
    fn durable(&mut self, token: Token) {
        if let Some(point) = self.points.remove(&token) {
            point.durable();
        }
    }

    fn take(&mut self, event: Event) {
        let effects = self.node.step(clock::now(), event);
        self.carry_out(effects);
        self.take_caused();
    }

    fn take_caused(&mut self) {
        while let Some(event) = self.caused.pop_front() {
            let effects = self.node.step(clock::now(), event);
            self.carry_out(effects);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append { token, entry, urgency } => self.append(token, entry, urgency),
                Effect::Send { after: After::Durable(token), .. }
                | Effect::Reply { after: After::Durable(token), .. } => {
                    self.gates.hold(token, effect);
                }
                Effect::Send { after: After::Now, .. }
                | Effect::Reply { after: After::Now, .. }
                | Effect::Reload { .. } => self.perform(effect),
            }
        }
    }

    /// Does what nothing stands in the way of any more.
    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { call, .. } => {
                let span = self.spans.of_call(&call);
                let sent = span.in_scope(|| self.delivery.send(call));
                if let Err(answered) = sent {
                    self.caused.push_back(event_of(*answered));
                }
            }
            Effect::Reply { request, reply, .. } => self.reply(request, reply),
            Effect::Reload { partition } => self.reload(partition),
            Effect::Append { token, entry, urgency } => self.append(token, entry, urgency),
        }
    }

    fn append(&mut self, token: Token, entry: Entry, urgency: Urgency) {
        let gtid = entry.gtid;
        match &entry.record {
            Record::Begun(begun) => {
                let (branches, actions) = (begun.plan.branches(), begun.plan.actions());
                let (branches, actions) = (branches.count(), actions.count());
                debug!(%gtid, epoch = entry.epoch.0, branches, actions, "begun");
            }
            Record::Committed(_) => debug!(%gtid, epoch = entry.epoch.0, "decided commit"),
            Record::Aborted(aborted) => {
                debug!(%gtid, epoch = entry.epoch.0, reason = ?aborted.reason, "decided abort");
            }
            Record::Closed(closed) if !closed.heuristics.is_empty() => {
                error!(%gtid, epoch = entry.epoch.0, branches = ?closed.heuristics,
                    "branches ended against the decision: an operator must look");
            }
            Record::Closed(_) => debug!(%gtid, epoch = entry.epoch.0, "closed"),
            Record::Stuck(it) => {
                warn!(%gtid, epoch = entry.epoch.0, action = it.action.0, verb = it.verb.word(),
                    error = it.error, "an action is stuck: an operator must decide");
            }
            Record::Resolved(it) => {
                info!(%gtid, epoch = entry.epoch.0, action = it.action.0,
                    resolution = ?it.resolution, by = it.by, reason = it.reason,
                    "an operator has decided about an action");
            }
            Record::Started(it) => {
                debug!(%gtid, epoch = entry.epoch.0, action = it.action.0, "started");
            }
            Record::Done(it) => {
                debug!(%gtid, epoch = entry.epoch.0, action = it.action.0, "done");
            }
            Record::Compensated(it) => {
                debug!(%gtid, epoch = entry.epoch.0, action = it.action.0, "compensated");
            }
            _ => {}
        }
        observe::append(&entry);
        self.spans.note(&entry);
        self.appends.push_back(Append { token, entry, urgency });
    }

    fn reply(&mut self, request: RequestId, reply: Reply) {
        if let Some(waiting) = self.requests.remove(&request) {
            crash::reach("coordinator.reply.sending");
            // Whoever asked may be gone; it asks again.
            let _gone = waiting.send(reply);
        }
    }

    fn reload(&self, partition: PartitionId) {
        warn!(%partition, "the outcome of a flush is unknown: loading the partition again");
        // There is room for every partition, and one is lost only once before it is acquired.
        if let Err(error) = self.reloads.try_send(partition) {
            error!(%partition, %error, "the partition is not loaded again before the next start");
        }
    }

    /// Gives the journal what this turn has appended, in order and as far as it has room.
    fn hand_over(&mut self) {
        while !self.appends.is_empty() {
            let count = self.appends.len().min(PART_APPENDS_MAX);
            let part: Vec<Append> = self.appends.drain(..count).collect();
            for append in &part {
                Point::of(&append.entry.record).appended();
                if crash::COMPILED_IN {
                    self.points
                        .insert(append.token, Point::of(&append.entry.record));
                }
            }
            match self.journal.append(self.index, part) {
                Ok(()) => {}
                Err(AppendRefused::Overloaded(part)) => {
                    part.into_iter()
                        .rev()
                        .for_each(|append| self.appends.push_front(append));
                    return;
                }
                Err(AppendRefused::Closed(part)) => self.give_up(part),
            }
        }
    }

    /// Nothing of it is durable, but what was handed over before may be.
    fn give_up(&mut self, part: Vec<Append>) {
        info!(appends = part.len(), "the journal is closed");
        for append in part {
            let (token, outcome) = (append.token, Appended::Unknown);
            self.take(Event::Flushed { token, outcome });
            self.gates.take(token);
        }
    }
}

fn event_of(answered: Answered) -> Event {
    let Answered { participant: _, gtid, epoch, branch, attempt, answer } = answered;
    Event::Answered { gtid, epoch, branch, attempt, answer }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use accordant_protocol::id::{Cluster, Incarnation};
    use accordant_protocol::node::Config;

    use super::*;
    use crate::delivery::{Outbound, Registry};
    use crate::driver::{Alarm, Settings};
    use crate::journal::conformance::fixture::Mint;
    use crate::journal::group_commit;
    use crate::journal::limits::QUEUE_ENTRIES_MAX;
    use crate::journal::memory::MemoryStore;
    use crate::journal::store::{Lease, OwnerId, Store};
    use crate::journal::tenure::Tenure;

    #[tokio::test]
    async fn a_backlog_larger_than_the_journals_queue_is_handed_over_in_order() {
        let store = MemoryStore::new(Cluster::new("acc").unwrap(), Incarnation(1), 1);
        let lease = Lease { owner: OwnerId::new("me").unwrap(), ms: 60_000 };
        let epoch = store.acquire(PartitionId(0), &lease).await.unwrap().epoch;
        let mint = Mint::new(store.description());
        let Settings { transport, delivery, .. } =
            Settings::new(Registry::default(), "me".to_owned());
        let (nowhere, _) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let registry = Registry::default();
        let outbound = Outbound {
            transport: &transport,
            config: delivery,
            public_url: None,
            tenure: &Tenure::default(),
        };
        let delivery = Delivery::start(&registry, outbound, nowhere, &stop, Alarm::default());
        let (journal, mut completions, _writer) = group_commit::start(Arc::new(store), 1);
        let node = Node::new(Config {
            cluster: Cluster::new("acc").unwrap(),
            incarnation: Incarnation(1),
            open_max: 1,
            participant_open_max: 1,
        });
        let (reloads, _reloads) = mpsc::channel(1);
        let mut shard = Shard::new(ShardIndex(0), node, journal, delivery.unwrap(), reloads);

        // As when the deadlines of all open transactions pass at once.
        let count = u64::try_from(QUEUE_ENTRIES_MAX).unwrap() + 1_000;
        for token in 0..count {
            let entry = mint.transaction(PartitionId(0), epoch).begun();
            shard.append(Token(token), entry, Urgency::Forced);
        }
        let mut tokens = Vec::new();
        let written = async {
            while tokens.len() < usize::try_from(count).unwrap() {
                shard.hand_over();
                let batch = completions[0].next().await.unwrap();
                tokens.extend(batch.into_iter().map(|completion| completion.token.0));
            }
        };
        tokio::time::timeout(Duration::from_secs(30), written)
            .await
            .unwrap();
        assert_eq!(tokens, (0..count).collect::<Vec<_>>());
    }
}
