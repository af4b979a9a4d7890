//! What every store of the journal must do.

use std::fmt;
use std::sync::Arc;

use accordant_protocol::effect::{Appended, Entry};
use accordant_protocol::id::{
    Cluster, Epoch, Gtid, IdempotencyKey, Incarnation, PartitionId, Position, TenantName,
};
use accordant_protocol::record::{DecodeError, Fate, Record};
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::{Outcome, TransactionSummary};
use async_trait::async_trait;

use super::error::{FlushError, LeaseError, ReadError, TrimError};
use super::limits::OWNER_BYTES_MAX;

/// A place where records are durable.
///
/// One writer flushes at a time; everything else may be called concurrently, also by other
/// coordinators with stores of their own over the same journal. A store decides nothing: it says
/// what it wrote and what it found.
///
/// # Cancel safety
/// Every future may be dropped. A write may then have happened or not, as after
/// [`FlushError::Unknown`]; it never happens in part, and the store stays usable.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Which journal this is. Does not change while it is open.
    fn description(&self) -> &Description;

    /// Takes the lease of a partition and raises its epoch, for the present owner too: so a flush of
    /// unknown outcome is settled.
    ///
    /// # Durability
    /// On return the new epoch is durable. Every flush of an earlier epoch has either ended before
    /// the return, and later reads see it, or it writes nothing.
    ///
    /// # Idempotency
    /// A repeat raises the epoch again.
    ///
    /// # Errors
    /// [`LeaseError::Held`] while another owner's lease runs, by the store's own clock.
    async fn acquire(&self, partition: PartitionId, lease: &Lease)
    -> Result<Ownership, LeaseError>;

    /// Extends the leases that are still held under their epochs. Returns those that are lost: given
    /// back, or a higher epoch exists and nothing of the former owner's will be written any more. A
    /// lease that has run out and that nobody took is extended.
    ///
    /// # Errors
    /// [`LeaseError::Unavailable`]: some may have been extended.
    async fn renew(&self, held: &[Held], lease: &Lease) -> Result<Vec<Held>, LeaseError>;

    /// Gives leases back, so that another owner need not wait. Their epochs stay valid until that
    /// owner raises them: stop flushing first. Those that are lost are passed by.
    ///
    /// # Errors
    /// [`LeaseError::Unavailable`]: the leases run out by themselves.
    async fn release(&self, held: &[Held], owner: &OwnerId) -> Result<(), LeaseError>;

    /// Every partition with its owner, by number.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn partitions(&self) -> Result<Vec<PartitionState>, ReadError>;

    /// Makes entries durable in one local transaction, and says for each what became of it, in the
    /// same order. Entries of one transaction must stand in the order of their positions.
    ///
    /// The epoch of each partition is checked in the same local transaction. A fenced partition, a
    /// taken key and a refused entry take only their own transactions' entries with them.
    ///
    /// # Durability
    /// [`Flushed::Durable`] survives a crash of this process, of the store and of the machine.
    ///
    /// # Idempotency
    /// An entry that is already there, in the same place with the same record, is durable.
    ///
    /// # Errors
    /// [`FlushError`] for the batch as a whole.
    async fn flush(&self, entries: &[Entry]) -> Result<Vec<Flushed>, FlushError>;

    /// Makes something of no consequence durable: whether the store takes writes again.
    ///
    /// # Errors
    /// [`FlushError`]; for a probe, unknown is no better than unavailable.
    async fn probe(&self) -> Result<(), FlushError>;

    /// The open transactions of a partition with their records, by gtid, from the one behind
    /// `after` on. A page with fewer than `limit` is the last. Call it after [`Store::acquire`].
    ///
    /// # Errors
    /// [`ReadError`].
    async fn load_open(
        &self,
        partition: PartitionId,
        after: Option<Gtid>,
        limit: usize,
    ) -> Result<Vec<Stored>, ReadError>;

    /// One transaction, open or closed. None means that nothing is stored, and by itself decides
    /// nothing.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn read(&self, gtid: Gtid) -> Result<Option<Stored>, ReadError>;

    /// Whose an idempotency key is.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn find_key(
        &self,
        tenant: &TenantName,
        key: &IdempotencyKey,
    ) -> Result<Option<Gtid>, ReadError>;

    /// Transactions, newest first, from the one behind `after` on. A page with fewer than `limit` is
    /// the last. Paging is stable: what was there at the first page and is not trimmed comes exactly
    /// once.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn list(
        &self,
        filter: &ListFilter,
        after: Option<Gtid>,
        limit: usize,
    ) -> Result<Vec<TransactionSummary>, ReadError>;

    /// Raises the retention horizon of a partition, then removes up to `limit` closed transactions
    /// minted at or before it, oldest first. Open ones and those that need attention stay. The horizon
    /// never goes back: a time before it removes up to the present one.
    ///
    /// # Durability
    /// The horizon is durable before anything is removed.
    ///
    /// # Errors
    /// [`TrimError`].
    async fn trim(&self, held: Held, upto: Timestamp, limit: usize) -> Result<Trimmed, TrimError>;
}

/// Which journal it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The cluster whose journal it is.
    pub cluster: Cluster,
    /// Drawn when the journal was made, and again when it was opened as restored.
    pub incarnation: Incarnation,
    /// How many partitions it has, for ever.
    pub partitions: u16,
    /// The version of its schema.
    pub schema: u32,
}

impl Description {
    /// Every partition, by number.
    pub fn partition_ids(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.partitions).map(PartitionId)
    }
}

