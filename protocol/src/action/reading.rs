//! What an answer to an action's call means.

use crate::calls::Calls;
use crate::effect::Answer;
use crate::json::Json;
use crate::wire::contract::{ActAnswer, Refusal};

/// What an answer means.
pub(crate) enum Reading {
    /// What it was told is done.
    Done(Option<Json>),
    /// It refuses.
    Refused(Refusal),
    /// It is under way: ask again after so many milliseconds.
    InProgress(Option<u64>),
    /// Nothing is known.
    Unclear(String),
    /// Nothing was sent.
    Unsent(String),
}

pub(crate) fn read(calls: &Calls, answer: Answer) -> Reading {
    match answer {
        Answer::Acted { identity, answer } => {
            let judged = identity.as_ref().map_or(Ok(()), |it| calls.judge(it));
            match judged {
                Ok(()) => read_answer(answer),
                Err(error) => Reading::Unclear(error),
            }
        }
        Answer::Unanswered { error } => Reading::Unclear(error),
        Answer::Unsent { error } => Reading::Unsent(error),
        Answer::Vote { .. } | Answer::End { .. } => {
            Reading::Unclear("the answer does not fit the call".to_owned())
        }
    }
}

fn read_answer(answer: ActAnswer) -> Reading {
    match answer {
        ActAnswer::Done { result } => Reading::Done(result),
        ActAnswer::Refused { refusal } => Reading::Refused(refusal.bounded()),
        ActAnswer::InProgress { retry_after_ms } => Reading::InProgress(retry_after_ms),
        ActAnswer::RetryLater { reason } => Reading::Unclear(reason),
    }
}
