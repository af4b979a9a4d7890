//! The table of what a call means at a barrier.

use std::fmt;

use accordant_protocol::table;

/// What stood at the barrier before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Standing {
    /// No row. The call has just inserted one, in its own local transaction.
    Nothing,
    /// Another local transaction has inserted a row and has not ended.
    AtWork,
    /// `act` or `try` is done, and nothing has followed.
    Done,
    /// `act` or `try` is skipped: it was refused, or kept out. Nothing of it will ever happen.
    Skipped,
    /// A TCC branch is confirmed.
    Confirmed,
    /// What was done is compensated or cancelled.
    Undone,
}

/// What a participant is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Verb {
    /// Do it.
    Act,
    /// Make good what was done.
    Compensate,
    /// Reserve.
    Try,
    /// Make the reservation good.
    Confirm,
    /// Give the reservation up.
    Cancel,
}

/// What the participant does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Deed {
    /// Runs the handler, stores its result in the row, and commits both. A refusal is answered
    /// after the row has been stored as skipped instead, but for what must be done: there nothing is
    /// stored.
    Work,
    /// The same with the handler of the verb, which gets the stored result of `act` or `try`. On a
    /// refusal nothing is stored.
    Follow,
    /// Commits `act` or `try` as skipped, without running anything.
    KeepOut,
    /// Says *done*, with the stored result.
    SayDone,
    /// Says *refused*, with the stored refusal.
    SayRefused,
    /// Says that nothing of it is there, or is there any more.
    SayUndone,
    /// Says that the reservation was made good.
    SayConfirmed,
    /// Says *in progress*: ask again.
    SayInProgress,
    /// No statement of ours leaves this behind: says nothing.
    Corrupt,
}

impl Standing {
    /// Every standing, in the order of the table's columns.
    pub(crate) const ALL: [Self; 6] = [
        Self::Nothing,
        Self::AtWork,
        Self::Done,
        Self::Skipped,
        Self::Confirmed,
        Self::Undone,
    ];
}

/// What a verb means for each standing.
#[rustfmt::skip]
pub(crate) const TABLE: [(Verb, [Deed; Standing::ALL.len()]); 5] = {
    use Deed::{
        Corrupt, Follow, KeepOut, SayConfirmed, SayDone, SayInProgress, SayRefused, SayUndone, Work,
    };
    [
        //                  Nothing  AtWork         Done     Skipped     Confirmed     Undone
        (Verb::Act,        [Work,    SayInProgress, SayDone, SayRefused, Corrupt,      SayDone]),
        (Verb::Compensate, [KeepOut, SayInProgress, Follow,  SayUndone,  Corrupt,      SayUndone]),
        (Verb::Try,        [Work,    SayInProgress, SayDone, SayRefused, SayConfirmed, SayRefused]),
        (Verb::Confirm,    [KeepOut, SayInProgress, Follow,  SayUndone,  SayConfirmed, SayUndone]),
        (Verb::Cancel,     [KeepOut, SayInProgress, Follow,  SayUndone,  SayConfirmed, SayUndone]),
    ]
};

/// Looks a cell of [`TABLE`] up.
pub(crate) fn deed(verb: Verb, standing: Standing) -> Deed {
    let row = match verb {
        Verb::Act => &TABLE[0],
        Verb::Compensate => &TABLE[1],
        Verb::Try => &TABLE[2],
        Verb::Confirm => &TABLE[3],
        Verb::Cancel => &TABLE[4],
    };
    let [nothing, at_work, done, skipped, confirmed, undone] = row.1;
    match standing {
        Standing::Nothing => nothing,
        Standing::AtWork => at_work,
        Standing::Done => done,
        Standing::Skipped => skipped,
        Standing::Confirmed => confirmed,
        Standing::Undone => undone,
    }
}

impl Verb {
    /// The operation that the barrier is about.
    pub(crate) const fn first_op(self) -> &'static str {
        match self {
            Self::Act | Self::Compensate => "act",
            Self::Try | Self::Confirm | Self::Cancel => "try",
        }
    }

    /// The key under which what follows excludes itself: a confirm and a cancel share one.
    pub(crate) const fn second_op(self) -> &'static str {
        match self {
            Self::Act | Self::Compensate => "compensate",
            Self::Try | Self::Confirm | Self::Cancel => "confirm",
        }
    }

    /// The row that the result of the verb's handler is stored in.
    pub(crate) const fn op(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Compensate => "compensate",
            Self::Try => "try",
            Self::Confirm => "confirm",
            Self::Cancel => "cancel",
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The table as Markdown, for the documentation; a test compares.
#[derive(Clone, Copy, Debug)]
pub struct TableMarkdown;

impl fmt::Display for TableMarkdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::write_markdown(f, "verb", &Standing::ALL, &TABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_looked_up_under_its_own_row_and_column() {
        for (verb, deeds) in TABLE {
            for (standing, expected) in Standing::ALL.into_iter().zip(deeds) {
                assert_eq!(deed(verb, standing), expected, "{verb:?} {standing:?}");
            }
        }
    }

    #[test]
    fn a_handler_runs_only_where_its_own_row_was_not_there() {
        for (verb, deeds) in TABLE {
            for (standing, deed) in Standing::ALL.into_iter().zip(deeds) {
                let forward = matches!(verb, Verb::Act | Verb::Try);
                assert_eq!(deed == Deed::Work, forward && standing == Standing::Nothing);
                assert_eq!(deed == Deed::Follow, !forward && standing == Standing::Done);
            }
        }
    }

    #[test]
    fn no_is_said_only_where_nothing_can_happen_any_more() {
        for (verb, deeds) in TABLE {
            for (standing, deed) in Standing::ALL.into_iter().zip(deeds) {
                if matches!(deed, Deed::SayRefused | Deed::SayUndone) {
                    let ended = matches!(standing, Standing::Skipped | Standing::Undone);
                    assert!(ended, "{verb:?} {standing:?}");
                }
            }
        }
    }
}
