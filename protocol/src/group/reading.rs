//! What an answer means.

use crate::calls::judge;
use crate::effect::Answer;
use crate::id::BranchIndex;
use crate::record::VoteRecord;
use crate::wire::contract::{BranchEnd, Identity, Refusal, Vote};

use super::progress::{Progress, Stage};

/// What an answer means for the branch that was called.
pub(super) enum Reading {
    Unclear(Option<String>),
    Agreed(VoteRecord),
    Refused(Refusal),
    Committed(VoteRecord),
    Aborted,
}

pub(super) fn read(branch: &Progress, delegated: bool, answer: Answer) -> Reading {
    match (&branch.stage, answer) {
        (Stage::Asked, Answer::Vote { identity, vote }) => match branch.calls.judge(&identity) {
            Ok(()) => read_vote(branch.index, delegated, identity, vote),
            Err(error) => Reading::Unclear(Some(error)),
        },
        (Stage::Told(_), Answer::End { identity, end }) => {
            let voted = branch.vote.as_ref().map(|vote| &vote.identity);
            let judged = judge(voted, &identity).and_then(|()| branch.calls.judge(&identity));
            match judged {
                Ok(()) => read_end(branch.index, identity, end),
                Err(error) => Reading::Unclear(Some(error)),
            }
        }
        // A branch's attempts are not counted, so it is all one why there is no answer.
        (_, Answer::Unanswered { error } | Answer::Unsent { error }) => {
            Reading::Unclear(Some(error))
        }
        (_, Answer::Vote { .. } | Answer::End { .. } | Answer::Acted { .. }) => {
            Reading::Unclear(Some("the answer does not fit the call".to_owned()))
        }
    }
}

fn read_vote(branch: BranchIndex, delegated: bool, identity: Identity, vote: Vote) -> Reading {
    let record = |ended, result| VoteRecord { branch, ended, identity, result };
    match vote {
        Vote::Yes { .. } if delegated => Reading::Unclear(Some(
            "prepared, although it was to commit by itself".to_owned(),
        )),
        Vote::Yes { result } => Reading::Agreed(record(false, result)),
        Vote::ReadOnly { result } => Reading::Agreed(record(true, result)),
        // Outside a delegation someone else has committed it: phase two will find that out.
        Vote::Committed { result } => Reading::Agreed(record(delegated, result)),
        Vote::No { refusal } => Reading::Refused(refusal.bounded()),
        Vote::InProgress => Reading::Unclear(None),
        Vote::RetryLater { reason } => Reading::Unclear(Some(reason)),
    }
}

fn read_end(branch: BranchIndex, identity: Identity, end: BranchEnd) -> Reading {
    match end {
        BranchEnd::Committed { result } => {
            Reading::Committed(VoteRecord { branch, ended: true, identity, result })
        }
        BranchEnd::Aborted => Reading::Aborted,
        BranchEnd::InProgress => Reading::Unclear(None),
        BranchEnd::RetryLater { reason } => Reading::Unclear(Some(reason)),
    }
}
