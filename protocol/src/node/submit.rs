//! A client asks for a transaction, or how one stands.

use std::sync::Arc;

use crate::effect::{After, Effect, Reply, RequestId};
use crate::id::{Fingerprint, Gtid, IdempotencyKey, PartitionId, Position, TenantName};
use crate::limits::WAITERS_MAX;
use crate::plan::{Course, Plan};
use crate::record::Begun;
use crate::time::Timestamp;
use crate::wire::api::Wait;
use crate::wire::problem::ProblemCode;

use super::event::Submission;
use super::machine::Node;
use super::reply::refuse_all;
use super::transaction::{Durability, Transaction};

/// The partition of an idempotency key. A repeat of a request comes to the same one, whichever
/// coordinator it reaches, and so to the owner who knows the first.
///
/// FNV-1a, 64 bits (Fowler, Noll and Vo): part of the stored format, never to be changed.
#[must_use]
pub fn partition_of(tenant: &TenantName, key: &IdempotencyKey, partitions: u16) -> PartitionId {
    let text = tenant
        .as_str()
        .bytes()
        .chain([0])
        .chain(key.as_str().bytes());
    let hash = text.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let partition = hash % u64::from(partitions.max(1));
    PartitionId(u16::try_from(partition).unwrap_or_default())
}

impl Node {
    pub(super) fn submit(
        &mut self,
        now: Timestamp,
        submission: Submission,
        effects: &mut Vec<Effect>,
    ) {
        let key = (submission.tenant.clone(), submission.key.clone());
        if let Some(&by) = self.keys.get(&key) {
            let Submission { request, fingerprint, wait, .. } = submission;
            return self.join(request, by, fingerprint, wait, effects);
        }
        let request = submission.request;
        match self.admit(now, &submission) {
            Err(code) => refuse_all(&[request], code, effects),
            Ok(gtid) => self.begin(now, gtid, submission, effects),
        }
    }

    /// What speaks against a new transaction, or its id.
    fn admit(&self, now: Timestamp, submission: &Submission) -> Result<Gtid, ProblemCode> {
        let partition = self
            .partitions
            .get(&submission.partition)
            .ok_or(ProblemCode::NotOwner)?;
        if self.draining {
            return Err(ProblemCode::Draining);
        }
        if self.transactions.len() >= self.config.open_max {
            return Err(ProblemCode::Overloaded);
        }
        self.admit_branches(&submission.plan)?;
        // An id at or below the horizon would count as expired.
        let minted = now.max(partition.horizon.plus_millis(1));
        let (cluster, incarnation) = (self.config.cluster, self.config.incarnation);
        Gtid::mint(
            cluster,
            submission.partition,
            incarnation,
            minted,
            submission.random,
        )
        .map_err(|_| ProblemCode::Internal)
    }

    /// Only branches are counted: they occupy what a participant has few of.
    fn admit_branches(&self, plan: &Plan) -> Result<(), ProblemCode> {
        for action in plan.actions() {
            let participant = self.participants.get(&action.participant);
            if participant.is_some_and(|participant| participant.halted.is_some()) {
                return Err(ProblemCode::ParticipantHalted);
            }
        }
        for branch in plan.branches() {
            let Some(participant) = self.participants.get(&branch.participant) else {
                continue;
            };
            if participant.halted.is_some() {
                return Err(ProblemCode::ParticipantHalted);
            }
            let name = &branch.participant;
            if self.queue.is_wanted(name) || self.is_full(name, plan) {
                return Err(ProblemCode::ParticipantBusy);
            }
        }
        Ok(())
    }

