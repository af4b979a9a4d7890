//! Rules taken away, one at a time or two together. Each mutant must be caught, by the invariant
//! named here; one that survives is a defect of this instrument.
//!
//! Some rules cover for each other: without the fence, the journal's unique fate still keeps two
//! owners from deciding against each other. Such a rule is taken away alone, which only the
//! invariant that states it notices, and once more together with the one that covers for it, to
//! see the harm.

use crate::case::only;
use crate::engine::Limit;
use crate::explorer::Exploration;
use crate::invariant::Invariant;
use crate::saga_mutation;
use crate::story::Story;
use crate::world::{Bounded, Budget, Config, PlanRefused, Rule, Voice};

/// Rules taken away, and what notices.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// Its name.
    pub name: &'static str,
    /// The rules that are removed.
    pub removed: &'static [Rule],
    /// Which invariant must break. It alone is watched, so that the story shows the harm.
    pub breaks: Invariant,
    /// The run, the rules still in place.
    pub config: Config,
}

/// A mutant that was caught.
#[derive(Clone, Debug)]
pub struct Caught {
    /// Which invariant it broke.
    pub invariant: Invariant,
    /// How it came to that.
    pub story: Story,
    /// States that were searched until then.
    pub states: usize,
}

/// No mutant needs as many states as this.
const LIMIT: Limit = Limit { states: 400_000 };

impl Mutation {
    /// Searches for a counter-example; none if the mutant survives.
    #[must_use]
    pub fn hunt(&self) -> Option<Caught> {
        let config = self.config.clone().without(self.removed);
        let report = Exploration::watching(&config, &[self.breaks]).run(LIMIT);
        let found = report.counterexample?;
        let story = Story::of(&config, &found);
        let invariant = found.violation.violation.invariant;
        Some(Caught { invariant, story, states: report.states })
    }
}

const YES: &[Voice] = &[Voice::Yes];
const NO: &[Voice] = &[Voice::No];
const YES_OR_NO: &[Voice] = &[Voice::Yes, Voice::No];
const READ: &[Voice] = &[Voice::ReadOnly, Voice::Yes];

struct List(Vec<Mutation>);

impl List {
    fn add(
        &mut self,
        name: &'static str,
        removed: &'static [Rule],
        breaks: Invariant,
        voices: &[&[Voice]],
        budget: Budget,
    ) -> Result<(), PlanRefused> {
        let config = Config::new(voices, budget)?;
        self.0.push(Mutation { name, removed, breaks, config });
        Ok(())
    }
}

/// Every mutation.
///
/// # Errors
/// If a plan is refused: a mistake in this file.
pub fn all() -> Result<Vec<Mutation>, PlanRefused> {
    let mut list = List(Vec::new());
    coordinator(&mut list)?;
    journal(&mut list)?;
    participant(&mut list)?;
    list.0.extend(saga_mutation::all()?);
    Ok(list.0)
}

fn coordinator(list: &mut List) -> Result<(), PlanRefused> {
    use Bounded::{Crash, Duplicate, Inquiry, TakeOver};
    use Invariant::{Agreement, AnswerTruth, DurableFirst, Once};
    let (none, crash) = (Budget::faultless(), only(1, &[Crash]));
    list.add(
        "send before durable",
        &[Rule::DurableBeforeSend],
        DurableFirst,
        &[YES, YES],
        none,
    )?;
    let name = "send before durable, then a crash";
    list.add(
        name,
        &[Rule::DurableBeforeSend],
        Agreement,
        &[YES, YES],
        crash,
    )?;
    let name = "answer before durable, then a crash";
    list.add(
        name,
        &[Rule::DurableBeforeSend],
        AnswerTruth,
        &[YES, YES],
        crash,
    )?;
    let name = "recovery sends abort before it is durable";
    list.add(
        name,
        &[Rule::AbortDurableBeforeSend],
        DurableFirst,
        &[YES, YES],
        crash,
    )?;
    let name = "the same, and the former owner is not fenced";
    let removed = &[Rule::AbortDurableBeforeSend, Rule::Fence];
    list.add(name, removed, Agreement, &[YES, YES], only(1, &[TakeOver]))?;
    let name = "absence is abort, without a record";
    let asking = none.with(Inquiry, 1);
    list.add(name, &[Rule::Tombstone], AnswerTruth, &[YES, YES], asking)?;
    let name = "read-only is told to commit when a late copy revived it";
    let late = only(1, &[Duplicate]).with(Inquiry, 1);
    list.add(
        name,
        &[Rule::ReadOnlyNeverCommits],
        Once,
        &[READ, YES],
        late,
    )?;
    votes(list)?;
    owners(list)
}

