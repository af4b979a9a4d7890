//! The statements that run in the service's own transactions, and those of the outbox.

/// Has the transaction commit durably, where its session would not: it could be undone by a crash
/// after others have heard of it.
macro_rules! durable {
    () => {
        "
    with durable as (
        select set_config('synchronous_commit', case
            when current_setting('synchronous_commit') in ('off', 'local', 'remote_write') then 'on'
            else current_setting('synchronous_commit')
        end, true)
    )"
    };
}

/// Writes a message.
pub(crate) const SEND: &str = concat!(
    durable!(),
    "
    insert into accordant.outbox (id, plan, traceparent)
    select $1::text::uuid, $2::text, $3::text from durable"
);

/// Writes the marker of a local branch. Its state is empty, which its column refuses, at or below
/// the retention floor; a seal refuses it too. In both cases the transaction has failed.
pub(crate) const MARK: &str = concat!(
    durable!(),
    "
    insert into accordant.branch (gtid, branch, op, state)
    select $1::text, 0, '2pc', case when not exists (
        select from accordant.floor f where f.issuer = $2::text and f.minted >= $3::bigint
    ) then 'committed' end from durable"
);

/// Writes what an action came to elsewhere, unless it stands already. A compensation is written
/// only where the act is done.
pub(crate) const SETTLE: &str = concat!(
    durable!(),
    "
    insert into accordant.branch (gtid, branch, op, state, result, refusal)
    select $1::text, $2::bigint::smallint, $3::text, $4::text, $5::text, $6::text from durable
    where ($3::text = 'act' or exists (
        select from accordant.branch b where b.gtid = $1::text
            and b.branch = $2::bigint::smallint and b.op = 'act' and b.state = 'done'
    )) and not exists (
        select from accordant.floor f where f.issuer = $7::text and f.minted >= $8::bigint
    )
    on conflict do nothing"
);

/// How an action stands.
pub(crate) const SETTLED: &str = "
    select (
            select state from accordant.branch
            where gtid = $1::text and branch = $2::bigint::smallint and op = 'act'
        ) as act,
        (
            select state from accordant.branch
            where gtid = $1::text and branch = $2::bigint::smallint and op = 'compensate'
        ) as compensate,
        exists (
            select from accordant.floor f where f.issuer = $3::text and f.minted >= $4::bigint
        ) as below_floor";

/// Claims messages that are due: counts the attempt, and puts the next one off until the claim has
/// run out.
pub(crate) const CLAIM: &str = "
    with due as (
        select id from accordant.outbox
        where state = 'waiting' and next_at <= now()
        order by next_at limit $2::bigint
        for update skip locked
    )
    update accordant.outbox o
    set attempts = o.attempts + 1,
        next_at = clock_timestamp() + $1::bigint * interval '1 millisecond'
    from due where o.id = due.id
    returning o.id::text as id, o.plan, o.traceparent, o.attempts";

/// Forgets a message that the coordinator has taken, whoever sent it.
pub(crate) const SENT: &str = "delete from accordant.outbox where id = $1::text::uuid";

/// Puts a message off, unless somebody else has claimed it meanwhile.
pub(crate) const LATER: &str = "
    update accordant.outbox
    set next_at = clock_timestamp() + $3::bigint * interval '1 millisecond', error = $4::text
    where id = $1::text::uuid and attempts = $2::bigint and state = 'waiting'";

/// Sets a message aside.
pub(crate) const REFUSED: &str = "
    update accordant.outbox set state = 'refused', error = $2::text
    where id = $1::text::uuid and state = 'waiting'";

/// How much waits, counted up to a bound, and for how long.
pub(crate) const WAITING: &str = "
    select (
            select count(*) from (
                select from accordant.outbox where state = 'waiting' limit $1::bigint
            ) waiting
        ) as waiting,
        (
            select count(*) from (
                select from accordant.outbox where state = 'refused' limit $1::bigint
            ) refused
        ) as refused,
        coalesce(extract(epoch from clock_timestamp() - (
            select created_at from accordant.outbox where state = 'waiting' order by id limit 1
        )), 0)::double precision as oldest_s";
