//! Groups in every phase, and what branches say.

use crate::effect::{Answer, Urgency};
use crate::group::{Group, Input, Phase};
use crate::id::{Attempt, BranchIndex};
use crate::json::Json;
use crate::plan::{Gate, Order, Plan, PlanRequest};
use crate::record::{Aborted, Closed, Committed, Fate, Record, VoteRecord};
use crate::recovery::Resumption;
use crate::time::Timestamp;
use crate::wire::api::AbortReason;
use crate::wire::contract::{BranchEnd, Identity, Refusal, Vote};

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub(super) const A: BranchIndex = BranchIndex(0);
pub(super) const B: BranchIndex = BranchIndex(1);

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

pub(super) fn group(branches: usize) -> Group {
    Group::begin(&plan(branches), 7)
}

pub(super) fn resume(branches: usize, resumption: Resumption) -> (Group, Vec<Order>) {
    Group::resume(&plan(branches), 7, resumption, NOW)
}

/// A group that went the ordinary way into a phase. A lone branch where the phase wants one,
/// two branches otherwise.
pub(super) fn in_phase(phase: Phase) -> Group {
    let after = |phase, input| {
        let mut group = in_phase(phase);
        group.step(NOW, input).unwrap();
        group
    };
    let told = |phase, answers: &[(BranchIndex, Answer)]| {
        let mut group = in_phase(phase);
        for (branch, answer) in answers {
            say(&mut group, *branch, answer.clone());
        }
        group
    };
    let group = match phase {
        Phase::Beginning => group(2),
        Phase::Preparing => after(Phase::Beginning, Input::Durable),
        Phase::DecidingCommit => told(Phase::Preparing, &[(A, yes()), (B, yes())]),
        Phase::Committing => after(Phase::DecidingCommit, Input::Durable),
        Phase::DecidingAbort => resume(2, Resumption::DecideAbort).0,
        Phase::Aborting => told(Phase::Preparing, &[(A, no())]),
        Phase::Handing => group(1),
        Phase::Delegated => after(Phase::Handing, Input::Durable),
        Phase::Recalling => after(Phase::Delegated, Input::Deadline),
        Phase::RecordingCommit => told(
            Phase::Delegated,
            &[(A, vote(Vote::Committed { result: None }))],
        ),
        Phase::RecordingAbort => told(Phase::Delegated, &[(A, no())]),
        Phase::Closed => told(Phase::Committing, &[(A, committed()), (B, committed())]),
        Phase::Held => Group::begin(&pivot(), 0),
        Phase::PreparingPivot => after(Phase::Held, Input::Durable),
    };
    assert_eq!(group.phase(), phase);
    group
}

/// The latest attempt at a branch.
pub(super) fn attempt(group: &Group, branch: BranchIndex) -> Attempt {
    group.branches()[usize::from(branch.0)].calls.attempt
}

/// The answer to the latest attempt at a branch.
pub(super) fn say(group: &mut Group, branch: BranchIndex, answer: Answer) -> Vec<Order> {
    let attempt = attempt(group, branch);
    group
        .step(NOW, Input::Answer { branch, attempt, answer })
        .unwrap()
}

pub(super) fn identity() -> Identity {
    Identity { system: "7/16384".to_owned(), timeline: 1, starts: 3 }
}

pub(super) fn vote(vote: Vote) -> Answer {
    Answer::Vote { identity: identity(), vote }
}

pub(super) fn yes() -> Answer {
    vote(Vote::Yes { result: Some(ok()) })
}

pub(super) fn read_only() -> Answer {
    vote(Vote::ReadOnly { result: None })
}

pub(super) fn refusal() -> Refusal {
    Refusal::new("funds", "not enough")
}

pub(super) fn no() -> Answer {
    vote(Vote::No { refusal: refusal() })
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

/// A business result.
pub(super) fn ok() -> Json {
    Json::from_text("\"ok\"".to_owned()).unwrap()
}

pub(super) fn voted(branch: BranchIndex) -> VoteRecord {
    VoteRecord {
        branch,
        ended: false,
        identity: identity(),
        result: Some(ok()),
    }
}

pub(super) fn ended(branch: BranchIndex) -> VoteRecord {
    VoteRecord { branch, ended: true, identity: identity(), result: None }
}

pub(super) fn prepare(branch: BranchIndex, attempt: u32) -> Order {
    Order::Prepare { branch, attempt: Attempt(attempt), one_phase: false }
}

pub(super) fn commit_alone(branch: BranchIndex, attempt: u32) -> Order {
    Order::Prepare { branch, attempt: Attempt(attempt), one_phase: true }
}

/// The order to commit; the result is known.
pub(super) fn commit(after: Gate, branch: BranchIndex, attempt: u32) -> Order {
    let fate = Fate::Commit;
    Order::Finish {
        after,
        branch,
        fate,
        attempt: Attempt(attempt),
        want_result: false,
    }
}

/// The order to abort; no result is known.
pub(super) fn abort(after: Gate, branch: BranchIndex, attempt: u32) -> Order {
    let fate = Fate::Abort;
    Order::Finish {
        after,
        branch,
        fate,
        attempt: Attempt(attempt),
        want_result: true,
    }
}

/// The same order, with a result already known (or, for a commit, not known).
pub(super) fn wanting(order: Order, wanted: bool) -> Order {
    match order {
        Order::Finish { after, branch, fate, attempt, .. } => {
            Order::Finish { after, branch, fate, attempt, want_result: wanted }
        }
        Order::Record { .. } | Order::Prepare { .. } | Order::Act { .. } => order,
    }
}

pub(super) fn record_commit(votes: Vec<VoteRecord>) -> Order {
    let record = Record::Committed(Committed { at: NOW, votes });
    Order::Record { record, urgency: Urgency::Forced }
}

pub(super) fn record_abort(reason: AbortReason) -> Order {
    let record = Record::Aborted(Aborted { at: NOW, reason, compensate: Vec::new() });
    Order::Record { record, urgency: Urgency::Forced }
}

pub(super) fn record_closed(
    heuristics: Vec<BranchIndex>,
    results: Vec<(BranchIndex, Json)>,
) -> Order {
    let record = Record::Closed(Closed { at: NOW, heuristics, results });
    Order::Record { record, urgency: Urgency::Lazy }
}

pub(super) fn refused_by_a() -> AbortReason {
    AbortReason::Refused { branch: "a".parse().unwrap(), refusal: refusal() }
}

/// A plan in which a group of two branches is the pivot.
fn pivot() -> Plan {
    let json = r#"{"steps":[
        {"name":"pay","after":["before"],"group":{"branches":[
            {"name":"a","participant":"p","operation":"o"},
            {"name":"b","participant":"q","operation":"o"}]}},
        {"name":"before","action":{"participant":"p","operation":"o"}}]}"#;
    let request: PlanRequest = serde_json::from_str(json).unwrap();
    Plan::try_from(request).unwrap()
}
