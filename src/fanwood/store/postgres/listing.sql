-- Listings: pages of runs, newest first. Each statement walks one index, :walk rows at most from the one after (:at,
-- :after), and says of each row whether the filter lets it through (its last column). Metadata that jsonb can't hold
-- matches nothing (see the index run_metadata). (The function makes a subtransaction: where there is none, it isn't called.)

-- name: list_roots
-- Roots.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
       deaths, worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state)
       and (:metadata = '{}' or metadata is not null and fw_has_metadata(metadata, :metadata::jsonb)) as passes
from run r
where parent_id is null and (created_at, id) < (:at, :after) and created_at >= :since
order by created_at desc, id desc
limit :walk;

-- name: list_roots_of_task
-- Roots of one task.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
       deaths, worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state)
       and (:metadata = '{}' or metadata is not null and fw_has_metadata(metadata, :metadata::jsonb)) as passes
from run r
where parent_id is null and task = :task and (created_at, id) < (:at, :after) and created_at >= :since
order by created_at desc, id desc
limit :walk;

-- name: list_roots_in_state
-- Roots in one state, which is not COMPLETED.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
       deaths, worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state)
       and (:metadata = '{}' or metadata is not null and fw_has_metadata(metadata, :metadata::jsonb)) as passes
from run r
where parent_id is null and state <> 8 and state = :state and (created_at, id) < (:at, :after) and created_at >= :since
order by created_at desc, id desc
limit :walk;

-- name: list_runs
-- All runs. (Ids begin with the time of their making.)
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
       deaths, worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
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
where parent_id is null and metadata ~ '^{' and metadata !~ '\\u(0000|[dD][89abAB])|[0-9]{250}|[eE][+]?[0-9]{4}'
  and metadata::jsonb @> :metadata::jsonb
limit :limit;

-- name: list_with_metadata
-- ... and those of them that the rest of the filter lets through.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
       deaths, worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state)
       and (:metadata = '{}' or metadata is not null and fw_has_metadata(metadata, :metadata::jsonb)) as passes
from run r
where parent_id is null and metadata ~ '^{' and metadata !~ '\\u(0000|[dD][89abAB])|[0-9]{250}|[eE][+]?[0-9]{4}'
  and metadata::jsonb @> :metadata::jsonb
  and (created_at, id) < (:at, :after) and created_at >= :since
order by created_at desc, id desc
limit :walk;
