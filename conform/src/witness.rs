//! What every reply of a run must keep, whatever it says: the attempt and the identity.

use std::sync::{Mutex, MutexGuard, PoisonError};

use accordant_protocol::id::Attempt;
use accordant_protocol::json::Json;
use accordant_protocol::wire::contract::{Identity, Kinship};

/// A remark about a reply that broke a rule.
#[derive(Clone, Debug)]
pub(crate) struct Remark {
    pub expected: String,
    pub came: String,
}

#[derive(Debug, Default)]
struct Seen {
    replies: u64,
    highest: Option<Identity>,
    attempt: Option<Remark>,
    form: Option<Remark>,
    order: Option<Remark>,
}

/// Watches all replies of a run.
#[derive(Debug, Default)]
pub(crate) struct Witness(Mutex<Seen>);

impl Witness {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The highest identity so far: what a call that is sent now may not fall behind.
    pub(crate) fn highest(&self) -> Option<Identity> {
        self.seen().highest.clone()
    }

    /// A reply has come.
    pub(crate) fn identity(&self, before: Option<&Identity>, found: Option<&Json>) {
        let mut seen = self.seen();
        seen.replies += 1;
        let Some(found) = found else {
            seen.form.get_or_insert_with(|| Remark {
                expected: "a member `identity` in every reply".to_owned(),
                came: "a reply without one".to_owned(),
            });
            return;
        };
        let identity: Identity = match found.to() {
            Ok(identity) => identity,
            Err(error) => {
                seen.form.get_or_insert_with(|| Remark {
                    expected: "an identity of the form {system, timeline, starts}".to_owned(),
                    came: format!("{}: {error}", found.text()),
                });
                return;
            }
        };
        if let Some(before) = before {
            let wrong = match before.judge(&identity) {
                Kinship::Same => None,
                Kinship::Older => Some("an older state of the database"),
                Kinship::Foreign => Some("another database"),
            };
            if let Some(wrong) = wrong {
                seen.order.get_or_insert_with(|| Remark {
                    expected: format!("the identity of before or a later one: {before}"),
                    came: format!("{wrong}: {identity}"),
                });
                return;
            }
        }
        seen.highest = Some(identity);
    }

    /// A reply, or an answer in it, has come for an attempt.
    pub(crate) fn attempt(&self, sent: Attempt, found: Option<&Json>) {
        let right = found.and_then(|found| found.to::<u32>().ok()) == Some(sent.0);
        if !right {
            let came = found.map_or_else(|| "none".to_owned(), |found| found.text().to_owned());
            self.seen().attempt.get_or_insert_with(|| Remark {
                expected: format!("the attempt of the call: {sent}"),
                came,
            });
        }
    }

    /// How many replies have come.
    pub(crate) fn replies(&self) -> u64 {
        self.seen().replies
    }

    pub(crate) fn on_attempt(&self) -> Option<Remark> {
        self.seen().attempt.clone()
    }

    pub(crate) fn on_form(&self) -> Option<Remark> {
        self.seen().form.clone()
    }

    pub(crate) fn on_order(&self) -> Option<Remark> {
        self.seen().order.clone()
    }
}
