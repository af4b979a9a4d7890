//! What is noted along the way: coverage marks always, sentences only while a story is told.

use std::fmt;

/// Something interesting that should happen now and then, or the runs prove little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// The coordinator died while a branch was prepared and nothing was decided.
    InDoubtReached,
    /// Another owner raised the epoch while a decision was on its way into the journal.
    TakeOverInDecision,
    /// A flush gave no result.
    FlushUnknown,
    /// A write of a dead process, or of one that gave it up, arrived after all.
    ZombieWriteLanded,
    /// The journal refused a write of an earlier epoch.
    ZombieWriteFenced,
    /// A vote message met a seal.
    LatePrepareRefused,
    /// Absence of a record became abort, by writing it down.
    PresumedAbort,
    /// A lone branch was told to abort, and had sealed itself or was sealed.
    RecallFoundSeal,
    /// A lone branch was told to abort, and had committed.
    RecallFoundMarker,
    /// A branch voted read-only.
    ReadOnlyVote,
    /// A late call brought a branch to life that had voted read-only.
    ReadOnlyRevived,
    /// A handler refused.
    HandlerRefused,
    /// The deadline passed before the votes had come.
    DeadlinePassed,
    /// `Begun` became durable after the deadline.
    LateBegun,
    /// A participant committed its branch after asking.
    SweepCommitted,
    /// A participant rolled its branch back after asking.
    SweepAborted,
    /// An inquiry was told to wait.
    InquiryPending,
    /// The seal met an uncommitted marker.
    SealMetMarker,
    /// A branch to be finished was no longer prepared: someone else had been quicker.
    FinishRaced,
    /// A call met another attempt at work.
    InProgress,
    /// A new owner found a decision and carried it on.
    ResumedDecision,
    /// A new owner found a transaction begun and undecided.
    ResumedUndecided,
    /// The key of a repeated request belonged to an earlier transaction.
    KeyTaken,
    /// An owner that had been replaced sent a call.
    ZombieSent,
    /// An answer to a call of an earlier epoch came in.
    OldEpochAnswer,
    /// A participant died with a prepared branch.
    PreparedSurvived,
    /// A call arrived after its transaction was closed.
    CallAfterClose,
    /// The same call arrived twice.
    Duplicate,
    /// Commit was decided.
    Committed,
    /// Abort was decided.
    Aborted,
    /// A transaction was closed.
    Closed,
    /// An action refused.
    ActRefused,
    /// An action said that it is under way.
    ActInProgress,
    /// A late act met the note of a compensation that came first.
    LateActRefused,
    /// A compensation came where nothing was done.
    CompensatedFirst,
    /// A compensation was refused.
    CompensationRefused,
    /// It became durable that a saga has turned back.
    TurnedBack,
    /// A plain act whose outcome was unknown became known while its saga was turning back.
    ClearedUp,
    /// It became durable that a pivot is passed.
    PivotPassed,
    /// The pivot of a saga was a group, and aborted.
    GroupPivotAborted,
    /// A step got stuck.
    Stuck,
    /// An operator decided about a step that was stuck.
    Resolved,
    /// A transaction was closed with something that an operator gave up.
    GivenUp,
    /// A call-back was heard.
    CalledBack,
    /// A message was held back until its time.
    MessageHeldBack,
    /// A sender's local transaction committed.
    LocalCommitted,
    /// A sender's local transaction met the seal of its recall.
    LocalSealed,
    /// A new owner found a saga on its way forward.
    ResumedForward,
    /// A new owner found a saga that had turned back.
    ResumedBack,
    /// A new owner found a saga whose pivot was passed.
    ResumedPassed,
    /// An action was called with a result that only the journal could tell.
    ResultFromJournal,
}

impl Mark {
    /// Every mark.
    pub const ALL: [Self; 51] = [
        Self::InDoubtReached,
        Self::TakeOverInDecision,
        Self::FlushUnknown,
        Self::ZombieWriteLanded,
        Self::ZombieWriteFenced,
        Self::LatePrepareRefused,
        Self::PresumedAbort,
        Self::RecallFoundSeal,
        Self::RecallFoundMarker,
        Self::ReadOnlyVote,
        Self::ReadOnlyRevived,
        Self::HandlerRefused,
        Self::DeadlinePassed,
        Self::LateBegun,
        Self::SweepCommitted,
        Self::SweepAborted,
        Self::InquiryPending,
        Self::SealMetMarker,
        Self::FinishRaced,
        Self::InProgress,
        Self::ResumedDecision,
        Self::ResumedUndecided,
        Self::KeyTaken,
        Self::ZombieSent,
        Self::OldEpochAnswer,
        Self::PreparedSurvived,
        Self::CallAfterClose,
        Self::Duplicate,
        Self::Committed,
        Self::Aborted,
        Self::Closed,
        Self::ActRefused,
        Self::ActInProgress,
        Self::LateActRefused,
        Self::CompensatedFirst,
        Self::CompensationRefused,
        Self::TurnedBack,
        Self::ClearedUp,
        Self::PivotPassed,
        Self::GroupPivotAborted,
        Self::Stuck,
        Self::Resolved,
        Self::GivenUp,
        Self::CalledBack,
        Self::MessageHeldBack,
        Self::LocalCommitted,
        Self::LocalSealed,
        Self::ResumedForward,
        Self::ResumedBack,
        Self::ResumedPassed,
        Self::ResultFromJournal,
    ];
}

/// How often each mark was passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks([u64; Mark::ALL.len()]);

impl Default for Marks {
    fn default() -> Self {
        Self([0; Mark::ALL.len()])
    }
}

impl Marks {
    /// How often this one was.
    #[must_use]
    pub fn count(&self, mark: Mark) -> u64 {
        self.0.get(mark as usize).copied().unwrap_or_default()
    }

    /// Counts a mark so many times more.
    pub fn add(&mut self, mark: Mark, times: u64) {
        if let Some(count) = self.0.get_mut(mark as usize) {
            *count += times;
        }
    }

    /// Those that were never passed.
    #[must_use]
    pub fn missed(&self) -> Vec<Mark> {
        Mark::ALL
            .into_iter()
            .filter(|mark| self.count(*mark) == 0)
            .collect()
    }
}

/// What is noted.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Coverage.
    pub marks: Marks,
    /// The story, if it is being told.
    pub lines: Option<Vec<String>>,
}

impl Log {
    /// A log that keeps sentences too.
    #[must_use]
    pub fn telling() -> Self {
        Self { marks: Marks::default(), lines: Some(Vec::new()) }
    }

    pub(super) fn mark(&mut self, mark: Mark) {
        self.marks.add(mark, 1);
    }

    pub(super) fn say<T: fmt::Display>(&mut self, text: impl FnOnce() -> T) {
        if let Some(lines) = &mut self.lines {
            lines.push(text().to_string());
        }
    }
}
