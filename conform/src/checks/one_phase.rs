//! Branches that are alone and commit at once.

use accordant_protocol::json::Json;
use accordant_protocol::plan::Mode::TwoPhase;
use accordant_protocol::wire::contract::FinishVerb::{Abort, Commit};
use accordant_protocol::wire::contract::Vote;

use crate::action::{same, shown};
use crate::branch::{Branch, result_of, words};
use crate::check::{Verdict, checks, ensure, fail, skip};
use crate::limits::FRESH_MAX;
use crate::session::Session;

checks! { TwoPhase:
    Must "one_phase.commit",
        "A one-phase call that can be done is voted *committed*.",
        commit;
    Must "one_phase.repeat",
        "A repeat of a one-phase call is voted *committed* with the first result.",
        repeat;
    Must "one_phase.finish",
        "An abort or a commit that comes after a one-phase commit is answered *committed*.",
        finish;
    Must "one_phase.after_abort",
        "A one-phase call that comes after the abort is voted *no*.",
        after_abort;
    Must "one_phase.no",
        "A one-phase call that business refuses is voted *no*, and a repeat is too.",
        no;
}

async fn committed<'s>(s: &'s Session<'s>) -> Verdict<(Branch<'s>, Option<Json>)> {
    let mut tries = 0;
    loop {
        tries += 1;
        let branch = Branch::fresh(s, TwoPhase)?;
        let vote = branch.commit_at_once().await?;
        match &vote {
            Vote::Committed { result } => return Ok((branch, result.clone())),
            Vote::No { refusal } if refusal.retryable && tries < FRESH_MAX => {}
            Vote::ReadOnly { .. } => {
                return skip("the vote was read_only: the payload must make the operation write");
            }
            Vote::Yes { .. } | Vote::No { .. } | Vote::InProgress | Vote::RetryLater { .. } | _ => {
                return fail("the vote is *committed*", words(&vote));
            }
        }
    }
}

async fn commit(s: &Session<'_>) -> Verdict {
    committed(s).await.map(drop)
}

async fn repeat(s: &Session<'_>) -> Verdict {
    let (branch, first) = committed(s).await?;
    for _ in 0..2 {
        let vote = branch.commit_at_once().await?;
        ensure(
            matches!(vote, Vote::Committed { .. }) && same(first.as_ref(), result_of(&vote)),
            &format!(
                "the vote is *committed* with the first {}",
                shown(first.as_ref())
            ),
            || words(&vote),
        )?;
    }
    Ok(())
}

async fn finish(s: &Session<'_>) -> Verdict {
    let (branch, _) = committed(s).await?;
    for verb in [Abort, Commit, Abort] {
        branch.committed(verb, "it has committed at once").await?;
    }
    Ok(())
}

async fn after_abort(s: &Session<'_>) -> Verdict {
    let branch = Branch::fresh(s, TwoPhase)?;
    branch.aborted(Abort, "it never came").await?;
    let vote = branch.commit_at_once().await?;
    let refused = matches!(vote, Vote::No { .. });
    let expected = "the vote is *no*: it was aborted before it came";
    ensure(refused, expected, || words(&vote))?;
    let why = "it was aborted before it came";
    branch.aborted(Commit, why).await
}

async fn no(s: &Session<'_>) -> Verdict {
    let branch = Branch::refusable(s, TwoPhase)?;
    for _ in 0..2 {
        let vote = branch.commit_at_once().await?;
        let refused = matches!(vote, Vote::No { .. });
        let expected = "the vote is *no*: the payload is one that is refused";
        ensure(refused, expected, || words(&vote))?;
    }
    branch.aborted(Abort, "it was refused").await
}
