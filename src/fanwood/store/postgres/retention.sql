-- Deleting what is old and over (store/retention.py). A tree is one range of `run_tree`.

-- name: walk_roots
-- The next so many roots that are old enough to be looked at (`due` -1: of another namespace), and all below those of the
-- namespace that are over (1).
with tops (id, created_at, state, due) as materialized (
    select id, created_at, state, case
        when case when :prefix = '' then task like '%/%' else substr(task, 1, length(:prefix)) <> :prefix end then -1
        when state < 8 or finished_at >= :before then 0
        when exists (
            with recursive later (id) as (
                select f.root_id from fork f where f.origin_root = run.id
                union select f.root_id from later l join fork f on f.origin_root = l.id
            )
            select from later l cross join lateral (select x.state from run x where x.id = l.id offset 0) u where u.state < 8
        ) then 0
        else 1
    end
    from run
    where parent_id is null and (created_at, id) > (:created_at, :after) and created_at < :before
    order by created_at, id
    limit :tops
)
select top, created_at, due, id, state from (
    select id as top, created_at, due, id, state from tops
    union all
    select t.id, t.created_at, t.due, c.id, c.state
    from tops t
    cross join lateral (
        select c.id, c.state from run c where c.root_id = t.id and c.parent_id is not null offset 0
    ) c
    where t.due = 1
) walked limit :rows;

-- name: next_own
-- The first root of a namespace that has begun, by its id, of those that were created later: task by task. For the namespace
-- that has no name other namespaces are passed by, each in one step.
with recursive tasks (task) as (
    select (
        select r.task from run r
        where r.parent_id is null and r.state <> 0 and r.task >= :prefix order by r.task limit 1
    )
    union all
    select (
        select r.task from run r
        where r.parent_id is null and r.state <> 0 and r.task > (case
            when :prefix = '' and strpos(t.task, '/') > 0 then substr(t.task, 1, strpos(t.task, '/')) || chr(1114111)
            else t.task
        end) collate "C"
        order by r.task limit 1
    )
    from tasks t where substr(t.task, 1, length(:prefix)) = :prefix
)
select r.id from tasks t cross join lateral (
    select x.id from run x
    where x.parent_id is null and x.state <> 0 and (x.task, x.id) >= (t.task, :since_id) and x.task <= t.task
      and x.created_at > :created_at
    order by x.task, x.id limit 1
) r
where case when :prefix = '' then strpos(t.task, '/') = 0 else substr(t.task, 1, length(:prefix)) = :prefix end
order by r.id limit 1;

-- name: look_through
select parent_id, id, state from run
where root_id = :root and parent_id is not null and (parent_id, id) > (:parent, :id)
order by root_id, parent_id, id limit :rows;

-- name: lower_end
select id from run where root_id = :root and parent_id is not null
order by root_id desc, parent_id desc, id desc limit :rows;

-- name: lock_roots
-- Of these runs the roots, locked, so that nobody replays anything in their trees. (He locks the root as well.)
select r.id
from (select v.id from unnest($1::bytea[]) v (id) order by v.id) v
cross join lateral (select x.id, x.parent_id from run x where x.id = v.id offset 0) x
cross join lateral (select r.id from run r where r.id = x.id and x.parent_id is null for update) r;

-- name: all_over
-- Whether these have ended, each of them, and nothing else is in the trees of those that are roots ($2), nor is there
-- anything still to be ended.
select cardinality($1::bytea[]) = (
           select count(*) from unnest($1::bytea[]) v (id)
           cross join lateral (select x.state from run x where x.id = v.id offset 0) r where r.state >= 8
       )
       and cardinality($1::bytea[]) = cardinality($2::bytea[]) + (
           select count(*) from unnest($2::bytea[]) v (id)
           cross join lateral (
               select true from run c where c.root_id = v.id and c.parent_id is not null offset 0
           ) c
       )
       and not exists (select from unnest($2::bytea[]) v (id) join gate g on g.root_id = v.id and g.what = 1)
       and not exists (select from unnest($2::bytea[]) v (id) where exists (
            with recursive later (id) as (
                select f.root_id from fork f where f.origin_root = v.id
                union select f.root_id from later l join fork f on f.origin_root = l.id
            )
            select from later l cross join lateral (select x.state from run x where x.id = l.id offset 0) u where u.state < 8
        ));

-- name: mark
-- The tree of this root is being deleted, if it is still old and over, and nothing in it is being closed.
insert into gate (run_id, root_id, what, which, attempt, error, made_at)
select r.id, r.id, 3, 0, r.attempt, '', :now
from (select * from run where id = :root for update) r
where r.parent_id is null and r.state >= 8 and r.finished_at < :before
  and not exists (select from gate g where g.root_id = r.id and g.what = 1) and not exists (
            with recursive later (id) as (
                select f.root_id from fork f where f.origin_root = r.id
                union select f.root_id from later l join fork f on f.origin_root = l.id
            )
            select from later l cross join lateral (select x.state from run x where x.id = l.id offset 0) u where u.state < 8
        )
on conflict (run_id) do update set made_at = excluded.made_at where gate.what = 3
returning run_id;

