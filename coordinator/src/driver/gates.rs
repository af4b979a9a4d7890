//! Effects that wait for a record to be durable.

use std::collections::BTreeMap;

use accordant_protocol::effect::{Effect, Token};

/// Holds effects back by the append they wait for. Bounded by the appends under way.
#[derive(Debug, Default)]
pub(super) struct Gates(BTreeMap<Token, Vec<Effect>>);

impl Gates {
    pub(super) fn hold(&mut self, token: Token, effect: Effect) {
        self.0.entry(token).or_default().push(effect);
    }

    /// Takes what waited for this append: to carry it out if the append is durable, to drop it in
    /// any other case.
    pub(super) fn take(&mut self, token: Token) -> Vec<Effect> {
        self.0.remove(&token).unwrap_or_default()
    }
}
