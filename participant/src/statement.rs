//! Every statement that this library sends, and the only place that builds one from parts.
//!
//! `PREPARE TRANSACTION` and its kin take no bind parameters, and a message of several statements
//! cannot have any. Such texts are built here and from nothing but what cannot carry an injection:
//! a [`Gid`], numbers, and text in hexadecimal.

use std::fmt::Write as _;

use accordant_protocol::id::{Epoch, Gid, Gtid};
use sqlx::AssertSqlSafe;

use crate::limits::SEAL_LOCK_TIMEOUT_MS;

mod barrier;
mod outbox;

pub(crate) use barrier::{Closing, begin_settling, close, cross, skip, stand};
pub(crate) use outbox::{CLAIM, LATER, MARK, REFUSED, SEND, SENT, SETTLE, SETTLED, WAITING};

/// Which server this is. Its timeline is that of its present WAL; a standby has none.
pub(crate) const SERVER: &str = "
    rollback;
    select (select system_identifier::text from pg_control_system()) as system,
           (select oid::bigint from pg_database where datname = current_database()) as database,
           case when not pg_is_in_recovery()
               then substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
           end as timeline";

/// What each session of ours keeps a plan of: planning them anew for each branch would take longer
/// than all the rest of the branch takes the server's processor.
///
/// The marker's state is empty, which its column refuses, at or below the retention floor.
pub(crate) const PLANS: &str = "
    prepare accordant_look (text, smallint, text, oid, text, bigint) as
    select b.state, b.result, b.refusal,
        exists (
            select from pg_prepared_xact() p where p.gid = $3 and p.dbid = $4
        ) as prepared,
        exists (
            select from accordant.floor f where f.issuer = $5 and f.minted >= $6
        ) as below_floor,
        (select starts from accordant.instance) as starts,
        pg_is_in_recovery() as recovering,
        current_setting('synchronous_standby_names') <> '' as replicated
    from (values (1)) as one (n)
    left join accordant.branch b on b.gtid = $1 and b.branch = $2 and b.op = '2pc';
    prepare accordant_mark (text, smallint, text, bigint, bigint) as
    insert into accordant.branch (gtid, branch, op, state, result, epoch)
    select $1, $2, '2pc',
        case when not exists (
            select from accordant.floor f where f.issuer = $3 and f.minted >= $4
        ) then 'committed' end,
        nullif(current_setting('accordant.result', true), ''), $5;
    prepare accordant_bar (text, smallint, text, text, text, bigint, bigint) as
    insert into accordant.branch (gtid, branch, op, state, epoch)
    select $1, $2, $3, $4, $7
    where not exists (select from accordant.floor f where f.issuer = $5 and f.minted >= $6)
    on conflict do nothing;
    prepare accordant_follow (text, smallint, text, text, text, bigint, bigint, text, text) as
    insert into accordant.branch (gtid, branch, op, state, epoch)
    select $1, $2, $3, $4, $7 from accordant.branch b
    where b.gtid = $1 and b.branch = $2 and b.op = $8 and b.state = $9
        and not exists (select from accordant.floor f where f.issuer = $5 and f.minted >= $6)
    on conflict do nothing;
    prepare accordant_stand (text, smallint, text, text, text, bigint) as
    select f.state as first_state, f.result as first_result, f.refusal as first_refusal,
        coalesce(f.xmin = pg_current_xact_id_if_assigned()::xid, false) as first_ours,
        s.state as second_state, s.result as second_result,
        coalesce(s.xmin = pg_current_xact_id_if_assigned()::xid, false) as second_ours,
        exists (
            select from accordant.floor f where f.issuer = $5 and f.minted >= $6
        ) as below_floor,
        (select starts from accordant.instance) as starts,
        pg_is_in_recovery() as recovering,
        current_setting('synchronous_standby_names') <> '' as replicated
    from (values (1)) as one (n)
    left join accordant.branch f on f.gtid = $1 and f.branch = $2 and f.op = $3
    left join accordant.branch s on s.gtid = $1 and s.branch = $2 and s.op = $4;
    prepare accordant_result (text, smallint, text, text) as
    update accordant.branch set result = $4 where gtid = $1 and branch = $2 and op = $3";

/// Whether the branch wrote anything, and the hand-over of its result to the vote message. A
/// serializable branch counts as a writer: only its commit or prepare tells whether it may stand.
/// It reads no table, since the handler may have taken a role that can read none of ours.
pub(crate) const BEFORE_VOTE: &str = "
    select pg_current_xact_id_if_assigned() is null
               and current_setting('transaction_isolation') <> 'serializable' as read_only,
           set_config('accordant.result', $1, true)";

