//! I10, saga closure: a saga goes one way. Nothing acts once it has turned back, nothing is made good
//! unless it has, and at its end what was done stands as a whole or is made good as a whole.
//!
//! Reference: Garcia-Molina and Salem, *Sagas* (1987), section 2: the sequence T1 … Tn, or
//! T1 … Tj Cj … C1. Taken from what the services hold, not from the coordinator's memory. What an
//! operator has given up is left out.

use accordant_protocol::id::{BranchIndex, Gtid};
use accordant_protocol::plan::{Action, Class, Compensation};
use accordant_protocol::record::{Fate, Record, Resolution};
use accordant_protocol::wire::api::Outcome;

use super::{Invariant, Violation};
use crate::world::{Order, Unit, Verb, World, branch_name, result_of};

/// Checks what every service holds.
pub fn check(world: &World, violations: &mut Vec<Violation>) {
    for gtid in world.gtids() {
        let fate = world.journal.fate(gtid);
        for action in world.plan.actions() {
            if is_given_up(world, gtid, action.index) {
                continue;
            }
            let unit = world.unit(gtid, action.index);
            let name = branch_name(action.index);
            if let Some(what) = contradicts(action, fate, unit) {
                let what = format!("the decision is {fate:?}, and {name} {what}");
                let invariant = match fate {
                    Some(_) => Invariant::Closure,
                    // Whether it does harm is still to be seen.
                    None => Invariant::DurableFirst,
                };
                violations.push(Violation::new(invariant, what));
            }
            if world.journal.is_closed(gtid)
                && let Some(what) = left(action, fate, unit)
            {
                let what = format!("the transaction is closed, {fate:?}, and {name} {what}");
                violations.push(Violation::new(Invariant::Closure, what));
            }
        }
        told(world, gtid, violations);
    }
}

/// Checks a quiet state: what was never begun was never done.
pub fn check_quiet(world: &World, gtid: Gtid, violations: &mut Vec<Violation>) {
    let acted = world
        .plan
        .actions()
        .find(|it| world.unit(gtid, it.index).acted > 0);
    if let Some(action) = acted.filter(|_| world.journal.rows(gtid).is_empty()) {
        let name = branch_name(action.index);
        let what = format!("all is quiet, nothing was begun, and {name} has acted");
        violations.push(Violation::new(Invariant::Closure, what));
    }
}

/// What a service may hold under no decision but others.
const fn contradicts(action: &Action, fate: Option<Fate>, unit: Unit) -> Option<&'static str> {
    let made_good = unit.compensated > 0 || unit.blocked;
    match (fate, action.class) {
        (None | Some(Fate::Commit), _) if made_good => Some("is made good"),
        (None | Some(Fate::Abort), Class::Retriable) if unit.acted > 0 => Some("has acted"),
        (Some(Fate::Abort), Class::Pivot) if unit.acted > 0 => Some("has acted, the pivot"),
        (Some(Fate::Commit), Class::Compensatable | Class::Pivot) if unit.acted == 0 => {
            Some("has not acted")
        }
        _ => None,
    }
}

/// What a service must not hold when all is over.
fn left(action: &Action, fate: Option<Fate>, unit: Unit) -> Option<&'static str> {
    match fate {
        Some(Fate::Commit) if unit.acted != 1 => Some("has not acted once"),
        Some(Fate::Abort)
            if action.compensation != Compensation::Nothing && unit.acted > unit.compensated =>
        {
            Some("is not made good")
        }
        Some(Fate::Commit | Fate::Abort) | None => None,
    }
}

/// What the client was told is so at the services.
fn told(world: &World, gtid: Gtid, violations: &mut Vec<Violation>) {
    let told = world.client.told.iter().filter(|(it, _)| *it == gtid);
    for (_, outcome) in told {
        for action in world.plan.actions() {
            if is_given_up(world, gtid, action.index) {
                continue;
            }
            let acted = world.unit(gtid, action.index).acted > 0;
            let wrong = match (outcome, action.class) {
                (Outcome::Committed, Class::Compensatable | Class::Pivot) => !acted,
                (Outcome::Aborted, Class::Pivot | Class::Retriable) => acted,
                _ => false,
            };
            if wrong {
                let name = branch_name(action.index);
                let what = format!("the client was told {outcome:?}; has {name} acted: {acted}");
                violations.push(Violation::new(Invariant::AnswerTruth, what));
            }
        }
    }
}

/// Checks a call to an action that leaves.
#[must_use]
pub fn check_sent(world: &World, order: &Order) -> Option<Violation> {
    let what = match order.verb {
        Verb::Act => act_sent(world, order)?,
        Verb::Compensate => compensation_sent(world, order)?,
        Verb::Prepare | Verb::CommitOnePhase | Verb::Commit | Verb::Abort => return None,
    };
    let name = branch_name(order.branch);
    Some(Violation::new(
        Invariant::Closure,
        format!("{what}: {name}"),
    ))
}

