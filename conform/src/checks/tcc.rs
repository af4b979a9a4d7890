//! Reservations: try, then confirm or cancel.

use accordant_protocol::plan::Mode::Tcc;
use accordant_protocol::wire::contract::FinishVerb::{Cancel, Confirm};
use accordant_protocol::wire::contract::{BranchEnd, PrepareCall, Vote};
use futures_util::future::{join, join_all};
use http::StatusCode;

use crate::action::{same, shown};
use crate::branch::{Branch, end_words, has_ended, is_yes, result_of, words};
use crate::check::{Verdict, checks, ensure, fail};
use crate::limits::STORM_ROUNDS;
use crate::session::{Heard, Session};

checks! { Tcc:
    Must "try.yes",
        "A try that can be done is voted *yes*, never *read_only*.",
        yes;
    Must "try.repeat",
        "A repeat of a try under another attempt is voted *yes* with the first result.",
        repeat;
    Must "try.concurrent",
        "Duplicates of a try at the same time never give two results.",
        concurrent;
    Must "try.no",
        "What business refuses is voted *no*, a repeat is too, and confirm is answered *aborted*.",
        no;
    Must "try.after_confirm",
        "A try that comes after the confirm is voted *committed*.",
        after_confirm;
    Must "try.after_cancel",
        "A try that comes again after the cancel is voted *no*.",
        after_cancel;
    Must "confirm.tried",
        "The confirm of a try is answered *committed*, and a repeat is too.",
        confirm;
    Must "confirm.result",
        "A confirm that asks for the result gets the one that the try brought.",
        confirm_result;
    Must "confirm.after_cancel",
        "A confirm that comes after the cancel is answered *aborted*.",
        confirm_after_cancel;
    Must "confirm.unknown",
        "The confirm of a try that never came is answered *aborted*: a reservation is not invented.",
        confirm_unknown;
    Must "cancel.tried",
        "The cancel of a try is answered *aborted*, and a repeat is too.",
        cancel;
    Must "cancel.after_confirm",
        "A cancel that comes after the confirm is answered *committed*.",
        cancel_after_confirm;
    Must "cancel.unknown",
        "The cancel of a try that never came is answered *aborted*, and a late try is voted *no*.",
        cancel_unknown;
    Must "tcc.opposed",
        "A confirm and a cancel that meet agree on one end.",
        opposed;
    Must "tcc.storm",
        "After tries and cancels in any order, and a last cancel, the try stays out.",
        storm;
    Must "tcc.branches",
        "Two reservations of one transaction are apart: what happens to one leaves the other alone.",
        branches;
    Should "try.one_phase",
        "A try that is ordered to commit at once is answered with a status other than 200.",
        one_phase;
    Should "confirm.without_work",
        "A confirm or a cancel that does not say what it is about is answered with another status than 200.",
        without_work;
    Must "tcc.effect",
        "A cancel leaves the state as it was before the try; a late try changes nothing.",
        effect;
}

async fn yes(s: &Session<'_>) -> Verdict {
    Branch::prepared(s, Tcc).await?;
    Ok(())
}

async fn repeat(s: &Session<'_>) -> Verdict {
    let (branch, first) = Branch::prepared(s, Tcc).await?;
    for _ in 0..3 {
        let again = is_yes(Tcc, branch.prepare().await?)?;
        ensure(
            same(first.as_ref(), again.as_ref()),
            &format!("*yes* with the first {}", shown(first.as_ref())),
            || shown(again.as_ref()),
        )?;
    }
    Ok(())
}

async fn concurrent(s: &Session<'_>) -> Verdict {
    for _ in 0..STORM_ROUNDS {
        let branch = Branch::fresh(s, Tcc)?;
        let calls: Vec<_> = (0..s.options.duplicates).map(|_| branch.call()).collect();
        let heard = join_all(calls.iter().map(|call| branch.send(call))).await;
        let last = branch.prepare().await?;
        for vote in heard {
            match vote? {
                Heard::Said(vote @ Vote::Yes { .. }) => ensure(
                    same(result_of(&vote), result_of(&last)),
                    &format!("one result, {}", shown(result_of(&last))),
                    || format!("{}: it was carried out twice", words(&vote)),
                )?,
                Heard::Said(Vote::InProgress | Vote::RetryLater { .. }) | Heard::Unknown(_) => {}
                Heard::Said(vote) => return fail("*yes*, or to be asked again", words(&vote)),
            }
        }
        is_yes(Tcc, last)?;
        branch.aborted(Cancel, "it was tried").await?;
    }
    Ok(())
}

