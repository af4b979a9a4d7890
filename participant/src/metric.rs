//! What is counted. Labels have few values: never a gtid, a tenant or an error's text.

use accordant_protocol::wire::contract::{ActAnswer, ActVerb, Vote};
use metrics::{counter, gauge};

use crate::engine::Engine;

pub(crate) fn vote(engine: &Engine, vote: &Vote) {
    votes(engine, vote.word());
}

/// No answer was given: what became of the branch is not known here.
pub(crate) fn vote_unknown(engine: &Engine) {
    votes(engine, "unknown");
}

fn votes(engine: &Engine, word: &'static str) {
    counter!("accordant_votes_total", "participant" => name(engine), "vote" => word).increment(1);
}

pub(crate) fn act(engine: &Engine, verb: ActVerb, answer: &ActAnswer) {
    acts(engine, verb, answer.word());
}

/// No answer was given: what became of the action is not known here.
pub(crate) fn act_unknown(engine: &Engine, verb: ActVerb) {
    acts(engine, verb, "unknown");
}

fn acts(engine: &Engine, verb: ActVerb, answer: &'static str) {
    let (name, verb) = (name(engine), verb.word());
    counter!("accordant_acts_total", "participant" => name, "verb" => verb, "answer" => answer)
        .increment(1);
}

pub(crate) fn seal(engine: &Engine) {
    counter!("accordant_seals_total", "participant" => name(engine)).increment(1);
}

/// `code` comes from the server, so it is one of some hundred.
pub(crate) fn error(engine: &Engine, code: Option<String>) {
    let code = code.unwrap_or_else(|| "none".to_owned());
    let name = name(engine);
    counter!("accordant_branch_retries_total", "participant" => name, "sqlstate" => code)
        .increment(1);
}

/// A call found no handler: the service has no such operation, or nothing that makes it good.
pub(crate) fn no_handler(engine: &Engine, verb: &'static str) {
    counter!("accordant_no_handler_total", "participant" => name(engine), "verb" => verb)
        .increment(1);
}

/// A handler ended its own transaction: its effects may be committed.
pub(crate) fn handler_ended(engine: &Engine) {
    counter!("accordant_handler_ended_total", "participant" => name(engine)).increment(1);
}

/// A branch of ours belongs to another role or is damaged: an operator must look.
pub(crate) fn stuck(engine: &Engine, kind: &'static str) {
    counter!("accordant_branch_stuck_total", "participant" => name(engine), "kind" => kind)
        .increment(1);
}

/// A branch in doubt of which the coordinator knows nothing.
pub(crate) fn quarantined(engine: &Engine, count: usize) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    gauge!("accordant_quarantined", "participant" => name(engine)).set(f64::from(count));
}

pub(crate) fn recovered(engine: &Engine, outcome: &'static str) {
    counter!("accordant_recovered_total", "participant" => name(engine), "outcome" => outcome)
        .increment(1);
}

/// The state of the server's slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    pub used: i64,
    pub limit: i64,
    pub in_doubt: i64,
    pub oldest_s: f64,
    pub oldest_xid_age: i64,
}

pub(crate) fn slots(engine: &Engine, slots: Slots) {
    gauge!("accordant_in_doubt", "participant" => name(engine)).set(whole(slots.in_doubt));
    gauge!("accordant_in_doubt_oldest_seconds", "participant" => name(engine)).set(slots.oldest_s);
    gauge!("accordant_prepared_slots_used", "participant" => name(engine)).set(whole(slots.used));
    gauge!("accordant_prepared_slots_limit", "participant" => name(engine)).set(whole(slots.limit));
    gauge!("accordant_prepared_oldest_xid_age", "participant" => name(engine))
        .set(whole(slots.oldest_xid_age));
}

/// One attempt to push a message.
pub(crate) fn pushed(engine: &Engine, outcome: &'static str) {
    counter!("accordant_outbox_pushed_total", "participant" => name(engine), "outcome" => outcome)
        .increment(1);
}

/// The state of the outbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub waiting: i64,
    pub refused: i64,
    pub oldest_s: f64,
}

pub(crate) fn outbox(engine: &Engine, outbox: Waiting) {
    gauge!("accordant_outbox_waiting", "participant" => name(engine)).set(whole(outbox.waiting));
    gauge!("accordant_outbox_refused", "participant" => name(engine)).set(whole(outbox.refused));
    gauge!("accordant_outbox_oldest_seconds", "participant" => name(engine)).set(outbox.oldest_s);
}

pub(crate) fn deleted(engine: &Engine, rows: u64) {
    counter!("accordant_retention_deleted_total", "participant" => name(engine)).increment(rows);
}

fn whole(number: i64) -> f64 {
    u32::try_from(number).map_or_else(|_| f64::from(u32::MAX), f64::from)
}

fn name(engine: &Engine) -> String {
    engine.name.as_str().to_owned()
}
