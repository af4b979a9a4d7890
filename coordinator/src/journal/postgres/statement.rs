//! Every statement of the PostgreSQL journal.

/// Which server answers, and how it is set.
pub(super) const SERVER: &str = "
    select
        pg_is_in_recovery(),
        (select system_identifier::text from pg_control_system()),
        case when pg_is_in_recovery() then 0
            else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int8
        end,
        current_setting('server_version_num')::int4,
        current_setting('server_encoding'),
        current_setting('fsync'),
        current_setting('full_page_writes'),
        current_setting('synchronous_commit'),
        current_setting('transaction_isolation'),
        current_setting('transaction_read_only'),
        current_setting('statement_timeout')";

pub(super) const LOCK_SCHEMA: &str = "select pg_advisory_xact_lock(4711002263842590802)";

pub(super) const SCHEMA_EXISTS: &str =
    "select to_regclass('accordant_journal.schema_version') is not null";

pub(super) const CREATE_SCHEMA: &str = "
    create schema if not exists accordant_journal;
    create table accordant_journal.schema_version (
        version int primary key,
        applied_at timestamptz not null default clock_timestamp()
    );";

pub(super) const SCHEMA_VERSION: &str =
    "select coalesce(max(version), 0) from accordant_journal.schema_version";

pub(super) const ADD_VERSION: &str =
    "insert into accordant_journal.schema_version (version) values ($1)";

pub(super) const SELECT_JOURNAL: &str = "
    select cluster, incarnation, partitions, system_identifier, timeline
    from accordant_journal.journal where id = 1";

pub(super) const INSERT_JOURNAL: &str = "
    insert into accordant_journal.journal
        (id, cluster, incarnation, partitions, system_identifier, timeline)
    values (1, $1, $2, $3, $4, $5)";

pub(super) const INSERT_PARTITIONS: &str = "
    insert into accordant_journal.partition (id, epoch, owner, lease_until, horizon_ms)
    select id, 0, null, '-infinity', 0 from generate_series(0, $1 - 1) as id";

pub(super) const KEEP_INCARNATION: &str = "
    insert into accordant_journal.former_incarnation (incarnation, system_identifier, timeline)
    select incarnation, system_identifier, timeline from accordant_journal.journal where id = 1";

pub(super) const SET_INCARNATION: &str = "
    update accordant_journal.journal
    set incarnation = $1, system_identifier = $2, timeline = $3 where id = 1";

/// A journal that was restored has no owner.
pub(super) const RAISE_ALL: &str = "
    update accordant_journal.partition
    set epoch = epoch + 1, owner = null, lease_until = '-infinity'";

pub(super) const PROBE: &str =
    "update accordant_journal.journal set probes = probes + 1 where id = 1";

/// A change of epoch is a change of the key (id, epoch), so it waits for the key-share locks of
/// flushes in flight. After the wait the conditions are looked at again.
pub(super) const ACQUIRE: &str = "
    update accordant_journal.partition
    set epoch = epoch + 1, owner = $2,
        lease_until = clock_timestamp() + $3 * interval '1 millisecond'
    where id = $1 and (owner is null or owner = $2 or lease_until <= clock_timestamp())
    returning epoch, horizon_ms";

pub(super) const PARTITIONS: &str = "
    select id, epoch, owner, horizon_ms,
        greatest(0, ceil(extract(epoch from
            case when isfinite(lease_until) then lease_until - clock_timestamp() end
        ) * 1000))::int8
    from accordant_journal.partition order by id";

/// Changes no key, so it does not wait for flushes, nor they for it.
pub(super) const RENEW: &str = "
    update accordant_journal.partition p
    set lease_until = clock_timestamp() + $4 * interval '1 millisecond'
    from unnest($1::int4[], $2::int8[]) as held (id, epoch)
    where p.id = held.id and p.epoch = held.epoch and p.owner = $3
    returning p.id";

