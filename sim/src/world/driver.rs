//! The driver of a coordinator: feeds the node, carries its effects out, and keeps the contract
//! that `protocol::node` asks of it.

use accordant_protocol::effect::{After, Answer, Appended, Entry, RequestId, Token};
use accordant_protocol::id::{Attempt, BranchIndex, Gtid, IdempotencyKey, PartitionId, TenantName};
use accordant_protocol::invariant as core;
use accordant_protocol::node::Event;
use accordant_protocol::plan::{Class, Direction};
use accordant_protocol::record::{Fate, Record};
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::{Outcome, Verdict};
use accordant_protocol::wire::contract::ActAnswer;

use super::config::{Bounded, Config, START, TIMEOUT_MS, branch_name};
use super::coordinator::{Coordinator, Held, Hold, Instruction, Leaving, Saying};
use super::journal::{Pending, Written};
use super::log::{Log, Mark};
use super::network::{Order, Packet, Verb};
use super::rule::Rule;
use super::state::{World, transaction_name};
use super::step::describe;
use super::told::TOLD;
use crate::fingerprint::Hashed;
use crate::invariant::{Invariant, Violation, durability};

/// The only partition.
pub(super) const PARTITION: PartitionId = PartitionId(0);

/// The request of a client that asks how its transaction stands; its submissions are before it.
pub(super) const QUERY: RequestId = RequestId(9);

/// The requests of participants that ask begin here.
const INQUIRIES: u64 = 10;

/// The request of a branch that asks about a transaction.
pub(super) fn inquiry(gtid: Gtid, branch: BranchIndex) -> RequestId {
    let number = u64::try_from(gtid.random()).unwrap_or_default();
    RequestId(INQUIRIES * (number + 1) + u64::from(branch.0))
}

/// Who submits, and under which key.
pub(super) fn client_name() -> (TenantName, IdempotencyKey) {
    let tenant = TenantName::new("tenant").unwrap_or_else(|_| unreachable!("it is a name"));
    let key = IdempotencyKey::new("key").unwrap_or_else(|_| unreachable!("it is a key"));
    (tenant, key)
}

/// What a process is called in a story.
pub(super) const fn process_name(place: usize) -> &'static str {
    if place == 0 {
        "coordinator A"
    } else {
        "coordinator B"
    }
}

impl Coordinator {
    /// Whether an answer to a call still reaches the node: each call gives it exactly one. Without
    /// the rule that only the latest attempt counts, the driver does not keep that either.
    pub(super) fn listens(&self, config: &Config, order: &Order) -> bool {
        let deaf = config.keeps(Rule::LatestAttempt) || !self.is_up();
        self.waits.contains(order) || (!deaf && self.epoch == order.epoch)
    }

    /// Which way the plan goes that a call belongs to.
    pub(super) fn direction(&self, order: &Order) -> Option<Direction> {
        let transaction = self.node.as_ref()?.transaction(&order.gtid)?;
        Some(transaction.course().direction())
    }

    /// The latest attempt of any call to a branch.
    pub(super) fn latest_attempt(&self, order: &Order) -> Option<Attempt> {
        let transaction = self.node.as_ref()?.transaction(&order.gtid)?;
        let calls = transaction.course().calls(order.branch)?;
        Some(calls.attempt)
    }
}

impl World {
    /// The transaction that has begun, if one has: no client has heard of another.
    pub(super) fn begun(&self) -> Option<Gtid> {
        self.gtids().find(|gtid| {
            let first = self.journal.rows(*gtid).first();
            first.is_some_and(|row| matches!(row.entry.record, Record::Begun(_)))
        })
    }

