//! The transition table of an atomic group.

use std::fmt;

use crate::table;

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// `Begun` is on its way into the journal; nothing was sent.
    Beginning,
    /// The branches were told to prepare.
    Preparing,
    /// All voted yes; `Committed` is on its way into the journal.
    DecidingCommit,
    /// `Committed` is durable; the branches are told until each has confirmed.
    Committing,
    /// Found begun after a crash or take-over; `Aborted` is on its way into the journal.
    DecidingAbort,
    /// It will not happen; the branches are told until each has confirmed.
    Aborting,
    /// `Begun` of a lone branch is on its way into the journal; nothing was sent.
    Handing,
    /// The lone branch was told to commit by itself: only it knows.
    Delegated,
    /// The lone branch's time is over, or it was found begun: it is told to abort, and answers
    /// with what is so.
    Recalling,
    /// The lone branch has committed; `Committed` is on its way into the journal.
    RecordingCommit,
    /// The lone branch is sealed; `Aborted` is on its way into the journal.
    RecordingAbort,
    /// Every branch has ended.
    Closed,
    /// The group is the pivot, and steps before it are not done; this owner has sent nothing.
    Held,
    /// The group is the pivot, and its branches were told to prepare.
    PreparingPivot,
}

/// What can come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputKind {
    /// The record that the phase waits for is durable; to a pivot that is held: every step before it
    /// is done.
    Durable,
    /// The latest attempt of a branch voted yes or read-only; a lone branch: committed.
    Yes,
    /// The latest attempt of a branch voted no.
    No,
    /// A branch says that its marker is there.
    Committed,
    /// A branch says that its seal is there.
    Aborted,
    /// The time for voting is over.
    Deadline,
}

impl InputKind {
    /// Every kind, in the order of the table's columns.
    pub const ALL: [Self; 6] = [
        Self::Durable,
        Self::Yes,
        Self::No,
        Self::Committed,
        Self::Aborted,
        Self::Deadline,
    ];
}

/// What an input does to a group in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Moves to this phase.
    To(Phase),
    /// Stays until the last branch has answered, then moves to this phase.
    Until(Phase),
    /// Stays: a late or repeated input.
    Stay,
    /// No correct peer sends this: a typed refusal, and the state is left as it was.
    Refuse,
}

/// What each input does in each phase. An answer that is neither a vote nor an end (no reply, a
/// reply that is none, in progress, retry later, a reply from another database) moves nothing in
/// any phase: the call is repeated after a pause.
#[rustfmt::skip]
pub const TABLE: [(Phase, [Rule; InputKind::ALL.len()]); 14] = {
    use Phase::{
        Aborting, Beginning, Closed, Committing, DecidingAbort, DecidingCommit, Delegated, Handing,
        Held, Preparing, PreparingPivot, Recalling, RecordingAbort, RecordingCommit,
    };
    use Rule::{Refuse, Stay, To, Until};
    [
        //                 Durable          Yes                    No                  Committed            Aborted             Deadline
        (Beginning,       [To(Preparing),   Refuse,                Refuse,             Refuse,              Refuse,             Stay]),
        (Preparing,       [Refuse,          Until(DecidingCommit), To(Aborting),       Refuse,              Refuse,             To(Aborting)]),
        (DecidingCommit,  [To(Committing),  Stay,                  Stay,               Refuse,              Refuse,             Stay]),
        (Committing,      [Stay,            Stay,                  Stay,               Until(Closed),       Until(Closed),      Stay]),
        (DecidingAbort,   [To(Aborting),    Refuse,                Refuse,             Refuse,              Refuse,             Stay]),
        (Aborting,        [Stay,            Stay,                  Stay,               Until(Closed),       Until(Closed),      Stay]),
        (Handing,         [To(Delegated),   Refuse,                Refuse,             Refuse,              Refuse,             Stay]),
        (Delegated,       [Refuse,          To(RecordingCommit),   To(RecordingAbort), Refuse,              Refuse,             To(Recalling)]),
        (Recalling,       [Refuse,          Stay,                  Stay,               To(RecordingCommit), To(RecordingAbort), Stay]),
        (RecordingCommit, [To(Closed),      Stay,                  Stay,               Stay,                Stay,               Stay]),
        (RecordingAbort,  [To(Closed),      Stay,                  Stay,               Stay,                Stay,               Stay]),
        (Closed,          [Stay,            Stay,                  Stay,               Stay,                Stay,               Stay]),
        (Held,            [To(PreparingPivot), Refuse,             Refuse,             Refuse,              Refuse,             Stay]),
        (PreparingPivot,  [Refuse,          Until(DecidingCommit), To(DecidingAbort),  Refuse,              Refuse,             To(DecidingAbort)]),
    ]
};

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(phase) => write!(f, "→ {phase:?}"),
            Self::Until(phase) => write!(f, "last: → {phase:?}"),
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
