//! The transition table of an action.

use std::fmt;

use crate::table;
use crate::wire::api::ActionState;

/// Where an action stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// This owner has sent nothing.
    Waiting,
    /// It was told to act; whether it has is unknown.
    Acting,
    /// It has acted.
    Done,
    /// It refused: nothing of it happened, and nothing of it ever will.
    Refused,
    /// It was told to make good; whether it has is unknown.
    Compensating,
    /// It is made good.
    Compensated,
    /// It was told to act, cannot go on without an operator, and may have acted.
    StuckActing,
    /// It was told to make good, cannot go on without an operator, and may have.
    StuckCompensating,
    /// An operator has left it as it was.
    Skipped,
}

/// What can come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputKind {
    /// Its turn to act has come.
    Act,
    /// Its turn to be made good has come.
    Compensate,
    /// It says that what it was told is done.
    Done,
    /// It refuses what it was told.
    Refused,
    /// The attempts are used up, or it refuses what may not be refused.
    Exhausted,
    /// An operator has it tried again.
    Retry,
    /// An operator takes it as done.
    MarkDone,
    /// An operator leaves it as it is.
    Skip,
}

impl From<Phase> for ActionState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Waiting => Self::Waiting,
            Phase::Acting => Self::Acting,
            Phase::Done => Self::Done,
            Phase::Refused => Self::Refused,
            Phase::Compensating => Self::Compensating,
            Phase::Compensated => Self::Compensated,
            Phase::StuckActing => Self::StuckActing,
            Phase::StuckCompensating => Self::StuckCompensating,
            Phase::Skipped => Self::Skipped,
        }
    }
}

impl InputKind {
    /// Every kind, in the order of the table's columns.
    pub const ALL: [Self; 8] = [
        Self::Act,
        Self::Compensate,
        Self::Done,
        Self::Refused,
        Self::Exhausted,
        Self::Retry,
        Self::MarkDone,
        Self::Skip,
    ];
}

/// What an input does to an action in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Moves to this phase.
    To(Phase),
    /// Stays: a late or repeated input.
    Stay,
    /// It has no place here: a typed refusal, and the state is left as it was.
    Refuse,
}

/// What each input does in each phase. An answer that is no answer (no reply, a reply that is none,
/// in progress, retry later, a reply from another database) moves nothing in any phase: the call is
/// repeated after a pause, until the attempts are used up.
#[rustfmt::skip]
pub const TABLE: [(Phase, [Rule; InputKind::ALL.len()]); 9] = {
    use Phase::{
        Acting, Compensated, Compensating, Done, Refused, Skipped, StuckActing, StuckCompensating,
        Waiting,
    };
    use Rule::{Refuse, Stay, To};
    [
        //                   Act         Compensate        Done             Refused                Exhausted              Retry             MarkDone         Skip
        (Waiting,           [To(Acting), To(Compensating), Refuse,          Refuse,                Refuse,                Refuse,           Refuse,          Refuse]),
        (Acting,            [Stay,       To(Compensating), To(Done),        To(Refused),           To(StuckActing),       Stay,             Refuse,          Refuse]),
        (Done,              [Stay,       To(Compensating), Stay,            Stay,                  Stay,                  Refuse,           Refuse,          Refuse]),
        (Refused,           [Refuse,     Refuse,           Stay,            Stay,                  Stay,                  Refuse,           Refuse,          Refuse]),
        (Compensating,      [Refuse,     Stay,             To(Compensated), To(StuckCompensating), To(StuckCompensating), Stay,             Refuse,          Refuse]),
        (Compensated,       [Refuse,     Stay,             Stay,            Stay,                  Stay,                  Refuse,           Refuse,          Refuse]),
        (StuckActing,       [Stay,       To(Compensating), To(Done),        To(Refused),           Stay,                  To(Acting),       To(Done),        To(Skipped)]),
        (StuckCompensating, [Refuse,     Stay,             To(Compensated), Stay,                  Stay,                  To(Compensating), To(Compensated), To(Skipped)]),
        (Skipped,           [Refuse,     Refuse,           Stay,            Stay,                  Stay,                  Refuse,           Refuse,          Refuse]),
    ]
};

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(phase) => write!(f, "→ {phase:?}"),
            Self::Stay => write!(f, "stay"),
            Self::Refuse => write!(f, "refuse"),
        }
    }
}

/// Looks a cell of [`TABLE`] up.
#[must_use]
pub fn rule(phase: Phase, input: InputKind) -> Rule {
    // A test looks every cell up, so the refusal never stands in for one.
    table::cell(&TABLE, &InputKind::ALL, &phase, &input).unwrap_or(Rule::Refuse)
}

/// The table as Markdown, for the documentation; a test compares.
pub struct TableMarkdown;

impl fmt::Display for TableMarkdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::write_markdown(f, "phase", &InputKind::ALL, &TABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_looked_up_under_its_own_row_and_column() {
        for (phase, rules) in TABLE {
            for (input, expected) in InputKind::ALL.into_iter().zip(rules) {
                assert_eq!(rule(phase, input), expected, "{phase:?} {input:?}");
            }
        }
    }

    #[test]
    fn nothing_acts_once_it_was_told_to_make_good() {
        use Phase::{Compensated, Compensating, Skipped, StuckCompensating};
        for phase in [Compensating, Compensated, StuckCompensating, Skipped] {
            for input in InputKind::ALL {
                let to = rule(phase, input);
                assert!(
                    !matches!(to, Rule::To(Phase::Acting | Phase::Done)),
                    "{phase:?} {input:?}"
                );
            }
        }
    }

    #[test]
    fn an_operator_decides_only_about_what_is_stuck() {
        for (phase, _) in TABLE {
            let stuck = matches!(phase, Phase::StuckActing | Phase::StuckCompensating);
            for input in [InputKind::MarkDone, InputKind::Skip] {
                assert_eq!(
                    rule(phase, input) != Rule::Refuse,
                    stuck,
                    "{phase:?} {input:?}"
                );
            }
        }
    }
}