/// The name of a coordinator as an owner of partitions: unique among those that run at a time. A
/// coordinator that comes back under its former name need not wait for its former lease.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(Arc<str>);

/// A text is not an owner's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an owner's name has 1 to {OWNER_BYTES_MAX} bytes and no control characters")]
pub struct OwnerIdError;

impl OwnerId {
    /// Checks a text and takes it.
    ///
    /// # Errors
    /// [`OwnerIdError`] if it is not an owner's name.
    pub fn new(text: &str) -> Result<Self, OwnerIdError> {
        let fits = !text.is_empty() && text.len() <= OWNER_BYTES_MAX;
        if fits && !text.chars().any(char::is_control) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(OwnerIdError)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

/// For whom a partition is taken, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who.
    pub owner: OwnerId,
    /// How long from now, by the store's clock, unless it is renewed.
    pub ms: u32,
}

/// A partition under an epoch of its owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Held {
    /// Which.
    pub partition: PartitionId,
    /// Under which epoch.
    pub epoch: Epoch,
}

/// What a new owner starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The epoch under which it writes.
    pub epoch: Epoch,
    /// Nothing may be concluded from the absence of a transaction minted at or before it.
    pub horizon: Timestamp,
}

/// A partition as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// Which.
    pub partition: PartitionId,
    /// Its present epoch.
    pub epoch: Epoch,
    /// Who took it last, unless it was given back.
    pub owner: Option<OwnerId>,
    /// How long the lease still runs by the store's clock; zero if it has run out.
    pub expires_in_ms: u64,
    /// Its retention horizon.
    pub horizon: Timestamp,
}

/// What a store made of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// It is durable.
    Durable,
    /// The transaction was not begun: its idempotency key belongs to this earlier one.
    KeyTaken {
        /// The earlier one.
        by: Gtid,
    },
    /// Another epoch is the present one of the partition: nothing was written.
    Fenced,
    /// The entry contradicts what is stored: nothing was written. Some writer is wrong; the owner
    /// must load the partition again, and an operator must hear of it.
    Refused(Refusal),
}

/// In what an entry contradicts what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Another record is at its position.
    #[error("another record is at this position")]
    PositionTaken,
    /// The transaction's fate is sealed at another position.
    #[error("the fate of the transaction is sealed at another position")]
    FateTaken,
    /// The record before it is missing, or the transaction begins with something else than `Begun`
    /// or a presumed abort.
    #[error("the record before it is missing")]
    OutOfPlace,
    /// The transaction would begin at or below the retention horizon, where its past may have been
    /// removed.
    #[error("the transaction is older than the retention horizon")]
    BelowHorizon,
    /// The gtid names another cluster, a partition that does not exist, or, for a transaction that
    /// would begin, another incarnation.
    #[error("the transaction belongs to another journal")]
    Foreign,
    /// The record cannot be expressed in JSON.
    #[error("the record cannot be encoded")]
    Unencodable,
}

impl From<Flushed> for Appended {
    /// A refused entry is of unknown outcome to its owner: that makes it load the partition again.
    fn from(flushed: Flushed) -> Self {
        match flushed {
            Flushed::Durable => Self::Durable,
            Flushed::KeyTaken { by } => Self::KeyTaken { by },
            Flushed::Fenced => Self::Fenced,
            Flushed::Refused(_) => Self::Unknown,
        }
    }
}

/// A transaction as it is stored.
#[derive(Debug)]
pub struct Stored {
    /// Its id.
    pub gtid: Gtid,
    /// Whether every branch has ended.
    pub closed: bool,
    /// Whether an operator must look.
    pub attention: bool,
    /// Its records by position, without a gap.
    pub records: Vec<StoredRecord>,
}

/// A record as it is stored.
#[derive(Debug)]
pub struct StoredRecord {
    /// Its place in the history.
    pub position: Position,
    /// Under which epoch it was written.
    pub epoch: Epoch,
    /// The fact. If this build cannot read it, the transaction must not be acted upon.
    pub record: Result<Record, DecodeError>,
}

/// Which transactions are listed: those for which every given condition holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Of this tenant. Presumed aborts have none.
    pub tenant: Option<TenantName>,
    /// Closed or open ones.
    pub closed: Option<bool>,
    /// Of this outcome.
    pub outcome: Option<Outcome>,
    /// Only those at which an operator must look: they ended against their decision, or some action
    /// of theirs has waited for one and they have not ended.
    pub attention: bool,
    /// Minted at or after this time.
    pub minted_from: Option<Timestamp>,
    /// Minted before this time.
    pub minted_before: Option<Timestamp>,
}

/// What a listing calls the outcome of a transaction.
#[must_use]
pub(crate) const fn outcome(fate: Option<Fate>, attention: bool) -> Outcome {
    match (attention, fate) {
        (true, _) => Outcome::Heuristic,
        (false, Some(Fate::Commit)) => Outcome::Committed,
        (false, Some(Fate::Abort)) => Outcome::Aborted,
        (false, None) => Outcome::Pending,
    }
}

/// The number of an outcome in the SQL stores' listings.
pub(crate) const fn outcome_code(outcome: Outcome) -> i64 {
    match outcome {
        Outcome::Pending => 0,
        Outcome::Committed => 1,
        Outcome::Aborted => 2,
        Outcome::Heuristic => 3,
        // Nothing has an outcome that this build does not know.
        _ => -1,
    }
}

/// What a trim did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// The durable horizon. The owner and its participants' watermarks follow it.
    pub horizon: Timestamp,
    /// How many transactions were removed; `limit` means that there may be more.
    pub removed: usize,
}