    /// Gives the node an event, checks it, and carries out what it asks for.
    pub(super) fn feed(
        &mut self,
        config: &Config,
        place: usize,
        now: Timestamp,
        event: Event,
        log: &mut Log,
    ) {
        let Some(coordinator) = self.coordinators.get_mut(place) else {
            return;
        };
        let Some(mut node) = coordinator.node.as_ref().map(|node| (**node).clone()) else {
            return;
        };
        let effects = node.step(now, event);
        let wrong = core::check(&node)
            .into_iter()
            .chain(core::check_effects(&node, &effects));
        let wrong: Vec<_> = wrong.collect();
        coordinator.node = Some(Hashed::new(node));
        for violation in wrong {
            self.alarm(Violation::new(Invariant::Core, violation.to_string()));
        }
        for effect in effects {
            match Instruction::of(effect) {
                Instruction::Append(token, entry) => self.append(place, token, entry, log),
                Instruction::Leave(after, leaving) => {
                    self.leave_after(config, place, after, leaving, log);
                }
                Instruction::Reload => {
                    if let Some(coordinator) = self.coordinators.get_mut(place) {
                        coordinator.hold = Hold::Reloading;
                    }
                }
            }
        }
    }

    fn append(&mut self, place: usize, token: Token, entry: Hashed<Entry>, log: &mut Log) {
        log.say(|| {
            let (kind, of) = (kind(&entry.record), transaction_name(entry.gtid));
            format!(
                "{} asks the journal for {kind} of {of}",
                process_name(place)
            )
        });
        let gtid = entry.gtid;
        match &entry.record {
            Record::Begun(_) => self.client.gtids.push(gtid),
            Record::Committed(committed) if !self.plan.is_delegated() => {
                let stale = committed
                    .votes
                    .iter()
                    .filter(|vote| vote.ended)
                    .find(|vote| !self.voted_last(place, gtid, vote.branch));
                if let Some(vote) = stale {
                    let name = branch_name(vote.branch);
                    let what = format!("a vote of {name} is counted that is not its latest");
                    self.alarm(Violation::new(Invariant::Validity, what));
                }
            }
            Record::Committed(_) | Record::Aborted(_) | Record::Closed(_) | _ => {}
        }
        self.journal
            .pending
            .push(Pending { writer: Some((place, token)), entry });
    }

    /// Whether a branch found nothing to write in the latest attempt that was sent to it.
    fn voted_last(&self, place: usize, gtid: Gtid, branch: BranchIndex) -> bool {
        let coordinator = self.coordinators.get(place);
        let transaction = coordinator.and_then(|it| it.node.as_ref()?.transaction(&gtid));
        let calls = transaction.and_then(|it| it.course().calls(branch));
        let latest = calls.map(|it| it.attempt);
        let participant = self.participants.get(&branch);
        let said = participant.and_then(|it| it.branch(gtid).read_only);
        let epoch = coordinator.map(|it| it.epoch).unwrap_or_default();
        // A later owner that has asked it too has fenced this one.
        said.is_some_and(|(of, attempt)| of > epoch || Some(attempt) == latest)
    }

    fn leave_after(
        &mut self,
        config: &Config,
        place: usize,
        after: After,
        leaving: Leaving,
        log: &mut Log,
    ) {
        match after {
            After::Durable(token) if self.waits_for_record(config, &leaving) => {
                if let Some(coordinator) = self.coordinators.get_mut(place) {
                    coordinator.hold_back(Held { token, what: leaving });
                }
            }
            After::Durable(_) | After::Now => self.leave(config, place, leaving, log),
        }
    }

