//! Branches that are prepared, one call at a time.

use accordant_protocol::plan::Mode::TwoPhase;
use accordant_protocol::wire::contract::FinishVerb::{Abort, Commit};
use accordant_protocol::wire::contract::Vote;

use crate::action::{same, shown};
use crate::branch::{Branch, is_yes, result_of, words};
use crate::check::{Verdict, checks, ensure};
use crate::session::Session;

checks! { TwoPhase:
    Must "prepare.yes",
        "A branch that can be done is voted *yes*.",
        yes;
    Must "prepare.repeat",
        "A repeat of prepare under another attempt is voted *yes* again.",
        repeat;
    Must "prepare.after_commit",
        "A prepare that comes after the commit is voted *committed*.",
        prepare_after_commit;
    Must "prepare.after_abort",
        "A prepare that comes again after the abort is voted *no*.",
        prepare_after_abort;
    Must "prepare.no",
        "What business refuses is voted *no*, a repeat is too, and commit is answered *aborted*.",
        no;
    Must "commit.prepared",
        "The commit of a prepared branch is answered *committed*.",
        commit;
    Must "commit.repeat",
        "A repeated commit is answered *committed*.",
        commit_repeat;
    Must "commit.result",
        "A commit that asks for the result gets the one that the first vote brought.",
        commit_result;
    Must "commit.after_abort",
        "A commit that comes after the abort is answered *aborted*.",
        commit_after_abort;
    Must "commit.unknown",
        "The commit of a branch that never came is answered *aborted*, and keeps it out.",
        commit_unknown;
    Must "abort.prepared",
        "The abort of a prepared branch is answered *aborted*, and a repeat is too.",
        abort;
    Must "abort.after_commit",
        "An abort that comes after the commit is answered *committed*.",
        abort_after_commit;
    Must "abort.unknown",
        "The abort of a branch that never came is answered *aborted*, and a late prepare is voted *no*.",
        abort_unknown;
    Must "two_phase.branches",
        "Two branches of one transaction are apart: what happens to one leaves the other alone.",
        branches;
    Must "two_phase.effect",
        "A commit changes the state once, an abort and what comes late do not.",
        effect;
}

async fn yes(s: &Session<'_>) -> Verdict {
    Branch::prepared(s, TwoPhase).await?;
    Ok(())
}

async fn repeat(s: &Session<'_>) -> Verdict {
    let (branch, first) = Branch::prepared(s, TwoPhase).await?;
    for _ in 0..2 {
        let again = is_yes(TwoPhase, branch.prepare().await?)?;
        // The result may be where nobody can read it before the commit.
        ensure(
            again.is_none() || same(first.as_ref(), again.as_ref()),
            &format!("*yes* with {} or with none", shown(first.as_ref())),
            || shown(again.as_ref()),
        )?;
    }
    Ok(())
}

async fn committed<'s>(s: &'s Session<'s>) -> Verdict<Branch<'s>> {
    let (branch, _) = Branch::prepared(s, TwoPhase).await?;
    branch.committed(Commit, "it was prepared").await?;
    Ok(branch)
}

async fn aborted<'s>(s: &'s Session<'s>) -> Verdict<Branch<'s>> {
    let (branch, _) = Branch::prepared(s, TwoPhase).await?;
    branch.aborted(Abort, "it was prepared").await?;
    Ok(branch)
}

async fn prepare_after_commit(s: &Session<'_>) -> Verdict {
    let (branch, first) = Branch::prepared(s, TwoPhase).await?;
    branch.committed(Commit, "it was prepared").await?;
    let vote = branch.prepare().await?;
    ensure(
        matches!(vote, Vote::Committed { .. }) && same(first.as_ref(), result_of(&vote)),
        &format!(
            "the vote is *committed* with the first {}",
            shown(first.as_ref())
        ),
        || words(&vote),
    )
}

async fn prepare_after_abort(s: &Session<'_>) -> Verdict {
    let branch = aborted(s).await?;
    for _ in 0..2 {
        branch.no("it was aborted").await?;
    }
    Ok(())
}

