-- Messages that are written in the service's own transactions and pushed to the coordinator.
create table accordant.outbox (
    -- Of version 7, so that ids order by their age. With `outbox-` before it, the idempotency key.
    id          uuid primary key,
    -- The body of the request, word for word: another wording under the same key would be another
    -- request.
    plan        text             not null,
    traceparent text,
    created_at  timestamptz      not null default clock_timestamp(),
    attempts    bigint           not null default 0,
    -- Nobody sends it before. Whoever claims it puts this off.
    next_at     timestamptz      not null default clock_timestamp(),
    -- `refused` by the coordinator for good: an operator looks, and mends and puts it back to
    -- `waiting`, or deletes it.
    state       text collate "C" not null default 'waiting',
    -- What the last attempt came to.
    error       text,
    constraint outbox_state check (state in ('waiting', 'refused')),
    constraint outbox_attempts check (attempts >= 0),
    constraint outbox_error check (state <> 'refused' or error is not null)
);

create index outbox_due on accordant.outbox (next_at) where state = 'waiting';
create index outbox_refused on accordant.outbox (created_at) where state = 'refused';
