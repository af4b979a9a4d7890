//! What each step does to the world.

use accordant_protocol::action::Phase;
use accordant_protocol::effect::{Answer, RequestId};
use accordant_protocol::id::{Attempt, BranchIndex, Epoch, Fingerprint};
use accordant_protocol::node::{Event, Submission};
use accordant_protocol::plan::{Class, Direction};
use accordant_protocol::wire::api::Verdict;
use accordant_protocol::wire::contract::{ActAnswer, BranchEnd, Identity, Refusal, Vote};

use super::action::Action;
use super::config::{Bounded, Config, TIMEOUT_MS, Voice, branch_name};
use super::coordinator::{Coordinator, Hold};
use super::driver::{PARTITION, QUERY, client_name, inquiry, process_name};
use super::log::{Log, Mark};
use super::network::{Order, Packet, Verb};
use super::rule::Rule;
use super::state::{World, transaction_name};
use crate::fingerprint::Hashed;

impl World {
    /// The state after a step.
    #[must_use]
    pub fn after(&self, config: &Config, action: Action, log: &mut Log) -> Self {
        let mut world = self.clone();
        world.take(config, action, log);
        world
    }

    fn take(&mut self, config: &Config, action: Action, log: &mut Log) {
        match action {
            Action::Submit(place) => self.submit(config, place, log),
            Action::Query(place) => self.query(config, place, log),
            Action::Flush(place) => self.flush(config, place, log),
            Action::FlushUnknown(place) => self.flush_unknown(config, place, log),
            Action::Land(place) => self.land(config, place, log),
            Action::Deliver(place) => self.deliver(config, place, log),
            Action::Serve(place, voice) => self.deliver_as(config, place, voice, log),
            Action::Duplicate(place) => self.duplicate(config, place, log),
            Action::Unanswered(place, wait) => self.unanswered(config, place, wait, log),
            Action::Vote(branch, job, voice) => self.vote(config, branch, job, voice, log),
            Action::Advance(branch, job) => self.advance(config, branch, job, log),
            Action::RestartParticipant(branch) => self.restart_participant(branch, log),
            Action::Crash(place) => self.crash(config, place, log),
            Action::Acquire(place) => self.acquire(config, place, log),
            Action::Load(place) => self.load(config, place, log),
            Action::Lose(place) => {
                self.budget.spend(Bounded::LeaseLost);
                log.say(|| format!("{} believes that its lease is lost", process_name(place)));
                self.lose(config, place, log);
            }
            Action::Deadline => {
                self.budget.spend(Bounded::Deadline);
                log.mark(Mark::DeadlinePassed);
                log.say(|| "the time for voting is over");
                self.late = true;
            }
            Action::Timer(place) => self.fire(config, place, log),
            Action::Inquire(branch, gtid, place) => self.inquire(config, branch, gtid, place, log),
            Action::LookUp(place) => self.look_up(config, place, log),
            Action::EndLocal(branch, voice) => self.end_local(config, branch, voice, log),
            Action::SayEnded(place) => self.say_ended(config, place, log),
            Action::CallBack(action, place, verb) => {
                self.call_back(config, action, place, verb, log);
            }
            Action::Resolve(action, place, decision) => {
                self.resolve(config, action, place, decision, log);
            }
            Action::Calm => self.calm(config, log),
        }
    }

    fn submit(&mut self, config: &Config, place: usize, log: &mut Log) {
        self.budget.spend(Bounded::Submit);
        self.client.submitted += 1;
        let number = self.client.submitted;
        let text = if number == 1 {
            "submits its request"
        } else {
            "repeats its request"
        };
        log.say(|| format!("the client {text} to {}", process_name(place)));
        let (tenant, key) = client_name();
        let submission = Submission {
            request: RequestId(u64::from(number)),
            partition: PARTITION,
            random: u128::from(number),
            tenant,
            key,
            fingerprint: Fingerprint([0; 32]),
            plan: config.plan.clone(),
            timeout_ms: TIMEOUT_MS,
            wait: config.wait,
            traceparent: None,
        };
        self.feed(
            config,
            place,
            self.now(),
            Event::Submitted(Box::new(submission)),
            log,
        );
    }

