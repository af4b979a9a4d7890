//! Branches that are prepared, in odd company: duplicates at once, many orders, dead deadlines.

use accordant_protocol::limits::FINISH_ORDERS_MAX;
use accordant_protocol::plan::Mode::TwoPhase;
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::contract::FinishVerb::{Abort, Commit};
use accordant_protocol::wire::contract::{BranchEnd, Vote};
use futures_util::future::{join, join_all};

use crate::branch::{Branch, end_words, has_ended, operation, words};
use crate::check::{Stop, Verdict, checks, ensure, fail};
use crate::limits::STORM_ROUNDS;
use crate::session::{Heard, Session};

checks! { TwoPhase:
    Must "prepare.concurrent",
        "Duplicates of a prepare at the same time end in one *yes*, and never in a *no*.",
        concurrent;
    Must "prepare.deadline",
        "A prepare whose deadline has passed is not begun; a *no* to it stays one.",
        deadline;
    Must "prepare.unknown_operation",
        "An operation that is not known is never voted *yes*.",
        unknown_operation;
    Must "finish.many",
        "Orders of one call are independent: each is answered by how its own branch stands.",
        many;
    Must "finish.duplicate_orders",
        "The same order many times in one call gets no answer that contradicts another.",
        duplicate_orders;
    Must "finish.opposed",
        "A commit and an abort that meet agree on one end.",
        opposed;
    Should "finish.too_many",
        "A call with more than 32 orders is answered with a status other than 200.",
        too_many;
    Must "two_phase.storm",
        "After prepares and aborts in any order, and a last abort, the branch stays out.",
        storm;
}

async fn concurrent(s: &Session<'_>) -> Verdict {
    for _ in 0..STORM_ROUNDS {
        let branch = Branch::fresh(s, TwoPhase)?;
        let calls: Vec<_> = (0..s.options.duplicates).map(|_| branch.call()).collect();
        let mut refused = None;
        for heard in join_all(calls.iter().map(|call| branch.send(call))).await {
            match heard? {
                Heard::Said(Vote::No { refusal }) => refused = Some(refusal),
                Heard::Said(Vote::Yes { .. } | Vote::InProgress | Vote::RetryLater { .. }) => {}
                Heard::Said(Vote::ReadOnly { .. }) => {
                    return crate::check::skip("the vote was read_only");
                }
                Heard::Said(vote) => return fail("*yes* or to be asked again", words(&vote)),
                Heard::Unknown(_) => {}
            }
        }
        match (branch.prepare().await?, refused) {
            (Vote::Yes { .. }, None) => {}
            (Vote::No { refusal }, _) if refusal.retryable => {}
            (Vote::Yes { .. }, Some(refusal)) => {
                return fail(
                    "no *no* of a branch that is prepared: a *no* is for ever",
                    format!("no, {}, and then yes", refusal.code),
                );
            }
            (vote, _) => return fail("the vote is *yes*", words(&vote)),
        }
        branch.aborted(Abort, "it was prepared").await?;
    }
    Ok(())
}

async fn deadline(s: &Session<'_>) -> Verdict {
    for past in [Timestamp::ZERO, Timestamp::from_millis(1)] {
        let branch = Branch::fresh(s, TwoPhase)?;
        let mut call = branch.call();
        call.deadline = past;
        let no = match branch.send(&call).await? {
            Heard::Said(Vote::No { .. }) => true,
            Heard::Said(Vote::InProgress | Vote::RetryLater { .. }) | Heard::Unknown(_) => false,
            Heard::Said(vote) => {
                return fail("*no*: after the deadline a yes is of no use", words(&vote));
            }
        };
        if no {
            branch.no("it was answered so before").await?;
        }
        branch.aborted(Abort, "it was not begun").await?;
    }
    Ok(())
}

async fn unknown_operation(s: &Session<'_>) -> Verdict {
    let payload = operation(s, TwoPhase)?.payload.clone();
    let name = super::call::nobody()?;
    let branch = Branch::new(s, s.gtid()?, 0, TwoPhase, name, payload);
    let heard = branch.send(&branch.call()).await;
    let heard = heard.or_else(|stop: Stop| super::call::at_fault(stop).map(Heard::Unknown))?;
    match heard {
        Heard::Said(vote @ (Vote::Yes { .. } | Vote::Committed { .. })) => {
            fail("*no*, or to be asked again", words(&vote))
        }
        Heard::Said(_) | Heard::Unknown(_) => branch.aborted(Abort, "nothing of it is there").await,
    }
}