pub(super) const RELEASE: &str = "
    update accordant_journal.partition p
    set owner = null, lease_until = '-infinity'
    from unnest($1::int4[], $2::int8[]) as held (id, epoch)
    where p.id = held.id and p.epoch = held.epoch and p.owner = $3";

/// The whole flush.
///
/// `fence` locks the partitions until the commit. Everything joins it, so nothing is written under
/// another epoch. `opened` begins transactions; a taken key or a low horizon leaves one out, and
/// with it all its records. `written` adds records, of a transaction just begun or behind one that
/// is there (`head` is the position of the first of its transaction in this batch). A taken position
/// or fate violates a unique key and undoes everything. The result says which epochs hold and how
/// many records were written; if that is all of them, all is well.
pub(super) const FLUSH: &str = "
    with fence as materialized (
        select id, epoch, horizon_ms from accordant_journal.partition
        where id = any ($1::int4[]) order by id for key share
    ), batch as materialized (
        select b.gtid, b.position, b.epoch, b.head, b.fate, b.body
        from unnest($2::text[], $3::int4[], $4::int8[], $5::int8[], $6::int8[], $7::int2[], $8::text[])
            as b (gtid, partition, epoch, position, head, fate, body)
        join fence f on f.id = b.partition and f.epoch = b.epoch
    ), opened as (
        insert into accordant_journal.transaction
            (gtid, partition, tenant, idempotency_key, minted_ms, closed_ms, attention, stuck)
        select n.gtid, n.partition, n.tenant, n.key, n.minted_ms, n.closed_ms, n.attention, n.stuck
        from unnest($9::text[], $10::int4[], $11::int8[], $12::text[], $13::text[], $14::int8[],
                $15::int8[], $16::bool[], $17::bool[])
            with ordinality
            as n (gtid, partition, epoch, tenant, key, minted_ms, closed_ms, attention, stuck,
                place)
        join fence f on f.id = n.partition and f.epoch = n.epoch
        where n.minted_ms > f.horizon_ms
        order by n.place
        on conflict do nothing
        returning gtid
    ), written as (
        insert into accordant_journal.record (gtid, position, epoch, fate, body)
        select b.gtid, b.position, b.epoch, b.fate, b.body
        from batch b join opened o on o.gtid = b.gtid
        where b.head = 0
        union all
        select b.gtid, b.position, b.epoch, b.fate, b.body
        from batch b
        where b.head > 0 and exists (
            select from accordant_journal.record r
            where r.gtid = b.gtid and r.position = b.head - 1
        )
        returning 1
    ), closed as (
        update accordant_journal.transaction t
        set closed_ms = c.closed_ms, attention = c.attention
        from unnest($18::text[], $19::int4[], $20::int8[], $21::int8[], $22::int8[], $23::bool[])
            as c (gtid, partition, epoch, head, closed_ms, attention)
        join fence f on f.id = c.partition and f.epoch = c.epoch
        where t.gtid = c.gtid and exists (
            select from accordant_journal.record r
            where r.gtid = c.gtid and r.position = c.head - 1
        )
    ), stuck as (
        update accordant_journal.transaction t
        set stuck = true
        from unnest($24::text[], $25::int4[], $26::int8[], $27::int8[])
            as s (gtid, partition, epoch, head)
        join fence f on f.id = s.partition and f.epoch = s.epoch
        where t.gtid = s.gtid and exists (
            select from accordant_journal.record r
            where r.gtid = s.gtid and r.position = s.head - 1
        )
    )
    select f.id, f.epoch, f.horizon_ms, (select count(*) from written) from fence f";

/// For a flush in which something was left out: the transactions that it names.
pub(super) const EXPLAIN_FENCES: &str = "
    select id, epoch, horizon_ms from accordant_journal.partition where id = any ($1::int4[])";

