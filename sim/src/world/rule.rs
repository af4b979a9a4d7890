//! The rules that can be removed. Each is kept at the place that it is about: the driver, the
//! journal, the participants, the services, the reading of histories.

/// A rule that can be removed, to see that the invariants notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Sends and replies wait for the record they rely on.
    DurableBeforeSend,
    /// An append is confirmed only when it is durable.
    ConfirmWhenDurable,
    /// A recovering owner writes abort down before it sends it.
    AbortDurableBeforeSend,
    /// A participant says no, or aborted, only after the seal.
    SealBeforeNo,
    /// The seal refuses a late vote message.
    SealRefuses,
    /// A repeat finds the marker of the branch that has committed.
    MarkerRefuses,
    /// The journal refuses the writes of earlier epochs.
    Fence,
    /// The journal takes one decision per transaction.
    OneFate,
    /// Absence of a record becomes abort only by the owner, and only by writing it down first.
    Tombstone,
    /// After a flush of unknown outcome the epoch is raised before the partition is read.
    RaiseBeforeReload,
    /// At a take-over the epoch is raised before the partition is read.
    RaiseBeforeLook,
    /// A branch that voted read-only is never told to commit.
    ReadOnlyNeverCommits,
    /// Only the latest attempt's vote counts.
    LatestAttempt,
    /// A call without an answer is not a yes.
    SilenceIsNotYes,
    /// If all vote yes in time, commit is decided.
    AllYesCommits,
    /// A refused branch is not forgotten: calls without an answer are repeated.
    Repeat,
    /// A compensation waits until it is durable that the saga has turned back.
    TurnedBackFirst,
    /// So does an owner that has found the saga begun.
    TurnedBackFirstInRecovery,
    /// An act that nobody could keep out waits until it is durable that it is started.
    StartedFirst,
    /// A pivot is started before that, too.
    PivotStartedFirst,
    /// What comes after the pivot waits until commit is durable.
    CommittedFirst,
    /// A pivot that has not answered in time has not refused.
    PivotIsAwaited,
    /// A plain act that was never answered is not taken for done.
    SilenceIsNotDone,
    /// Recovery reads what was started.
    StartedIsRead,
    /// Recovery reads that the pivot was started.
    PivotStartedIsRead,
    /// Recovery asks whether what was started has acted.
    StartedIsAskedAbout,
    /// Recovery makes good what may have acted, too.
    UnknownIsMadeGood,
    /// Recovery makes good all that the record of turning back names.
    NamedIsMadeGood,
    /// Recovery goes the way that is decided.
    DirectionIsRead,
    /// What came last is made good first.
    LastIsMadeGoodFirst,
    /// A compensation that finds nothing keeps the act out.
    NullCompensation,
    /// What has refused goes on refusing.
    RefusalIsStored,
}
