//! The table of a participant's acts.

use std::fmt;

use crate::table;

/// What a participant's database holds for a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holding {
    /// Neither marker nor seal, no prepared transaction, and nobody at work. Proves nothing: a
    /// late call may still bring the branch to life.
    Nothing,
    /// An attempt is at work: the advisory lock on the gid is taken, and nothing is prepared.
    Active,
    /// The branch is in `pg_prepared_xacts`.
    Prepared,
    /// The marker is visible: the branch has committed.
    Committed,
    /// The seal is there: the branch can never take effect.
    Sealed,
}

/// What a participant is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Do the work, prepare, vote.
    Prepare,
    /// Do the work and commit: the branch is alone.
    CommitOnePhase,
    /// Commit what is prepared.
    Commit,
    /// Roll back what is prepared, and seal.
    Abort,
}

/// What the participant does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// Runs the handler in a local transaction, writes the marker last, and prepares (or commits).
    Work,
    /// Answers yes: an earlier attempt prepared the branch.
    VoteYes,
    /// Answers committed.
    VoteCommitted,
    /// Answers no: the seal is there.
    VoteNo,
    /// Answers in progress: ask again.
    SayInProgress,
    /// `COMMIT PREPARED`, then answers by the marker.
    CommitPrepared,
    /// `ROLLBACK PREPARED`, then seals.
    RollBackPrepared,
    /// Inserts the seal, and answers by what is there afterwards: aborted, or committed.
    Seal,
    /// Answers committed.
    SayCommitted,
    /// Answers aborted.
    SayAborted,
}

impl Holding {
    /// Every holding, in the order of the table's columns.
    pub const ALL: [Self; 5] = [
        Self::Nothing,
        Self::Active,
        Self::Prepared,
        Self::Committed,
        Self::Sealed,
    ];
}

/// What a verb means for each holding.
#[rustfmt::skip]
pub const TABLE: [(Verb, [Act; Holding::ALL.len()]); 4] = {
    use Act::{
        CommitPrepared, RollBackPrepared, SayAborted, SayCommitted, SayInProgress, Seal,
        VoteCommitted, VoteNo, VoteYes, Work,
    };
    [
        //                      Nothing  Active         Prepared          Committed      Sealed
        (Verb::Prepare,        [Work,    SayInProgress, VoteYes,          VoteCommitted, VoteNo]),
        (Verb::CommitOnePhase, [Work,    SayInProgress, SayInProgress,    VoteCommitted, VoteNo]),
        (Verb::Commit,         [Seal,    SayInProgress, CommitPrepared,   SayCommitted,  SayAborted]),
        (Verb::Abort,          [Seal,    Seal,          RollBackPrepared, SayCommitted,  SayAborted]),
    ]
};

/// Looks a cell of [`TABLE`] up.
#[must_use]
pub fn act(verb: Verb, holding: Holding) -> Act {
    let row = match verb {
        Verb::Prepare => &TABLE[0],
        Verb::CommitOnePhase => &TABLE[1],
        Verb::Commit => &TABLE[2],
        Verb::Abort => &TABLE[3],
    };
    let [nothing, active, prepared, committed, sealed] = row.1;
    match holding {
        Holding::Nothing => nothing,
        Holding::Active => active,
        Holding::Prepared => prepared,
        Holding::Committed => committed,
        Holding::Sealed => sealed,
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The table as Markdown, for the documentation; a test compares.
pub struct TableMarkdown;

impl fmt::Display for TableMarkdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::write_markdown(f, "verb", &Holding::ALL, &TABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_looked_up_under_its_own_row_and_column() {
        for (verb, acts) in TABLE {
            for (holding, expected) in Holding::ALL.into_iter().zip(acts) {
                assert_eq!(act(verb, holding), expected, "{verb:?} {holding:?}");
            }
        }
    }

    #[test]
    fn no_is_said_only_where_a_seal_is_or_comes_first() {
        for (verb, acts) in TABLE {
            for (holding, act) in Holding::ALL.into_iter().zip(acts) {
                if matches!(act, Act::VoteNo | Act::SayAborted) {
                    assert_eq!(holding, Holding::Sealed, "{verb:?}");
                }
            }
        }
    }

    #[test]
    fn only_abort_rolls_back_and_only_commit_commits_what_is_prepared() {
        for (verb, acts) in TABLE {
            assert_eq!(acts.contains(&Act::RollBackPrepared), verb == Verb::Abort);
            assert_eq!(acts.contains(&Act::CommitPrepared), verb == Verb::Commit);
        }
    }
}
