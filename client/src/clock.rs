//! The only place that reads the clock. tokio's, so that a paused runtime pauses it.

use std::time::Duration;

use tokio::time::Instant;

/// A span of time that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    begun: Instant,
    length: Duration,
}

impl Span {
    pub(crate) fn begin(length: Duration) -> Self {
        Self { begun: Instant::now(), length }
    }

    /// What is left of it.
    pub(crate) fn left(&self) -> Duration {
        self.length.saturating_sub(self.begun.elapsed())
    }
}