    fn begin(
        &mut self,
        now: Timestamp,
        gtid: Gtid,
        submission: Submission,
        effects: &mut Vec<Effect>,
    ) {
        let Submission { request, partition, tenant, key, fingerprint, plan, .. } = submission;
        let Some(epoch) = self
            .partitions
            .get(&partition)
            .map(|partition| partition.epoch)
        else {
            return refuse_all(&[request], ProblemCode::NotOwner, effects);
        };
        let deadline = now.plus_millis(submission.timeout_ms);
        let traceparent = submission.traceparent;
        let begun = Begun { tenant, key, fingerprint, plan, deadline, traceparent };
        self.keys
            .insert((begun.tenant.clone(), begun.key.clone()), gtid);
        let transaction = Transaction {
            gtid,
            epoch,
            course: Course::begin(&begun.plan, seed(gtid)),
            begun: Arc::new(begun),
            begun_record: Durability::None,
            decision_record: Durability::None,
            closed_record: Durability::None,
            gate: None,
            last: None,
            durable: Position(0),
            decided: Position(0),
            counted: false,
            position: Position(0),
            waiters: vec![(request, submission.wait)],
            timers: Vec::new(),
            closed_at: None,
        };
        self.transactions.insert(gtid, transaction);
        self.record_begun(now, gtid, effects);
        self.settle(gtid, effects);
    }

    /// The key belongs to a transaction in memory.
    fn join(
        &mut self,
        request: RequestId,
        by: Gtid,
        fingerprint: Fingerprint,
        wait: Wait,
        effects: &mut Vec<Effect>,
    ) {
        let same = self
            .transactions
            .get(&by)
            .map(|it| it.begun.fingerprint == fingerprint);
        match same {
            Some(true) => self.query(request, by, Some(wait), effects),
            // Before the first is durable, nobody may hear its name.
            Some(false) => self.reply_key_reused(request, by, effects),
            None => reply_key_taken(request, by, effects),
        }
    }

    fn reply_key_reused(&mut self, request: RequestId, by: Gtid, effects: &mut Vec<Effect>) {
        let begun = self.transactions.get(&by).map(|it| it.begun_record);
        let after = match begun {
            Some(Durability::Awaited(token)) => After::Durable(token),
            Some(Durability::None | Durability::Durable) | None => After::Now,
        };
        self.reply_gated(after, request, Reply::KeyReused { by }, effects);
    }

    /// The journal refused to begin `gtid`: its key belongs to `by`.
    pub(super) fn key_taken(
        &mut self,
        gtid: Gtid,
        gated: &[RequestId],
        by: Gtid,
        effects: &mut Vec<Effect>,
    ) {
        let Some(transaction) = self.transactions.get_mut(&gtid) else {
            return;
        };
        let waiting = std::mem::take(&mut transaction.waiters);
        self.forget(gtid);
        let waiting = waiting.iter().map(|(request, _)| *request);
        for request in gated.iter().copied().chain(waiting) {
            reply_key_taken(request, by, effects);
        }
    }

    pub(super) fn query(
        &mut self,
        request: RequestId,
        gtid: Gtid,
        wait: Option<Wait>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(transaction) = self.transactions.get_mut(&gtid) else {
            return effects.push(Effect::Reply {
                after: After::Now,
                request,
                reply: Reply::NotInMemory,
            });
        };
        match wait {
            Some(wait)
                if transaction.waiters.len() < WAITERS_MAX || transaction.has_reached(wait) =>
            {
                transaction.waiters.push((request, wait));
                self.settle(gtid, effects);
            }
            // One more than may wait hears how it stands now. A refusal would say that nothing was
            // begun, to a client that repeats its request.
            Some(_) | None => {
                let status = Box::new(transaction.status(false));
                let after = match (transaction.begun_record, transaction.last) {
                    (_, Some(last)) if transaction.is_given_up() => After::Durable(last),
                    (Durability::Awaited(token), _) => After::Durable(token),
                    (Durability::None | Durability::Durable, _) => After::Now,
                };
                self.reply_gated(after, request, Reply::Status(status), effects);
            }
        }
    }
}

fn reply_key_taken(request: RequestId, by: Gtid, effects: &mut Vec<Effect>) {
    effects.push(Effect::Reply { after: After::Now, request, reply: Reply::KeyTaken { by } });
}

/// Spreads the pauses of different transactions; drawn from the id, so that a replay draws it too.
pub(super) fn seed(gtid: Gtid) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = gtid.random().to_le_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
