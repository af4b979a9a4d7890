//! Rules of sagas, messages and mixed plans that are taken away.

use accordant_protocol::plan::Mode;

use crate::case::only;
use crate::invariant::Invariant;
use crate::mutation::Mutation;
use crate::plans::Sketch;
use crate::saga_case::{group, local, message, pivot, two_contract, two_plain};
use crate::world::{Bounded, Budget, Config, PlanRefused, Rule, Voice};

const YES: &[Voice] = &[Voice::Yes];
const NO: &[Voice] = &[Voice::No];
const NO_OR_YES: &[Voice] = &[Voice::No, Voice::Yes];

struct List(Vec<Mutation>);

impl List {
    fn add(
        &mut self,
        name: &'static str,
        removed: &'static [Rule],
        breaks: Invariant,
        (sketch, voices): (Sketch, &[&[Voice]]),
        budget: Budget,
    ) -> Result<(), PlanRefused> {
        let config = Config::of(sketch.plan(), voices, budget)?;
        self.0.push(Mutation { name, removed, breaks, config });
        Ok(())
    }
}

/// Every mutation of sagas, messages and mixed plans.
///
/// # Errors
/// If a plan is refused: a mistake in this file.
pub fn all() -> Result<Vec<Mutation>, PlanRefused> {
    let mut list = List(Vec::new());
    turning_back(&mut list)?;
    starting(&mut list)?;
    recovery(&mut list)?;
    services(&mut list)?;
    groups(&mut list)?;
    Ok(list.0)
}

/// Two actions by the contract that are tried once.
fn impatient() -> Sketch {
    let first = Sketch::default().contract(&[]).attempts(1, 9);
    first.contract(&["debit"]).attempts(1, 9)
}

fn turning_back(list: &mut List) -> Result<(), PlanRefused> {
    use Bounded::{Crash, Deadline, Unanswered};
    use Invariant::{Closure, DurableFirst};
    let none = Budget::faultless();
    let refused = || (two_contract(), [YES, NO]);
    let (plan, voices) = refused();
    let name = "compensation before it is durable that the saga turned back";
    let removed = &[Rule::TurnedBackFirst];
    list.add(name, removed, DurableFirst, (plan, &voices), none)?;
    let name = "the same, then a crash";
    let lost = only(2, &[Unanswered, Crash]);
    list.add(name, removed, Closure, (impatient(), &[]), lost)?;
    let (plan, voices) = refused();
    let name = "compensation in recovery before it is durable that the saga turned back";
    let removed = &[Rule::TurnedBackFirstInRecovery];
    list.add(
        name,
        removed,
        DurableFirst,
        (plan, &voices),
        only(1, &[Crash]),
    )?;
    let name = "the same, then another crash";
    let lost = only(3, &[Unanswered, Crash]).with(Unanswered, 1);
    list.add(name, removed, Closure, (impatient(), &[]), lost)?;
    let name = "what came last is not made good first";
    let removed = &[Rule::LastIsMadeGoodFirst];
    list.add(
        name,
        removed,
        Closure,
        (two_contract(), &[]),
        only(1, &[Deadline]),
    )
}

fn starting(list: &mut List) -> Result<(), PlanRefused> {
    use Bounded::{Crash, Deadline, Unanswered};
    use Invariant::{Closure, DurableFirst};
    let none = Budget::faultless();
    let late = only(2, &[Crash, Deadline]);
    let removed = &[Rule::StartedFirst];
    let name = "a plain act before it is durable that it is started";
    list.add(name, removed, DurableFirst, (two_plain(), &[]), none)?;
    let name = "the same, then a crash, and time is over";
    list.add(name, removed, Closure, (two_plain(), &[]), late)?;
    let removed = &[Rule::PivotStartedFirst];
    let name = "a pivot before it is durable that it is started";
    list.add(name, removed, DurableFirst, (pivot(), &[]), none)?;
    let name = "the same for the pivot, then a crash, and time is over";
    list.add(name, removed, Closure, (pivot(), &[]), late)?;
    let name = "a pivot whose time is over is taken for refused";
    let silent = only(2, &[Unanswered, Deadline]);
    list.add(
        name,
        &[Rule::PivotIsAwaited],
        Closure,
        (pivot(), &[]),
        silent,
    )?;
    let removed = &[Rule::CommittedFirst];
    let name = "what comes after the pivot before it is durable that that is passed";
    list.add(name, removed, DurableFirst, (pivot(), &[]), none)?;
    let name = "silence of a plain act is done";
    let silent = only(1, &[Unanswered]);
    list.add(
        name,
        &[Rule::SilenceIsNotDone],
        Closure,
        (two_plain(), &[]),
        silent,
    )
}