/// What is held for many branches. A branch of which neither row nor prepared transaction shows
/// needs a closer look: the two are not seen at the same instant.
pub(crate) const OVERVIEW: &str = "
    select asked.nr, b.state, b.result, p.gid is not null as prepared,
           (select starts from accordant.instance) as starts,
           pg_is_in_recovery() as recovering,
           current_setting('synchronous_standby_names') <> '' as replicated
    from unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[])
             as asked (nr, gtid, branch, gid)
    left join accordant.branch b
        on b.gtid = asked.gtid and b.branch = asked.branch::smallint and b.op = '2pc'
    left join pg_prepared_xact() p
        on p.gid = asked.gid
        and p.dbid = (select oid from pg_database where datname = current_database())";

/// The present start count and state of the server, where no branch is asked about.
pub(crate) const STARTS: &str = "
    select starts, pg_is_in_recovery() as recovering from accordant.instance";

/// Makes everything before it reach the synchronous standbys: WAL is replicated in its order.
pub(crate) const BARRIER: &str = "
    select pg_logical_emit_message(true, 'accordant', 'barrier')::text";

/// Own branches in doubt in this database, oldest first.
pub(crate) const IN_DOUBT: &str = "
    select gid, extract(epoch from clock_timestamp() - prepared)::double precision as age_s
    from pg_prepared_xacts
    where database = current_database() and owner = current_user and gid like 'acc:%'
        and prepared <= clock_timestamp() - $1::bigint * interval '1 millisecond'
    order by prepared
    limit $2";

/// The slots of the whole server, and those of them that branches in doubt here occupy.
pub(crate) const SLOTS: &str = "
    select count(*) as used,
           current_setting('max_prepared_transactions')::bigint as allowed,
           count(*) filter (where ours) as in_doubt,
           coalesce(extract(epoch from clock_timestamp() - min(prepared) filter (where ours)), 0)
               ::double precision as oldest_s,
           coalesce(max(age(transaction)), 0)::bigint as oldest_xid_age
    from (
        select transaction, prepared,
               database = current_database() and gid like 'acc:%' as ours
        from pg_prepared_xacts
    ) prepared";

/// Raises a floor.
pub(crate) const RAISE_FLOOR: &str = "
    insert into accordant.floor as f (issuer, minted, settling) values ($1, $2, $2)
    on conflict (issuer) do update set minted = excluded.minted
    where f.minted < excluded.minted";

/// Settles what has been refused for longer than any branch can be open, and begins to wait for
/// what is refused by now.
pub(crate) const SETTLE_FLOORS: &str = "
    update accordant.floor set settled = settling, settling = minted, since = clock_timestamp()
    where settled < minted and since < clock_timestamp() - $1::bigint * interval '1 millisecond'";

/// What may be deleted.
pub(crate) const FLOORS: &str = "select issuer, settled from accordant.floor where settled > 0";

/// Deletes a batch of markers and seals. The marker of a branch that is still prepared is not
/// visible, and a seal has no prepared branch: neither can be hit.
pub(crate) const DELETE_SETTLED: &str = "
    delete from accordant.branch where (gtid, branch, op) in (
        select gtid, branch, op from accordant.branch
        where gtid > $1 and gtid <= $2
        order by gtid, branch, op limit $3
        for update skip locked
    )";

/// Counts this start, durably.
pub(crate) const COUNT_START: &str = "
    update accordant.instance set starts = starts + 1 returning starts";

/// What the start-up checks need to know of the server.
pub(crate) const SETTINGS: &str = "
    select current_setting('server_version_num')::bigint as version,
           current_setting('server_version') as version_text,
           current_setting('max_prepared_transactions')::bigint as slots,
           current_setting('fsync')::boolean as fsync,
           current_setting('full_page_writes')::boolean as full_page_writes,
           current_setting('synchronous_commit') as synchronous_commit,
           current_setting('statement_timeout') as statement_timeout,
           current_setting('server_encoding') as encoding,
           current_setting('standard_conforming_strings')::boolean as conforming,
           pg_is_in_recovery() as recovering";

/// The columns of our tables.
pub(crate) const COLUMNS: &str = "
    select table_name::text, column_name::text, data_type::text
    from information_schema.columns where table_schema = 'accordant'";

/// The version of our tables; null before the first start.
pub(crate) const MIGRATED: &str = "
    select to_regclass('accordant.migration') is not null as there";

/// The newest step that was applied.
pub(crate) const MIGRATION_VERSION: &str = "
    select coalesce(max(version), 0)::bigint as version from accordant.migration";

