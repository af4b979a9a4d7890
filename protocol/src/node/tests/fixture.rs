//! Nodes on their way, and effects in one line each.

use crate::effect::{After, Answer, Appended, Effect, Message, Reply, RequestId, Token, Urgency};
use crate::id::{
    BranchIndex, Cluster, Epoch, Fingerprint, Gtid, Incarnation, PartitionId, Position,
};
use crate::invariant;
use crate::json::Json;
use crate::node::{Config, Event, Found, Node, Submission};
use crate::plan::{Plan, PlanRequest};
use crate::record::{Aborted, Begun, Committed, Record, VoteRecord};
use crate::recovery::History;
use crate::time::Timestamp;
use crate::wire::api::{AbortReason, TransactionStatus, Wait};
use crate::wire::contract::{BranchEnd, Identity, Refusal, Vote};

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub(super) const TIMEOUT_MS: u64 = 30_000;
pub(super) const P: PartitionId = PartitionId(3);
pub(super) const E: Epoch = Epoch(5);
pub(super) const A: BranchIndex = BranchIndex(0);
pub(super) const B: BranchIndex = BranchIndex(1);

pub(super) fn config() -> Config {
    Config {
        cluster: Cluster::new("acc").unwrap(),
        incarnation: Incarnation(9),
        open_max: 4,
        participant_open_max: 6,
    }
}

/// A step at a time, checked for what must always hold.
pub(super) fn take_at(node: &mut Node, now: Timestamp, event: Event) -> Vec<Effect> {
    let effects = node.step(now, event);
    assert_eq!(invariant::check(node), []);
    assert_eq!(invariant::check_effects(node, &effects), []);
    effects
}

pub(super) fn take(node: &mut Node, event: Event) -> Vec<Effect> {
    take_at(node, NOW, event)
}

/// The same, in lines.
pub(super) fn lines(node: &mut Node, event: Event) -> Vec<String> {
    take(node, event).iter().map(line).collect()
}

/// A node that owns a partition in which nothing is open.
pub(super) fn node() -> Node {
    let mut node = Node::new(config());
    acquire(&mut node, P, E, Timestamp::ZERO);
    load(&mut node, vec![]);
    node
}

pub(super) fn acquire(node: &mut Node, partition: PartitionId, epoch: Epoch, horizon: Timestamp) {
    let effects = take(node, Event::Acquired { partition, epoch, horizon });
    assert_eq!(effects, []);
}

pub(super) fn load(node: &mut Node, found: Vec<Found>) -> Vec<String> {
    lines(
        node,
        Event::Loaded { partition: P, epoch: E, found, last: true },
    )
}

