//! What a run is about: how many branches, how their handlers vote, which faults may happen how
//! often, and which rules are removed.

use std::fmt;

use accordant_protocol::id::{BranchIndex, Cluster, Incarnation};
use accordant_protocol::node;
use accordant_protocol::plan::{BranchRequest, Mode, Plan, PlanFaults, PlanRequest};
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::Wait;

use super::network::{Order, Verb};
use super::rule::Rule;

/// When everything happens, as long as the deadline has not passed.
pub(super) const START: Timestamp = Timestamp::from_millis(1_000_000);

/// How long branches have to vote: longer than all pauses between repeats together.
pub(super) const TIMEOUT_MS: u64 = 3_600_000;

/// One run.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the client asks for.
    pub plan: Plan,
    /// How the handler of each branch may vote, and how each action may answer, whenever it runs. The
    /// first is its mood in health.
    pub voices: Vec<Vec<Voice>>,
    /// How a compensation may answer.
    pub amends: Vec<Voice>,
    /// When the client wants its answer.
    pub wait: Wait,
    /// How much may happen.
    pub budget: Budget,
    /// Rules that are not kept.
    pub removed: Vec<Rule>,
    /// Open transactions that are read in one page.
    pub page: usize,
    /// The first coordinator has read what is there before the client comes.
    pub loaded: bool,
}

/// How a handler ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Voice {
    /// It wrote something.
    Yes,
    /// It refuses.
    No,
    /// It wrote nothing.
    ReadOnly,
    /// It says that it is under way, and has done it when it is asked once more. Of actions only.
    Later,
}

/// Something that may happen only so often, so that a run is finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bounded {
    /// A coordinator dies. Writes on their way may still arrive at the journal.
    Crash,
    /// A second coordinator raises the epoch while the first lives on.
    TakeOver,
    /// A coordinator believes that it has lost the partition.
    LeaseLost,
    /// A flush gives no result. It may have happened, or may happen yet.
    FlushUnknown,
    /// A participant dies. What is prepared, committed or sealed stays.
    ParticipantCrash,
    /// A coordinator gives a call up. The call or its answer may still be on its way.
    Unanswered,
    /// A call arrives, and later once more.
    Duplicate,
    /// The time for voting is over.
    Deadline,
    /// A call is repeated after a pause.
    Retry,
    /// A participant asks for the outcome of a branch.
    Inquiry,
    /// The client submits its request.
    Submit,
    /// The client asks how its transaction stands.
    Query,
    /// A service says of its own accord how something stands.
    Tell,
    /// An operator decides about a step that is stuck.
    Resolve,
}

impl Bounded {
    const ALL: [Self; 14] = [
        Self::Crash,
        Self::TakeOver,
        Self::LeaseLost,
        Self::FlushUnknown,
        Self::ParticipantCrash,
        Self::Unanswered,
        Self::Duplicate,
        Self::Deadline,
        Self::Retry,
        Self::Inquiry,
        Self::Submit,
        Self::Query,
        Self::Tell,
        Self::Resolve,
    ];

    const fn place(self) -> usize {
        self as usize
    }

    /// Whether it is a fault, not the work of a day.
    const fn is_fault(self) -> bool {
        match self {
            Self::Crash
            | Self::TakeOver
            | Self::LeaseLost
            | Self::FlushUnknown
            | Self::ParticipantCrash
            | Self::Unanswered
            | Self::Duplicate
            | Self::Deadline => true,
            Self::Retry
            | Self::Inquiry
            | Self::Submit
            | Self::Query
            | Self::Tell
            | Self::Resolve => false,
        }
    }
}

/// How often each thing may still happen, and how many faults altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    left: [u8; Bounded::ALL.len()],
    faults: u8,
}

impl Budget {
    /// One request, and nothing goes wrong.
    #[must_use]
    pub fn faultless() -> Self {
        Self::default().with(Bounded::Submit, 1)
    }

    /// At most so many faults altogether, each as often as it likes within that; and as many
    /// repeats as they can call for.
    #[must_use]
    pub fn faults(faults: u8) -> Self {
        let kinds = Bounded::ALL.into_iter().filter(|it| it.is_fault());
        let budget = kinds.fold(Self::faultless(), |budget, it| budget.with(it, faults));
        Self { faults, ..budget }.with(Bounded::Deadline, 1)
    }

    /// The same with another bound.
    #[must_use]
    pub fn with(mut self, what: Bounded, times: u8) -> Self {
        if let Some(left) = self.left.get_mut(what.place()) {
            *left = times;
        }
        self
    }