    fn query(&mut self, config: &Config, place: usize, log: &mut Log) {
        self.budget.spend(Bounded::Query);
        let Some(gtid) = self.begun() else {
            return;
        };
        let name = transaction_name(gtid);
        log.say(|| format!("the client asks {} how {name} stands", process_name(place)));
        let event = Event::Queried { request: QUERY, gtid, wait: None };
        self.feed(config, place, self.now(), event, log);
    }

    fn deliver(&mut self, config: &Config, place: usize, log: &mut Log) {
        match self.network.take(place) {
            Some(Packet::Call(order)) => self.arrive(config, order, log),
            Some(Packet::Answer { order, answer }) => {
                self.answered(config, order, (*answer).clone(), log);
            }
            Some(Packet::Verdict { gtid, branch, verdict }) => {
                let (name, of) = (branch_name(branch), transaction_name(gtid));
                log.say(|| format!("{name} hears the verdict on {of}: {verdict:?}"));
                let (verb, mark) = match verdict {
                    Verdict::Commit => (Verb::Commit, Mark::SweepCommitted),
                    // Others are not sent: there is nothing to do about them.
                    Verdict::Abort | Verdict::Pending | Verdict::Unknown | _ => {
                        (Verb::Abort, Mark::SweepAborted)
                    }
                };
                let prepared = self
                    .participants
                    .get(&branch)
                    .is_some_and(|it| it.is_prepared(gtid));
                if prepared {
                    log.mark(mark);
                }
                let (epoch, attempt) = (Epoch(0), Attempt(0));
                let order = Order { gtid, branch, verb, epoch, attempt, said: None };
                self.look(config, order, log);
            }
            None => {}
        }
    }

    fn deliver_as(&mut self, config: &Config, place: usize, voice: Voice, log: &mut Log) {
        if let Some(Packet::Call(order)) = self.network.take(place) {
            self.arrive_at_service(config, order, voice, log);
        }
    }

    fn arrive_at_service(&mut self, config: &Config, order: Order, voice: Voice, log: &mut Log) {
        log.say(|| format!("{} reaches {}", describe(&order), branch_name(order.branch)));
        if self.journal.is_closed(order.gtid) {
            log.mark(Mark::CallAfterClose);
        }
        self.serve(config, order, voice, log);
    }

    fn duplicate(&mut self, config: &Config, place: usize, log: &mut Log) {
        let Some(Packet::Call(order)) = self.network.packets().get(place).cloned() else {
            return;
        };
        self.budget.spend(Bounded::Duplicate);
        log.mark(Mark::Duplicate);
        if order.verb.of_branch().is_none() {
            log.say(|| {
                let name = branch_name(order.branch);
                format!("a copy of {} to {name} is on its way too", describe(&order))
            });
            return self.network.send(Packet::Call(order));
        }
        log.say(|| "a copy of the next call stays on its way");
        self.arrive(config, order, log);
    }

    /// A call arrives at its participant.
    fn arrive(&mut self, config: &Config, order: Order, log: &mut Log) {
        if order.verb.of_branch().is_none() {
            let voice = config.first_voice(&order);
            return self.arrive_at_service(config, order, voice, log);
        }
        log.say(|| format!("{} reaches {}", describe(&order), branch_name(order.branch)));
        if self.journal.is_closed(order.gtid) {
            log.mark(Mark::CallAfterClose);
        }
        self.look(config, order, log);
    }

    fn look(&mut self, config: &Config, order: Order, log: &mut Log) {
        let participant = self.participants.get_mut(&order.branch);
        let answer = participant.and_then(|it| it.look(config, order, log));
        self.respond(config, order, answer, log);
    }

