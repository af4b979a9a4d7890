-- Some action of it has waited for an operator: it is listed for attention until it is closed. What was
-- stuck before this step is not.
alter table accordant_journal.transaction add column stuck boolean not null default false;
