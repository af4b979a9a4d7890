-- Some action of it has waited for an operator: it is listed for attention until it is closed. What was
-- stuck before this step is not.
alter table "transaction" add column stuck integer not null default 0 check (stuck in (0, 1));
