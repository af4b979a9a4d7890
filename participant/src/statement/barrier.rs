//! The messages of barriers. The plans that they execute are those of `PLANS`.

use std::fmt;

use accordant_protocol::id::{Epoch, Gid};
use sqlx::AssertSqlSafe;

use super::{Bounds, COMMIT, RESET, Session, begin, guard, hexadecimal, issuer, push};
use crate::barrier::Verb;
use crate::limits::SEAL_LOCK_TIMEOUT_MS;

/// A row that is inserted, as arguments of a plan.
struct Row<'a> {
    gid: &'a Gid,
    op: &'a str,
    state: &'a str,
    epoch: Epoch,
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gid, op, state, epoch } = self;
        let (gtid, branch, issuer) = (gid.gtid, gid.branch, issuer(&gid.gtid));
        let (minted, epoch) = (gid.gtid.minted().as_millis(), number(*epoch));
        write!(
            f,
            "'{gtid}', {branch}, '{op}', '{state}', '{issuer}', {minted}, {epoch}"
        )
    }
}

fn number(epoch: Epoch) -> i64 {
    i64::try_from(epoch.0).unwrap_or(i64::MAX)
}

/// Opens the local transaction of a call and inserts its rows: one message, one round trip. Its
/// last row is what [`stand`] returns.
///
/// The row of `act` or `try` comes first in every verb, so that any two calls about a branch meet
/// there. What follows is inserted only where that row is done; a confirm and a cancel then meet
/// at the key of `confirm`.
pub(crate) fn cross(
    gid: &Gid,
    verb: Verb,
    epoch: Epoch,
    bounds: Bounds,
    wait_ms: u64,
) -> AssertSqlSafe<String> {
    let lock_ms = bounds.lock_ms;
    let mut text = begin(gid, Bounds { lock_ms: wait_ms, ..bounds });
    let first = match verb {
        Verb::Act | Verb::Try => "done",
        Verb::Compensate | Verb::Confirm | Verb::Cancel => "skipped",
    };
    let row = |op, state| Row { gid, op, state, epoch };
    push(
        &mut text,
        format_args!("execute accordant_bar ({}); ", row(verb.first_op(), first)),
    );
    let mut follow = |op, state, after: (&str, &str)| {
        let (row, (after, of)) = (row(op, state), after);
        push(
            &mut text,
            format_args!("execute accordant_follow ({row}, '{after}', '{of}'); "),
        );
    };
    match verb {
        Verb::Act | Verb::Try => {}
        Verb::Compensate => follow("compensate", "done", ("act", "done")),
        Verb::Confirm => follow("confirm", "done", ("try", "done")),
        Verb::Cancel => {
            follow("confirm", "skipped", ("try", "done"));
            follow("cancel", "done", ("confirm", "skipped"));
        }
    }
    push(
        &mut text,
        format_args!("select set_config('lock_timeout', '{lock_ms}', true); "),
    );
    write_stand(&mut text, gid, verb);
    AssertSqlSafe(text)
}

/// What a call stores at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Closing<'a> {
    /// The result of its handler.
    Result(Option<&'a str>),
    /// Besides the row that keeps an act out, that its compensation has been.
    Compensated,
    /// Nothing more.
    Nothing,
}

/// Commits the local transaction of a call. An `Ok` proves that its rows and its work are
/// committed, by the guards of the vote message.
pub(crate) fn close(
    gid: &Gid,
    verb: Verb,
    epoch: Epoch,
    lock_ms: u64,
    closing: Closing<'_>,
) -> AssertSqlSafe<String> {
    let mut text = guard(gid, lock_ms);
    let (gtid, branch, op) = (gid.gtid, gid.branch, verb.op());
    match closing {
        Closing::Result(Some(result)) => {
            let result = hexadecimal(result);
            push(
                &mut text,
                format_args!(" execute accordant_result ('{gtid}', {branch}, '{op}', {result});"),
            );
        }
        Closing::Compensated => {
            let row = Row { gid, op: "compensate", state: "done", epoch };
            push(&mut text, format_args!(" execute accordant_bar ({row});"));
        }
        Closing::Result(None) | Closing::Nothing => {}
    }
    push(&mut text, format_args!(" {COMMIT}"));
    AssertSqlSafe(text)
}

/// Keeps `act` or `try` out, with a refusal: one message, one round trip. Its last row is what
/// [`stand`] returns.
pub(crate) fn skip(
    gid: &Gid,
    verb: Verb,
    epoch: Epoch,
    refusal: &str,
    session: Session,
) -> AssertSqlSafe<String> {
    let (gtid, branch, op) = (gid.gtid, gid.branch, verb.first_op());
    let (epoch, refusal) = (number(epoch), hexadecimal(refusal));
    let rollback = match session {
        Session::Clean => "",
        Session::InBranch => "rollback; ",
    };
    let mut text = format!(
        "{rollback}{RESET}; begin isolation level read committed;
        select pg_advisory_unlock_all()::text,
            set_config('lock_timeout', '{SEAL_LOCK_TIMEOUT_MS}', true),
            set_config('synchronous_commit', 'on', true);
        insert into accordant.branch (gtid, branch, op, state, refusal, epoch)
        values ('{gtid}', {branch}, '{op}', 'skipped', {refusal}, {epoch})
        on conflict do nothing; "
    );
    write_stand(&mut text, gid, verb);
    text.push_str("; commit");
    AssertSqlSafe(text)
}

/// Opens a local transaction in which the end of an action is written that went on elsewhere.
pub(crate) fn begin_settling(wait_ms: u64) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "{RESET}; begin isolation level read committed;
        select pg_advisory_unlock_all()::text, set_config('lock_timeout', '{wait_ms}', true)"
    ))
}

/// Looks at the rows of a branch.
pub(crate) fn stand(gid: &Gid, verb: Verb) -> AssertSqlSafe<String> {
    let mut text = format!("{RESET}; begin isolation level read committed; ");
    write_stand(&mut text, gid, verb);
    text.push_str("; commit");
    AssertSqlSafe(text)
}

fn write_stand(text: &mut String, gid: &Gid, verb: Verb) {
    let (gtid, branch, issuer) = (gid.gtid, gid.branch, issuer(&gid.gtid));
    let (first, second) = (verb.first_op(), verb.second_op());
    let minted = gid.gtid.minted().as_millis();
    push(
        text,
        format_args!(
            "execute accordant_stand ('{gtid}', {branch}, '{first}', '{second}', '{issuer}', {minted})"
        ),
    );
}
