//! The configurations that are explored, each with what it is for.

use accordant_protocol::wire::api::Wait;

use crate::saga_case;
use crate::world::{Bounded, Budget, Config, PlanRefused, Voice};

/// A named configuration.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The run.
    pub config: Config,
}

const ANY: &[Voice] = &[Voice::Yes, Voice::No, Voice::ReadOnly];
const YES: &[Voice] = &[Voice::Yes];
const YES_OR_NO: &[Voice] = &[Voice::Yes, Voice::No];
const YES_OR_READ: &[Voice] = &[Voice::Yes, Voice::ReadOnly];

/// Faults of some kinds only, so many altogether.
pub(crate) fn only(faults: u8, kinds: &[Bounded]) -> Budget {
    let all = [
        Bounded::Crash,
        Bounded::TakeOver,
        Bounded::LeaseLost,
        Bounded::FlushUnknown,
        Bounded::ParticipantCrash,
        Bounded::Unanswered,
        Bounded::Duplicate,
        Bounded::Deadline,
    ];
    let others = all.into_iter().filter(|kind| !kinds.contains(kind));
    others.fold(Budget::faults(faults), |budget, kind| budget.with(kind, 0))
}

/// Those that every build runs to the last state.
///
/// # Errors
/// If a plan is refused: a mistake in this file.
pub fn standard() -> Result<Vec<Case>, PlanRefused> {
    let mut cases = two()?;
    cases.extend(others()?);
    cases.extend(saga_case::standard()?);
    Ok(cases)
}

/// Two branches.
fn two() -> Result<Vec<Case>, PlanRefused> {
    use Bounded::{
        Crash, Deadline, Duplicate, FlushUnknown, Inquiry, LeaseLost, ParticipantCrash, Query,
        Retry, Submit, TakeOver, Unanswered,
    };
    let messages = only(2, &[Unanswered, Duplicate, ParticipantCrash, Deadline]);
    Ok(vec![
        Case {
            name: "two-any",
            about: "two branches, any votes, any one fault",
            config: Config::new(&[ANY, ANY], Budget::faults(1).with(Retry, 1))?,
        },
        Case {
            name: "two-crashes",
            about: "two branches, two crashes of the owners",
            config: Config::new(&[YES, YES], only(2, &[Crash]))?.waiting(Wait::Completed),
        },
        Case {
            name: "two-flushes",
            about: "two branches, two crashes, or flushes without a result",
            config: Config::new(&[YES, YES], only(2, &[Crash, FlushUnknown]))?,
        },
        Case {
            name: "two-messages",
            about: "two branches, two faults of messages and participants, and the deadline",
            config: Config::new(&[YES, YES], messages.with(Retry, 1))?,
        },
        Case {
            name: "two-asking",
            about: "two branches, a crash or a take-over, and a participant that asks",
            config: Config::new(&[YES, YES], only(1, &[Crash, TakeOver]).with(Inquiry, 1))?,
        },
        Case {
            name: "two-revived",
            about: "a branch with nothing to write, brought to life by copies, that asks",
            config: Config::new(&[YES_OR_READ, YES], only(2, &[Duplicate]).with(Inquiry, 1))?,
        },
        Case {
            name: "two-twice",
            about: "two branches, one fault of the owners, a request that comes twice, a question",
            config: Config::new(
                &[YES, YES],
                only(1, &[Crash, TakeOver, FlushUnknown, LeaseLost])
                    .with(Submit, 2)
                    .with(Query, 1),
            )?
            .waiting(Wait::Accepted),
        },
        Case {
            name: "two-loading",
            about: "two branches, begun while the partition is still being read, no fault",
            config: Config::new(&[ANY, ANY], Budget::faultless().with(Submit, 2))?.while_loading(),
        },
    ])
}