fn votes(list: &mut List) -> Result<(), PlanRefused> {
    use Bounded::{Duplicate, Retry, Unanswered};
    use Invariant::{Agreement, NoOrphan, NonTriviality, Validity};
    let name = "an old attempt's vote counts";
    let twice = only(2, &[Unanswered, Duplicate]).with(Retry, 1);
    list.add(name, &[Rule::LatestAttempt], Validity, &[READ, YES], twice)?;
    let (name, silence) = ("silence is a yes", only(1, &[Unanswered]));
    list.add(
        name,
        &[Rule::SilenceIsNotYes],
        Validity,
        &[YES, YES],
        silence,
    )?;
    let name = "silence is a yes, and the branch says no";
    list.add(
        name,
        &[Rule::SilenceIsNotYes],
        Agreement,
        &[YES_OR_NO, YES],
        silence,
    )?;
    let name = "a call without an answer is not repeated";
    list.add(name, &[Rule::Repeat], NoOrphan, &[YES, YES], silence)?;
    let (name, none) = ("every yes is late", Budget::faultless());
    list.add(
        name,
        &[Rule::AllYesCommits],
        NonTriviality,
        &[YES, YES],
        none,
    )
}

fn owners(list: &mut List) -> Result<(), PlanRefused> {
    use Bounded::TakeOver;
    use Invariant::OneDecision;
    let owners = only(1, &[TakeOver]);
    let name = "take-over looks before it raises the epoch";
    list.add(
        name,
        &[Rule::RaiseBeforeLook],
        Invariant::Termination,
        &[YES, YES],
        owners,
    )?;
    let name = "the same, and a second decision is taken";
    let removed = &[Rule::RaiseBeforeLook, Rule::OneFate];
    list.add(name, removed, OneDecision, &[YES, YES], owners)
}

fn journal(list: &mut List) -> Result<(), PlanRefused> {
    use Bounded::{Crash, FlushUnknown, TakeOver};
    use Invariant::{Agreement, AnswerTruth, DurableFirst, Fencing, OneDecision, Termination};
    let (owners, unknown) = (only(1, &[TakeOver]), only(1, &[FlushUnknown]));
    list.add("no fence", &[Rule::Fence], Fencing, &[YES, YES], owners)?;
    let removed = &[Rule::Fence, Rule::OneFate];
    list.add(
        "no fence and no unique fate",
        removed,
        OneDecision,
        &[YES, YES],
        owners,
    )?;
    let name = "no fence and no unique fate, to the end";
    list.add(name, removed, Agreement, &[YES, YES], owners)?;
    let name = "reload without raising the epoch";
    list.add(
        name,
        &[Rule::RaiseBeforeReload],
        Termination,
        &[YES, YES],
        unknown,
    )?;
    let name = "the same, and a second decision is taken";
    let removed = &[Rule::RaiseBeforeReload, Rule::OneFate];
    list.add(name, removed, OneDecision, &[YES, YES], unknown)?;
    let name = "confirm before durable";
    list.add(
        name,
        &[Rule::ConfirmWhenDurable],
        DurableFirst,
        &[YES, YES],
        Budget::faultless(),
    )?;
    let name = "confirm before durable, then a crash";
    list.add(
        name,
        &[Rule::ConfirmWhenDurable],
        AnswerTruth,
        &[YES, YES],
        only(1, &[Crash]),
    )
}

fn participant(list: &mut List) -> Result<(), PlanRefused> {
    use Bounded::{Deadline, Duplicate};
    use Invariant::{Agreement, AnswerTruth, Once};
    let late = only(1, &[Duplicate]);
    let name = "no before the seal, and a late prepare";
    list.add(
        name,
        &[Rule::SealBeforeNo],
        AnswerTruth,
        &[YES_OR_NO, YES],
        late,
    )?;
    let name = "no before the seal, and a late one-phase commit";
    list.add(name, &[Rule::SealBeforeNo], Agreement, &[YES_OR_NO], late)?;
    let name = "a vote message passes the seal";
    list.add(
        name,
        &[Rule::SealRefuses],
        AnswerTruth,
        &[YES, NO],
        Budget::faultless(),
    )?;
    let name = "a vote message passes the seal of a recall";
    list.add(
        name,
        &[Rule::SealRefuses],
        Agreement,
        &[YES],
        only(1, &[Deadline]),
    )?;
    list.add(
        "a repeat works again",
        &[Rule::MarkerRefuses],
        Once,
        &[YES],
        late,
    )
}
