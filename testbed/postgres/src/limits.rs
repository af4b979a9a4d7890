//! Every bound of this crate, with its reason.

use std::time::Duration;

/// The oldest major version accepted: the oldest one that the PostgreSQL project still mends, and
/// the oldest that the two-phase commit of Accordant was measured with.
pub(crate) const MAJOR_MIN: u32 = 14;

/// Prepared-transaction slots when the builder does not say: more than a test leaves open at once,
/// and each costs little shared memory.
pub(crate) const PREPARED_TRANSACTIONS_DEFAULT: u32 = 64;

/// Connections when the builder does not say: the default of PostgreSQL itself.
pub(crate) const CONNECTIONS_DEFAULT: u32 = 100;

/// How often something is looked at that cannot wake us: a pid file, a child, a lock file.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// From the spawn to `ready`. Crash recovery of a test database takes milliseconds; a machine that
/// runs several test suites at once may need seconds.
pub(crate) const READY_WITHIN: Duration = Duration::from_mins(1);

/// A restart is tried again while backends of a killed server hold its shared memory, about 15
/// seconds in all.
pub(crate) const RESTARTS_MAX: u32 = 150;

/// Pause between two such tries: each one forks a server, so not as often as [`POLL`].
pub(crate) const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// A stop that was asked for. A fast stop writes a checkpoint, which may wait for a slow disk.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(30);

/// A stop inside `drop`, in polls; the server itself kills its backends after five seconds of an
/// immediate stop.
pub(crate) const DROP_POLLS_MAX: u32 = 2_000;

/// `initdb` takes half a second; a loaded machine gets a hundred times as much.
pub(crate) const INITDB_WITHIN: Duration = Duration::from_mins(2);

/// A question to a program on this machine, such as `postgres --version`.
pub(crate) const PROBE_WITHIN: Duration = Duration::from_secs(20);

/// Connecting to a server that somebody else runs.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(15);

/// One download of up to 55 MB, and one unpacking.
pub(crate) const FETCH_WITHIN: Duration = Duration::from_mins(10);

/// Waiting for another process that fetches into the same cache: its two downloads at most.
pub(crate) const FETCH_TURN_WITHIN: Duration = Duration::from_mins(30);

/// Pause between two looks at that process's lock.
pub(crate) const FETCH_TURN_POLL: Duration = Duration::from_millis(100);

/// Lines of a log or of a program's output that an error message shows.
pub(crate) const TAIL_LINES_MAX: usize = 15;

/// Bytes of a log that are read for those lines.
pub(crate) const TAIL_BYTES_MAX: u64 = 16 * 1024;

/// Bytes of the folder that holds the socket. A socket path is limited to 103 bytes on macOS and
/// 107 on Linux, of which `/.s.PGSQL.5432` takes 14.
pub(crate) const SOCKET_DIRECTORY_BYTES_MAX: usize = 88;

/// Bytes of an identifier in PostgreSQL; longer ones are cut, and two names could become one.
pub(crate) const IDENTIFIER_BYTES_MAX: usize = 63;

/// Commands that wait for the thread that spawns servers; more callers than that wait their turn.
pub(crate) const SPAWNS_QUEUED_MAX: usize = 16;

/// Tries to remove a folder in which the last backends of a killed server are still ending.
pub(crate) const REMOVALS_MAX: u32 = 50;

/// Leftover prepared transactions are looked for this often: one may be busy at the first look,
/// because the connection that ended it has only just been cut.
pub(crate) const ROLLBACK_ROUNDS_MAX: u32 = 20;
