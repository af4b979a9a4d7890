//! The engine finds exactly as many states of the textbook model as others do.

use accordant_sim::engine::{Limit, explore};
use accordant_sim::textbook::TwoPhase;

const LIMIT: Limit = Limit { states: 1_000_000 };

#[test]
fn three_resource_managers_have_288_states_and_five_have_8832() {
    for (managers, states) in [(3, 288), (5, 8_832)] {
        let report = explore(&mut TwoPhase { managers, waits_for_all: true }, LIMIT);
        assert_eq!(report.states, states, "{managers} resource managers");
        assert!(report.complete && report.counterexample.is_none());
    }
}

#[test]
fn a_manager_that_does_not_wait_for_all_is_caught_by_a_shortest_path() {
    let report = explore(&mut TwoPhase { managers: 3, waits_for_all: false }, LIMIT);
    let found = report.counterexample.unwrap();
    // Prepare, receive, commit, obey; and another aborts of its own accord.
    assert_eq!(found.actions.len(), 5, "{:?}", found.actions);
    assert!(!report.complete);
}

#[test]
fn a_limit_that_cuts_something_off_is_reported() {
    let report = explore(
        &mut TwoPhase { managers: 5, waits_for_all: true },
        Limit { states: 500 },
    );
    assert_eq!(report.states, 500);
    assert!(!report.complete);
}
