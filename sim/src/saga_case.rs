//! The configurations of plans that are more than a group.

use accordant_protocol::plan::{Class, Mode};

use crate::case::{Case, only};
use crate::plans::{GROUP, Sketch};
use crate::world::{Bounded, Budget, Config, PlanRefused, Voice};

const YES: &[Voice] = &[Voice::Yes];
const YES_OR_NO: &[Voice] = &[Voice::Yes, Voice::No];
const YES_OR_LATER: &[Voice] = &[Voice::Yes, Voice::Later];
const EITHER: &[&[Voice]] = &[YES_OR_NO, YES_OR_NO];
const LAST: &[&[Voice]] = &[YES, YES, YES_OR_NO];

/// Two actions by the contract, one after the other, the second called with the first one's result.
pub(crate) fn two_contract() -> Sketch {
    Sketch::default()
        .contract(&[])
        .contract_with("debit", &["debit"])
}

/// Two actions at plain services, one after the other.
pub(crate) fn two_plain() -> Sketch {
    Sketch::default().plain(&[]).plain(&["debit"])
}

/// A plain action and one by the contract, side by side.
pub(crate) fn arms() -> Sketch {
    Sketch::default().plain(&[]).contract(&[])
}

/// An action by the contract, a pivot at a plain service, and what comes after it.
pub(crate) fn pivot() -> Sketch {
    Sketch::default()
        .contract(&[])
        .plain_only(Class::Pivot, &["debit"])
        .plain_only(Class::Retriable, &["credit"])
}

/// An action by the contract, and a group of two as the pivot.
pub(crate) fn group(mode: Mode) -> Sketch {
    let first = Sketch::default().contract(&[]);
    first.group(&[mode, Mode::TwoPhase], &["debit"])
}

/// A message alone.
pub(crate) fn message() -> Sketch {
    Sketch::default().message(1, None, &[])
}

/// A sender's own local transaction, and a message after it.
pub(crate) fn local() -> Sketch {
    let first = Sketch::default().group(&[Mode::Local], &[]);
    first.message(1, None, &[GROUP])
}

fn case(
    name: &'static str,
    about: &'static str,
    sketch: Sketch,
    voices: &[&[Voice]],
    budget: Budget,
) -> Result<Case, PlanRefused> {
    let config = Config::of(sketch.plan(), voices, budget)?;
    Ok(Case { name, about, config })
}

/// Those that every build runs to the last state.
///
/// # Errors
/// If a plan is refused: a mistake in this file.
pub fn standard() -> Result<Vec<Case>, PlanRefused> {
    let mut cases = sagas()?;
    cases.extend(mixed()?);
    Ok(cases)
}

/// Actions alone.
fn sagas() -> Result<Vec<Case>, PlanRefused> {
    use Bounded::{Crash, Deadline, Duplicate, Resolve, Retry, TakeOver, Tell, Unanswered};
    let both = only(2, &[Crash, TakeOver, Unanswered, Duplicate, Deadline]).with(Retry, 1);
    let late = only(2, &[Crash, TakeOver, Duplicate, Deadline]);
    let told = only(2, &[Crash, Deadline]).with(Tell, 1);
    let stuck = only(1, &[Crash]).with(Resolve, 1);
    let any = Budget::faults(1).with(Retry, 1);
    let about = "a compensation that is refused, an operator, a crash";
    let refused = case(
        "saga-stuck",
        about,
        two_contract(),
        &[YES, YES_OR_NO],
        stuck,
    )?;
    let refused = Case {
        config: refused.config.clone().amending(YES_OR_NO),
        ..refused
    };
    let about = "two plain actions, two faults of owners and messages";
    let plain = case("saga-plain", about, two_plain(), EITHER, both)?;
    let about = "two actions by the contract, two faults of owners, late calls, the deadline";
    let contract = case("saga-contract", about, two_contract(), EITHER, late)?;
    let about = "actions that say that they are under way, and call back; a crash, the deadline";
    let told = case(
        "saga-told",
        about,
        two_contract(),
        &[YES_OR_LATER, YES],
        told,
    )?;
    let about = "a plain action and one by the contract side by side, any one fault";
    let arms = case("saga-arms", about, arms(), EITHER, any)?;
    let about = "an action, a plain pivot, a retriable one, two faults as by the contract";
    let pivot = case("saga-pivot", about, pivot(), &[YES, YES_OR_NO, YES], late)?;
    Ok(vec![plain, contract, told, refused, arms, pivot])
}