    /// Something leaves a process.
    fn leave(&mut self, config: &Config, place: usize, leaving: Leaving, log: &mut Log) {
        match leaving {
            Leaving::Call(order) => {
                if let Some(violation) = durability::check_call(self, &order) {
                    self.alarm(violation);
                }
                if order.epoch < self.journal.epoch {
                    log.mark(Mark::ZombieSent);
                }
                log.say(|| {
                    let (process, name) = (process_name(place), branch_name(order.branch));
                    format!("{process} sends {} to {name}", describe(&order))
                });
                self.note_sent(&order, log);
                self.network.send(Packet::Call(order));
                if let Some(coordinator) = self.coordinators.get_mut(place) {
                    coordinator.waits.insert(order);
                }
                if order.verb == Verb::Compensate && !config.keeps(Rule::LastIsMadeGoodFirst) {
                    log.say(|| "and takes it for done");
                    let answer = ActAnswer::Done { result: None };
                    let answer = Answer::Acted { identity: None, answer };
                    self.give(config, place, order, answer, log);
                }
            }
            Leaving::Reply(request, saying) if request.0 >= INQUIRIES => {
                self.reply_inquiry(config, place, request, saying, log);
            }
            Leaving::Reply(request, saying) => {
                if request == TOLD && matches!(saying, Saying::Status(..)) {
                    log.mark(Mark::CalledBack);
                }
                self.reply_client(place, saying, log);
            }
        }
    }

    fn reply_client(&mut self, place: usize, saying: Saying, log: &mut Log) {
        let (gtid, outcome) = match saying {
            Saying::Status(gtid, outcome) => (gtid, outcome),
            Saying::KeyTaken(by) => {
                log.mark(Mark::KeyTaken);
                (by, self.stored_outcome(by))
            }
            Saying::LookUp => match self.begun() {
                Some(gtid) => (gtid, self.stored_outcome(gtid)),
                None => return,
            },
            Saying::Refused | Saying::Verdict(_) => return,
        };
        let name = transaction_name(gtid);
        log.say(|| {
            format!(
                "{} tells the client: {name} is {outcome:?}",
                process_name(place)
            )
        });
        if let Some(violation) = durability::check_status(self, gtid, outcome) {
            self.alarm(violation);
        }
        if outcome != Outcome::Pending {
            self.client.told.insert((gtid, outcome));
        }
    }

    fn stored_outcome(&self, gtid: Gtid) -> Outcome {
        self.journal
            .history(gtid)
            .map_or(Outcome::Pending, |it| it.status(gtid).outcome)
    }

    /// A reply to an inquiry that is still waited for.
    fn reply_inquiry(
        &mut self,
        config: &Config,
        place: usize,
        request: RequestId,
        saying: Saying,
        log: &mut Log,
    ) {
        let asks = |(branch, participant): (BranchIndex, &super::Participant)| {
            let (gtid, asked) = participant.asking?;
            (asked == place && inquiry(gtid, branch) == request).then_some((branch, gtid))
        };
        let Some((branch, gtid)) = self.branches().find_map(asks) else {
            return;
        };
        match saying {
            Saying::Verdict(verdict) => self.tell_verdict(config, place, branch, verdict, log),
            Saying::LookUp => {
                if let Some(coordinator) = self.coordinators.get_mut(place) {
                    coordinator.look_ups.insert((branch, gtid, false));
                }
            }
            Saying::Refused | Saying::Status(..) | Saying::KeyTaken(_) => {
                log.say(|| format!("{} cannot tell", process_name(place)));
                if let Some(it) = self.participants.get_mut(&branch) {
                    it.asking = None;
                }
            }
        }
    }

    /// A participant that asked is answered.
    pub(super) fn tell_verdict(
        &mut self,
        config: &Config,
        place: usize,
        branch: BranchIndex,
        verdict: Verdict,
        log: &mut Log,
    ) {
        let participant = self.participants.get_mut(&branch);
        let Some((gtid, _)) = participant.and_then(|it| it.asking.take()) else {
            return;
        };
        let read_only = self.journal.fate(gtid) == Some(Fate::Commit);
        let verdict = if verdict == Verdict::Abort
            && read_only
            && !config.keeps(Rule::ReadOnlyNeverCommits)
        {
            Verdict::Commit
        } else {
            verdict
        };
        log.say(|| {
            let (name, of) = (branch_name(branch), transaction_name(gtid));
            format!(
                "{} tells {name} the verdict on {of}: {verdict:?}",
                process_name(place)
            )
        });
        let owner = self
            .coordinators
            .get(place)
            .map(|it| it.epoch)
            .unwrap_or_default();
        if let Some(violation) = durability::check_verdict(self, gtid, branch, verdict, owner) {
            self.alarm(violation);
        }
        if let Verdict::Commit | Verdict::Abort = verdict {
            if let Some(participant) = self.participants.get_mut(&branch) {
                participant.verdicts.insert((gtid, verdict));
            }
            self.network.send(Packet::Verdict { gtid, branch, verdict });
        } else {
            log.mark(Mark::InquiryPending);
        }
    }

