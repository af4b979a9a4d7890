//! Pauses between the attempts of one operation: doubling, jittered, and within the patience.

use std::time::Duration;

use crate::clock::Span;
use crate::id;
use crate::limits::{BACKOFF_MAX, BACKOFF_MIN};

/// The attempts of one operation.
#[derive(Debug)]
pub(crate) struct Attempts {
    patience: Span,
    pause: Duration,
}

impl Attempts {
    /// The first attempt begins now; no other begins after the patience.
    pub(crate) fn begin(patience: Duration) -> Self {
        Self { patience: Span::begin(patience), pause: BACKOFF_MIN }
    }

    /// How long to pause before the next attempt; none if the patience ends before that. Never less
    /// than the coordinator asked for.
    pub(crate) fn next_pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let half = self.pause / 2;
        let pause = half + half.mul_f64(f64::from(id::jitter()) / 255.0);
        self.pause = (self.pause * 2).min(BACKOFF_MAX);
        let pause = asked.map_or(pause, |asked| asked.max(pause));
        (pause < self.patience.left()).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pauses_double_up_to_the_longest_and_are_jittered_by_half() {
        let mut attempts = Attempts::begin(Duration::from_secs(3600));
        let mut full = BACKOFF_MIN;
        for _ in 0..12 {
            let pause = attempts.next_pause(None).unwrap();
            assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
            full = (full * 2).min(BACKOFF_MAX);
        }
        assert_eq!(full, BACKOFF_MAX);
    }

    #[tokio::test]
    async fn what_the_coordinator_asks_for_is_kept_or_the_attempts_end() {
        let asked = Some(Duration::from_secs(5));
        let mut attempts = Attempts::begin(Duration::from_secs(10));
        assert_eq!(attempts.next_pause(asked), asked);
        let mut attempts = Attempts::begin(Duration::from_secs(4));
        assert_eq!(attempts.next_pause(asked), None);
    }

    #[tokio::test]
    async fn without_patience_there_is_one_attempt() {
        assert_eq!(Attempts::begin(Duration::ZERO).next_pause(None), None);
    }
}
