//! What every reply of the run kept, whatever it said. These come last.

use crate::check::{Verdict, checks, fail, skip};
use crate::session::Session;
use crate::witness::Remark;

checks! { Contract:
    Must "reply.attempt",
        "Every reply repeats the attempt of its call.",
        attempt;
    Must "reply.identity",
        "Every reply carries the identity of the database that gave it.",
        identity;
    Must "reply.identity_steady",
        "The identity never goes back, and never changes to another database.",
        identity_steady;
}

fn judge(s: &Session<'_>, remark: Option<Remark>) -> Verdict {
    match remark {
        Some(Remark { expected, came }) => fail(expected, came),
        None if s.witness.replies() == 0 => skip("no call was answered with a reply"),
        None => Ok(()),
    }
}

async fn attempt(s: &Session<'_>) -> Verdict {
    judge(s, s.witness.on_attempt())
}

async fn identity(s: &Session<'_>) -> Verdict {
    judge(s, s.witness.on_form())
}

async fn identity_steady(s: &Session<'_>) -> Verdict {
    judge(s, s.witness.on_order())
}