/// A plan of one to three branches `a`, `b`, `c`, each at a participant of its own.
pub(super) fn plan(branches: usize) -> Plan {
    let branch = |(name, participant): &(&str, &str)| {
        format!(r#"{{"name":"{name}","participant":"{participant}","operation":"o"}}"#)
    };
    let all = [("a", "p"), ("b", "q"), ("c", "r")];
    let branches: Vec<_> = all.iter().take(branches).map(branch).collect();
    let json = format!(r#"{{"branches":[{}]}}"#, branches.join(","));
    let request: PlanRequest = serde_json::from_str(&json).unwrap();
    Plan::try_from(request).unwrap()
}

/// A request for two branches; its number is also the random part of the id.
pub(super) fn submission(request: u64, key: &str, wait: Wait) -> Submission {
    Submission {
        request: RequestId(request),
        partition: P,
        random: u128::from(request),
        tenant: "t".parse().unwrap(),
        key: key.parse().unwrap(),
        fingerprint: Fingerprint([1; 32]),
        plan: plan(2),
        timeout_ms: TIMEOUT_MS,
        wait,
        traceparent: None,
    }
}

pub(super) fn submit(node: &mut Node, submission: Submission) -> Vec<String> {
    lines(node, Event::Submitted(Box::new(submission)))
}

/// The id of the transaction that the request of this number began.
pub(super) fn gtid(request: u64) -> Gtid {
    minted(NOW, request)
}

pub(super) fn minted(at: Timestamp, random: u64) -> Gtid {
    let config = config();
    Gtid::mint(
        config.cluster,
        P,
        config.incarnation,
        at,
        u128::from(random),
    )
    .unwrap()
}

pub(super) fn flush(node: &mut Node, token: u64, outcome: Appended) -> Vec<String> {
    lines(node, Event::Flushed { token: Token(token), outcome })
}

pub(super) fn durable(node: &mut Node, token: u64) -> Vec<String> {
    flush(node, token, Appended::Durable)
}

pub(super) fn query(node: &mut Node, request: u64, gtid: Gtid, wait: Option<Wait>) -> Vec<String> {
    lines(
        node,
        Event::Queried { request: RequestId(request), gtid, wait },
    )
}

/// The answer to the latest attempt at a branch.
pub(super) fn answered(node: &Node, gtid: Gtid, branch: BranchIndex, answer: Answer) -> Event {
    let transaction = node.transaction(&gtid).unwrap();
    let attempt = transaction.group().unwrap().branches()[usize::from(branch.0)]
        .calls
        .attempt;
    Event::Answered { gtid, epoch: transaction.epoch, branch, attempt, answer }
}

pub(super) fn say(node: &mut Node, gtid: Gtid, branch: BranchIndex, answer: Answer) -> Vec<String> {
    let event = answered(node, gtid, branch, answer);
    lines(node, event)
}

/// A transaction of so many branches whose `Begun` is durable; request 1 waits.
pub(super) fn begun(branches: usize, wait: Wait) -> (Node, Gtid) {
    let mut node = node();
    submit(
        &mut node,
        Submission { plan: plan(branches), ..submission(1, "k", wait) },
    );
    durable(&mut node, 0);
    (node, gtid(1))
}

/// A transaction whose branches both voted yes; `Committed` is under way with token 1.
pub(super) fn deciding(wait: Wait) -> (Node, Gtid) {
    let (mut node, gtid) = begun(2, wait);
    say(&mut node, gtid, A, yes());
    say(&mut node, gtid, B, yes());
    (node, gtid)
}

/// A transaction whose commit is durable.
pub(super) fn committing(wait: Wait) -> (Node, Gtid) {
    let (mut node, gtid) = deciding(wait);
    durable(&mut node, 1);
    (node, gtid)
}

/// A transaction that branch `a` refused; `Aborted` is under way with token 1.
pub(super) fn aborting(wait: Wait) -> (Node, Gtid) {
    let (mut node, gtid) = begun(2, wait);
    say(&mut node, gtid, A, no());
    (node, gtid)
}

pub(super) fn identity() -> Identity {
    Identity { system: "7/16384".to_owned(), timeline: 1, starts: 3 }
}

pub(super) fn vote(vote: Vote) -> Answer {
    Answer::Vote { identity: identity(), vote }
}

pub(super) fn yes() -> Answer {
    vote(Vote::Yes { result: Some(Json::null()) })
}

pub(super) fn read_only() -> Answer {
    vote(Vote::ReadOnly { result: None })
}

pub(super) fn no() -> Answer {
    vote(Vote::No { refusal: Refusal::new("funds", "not enough") })
}

pub(super) fn end(end: BranchEnd) -> Answer {
    Answer::End { identity: identity(), end }
}

pub(super) fn committed() -> Answer {
    end(BranchEnd::Committed { result: None })
}

pub(super) fn aborted() -> Answer {
    end(BranchEnd::Aborted)
}

pub(super) fn lost() -> Answer {
    Answer::Unanswered { error: "no reply".to_owned() }
}

/// What the journal holds of a transaction of so many branches with the key `k`.
pub(super) fn begun_record(branches: usize) -> Begun {
    Begun {
        tenant: "t".parse().unwrap(),
        key: "k".parse().unwrap(),
        fingerprint: Fingerprint([1; 32]),
        plan: plan(branches),
        deadline: NOW.plus_millis(TIMEOUT_MS),
        traceparent: None,
    }
}

pub(super) fn committed_record(ended: bool, branches: u8) -> Record {
    let vote = |n| VoteRecord {
        branch: BranchIndex(n),
        ended,
        identity: identity(),
        result: None,
    };
    Record::Committed(Committed { at: NOW, votes: (0..branches).map(vote).collect() })
}

pub(super) fn aborted_record(reason: AbortReason) -> Record {
    Record::Aborted(Aborted { at: NOW, reason, compensate: Vec::new() })
}

pub(super) fn found(gtid: Gtid, branches: usize, then: Vec<Record>) -> Found {
    let records = [Record::Begun(begun_record(branches))];
    let history = History::fold(records.into_iter().chain(then)).unwrap();
    Found { gtid, history }
}

/// The status in a reply to this request.
pub(super) fn status(effects: &[Effect], request: u64) -> TransactionStatus {
    let status = effects.iter().find_map(|effect| match effect {
        Effect::Reply { request: RequestId(it), reply: Reply::Status(status), .. }
            if *it == request =>
        {
            Some(status.as_ref().clone())
        }
        Effect::Append { .. }
        | Effect::Send { .. }
        | Effect::Reply { .. }
        | Effect::Reload { .. } => None,
    });
    status.unwrap()
}

/// An effect in one line. A new one does not compile until it has a line.
pub(super) fn line(effect: &Effect) -> String {
    match effect {
        Effect::Append { token: Token(token), entry, urgency } => {
            let record = match &entry.record {
                Record::Begun(_) => "Begun".to_owned(),
                Record::Committed(_) => "Committed".to_owned(),
                Record::Aborted(record) if record.compensate.is_empty() => {
                    format!("Aborted ({})", reason(&record.reason))
                }
                Record::Aborted(record) => {
                    let (reason, all) = (reason(&record.reason), list(&record.compensate));
                    format!("Aborted ({reason}) {all}")
                }
                Record::Closed(record) => format!("Closed {}", list(&record.heuristics)),
                Record::Started(record) => format!("Started {}", record.action),
                Record::Done(record) => format!("Done {}", record.action),
                Record::Compensated(record) => format!("Compensated {}", record.action),
                Record::Stuck(record) => format!("Stuck {} {:?}", record.action, record.verb),
                Record::Resolved(record) => {
                    format!("Resolved {} {:?}", record.action, record.resolution)
                }
            };
            let urgency = match urgency {
                Urgency::Forced => "forced",
                Urgency::Lazy => "lazy",
            };
            let Position(at) = entry.position;
            format!("append t{token}: {record} at {at}, {urgency}")
        }
        Effect::Send { after, call } => match &call.message {
            Message::Prepare(it) => {
                let verb = if it.one_phase {
                    "commit alone"
                } else {
                    "prepare"
                };
                format!("{verb} {} #{}{}", it.branch, it.attempt, gate(*after))
            }
            Message::Finish(it) => {
                let verb = it.verb.word();
                format!("{verb} {} #{}{}", it.branch, it.attempt, gate(*after))
            }
            Message::Act(it) => {
                let verb = it.verb.word();
                format!("{verb} {} #{}{}", it.branch, it.attempt, gate(*after))
            }
            Message::Endpoint(it) => {
                let (verb, method) = (it.verb.word(), it.method.as_str());
                let (path, gate) = (&it.path, gate(*after));
                format!("{verb} {} #{} {method} {path}{gate}", it.branch, it.attempt)
            }
        },
        Effect::Reply { after, request: RequestId(request), reply } => {
            let reply = match reply {
                Reply::Status(it) => format!("{:?}, {:?}", it.state, it.outcome),
                Reply::KeyReused { .. } => "key reused".to_owned(),
                Reply::KeyTaken { .. } => "key taken".to_owned(),
                Reply::NotInMemory => "not in memory".to_owned(),
                Reply::Verdict(verdict) => format!("{verdict:?}"),
                Reply::Refused(code) => format!("refused ({code:?})"),
            };
            format!("r{request}: {reply}{}", gate(*after))
        }
        Effect::Reload { partition } => format!("reload {partition}"),
    }
}

fn list(branches: &[BranchIndex]) -> String {
    let numbers: Vec<u8> = branches.iter().map(|branch| branch.0).collect();
    format!("{numbers:?}")
}

fn gate(after: After) -> String {
    match after {
        After::Now => String::new(),
        After::Durable(Token(token)) => format!(" after t{token}"),
    }
}

const fn reason(reason: &AbortReason) -> &'static str {
    match reason {
        AbortReason::Refused { .. } => "refused",
        AbortReason::DeadlinePassed { .. } => "deadline",
        AbortReason::Recovered => "recovered",
        AbortReason::Presumed => "presumed",
        AbortReason::Sealed => "sealed",
        AbortReason::AttemptsUsedUp { .. } => "attempts",
    }
}

/// Nothing of any transaction is left in memory: no key, timer, append, inquiry or open branch.
pub(super) fn assert_nothing_left(node: &Node) {
    assert_eq!(node.open(), 0);
    assert_eq!(node.next_timer(), None);
    assert!(node.keys.is_empty(), "{:?}", node.keys);
    assert!(node.presumptions.is_empty(), "{:?}", node.presumptions);
    assert!(node.awaited.is_empty(), "{:?}", node.awaited);
    assert!(node.queue.is_empty(), "{:?}", node.queue);
    assert!(
        node.participants.values().all(|it| it.open == 0),
        "{:?}",
        node.participants
    );
}
