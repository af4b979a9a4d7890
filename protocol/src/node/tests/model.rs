//! A driver, a journal and clients for one node, small enough to be plainly right. It holds gated
//! replies and sends back as a driver must, and checks everything that leaves.

mod truth;

use std::collections::{BTreeMap, VecDeque};

use super::fixture::{
    NOW, P, aborted, assert_nothing_left, committed, config, identity, lost, no, plan, read_only,
    submission, take_at, vote, yes,
};
use super::services::{Asked, Services, shape};
use crate::effect::{After, Answer, Appended, Call, Effect, Entry, Message, RequestId, Token};
use crate::id::{BranchIndex, Epoch, Fingerprint, Gtid, IdempotencyKey};
use crate::node::{Event, Found, Node, Submission};
use crate::plan::Plan;
use crate::record::{Aborted, Fate, Record, Resolution};
use crate::recovery::History;
use crate::time::Timestamp;
use crate::wire::api::{AbortReason, Wait};
use crate::wire::contract::{ActAnswer, ActVerb, BranchEnd, FinishVerb, Identity, Vote};

/// What can happen next. Numbers choose among what is there, modulo how many there are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Submit {
        key: u8,
        body: u8,
        branches: usize,
        wait: Wait,
    },
    /// A participant calls back, for something that is done.
    CallBack {
        which: usize,
    },
    /// A sender says that its local transaction has ended.
    End {
        which: usize,
    },
    /// An operator decides about something that is stuck.
    Resolve {
        how: u8,
    },
    Query {
        which: usize,
        wait: Option<Wait>,
    },
    Inquire {
        which: usize,
        branch: u8,
    },
    /// The driver looks in the journal for the inquiries that were not in memory.
    LookUp,
    Flush {
        entries: usize,
        end: Flush,
    },
    Answer {
        which: usize,
        how: u8,
        again: bool,
    },
    Pass {
        ms: u64,
    },
    Lose,
    /// Another owner raises the epoch, aborts what is undecided, and is gone.
    Steal,
    Acquire,
    /// The driver reads what is open; it reaches the node only with `Load`.
    Read,
    Load,
    /// The process dies; some of what was under way is written nevertheless.
    Crash {
        written: usize,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Flush {
    Durable,
    UnknownWritten,
    UnknownLost,
}

/// Everything around the node.
pub(super) struct World {
    node: Node,
    now: Timestamp,
    epoch: Epoch,
    journal: BTreeMap<Gtid, Vec<Record>>,
    keys: BTreeMap<IdempotencyKey, Gtid>,
    appends: VecDeque<(Token, Entry)>,
    held: BTreeMap<Token, Vec<Effect>>,
    /// Held when the node gave the partition up: released as well if the record turns out to be
    /// durable, but for replies, since their requests have been answered.
    stale: BTreeMap<Token, Vec<Effect>>,
    owned: Option<Epoch>,
    calls: Vec<Call>,
    services: Services,
    read: Option<(Epoch, Vec<Found>)>,
    /// Requests without a reply, and what they asked about.
    open: BTreeMap<RequestId, Option<(Gtid, BranchIndex)>>,
    look_ups: Vec<(RequestId, Gtid)>,
    /// What anybody was told; it must stay so.
    told: BTreeMap<Gtid, Fate>,
    next: u64,
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self {
            node: Node::new(config()),
            now: NOW,
            epoch: Epoch(0),
            journal: BTreeMap::new(),
            keys: BTreeMap::new(),
            appends: VecDeque::new(),
            held: BTreeMap::new(),
            stale: BTreeMap::new(),
            owned: None,
            calls: Vec::new(),
            services: Services::default(),
            read: None,
            open: BTreeMap::new(),
            look_ups: Vec::new(),
            told: BTreeMap::new(),
            next: 0,
        };
        world.acquire();
        world
    }

    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Submit { key, body, branches, wait } => self.submit(key, body, branches, wait),
            Action::CallBack { which } => self.call_back(which),
            Action::End { which } => {
                if let Some(gtid) = self.some_gtid(which) {
                    let request = self.request(None);
                    self.step(Event::Ended { request, gtid });
                }
            }
            Action::Resolve { how } => self.resolve(how),
            Action::Query { which, wait } => {
                if let Some(gtid) = self.some_gtid(which) {
                    let request = self.request(None);
                    self.step(Event::Queried { request, gtid, wait });
                }
            }
            Action::Inquire { which, branch } => self.inquire(which, BranchIndex(branch)),
            Action::LookUp => self.look_up(),
            Action::Flush { entries, end } => self.flush(entries, end),
            Action::Answer { which, how, again } => self.answer(which, how, again),
            Action::Pass { ms } => {
                self.now = self.now.plus_millis(ms);
                self.step(Event::Timer);
            }
            Action::Lose => {
                self.give_up();
                self.step(Event::Lost { partition: P });
            }
            Action::Steal => self.steal(),
            Action::Acquire => self.acquire(),
            Action::Read => self.read = Some((self.epoch, self.found())),
            Action::Load => self.load(),
            Action::Crash { written } => self.crash(written),
        }
    }

    /// No more faults: everything ends, and everybody hears of it.
    pub(super) fn heal(mut self) {
        self.acquire();
        self.read = Some((self.epoch, self.found()));
        self.load();
        for round in 0..1_000 {
            self.look_up();
            self.flush(usize::MAX, Flush::Durable);
            while let Some(call) = self.calls.pop() {
                let answer = self.answer_of(&call, 0);
                self.answer_call(&call, answer);
            }
            // What refused for good is left; everything else is tried again.
            self.resolve(if round % 2 == 0 { 0 } else { 2 });
            if let Some(at) = self.node.next_timer() {
                self.now = self.now.max(at);
                self.step(Event::Timer);
            } else if self.appends.is_empty() && self.calls.is_empty() && self.look_ups.is_empty() {
                break;
            }
        }
        assert_nothing_left(&self.node);
        assert!(self.open.is_empty(), "no reply to {:?}", self.open);
        assert!(self.held.is_empty(), "held for ever: {:?}", self.held);
        for (gtid, records) in &self.journal {
            let history = History::fold(records.clone()).unwrap();
            assert!(history.is_closed(), "{gtid} is still open");
            let plan = history.begun.as_ref().map(|begun| &begun.plan);
            if let Some(plan) = plan {
                let closed = history.closed.as_ref();
                let given_up = closed.map(|closed| closed.heuristics.clone());
                let given_up = given_up.unwrap_or_default();
                self.services
                    .check_ended(*gtid, plan, history.fate(), &given_up);
            }
            if let Some(told) = self.told.get(gtid) {
                assert_eq!(history.fate(), Some(*told), "{gtid} was told otherwise");
            }
        }
    }

    fn submit(&mut self, key: u8, body: u8, branches: usize, wait: Wait) {
        let request = self.request(None);
        let submission = Submission {
            fingerprint: Fingerprint([body; 32]),
            plan: plan_of(branches),
            timeout_ms: 500,
            ..submission(request.0, &format!("k{key}"), wait)
        };
        self.step(Event::Submitted(Box::new(submission)));
    }

    fn inquire(&mut self, which: usize, branch: BranchIndex) {
        let unheard = super::fixture::minted(self.now, u64::MAX);
        let gtid = self.some_gtid(which).unwrap_or(unheard);
        let request = self.request(Some((gtid, branch)));
        self.step(Event::Inquired { request, gtid, branch });
    }

    fn look_up(&mut self) {
        for (request, gtid) in std::mem::take(&mut self.look_ups) {
            if self.journal.contains_key(&gtid) {
                self.open.remove(&request);
            } else {
                self.step(Event::NotRecorded { request, gtid });
            }
        }
    }

    fn flush(&mut self, entries: usize, end: Flush) {
        for _ in 0..entries.min(self.appends.len()) {
            let Some((token, entry)) = self.appends.pop_front() else {
                return;
            };
            let outcome = match end {
                Flush::Durable => self.write(&entry),
                Flush::UnknownWritten => {
                    self.write(&entry);
                    Appended::Unknown
                }
                Flush::UnknownLost => Appended::Unknown,
            };
            let lost = matches!(outcome, Appended::Fenced | Appended::Unknown);
            if lost && self.owned == Some(entry.epoch) {
                self.give_up();
            }
            self.step(Event::Flushed { token, outcome });
            self.release(token, outcome);
        }
    }

    /// As the journal writes: one fate, one place per record, one transaction per key, one epoch.
    fn write(&mut self, entry: &Entry) -> Appended {
        if entry.epoch != self.epoch {
            return Appended::Fenced;
        }
        if let Record::Begun(begun) = &entry.record {
            if let Some(&by) = self.keys.get(&begun.key) {
                return Appended::KeyTaken { by };
            }
            self.keys.insert(begun.key.clone(), entry.gtid);
        }
        let records = self.journal.entry(entry.gtid).or_default();
        // What a former owner still had under way, after a part of it was lost: the journal takes no
        // record out of its place.
        if self.owned != Some(entry.epoch) && records.len() != entry.position.0 as usize {
            return Appended::Unknown;
        }
        assert_eq!(
            records.len(),
            entry.position.0 as usize,
            "{entry:?} after {records:?}"
        );
        records.push(entry.record.clone());
        History::fold(records.clone()).unwrap();
        Appended::Durable
    }

    fn answer(&mut self, which: usize, how: u8, again: bool) {
        if self.calls.is_empty() {
            return;
        }
        let at = which % self.calls.len();
        let call = self.calls[at].clone();
        if !again {
            self.calls.remove(at);
        }
        let answer = self.answer_of(&call, how);
        self.answer_call(&call, answer);
    }

    fn answer_of(&mut self, call: &Call, how: u8) -> Answer {
        match Asked::read(call) {
            Some(asked) => {
                let plan = self.plan_of(&asked.gtid);
                self.services.answer(&plan, &asked, how)
            }
            None => any_answer(call, how),
        }
    }

    fn plan_of(&self, gtid: &Gtid) -> Plan {
        match self.journal.get(gtid).and_then(|records| records.first()) {
            Some(Record::Begun(begun)) => begun.plan.clone(),
            other => panic!("{gtid} is called, and begins with {other:?}"),
        }
    }

    fn call_back(&mut self, which: usize) {
        let Some(gtid) = self.some_gtid(which) else {
            return;
        };
        let Some(Record::Begun(begun)) = self.journal[&gtid].first() else {
            return;
        };
        let actions: Vec<_> = begun.plan.actions().map(|it| it.index).collect();
        for action in actions {
            if let Some(result) = self.services.unit(gtid, action).acted.clone() {
                let request = self.request(None);
                let answer = ActAnswer::Done { result: Some(result) };
                let verb = ActVerb::Act;
                self.step(Event::CalledBack { request, gtid, action, verb, answer });
            }
        }
    }

    fn resolve(&mut self, how: u8) {
        let stuck: Vec<_> = self
            .node
            .transactions()
            .flat_map(|it| {
                it.course()
                    .actions()
                    .iter()
                    .map(|action| (it.gtid(), action))
            })
            .filter(|(_, action)| action.is_stuck())
            .map(|(gtid, action)| (gtid, action.index, action.verb().unwrap()))
            .collect();
        for (gtid, action, verb) in stuck {
            let resolution = match how % 5 {
                4 if self.services.is_seen_not_done(gtid, action, verb) => Resolution::NotDone,
                0 => Resolution::Retry,
                1 => Resolution::Skip,
                2 => {
                    self.services.by_hand(gtid, action, verb);
                    let result = self.services.unit(gtid, action).acted.clone();
                    Resolution::Done { result: result.filter(|_| verb == ActVerb::Act) }
                }
                _ => Resolution::Abandon,
            };
            let request = self.request(None);
            let (by, reason) = ("ann".to_owned(), "seen".to_owned());
            self.step(Event::Resolved { request, gtid, action, verb, resolution, by, reason });
        }
    }

    fn answer_call(&mut self, call: &Call, answer: Answer) {
        let (gtid, epoch, branch, attempt) = match &call.message {
            Message::Prepare(it) => (it.gtid, it.epoch, it.branch, it.attempt),
            Message::Finish(it) => (it.gtid, it.epoch, it.branch, it.attempt),
            Message::Act(it) => (it.gtid, it.epoch, it.branch, it.attempt),
            Message::Endpoint(it) => (it.gtid, it.epoch, it.branch, it.attempt),
        };
        self.step(Event::Answered { gtid, epoch, branch, attempt, answer });
    }

    fn steal(&mut self) {
        self.epoch = Epoch(self.epoch.0 + 1);
        let at = self.now;
        for records in self.journal.values_mut() {
            let history = History::fold(records.clone()).unwrap();
            let aborts = history
                .begun
                .is_some_and(|begun| begun.plan.is_atomic() && !begun.plan.is_delegated());
            if history.decided.is_none() && aborts {
                records.push(Record::Aborted(Aborted {
                    at,
                    reason: AbortReason::Recovered,
                    compensate: Vec::new(),
                }));
            }
        }
    }

    fn acquire(&mut self) {
        self.epoch = Epoch(self.epoch.0 + 1);
        self.give_up();
        self.owned = Some(self.epoch);
        let (partition, epoch, horizon) = (P, self.epoch, Timestamp::ZERO);
        self.step(Event::Acquired { partition, epoch, horizon });
    }

    /// In two pages, if there is enough for two.
    fn load(&mut self) {
        if let Some((epoch, mut found)) = self.read.take() {
            let rest = found.split_off(found.len() / 2);
            self.step(Event::Loaded { partition: P, epoch, found, last: false });
            self.step(Event::Loaded { partition: P, epoch, found: rest, last: true });
        }
    }

    fn crash(&mut self, written: usize) {
        for _ in 0..written.min(self.appends.len()) {
            if let Some((_, entry)) = self.appends.pop_front() {
                self.write(&entry);
            }
        }
        self.node = Node::new(config());
        self.appends.clear();
        self.held.clear();
        self.stale.clear();
        self.open.clear();
        self.look_ups.clear();
        self.read = None;
        self.acquire();
    }

    fn found(&self) -> Vec<Found> {
        let found = self.journal.iter().map(|(&gtid, records)| {
            let history = History::fold(records.clone()).unwrap();
            Found { gtid, history }
        });
        found.filter(|found| !found.history.is_closed()).collect()
    }

    fn some_gtid(&self, which: usize) -> Option<Gtid> {
        let known: Vec<_> = self.journal.keys().copied().collect();
        (!known.is_empty()).then(|| known[which % known.len()])
    }

    fn request(&mut self, about: Option<(Gtid, BranchIndex)>) -> RequestId {
        self.next += 1;
        let request = RequestId(self.next);
        self.open.insert(request, about);
        request
    }

    fn step(&mut self, event: Event) {
        for effect in take_at(&mut self.node, self.now, event) {
            match effect {
                Effect::Append { token, entry, .. } => self.appends.push_back((token, entry)),
                Effect::Send { after: After::Durable(token), .. }
                | Effect::Reply { after: After::Durable(token), .. } => {
                    self.held.entry(token).or_default().push(effect);
                }
                Effect::Send { .. } | Effect::Reply { .. } => self.leave(effect),
                Effect::Reload { .. } => {
                    self.acquire();
                    self.read = Some((self.epoch, self.found()));
                }
            }
        }
    }

    fn give_up(&mut self) {
        self.owned = None;
        self.stale.append(&mut self.held);
    }

    fn release(&mut self, token: Token, outcome: Appended) {
        let held = self.held.remove(&token).unwrap_or_default();
        let stale = self.stale.remove(&token).unwrap_or_default();
        if outcome != Appended::Durable {
            return;
        }
        held.into_iter().for_each(|effect| self.leave(effect));
        for effect in stale {
            match effect {
                Effect::Reply { request, .. } => {
                    assert!(
                        !self.open.contains_key(&request),
                        "{request:?} was given up silently"
                    );
                }
                Effect::Send { .. } | Effect::Append { .. } | Effect::Reload { .. } => {
                    self.leave(effect);
                }
            }
        }
    }

    /// Something leaves the process: is it true, and may it be said?
    fn leave(&mut self, effect: Effect) {
        match effect {
            Effect::Send { call, .. } => {
                if let Some(asked) = Asked::read(&call) {
                    let plan = self.plan_of(&asked.gtid);
                    let fate = self.fate(&asked.gtid);
                    self.services.check_sent(&plan, fate, &asked);
                }
                self.check_call(&call);
                self.calls.push(call);
            }
            Effect::Reply { request, reply, .. } => {
                let about = self.open.remove(&request);
                let about = about.unwrap_or_else(|| panic!("a second reply to {request:?}"));
                self.check_reply(request, about, &reply);
            }
            Effect::Append { .. } | Effect::Reload { .. } => {}
        }
    }
}