/// Opens the transaction of the migrations. Replicas that start together queue up at the lock.
pub(crate) const MIGRATE_BEGIN: &str = "
    begin isolation level read committed;
    select pg_advisory_xact_lock(7161700170531107);
    create schema if not exists accordant;
    create table if not exists accordant.migration (
        version    integer     primary key,
        name       text        not null,
        applied_at timestamptz not null default now()
    )";

/// Notes a step.
pub(crate) const MIGRATION_DONE: &str = "
    insert into accordant.migration (version, name) values ($1::bigint::integer, $2)";

/// Every statement with binds or without parts, for the test that has a server parse each.
pub(crate) const ALL: &[&str] = &[
    BEFORE_VOTE,
    OVERVIEW,
    STARTS,
    BARRIER,
    IN_DOUBT,
    SLOTS,
    RAISE_FLOOR,
    SETTLE_FLOORS,
    FLOORS,
    DELETE_SETTLED,
    COUNT_START,
    SETTINGS,
    COLUMNS,
    MIGRATED,
    MIGRATION_VERSION,
    MIGRATION_DONE,
    SEND,
    MARK,
    SETTLE,
    SETTLED,
    CLAIM,
    SENT,
    LATER,
    REFUSED,
    WAITING,
];

/// Puts a session back to what it was when it was made, whatever a handler had set. The role comes
/// last: it is that of `alter role … set role`, where there is one.
const RESET: &str = "reset all; set session authorization default; reset role";

/// The journal and partition that minted an id, as the id's text begins.
pub(crate) fn issuer(gtid: &Gtid) -> String {
    let text = gtid.to_string();
    text.rsplit_once('.')
        .map_or_else(String::new, |(issuer, _)| issuer.to_owned())
}

/// How long a branch may take, for the server to enforce.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// For one statement of the handler.
    pub statement_ms: u64,
    /// For the pause between two.
    pub idle_ms: u64,
    /// For one row lock.
    pub lock_ms: u64,
}

/// Opens a branch: one message, one round trip. The last two rows are what [`look`] returns.
///
/// The lock is taken by a statement of its own, before the snapshot that looks: whoever gets the
/// lock sees what its last holder left.
pub(crate) fn open(gid: &Gid, database: u32, bounds: Bounds) -> AssertSqlSafe<String> {
    let mut text = begin(gid, bounds);
    write_look(&mut text, gid, database);
    AssertSqlSafe(text)
}

/// Opens the local transaction in which a handler is to work.
fn begin(gid: &Gid, bounds: Bounds) -> String {
    let Bounds { statement_ms, idle_ms, lock_ms } = bounds;
    format!(
        "{RESET}; begin;
        select pg_advisory_unlock_all()::text, set_config('accordant.gid', '{gid}', true),
            set_config('accordant.gtid', '{}', true), set_config('application_name', '{gid}', true),
            set_config('lock_timeout', '{lock_ms}', true),
            set_config('statement_timeout', '{statement_ms}', true),
            set_config('idle_in_transaction_session_timeout', '{idle_ms}', true);
        ",
        gid.gtid
    )
}

/// Looks at what the database holds for a branch.
pub(crate) fn look(gid: &Gid, database: u32) -> AssertSqlSafe<String> {
    let mut text = format!("{RESET}; begin isolation level read committed; ");
    write_look(&mut text, gid, database);
    text.push_str("; commit");
    AssertSqlSafe(text)
}

fn write_look(text: &mut String, gid: &Gid, database: u32) {
    let (gtid, branch, issuer) = (gid.gtid, gid.branch, issuer(&gid.gtid));
    let minted = gid.gtid.minted().as_millis();
    push(
        text,
        format_args!(
            "select pg_try_advisory_xact_lock(hashtextextended('{gid}', 0)) as free;
        execute accordant_look ('{gtid}', {branch}, '{gid}', {database}, '{issuer}', {minted})"
        ),
    );
}

/// How the vote message ends the local transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// `PREPARE TRANSACTION`.
    Prepare,
    /// `COMMIT`: the branch is alone.
    Commit,
}