    /// The driver looks in the journal, or tells the node that nothing was there.
    pub(super) fn look_up(&mut self, config: &Config, place: usize, log: &mut Log) {
        let Some(coordinator) = self.coordinators.get_mut(place) else {
            return;
        };
        let Some((branch, gtid, absent)) = coordinator.look_ups.pop_first() else {
            return;
        };
        let request = inquiry(gtid, branch);
        if absent {
            log.say(|| {
                format!(
                    "{} tells its core that nothing is recorded",
                    process_name(place)
                )
            });
            return self.feed(
                config,
                place,
                self.now(),
                Event::NotRecorded { request, gtid },
                log,
            );
        }
        log.say(|| format!("{} looks in the journal", process_name(place)));
        match self.journal.history(gtid) {
            Some(history) => {
                let verdict = history.verdict(branch).unwrap_or(Verdict::Pending);
                self.reply_inquiry(config, place, request, Saying::Verdict(verdict), log);
            }
            None => {
                coordinator.look_ups.insert((branch, gtid, true));
            }
        }
    }

    /// The first write that a process waits for is executed and confirmed.
    pub(super) fn flush(&mut self, config: &Config, place: usize, log: &mut Log) {
        let Some(head) = self.journal.head(place) else {
            return;
        };
        let Some((_, token)) = self.journal.pending.get(head).and_then(|it| it.writer) else {
            return;
        };
        if !config.keeps(Rule::ConfirmWhenDurable) {
            if let Some(pending) = self.journal.pending.get_mut(head) {
                pending.writer = None;
            }
            log.say(|| "the journal confirms a write that is still on its way");
            return self.confirm(config, place, token, log);
        }
        let entry = self.journal.pending.remove(head).entry;
        let written = self.journal.write(config, &entry);
        log.say(|| {
            let (kind, of) = (kind(&entry.record), transaction_name(entry.gtid));
            format!(
                "the journal, for {} on {kind} of {of}: {written}",
                process_name(place)
            )
        });
        self.check_written(written, entry.gtid);
        self.mark_written(written, &entry, log);
        let outcome = match written {
            Written::Durable => return self.confirm(config, place, token, log),
            Written::KeyTaken(by) => Appended::KeyTaken { by },
            Written::Fenced => Appended::Fenced,
            // What a store cannot explain, nobody may draw a conclusion from.
            Written::Refused => Appended::Unknown,
        };
        if let Some(coordinator) = self.coordinators.get_mut(place) {
            coordinator.release(token);
            if written == Written::Fenced && entry.epoch == coordinator.epoch {
                coordinator.hold = Hold::None;
            }
        }
        self.feed(
            config,
            place,
            self.now(),
            Event::Flushed { token, outcome },
            log,
        );
    }

    /// The node is told first; then what waited for the record leaves.
    fn confirm(&mut self, config: &Config, place: usize, token: Token, log: &mut Log) {
        let Some(coordinator) = self.coordinators.get_mut(place) else {
            return;
        };
        let released = coordinator.release(token);
        let event = Event::Flushed { token, outcome: Appended::Durable };
        self.feed(config, place, self.now(), event, log);
        for leaving in released {
            self.leave(config, place, leaving, log);
        }
    }

    /// Whoever goes on with a transaction must be able to read what is written.
    fn check_written(&mut self, written: Written, gtid: Gtid) {
        if written == Written::Durable && self.journal.history(gtid).is_none() {
            let what = "the journal holds a history that is not legal";
            self.alarm(Violation::new(Invariant::Core, what));
        }
    }

