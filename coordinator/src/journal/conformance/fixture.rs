//! Transactions and records to test a journal with.

use std::sync::atomic::{AtomicU64, Ordering};

use accordant_protocol::effect::Entry;
use accordant_protocol::id::{
    BranchIndex, Epoch, Fingerprint, Gtid, IdempotencyKey, PartitionId, Position, TenantName,
};
use accordant_protocol::json::Json;
use accordant_protocol::plan::{Plan, PlanRequest};
use accordant_protocol::record::{
    Aborted, Begun, Closed, Committed, Compensated, Done, Record, Resolution, Resolved, Started,
    Stuck,
};
use accordant_protocol::time::Timestamp;
use accordant_protocol::wire::api::AbortReason;
use accordant_protocol::wire::contract::ActVerb;

use super::super::store::Description;

/// When the first transaction of a test is minted.
pub const START_MS: u64 = 1_800_000_000_000;

/// A plan of two branches with a payload of that many bytes.
#[must_use]
pub fn plan(payload_bytes: usize) -> Plan {
    let payload = Json::from_value(&"x".repeat(payload_bytes)).unwrap();
    let text = format!(
        r#"{{"branches":[{{"name":"a","participant":"p","operation":"o","payload":{}}},
            {{"name":"b","participant":"q","operation":"o"}}]}}"#,
        payload.text()
    );
    Plan::try_from(serde_json::from_str::<PlanRequest>(&text).unwrap()).unwrap()
}

/// A plan of two steps, each of which can be made good.
#[must_use]
pub fn saga() -> Plan {
    of_steps(
        r#"{"steps":[{"name":"a","action":{"participant":"p","operation":"o"}},
            {"name":"b","after":["a"],"action":{"participant":"q",
                "act":{"path":"/b"},"compensate":{"path":"/b/undo"}}}]}"#,
    )
}

/// A plan of one message: it is decided by its beginning.
#[must_use]
pub fn message() -> Plan {
    of_steps(r#"{"steps":[{"name":"m","message":{"to":[{"participant":"p","operation":"o"}]}}]}"#)
}

fn of_steps(text: &str) -> Plan {
    Plan::try_from(serde_json::from_str::<PlanRequest>(text).unwrap()).unwrap()
}

/// Mints ids and keys for one journal, each of them new, each later than the one before.
#[derive(Debug)]
pub struct Mint {
    description: Description,
    next: AtomicU64,
}

impl Mint {
    /// For a journal.
    #[must_use]
    pub fn new(description: &Description) -> Self {
        Self { description: description.clone(), next: AtomicU64::new(1) }
    }

    /// A transaction of a partition.
    pub fn transaction(&self, partition: PartitionId, epoch: Epoch) -> Transaction {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.transaction_at(partition, epoch, START_MS + number)
    }

    /// A transaction of a partition, minted at that time.
    pub fn transaction_at(&self, partition: PartitionId, epoch: Epoch, at_ms: u64) -> Transaction {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let Description { cluster, incarnation, .. } = self.description;
        let minted = Timestamp::from_millis(at_ms);
        let gtid = Gtid::mint(cluster, partition, incarnation, minted, number.into()).unwrap();
        let key = IdempotencyKey::new(&format!("key-{gtid}")).unwrap();
        Transaction { gtid, epoch, key }
    }
}

/// A transaction that a test writes.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Its id.
    pub gtid: Gtid,
    /// The epoch under which its records are written.
    pub epoch: Epoch,
    /// Its key.
    pub key: IdempotencyKey,
}

/// The tenant of all transactions of the tests.
#[must_use]
pub fn tenant() -> TenantName {
    TenantName::new("default").unwrap()
}

impl Transaction {
    /// The same under another epoch.
    #[must_use]
    pub fn under(&self, epoch: Epoch) -> Self {
        Self { epoch, ..self.clone() }
    }

    /// The same with another key.
    #[must_use]
    pub fn keyed(&self, key: &IdempotencyKey) -> Self {
        Self { key: key.clone(), ..self.clone() }
    }

