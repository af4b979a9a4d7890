use super::fixture::{
    A, B, NOW, abort, commit, commit_alone, end, in_phase, lost, prepare, say, vote,
};
use crate::group::{Group, Input, Phase};
use crate::id::BranchIndex;
use crate::limits::{BACKOFF_MS_MAX, BACKOFF_MS_MIN};
use crate::plan::Gate;
use crate::wire::contract::{BranchEnd, Vote};

/// The pause that the group makes before it repeats the call.
fn pause(group: &Group, branch: BranchIndex) -> u64 {
    let at = group.branches()[usize::from(branch.0)].calls.retry_at;
    at.unwrap().millis_since(NOW)
}

#[test]
fn a_call_without_an_answer_is_repeated_under_the_next_attempt() {
    for (phase, again) in [
        (Phase::Preparing, prepare(A, 2)),
        (Phase::Delegated, commit_alone(A, 2)),
        (Phase::Committing, commit(Gate::Open, A, 3)),
        (Phase::Aborting, abort(Gate::Open, A, 3)),
        (Phase::Recalling, abort(Gate::Open, A, 3)),
    ] {
        let mut group = in_phase(phase);
        assert_eq!(say(&mut group, A, lost()), [], "{phase:?}: not at once");
        assert_eq!(
            group.branches()[0].calls.last_error.as_deref(),
            Some("no reply")
        );
        let orders = group.step(NOW, Input::Retry { branch: A }).unwrap();
        assert_eq!(orders, [again], "{phase:?}");
        assert_eq!(group.phase(), phase);
    }
}

#[test]
fn an_answer_that_concludes_nothing_counts_as_none() {
    let later = || "busy".to_owned();
    for (phase, answer) in [
        (Phase::Preparing, vote(Vote::InProgress)),
        (Phase::Preparing, vote(Vote::RetryLater { reason: later() })),
        (Phase::Preparing, end(BranchEnd::Aborted)),
        (Phase::Delegated, vote(Vote::Yes { result: None })),
        (Phase::Committing, end(BranchEnd::InProgress)),
        (
            Phase::Aborting,
            end(BranchEnd::RetryLater { reason: later() }),
        ),
        (Phase::Committing, vote(Vote::Yes { result: None })),
    ] {
        let mut group = in_phase(phase);
        assert_eq!(
            say(&mut group, A, answer.clone()),
            [],
            "{phase:?}: {answer:?}"
        );
        assert_eq!(group.phase(), phase);
        assert!(
            group.branches()[0].calls.retry_at.is_some(),
            "{phase:?}: {answer:?}"
        );
    }
}

#[test]
fn pauses_double_up_to_their_cap_and_stay_in_their_upper_half() {
    let mut group = in_phase(Phase::Committing);
    let mut whole = BACKOFF_MS_MIN;
    for _ in 0..40 {
        say(&mut group, A, lost());
        let pause = pause(&group, A);
        assert!((whole / 2..=whole).contains(&pause), "{pause} of {whole}");
        whole = (whole * 2).min(BACKOFF_MS_MAX);
        group.step(NOW, Input::Retry { branch: A }).unwrap();
    }
    assert_eq!(whole, BACKOFF_MS_MAX);
}

#[test]
fn pauses_begin_anew_with_another_verb() {
    let mut group = in_phase(Phase::Preparing);
    for _ in 0..10 {
        say(&mut group, A, lost());
        group.step(NOW, Input::Retry { branch: A }).unwrap();
    }
    group.step(NOW, Input::Deadline).unwrap();
    say(&mut group, A, lost());
    assert!(pause(&group, A) <= BACKOFF_MS_MIN);
}

#[test]
fn branches_that_fail_together_do_not_come_back_in_step() {
    let mut group = in_phase(Phase::Preparing);
    for _ in 0..6 {
        for branch in [A, B] {
            group.step(NOW, Input::Retry { branch }).unwrap();
            say(&mut group, branch, lost());
        }
    }
    assert_ne!(pause(&group, A), pause(&group, B));
}

#[test]
fn a_repeat_while_a_call_is_out_or_none_is_planned_does_nothing() {
    for phase in [
        Phase::Preparing,
        Phase::Committing,
        Phase::Closed,
        Phase::Beginning,
    ] {
        let mut group = in_phase(phase);
        let before = group.clone();
        assert_eq!(group.step(NOW, Input::Retry { branch: A }), Ok(Vec::new()));
        assert_eq!(group, before, "{phase:?}");
    }
}
