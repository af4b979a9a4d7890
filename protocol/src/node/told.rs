//! Somebody tells something about a transaction: that a local transaction has ended, how an action
//! stands, or what is to become of one that is stuck.

use crate::effect::{After, Effect, Reply, RequestId};
use crate::id::Gtid;
use crate::limits::RECORDS_MAX;
use crate::plan::{Input, Refused};
use crate::record::Resolution;
use crate::time::Timestamp;
use crate::wire::problem::ProblemCode;

use super::machine::Node;
use super::reply::refuse_all;

impl Node {
    /// Takes what was said, and answers with the status once it is durable that it was heard.
    pub(super) fn told(
        &mut self,
        now: Timestamp,
        request: RequestId,
        gtid: Gtid,
        input: Input,
        effects: &mut Vec<Effect>,
    ) {
        let Some(transaction) = self.transactions.get(&gtid) else {
            let owned = self.partitions.get(&gtid.partition());
            return match owned.map(|owned| owned.loading) {
                None => refuse_all(&[request], ProblemCode::NotOwner, effects),
                // It may be among those that have not been read yet.
                Some(true) => refuse_all(&[request], ProblemCode::Unavailable, effects),
                Some(false) => {
                    let reply = Reply::NotInMemory;
                    effects.push(Effect::Reply { after: After::Now, request, reply });
                }
            };
        };
        // A call-back may speak of a call that is held until a record is durable. Were it heard now,
        // that call would leave after what follows from the call-back.
        let called_back = matches!(input, Input::CalledBack { .. });
        if !transaction.is_begun() || (called_back && transaction.gate.is_some()) {
            return refuse_all(&[request], ProblemCode::Unavailable, effects);
        }
        // Whatever else is decided ends something, so it is bounded by itself.
        let again = matches!(input, Input::Resolved { resolution: Resolution::Retry, .. });
        if again && transaction.position.0 >= RECORDS_MAX {
            return refuse_all(&[request], ProblemCode::OutOfPlace, effects);
        }
        let heard = self.try_advance(now, gtid, input, effects);
        if let Err(refused) = heard {
            let code = match refused {
                Refused::NoAction => ProblemCode::NoAction,
                Refused::Group(_) | Refused::Misplaced | Refused::Pivot => ProblemCode::OutOfPlace,
            };
            return refuse_all(&[request], code, effects);
        }
        let Some(transaction) = self.transactions.get(&gtid) else {
            return;
        };
        // What a call-back says may have been heard before, and its record be lazy and on its way.
        let relies_on = if called_back {
            transaction.last
        } else {
            transaction.gate
        };
        let after = relies_on.map_or(After::Now, After::Durable);
        let status = Box::new(transaction.status(false));
        self.reply_gated(after, request, Reply::Status(status), effects);
    }
}
