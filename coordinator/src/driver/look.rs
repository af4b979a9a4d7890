//! What operators ask a shard to look for among the transactions that it holds.

use accordant_protocol::calls::Calls;
use accordant_protocol::id::{BranchIndex, BranchName, Gtid, ParticipantName};
use accordant_protocol::node::{Node, Transaction};
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::TransactionStatus;
use accordant_protocol::wire::contract::{ActVerb, Kinship};
use serde::Serialize;
use tokio::sync::oneshot;

/// What an operator asks a shard. It is answered also while the journal has no room, for that is
/// when operators look.
pub(super) enum Look {
    /// The transactions with branches in doubt, oldest first.
    InDoubt(usize, oneshot::Sender<InDoubt>),
    /// The actions that wait for an operator, the longest first, behind one of them.
    Stuck(Option<StuckKey>, usize, oneshot::Sender<Stuck>),
    /// How many open transactions have anything to do before this time.
    Busy(Timestamp, oneshot::Sender<usize>),
    /// The participants that answered from another or an older database.
    Halted(oneshot::Sender<Vec<(ParticipantName, Kinship)>>),
}

/// Transactions with branches in doubt.
#[derive(Debug, Default)]
pub struct InDoubt {
    /// How many there are.
    pub count: usize,
    /// The oldest of them.
    pub oldest: Vec<TransactionStatus>,
    /// How many transactions are open in all.
    pub open: usize,
}

/// Actions that wait for an operator.
#[derive(Debug, Default)]
pub struct Stuck {
    /// How many there are.
    pub count: usize,
    /// A page of them, those that have waited longest first.
    pub actions: Vec<StuckAction>,
    /// Whether more follow.
    pub more: bool,
}

/// An action that waits for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StuckAction {
    /// Its transaction.
    pub id: Gtid,
    /// Its number in the plan.
    pub index: BranchIndex,
    /// The name of its step.
    pub name: BranchName,
    /// Who does it.
    pub participant: ParticipantName,
    /// What it was told.
    pub verb: ActVerb,
    /// Since when it waits.
    pub since: Timestamp,
    /// How often it was tried; 0 if that was before this coordinator took over.
    pub attempts: u32,
    /// What the last call came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// The place of a stuck action in the listing.
pub type StuckKey = (Timestamp, Gtid, BranchIndex);

impl StuckAction {
    /// Its place in the listing.
    #[must_use]
    pub const fn key(&self) -> StuckKey {
        (self.since, self.id, self.index)
    }
}

impl Stuck {
    /// Adds another shard's, and keeps the page to its limit.
    pub(super) fn merge(&mut self, other: Self, limit: usize) {
        self.count += other.count;
        self.more |= other.more;
        self.actions.extend(other.actions);
        self.actions.sort_by_key(StuckAction::key);
        self.more |= self.actions.len() > limit;
        self.actions.truncate(limit);
    }
}

pub(super) fn in_doubt(node: &Node, limit: usize) -> InDoubt {
    let mut found: Vec<(Gtid, TransactionStatus)> = node
        .transactions()
        .filter(|transaction| transaction.is_in_doubt())
        .map(|transaction| (transaction.gtid(), transaction.status(false)))
        .collect();
    found.sort_by_key(|(gtid, _)| gtid.minted());
    let count = found.len();
    let oldest = found
        .into_iter()
        .take(limit)
        .map(|(_, status)| status)
        .collect();
    InDoubt { count, oldest, open: node.open() }
}

pub(super) fn stuck(node: &Node, after: Option<StuckKey>, limit: usize) -> Stuck {
    let all: Vec<StuckAction> = node.transactions().flat_map(stuck_of).collect();
    let count = all.len();
    let behind = all.into_iter();
    let actions = behind.filter(|action| after.is_none_or(|after| action.key() > after));
    let mut page = Stuck::default();
    page.merge(
        Stuck { count, actions: actions.collect(), more: false },
        limit,
    );
    page
}

pub(super) fn busy(node: &Node, until: Timestamp) -> usize {
    let busy = node.transactions().filter(|it| !is_resting(it, until));
    busy.count()
}

/// Whether a transaction holds no locks, has nothing out, and does nothing before this time: it
/// waits for an operator, or for a pause or a delay that is longer. Nothing is lost by leaving it to
/// the next owner.
fn is_resting(transaction: &Transaction, until: Timestamp) -> bool {
    let course = transaction.course();
    if course.is_atomic() || course.is_closed() || transaction.is_in_doubt() {
        return false;
    }
    let of_branches = course.branches().map(|branch| (&branch.calls, false));
    let of_actions = course.actions().iter();
    let of_actions = of_actions.map(|action| (&action.calls, action.is_stuck()));
    let calls: Vec<_> = of_branches.chain(of_actions).collect();
    let waits = |(calls, stuck): &(&Calls, bool)| *stuck || calls.retry_at.is_some();
    let later = |(calls, stuck): &(&Calls, bool)| {
        !calls.in_flight && (*stuck || calls.retry_at.is_none_or(|at| at > until))
    };
    calls.iter().any(waits) && calls.iter().all(later)
}

/// The actions of a transaction that wait for an operator.
fn stuck_of(transaction: &Transaction) -> impl Iterator<Item = StuckAction> {
    let planned = transaction.begun().plan.actions();
    let actions = planned.zip(transaction.course().actions());
    actions.filter_map(|(planned, action)| {
        let since = action.stuck_at.filter(|_| action.is_stuck())?;
        Some(StuckAction {
            id: transaction.gtid(),
            index: planned.index,
            name: planned.name.clone(),
            participant: planned.participant.clone(),
            verb: action.verb()?,
            since,
            attempts: action.calls.tries,
            last_error: action.calls.last_error.clone(),
        })
    })
}
