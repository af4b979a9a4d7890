//! Metrics of the core. Labels are bounded: never an id, never a text from outside, but for the
//! names of registered participants.

use std::collections::BTreeMap;

use accordant_protocol::calls::Calls;
use accordant_protocol::effect::Entry;
use accordant_protocol::id::ParticipantName;
use accordant_protocol::node::{Node, Transaction};
use accordant_protocol::plan::{Mode, Plan};
use accordant_protocol::record::Record;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::AbortReason;
use metrics::{counter, gauge, histogram};

use crate::clock;
use crate::journal::group_commit::ShardIndex;

/// Counts a record that goes into the journal.
pub fn append(entry: &Entry) {
    match &entry.record {
        Record::Begun(begun) => {
            let mode = mode(&begun.plan);
            counter!("accordant_transactions_begun_total", "mode" => mode).increment(1);
            if entry.record.fate().is_some() {
                count_outcome("committed", "begun");
            }
        }
        Record::Committed(_) => count_outcome("committed", "agreed"),
        Record::Aborted(aborted) => count_outcome("aborted", reason(&aborted.reason)),
        Record::Closed(closed) => {
            let seconds = seconds_since(entry.gtid.minted());
            histogram!("accordant_transaction_duration_seconds").record(seconds);
            if !closed.heuristics.is_empty() {
                counter!("accordant_heuristic_total").increment(1);
            }
        }
        Record::Started(_)
        | Record::Done(_)
        | Record::Compensated(_)
        | Record::Stuck(_)
        | Record::Resolved(_)
        | _ => {}
    }
}

fn count_outcome(outcome: &'static str, reason: &'static str) {
    counter!("accordant_transactions_total", "outcome" => outcome, "reason" => reason).increment(1);
}

/// Which way of working a plan takes, in one word.
fn mode(plan: &Plan) -> &'static str {
    if plan.is_local() {
        "local"
    } else if plan.fate().is_some() {
        "message"
    } else if !plan.is_atomic() && plan.group().is_some() {
        "mixed"
    } else if !plan.is_atomic() {
        "saga"
    } else if plan.branches().any(|branch| branch.mode == Mode::Tcc) {
        "tcc"
    } else {
        "two_phase"
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
        _ => "other",
    }
}

/// Brings the gauges of a shard up to date.
pub fn gauges(shard: ShardIndex, node: &Node) {
    let shard = shard.0.to_string();
    gauge!("accordant_open_transactions", "shard" => shard.clone()).set(as_float(node.open()));
    let mut in_doubt: BTreeMap<&ParticipantName, (usize, Timestamp)> = BTreeMap::new();
    for transaction in node
        .transactions()
        .filter(|transaction| transaction.is_in_doubt())
    {
        let minted = transaction.gtid().minted();
        for branch in transaction.begun().plan.branches() {
            let entry = in_doubt.entry(&branch.participant).or_insert((0, minted));
            entry.0 += 1;
            entry.1 = entry.1.min(minted);
        }
    }
    for name in node.participants() {
        let (count, oldest) = in_doubt
            .get(name)
            .copied()
            .unwrap_or_else(|| (0, clock::now()));
        let labels = [
            ("participant", name.as_str().to_owned()),
            ("shard", shard.clone()),
        ];
        gauge!("accordant_in_doubt", &labels).set(as_float(count));
        gauge!("accordant_in_doubt_oldest_seconds", &labels).set(seconds_since(oldest));
    }
    let stuck = node.transactions().flat_map(|it| it.course().actions());
    let stuck = stuck.filter(|action| action.is_stuck());
    let since: Vec<Timestamp> = stuck.filter_map(|action| action.stuck_at).collect();
    let oldest = since.iter().min().copied().unwrap_or_else(clock::now);
    gauge!("accordant_stuck_actions", "shard" => shard.clone()).set(as_float(since.len()));
    gauge!("accordant_oldest_stuck_seconds", "shard" => shard.clone()).set(seconds_since(oldest));
    overdue(shard, node);
    for (name, _) in node.halted() {
        let name = name.as_str().to_owned();
        gauge!("accordant_participant_halted", "participant" => name).set(1.0);
    }
}

fn overdue(shard: String, node: &Node) {
    let now = clock::now();
    let overdue = node.transactions().filter(|it| is_overdue(it, now));
    let deadlines: Vec<Timestamp> = overdue.map(|it| it.begun().deadline).collect();
    let oldest = deadlines.iter().min().copied().unwrap_or(now);
    let count = as_float(deadlines.len());
    gauge!("accordant_overdue_transactions", "shard" => shard.clone()).set(count);
    gauge!("accordant_oldest_overdue_seconds", "shard" => shard).set(seconds_since(oldest));
}

/// Whether a transaction's time is over while something of it is called in vain: past its pivot, or on
/// its way back, that is repeated for as long as its plan says, which may be for ever. What waits for
/// its time, such as a delayed message, is not late.
fn is_overdue(transaction: &Transaction, now: Timestamp) -> bool {
    let course = transaction.course();
    let branches = course.branches().map(|branch| &branch.calls);
    let actions = course.actions().iter().map(|action| &action.calls);
    let in_vain = |calls: &Calls| calls.last_error.is_some();
    transaction.begun().deadline <= now && branches.chain(actions).any(in_vain)
}

fn seconds_since(time: Timestamp) -> f64 {
    let ms = clock::now().millis_since(time);
    std::time::Duration::from_millis(ms).as_secs_f64()
}

fn as_float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
