//! Every bound of the protocol, with its reason. Bounds of the processes stand in their configuration.

/// Branches of one atomic group. Each occupies a prepared-transaction slot in some database and
/// holds its locks until the slowest one has answered.
pub const BRANCHES_MAX: usize = 32;

/// Steps of one plan.
pub const STEPS_MAX: usize = 64;

/// Branches and single steps of a plan together: each has an index, and an index is printed with
/// two digits inside the 63 bytes of a gid.
pub const UNITS_MAX: usize = 96;

/// Bytes of one payload. A payload is kept in memory and in the journal until its transaction ends.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Bytes of the body of one request to the coordinator: some payloads of full size, but not 32.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one business result: it is part of a journal record and of every status reply.
pub const RESULT_BYTES_MAX: usize = 16 * 1024;

/// Bytes of the body of one call to, or reply from, a participant.
pub const CALL_BYTES_MAX: usize = 1024 * 1024;

/// Orders in one phase-two call: an order and its answer stay well below [`CALL_BYTES_MAX`], even
/// with a result in each answer.
pub const FINISH_ORDERS_MAX: usize = 32;

/// Bytes of a human-readable reason; longer ones are cut.
pub const REASON_BYTES_MAX: usize = 1024;

/// Bytes of the name of a step, branch, operation, participant or tenant.
pub const NAME_BYTES_MAX: usize = 63;

/// Bytes of an idempotency key: what the common gateways let pass in a header value.
pub const KEY_BYTES_MAX: usize = 255;

/// Bytes of the cluster's name in a gtid.
pub const CLUSTER_BYTES_MAX: usize = 8;

/// Partitions of one journal: three digits in a gtid.
pub const PARTITIONS_MAX: u16 = 1000;

/// Bytes of a gid: PostgreSQL cuts `application_name` at 63, and the same text must fit there.
pub const GID_BYTES_MAX: usize = 63;

/// The shortest and the longest time that a client may give an atomic plan, and what it gets
/// unasked. Prepared branches hold row locks, so the longest is an hour.
pub const TIMEOUT_MS_MIN: u64 = 10;
/// See [`TIMEOUT_MS_MIN`].
pub const TIMEOUT_MS_MAX: u64 = 60 * 60 * 1000;
/// See [`TIMEOUT_MS_MIN`].
pub const TIMEOUT_MS_DEFAULT: u64 = 30 * 1000;

/// The longest time that a client may give a plan with steps beside its atomic group, and what it
/// gets unasked. Nothing is locked meanwhile, but an open transaction keeps the watermark of its
/// partition down, and with it what participants must remember.
pub const SAGA_TIMEOUT_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;
/// See [`SAGA_TIMEOUT_MS_MAX`].
pub const SAGA_TIMEOUT_MS_DEFAULT: u64 = 60 * 60 * 1000;

/// The longest time that a client may give one attempt of an action. A call that is out occupies a
/// connection.
pub const ATTEMPT_MS_MAX: u64 = 10 * 60 * 1000;

/// How long one attempt of an action may take, where the plan does not say.
pub const ATTEMPT_MS_DEFAULT: u64 = 10 * 1000;

/// First pause before an action is repeated, where the plan does not say.
pub const ACT_PAUSE_MS_DEFAULT: u64 = 100;

/// Longest pause before an action is repeated, where the plan does not say: nothing is locked
/// meanwhile, and a service that is away for hours need not be asked every second.
pub const ACT_PAUSE_MS_MAX_DEFAULT: u64 = 30_000;

/// The shortest pause that a plan may ask for: an action that is refused at once must not occupy the
/// coordinator with nothing but its repeats.
pub const PAUSE_MS_MIN: u64 = 10;

/// The longest pause that a plan may ask for.
pub const PAUSE_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// The longest time that a participant in progress may ask to be left alone: longer ones call back.
pub const PROGRESS_MS_MAX: u64 = 60 * 60 * 1000;

/// Attempts at a compensation before an operator is called, where the plan does not say: with the
/// default pauses about a quarter of an hour.
pub const COMPENSATE_ATTEMPTS_DEFAULT: u32 = 40;

/// The most attempts that a plan may ask for, but for those without an end.
pub const ATTEMPTS_MAX: u32 = 1_000_000;

/// References to results in one payload or path: each is looked for in a result when it is sent.
pub const REFERENCES_MAX: usize = 32;

/// Bytes of the JSON pointer of a reference. It is looked for before each attempt, so what a plan may
/// ask for is bounded by this and [`REFERENCES_MAX`].
pub const POINTER_BYTES_MAX: usize = 256;

/// Levels of a result that such a pointer may go down.
pub const POINTER_TOKENS_MAX: usize = 32;

/// How deep a reference may stand in a payload: each level is read once more.
pub const TEMPLATE_DEPTH_MAX: usize = 32;

/// Bytes of the path of a request to a plain service.
pub const PATH_BYTES_MAX: usize = 2048;

/// Bytes of such a path once results are filled in: what the common servers take as a request's line.
pub const RENDERED_PATH_BYTES_MAX: usize = 8 * 1024;

/// Headers of one request to a plain service.
pub const HEADERS_MAX: usize = 16;

/// Bytes of the value of such a header.
pub const HEADER_BYTES_MAX: usize = 1024;

/// Statuses that a plan may name as *done*, or as *refused*.
pub const STATUSES_MAX: usize = 16;

/// Records of one transaction after which no operator may decide about it any more: each decision is
/// a record that is kept, and the plan's own are far fewer.
pub const RECORDS_MAX: u32 = 4000;

/// First pause before a call is repeated; it doubles with each attempt.
pub const BACKOFF_MS_MIN: u64 = 50;

/// Longest pause before a call is repeated: a branch in doubt must end soon after its participant
/// is back, and holds locks until then.
pub const BACKOFF_MS_MAX: u64 = 2_000;

/// Requests that may wait for one transaction at a time; more are told to ask again.
pub const WAITERS_MAX: usize = 64;

/// How far ahead of our clock a gtid may claim to have been minted, at an inquiry. A gtid of the
/// future cannot be judged against the retention horizon.
pub const CLOCK_SKEW_MS_MAX: u64 = 60 * 60 * 1000;

const _: () = assert!(BRANCHES_MAX <= UNITS_MAX, "a branch is a unit of its plan");
const _: () = assert!(
    STEPS_MAX <= UNITS_MAX,
    "a step without a group is a unit of its plan"
);
const _: () = assert!(UNITS_MAX < 100, "a unit's index has two digits in a gid");
const _: () = assert!(
    PATH_BYTES_MAX < RENDERED_PATH_BYTES_MAX,
    "a path with nothing to fill in is always allowed"
);
const _: () = assert!(
    PAYLOAD_BYTES_MAX < REQUEST_BYTES_MAX,
    "a full payload fits into a request"
);
const _: () = assert!(
    RESULT_BYTES_MAX * FINISH_ORDERS_MAX < CALL_BYTES_MAX,
    "a reply with every result fits"
);