    /// Whether it may happen once more.
    #[must_use]
    pub fn allows(&self, what: Bounded) -> bool {
        let left = self.left.get(what.place()).is_some_and(|left| *left > 0);
        left && (self.faults > 0 || !what.is_fault())
    }

    /// How many faults may still happen.
    #[must_use]
    pub const fn faults_left(&self) -> u8 {
        self.faults
    }

    pub(super) fn spend(&mut self, what: Bounded) {
        if let Some(left) = self.left.get_mut(what.place()) {
            *left = left.saturating_sub(1);
        }
        if what.is_fault() {
            self.faults = self.faults.saturating_sub(1);
        }
    }
}

/// Why a configuration could not be made.
pub type PlanRefused = PlanFaults;

impl Config {
    /// A plan of as many branches as there are lists of voices, at as many participants.
    ///
    /// # Errors
    /// If that is no legal plan: no branch, or too many.
    pub fn new(voices: &[&[Voice]], budget: Budget) -> Result<Self, PlanRefused> {
        let branches = NAMES
            .iter()
            .zip(voices)
            .map(|((name, participant), _)| BranchRequest {
                name: (*name).to_owned(),
                participant: (*participant).to_owned(),
                operation: "work".to_owned(),
                payload: accordant_protocol::json::Json::null(),
                mode: Mode::TwoPhase,
            });
        let plan = PlanRequest { steps: None, branches: Some(branches.collect()) };
        Self::of(plan, voices, budget)
    }

    /// A plan of any kind, with voices for its branches and actions, by index.
    ///
    /// # Errors
    /// If the plan is refused.
    pub fn of(plan: PlanRequest, voices: &[&[Voice]], budget: Budget) -> Result<Self, PlanRefused> {
        let voices = voices.iter().take(NAMES.len());
        Ok(Self {
            plan: Plan::try_from(plan)?,
            voices: voices.map(|it| it.to_vec()).collect(),
            amends: vec![Voice::Yes],
            wait: Wait::Decided,
            budget,
            removed: Vec::new(),
            page: 1,
            loaded: true,
        })
    }

    /// The same, with compensations that answer otherwise.
    #[must_use]
    pub fn amending(self, amends: &[Voice]) -> Self {
        Self { amends: amends.to_vec(), ..self }
    }

    /// The same without these rules.
    #[must_use]
    pub fn without(self, removed: &[Rule]) -> Self {
        Self { removed: removed.to_vec(), ..self }
    }

    /// The same, with a client that waits for something else.
    #[must_use]
    pub fn waiting(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

    /// The same, with a client that comes while the partition is still being read.
    #[must_use]
    pub fn while_loading(self) -> Self {
        Self { loaded: false, ..self }
    }

    /// Whether a rule is kept.
    #[must_use]
    pub fn keeps(&self, rule: Rule) -> bool {
        !self.removed.contains(&rule)
    }

    pub(super) fn voices(&self, branch: BranchIndex) -> &[Voice] {
        self.voices
            .get(usize::from(branch.0))
            .map_or(&[Voice::Yes], Vec::as_slice)
    }

    /// How a call to an action may be answered.
    pub(super) fn voices_to(&self, order: &Order) -> &[Voice] {
        match order.verb {
            Verb::Compensate => &self.amends,
            Verb::Prepare | Verb::CommitOnePhase | Verb::Commit | Verb::Abort | Verb::Act => {
                self.voices(order.branch)
            }
        }
    }

    /// The mood in health.
    pub(super) fn first_voice(&self, order: &Order) -> Voice {
        self.voices_to(order).first().copied().unwrap_or(Voice::Yes)
    }

    pub(super) fn node(&self) -> node::Node {
        // A name that is refused would be one for all runs, so the first test shows it.
        let cluster = Cluster::new("sim").unwrap_or_else(|_| unreachable!("\"sim\" is a name"));
        node::Node::new(node::Config {
            cluster,
            incarnation: Incarnation(1),
            open_max: 8,
            participant_open_max: 8,
        })
    }
}

/// The branches and actions and their participants, by index.
pub(crate) const NAMES: [(&str, &str); 6] = [
    ("debit", "bank-1"),
    ("credit", "bank-2"),
    ("audit", "bank-3"),
    ("notice", "bank-4"),
    ("receipt", "bank-5"),
    ("report", "bank-6"),
];

/// What a branch is called in a story.
#[must_use]
pub fn branch_name(branch: BranchIndex) -> &'static str {
    NAMES
        .get(usize::from(branch.0))
        .map_or("?", |(name, _)| name)
}

impl fmt::Display for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::ReadOnly => "read-only",
            Self::Later => "later",
        })
    }
}
