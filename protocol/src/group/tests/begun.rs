use super::fixture::{A, B, NOW, commit_alone, group, prepare};
use crate::group::{Input, Phase};
use crate::id::BranchIndex;

#[test]
fn every_branch_is_asked_once_begun_is_durable() {
    let mut group = group(3);
    let orders = group.step(NOW, Input::Durable).unwrap();
    assert_eq!(
        orders,
        [prepare(A, 1), prepare(B, 1), prepare(BranchIndex(2), 1)]
    );
    assert_eq!(group.phase(), Phase::Preparing);
}

#[test]
fn a_lone_branch_is_told_to_commit_by_itself() {
    let mut group = group(1);
    let orders = group.step(NOW, Input::Durable).unwrap();
    assert_eq!(orders, [commit_alone(A, 1)]);
    assert_eq!(group.phase(), Phase::Delegated);
}