/// What a participant without faults says.
fn honest(call: &Call) -> Answer {
    match &call.message {
        Message::Prepare(it) if it.one_phase => vote(Vote::Committed { result: None }),
        Message::Prepare(_) => yes(),
        Message::Act(_) | Message::Endpoint(_) => lost(),
        Message::Finish(it) => match it.verb {
            FinishVerb::Commit | FinishVerb::Confirm => committed(),
            FinishVerb::Abort | FinishVerb::Cancel => aborted(),
        },
    }
}

/// Anything that a participant, or a network, may make of a call.
fn any_answer(call: &Call, how: u8) -> Answer {
    let older = Identity { starts: 1, ..identity() };
    match (&call.message, how % 9) {
        (_, 0..=3) => honest(call),
        (_, 4) => lost(),
        (Message::Prepare(_), 5) => no(),
        (Message::Prepare(_), 6) => read_only(),
        (Message::Prepare(_), 7) => vote(Vote::InProgress),
        (Message::Prepare(_), _) => {
            Answer::Vote { identity: older, vote: Vote::Yes { result: None } }
        }
        (Message::Act(_) | Message::Endpoint(_), _) => lost(),
        (Message::Finish(_), 5) => committed(),
        (Message::Finish(_), 6) => aborted(),
        (Message::Finish(_), 7) => super::fixture::end(BranchEnd::InProgress),
        (Message::Finish(_), _) => Answer::End { identity: older, end: BranchEnd::Aborted },
    }
}

fn plan_of(shape_of: usize) -> Plan {
    match shape_of {
        branches @ 1..=3 => plan(branches),
        other => shape(other),
    }
}