    /// An entry at a position.
    #[must_use]
    pub fn entry(&self, position: u32, record: Record) -> Entry {
        Entry {
            gtid: self.gtid,
            position: Position(position),
            epoch: self.epoch,
            record,
        }
    }

    /// It begins.
    #[must_use]
    pub fn begun(&self) -> Entry {
        self.begun_with(10)
    }

    /// It begins, with a payload of that many bytes.
    #[must_use]
    pub fn begun_with(&self, payload_bytes: usize) -> Entry {
        self.begun_as(plan(payload_bytes))
    }

    /// It begins with this plan.
    #[must_use]
    pub fn begun_as(&self, plan: Plan) -> Entry {
        self.entry(
            0,
            Record::Begun(Begun {
                tenant: tenant(),
                key: self.key.clone(),
                fingerprint: Fingerprint([7; 32]),
                plan,
                deadline: self.gtid.minted().plus_millis(30_000),
                traceparent: None,
            }),
        )
    }

    /// It is decided: commit.
    #[must_use]
    pub fn committed(&self, position: u32) -> Entry {
        let at = self.gtid.minted().plus_millis(10);
        self.entry(
            position,
            Record::Committed(Committed { at, votes: Vec::new() }),
        )
    }

    /// It is decided: abort.
    #[must_use]
    pub fn aborted(&self, position: u32) -> Entry {
        self.aborted_for(position, AbortReason::Recovered)
    }

    /// It was never heard of: abort.
    #[must_use]
    pub fn presumed(&self) -> Entry {
        self.aborted_for(0, AbortReason::Presumed)
    }

    fn aborted_for(&self, position: u32, reason: AbortReason) -> Entry {
        let at = self.gtid.minted().plus_millis(10);
        self.entry(
            position,
            Record::Aborted(Aborted { at, reason, compensate: Vec::new() }),
        )
    }

    /// Every branch has ended, the given ones against the decision.
    #[must_use]
    pub fn closed(&self, position: u32, heuristics: &[u8]) -> Entry {
        let at = self.gtid.minted().plus_millis(20);
        let heuristics = heuristics.iter().copied().map(BranchIndex).collect();
        self.entry(
            position,
            Record::Closed(Closed { at, heuristics, results: Vec::new() }),
        )
    }

    /// A saga from its beginning to its end: the second step fails, and the compensation of the
    /// first needs an operator. Every kind of record is in it that a saga adds to a history.
    #[must_use]
    pub fn whole_saga(&self) -> Vec<Entry> {
        let at = self.gtid.minted().plus_millis(10);
        let (first, second) = (BranchIndex(0), BranchIndex(1));
        let result = Some(Json::from_value(&7).unwrap());
        let error = "HTTP 500".to_owned();
        let reason = AbortReason::DeadlinePassed { branches: Vec::new(), errors: Vec::new() };
        let (by, why) = ("ann".to_owned(), "seen in the ledger".to_owned());
        let stuck = Stuck { at, action: first, verb: ActVerb::Compensate, error };
        let resolution = Resolution::Done { result: None };
        let records = [
            Record::Done(Done { at, action: first, result }),
            Record::Started(Started { at, action: second }),
            Record::Aborted(Aborted { at, reason, compensate: vec![first, second] }),
            Record::Compensated(Compensated { at, action: second }),
            Record::Stuck(stuck),
            Record::Resolved(Resolved {
                at,
                action: first,
                resolution,
                by,
                reason: why,
                given_up: vec![first],
            }),
        ];
        let records = records.into_iter().zip(1..);
        let records = records.map(|(record, position)| self.entry(position, record));
        let mut whole = vec![self.begun_as(saga())];
        whole.extend(records);
        whole.push(self.closed(7, &[]));
        whole
    }

    /// From its beginning to its end, committed.
    #[must_use]
    pub fn whole(&self) -> Vec<Entry> {
        vec![self.begun(), self.committed(1), self.closed(2, &[])]
    }
}