/// Groups as pivots, and messages.
fn mixed() -> Result<Vec<Case>, PlanRefused> {
    use Bounded::{
        Crash, Deadline, Duplicate, ParticipantCrash, Retry, TakeOver, Tell, Unanswered,
    };
    let any = |faults| Budget::faults(faults).with(Retry, faults);
    let messages = only(1, &[Unanswered, Duplicate, ParticipantCrash, Deadline]).with(Retry, 1);
    let (crash, take_over) = (only(1, &[Crash]), only(1, &[TakeOver]));
    let (two, tcc) = (|| group(Mode::TwoPhase), group(Mode::Tcc));
    let about = "an action, a group of two as the pivot, a fault of messages, the deadline";
    let lost = case("saga-group", about, two(), LAST, messages)?;
    let about = "the same, a crash";
    let crashed = case("saga-group-crash", about, two(), LAST, crash)?;
    let about = "the same with a TCC branch, all willing, a take-over";
    let tcc = case("saga-tcc", about, tcc, &[], take_over)?;
    let message = case(
        "message",
        "a message, any two faults",
        message(),
        &[YES],
        any(2),
    )?;
    let about = "a sender's local transaction and its message, any one fault";
    let local = case(
        "local",
        about,
        local(),
        &[YES_OR_NO, YES],
        any(1).with(Tell, 1),
    )?;
    Ok(vec![lost, crashed, tcc, message, local])
}

/// Those that take longer, for `--deep`.
///
/// # Errors
/// If a plan is refused: a mistake in this file.
pub fn deep() -> Result<Vec<Case>, PlanRefused> {
    use Bounded::{Crash, Retry, TakeOver, Tell};
    let any = |faults| Budget::faults(faults).with(Retry, faults);
    let last = &[YES, YES_OR_NO, YES];
    let about = "two plain actions, any two faults";
    let plain = case("saga-plain-two", about, two_plain(), EITHER, any(2))?;
    let about = "two actions by the contract, any two faults";
    let contract = case("saga-contract-two", about, two_contract(), EITHER, any(2))?;
    let about = "an action, a plain pivot, a retriable one, any two faults";
    let pivot = case("saga-pivot-two", about, pivot(), last, any(2))?;
    let about = "an action, a group of two as the pivot, a crash or take-over";
    let owners = only(1, &[Crash, TakeOver]);
    let group = case(
        "saga-group-owners",
        about,
        group(Mode::TwoPhase),
        LAST,
        owners,
    )?;
    let about = "a sender's local transaction and its message, any two faults";
    let told = any(2).with(Retry, 1).with(Tell, 1);
    let local = case("local-two", about, local(), &[YES_OR_NO, YES], told)?;
    Ok(vec![plain, contract, pivot, group, local])
}

/// What the random walks take their turns at.
///
/// # Errors
/// If a plan is refused: a mistake in this file.
pub fn walks() -> Result<Vec<Case>, PlanRefused> {
    use Bounded::{Inquiry, Query, Resolve, Retry, Submit, Tell};
    let busy = |faults| {
        let asking = Budget::faults(faults).with(Inquiry, 2).with(Query, 1);
        asking
            .with(Retry, 10)
            .with(Submit, 2)
            .with(Tell, 3)
            .with(Resolve, 6)
    };
    let [saga, pivot, mixed, message, sender] = walked();
    let owners = only(
        6,
        &[Bounded::TakeOver, Bounded::Duplicate, Bounded::Deadline],
    );
    let (local, slow): (&[&[Voice]], &[&[Voice]]) = (&[YES_OR_NO, ANY], &[LATER, LATER]);
    let (six, about) = (busy(6), "up to six faults");
    let (zombie, replaced) = (
        owners.with(Retry, 12),
        "slow actions, owners that are replaced",
    );
    let mut cases = vec![
        case("walk-saga", about, saga, &[ANY; 4], six)?,
        case("walk-pivot", about, pivot, &[ANY; 5], six)?,
        case("walk-mixed", about, mixed, MIXED, six)?,
        case("walk-message", about, message, &[ANY; 2], six)?,
        case("walk-local", about, sender, local, six)?,
        case("walk-zombie", replaced, two_contract(), slow, zombie)?,
    ];
    for case in &mut cases {
        case.config = case.config.clone().amending(ANY);
    }
    Ok(cases)
}

const ANY: &[Voice] = &[Voice::Yes, Voice::No, Voice::Later];
const LATER: &[Voice] = &[Voice::Later];
const VOTE: &[Voice] = &[Voice::Yes, Voice::No, Voice::ReadOnly];
const WILLING: &[Voice] = &[Voice::Yes, Voice::Later];
const MIXED: &[&[Voice]] = &[ANY, ANY, VOTE, VOTE, WILLING, WILLING];

fn walked() -> [Sketch; 5] {
    let saga = Sketch::default()
        .plain(&[])
        .attempts(2, 2)
        .contract_with("debit", &["debit"])
        .attempts(3, 2)
        .plain(&["debit"])
        .contract(&["credit", "audit"]);
    let pivot = Sketch::default()
        .contract(&[])
        .plain(&[])
        .attempts(3, 1)
        .plain_only(Class::Pivot, &["debit", "credit"])
        .attempts(2, 0)
        .contract_only(Class::Retriable, &["audit"])
        .message(1, Some(1_000), &["audit"]);
    let mixed = Sketch::default()
        .plain(&[])
        .contract_with("debit", &["debit"])
        .group(&[Mode::Tcc, Mode::TwoPhase], &["credit"])
        .plain_only(Class::Retriable, &[GROUP])
        .message(1, Some(500), &[GROUP]);
    let message = Sketch::default().message(2, Some(1_000), &[]);
    [saga, pivot, mixed, message, local()]
}
