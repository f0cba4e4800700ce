-- Deleting runs with all that hangs on them: a whole batch by one statement for each table. ($1: their ids.)

-- name: all_over
-- They are locked, so that nobody replays one of them meanwhile.
with found as (
    select r.state
    from (select v.id from unnest($1::bytea[]) v (id) order by v.id) v
    cross join lateral (select r.state from run r where r.id = v.id for update) r
)
select not exists (select 1 from found where state < 2);

-- name: delete_logs
delete from log t using unnest($1::bytea[]) v (id) where t.run_id = v.id;

-- name: delete_watches
delete from watch t using unnest($1::bytea[]) v (id) where t.run_id = v.id;

-- name: delete_runs
delete from run t using unnest($1::bytea[]) v (id) where t.id = v.id;
