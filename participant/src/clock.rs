//! The only place that reads the clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use accordant_protocol::time::Timestamp;

/// The time now, in milliseconds since 1970. Never goes back within a process.
///
/// The wall clock is read once and the monotonic clock from there on, so that a clock that is set
/// back prolongs no deadline.
#[must_use]
pub(crate) fn now() -> Timestamp {
    use std::sync::OnceLock;
    static START: OnceLock<(u64, Instant)> = OnceLock::new();
    let (wall, monotonic) = START.get_or_init(|| (wall_millis(), read_monotonic()));
    let since = u64::try_from(monotonic.elapsed().as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(wall.saturating_add(since))
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn wall_millis() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn read_monotonic() -> Instant {
    Instant::now()
}