/// One branch, and three.
fn others() -> Result<Vec<Case>, PlanRefused> {
    use Bounded::{Inquiry, Retry, Submit};
    Ok(vec![
        Case {
            name: "lone-two",
            about: "one branch, delegated, any votes, any two faults",
            config: Config::new(&[ANY], Budget::faults(2).with(Retry, 2))?,
        },
        Case {
            name: "lone-asking",
            about: "one branch, delegated, any one fault, two inquiries, a request that comes twice",
            config: Config::new(
                &[ANY],
                Budget::faults(1)
                    .with(Retry, 1)
                    .with(Inquiry, 2)
                    .with(Submit, 2),
            )?,
        },
        Case {
            name: "three-any",
            about: "three branches, any votes, no fault",
            config: Config::new(&[ANY, YES_OR_NO, YES_OR_READ], Budget::faultless())?,
        },
    ])
}

/// Those that take minutes, for `--deep`.
///
/// # Errors
/// If a plan is refused: a mistake in this file.
pub fn deep() -> Result<Vec<Case>, PlanRefused> {
    use Bounded::{Inquiry, Query, Retry, Submit};
    let mut cases = vec![
        Case {
            name: "two-take-overs",
            about: "two branches, two take-overs from owners that live on",
            config: Config::new(&[YES, YES], only(2, &[Bounded::TakeOver]))?,
        },
        Case {
            name: "two-owners",
            about: "two branches, two faults of the owners: crash, take-over, flush, lease",
            config: Config::new(
                &[YES, YES_OR_READ],
                only(
                    2,
                    &[
                        Bounded::Crash,
                        Bounded::TakeOver,
                        Bounded::FlushUnknown,
                        Bounded::LeaseLost,
                    ],
                ),
            )?
            .waiting(Wait::Completed),
        },
        Case {
            name: "two-asking-any",
            about: "two branches, any one fault, participants that ask, a client that asks",
            config: Config::new(
                &[YES_OR_READ, YES],
                Budget::faults(1).with(Inquiry, 1).with(Query, 1),
            )?,
        },
        Case {
            name: "two-two",
            about: "two branches, yes or read-only and yes, any two faults",
            config: Config::new(&[YES_OR_READ, YES], Budget::faults(2).with(Retry, 1))?,
        },
        Case {
            name: "two-two-any",
            about: "two branches, any votes, any two faults, everybody asks",
            config: Config::new(
                &[ANY, ANY],
                Budget::faults(2)
                    .with(Retry, 2)
                    .with(Inquiry, 1)
                    .with(Query, 1)
                    .with(Submit, 2),
            )?,
        },
        Case {
            name: "lone-three",
            about: "one branch, delegated, any votes, any three faults, an inquiry",
            config: Config::new(&[ANY], Budget::faults(3).with(Retry, 2).with(Inquiry, 1))?,
        },
        Case {
            name: "three-one",
            about: "three branches, yes, yes or no, and read-only, any one fault",
            config: Config::new(
                &[YES, YES_OR_NO, &[Voice::ReadOnly]],
                Budget::faults(1).with(Retry, 1),
            )?,
        },
    ];
    cases.extend(saga_case::deep()?);
    Ok(cases)
}

/// What the random walks take their turns at.
///
/// # Errors
/// If a plan is refused: a mistake in this file.
pub fn walks() -> Result<Vec<Case>, PlanRefused> {
    use Bounded::{Inquiry, Query, Retry, Submit};
    let busy = |faults| {
        Budget::faults(faults)
            .with(Retry, 8)
            .with(Inquiry, 4)
            .with(Query, 2)
            .with(Submit, 3)
    };
    let mut cases = vec![
        Case {
            name: "walk-two",
            about: "two branches, any votes, up to six faults",
            config: Config::new(&[ANY, ANY], busy(6))?,
        },
        Case {
            name: "walk-two-yes",
            about: "two branches that vote yes, up to eight faults",
            config: Config::new(&[YES, YES], busy(8))?.waiting(Wait::Completed),
        },
        Case {
            name: "walk-lone",
            about: "one branch, delegated, up to six faults",
            config: Config::new(&[ANY], busy(6))?,
        },
        Case {
            name: "walk-three",
            about: "three branches, up to eight faults",
            config: Config::new(&[YES_OR_READ, YES_OR_NO, YES_OR_READ], busy(8))?.while_loading(),
        },
    ];
    cases.extend(saga_case::walks()?);
    Ok(cases)
}
