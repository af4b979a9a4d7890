-- Which journal this is: one row.
create table journal (
    id integer primary key check (id = 1),
    cluster text not null,
    incarnation integer not null check (incarnation between 0 and 33554431),
    partitions integer not null check (partitions between 1 and 1000),
    -- Raised by a probe, to see whether the disk takes writes.
    probes integer not null default 0
) strict;

-- Former incarnations: the journal was opened as restored.
create table former_incarnation (
    incarnation integer primary key,
    until_ms integer not null
) strict;

create table "partition" (
    id integer primary key,
    epoch integer not null check (epoch >= 0),
    owner text,
    lease_until_ms integer not null,
    -- Nothing may be concluded from the absence of a transaction minted at or before it.
    horizon_ms integer not null
) strict;

create table "transaction" (
    gtid text primary key not null,
    partition integer not null,
    -- Null for a presumed abort.
    tenant text,
    idempotency_key text,
    minted_ms integer not null,
    closed_ms integer,
    -- Some branch ended against the decision: kept until an operator has looked.
    attention integer not null default 0 check (attention in (0, 1)),
    check ((tenant is null) = (idempotency_key is null)),
    check (tenant is not null or closed_ms is not null),
    check (attention = 0 or closed_ms is not null)
) strict, without rowid;

create unique index transaction_key on "transaction" (tenant, idempotency_key)
    where tenant is not null;
create index transaction_open on "transaction" (partition, gtid) where closed_ms is null;
create index transaction_minted on "transaction" (minted_ms, gtid);
create index transaction_attention on "transaction" (minted_ms, gtid) where attention = 1;

create table record (
    gtid text not null,
    position integer not null check (position >= 0),
    epoch integer not null check (epoch > 0),
    -- 1: it commits. 2: it aborts.
    fate integer check (fate in (1, 2)),
    body text not null,
    primary key (gtid, position)
) strict;

-- One fate per transaction, over all epochs.
create unique index record_fate on record (gtid) where fate is not null;
