//! Random walks hold every invariant, pass every mark, and repeat from their seed.

use accordant_sim::{case, simulate};

#[test]
fn walks_hold_every_invariant_and_pass_every_mark() {
    let cases = case::walks().unwrap();
    let tally = simulate::series(&cases, 1, 1_000);
    let tally = tally.unwrap_or_else(|failure| panic!("seed {}\n{}", failure.seed, failure.story));
    assert_eq!(tally.marks.missed(), []);
}

#[test]
fn a_seed_draws_the_same_walks_again() {
    let cases = case::walks().unwrap();
    let first = simulate::series(&cases, 7, 50).unwrap();
    let second = simulate::series(&cases, 7, 50).unwrap();
    assert_eq!((first.steps, first.marks), (second.steps, second.marks));
}
