//! The checks in the order in which they are carried out.

use super::{
    act, act_storm, call, one_phase, plain, reply, rubbish, tcc, two_phase, two_phase_odd,
};
use crate::check::Check;

const LISTS: [&[Check]; 10] = [
    act::CHECKS,
    act_storm::CHECKS,
    two_phase::CHECKS,
    one_phase::CHECKS,
    two_phase_odd::CHECKS,
    tcc::CHECKS,
    plain::CHECKS,
    call::CHECKS,
    rubbish::CHECKS,
    // These judge the replies to all others.
    reply::CHECKS,
];

/// Every check, in the order in which they are carried out.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    LISTS.iter().flat_map(|list| list.iter())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::checks;

    #[test]
    fn ids_are_unique_and_sentences_end() {
        let mut ids = BTreeSet::new();
        for check in checks() {
            assert!(ids.insert(check.id), "{} twice", check.id);
            assert!(check.requires.ends_with('.'), "{}", check.id);
        }
    }
}
