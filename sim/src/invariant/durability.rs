//! I3, write-ahead: nothing leaves a process before the record that it relies on is durable.
//!
//! Checked against the journal itself at the moment at which a call or reply leaves, not against
//! what the core believes. The table is that of the design: `Begun` before any call and any reply
//! that names the transaction; `Committed` before any commit order and anyone is told; `Aborted`
//! before anyone is told, and before any abort order but those of the owner that began the
//! transaction, and of a recall, which decides nothing; `Started` before an act that nobody could keep
//! out; `Aborted`, which names it, before a compensation; `Committed` before what comes after the pivot;
//! a result before another action is called with it.

use accordant_protocol::id::{BranchIndex, Epoch, Gtid};
use accordant_protocol::plan::Class;
use accordant_protocol::record::{Fate, Record};
use accordant_protocol::wire::api::{Outcome, Verdict};

use super::closure::is_named;
use super::{Invariant, Violation};
use crate::world::{Order, Verb, World, branch_name};

/// Checks a call that leaves.
#[must_use]
pub fn check_call(world: &World, order: &Order) -> Option<Violation> {
    let rows = world.journal.rows(order.gtid);
    let fate = world.journal.fate(order.gtid);
    let began = rows
        .first()
        .is_some_and(|row| row.entry.epoch == order.epoch);
    let lone = world.plan.is_delegated();
    // Elsewhere an abort that is not written down is led forward again.
    let began = began && world.plan.is_atomic();
    let (allowed, record) = match order.verb {
        Verb::Prepare | Verb::CommitOnePhase => (!rows.is_empty(), "Begun"),
        Verb::Commit => (fate == Some(Fate::Commit), "Committed"),
        Verb::Abort => (began || lone || fate == Some(Fate::Abort), "Aborted"),
        Verb::Act => act_relies_on(world, order),
        Verb::Compensate => {
            let named = is_named(world, order.gtid, order.branch);
            (
                fate == Some(Fate::Abort) && named,
                "Aborted, which names it,",
            )
        }
    };
    (!allowed).then(|| {
        let (verb, name) = (order.verb, branch_name(order.branch));
        let what = format!("{verb:?} is sent to {name} before {record} is durable");
        Violation::new(Invariant::DurableFirst, what)
    })
}

/// The record that an act relies on, and whether it is there.
fn act_relies_on(world: &World, order: &Order) -> (bool, &'static str) {
    let rows = world.journal.rows(order.gtid);
    let Some(action) = world.plan.action(order.branch).filter(|_| !rows.is_empty()) else {
        return (false, "Begun");
    };
    if action.class == Class::Retriable {
        return (
            world.journal.fate(order.gtid) == Some(Fate::Commit),
            "Committed",
        );
    }
    let first = world
        .plan
        .step_of(order.branch)
        .is_some_and(|it| it.after.is_empty());
    let holds = |wanted: &dyn Fn(&Record) -> bool| world.journal.records(order.gtid).any(wanted);
    let started = holds(&|it| matches!(it, Record::Started(it) if it.action == order.branch));
    let guarded = action.class == Class::Compensatable && !action.is_plain();
    if !(guarded || first || started) {
        return (false, "Started");
    }
    let returned = action.references().iter().all(|reference| {
        holds(&|it| match it {
            Record::Done(done) => done.action == reference.unit,
            // An operator has said what it returned.
            Record::Resolved(resolved) => resolved.action == reference.unit,
            Record::Begun(_) | Record::Committed(_) | Record::Aborted(_) | _ => false,
        })
    });
    (returned || order.said.is_none(), "Done, with the result,")
}

/// Checks a status that is told to a client.
#[must_use]
pub fn check_status(world: &World, gtid: Gtid, outcome: Outcome) -> Option<Violation> {
    let fate = world.journal.fate(gtid);
    let allowed = match outcome {
        Outcome::Committed => fate == Some(Fate::Commit),
        Outcome::Aborted => fate == Some(Fate::Abort),
        Outcome::Pending | Outcome::Heuristic | _ => !world.journal.rows(gtid).is_empty(),
    };
    (!allowed).then(|| {
        let what = format!("a client is told {outcome:?}, and the journal does not say so");
        Violation::new(Invariant::DurableFirst, what)
    })
}

/// Checks a verdict that is told to a participant. `owner` is the epoch of whoever tells it.
#[must_use]
pub fn check_verdict(
    world: &World,
    gtid: Gtid,
    branch: BranchIndex,
    verdict: Verdict,
    owner: Epoch,
) -> Option<Violation> {
    let fate = world.journal.fate(gtid);
    let began = world.plan.is_atomic()
        && world
            .journal
            .rows(gtid)
            .first()
            .is_some_and(|row| row.entry.epoch == owner);
    let allowed = match verdict {
        Verdict::Commit => fate == Some(Fate::Commit),
        Verdict::Abort => match fate {
            Some(Fate::Abort) => true,
            Some(Fate::Commit) => world.is_read_only(gtid, branch),
            None => began,
        },
        Verdict::Pending | Verdict::Unknown | _ => true,
    };
    (!allowed).then(|| {
        let name = branch_name(branch);
        let what = format!("{name} is told {verdict:?}, and the journal does not say so");
        Violation::new(Invariant::DurableFirst, what)
    })
}