async fn no(s: &Session<'_>) -> Verdict {
    let branch = Branch::refusable(s, Tcc)?;
    branch.no("the payload is one that is refused").await?;
    branch.no("it was refused before").await?;
    branch.aborted(Confirm, "it was refused").await?;
    branch.aborted(Cancel, "it was refused").await?;
    branch.no("it was refused before").await.map(drop)
}

async fn confirmed<'s>(s: &'s Session<'s>) -> Verdict<Branch<'s>> {
    let (branch, _) = Branch::prepared(s, Tcc).await?;
    branch.committed(Confirm, "it was tried").await?;
    Ok(branch)
}

async fn cancelled<'s>(s: &'s Session<'s>) -> Verdict<Branch<'s>> {
    let (branch, _) = Branch::prepared(s, Tcc).await?;
    branch.aborted(Cancel, "it was tried").await?;
    Ok(branch)
}

async fn after_confirm(s: &Session<'_>) -> Verdict {
    let branch = confirmed(s).await?;
    for _ in 0..2 {
        let vote = branch.prepare().await?;
        let committed = matches!(vote, Vote::Committed { .. });
        ensure(committed, "the vote is *committed*", || words(&vote))?;
    }
    Ok(())
}

async fn after_cancel(s: &Session<'_>) -> Verdict {
    let branch = cancelled(s).await?;
    branch.no("it was cancelled").await?;
    branch.no("it was cancelled").await.map(drop)
}

async fn confirm(s: &Session<'_>) -> Verdict {
    let branch = confirmed(s).await?;
    for _ in 0..3 {
        branch.committed(Confirm, "it was confirmed before").await?;
    }
    Ok(())
}

async fn confirm_result(s: &Session<'_>) -> Verdict {
    let (branch, first) = Branch::prepared(s, Tcc).await?;
    for _ in 0..2 {
        let told = branch.committed(Confirm, "it was tried").await?;
        ensure(
            same(first.as_ref(), told.as_ref()),
            &format!("*committed* with the {} of the try", shown(first.as_ref())),
            || shown(told.as_ref()),
        )?;
    }
    Ok(())
}

async fn confirm_after_cancel(s: &Session<'_>) -> Verdict {
    let branch = cancelled(s).await?;
    branch.aborted(Confirm, "it was cancelled before").await?;
    branch.aborted(Cancel, "it was cancelled before").await
}

async fn confirm_unknown(s: &Session<'_>) -> Verdict {
    let branch = Branch::fresh(s, Tcc)?;
    branch.aborted(Confirm, "it was never tried").await?;
    branch
        .no("it was answered *aborted* before it came")
        .await?;
    branch.aborted(Confirm, "it was never tried").await
}

async fn cancel(s: &Session<'_>) -> Verdict {
    let branch = cancelled(s).await?;
    for _ in 0..3 {
        branch.aborted(Cancel, "it was cancelled before").await?;
    }
    Ok(())
}

async fn cancel_after_confirm(s: &Session<'_>) -> Verdict {
    let branch = confirmed(s).await?;
    branch.committed(Cancel, "it was confirmed before").await?;
    branch
        .committed(Confirm, "it was confirmed before")
        .await
        .map(drop)
}

async fn cancel_unknown(s: &Session<'_>) -> Verdict {
    let branch = Branch::fresh(s, Tcc)?;
    branch.aborted(Cancel, "it never came").await?;
    branch.aborted(Cancel, "it never came").await?;
    for _ in 0..2 {
        branch.no("it was cancelled before it came").await?;
    }
    branch
        .aborted(Confirm, "it was cancelled before it came")
        .await
}

