-- At most one root for each idempotency key.
create unique index run_key on run (identity) where parent_id is null and identity is not null;
