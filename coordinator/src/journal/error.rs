//! Why the journal gave no confirmation. Each variant says what the caller does next.

use std::path::PathBuf;

use accordant_protocol::id::{Cluster, PartitionId};

use super::store::OwnerId;

/// What lies behind an error of a store.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a flush confirmed nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// Nothing was executed: flush the same entries again under the backoff.
    #[error("the journal is unavailable")]
    Unavailable {
        /// What lies behind it.
        source: Cause,
    },
    /// Each entry may be durable or not. Raise the own epoch, then load again; never treat an entry
    /// as absent, nor as durable.
    #[error("the journal did not confirm a flush")]
    Unknown {
        /// What lies behind it.
        source: Cause,
    },
    /// As [`FlushError::Unknown`], and the process must end: after a failed sync the system may hold
    /// pages for clean that never reached the disk, and only a new start looks at the disk again.
    #[error("the journal failed for good: this process must end")]
    Fatal {
        /// What lies behind it.
        source: Cause,
    },
}

/// Why a lease was not taken, renewed or given back. Repeating any of these is harmless.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Another owner's lease has not run out: try again after that time.
    #[error("partition {partition} is leased to {owner} for {expires_in_ms} ms more")]
    Held {
        /// Which.
        partition: PartitionId,
        /// Whom to ask instead.
        owner: OwnerId,
        /// How long the lease still runs by the store's clock.
        expires_in_ms: u64,
    },
    /// The journal has no such partition: a mistake of the caller.
    #[error("the journal has no partition {partition}")]
    NoSuchPartition {
        /// Which.
        partition: PartitionId,
    },
    /// It may have happened or not: try again under the backoff.
    #[error("the journal is unavailable")]
    Unavailable {
        /// What lies behind it.
        source: Cause,
    },
    /// The process must end, as for [`FlushError::Fatal`].
    #[error("the journal failed for good: this process must end")]
    Fatal {
        /// What lies behind it.
        source: Cause,
    },
}

/// Why nothing was read. A read that failed says nothing about what is stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Try again under the backoff.
    #[error("the journal is unavailable")]
    Unavailable {
        /// What lies behind it.
        source: Cause,
    },
    /// A stored row is not of its form: an operator must look. Records that a build cannot decode
    /// are no such case; they are reported with their transaction.
    #[error("the journal holds a row that is not of its form: {what}")]
    Corrupt {
        /// Which, and how.
        what: String,
    },
}

/// Why a trim ended early. What it removed before stays removed; repeating it is harmless.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrimError {
    /// A higher epoch owns the partition: leave it to its owner.
    #[error("partition {partition} has a newer owner")]
    Fenced {
        /// Which.
        partition: PartitionId,
    },
    /// Try again under the backoff.
    #[error("the journal is unavailable")]
    Unavailable {
        /// What lies behind it.
        source: Cause,
    },
    /// The process must end, as for [`FlushError::Fatal`].
    #[error("the journal failed for good: this process must end")]
    Fatal {
        /// What lies behind it.
        source: Cause,
    },
}

/// Why a journal could not be opened. Nothing was changed in it, unless the text says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the journal {path} is in use by another coordinator{}: stop that one, or give this one another journal",
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// The process, as it wrote itself down.
        pid: Option<u32>,
    },
    /// The path cannot hold a journal.
    #[error("the journal cannot be kept at {path}: {problem}")]
    Path {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        problem: String,
    },
    /// It belongs to another cluster.
    #[error("the journal belongs to the cluster {stored}, and this coordinator to {ours}")]
    OtherCluster {
        /// Whose it is.
        stored: Cluster,
        /// Who we are.
        ours: Cluster,
    },
    /// The number of partitions is fixed when a journal is made.
    #[error("the journal has {stored} partitions for ever, and {ours} are configured")]
    OtherPartitions {
        /// How many it has.
        stored: u16,
        /// How many were asked for.
        ours: u16,
    },
    /// The number of partitions cannot be.
    #[error("a journal has 1 to {max} partitions, not {partitions}")]
    Partitions {
        /// How many were asked for.
        partitions: u16,
        /// How many may be.
        max: u16,
    },
    /// A newer build has been here.
    #[error(
        "the journal has schema version {stored}; this build knows up to {ours}: run the newer build"
    )]
    NewerSchema {
        /// What it has.
        stored: u32,
        /// What we know.
        ours: u32,
    },
    /// The journal is not on the server on which it was last used: it was restored, failed over or
    /// swapped, and decisions may be missing.
    #[error(
        "the journal was last used on server {stored} and now is on server {present}: it was restored \
         or failed over, and decisions may be missing. If that is certain and wanted, open it once as \
         restored: transactions begun before are then never presumed aborted"
    )]
    Moved {
        /// System identifier and timeline at the last start.
        stored: String,
        /// System identifier and timeline now.
        present: String,
    },
    /// The server or library would lose acknowledged writes.
    #[error("the journal would not be safe: {problem}")]
    Unsafe {
        /// Why, and the fix.
        problem: String,
    },
    /// The store does not answer.
    #[error("the journal is unavailable")]
    Unavailable {
        /// What lies behind it.
        source: Cause,
    },
    /// A stored row is not of its form.
    #[error("the journal is damaged: {what}")]
    Corrupt {
        /// Which, and how.
        what: String,
    },
    /// No random number for the incarnation.
    #[error(transparent)]
    Random(#[from] crate::id::RandomError),
}