/// See [`EXPLAIN_FENCES`].
pub(super) const EXPLAIN_TRANSACTIONS: &str = "
    select gtid, tenant, idempotency_key
    from accordant_journal.transaction
    where gtid = any ($1::text[])
    union
    select t.gtid, t.tenant, t.idempotency_key
    from accordant_journal.transaction t
    join unnest($2::text[], $3::text[]) as asked (tenant, key)
        on t.tenant = asked.tenant and t.idempotency_key = asked.key";

/// See [`EXPLAIN_FENCES`].
pub(super) const EXPLAIN_RECORDS: &str = "
    select gtid, position, epoch, fate, body
    from accordant_journal.record where gtid = any ($1::text[])";

pub(super) const LOAD_OPEN: &str = "
    select t.gtid, false, false, r.position, r.epoch, r.body
    from (
        select gtid from accordant_journal.transaction
        where partition = $1 and closed_ms is null and gtid > $2
        order by gtid limit $3
    ) t join accordant_journal.record r on r.gtid = t.gtid
    order by t.gtid, r.position";

pub(super) const READ: &str = "
    select t.gtid, t.closed_ms is not null, t.attention, r.position, r.epoch, r.body
    from accordant_journal.transaction t join accordant_journal.record r on r.gtid = t.gtid
    where t.gtid = $1
    order by r.position";

pub(super) const FIND_KEY: &str = "
    select gtid from accordant_journal.transaction where tenant = $1 and idempotency_key = $2";

/// The outcome as a number: 0 pending, 1 committed, 2 aborted, 3 heuristic.
pub(super) const LIST: &str = "
    select t.gtid, t.idempotency_key, t.closed_ms, t.attention, r.fate
    from accordant_journal.transaction t
        left join accordant_journal.record r on r.gtid = t.gtid and r.fate is not null
    where (t.minted_ms, t.gtid) < ($1, $2)
        and t.minted_ms >= $3
        and ($4::text is null or t.tenant = $4)
        and ($5::bool is null or (t.closed_ms is not null) = $5)
        and ($6::int8 is null or case when t.attention then 3 else coalesce(r.fate, 0) end = $6)
        and (not $7::bool or t.attention or (t.stuck and t.closed_ms is null))
    order by t.minted_ms desc, t.gtid desc
    limit $8";

pub(super) const RAISE_HORIZON: &str = "
    update accordant_journal.partition set horizon_ms = greatest(horizon_ms, $3)
    where id = $1 and epoch = $2
    returning horizon_ms";

pub(super) const REMOVE: &str = "
    with fence as materialized (
        select id, horizon_ms from accordant_journal.partition
        where id = $1 and epoch = $2 for key share
    ), removable as materialized (
        select t.gtid from accordant_journal.transaction t join fence f on f.id = t.partition
        where t.minted_ms <= f.horizon_ms and t.closed_ms is not null and not t.attention
        order by t.minted_ms, t.gtid limit $3
    ), records as (
        delete from accordant_journal.record r using removable o where r.gtid = o.gtid
    )
    delete from accordant_journal.transaction t using removable o where t.gtid = o.gtid
    returning 1";

/// For the test that prepares each on a migrated server. `CREATE_SCHEMA` is several statements and
/// is executed by every open.
pub const ALL: [&str; 26] = [
    SERVER,
    LOCK_SCHEMA,
    SCHEMA_EXISTS,
    SCHEMA_VERSION,
    ADD_VERSION,
    SELECT_JOURNAL,
    INSERT_JOURNAL,
    INSERT_PARTITIONS,
    KEEP_INCARNATION,
    SET_INCARNATION,
    RAISE_ALL,
    PROBE,
    ACQUIRE,
    PARTITIONS,
    RENEW,
    RELEASE,
    FLUSH,
    EXPLAIN_FENCES,
    EXPLAIN_TRANSACTIONS,
    EXPLAIN_RECORDS,
    LOAD_OPEN,
    READ,
    FIND_KEY,
    LIST,
    RAISE_HORIZON,
    REMOVE,
];
