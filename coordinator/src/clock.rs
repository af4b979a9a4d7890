//! The only place that reads the clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use accordant_protocol::time::Timestamp;

/// The time now, in milliseconds since 1970. Never goes back within a process.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_millis(now_micros() / 1000)
}

/// The time now, in microseconds since 1970: for measuring. Never goes back within a process.
///
/// A wall clock that is set back would let a later record carry an earlier time and fire no timer
/// for as long, so the wall clock is read once and the monotonic clock from there on.
#[must_use]
pub fn now_micros() -> u64 {
    use std::sync::OnceLock;
    static START: OnceLock<(u64, Instant)> = OnceLock::new();
    let (wall, monotonic) = START.get_or_init(|| (wall_micros(), read_monotonic()));
    wall.saturating_add(u64::try_from(monotonic.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// A moment by both clocks: the steady one may stand still while the machine sleeps, and the wall
/// clock may be set back.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    steady_ms: u64,
    wall_ms: u64,
}

impl Moment {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self {
            steady_ms: now_micros() / 1000,
            wall_ms: wall_micros() / 1000,
        }
    }

    /// Whether more than so many milliseconds have passed since then, by either clock.
    #[must_use]
    pub fn is_older_than(self, ms: u64) -> bool {
        let now = Self::now();
        now.steady_ms.saturating_sub(self.steady_ms) > ms
            || now.wall_ms.saturating_sub(self.wall_ms) > ms
    }

    #[cfg(test)]
    pub(crate) const fn earlier_by(self, steady_ms: u64, wall_ms: u64) -> Self {
        Self {
            steady_ms: self.steady_ms.saturating_sub(steady_ms),
            wall_ms: self.wall_ms.saturating_sub(wall_ms),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn wall_micros() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn read_monotonic() -> Instant {
    Instant::now()
}