async fn many(s: &Session<'_>) -> Verdict {
    for (verb, other) in [(Commit, Abort), (Abort, Commit)] {
        let (prepared, _) = Branch::prepared(s, TwoPhase).await?;
        let prepared_gtid = prepared.unit.gtid;
        let mut expected = vec![(prepared, verb)];
        for at in 2..FINISH_ORDERS_MAX {
            let verb = if at % 3 == 0 { Commit } else { Abort };
            expected.push((Branch::fresh(s, TwoPhase)?, verb));
        }
        s.shuffle(&mut expected);
        // Whoever takes the first order's verb for that of all gives himself away.
        expected.insert(0, (Branch::fresh(s, TwoPhase)?, other));
        let orders = expected.iter().map(|(branch, verb)| branch.order(*verb));
        let ends = s.finish(orders.collect()).await?;
        for ((branch, own), end) in expected.iter().zip(ends) {
            let commits = branch.unit.gtid == prepared_gtid && verb == Commit;
            let end = match end {
                Heard::Said(end) if has_ended(&end) => end,
                Heard::Said(_) | Heard::Unknown(_) => branch.finish(*own).await?,
            };
            let right = match commits {
                true => matches!(end, BranchEnd::Committed { .. }),
                false => matches!(end, BranchEnd::Aborted),
            };
            let asked = match commits {
                true => "*committed* of the branch that was prepared and is told to commit",
                false => "*aborted* of a branch that never came or is told to abort",
            };
            ensure(right, asked, || end_words(&end))?;
        }
    }
    Ok(())
}

async fn duplicate_orders(s: &Session<'_>) -> Verdict {
    for verb in [Commit, Abort] {
        let (branch, _) = Branch::prepared(s, TwoPhase).await?;
        let orders = (0..s.options.duplicates.min(FINISH_ORDERS_MAX)).map(|_| branch.order(verb));
        let ends = s.finish(orders.collect()).await?;
        let last = branch.finish(verb).await?;
        agree(&ends, &last)?;
        let right = matches!(&last, BranchEnd::Committed { .. }) == (verb == Commit);
        ensure(
            right,
            &format!("the end that {} asks for", verb.word()),
            || end_words(&last),
        )?;
    }
    Ok(())
}

/// None of the answers contradicts what is so in the end.
fn agree(ends: &[Heard<BranchEnd>], last: &BranchEnd) -> Verdict {
    for end in ends {
        if let Heard::Said(end) = end
            && has_ended(end)
        {
            ensure(
                end.word() == last.word(),
                &format!("*{}* in every answer, as in the last", last.word()),
                || end_words(end),
            )?;
        }
    }
    Ok(())
}

async fn opposed(s: &Session<'_>) -> Verdict {
    for round in 0..STORM_ROUNDS {
        let (branch, _) = Branch::prepared(s, TwoPhase).await?;
        let mut ends = if round % 2 == 0 {
            let mut orders = vec![branch.order(Commit), branch.order(Abort)];
            s.shuffle(&mut orders);
            s.finish(orders).await?
        } else {
            let (one, other) = join(branch.finish_once(Commit), branch.finish_once(Abort)).await;
            vec![one?, other?]
        };
        for verb in [Abort, Commit] {
            ends.push(Heard::Said(branch.finish(verb).await?));
        }
        let last = branch.finish(Abort).await?;
        agree(&ends, &last)?;
    }
    Ok(())
}

async fn too_many(s: &Session<'_>) -> Verdict {
    let branch = Branch::fresh(s, TwoPhase)?;
    let orders = (0..=FINISH_ORDERS_MAX)
        .map(|_| branch.order(Abort))
        .collect();
    match s.finish(orders).await {
        Err(stop) => super::call::at_fault(stop).map(drop),
        Ok(_) => fail("a status other than 200", "HTTP 200"),
    }
}

async fn storm(s: &Session<'_>) -> Verdict {
    for _ in 0..STORM_ROUNDS {
        let branch = Branch::fresh(s, TwoPhase)?;
        let calls: Vec<_> = (0..s.options.duplicates).map(|_| branch.call()).collect();
        let prepares = join_all(calls.iter().map(|call| branch.send(call)));
        let aborts = join_all((0..2).map(|_| branch.finish_once(Abort)));
        let (votes, ends) = join(prepares, aborts).await;
        for vote in votes {
            if let Heard::Said(vote @ (Vote::Committed { .. } | Vote::ReadOnly { .. })) = vote? {
                return fail("anything but a vote of what has ended well", words(&vote));
            }
        }
        for end in ends {
            if let Heard::Said(end @ BranchEnd::Committed { .. }) = end? {
                return fail(
                    "anything but *committed*: nobody asked for it",
                    end_words(&end),
                );
            }
        }
        branch.aborted(Abort, "nobody asked for a commit").await?;
        branch.no("it was aborted").await?;
        branch.aborted(Commit, "it was aborted").await?;
    }
    Ok(())
}