-- name: is_marked
select exists (
    select from (select * from run where id = :root for update) r
    join gate g on g.run_id = r.id and g.what = 3 where r.state >= 8
);

-- name: unmark
delete from gate where run_id = :root and what = 3;

-- name: hanging
-- How many rows hang on these, of tables of which a run may have any number; counted up to so many ($2).
select count(*) from (
    select from unnest($1::bytea[]) v (id) cross join lateral (select from log t where t.run_id = v.id limit $2::integer) t
    union all
    select from unnest($1::bytea[]) v (id) cross join lateral (select from attempt t where t.run_id = v.id limit $2::integer) t
    union all
    select from unnest($1::bytea[]) v (id) cross join lateral (select from message t where t.run_id = v.id limit $2::integer) t
    union all
    select from unnest($1::bytea[]) v (id) cross join lateral (select from value t where t.run_id = v.id limit $2::integer) t
    union all
    select from unnest($1::bytea[]) v (id) cross join lateral (select from spend t where t.run_id = v.id limit $2::integer) t
    limit $2::integer
) hanging;

-- name: thin_log
-- Of what hangs on these so many rows at most go.
delete from log where ctid = any (array(
    select t.place from unnest($1::bytea[]) v (id)
    cross join lateral (select x.ctid as place from log x where x.run_id = v.id limit $2::integer) t limit $2::integer
));

-- name: thin_attempt
delete from attempt where ctid = any (array(
    select t.place from unnest($1::bytea[]) v (id)
    cross join lateral (select x.ctid as place from attempt x where x.run_id = v.id limit $2::integer) t limit $2::integer
));

-- name: thin_message
delete from message where ctid = any (array(
    select t.place from unnest($1::bytea[]) v (id)
    cross join lateral (select x.ctid as place from message x where x.run_id = v.id limit $2::integer) t limit $2::integer
));

-- name: thin_value
delete from value where ctid = any (array(
    select t.place from unnest($1::bytea[]) v (id)
    cross join lateral (select x.ctid as place from value x where x.run_id = v.id limit $2::integer) t limit $2::integer
));

-- name: thin_spend
delete from spend where ctid = any (array(
    select t.place from unnest($1::bytea[]) v (id)
    cross join lateral (select x.ctid as place from spend x where x.run_id = v.id limit $2::integer) t limit $2::integer
));

-- name: delete_logs
delete from log t using unnest($1::bytea[]) v (id) where t.run_id = any (array[v.id]);

-- name: delete_attempts
delete from attempt t using unnest($1::bytea[]) v (id) where t.run_id = any (array[v.id]);

-- name: delete_messages
delete from message t using unnest($1::bytea[]) v (id) where t.run_id = any (array[v.id]);

-- name: delete_values
delete from value t using unnest($1::bytea[]) v (id) where t.run_id = any (array[v.id]);

-- name: delete_trees
delete from tree t using unnest($1::bytea[]) v (id) where t.root_id = any (array[v.id]);

-- name: delete_budgets
delete from budget t using unnest($1::bytea[]) v (id) where t.run_id = any (array[v.id]);

-- name: delete_spends
delete from spend t using unnest($1::bytea[]) v (id) where t.run_id = any (array[v.id]);

-- name: delete_watches
delete from watch t using unnest($1::bytea[]) v (id) where t.run_id = any (array[v.id]);

-- name: delete_pauses
delete from pause t using unnest($1::bytea[]) v (id) where t.run_id = any (array[v.id]);

-- name: delete_urgencies
delete from urgency t using unnest($1::bytea[]) v (id) where t.run_id = any (array[v.id]);

-- name: delete_gates
delete from gate t using unnest($1::bytea[]) v (id) where t.run_id = any (array[v.id]);

-- name: delete_unheard
delete from unheard t using unnest($1::bytea[]) v (id) where t.run_id = any (array[v.id]);

-- name: delete_keys
delete from idem t using unnest($1::bytea[]) v (id) where t.run_id = any (array[v.id]);

-- name: delete_shared
delete from shared t using unnest($1::bytea[]) v (id) where t.run_id = any (array[v.id]);

-- name: delete_forks
delete from fork t using unnest($1::bytea[]) v (id) where t.root_id = any (array[v.id]);

-- name: delete_runs
delete from run t using unnest($1::bytea[]) v (id) where t.id = any (array[v.id]);

-- name: prunable
-- Trees of a namespace that are over, and their runs. Walks all that are old enough.
select count(*), coalesce(sum(runs), 0)::bigint from (
    select 1 + (select count(*) from run c where c.root_id = r.id and c.parent_id is not null) as runs
    from run r
    where r.parent_id is null and r.created_at < :before and r.state >= 8 and r.finished_at < :before
      and case when :prefix = '' then r.task not like '%/%' else substr(r.task, 1, length(:prefix)) = :prefix end
      and not exists (select 1 from run c where c.root_id = r.id and c.parent_id is not null and c.state < 8)
      and not exists (
            with recursive later (id) as (
                select f.root_id from fork f where f.origin_root = r.id
                union select f.root_id from later l join fork f on f.origin_root = l.id
            )
            select from later l cross join lateral (select x.state from run x where x.id = l.id offset 0) u where u.state < 8
        )
) over_;

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