    fn vote(
        &mut self,
        config: &Config,
        branch: BranchIndex,
        job: usize,
        voice: Voice,
        log: &mut Log,
    ) {
        log.say(|| format!("the handler of {} ends: {voice}", branch_name(branch)));
        let participant = self.participants.get_mut(&branch);
        let done = participant.and_then(|it| it.vote_message(config, job, voice, log));
        if let Some((order, answer)) = done {
            self.respond(config, order, answer, log);
        }
    }

    fn advance(&mut self, config: &Config, branch: BranchIndex, job: usize, log: &mut Log) {
        let participant = self.participants.get_mut(&branch);
        let Some(participant) = participant else {
            return;
        };
        if let Some(job) = participant.jobs.get(job) {
            log.say(|| format!("{} goes on: {:?}", branch_name(branch), job.stage));
        }
        if let Some((order, answer)) = participant.advance(config, job, log) {
            self.respond(config, order, answer, log);
        }
    }

    /// An answer leaves a participant. One that nobody waits for goes nowhere.
    pub(super) fn respond(
        &mut self,
        config: &Config,
        order: Order,
        answer: Option<Answer>,
        log: &mut Log,
    ) {
        let Some(answer) = answer else {
            return;
        };
        let ended = matches!(answer, Answer::End { end: BranchEnd::Aborted, .. });
        if ended && self.plan.is_delegated() {
            log.mark(Mark::RecallFoundSeal);
        }
        log.say(|| {
            format!(
                "{} answers {}",
                branch_name(order.branch),
                describe_answer(&answer)
            )
        });
        if self
            .coordinators
            .iter()
            .any(|it| it.listens(config, &order))
        {
            self.network
                .send(Packet::Answer { order, answer: Hashed::new(answer) });
        }
    }

    fn answered(&mut self, config: &Config, order: Order, answer: Answer, log: &mut Log) {
        let listens = |it: &Coordinator| it.listens(config, &order);
        let Some(place) = self.coordinators.iter().position(listens) else {
            return;
        };
        log.say(|| {
            let text = describe_answer(&answer);
            let (name, process) = (branch_name(order.branch), process_name(place));
            format!(
                "{process} hears from {name}, attempt {}: {text}",
                order.attempt
            )
        });
        let answer = match answer {
            Answer::Vote { identity, vote: Vote::Yes { .. } }
                if !config.keeps(Rule::AllYesCommits) =>
            {
                log.say(|| "and takes it for a no");
                let refusal = Refusal::new("late", "late by a millisecond");
                Answer::Vote { identity, vote: Vote::No { refusal } }
            }
            answer @ (Answer::Vote { .. }
            | Answer::End { .. }
            | Answer::Acted { .. }
            | Answer::Unanswered { .. }
            | Answer::Unsent { .. }) => answer,
        };
        self.give(config, place, order, answer, log);
    }

    fn unanswered(&mut self, config: &Config, place: usize, wait: usize, log: &mut Log) {
        let coordinator = self.coordinators.get(place);
        let Some(order) = coordinator.and_then(|it| it.waits.iter().nth(wait).copied()) else {
            return;
        };
        self.budget.spend(Bounded::Unanswered);
        log.say(|| {
            let (call, name) = (describe(&order), branch_name(order.branch));
            format!("{} gives {call} to {name} up", process_name(place))
        });
        let silence = Answer::Unanswered { error: "timeout".to_owned() };
        let answer = if let Some(answer) = self.misheard(config, &order, log) {
            answer
        } else if order.verb == Verb::Prepare && !config.keeps(Rule::SilenceIsNotYes) {
            log.say(|| "and takes the silence for a yes");
            let system = branch_name(order.branch).to_owned();
            let identity = Identity { system, timeline: 1, starts: 1 };
            Answer::Vote { identity, vote: Vote::Yes { result: None } }
        } else {
            silence
        };
        self.give(config, place, order, answer, log);
    }

