//! A participant asks what became of a transaction.

use crate::effect::{After, Effect, Reply, RequestId, Token};
use crate::id::{BranchIndex, Gtid};
use crate::limits::CLOCK_SKEW_MS_MAX;
use crate::record::{Aborted, Record};
use crate::time::Timestamp;
use crate::wire::api::{AbortReason, Verdict};
use crate::wire::problem::ProblemCode;

use super::machine::Node;
use super::reply::refuse_all;

/// An abort on its way into the journal for a gtid of which nothing was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Presumption {
    pub(super) token: Token,
}

impl Node {
    pub(super) fn inquire(
        &mut self,
        now: Timestamp,
        request: RequestId,
        gtid: Gtid,
        branch: BranchIndex,
        effects: &mut Vec<Effect>,
    ) {
        // What is in memory is ours, wherever the clock stands by now.
        if let Some(transaction) = self.transactions.get(&gtid) {
            let verdict = transaction.verdict(branch);
            return reply_verdict(request, After::Now, verdict, effects);
        }
        if let Err(verdict) = self.may_judge(now, gtid) {
            return reply_verdict(request, After::Now, verdict, effects);
        }
        let Some(partition) = self.partitions.get(&gtid.partition()) else {
            return refuse_all(&[request], ProblemCode::NotOwner, effects);
        };
        if partition.loading {
            // It may be among those that have not been read yet.
            return reply_verdict(request, After::Now, Verdict::Pending, effects);
        }
        effects.push(Effect::Reply { after: After::Now, request, reply: Reply::NotInMemory });
    }

    /// Absence becomes abort only for a gtid of this journal, minted above its horizon, under the
    /// present epoch, and by writing the abort down before it is told.
    pub(super) fn presume(
        &mut self,
        now: Timestamp,
        request: RequestId,
        gtid: Gtid,
        effects: &mut Vec<Effect>,
    ) {
        if let Err(verdict) = self.may_judge(now, gtid) {
            return reply_verdict(request, After::Now, verdict, effects);
        }
        let Some(partition) = self.partitions.get(&gtid.partition()) else {
            return refuse_all(&[request], ProblemCode::NotOwner, effects);
        };
        if gtid.minted() <= partition.horizon {
            return reply_verdict(request, After::Now, Verdict::Unknown, effects);
        }
        if partition.loading || self.transactions.contains_key(&gtid) {
            return reply_verdict(request, After::Now, Verdict::Pending, effects);
        }
        let token = match self.presumptions.get(&gtid) {
            Some(presumption) => {
                let token = presumption.token;
                if !self.await_also(token, request) {
                    return reply_verdict(request, After::Now, Verdict::Pending, effects);
                }
                token
            }
            None => {
                let epoch = partition.epoch;
                let reason = AbortReason::Presumed;
                let record = Record::Aborted(Aborted { at: now, reason, compensate: Vec::new() });
                let token = self.record_presumption(gtid, epoch, request, record, effects);
                self.presumptions.insert(gtid, Presumption { token });
                token
            }
        };
        reply_verdict(request, After::Durable(token), Verdict::Abort, effects);
    }

    /// Another cluster's or another journal's transactions are not ours to judge, nor is one that
    /// claims to come from the future.
    fn may_judge(&self, now: Timestamp, gtid: Gtid) -> Result<(), Verdict> {
        let ours = gtid.cluster() == self.config.cluster
            && gtid.incarnation() == self.config.incarnation
            && gtid.minted() <= now.plus_millis(CLOCK_SKEW_MS_MAX);
        if ours { Ok(()) } else { Err(Verdict::Unknown) }
    }
}

fn reply_verdict(request: RequestId, after: After, verdict: Verdict, effects: &mut Vec<Effect>) {
    effects.push(Effect::Reply { after, request, reply: Reply::Verdict(verdict) });
}
