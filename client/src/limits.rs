//! Every bound of the client, with its reason.

use std::time::Duration;

use accordant_protocol::limits::{RESULT_BYTES_MAX, UNITS_MAX};

/// Bytes of a reply that are read: a status with every result, or a page of a listing. More is no
/// reply of a coordinator, and must not fill the memory.
pub const REPLY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a connection may take to be made: a coordinator is near, and nothing is lost by trying
/// again.
pub const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// How long one request waits for its reply unless configured: a little longer than a coordinator
/// lets a request wait, so that it is the one to say that the transaction is still pending.
pub const REQUEST_WAIT: Duration = Duration::from_secs(65);

/// For how long a submission is repeated unless configured: long enough for a coordinator to be
/// started again, or for another one to take over.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// First pause before a repeat; it doubles.
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// Longest pause before a repeat: what a caller waits at most after the coordinator is back.
pub const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// How long one request of [`crate::Client::wait`] asks the coordinator to wait.
pub const POLL_WAIT: Duration = Duration::from_secs(20);

/// What a request of [`crate::Client::wait`] may take beyond the time that the coordinator waits.
pub const POLL_MARGIN: Duration = Duration::from_secs(5);

/// Connections to the coordinator that are kept open while nothing is sent.
pub const IDLE_CONNECTIONS_MAX: usize = 64;

/// How long a connection is kept open while nothing is sent.
pub const IDLE_WAIT: Duration = Duration::from_secs(30);

/// A connection on which nothing comes is probed after this time, and then at half of it: a machine
/// that has gone is noticed well before [`REQUEST_WAIT`].
pub const KEEPALIVE: Duration = Duration::from_secs(10);

const _: () = assert!(
    RESULT_BYTES_MAX * UNITS_MAX * 2 < REPLY_BYTES_MAX,
    "a status with every result is read"
);