fn act_sent(world: &World, order: &Order) -> Option<String> {
    let action = world.plan.action(order.branch)?;
    let unit = world.unit(order.gtid, order.branch);
    if action.class == Class::Retriable {
        return None;
    }
    let references = action.references();
    let wrong = references.iter().any(|reference| {
        world.services.contains_key(&reference.unit)
            && order.said.is_some()
            && (order.said != Some(result_of(reference.unit))
                || world.unit(order.gtid, reference.unit).acted == 0)
    });
    if wrong {
        return Some(format!(
            "it is called with {:?}, which nothing returned",
            order.said
        ));
    }
    let turned = *world.turned.get(&order.gtid)?;
    if order.epoch >= turned {
        return Some("it is told to act after a compensation was sent".to_owned());
    }
    // An owner that was replaced and does not know it: nobody may be left to do as it says.
    let kept_out = !action.is_plain() && is_named(world, order.gtid, order.branch);
    let harmless = unit.is_settled() || kept_out;
    (!harmless)
        .then(|| "an owner that was replaced tells it to act, and nothing keeps it".to_owned())
}

fn compensation_sent(world: &World, order: &Order) -> Option<String> {
    let gtid = order.gtid;
    let action = world.plan.action(order.branch)?;
    if action.class != Class::Compensatable {
        return Some("it is to be made good, and cannot".to_owned());
    }
    let unit = world.unit(gtid, order.branch);
    if order
        .said
        .is_some_and(|said| unit.acted == 0 || said != result_of(order.branch))
    {
        return Some("it is to make good what it has not returned".to_owned());
    }
    for pivot in world.plan.actions().filter(|it| it.class == Class::Pivot) {
        let unit = world.unit(gtid, pivot.index);
        if unit.acted > 0 || (unit.asked && !unit.unwilling) {
            return Some("it is to be made good, and the pivot may have acted".to_owned());
        }
    }
    let open = later(world, action.index).find(|it| {
        let unit = world.unit(gtid, it.index);
        unit.acted > unit.compensated
            && it.compensation != Compensation::Nothing
            && !is_given_up(world, gtid, it.index)
    });
    open.map(|later| {
        let later = branch_name(later.index);
        format!("it is to be made good before {later}, which came after it")
    })
}

/// Checks an act that is about to take effect for the first time.
#[must_use]
pub fn check_act(world: &World, order: &Order) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |what: String| violations.push(Violation::new(Invariant::Closure, what));
    let (gtid, index, name) = (order.gtid, order.branch, branch_name(order.branch));
    let Some(action) = world.plan.action(index) else {
        return violations;
    };
    // By the contract it may come late, as long as it is made good after all: the end shows.
    let made_good = !action.is_plain() && action.class == Class::Compensatable;
    if world.turned.contains_key(&gtid) && !made_good {
        wrong(format!("{name} acts after a compensation was sent"));
    }
    let before = world.plan.actions();
    let mut before = before.filter(|it| world.plan.comes_before(it.index, index));
    let early = before.find(|it| {
        let unit = world.unit(gtid, it.index);
        (unit.acted == 0 || unit.compensated > 0) && !world.operated
    });
    if let Some(early) = early {
        let early = branch_name(early.index);
        wrong(format!("{name} acts, and {early} before it does not stand"));
    }
    violations
}

/// Checks a compensation that is about to be carried out.
#[must_use]
pub fn check_compensation(world: &World, order: &Order) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |what: String| violations.push(Violation::new(Invariant::Closure, what));
    let (gtid, index, name) = (order.gtid, order.branch, branch_name(order.branch));
    let unit = world.unit(gtid, index);
    let plain = world.plan.action(index).is_some_and(Action::is_plain);
    if plain && !unit.is_settled() {
        wrong(format!(
            "{name} is to make good what may come yet, and has no barrier"
        ));
    }
    let stands = later(world, index).find(|it| {
        let unit = world.unit(gtid, it.index);
        unit.acted > unit.compensated
            && it.compensation != Compensation::Nothing
            && !is_given_up(world, gtid, it.index)
    });
    if let Some(stands) = stands.filter(|_| unit.acted > unit.compensated) {
        let stands = branch_name(stands.index);
        wrong(format!(
            "{name} makes good, and {stands} after it still stands"
        ));
    }
    violations
}

fn later(world: &World, index: BranchIndex) -> impl Iterator<Item = &Action> {
    let actions = world.plan.actions();
    actions.filter(move |it| world.plan.comes_before(index, it.index))
}

/// Whether the record of turning back names an action.
pub(super) fn is_named(world: &World, gtid: Gtid, index: BranchIndex) -> bool {
    let names =
        |record: &Record| matches!(record, Record::Aborted(it) if it.compensate.contains(&index));
    world.journal.records(gtid).any(names)
}

/// Whether an operator has left it as it was: then nobody says how it is.
fn is_given_up(world: &World, gtid: Gtid, index: BranchIndex) -> bool {
    let gives_up = |record: &Record| {
        let Record::Resolved(resolved) = record else {
            return false;
        };
        match resolved.resolution {
            Resolution::Skip => resolved.action == index,
            Resolution::Abandon => resolved.given_up.contains(&index),
            Resolution::Retry | Resolution::Done { .. } | Resolution::NotDone => false,
        }
    };
    world.journal.records(gtid).any(gives_up)
}