async fn no(s: &Session<'_>) -> Verdict {
    let branch = Branch::refusable(s, TwoPhase)?;
    branch.no("the payload is one that is refused").await?;
    branch.no("it was refused before").await?;
    branch.aborted(Commit, "it was refused").await?;
    branch.aborted(Abort, "it was refused").await?;
    branch.no("it was refused before").await.map(drop)
}

async fn commit(s: &Session<'_>) -> Verdict {
    committed(s).await.map(drop)
}

async fn commit_repeat(s: &Session<'_>) -> Verdict {
    let branch = committed(s).await?;
    for _ in 0..3 {
        branch.committed(Commit, "it has committed before").await?;
    }
    Ok(())
}

async fn commit_result(s: &Session<'_>) -> Verdict {
    let (branch, first) = Branch::prepared(s, TwoPhase).await?;
    for _ in 0..2 {
        let told = branch.committed(Commit, "it was prepared").await?;
        ensure(
            same(first.as_ref(), told.as_ref()),
            &format!("*committed* with the {} of the vote", shown(first.as_ref())),
            || shown(told.as_ref()),
        )?;
    }
    Ok(())
}

async fn commit_after_abort(s: &Session<'_>) -> Verdict {
    let branch = aborted(s).await?;
    for _ in 0..2 {
        branch.aborted(Commit, "it was aborted before").await?;
    }
    Ok(())
}

async fn commit_unknown(s: &Session<'_>) -> Verdict {
    let branch = Branch::fresh(s, TwoPhase)?;
    branch.aborted(Commit, "it was never prepared").await?;
    branch
        .no("it was answered *aborted* before it came")
        .await?;
    branch.aborted(Commit, "it was never prepared").await
}

async fn abort(s: &Session<'_>) -> Verdict {
    let branch = aborted(s).await?;
    for _ in 0..3 {
        branch.aborted(Abort, "it was aborted before").await?;
    }
    Ok(())
}

async fn abort_after_commit(s: &Session<'_>) -> Verdict {
    let branch = committed(s).await?;
    branch.committed(Abort, "it has committed before").await?;
    branch
        .committed(Commit, "it has committed before")
        .await
        .map(drop)
}

async fn abort_unknown(s: &Session<'_>) -> Verdict {
    let branch = Branch::fresh(s, TwoPhase)?;
    branch.aborted(Abort, "it never came").await?;
    branch.aborted(Abort, "it never came").await?;
    for _ in 0..2 {
        branch.no("it was aborted before it came").await?;
    }
    branch
        .aborted(Commit, "it was aborted before it came")
        .await
}

async fn branches(s: &Session<'_>) -> Verdict {
    let (one, _) = Branch::prepared(s, TwoPhase).await?;
    let other = one.sibling(1);
    other.aborted(Abort, "it never came").await?;
    other.no("it was aborted before it came").await?;
    let vote = one.prepare().await?;
    let yes = matches!(vote, Vote::Yes { .. });
    ensure(yes, "branch 0 is still prepared, and voted *yes*", || {
        words(&vote)
    })?;
    one.committed(Commit, "branch 0 was prepared").await?;
    other.aborted(Abort, "branch 1 never came").await
}

async fn effect(s: &Session<'_>) -> Verdict {
    let before = s.state().await?;
    let branch = aborted(s).await?;
    s.unchanged(&before, "a branch that was aborted").await?;
    branch.prepare().await?;
    s.unchanged(&before, "a prepare that comes after the abort")
        .await?;
    let (branch, _) = Branch::prepared(s, TwoPhase).await?;
    s.unchanged(&before, "a branch that is only prepared")
        .await?;
    branch.committed(Commit, "it was prepared").await?;
    let after = s.state().await?;
    ensure(after != before, "a commit changes the state", || {
        format!("it stays as it was: {after}")
    })?;
    branch.prepare().await?;
    s.unchanged(&after, "a prepare that comes after the commit")
        .await?;
    branch.committed(Commit, "it has committed before").await?;
    s.unchanged(&after, "a repeated commit").await?;
    branch.committed(Abort, "it has committed before").await?;
    s.unchanged(&after, "an abort that comes after the commit")
        .await
}
