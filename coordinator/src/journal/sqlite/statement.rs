//! Every statement that the SQLite journal executes again and again.

pub(super) const SELECT_JOURNAL: &str =
    "select cluster, incarnation, partitions from journal where id = 1";

pub(super) const INSERT_JOURNAL: &str =
    "insert into journal (id, cluster, incarnation, partitions) values (1, ?1, ?2, ?3)";

pub(super) const INSERT_PARTITION: &str = r#"
    insert into "partition" (id, epoch, owner, lease_until_ms, horizon_ms)
    values (?1, 0, null, 0, 0)"#;

pub(super) const KEEP_INCARNATION: &str = "
    insert into former_incarnation (incarnation, until_ms)
    select incarnation, ?1 from journal where id = 1";

pub(super) const SET_INCARNATION: &str = "update journal set incarnation = ?1 where id = 1";

/// Whoever had the file open before is gone, since we hold the lock: nobody's lease is worth
/// anything, and no write of theirs may still land.
pub(super) const RAISE_ALL: &str = r#"
    update "partition" set epoch = epoch + 1, owner = null, lease_until_ms = 0"#;

pub(super) const PROBE: &str = "update journal set probes = probes + 1 where id = 1";

pub(super) const SELECT_PARTITION: &str = r#"
    select epoch, horizon_ms, owner, lease_until_ms from "partition" where id = ?1"#;

pub(super) const SELECT_PARTITIONS: &str = r#"
    select epoch, horizon_ms, owner, lease_until_ms, id from "partition" order by id"#;

pub(super) const ACQUIRE: &str = r#"
    update "partition" set epoch = epoch + 1, owner = ?2, lease_until_ms = ?3 where id = ?1"#;

pub(super) const RENEW: &str = r#"
    update "partition" set lease_until_ms = ?4 where id = ?1 and epoch = ?2 and owner = ?3"#;

pub(super) const RELEASE: &str = r#"
    update "partition" set owner = null, lease_until_ms = 0
    where id = ?1 and epoch = ?2 and owner = ?3"#;

pub(super) const EXISTS: &str = r#"select 1 from "transaction" where gtid = ?1"#;

pub(super) const BEGIN: &str = r#"
    insert into "transaction"
        (gtid, partition, tenant, idempotency_key, minted_ms, closed_ms, attention)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    on conflict do nothing"#;

pub(super) const FIND_KEY: &str = r#"
    select gtid from "transaction" where tenant = ?1 and idempotency_key = ?2"#;

/// Adds nothing if the position or the fate is taken, or the record before it is missing.
pub(super) const ADD: &str = "
    insert into record (gtid, position, epoch, fate, body)
    select ?1, ?2, ?3, ?4, ?5
    where ?2 = 0 or exists (select 1 from record where gtid = ?1 and position = ?2 - 1)
    on conflict do nothing";

pub(super) const BODY: &str = "select body from record where gtid = ?1 and position = ?2";

pub(super) const CLOSE: &str = r#"
    update "transaction" set closed_ms = ?2, attention = ?3 where gtid = ?1"#;

pub(super) const STICK: &str = r#"update "transaction" set stuck = 1 where gtid = ?1"#;

pub(super) const LOAD_OPEN: &str = r#"
    select t.gtid, 0, 0, r.position, r.epoch, r.body
    from (
        select gtid from "transaction"
        where partition = ?1 and closed_ms is null and gtid > ?2
        order by gtid limit ?3
    ) t join record r on r.gtid = t.gtid
    order by t.gtid, r.position"#;

pub(super) const READ: &str = r#"
    select t.gtid, t.closed_ms is not null, t.attention, r.position, r.epoch, r.body
    from "transaction" t join record r on r.gtid = t.gtid
    where t.gtid = ?1
    order by r.position"#;

/// The outcome as a number: 0 pending, 1 committed, 2 aborted, 3 heuristic.
pub(super) const LIST: &str = r#"
    select t.gtid, t.idempotency_key, t.closed_ms, t.attention, r.fate
    from "transaction" t left join record r on r.gtid = t.gtid and r.fate is not null
    where (t.minted_ms, t.gtid) < (?1, ?2)
        and t.minted_ms >= ?3
        and (?4 is null or t.tenant = ?4)
        and (?5 is null or (t.closed_ms is not null) = ?5)
        and (?6 is null or case when t.attention then 3 else coalesce(r.fate, 0) end = ?6)
        and (not ?7 or t.attention or (t.stuck and t.closed_ms is null))
    order by t.minted_ms desc, t.gtid desc
    limit ?8"#;

pub(super) const RAISE_HORIZON: &str = r#"
    update "partition" set horizon_ms = max(horizon_ms, ?3) where id = ?1 and epoch = ?2
    returning horizon_ms"#;

pub(super) const REMOVABLE: &str = r#"
    select t.gtid from "transaction" t join "partition" p on p.id = t.partition
    where p.id = ?1 and p.epoch = ?2 and t.minted_ms <= p.horizon_ms
        and t.closed_ms is not null and t.attention = 0
    order by t.minted_ms, t.gtid limit ?3"#;

pub(super) const REMOVE_RECORDS: &str = "delete from record where gtid = ?1";

pub(super) const REMOVE_TRANSACTION: &str = r#"delete from "transaction" where gtid = ?1"#;

/// For the test that prepares each.
pub const ALL: [&str; 27] = [
    SELECT_JOURNAL,
    INSERT_JOURNAL,
    INSERT_PARTITION,
    KEEP_INCARNATION,
    SET_INCARNATION,
    RAISE_ALL,
    PROBE,
    SELECT_PARTITION,
    SELECT_PARTITIONS,
    ACQUIRE,
    RENEW,
    RELEASE,
    EXISTS,
    BEGIN,
    FIND_KEY,
    ADD,
    BODY,
    CLOSE,
    LOAD_OPEN,
    READ,
    LIST,
    RAISE_HORIZON,
    REMOVABLE,
    REMOVE_RECORDS,
    REMOVE_TRANSACTION,
    super::engine::BEGIN_IMMEDIATE,
    super::engine::COMMIT,
];
