//! Ends what a check has begun, so that nothing stays prepared, reserved or done.

use accordant_protocol::plan::Mode;
use accordant_protocol::wire::contract::{ActVerb, FinishVerb};

use crate::action::Action;
use crate::branch::Branch;
use crate::check::{Stop, Verdict};
use crate::endpoint::Requests;
use crate::session::{Kind, Session, Unit};

/// Ends what was begun and not seen to end; names what could not be ended.
pub(crate) async fn end_all(session: &Session<'_>) -> Vec<String> {
    let mut units = session.open();
    // A branch that is prepared holds locks, for which a compensation would wait.
    units.sort_by_key(|unit| unit.kind == Kind::Action);
    let (mut left, mut silent) = (Vec::new(), false);
    for unit in units {
        // Once nothing answers, the rest would only wait for its timeouts.
        if silent {
            left.push(name(&unit));
            continue;
        }
        if let Err(stop) = end(session, &unit).await {
            silent = matches!(stop, Stop::Failed { silent: true, .. });
            left.push(name(&unit));
        }
    }
    for gtid in session.plain_open() {
        let Ok(requests) = Requests::again(session, gtid) else {
            continue;
        };
        if requests.compensation().is_err() {
            continue;
        }
        if silent || requests.done(ActVerb::Compensate).await.is_err() {
            left.push(format!("{gtid} plain act"));
        }
    }
    left
}

fn name(unit: &Unit) -> String {
    let what = match unit.kind {
        Kind::Action => "action",
        Kind::Branch(Mode::Tcc) => "reservation",
        Kind::Branch(Mode::TwoPhase | Mode::Local) => "prepared branch",
    };
    format!("{} {}: perhaps a {what}", unit.gtid, unit.branch)
}

async fn end(session: &Session<'_>, unit: &Unit) -> Verdict {
    match unit.kind {
        Kind::Action => Action::again(session, unit.clone())
            .undone()
            .await
            .map(drop),
        Kind::Branch(mode) => {
            let branch = Branch::again(session, unit.clone(), mode);
            branch.finish(undo(mode)).await.map(drop)
        }
    }
}

/// What ends a branch that is not to stay.
pub(crate) const fn undo(mode: Mode) -> FinishVerb {
    match mode {
        Mode::Tcc => FinishVerb::Cancel,
        Mode::TwoPhase | Mode::Local => FinishVerb::Abort,
    }
}
