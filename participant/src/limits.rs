//! Every bound of a participant's process, with its reason. Bounds of the contract stand in
//! `accordant_protocol::limits`.

use std::time::Duration;

use accordant_protocol::limits::TIMEOUT_MS_MAX;

/// Branches that work at the same time, unless the service asks for another number. Each holds a
/// database connection for as long as its handler runs.
pub(crate) const BRANCH_CONNECTIONS: usize = 16;

/// Connections for phase two, seals and looks, at least; as many as for branches if those are more,
/// so that what was prepared can be ended at the same rate. They are apart from those of the
/// branches, because a branch may wait for a row lock that only the end of another one releases.
pub(crate) const CONTROL_CONNECTIONS: usize = 8;

/// Calls of each kind that are taken at the same time. Each keeps a body of up to a mebibyte in memory.
pub(crate) const CALLS_MAX: usize = 256;

/// How long a call waits for a free connection before it is told to come again.
pub(crate) const LEASE_WAIT: Duration = Duration::from_millis(500);

/// How long a connection may take to come about.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The age at which an idle connection is closed, so that a moved database is found again.
pub(crate) const CONNECTION_AGE_MS_MAX: u64 = 30 * 60 * 1000;

/// How long a statement of phase two, a vote message or a seal may take, before its connection is
/// dropped and its outcome counts as unknown. A missing synchronous standby makes them wait.
pub(crate) const STATEMENT_MAX: Duration = Duration::from_secs(30);

/// How long a branch waits for one row lock: shorter than the patience of the other branches of
/// its transaction, whose locks it prolongs.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a seal waits for the marker of an attempt that is voting just now.
pub(crate) const SEAL_LOCK_TIMEOUT_MS: u64 = 200;

/// How long a call, or the service's own call-back, waits at a barrier for another one about the same
/// branch. It holds a connection meanwhile, and is asked for again.
pub(crate) const BARRIER_WAIT: Duration = Duration::from_secs(2);

/// How long a confirm or a cancel may work. Its order has no deadline, and it goes on when the reply
/// to its call has been given.
pub(crate) const CONFIRM_MS_MAX: u64 = 60_000;

/// How often the local transaction of a call is opened: another one may win the race for a row, and
/// a connection may have died while it was idle.
pub(crate) const OPENS_MAX: usize = 3;

/// What a look has at least, however little time is left for the work.
pub(crate) const LOOK_MS_MIN: u64 = 1000;

/// How often one call looks at what the database holds before it says `in_progress`.
pub(crate) const LOOKS_MAX: usize = 6;

/// The pause before the next look, while another session is ending the branch.
pub(crate) const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// How long the reply to a finish call waits for confirms and cancels: shorter than the five seconds
/// for which a coordinator listens, since with its reply the ends of all other orders are lost.
pub(crate) const FINISH_WAIT: Duration = Duration::from_secs(3);

/// Orders of one finish call that are carried out at the same time, of two-phase branches and of
/// TCC branches each.
pub(crate) const FINISH_PARALLEL: usize = 8;

/// The longest time a handler may work, whatever the deadline says. The server also ends a local
/// transaction that idles for longer, so after it no open branch remembers an old floor.
pub(crate) const WORK_MS_MAX: u64 = TIMEOUT_MS_MAX;

/// What the server grants beyond the time of the work before it ends an idle local transaction.
pub(crate) const IDLE_GRACE_MS: u64 = 10_000;

/// Journals and partitions whose watermark is remembered until it is written; more are passed over.
pub(crate) const ISSUERS_MAX: usize = 4096;

/// Rows that retention deletes in one statement: short enough to disturb nobody.
pub(crate) const RETENTION_BATCH: i64 = 1000;

/// Statements of retention in one round; the rest waits for the next.
pub(crate) const RETENTION_BATCHES_MAX: usize = 100;

/// Branches in doubt that one round of the sweep handles, oldest first.
pub(crate) const SWEEP_MAX: i64 = 1000;

/// Inquiries at the coordinator at the same time.
pub(crate) const INQUIRIES_PARALLEL: usize = 4;

/// How long the coordinator may take for the head of a reply, and for its body.
pub(crate) const COORDINATOR_MAX: Duration = Duration::from_secs(5);

/// Bytes of a reply of the coordinator: the status of a transaction with results of full size.
pub(crate) const COORDINATOR_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes of a foreign reply's content type that an error repeats: the longest registered ones fit.
pub(crate) const MEDIA_BYTES_MAX: usize = 100;

/// Messages that are claimed at the same time, and sent at the same time.
pub(crate) const PUSH_BATCH: i64 = 32;
/// See [`PUSH_BATCH`].
pub(crate) const PUSH_PARALLEL: usize = 8;

/// Batches of one round; the rest waits for the next.
pub(crate) const PUSH_BATCHES_MAX: usize = 100;

/// How long a claim keeps others away: longer than a batch takes when every request runs out of
/// time. What a crashed process had claimed is sent after it.
pub(crate) const PUSH_CLAIM_MS: i64 = 60_000;

/// The first and the longest pause before a message is sent again. A coordinator that is away for
/// hours is asked about each of them twice a minute.
pub(crate) const PUSH_BACKOFF_MS_MIN: i64 = 200;
/// See [`PUSH_BACKOFF_MS_MIN`].
pub(crate) const PUSH_BACKOFF_MS_MAX: i64 = 30_000;

/// Up to how many messages are counted for the metrics.
pub(crate) const PUSH_COUNT_MAX: i64 = 10_000;

/// Tries to begin a local message, and the pause between them.
pub(crate) const BEGINS_MAX: usize = 3;
/// See [`BEGINS_MAX`].
pub(crate) const BEGIN_PAUSE: Duration = Duration::from_millis(100);

const _: () = assert!(
    PUSH_CLAIM_MS as u128 * PUSH_PARALLEL as u128
        > 2 * COORDINATOR_MAX.as_millis() * PUSH_BATCH as u128,
    "a claim outlasts its batch"
);

/// How long a shutdown waits for branches that are at work.
pub(crate) const SHUTDOWN_MAX: Duration = Duration::from_secs(30);

/// Tries to seal on a connection that may have died while it was idle.
pub(crate) const SEALS_MAX: usize = 2;

/// Tries to reach the database to learn what became of a vote message whose answer was lost.
pub(crate) const RECALLS_MAX: usize = 5;

/// The pause between them: together about as long as a crashed server needs to come back.
pub(crate) const RECALL_PAUSE: Duration = Duration::from_millis(200);

/// How often a connection is asked for again when the server has none left, and how long the
/// server has to take note of those that were given up for it.
pub(crate) const FULL_TRIES: usize = 5;
/// See [`FULL_TRIES`].
pub(crate) const FULL_PAUSE: Duration = Duration::from_millis(50);