async fn opposed(s: &Session<'_>) -> Verdict {
    for round in 0..STORM_ROUNDS {
        let (branch, _) = Branch::prepared(s, Tcc).await?;
        let mut ends = if round % 2 == 0 {
            let mut orders = vec![branch.order(Confirm), branch.order(Cancel)];
            s.shuffle(&mut orders);
            s.finish(orders).await?
        } else {
            let (one, other) = join(branch.finish_once(Confirm), branch.finish_once(Cancel)).await;
            vec![one?, other?]
        };
        for verb in [Cancel, Confirm] {
            ends.push(Heard::Said(branch.finish(verb).await?));
        }
        let last = branch.finish(Cancel).await?;
        for end in ends {
            if let Heard::Said(end) = end
                && has_ended(&end)
            {
                let expected = format!("*{}* in every answer, as in the last", last.word());
                ensure(end.word() == last.word(), &expected, || end_words(&end))?;
            }
        }
    }
    Ok(())
}

async fn storm(s: &Session<'_>) -> Verdict {
    for _ in 0..STORM_ROUNDS {
        let branch = Branch::fresh(s, Tcc)?;
        let calls: Vec<_> = (0..s.options.duplicates).map(|_| branch.call()).collect();
        let tries = join_all(calls.iter().map(|call| branch.send(call)));
        let cancels = join_all((0..2).map(|_| branch.finish_once(Cancel)));
        let (votes, ends) = join(tries, cancels).await;
        for vote in votes {
            if let Heard::Said(vote @ (Vote::Committed { .. } | Vote::ReadOnly { .. })) = vote? {
                return fail("*yes*, *no*, or to be asked again", words(&vote));
            }
        }
        for end in ends {
            if let Heard::Said(end @ BranchEnd::Committed { .. }) = end? {
                return fail(
                    "anything but *committed*: nobody has confirmed",
                    end_words(&end),
                );
            }
        }
        branch.aborted(Cancel, "nobody has confirmed it").await?;
        branch.no("it was cancelled").await?;
        branch.aborted(Confirm, "it was cancelled").await?;
    }
    Ok(())
}

async fn branches(s: &Session<'_>) -> Verdict {
    let (one, _) = Branch::prepared(s, Tcc).await?;
    let other = one.sibling(1);
    other.aborted(Cancel, "branch 1 was never tried").await?;
    other.no("it was cancelled before it came").await?;
    is_yes(Tcc, one.prepare().await?)?;
    one.committed(Confirm, "branch 0 was tried").await?;
    other.aborted(Cancel, "branch 1 was never tried").await
}

async fn one_phase(s: &Session<'_>) -> Verdict {
    let branch = Branch::fresh(s, Tcc)?;
    let call = PrepareCall { one_phase: true, ..branch.call() };
    match branch.send(&call).await {
        Err(stop) => super::call::at_fault(stop).map(drop),
        Ok(Heard::Unknown(_)) => Ok(()),
        Ok(Heard::Said(vote)) => fail("a status other than 200", words(&vote)),
    }
}

async fn without_work(s: &Session<'_>) -> Verdict {
    for verb in [Confirm, Cancel] {
        let branch = Branch::fresh(s, Tcc)?;
        let mut order = branch.order(verb);
        order.work = None;
        match s.finish(vec![order]).await {
            Err(stop) => drop(super::call::at_fault(stop)?),
            Ok(_) => return fail("a status other than 200", StatusCode::OK.to_string()),
        }
    }
    Ok(())
}

async fn effect(s: &Session<'_>) -> Verdict {
    let before = s.state().await?;
    let branch = cancelled(s).await?;
    s.unchanged(&before, "a try that was cancelled").await?;
    branch.finish(Cancel).await?;
    branch.prepare().await?;
    s.unchanged(&before, "a try that comes after the cancel")
        .await?;
    let late = Branch::fresh(s, Tcc)?;
    late.aborted(Cancel, "it never came").await?;
    late.prepare().await?;
    s.unchanged(&before, "a try that its cancel kept out")
        .await?;
    let branch = confirmed(s).await?;
    let after = s.state().await?;
    branch.finish(Confirm).await?;
    branch.finish(Cancel).await?;
    branch.prepare().await?;
    s.unchanged(&after, "what comes after a confirm").await
}