    fn mark_written(&self, written: Written, entry: &Entry, log: &mut Log) {
        if written == Written::Fenced {
            log.mark(Mark::ZombieWriteFenced);
        }
        if written != Written::Durable {
            return;
        }
        match &entry.record {
            Record::Begun(begun)
                if self.late && begun.deadline == START.plus_millis(TIMEOUT_MS) =>
            {
                log.mark(Mark::LateBegun);
            }
            Record::Committed(_) => {
                let mut actions = self.plan.actions();
                if actions.any(|it| it.class == Class::Pivot) {
                    log.mark(Mark::PivotPassed);
                }
                log.mark(Mark::Committed);
            }
            Record::Aborted(_) if entry.record.is_presumed() => log.mark(Mark::PresumedAbort),
            Record::Aborted(aborted) => {
                if !self.plan.is_atomic() {
                    log.mark(Mark::TurnedBack);
                }
                let mut named = aborted.compensate.iter();
                if named.any(|it| self.participants.contains_key(it)) {
                    log.mark(Mark::GroupPivotAborted);
                }
                log.mark(Mark::Aborted);
            }
            Record::Closed(closed) => {
                if !closed.heuristics.is_empty() {
                    log.mark(Mark::GivenUp);
                }
                log.mark(Mark::Closed);
            }
            Record::Stuck(_) => log.mark(Mark::Stuck),
            Record::Resolved(_) => log.mark(Mark::Resolved),
            Record::Begun(_) | _ => {}
        }
    }

    /// A process hears nothing of what it asked for. Each write may have happened, may happen yet,
    /// or never.
    pub(super) fn flush_unknown(&mut self, config: &Config, place: usize, log: &mut Log) {
        self.budget.spend(Bounded::FlushUnknown);
        log.mark(Mark::FlushUnknown);
        log.say(|| format!("{} hears nothing of its writes", process_name(place)));
        let tokens = self.journal.pending.iter().filter_map(|it| it.writer);
        let tokens: Vec<Token> = tokens
            .filter(|(who, _)| *who == place)
            .map(|(_, token)| token)
            .collect();
        self.journal.orphan(place);
        for token in tokens {
            if let Some(coordinator) = self.coordinators.get_mut(place) {
                coordinator.release(token);
            }
            let event = Event::Flushed { token, outcome: Appended::Unknown };
            self.feed(config, place, self.now(), event, log);
        }
    }

    /// A write for which nobody waits arrives after all.
    pub(super) fn land(&mut self, config: &Config, place: usize, log: &mut Log) {
        if place >= self.journal.pending.len() {
            return;
        }
        let entry = self.journal.pending.remove(place).entry;
        let written = self.journal.write(config, &entry);
        log.mark(Mark::ZombieWriteLanded);
        log.say(|| {
            let (kind, of) = (kind(&entry.record), transaction_name(entry.gtid));
            format!("a write that nobody waits for arrives, {kind} of {of}: {written}")
        });
        self.check_written(written, entry.gtid);
        self.mark_written(written, &entry, log);
    }

    /// Takes answers out of the network for which nobody waits any more.
    pub(super) fn forget_unawaited(&mut self, config: &Config) {
        let coordinators = &self.coordinators;
        self.network.retain(|packet| match packet {
            Packet::Answer { order, .. } => coordinators.iter().any(|it| it.listens(config, order)),
            Packet::Call(_) | Packet::Verdict { .. } => true,
        });
    }
}

const fn kind(record: &Record) -> &'static str {
    match record {
        Record::Begun(_) => "Begun",
        Record::Committed(_) => "Committed",
        Record::Aborted(_) => "Aborted",
        Record::Closed(_) => "Closed",
        Record::Started(_) => "Started",
        Record::Done(_) => "Done",
        Record::Compensated(_) => "Compensated",
        Record::Stuck(_) => "Stuck",
        Record::Resolved(_) => "Resolved",
        _ => "a record",
    }
}
