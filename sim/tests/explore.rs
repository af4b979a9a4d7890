//! Every state of the standard cases: no invariant breaks, and the number of states has a floor,
//! so that a search which was cut down by mistake does not pass for a proof.

use accordant_sim::case;
use accordant_sim::engine::Limit;
use accordant_sim::explorer::Exploration;
use accordant_sim::story::Story;

/// Explores the case of this name to its last state.
fn holds_everywhere(name: &str, floor: usize) {
    let cases = case::standard().unwrap_or_else(|refused| panic!("{refused}"));
    let case = cases.into_iter().find(|it| it.name == name);
    let case = case.unwrap_or_else(|| panic!("there is no case {name}"));
    let report = Exploration::new(&case.config).run(Limit { states: 3_000_000 });
    let (states, transitions, depth) = (report.states, report.transitions, report.depth);
    println!("{name}: {states} states, {transitions} transitions, depth {depth}");
    if let Some(found) = &report.counterexample {
        panic!("{}\n{}", case.about, Story::of(&case.config, found));
    }
    assert!(report.complete, "{name} was not searched to its end");
    assert!(
        states >= floor,
        "{name} has {states} states, and had {floor} at least"
    );
}

#[test]
fn one_fault_of_any_kind_breaks_nothing() {
    holds_everywhere("two-any", 250_000);
}

#[test]
fn two_crashes_of_the_owners_break_nothing() {
    holds_everywhere("two-crashes", 15_000);
}

#[test]
fn flushes_without_a_result_break_nothing() {
    holds_everywhere("two-flushes", 20_000);
}

#[test]
fn lost_repeated_and_late_messages_break_nothing() {
    holds_everywhere("two-messages", 70_000);
}

#[test]
fn participants_that_ask_are_told_the_truth() {
    holds_everywhere("two-asking", 130_000);
}

#[test]
fn a_branch_that_a_late_call_revives_takes_no_effect() {
    holds_everywhere("two-revived", 6_500);
}

#[test]
fn a_request_that_comes_twice_is_done_once() {
    holds_everywhere("two-twice", 220_000);
}

#[test]
fn a_request_that_comes_while_the_partition_is_read_breaks_nothing() {
    holds_everywhere("two-loading", 9_000);
}

#[test]
fn a_lone_branch_decides_by_itself_under_any_two_faults() {
    holds_everywhere("lone-two", 140_000);
}

#[test]
fn a_lone_branch_that_asks_is_told_the_truth() {
    holds_everywhere("lone-asking", 95_000);
}

#[test]
fn three_branches_end_alike() {
    holds_everywhere("three-any", 19_000);
}

#[test]
fn a_saga_by_the_contract_is_done_or_made_good_as_a_whole() {
    holds_everywhere("saga-contract", 110_000);
}

#[test]
fn a_saga_at_plain_services_is_done_or_made_good_as_a_whole() {
    holds_everywhere("saga-plain", 110_000);
}

#[test]
fn steps_of_both_kinds_side_by_side_are_done_or_made_good_together() {
    holds_everywhere("saga-arms", 30_000);
}

#[test]
fn call_backs_and_operators_break_nothing() {
    holds_everywhere("saga-told", 24_000);
    holds_everywhere("saga-stuck", 1_400);
}

#[test]
fn a_pivot_that_may_have_acted_is_never_turned_back_from() {
    holds_everywhere("saga-pivot", 115_000);
}

#[test]
fn a_group_as_the_pivot_ends_as_the_saga_does() {
    holds_everywhere("saga-group", 20_000);
    holds_everywhere("saga-group-crash", 43_000);
    holds_everywhere("saga-tcc", 16_000);
}

#[test]
fn a_message_that_was_begun_is_delivered_once() {
    holds_everywhere("message", 27_000);
}

#[test]
fn a_message_goes_out_exactly_if_its_senders_transaction_committed() {
    holds_everywhere("local", 2_800);
}