/// The vote message. An `Ok` proves that the branch is prepared (or committed), for:
/// the savepoint fails outside a transaction (25P01) and in a failed one (25P02); the division
/// fails (22012) if the work ended our transaction and began another; the marker fails on a seal or
/// another marker (23505), and its empty state on the floor (23502).
///
/// The role is put back first, for only the one that prepares may finish; and the session's own
/// advisory locks are let go, which nothing else would end while the session is idle.
pub(crate) fn vote(gid: &Gid, epoch: Epoch, lock_ms: u64, end: End) -> AssertSqlSafe<String> {
    let (gtid, branch, issuer) = (gid.gtid, gid.branch, issuer(&gid.gtid));
    let minted = gid.gtid.minted().as_millis();
    let epoch = i64::try_from(epoch.0).unwrap_or(i64::MAX);
    let end = match end {
        End::Prepare => format!("prepare transaction '{gid}'"),
        End::Commit => COMMIT.to_owned(),
    };
    AssertSqlSafe(format!(
        "{}
        execute accordant_mark ('{gtid}', {branch}, '{issuer}', {minted}, {epoch});
        {end}",
        guard(gid, lock_ms)
    ))
}

/// What cannot be prepared can be committed, and would meet the session's next branch.
const COMMIT: &str = "close all; discard temp; unlisten *; commit";

/// Fails unless the local transaction is still the one that was opened for the handler.
fn guard(gid: &Gid, lock_ms: u64) -> String {
    format!(
        "savepoint accordant_vote; release savepoint accordant_vote;
        set session authorization default; reset role;
        select 1 / (current_setting('accordant.gid', true) is not distinct from '{gid}')::int,
            pg_advisory_unlock_all()::text,
            set_config('synchronous_commit', 'on', true),
            set_config('statement_timeout', '0', true),
            set_config('lock_timeout', '{lock_ms}', true);"
    )
}

/// Gives up what a handler has done.
pub(crate) const GIVE_UP: &str = "rollback; select pg_advisory_unlock_all()::text";

/// Ends a branch that wrote nothing. It is rolled back, not committed: a `NOTIFY` leaves no trace
/// that could be asked for, and a commit would send it before the outcome is known.
pub(crate) fn end_read_only(gid: &Gid) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "savepoint accordant_vote; release savepoint accordant_vote;
        select 1 / (current_setting('accordant.gid', true) is not distinct from '{gid}')::int,
            pg_advisory_unlock_all()::text;
        rollback"
    ))
}

/// What a session is in when it is told to seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// Nothing is open.
    Clean,
    /// The branch's local transaction is open and is to be rolled back.
    InBranch,
}

/// Seals a branch: one message, one round trip. Its last row is what is there afterwards, the seal
/// or what was there before it.
pub(crate) fn seal(gid: &Gid, refusal: Option<&str>, session: Session) -> AssertSqlSafe<String> {
    let (gtid, branch) = (gid.gtid, gid.branch);
    let rollback = match session {
        Session::Clean => "",
        Session::InBranch => "rollback; ",
    };
    let refusal = refusal.map_or_else(|| "null".to_owned(), hexadecimal);
    AssertSqlSafe(format!(
        "{rollback}{RESET}; begin isolation level read committed;
        select pg_advisory_unlock_all()::text,
            set_config('lock_timeout', '{SEAL_LOCK_TIMEOUT_MS}', true),
            set_config('synchronous_commit', 'on', true);
        insert into accordant.branch (gtid, branch, op, state, refusal)
        values ('{gtid}', {branch}, '2pc', 'aborted', {refusal}) on conflict do nothing;
        select state, result, refusal, (select starts from accordant.instance) as starts,
            xmin is distinct from pg_current_xact_id_if_assigned()::xid
                and current_setting('synchronous_standby_names') <> '' as replicated
        from accordant.branch where gtid = '{gtid}' and branch = {branch} and op = '2pc';
        commit"
    ))
}

/// Commits what is prepared. Alone in its message, as the server demands.
pub(crate) fn commit_prepared(gid: &Gid) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("commit prepared '{gid}'"))
}

/// Rolls back what is prepared. Alone in its message, as the server demands.
pub(crate) fn rollback_prepared(gid: &Gid) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("rollback prepared '{gid}'"))
}

/// A text as an expression that no content of the text can break out of.
fn hexadecimal(text: &str) -> String {
    let mut expression = String::with_capacity(text.len() * 2 + 40);
    expression.push_str("convert_from(decode('");
    for byte in text.bytes().filter(|byte| *byte != 0) {
        push(&mut expression, format_args!("{byte:02x}"));
    }
    expression.push_str("', 'hex'), 'UTF8')");
    expression
}

fn push(text: &mut String, part: std::fmt::Arguments<'_>) {
    #[expect(
        clippy::let_underscore_must_use,
        reason = "writing to a String cannot fail"
    )]
    let _ = text.write_fmt(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_hexadecimal_and_nothing_else() {
        assert_eq!(
            hexadecimal("a'\0;é"),
            "convert_from(decode('61273bc3a9', 'hex'), 'UTF8')"
        );
    }
}
