//! Every bound of the kit, with its reason. Bounds of the contract stand in
//! `accordant_protocol::limits`.

use std::time::Duration;

/// How long one call may take, unless told otherwise: a service on a laptop in a debug build.
pub(crate) const TIMEOUT_MS_DEFAULT: u64 = 5_000;

/// How long one question is asked again while the answer is *ask again*, unless told otherwise.
pub(crate) const PATIENCE_MS_DEFAULT: u64 = 15_000;

/// The longest that either may be set to: a run ends on the same day.
pub(crate) const WAIT_MS_MAX: u64 = 10 * 60 * 1000;

/// Calls that are sent at once, unless told otherwise.
pub(crate) const DUPLICATES_DEFAULT: usize = 8;

/// The most that may be asked for: each is a connection.
pub(crate) const DUPLICATES_MAX: usize = 64;

/// The first pause before a question is asked again; it doubles.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(20);

/// The longest such pause.
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Rounds of a storm: enough to meet a race that is there, few enough for a quick run.
pub(crate) const STORM_ROUNDS: usize = 4;

/// Fresh transactions that are tried when one is refused as *retryable*.
pub(crate) const FRESH_MAX: usize = 4;

/// Exchanges that are kept of a check, to show the last ones if it fails.
pub(crate) const EXCHANGES_MAX: usize = 4;

/// Bytes of a request or a response that a report shows.
pub(crate) const EXCERPT_BYTES_MAX: usize = 600;

/// Checks in a row without any answer, after which the rest is not tried any more: each would wait
/// for its timeout.
pub(crate) const SILENT_MAX: usize = 3;

/// Bytes of the answer to a look at the service's state.
pub(crate) const STATE_BYTES_MAX: usize = 256 * 1024;

/// How deep a deeply nested payload is: below the bound of a payload, far above what a parser that
/// recurses can bear on a small stack.
pub(crate) const NESTING: usize = 30_000;
