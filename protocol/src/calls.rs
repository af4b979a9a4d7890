//! The calls to one branch or action: which attempt is the latest, and when the next one is due.

use std::sync::Arc;

use crate::id::{Attempt, BranchIndex};
use crate::time::Timestamp;
use crate::wire::contract::{Identity, Kinship};

/// The calls to one branch or action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Calls {
    /// The latest attempt of any call. Answers to earlier ones are not listened to.
    pub attempt: Attempt,
    /// The attempts of the present verb: the pause between them grows with it.
    pub tries: u32,
    /// How often it could not be sent since it was last: the pause before it is grows with it.
    pub unsent: u32,
    /// A call is out and its answer has not come.
    pub in_flight: bool,
    /// When the call is repeated.
    pub retry_at: Option<Timestamp>,
    /// The participant's database as far as it was known when the call went out.
    pub floor: Option<Arc<Identity>>,
    /// What the last call came to, if it was no answer that ends it.
    pub last_error: Option<String>,
}

/// How long to wait before a repeat: capped exponential backoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    /// The first pause; it doubles with each attempt.
    pub(crate) ms: u64,
    /// The longest pause.
    pub(crate) ms_max: u64,
}

impl Calls {
    /// Starts on another verb: the pauses begin anew.
    pub(crate) fn begin(&mut self) {
        self.tries = 0;
        self.unsent = 0;
        self.last_error = None;
        self.retry_at = None;
    }

    /// Counts a call that goes out now.
    pub(crate) fn call(&mut self) -> Attempt {
        self.attempt = self.attempt.next();
        self.tries = self.tries.saturating_add(1);
        self.in_flight = true;
        self.retry_at = None;
        self.attempt
    }

    /// Nothing is sent any more, and nothing listened to.
    pub(crate) fn end(&mut self) {
        self.in_flight = false;
        self.retry_at = None;
        self.last_error = None;
    }

    /// Whether an answer to this attempt is listened to: the latest only, and only once.
    pub(crate) fn listens_to(&self, attempt: Attempt) -> bool {
        self.attempt == attempt && self.in_flight
    }

    /// Plans a repeat. The upper half of each pause is spread by a hash, so that many branches do
    /// not come back in step.
    pub(crate) fn retry_later(
        &mut self,
        now: Timestamp,
        pause: Pause,
        seed: u64,
        index: BranchIndex,
        error: Option<String>,
    ) {
        self.unsent = 0;
        self.pause(now, pause, self.tries, seed, index, error);
    }

    /// Plans to send what could not be sent: that was no attempt, and uses none up.
    pub(crate) fn send_later(
        &mut self,
        now: Timestamp,
        pause: Pause,
        seed: u64,
        index: BranchIndex,
        error: Option<String>,
    ) {
        self.tries = self.tries.saturating_sub(1);
        self.unsent = self.unsent.saturating_add(1);
        self.pause(now, pause, self.unsent, seed, index, error);
    }

    fn pause(
        &mut self,
        now: Timestamp,
        pause: Pause,
        times: u32,
        seed: u64,
        index: BranchIndex,
        error: Option<String>,
    ) {
        let doublings = times.saturating_sub(1).min(16);
        let ms = pause.ms.saturating_mul(1 << doublings).min(pause.ms_max);
        let draw = scramble(seed ^ u64::from(index.0) << 32 ^ u64::from(self.attempt.0));
        let ms = ms / 2 + draw % (ms / 2 + 1);
        self.in_flight = false;
        self.retry_at = Some(now.plus_millis(ms));
        self.last_error = error;
    }

    /// A database that was restored or swapped may honestly say what is not so at the one that was
    /// asked.
    ///
    /// # Errors
    /// What is wrong with the database that answered.
    pub(crate) fn judge(&self, answered: &Identity) -> Result<(), String> {
        judge(self.floor.as_deref(), answered)
    }
}

/// Judges the database that answered against one that is known.
pub(crate) fn judge(known: Option<&Identity>, answered: &Identity) -> Result<(), String> {
    match known.map_or(Kinship::Same, |known| known.judge(answered)) {
        Kinship::Same => Ok(()),
        Kinship::Older => Err(format!("answers from an older database: {answered}")),
        Kinship::Foreign => Err(format!("answers from another database: {answered}")),
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, *Fast Splittable Pseudorandom Number
/// Generators*, 2014): spreads a seed, and is no source of randomness.
const fn scramble(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
