-- Listings: pages of runs, newest first. Each statement walks one index, :walk rows at most from the one after (:at,
-- :after), and says of each row whether the filter lets it through (its last column). Metadata that jsonb can't hold
-- matches nothing (see the index run_metadata). (The function makes a subtransaction: where there is none, it isn't called.)

-- name: list_roots
-- Roots.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
       deaths, worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       expires_at,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state)
       and (:metadata = '{}' or metadata is not null and fw_has_metadata(metadata, :metadata::jsonb)) as passes
from run r
where parent_id is null and (created_at, id) < (:at, :after) and created_at >= :since
order by created_at desc, id desc
limit :walk;

-- name: list_roots_of_task
-- Roots of one task, or all that are queued, in the order of their ids, which begin with the time of their making. Those that
-- have begun have an index. Those that are queued are found in the queue: of each task and priority from one tree to the
-- next newest (of which more may be queued than its root, or that may have begun: it is passed by).
with recursive
tasks (task) as (
    select coalesce(:task, (select q.task from run q where q.state = 0 order by q.task limit 1))
    union all
    select (select q.task from run q where q.state = 0 and q.task > t.task order by q.task limit 1)
    from tasks t where t.task is not null and :task is null
),
lanes (task, priority) as (
    select t.task, (
        select q.priority from run q where q.state = 0 and q.task = t.task order by q.priority desc limit 1
    )
    from tasks t
    union all
    select l.task, (
        select q.priority from run q where q.state = 0 and q.task = l.task and q.priority < l.priority
        order by q.priority desc limit 1
    )
    from lanes l where l.priority is not null
),
trees (task, priority, id, n) as (
    select l.task, l.priority, (
        select q.root_id from run q
        where q.state = 0 and q.task = l.task and q.priority = l.priority and q.root_id < :after and q.root_id >= :since_id
        order by q.root_id desc limit 1
    ), 1
    from lanes l where l.priority is not null
    union all
    select t.task, t.priority, (
        select q.root_id from run q
        where q.state = 0 and q.task = t.task and q.priority = t.priority and q.root_id < t.id and q.root_id >= :since_id
        order by q.root_id desc limit 1
    ), t.n + 1
    from trees t where t.id is not null and t.n < :walk
),
found (root) as (
    select t.id from trees t where t.id is not null
    union
    select * from (
        select b.id from run b
        where b.parent_id is null and b.state <> 0 and :state is distinct from 0
          and (b.task, b.id) < (:task, :after) and (b.task, b.id) >= (:task, :since_id)
        order by b.task desc, b.id desc limit :walk
    ) begun
    order by 1 desc limit :walk
)
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
       deaths, worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       expires_at,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state)
       and (:metadata = '{}' or metadata is not null and fw_has_metadata(metadata, :metadata::jsonb)) as passes
from found f cross join lateral (select o.* from run o where o.id = f.root offset 0) r
order by r.id desc;

-- name: list_roots_in_state
-- Roots in one state, which is neither QUEUED nor COMPLETED.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
       deaths, worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       expires_at,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state)
       and (:metadata = '{}' or metadata is not null and fw_has_metadata(metadata, :metadata::jsonb)) as passes
from run r
where parent_id is null and state <> 0 and state <> 8 and state = :state and (created_at, id) < (:at, :after) and created_at >= :since
order by created_at desc, id desc
limit :walk;

-- name: list_runs
-- All runs. (Ids begin with the time of their making.)
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
       deaths, worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       expires_at,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state)
       and (:metadata = '{}' or metadata is not null and fw_has_metadata(metadata, :metadata::jsonb)) as passes
from run r
where id < :after and id >= :since_id
order by id desc
limit :walk;

-- name: list_failed
-- All that failed, in the order of their ends.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
       deaths, worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       expires_at,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state)
       and (:metadata = '{}' or metadata is not null and fw_has_metadata(metadata, :metadata::jsonb)) as passes
from run r
where state = 9 and (finished_at, id) < (:at, :after) and finished_at >= :since
order by finished_at desc, id desc
limit :walk;

-- name: few_with_metadata
-- The roots with this metadata, if there are only so many: their index has no order.
select id from run
where parent_id is null and metadata ~ '^{' and metadata !~ '\\u(0000|[dD][89abAB])|[0-9]{250}|(:|,|\[)\s*-?[0-9.]+[eE][+]?[0-9]{4,}\s*(,|\]|\})'
  and metadata::jsonb @> :metadata::jsonb
limit :limit;

-- name: list_with_metadata
-- ... and those of them that the rest of the filter lets through.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
       deaths, worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       expires_at,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state)
       and (:metadata = '{}' or metadata is not null and fw_has_metadata(metadata, :metadata::jsonb)) as passes
from run r
where parent_id is null and metadata ~ '^{' and metadata !~ '\\u(0000|[dD][89abAB])|[0-9]{250}|(:|,|\[)\s*-?[0-9.]+[eE][+]?[0-9]{4,}\s*(,|\]|\})'
  and metadata::jsonb @> :metadata::jsonb
  and (created_at, id) < (:at, :after) and created_at >= :since
order by created_at desc, id desc
limit :walk;
