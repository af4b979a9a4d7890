//! Replies, and which record each waits for.

use crate::effect::{After, Effect, Reply, RequestId};
use crate::id::{Gtid, Position};
use crate::wire::api::Wait;
use crate::wire::problem::ProblemCode;

use super::machine::Node;
use super::transaction::Durability;

impl Node {
    /// Replies with the status that the transaction has once the record it relies on is durable.
    pub(super) fn reply_status(
        &mut self,
        gtid: Gtid,
        request: RequestId,
        wait: Wait,
        effects: &mut Vec<Effect>,
    ) {
        let Some(transaction) = self.transactions.get(&gtid) else {
            return;
        };
        let relies_on = match wait {
            Wait::Accepted => transaction.begun_record,
            Wait::Decided | Wait::Completed => transaction.decision_record,
        };
        // It tells what every step returned.
        let tells_all = wait == Wait::Completed && !transaction.course.is_atomic();
        let after = match (relies_on, transaction.last) {
            (_, Some(last)) if tells_all || transaction.is_given_up() => After::Durable(last),
            (Durability::Awaited(token), _) => After::Durable(token),
            (Durability::None | Durability::Durable, _) => After::Now,
        };
        let records = match wait {
            Wait::Accepted => Position(0),
            Wait::Decided => transaction.decided,
            Wait::Completed => transaction.position,
        };
        let status = transaction.status_up_to(wait != Wait::Accepted, records);
        self.reply_gated(after, request, Reply::Status(Box::new(status)), effects);
    }

    /// Replies once a record is durable. More than may wait for one record are told to ask again:
    /// what they ask about is there, so nobody may tell them that nothing was begun.
    pub(super) fn reply_gated(
        &mut self,
        after: After,
        request: RequestId,
        reply: Reply,
        effects: &mut Vec<Effect>,
    ) {
        match after {
            After::Durable(token) if !self.await_also(token, request) => {
                refuse_all(&[request], ProblemCode::Unknown, effects);
            }
            After::Durable(_) | After::Now => effects.push(Effect::Reply { after, request, reply }),
        }
    }
}

/// Tells requests that they cannot be answered.
pub(super) fn refuse_all(requests: &[RequestId], code: ProblemCode, effects: &mut Vec<Effect>) {
    effects.extend(requests.iter().map(|&request| Effect::Reply {
        after: After::Now,
        request,
        reply: Reply::Refused(code),
    }));
}
