-- Deleting runs with all that hangs on them: a whole batch by one statement for each table. ($1: their ids.)

-- name: all_over
-- They are locked, so that nobody replays one of them meanwhile.
with found as (
    select r.state
    from (select v.id from unnest($1::bytea[]) v (id) order by v.id) v
    cross join lateral (select r.state from run r where r.id = v.id for update) r
)
-- (Another worker may have deleted them already.)
select count(*) = cardinality($1::bytea[]) and min(state) >= 2 from found;

-- name: delete_logs
delete from log t using unnest($1::bytea[]) v (id) where t.run_id = v.id;

-- name: delete_watches
delete from watch t using unnest($1::bytea[]) v (id) where t.run_id = v.id;

-- name: delete_runs
delete from run t using unnest($1::bytea[]) v (id) where t.id = v.id;

-- name: vacuum_is_due
-- Autovacuum looks once a minute by default. By then the queue's index has hundreds of thousands of dead entries at the
-- end where claims begin. Each vacuum reads all indexes, so a larger table has to have more that is dead. ($1: schema.)
select exists (
    select from pg_stat_user_tables t
    where t.schemaname = $1 and t.relname = 'run' and t.n_dead_tup > greatest(50000, t.n_live_tup / 100)
      and coalesce(greatest(t.last_vacuum, t.last_autovacuum), '-infinity') < now() - interval '8 s'
      and (pg_has_role((select c.relowner from pg_class c where c.oid = t.relid), 'usage')
           or (select r.rolsuper from pg_roles r where r.rolname = current_user)
           or case when current_setting('server_version_num')::integer >= 170000
                   then has_table_privilege(t.relid, 'MAINTAIN') end)
);
