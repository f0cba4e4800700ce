-- What people ask, where a server is asked in another way.

-- name: previews
select id, left(input, :length) from run where id = any(:ids);

-- name: recorded_few
-- The first children of several runs, in their order; of those that no worker executes what they said, and whether that has at most
-- so many bytes (else it is left out). What waits, and is closed: as `recorded`.
select p.number, c.identity, c.id, case when c.closed is null then c.state else 10 end, case when c.short then c.output end,
       coalesce(c.closed, case when c.short then c.error end), c.asked, c.short
from unnest(:ids, :afters) with ordinality p (parent, after, number)
cross join lateral (
    select identity, id, state, output, error, asked, case when kind >= 10 then
        coalesce(octet_length(output), 0) + coalesce(octet_length(error), 0) <= :most end as short,
        case when state = 2 then (
            select g.error from gate g
            where g.run_id = run.parent_id and g.what = 1 and run.on_parent_end <> 2
              and (run.asked < g.attempt or (run.asked = g.attempt and (g.which = 0 or run.on_parent_end = 1)))
        ) end as closed
    from run
    where root_id = (select root_id from run where id = p.parent) and parent_id = p.parent and id > p.after
    order by id
    limit :limit
) c
order by p.number, c.id;

-- name: server
-- For `fanwood doctor`.
select current_setting('server_version'), current_setting('server_version_num')::integer, current_setting('fsync'),
       current_setting('synchronous_commit'), current_setting('full_page_writes'), pg_is_in_recovery(),
       (select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c
        where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r'),
       (select max(number) from schema_migration);

-- name: lost_standbys
-- Whom commits wait for, if no such standby is there (of whose state not every role is told), or one has not answered for long.
select current_setting('synchronous_standby_names')
where current_setting('synchronous_standby_names') <> '' and current_setting('synchronous_commit') not in ('off', 'local')
  and not pg_is_in_recovery()
  and (not exists (select from pg_stat_replication where sync_state is null or sync_state in ('sync', 'quorum'))
       or exists (select from pg_stat_activity
                  where wait_event = 'SyncRep' and query_start < clock_timestamp() - interval '5 seconds'));

-- name: lag
-- Of a replica: how old what it shows is. It has all of it when it has replayed what it got, whenever that was.
select case when not pg_is_in_recovery() then null
            when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
            else (extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000000)::bigint end;

-- name: left_over
-- Of each of these tasks: how many runs are queued, how many of them below roots of other programs, and the version of
-- the code that served it last.
select t.task, q.count, q.foreign_, coalesce((select k.version from task k where k.name = t.task), 0)
from unnest(:tasks) t (task)
cross join lateral (
    select count(*) as count, count(*) filter (where o.asked <> 0 and o.asked <> all (:programs)) as foreign_
    from (select x.root_id from run x where x.task = t.task and x.state = 0 limit :limit) r
    cross join lateral (select x.asked from run x where x.id = r.root_id) o
) q
where q.count > 0
order by t.task;

-- name: why_servers
-- Live workers that serve its task: whether only for their own programs, and how many runs each has.
select w.id, w.name, w.slots, cardinality(w.programs) > 0,
       (select count(*) from (select from run r where r.state = 1 and r.worker_id = w.id limit :most) has)
from worker_task t join worker w on w.id = t.worker_id join lease l on l.worker_id = w.id
where t.task = :task and l.expires_at > :now and w.slots > 0
order by w.id limit :servers;

-- name: ids_before
-- So many ids, the newest first, in one value.
select string_agg(id, ''::bytea) from (
    select id from run where id >= :lowest and id < :before order by id desc limit :far
) r;