    /// What silence of an action is taken for, where a rule about that is removed.
    fn misheard(&self, config: &Config, order: &Order, log: &mut Log) -> Option<Answer> {
        let action = self.plan.action(order.branch)?;
        if order.verb != Verb::Act {
            return None;
        }
        let answer =
            if self.late && action.class == Class::Pivot && !config.keeps(Rule::PivotIsAwaited) {
                log.say(|| "and takes the silence for a refusal");
                ActAnswer::Refused { refusal: Refusal::new("late", "its time is over") }
            } else if action.is_plain() && !config.keeps(Rule::SilenceIsNotDone) {
                log.say(|| "and takes the silence for done");
                ActAnswer::Done { result: None }
            } else {
                return None;
            };
        Some(Answer::Acted { identity: None, answer })
    }

    /// The node gets the one answer to a call.
    pub(super) fn give(
        &mut self,
        config: &Config,
        place: usize,
        order: Order,
        answer: Answer,
        log: &mut Log,
    ) {
        let Some(coordinator) = self.coordinators.get_mut(place) else {
            return;
        };
        coordinator.waits.remove(&order);
        if order.epoch != coordinator.epoch {
            log.mark(Mark::OldEpochAnswer);
        }
        let mut attempt = order.attempt;
        if !config.keeps(Rule::LatestAttempt)
            && let Some(latest) = coordinator.latest_attempt(&order)
            && latest != attempt
        {
            log.say(|| format!("and takes it for the answer to attempt {latest}"));
            attempt = latest;
        }
        let clears_up = order.verb == Verb::Act
            && matches!(answer, Answer::Acted { .. })
            && coordinator.direction(&order) == Some(Direction::TurningBack);
        if clears_up {
            log.mark(Mark::ClearedUp);
        }
        self.forget_unawaited(config);
        let Order { gtid, epoch, branch, .. } = order;
        let event = Event::Answered { gtid, epoch, branch, attempt, answer };
        self.feed(config, place, self.now(), event, log);
    }

    fn restart_participant(&mut self, branch: BranchIndex, log: &mut Log) {
        self.budget.spend(Bounded::ParticipantCrash);
        let Some(participant) = self.participants.get_mut(&branch) else {
            return;
        };
        log.say(|| {
            format!(
                "the participant of {} dies, and starts again",
                branch_name(branch)
            )
        });
        if participant.branches.values().any(|it| it.prepared) {
            log.mark(Mark::PreparedSurvived);
        }
        participant.restart();
        self.network.retain(
            |packet| !matches!(packet, Packet::Verdict { branch: it, .. } if *it == branch),
        );
    }

    fn crash(&mut self, config: &Config, place: usize, log: &mut Log) {
        self.budget.spend(Bounded::Crash);
        log.say(|| format!("{} dies", process_name(place)));
        let doubt = self.gtids().any(|gtid| {
            let undecided = self.journal.fate(gtid).is_none();
            undecided && self.participants.values().any(|it| it.is_prepared(gtid))
        });
        if doubt {
            log.mark(Mark::InDoubtReached);
        }
        self.journal.orphan(place);
        if let Some(coordinator) = self.coordinators.get_mut(place) {
            *coordinator = Coordinator::down();
        }
        for participant in self.participants.values_mut() {
            participant.asking.take_if(|(_, asked)| *asked == place);
        }
        self.forget_unawaited(config);
    }

    fn fire(&mut self, config: &Config, place: usize, log: &mut Log) {
        let Some(next) = self.next_timer(place) else {
            return;
        };
        let now = self.now();
        if next > now {
            self.budget.spend(Bounded::Retry);
        }
        if self.holds_a_message_back(place) {
            log.mark(Mark::MessageHeldBack);
        }
        log.say(|| format!("a timer of {} is due", process_name(place)));
        self.feed(config, place, now.max(next), Event::Timer, log);
    }

    fn holds_a_message_back(&self, place: usize) -> bool {
        let node = self.coordinators.get(place).and_then(|it| it.node.as_ref());
        let transactions = node.into_iter().flat_map(|it| it.transactions());
        let mut actions = transactions.flat_map(|it| it.course().actions());
        actions.any(|it| it.phase() == Phase::Waiting && it.calls.retry_at.is_some())
    }

