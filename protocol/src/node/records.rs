//! Records on their way into the journal: what they make of a transaction, and what follows when they
//! are durable, or are not.

use crate::effect::{Appended, Effect, Entry, RequestId, Token, Urgency};
use crate::id::{Epoch, Gtid, PartitionId, Position};
use crate::limits::WAITERS_MAX;
use crate::plan::Input;
use crate::record::{Done, Record, Resolved};
use crate::time::Timestamp;
use crate::wire::problem::ProblemCode;

use super::machine::Node;
use super::reply::refuse_all;
use super::transaction::Durability;

/// An append of which the journal has not told yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Awaited {
    gtid: Gtid,
    position: Position,
    what: What,
    /// Requests whose reply the driver holds until the append is durable. It drops the reply if
    /// the append is not, and the node answers them otherwise.
    requests: Vec<RequestId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum What {
    Begun,
    Decision,
    Progress,
    Closed,
    Presumption,
}

impl Node {
    /// Appends a record to a transaction's history.
    pub(super) fn record(
        &mut self,
        now: Timestamp,
        gtid: Gtid,
        record: Record,
        urgency: Urgency,
        effects: &mut Vec<Effect>,
    ) {
        let what = match &record {
            Record::Begun(_) => What::Begun,
            Record::Committed(_) | Record::Aborted(_) => What::Decision,
            Record::Closed(_) => What::Closed,
            Record::Started(_)
            | Record::Done(_)
            | Record::Compensated(_)
            | Record::Stuck(_)
            | Record::Resolved(_) => What::Progress,
        };
        let position = self
            .transactions
            .get(&gtid)
            .map_or(Position(0), |it| it.position);
        let token = self.await_token(gtid, position, what);
        let Some(transaction) = self.transactions.get_mut(&gtid) else {
            return;
        };
        transaction.last = Some(token);
        if urgency == Urgency::Forced {
            transaction.gate = Some(token);
        }
        match &record {
            Record::Done(Done { action, .. }) | Record::Resolved(Resolved { action, .. }) => {
                transaction.course.note_recorded(*action, position);
            }
            Record::Begun(_)
            | Record::Committed(_)
            | Record::Aborted(_)
            | Record::Closed(_)
            | Record::Started(_)
            | Record::Compensated(_)
            | Record::Stuck(_) => {}
        }
        match what {
            What::Begun => {
                transaction.begun_record = Durability::Awaited(token);
                if record.fate().is_some() {
                    transaction.decision_record = Durability::Awaited(token);
                }
            }
            What::Progress => {}
            What::Decision | What::Presumption => {
                transaction.decided = position.next();
                transaction.decision_record = Durability::Awaited(token);
            }
            What::Closed => {
                transaction.closed_record = Durability::Awaited(token);
                transaction.closed_at = Some(now);
            }
        }
        let Some(transaction) = self.transactions.get_mut(&gtid) else {
            return;
        };
        transaction.position = position.next();
        let entry = Entry { gtid, position, epoch: transaction.epoch, record };
        effects.push(Effect::Append { token, entry, urgency });
    }

    pub(super) fn record_begun(&mut self, now: Timestamp, gtid: Gtid, effects: &mut Vec<Effect>) {
        if let Some(transaction) = self.transactions.get(&gtid) {
            let record = Record::Begun(transaction.begun.as_ref().clone());
            self.record(now, gtid, record, Urgency::Forced, effects);
        }
    }

    /// Appends the first and only record of a gtid of which nothing was recorded.
    pub(super) fn record_presumption(
        &mut self,
        gtid: Gtid,
        epoch: Epoch,
        request: RequestId,
        record: Record,
        effects: &mut Vec<Effect>,
    ) -> Token {
        let token = self.await_token(gtid, Position(0), What::Presumption);
        let awaited = self.awaited.get_mut(&token);
        awaited
            .into_iter()
            .for_each(|awaited| awaited.requests.push(request));
        let entry = Entry { gtid, position: Position(0), epoch, record };
        effects.push(Effect::Append { token, entry, urgency: Urgency::Forced });
        token
    }

    /// Adds a request to those that wait for an append, unless as many as may wait already.
    #[must_use]
    pub(super) fn await_also(&mut self, token: Token, request: RequestId) -> bool {
        let awaited = self.awaited.get_mut(&token);
        let awaited = awaited.filter(|awaited| awaited.requests.len() < WAITERS_MAX);
        let room = awaited.is_some();
        awaited
            .into_iter()
            .for_each(|awaited| awaited.requests.push(request));
        room
    }

    fn await_token(&mut self, gtid: Gtid, position: Position, what: What) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.awaited.insert(
            token,
            Awaited { gtid, position, what, requests: Vec::new() },
        );
        token
    }

    pub(super) fn flushed(
        &mut self,
        now: Timestamp,
        token: Token,
        outcome: Appended,
        effects: &mut Vec<Effect>,
    ) {
        let Some(awaited) = self.awaited.remove(&token) else {
            return;
        };
        match outcome {
            Appended::Durable => self.durable(now, token, &awaited, effects),
            Appended::KeyTaken { by } if awaited.what == What::Begun => {
                self.key_taken(awaited.gtid, &awaited.requests, by, effects);
            }
            // No other record has a key: whatever this is, it is no confirmation.
            Appended::KeyTaken { .. } | Appended::Fenced | Appended::Unknown => {
                let partition = awaited.gtid.partition();
                refuse_all(&awaited.requests, ProblemCode::Unknown, effects);
                self.lose(partition, effects);
                if outcome != Appended::Fenced {
                    effects.push(Effect::Reload { partition });
                }
            }
        }
    }

    fn durable(
        &mut self,
        now: Timestamp,
        token: Token,
        awaited: &Awaited,
        effects: &mut Vec<Effect>,
    ) {
        let gtid = awaited.gtid;
        if awaited.what == What::Presumption {
            self.presumptions.remove(&gtid);
            return;
        }
        let Some(transaction) = self.transactions.get_mut(&gtid) else {
            return;
        };
        transaction.note_durable(token, awaited.position);
        match awaited.what {
            What::Begun => {
                transaction.begun_record = Durability::Durable;
                if transaction.decision_record == Durability::Awaited(token) {
                    transaction.decision_record = Durability::Durable;
                }
                let late = now >= transaction.begun.deadline;
                self.advance(now, gtid, Input::Begun { late }, effects);
                if late {
                    self.advance(now, gtid, Input::Deadline, effects);
                }
            }
            What::Decision => {
                transaction.decision_record = Durability::Durable;
                self.advance(now, gtid, Input::Decided, effects);
            }
            What::Progress => {}
            What::Closed => {
                self.forget(gtid);
                let partition = self.partitions.get_mut(&gtid.partition());
                if let Some(partition) = partition.filter(|it| it.loading) {
                    partition.ended.insert(gtid);
                }
            }
            What::Presumption => {}
        }
    }

    /// Drops what is awaited for a partition that is not owned any more; its requests are told
    /// that the outcome is unknown.
    pub(super) fn drop_awaited(&mut self, partition: PartitionId, effects: &mut Vec<Effect>) {
        let lost = self
            .awaited
            .extract_if(.., |_, it| it.gtid.partition() == partition);
        for (_, awaited) in lost {
            refuse_all(&awaited.requests, ProblemCode::Unknown, effects);
        }
    }
}
