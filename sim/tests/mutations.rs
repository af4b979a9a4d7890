//! Each rule that is taken away is noticed, by the invariant that says so, within a story that a
//! person can read.

use accordant_sim::mutation;

#[test]
fn every_rule_that_is_taken_away_breaks_its_invariant() {
    for mutation in mutation::all().unwrap() {
        let caught = mutation.hunt();
        let caught = caught.unwrap_or_else(|| panic!("nobody notices: {}", mutation.name));
        assert_eq!(caught.invariant, mutation.breaks, "{}", mutation.name);
        let steps = caught.story.len();
        println!(
            "{}: {:?} after {steps} steps",
            mutation.name, caught.invariant
        );
        assert!(
            (1..=40).contains(&steps),
            "{}: {steps} steps",
            mutation.name
        );
    }
}

#[test]
fn without_any_rule_taken_away_the_same_runs_break_nothing() {
    for mutation in mutation::all().unwrap() {
        let whole = mutation::Mutation { removed: &[], ..mutation.clone() };
        if let Some(caught) = whole.hunt() {
            panic!(
                "{} is noticed with all rules in place:\n{}",
                mutation.name, caught.story
            );
        }
    }
}

#[test]
fn a_story_says_who_did_what() {
    let all = mutation::all().unwrap();
    let mutation = all
        .iter()
        .find(|it| it.name == "send before durable, then a crash")
        .unwrap();
    let story = mutation.hunt().unwrap().story.to_string();
    for part in [
        "  1. the client submits its request to coordinator A",
        "asks the journal for Committed of T1",
        "dies",
        "=> I1 (Agreement)",
    ] {
        assert!(story.contains(part), "{part:?} is missing in\n{story}");
    }
}
