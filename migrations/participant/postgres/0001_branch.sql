-- What is durably known of a branch. One table for every way of working, so that one key keeps a
-- marker and a seal of the same branch from standing side by side.
--
-- Ids are compared byte by byte: ids of one journal then stand in the order in which they were
-- minted, and retention deletes a range of the primary key.
create table accordant.branch (
    gtid    text collate "C" not null,
    branch  smallint         not null,
    op      text collate "C" not null,
    state   text collate "C" not null,
    -- JSON, as the handler returned it. In a marker only.
    result  text,
    -- JSON, as it was answered. In a seal only.
    refusal text,
    -- Of the coordinator that ordered it; for people.
    epoch   bigint,
    at      timestamptz      not null default now(),
    constraint branch_pkey primary key (gtid, branch, op),
    constraint branch_index check (branch between 0 and 95),
    constraint branch_state check (
        case
            when op = '2pc' then state in ('committed', 'aborted')
            when op in ('act', 'compensate', 'try', 'confirm', 'cancel') then state in ('done', 'skipped')
            else false
        end
    ),
    constraint branch_result check (result is null or state in ('committed', 'done')),
    constraint branch_refusal check (refusal is null or state in ('aborted', 'skipped'))
);

-- How often a participant has started on this database. A lower count than one seen before tells
-- that the database was restored from an older copy.
create table accordant.instance (
    singleton boolean primary key default true,
    starts    bigint  not null default 0,
    constraint instance_only check (singleton),
    constraint instance_starts check (starts >= 0)
);

insert into accordant.instance default values;

-- For each journal and partition the time at or below which no transaction is taken any more.
create table accordant.floor (
    -- '<cluster>.<partition>.<incarnation>', as a gtid begins.
    issuer    text collate "C" not null,
    -- Milliseconds since 1970, as in a gtid: nothing minted at or before this is taken.
    minted    bigint           not null,
    -- Nothing minted at or before this has been taken since `since`.
    settling  bigint           not null,
    since     timestamptz      not null default now(),
    -- Rows minted at or before this may be deleted: it was refused for so long that no branch is
    -- open any more that has read a lower floor.
    settled   bigint           not null default 0,
    constraint floor_pkey primary key (issuer),
    constraint floor_order check (0 <= settled and settled <= settling and settling <= minted)
);