fn recovery(list: &mut List) -> Result<(), PlanRefused> {
    use Bounded::{Crash, Deadline};
    use Invariant::Closure;
    let (crash, late) = (only(1, &[Crash]), only(2, &[Crash, Deadline]));
    let name = "recovery forgets that a plain act was started";
    list.add(
        name,
        &[Rule::StartedIsRead],
        Closure,
        (two_plain(), &[]),
        late,
    )?;
    let name = "recovery forgets that the pivot was started";
    list.add(
        name,
        &[Rule::PivotStartedIsRead],
        Closure,
        (pivot(), &[]),
        late,
    )?;
    let name = "recovery takes a plain act that was started for done";
    list.add(
        name,
        &[Rule::StartedIsAskedAbout],
        Closure,
        (two_plain(), &[]),
        late,
    )?;
    let name = "recovery makes good only what is known to be done";
    list.add(
        name,
        &[Rule::UnknownIsMadeGood],
        Closure,
        (two_contract(), &[]),
        late,
    )?;
    let name = "recovery leaves out one of those that are named";
    let refused = (two_contract(), &[YES, NO] as &[_]);
    list.add(
        name,
        &[Rule::NamedIsMadeGood],
        Closure,
        refused.clone(),
        crash,
    )?;
    let name = "recovery goes forward although the saga turned back";
    list.add(name, &[Rule::DirectionIsRead], Closure, refused, crash)
}

fn services(list: &mut List) -> Result<(), PlanRefused> {
    use Bounded::{Deadline, Duplicate};
    use Invariant::Closure;
    let name = "a compensation that finds nothing leaves no note, and a late act";
    let removed = &[Rule::NullCompensation];
    list.add(
        name,
        removed,
        Closure,
        (two_contract(), &[]),
        only(1, &[Deadline]),
    )?;
    let name = "a refusal is not remembered, and a late act";
    let refuses = (two_contract(), &[NO_OR_YES, YES] as &[_]);
    list.add(
        name,
        &[Rule::RefusalIsStored],
        Closure,
        refuses,
        only(1, &[Duplicate]),
    )
}

/// An action, and a group that is given less time than the plan.
fn hurried() -> Sketch {
    let first = Sketch::default().contract(&[]);
    first.group_within(1_000, &[Mode::TwoPhase, Mode::TwoPhase], &["debit"])
}

fn groups(list: &mut List) -> Result<(), PlanRefused> {
    use Bounded::{Crash, Deadline, Retry};
    use Invariant::{Agreement, AnswerTruth, Closure, DurableFirst};
    let none = Budget::faultless();
    let removed = &[Rule::AbortDurableBeforeSend];
    let name = "a pivot's branches hear of abort before it is durable";
    let refuses = (group(Mode::TwoPhase), &[YES, NO, YES] as &[_]);
    list.add(name, removed, DurableFirst, refuses, none)?;
    let name = "the same for want of time, then a crash";
    let crash = only(1, &[Crash]).with(Retry, 1);
    list.add(name, removed, Agreement, (hurried(), &[]), crash)?;
    let removed = &[Rule::ConfirmWhenDurable];
    let name = "a message before it is durable that it was begun";
    list.add(name, removed, DurableFirst, (message(), &[]), none)?;
    let name = "the same, then a crash, and it is never begun";
    list.add(name, removed, Closure, (message(), &[]), only(1, &[Crash]))?;
    let removed = &[Rule::SealBeforeNo];
    let name = "the absence of a local transaction is a no, without a seal";
    list.add(
        name,
        removed,
        Agreement,
        (local(), &[]),
        only(1, &[Deadline]),
    )?;
    let name = "the same, as its sender sees it";
    list.add(
        name,
        removed,
        AnswerTruth,
        (local(), &[]),
        only(1, &[Deadline]),
    )?;
    let name = "a local transaction passes the seal";
    list.add(
        name,
        &[Rule::SealRefuses],
        Agreement,
        (local(), &[]),
        only(1, &[Deadline]),
    )
}
