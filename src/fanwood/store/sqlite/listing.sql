-- Listings: pages of runs, newest first. Each statement walks one index, :walk rows at most from the one after (:at, :after),
-- and says of each row whether the filter lets it through (its last column).

-- name: list_roots
-- Roots.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count, deaths,
       worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state) and not exists (
           select 1 from json_each(:metadata) w where not exists (
               select 1 from json_each(case when json_valid(r.metadata) then r.metadata end) e where e.key = w.key and e.type = w.type and e.value is w.value
           )
       ) as passes
from run r indexed by run_root
where parent_id is null and (created_at, id) < (:at, :after) and created_at >= :since
order by created_at desc, id desc
limit :walk;

-- name: list_roots_of_task
-- Roots of one task.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count, deaths,
       worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state) and not exists (
           select 1 from json_each(:metadata) w where not exists (
               select 1 from json_each(case when json_valid(r.metadata) then r.metadata end) e where e.key = w.key and e.type = w.type and e.value is w.value
           )
       ) as passes
from run r indexed by run_root_task
where parent_id is null and task = :task and (created_at, id) < (:at, :after) and created_at >= :since
order by created_at desc, id desc
limit :walk;

-- name: list_roots_in_state
-- Roots in one state, which is not COMPLETED.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count, deaths,
       worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state) and not exists (
           select 1 from json_each(:metadata) w where not exists (
               select 1 from json_each(case when json_valid(r.metadata) then r.metadata end) e where e.key = w.key and e.type = w.type and e.value is w.value
           )
       ) as passes
from run r indexed by run_root_state
where parent_id is null and state <> 8 and state = :state and (created_at, id) < (:at, :after) and created_at >= :since
order by created_at desc, id desc
limit :walk;

-- name: list_runs
-- All runs. (Ids begin with the time of their making.)
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count, deaths,
       worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state) and not exists (
           select 1 from json_each(:metadata) w where not exists (
               select 1 from json_each(case when json_valid(r.metadata) then r.metadata end) e where e.key = w.key and e.type = w.type and e.value is w.value
           )
       ) as passes
from run r
where id < :after and id >= :since_id
order by id desc
limit :walk;

-- name: list_failed
-- All that failed, in the order of their ends.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count, deaths,
       worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state) and not exists (
           select 1 from json_each(:metadata) w where not exists (
               select 1 from json_each(case when json_valid(r.metadata) then r.metadata end) e where e.key = w.key and e.type = w.type and e.value is w.value
           )
       ) as passes
from run r indexed by run_failed_at
where state = 9 and (finished_at, id) < (:at, :after) and finished_at >= :since
order by finished_at desc, id desc
limit :walk;

-- name: left_over
-- Of one task: how many runs are queued, how many of them below roots of other programs, and the version of the code that
-- served it last.
select count(*), coalesce(sum(q.asked <> 0 and q.asked not in (select value from json_each(:programs))), 0),
       coalesce((select version from task where name = :task), 0)
from (
    select o.asked
    from (select root_id from run indexed by run_ready where task = :task and state = 0 limit :limit) r
    cross join run o on o.id = r.root_id
) q;

-- name: why_servers
-- Live workers that serve its task: whether only for their own programs, and how many runs each has.
select w.id, w.name, w.slots, w.own,
       (select count(*) from (select 1 from run r where r.state = 1 and r.worker_id = w.id limit :most) has)
from worker_task t cross join worker w on w.id = t.worker_id cross join lease l on l.worker_id = w.id
where t.task = :task and l.expires_at > :now and w.slots > 0
order by w.id limit :servers;