    fn inquire(
        &mut self,
        config: &Config,
        branch: BranchIndex,
        gtid: usize,
        place: usize,
        log: &mut Log,
    ) {
        let Some(gtid) = self.client.gtids.get(gtid).copied() else {
            return;
        };
        self.budget.spend(Bounded::Inquiry);
        if let Some(participant) = self.participants.get_mut(&branch) {
            participant.asking = Some((gtid, place));
        }
        let (name, of) = (branch_name(branch), transaction_name(gtid));
        log.say(|| format!("{name} asks {} what became of {of}", process_name(place)));
        let request = inquiry(gtid, branch);
        if config.keeps(Rule::Tombstone) {
            let event = Event::Inquired { request, gtid, branch };
            self.feed(config, place, self.now(), event, log);
        } else {
            // Anyone answers, from what the journal holds or does not hold.
            let history = self.journal.history(gtid);
            let verdict = history.map_or(Some(Verdict::Abort), |it| it.verdict(branch));
            self.tell_verdict(
                config,
                place,
                branch,
                verdict.unwrap_or(Verdict::Pending),
                log,
            );
        }
    }

    /// Faults stop. Nothing here may be needed for safety; everything here does happen in time.
    fn calm(&mut self, config: &Config, log: &mut Log) {
        log.say(|| "faults stop: what nobody waits for is lost");
        let mut network = self.network.clone();
        network.retain(|packet| match packet {
            Packet::Call(order) => self.arrives_in_health(config, order),
            Packet::Answer { .. } | Packet::Verdict { .. } => true,
        });
        self.network = network;
        self.journal.pending.retain(|it| it.writer.is_some());
        for place in 0..self.coordinators.len() {
            let replaced = |it: &Coordinator| {
                it.hold != Hold::None && it.hold != Hold::Reloading && it.epoch < self.journal.epoch
            };
            if self.coordinators.get(place).is_some_and(replaced) {
                log.say(|| format!("{} learns that it was replaced", process_name(place)));
                self.lose(config, place, log);
            }
        }
    }
}

/// A call in a story.
pub(super) fn describe(order: &Order) -> String {
    let verb = match order.verb {
        Verb::Prepare => "prepare",
        Verb::CommitOnePhase => "the one-phase commit",
        Verb::Commit => "commit",
        Verb::Abort => "abort",
        Verb::Act => "the act",
        Verb::Compensate => "the compensation",
    };
    let (gtid, attempt) = (transaction_name(order.gtid), order.attempt);
    format!(
        "{verb} of {gtid} (attempt {attempt}, epoch {})",
        order.epoch
    )
}

fn describe_answer(answer: &Answer) -> String {
    match answer {
        Answer::Vote { vote, .. } => match vote {
            Vote::Yes { .. } => "yes".to_owned(),
            Vote::ReadOnly { .. } => "read-only".to_owned(),
            Vote::Committed { .. } => "committed".to_owned(),
            Vote::No { .. } => "no".to_owned(),
            Vote::InProgress => "in progress".to_owned(),
            other @ (Vote::RetryLater { .. } | _) => format!("{other:?}"),
        },
        Answer::End { end, .. } => match end {
            BranchEnd::Committed { .. } => "committed".to_owned(),
            BranchEnd::Aborted => "aborted".to_owned(),
            BranchEnd::InProgress => "in progress".to_owned(),
            other @ (BranchEnd::RetryLater { .. } | _) => format!("{other:?}"),
        },
        Answer::Acted { answer, .. } => match answer {
            ActAnswer::Done { .. } => "done".to_owned(),
            ActAnswer::Refused { .. } => "refused".to_owned(),
            ActAnswer::InProgress { .. } => "in progress".to_owned(),
            other @ (ActAnswer::RetryLater { .. } | _) => format!("{other:?}"),
        },
        Answer::Unanswered { error } | Answer::Unsent { error } => error.clone(),
    }
}
