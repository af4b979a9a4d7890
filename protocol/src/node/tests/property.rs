//! Random events, faults included, against the model.

use proptest::prelude::*;

use super::fixture::{NOW, aborted_record, begun_record, committed_record};
use super::model::{Action, Flush, World};
use crate::record::{Closed, Record};
use crate::recovery::{CorruptHistory, History};
use crate::wire::api::{AbortReason, Wait};

fn wait() -> impl Strategy<Value = Wait> {
    prop::sample::select(vec![Wait::Accepted, Wait::Decided, Wait::Completed])
}

/// The ordinary course, with a client here and there that repeats itself.
fn ordinary() -> impl Strategy<Value = Action> {
    prop_oneof![
        1 => (0..8_usize).prop_map(|which| Action::CallBack { which }),
        1 => (0..8_usize).prop_map(|which| Action::End { which }),
        1 => (0..4_u8).prop_map(|how| Action::Resolve { how }),
        3 => (0..4_u8, 0..8_u8, 1..18_usize, wait()).prop_map(|(key, body, branches, wait)| {
            Action::Submit { key, body: body / 7, branches, wait }
        }),
        1 => (0..8_usize, prop::option::of(wait()))
            .prop_map(|(which, wait)| Action::Query { which, wait }),
        1 => (0..8_usize, 0..4_u8).prop_map(|(which, branch)| Action::Inquire { which, branch }),
        1 => Just(Action::LookUp),
        6 => (1..4_usize).prop_map(|entries| Action::Flush { entries, end: Flush::Durable }),
        12 => (0..8_usize, 0..9_u8, 0..8_u8)
            .prop_map(|(which, how, again)| Action::Answer { which, how, again: again == 0 }),
        2 => (0..300_u64).prop_map(|ms| Action::Pass { ms }),
    ]
}

fn fault() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Lose),
        Just(Action::Steal),
        Just(Action::Acquire),
        (1..3_usize).prop_map(|entries| Action::Flush { entries, end: Flush::UnknownWritten }),
        (1..3_usize).prop_map(|entries| Action::Flush { entries, end: Flush::UnknownLost }),
        (0..4_usize).prop_map(|written| Action::Crash { written }),
    ]
}

fn any() -> impl Strategy<Value = Action> {
    prop_oneof![
        20 => ordinary(),
        1 => fault(),
        1 => Just(Action::Acquire),
        2 => Just(Action::Read),
        2 => Just(Action::Load),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let closed = Record::Closed(Closed { at: NOW, heuristics: vec![], results: vec![] });
    prop::sample::select(vec![
        Record::Begun(begun_record(2)),
        committed_record(false, 2),
        aborted_record(AbortReason::Recovered),
        aborted_record(AbortReason::Presumed),
        closed,
    ])
}

/// Every history that a correct coordinator writes.
fn is_legal(records: &[Record]) -> bool {
    match records {
        [Record::Aborted(first)] if first.reason == AbortReason::Presumed => true,
        [Record::Begun(_), rest @ ..] => matches!(
            rest,
            [] | [Record::Committed(_) | Record::Aborted(_)]
                | [Record::Committed(_) | Record::Aborted(_), Record::Closed(_)]
        ),
        _ => false,
    }
}

/// At least so many; more with `PROPTEST_CASES`.
fn cases() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    config.cases = config.cases.max(400);
    config
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn without_faults_all_is_said_once_and_everything_ends(
        actions in prop::collection::vec(ordinary(), 0..120),
    ) {
        let mut world = World::new();
        world.act(Action::Read);
        world.act(Action::Load);
        actions.into_iter().for_each(|action| world.act(action));
        world.heal();
    }

    #[test]
    fn with_any_fault_nothing_untrue_is_said_and_everything_ends(
        actions in prop::collection::vec(any(), 0..160),
    ) {
        let mut world = World::new();
        actions.into_iter().for_each(|action| world.act(action));
        world.heal();
    }

    #[test]
    fn a_history_is_folded_exactly_if_it_is_legal(
        records in prop::collection::vec(record(), 0..5),
    ) {
        let folded = History::fold(records.clone());
        prop_assert_eq!(folded.is_ok(), is_legal(&records), "{:?}", records);
        if let Ok(history) = folded {
            prop_assert_eq!(history.len() as usize, records.len());
        }
    }
}

#[test]
fn a_history_without_a_beginning_is_told_from_one_with_a_record_out_of_place() {
    assert_eq!(History::fold([]), Err(CorruptHistory::NotBegun));
    let decided = || committed_record(false, 2);
    assert_eq!(History::fold([decided()]), Err(CorruptHistory::NotBegun));
    let twice = [Record::Begun(begun_record(2)), decided(), decided()];
    assert_eq!(History::fold(twice), Err(CorruptHistory::Misplaced));
}
