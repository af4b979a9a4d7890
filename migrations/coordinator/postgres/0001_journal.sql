-- Which journal this is: one row.
create table accordant_journal.journal (
    id int primary key check (id = 1),
    cluster text not null,
    incarnation bigint not null check (incarnation between 0 and 33554431),
    partitions int not null check (partitions between 1 and 1000),
    -- The server at the last start. Another one means that the journal was restored or failed over.
    system_identifier text not null,
    timeline bigint not null,
    -- Raised by a probe, to see whether the server takes writes.
    probes bigint not null default 0
);

-- Former incarnations: the journal was opened as restored.
create table accordant_journal.former_incarnation (
    incarnation bigint primary key,
    system_identifier text not null,
    timeline bigint not null,
    until timestamptz not null default clock_timestamp()
);

create table accordant_journal.partition (
    id int primary key,
    epoch bigint not null check (epoch >= 0),
    owner text,
    lease_until timestamptz not null,
    -- Nothing may be concluded from the absence of a transaction minted at or before it.
    horizon_ms bigint not null,
    -- So that a new epoch is a change of key: it conflicts with the key-share lock that a flush
    -- holds, and the renewal of a lease does not.
    unique (id, epoch)
) with (fillfactor = 50);

create table accordant_journal.transaction (
    gtid text collate "C" primary key,
    partition int not null,
    -- Null for a presumed abort.
    tenant text collate "C",
    idempotency_key text collate "C",
    minted_ms bigint not null,
    closed_ms bigint,
    -- Some branch ended against the decision: kept until an operator has looked.
    attention boolean not null default false,
    check ((tenant is null) = (idempotency_key is null)),
    check (tenant is not null or closed_ms is not null),
    check (not attention or closed_ms is not null)
);

create unique index transaction_key
    on accordant_journal.transaction (tenant, idempotency_key) where tenant is not null;
create index transaction_open
    on accordant_journal.transaction (partition, gtid) where closed_ms is null;
create index transaction_minted on accordant_journal.transaction (minted_ms, gtid);
create index transaction_attention
    on accordant_journal.transaction (minted_ms, gtid) where attention;

create table accordant_journal.record (
    gtid text collate "C" not null,
    position bigint not null check (position >= 0),
    epoch bigint not null check (epoch > 0),
    -- 1: it commits. 2: it aborts.
    fate smallint check (fate in (1, 2)),
    body text not null,
    primary key (gtid, position)
);

-- One fate per transaction, over all epochs.
create unique index record_fate on accordant_journal.record (gtid) where fate is not null;
