//! Every bound of the journal, with its reason.

use std::time::Duration;

/// How long a lease runs unless it is renewed. A crashed owner's partitions stand still for as long.
pub const LEASE_MS: u32 = 3_000;

/// How often a lease is renewed: two renewals may fail before it runs out.
pub const RENEW_MS: u32 = LEASE_MS / 3;

/// Entries that one flush makes durable. Beyond some hundreds a larger batch gains no throughput and
/// only delays the first of it.
pub const BATCH_ENTRIES_MAX: usize = 512;

/// Bytes of records, estimated, that one flush makes durable; a single entry may be larger. Keeps the
/// time of a flush, and so the delay of all who wait for it, within some tens of milliseconds.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Entries accepted and not yet taken back by their shards. With payloads of common size this is some
/// tens of megabytes; at a hundred thousand a second it is a queue of a sixth of a second.
pub const QUEUE_ENTRIES_MAX: usize = 16 * 1024;

/// Bytes of records, estimated, accepted and not yet taken back by their shards: what the queue may
/// hold in memory when every payload is large.
pub const QUEUE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// From this share of [`QUEUE_ENTRIES_MAX`] and [`QUEUE_BYTES_MAX`] on, in percent, nothing new is
/// admitted: what is left is for the decisions of what already runs.
pub const ADMIT_PERCENT: usize = 75;

/// How long entries for which nobody waits are held back for one that somebody waits for, so that
/// they share its forced write. Long against the pause between two decisions under load, short
/// against the time after which a lost completion is repeated.
pub const LAZY_WAIT: Duration = Duration::from_millis(25);

/// First pause before a flush that was not executed is repeated; it doubles.
pub const RETRY_WAIT_MIN: Duration = Duration::from_millis(20);

/// Longest pause before a flush that was not executed is repeated: the journal is used soon after it
/// is back.
pub const RETRY_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long a flush may take before the journal is no longer called ready. Far above a checkpoint's
/// stall, and short enough that a load balancer looks elsewhere before clients give up.
pub const STALL_WAIT: Duration = Duration::from_secs(2);

/// After this long without a reply the connection is given up and the outcome of the flush unknown.
/// Longer than a checkpoint's worst stall, and others may take over after [`LEASE_MS`] anyway.
pub const FLUSH_WAIT_MAX: Duration = Duration::from_secs(20);

/// How long a read, or a change of leases, may take.
pub const CALL_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a take-over waits for a flush of the former owner that is still in flight.
pub const TAKEOVER_WAIT_MS: u32 = 5_000;

/// Transactions in one page of a listing or of a load.
pub const PAGE_MAX: usize = 500;

/// Transactions removed by one step of a trim: a local transaction of some milliseconds, since the
/// SQLite journal has one writer.
pub const TRIM_MAX: usize = 1_000;

/// Bytes of an owner's name.
pub const OWNER_BYTES_MAX: usize = 255;

/// Partitions of a new journal unless configured. Enough to spread over some coordinators, few
/// enough to take over one by one at a start.
pub const PARTITIONS_DEFAULT: u16 = 16;

/// Calls that may wait for the SQLite journal's writer thread; more are told to try again.
pub const SQLITE_CALLS_MAX: usize = 64;

/// Reads that may wait for the SQLite journal's reader thread; more wait to be queued.
pub const SQLITE_READS_MAX: usize = 64;

/// Pages in the SQLite journal's write-ahead log from which the writer copies them back as soon as it
/// has nothing to do: 4 MiB.
pub const SQLITE_CHECKPOINT_IDLE_PAGES: i32 = 1_024;

/// Pages from which it does so between two flushes: 32 MiB. A checkpoint stalls one flush by some
/// milliseconds, so it must be rare; the log must not grow for ever either.
pub const SQLITE_CHECKPOINT_PAGES: i32 = 8_192;

/// How long the writer has nothing to do before it takes care of its log.
pub const SQLITE_IDLE: Duration = Duration::from_millis(50);

/// How long SQLite waits for another process's lock on the file, such as an operator's shell.
pub const SQLITE_BUSY: Duration = Duration::from_secs(2);

/// Connections of the PostgreSQL journal that only read.
pub const POSTGRES_READERS: u32 = 3;

/// Rounds in which a batch with repeated, refused or key-taken entries is taken apart. Each round
/// settles at least the first such entry of every transaction in it; more than this many means that
/// somebody else writes too.
pub const EXPLAIN_ROUNDS_MAX: usize = 8;

const _: () = assert!(
    BATCH_ENTRIES_MAX <= QUEUE_ENTRIES_MAX,
    "a batch comes out of the queue"
);
const _: () = assert!(
    BATCH_BYTES_MAX <= QUEUE_BYTES_MAX,
    "a batch comes out of the queue"
);
const _: () = assert!(
    ADMIT_PERCENT < 100,
    "decisions find room after admission has ended"
);
const _: () = assert!(
    RENEW_MS * 2 < LEASE_MS,
    "one lost renewal does not lose the lease"
);
const _: () = assert!(
    PARTITIONS_DEFAULT <= accordant_protocol::limits::PARTITIONS_MAX,
    "a gtid can name every partition"
);
