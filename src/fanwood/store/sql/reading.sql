-- What people and programs look at. Common subset of SQLite and PostgreSQL; every order ends in the key.

-- name: get_run
select id, parent_id, root_id, depth, task, child_key, input, metadata, priority, state, attempt, retry_count, deaths,
       worker_id, deadline, created_at, started_at, finished_at, run_at, output, error
from run where id = :id;

-- name: runs_from
-- Runs whose id begins with a given prefix: at most two, to see whether it is unique.
select id from run where id >= :low and id <= :high order by id limit 2;

-- name: list_roots
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
       deaths, worker_id, deadline, created_at, started_at, finished_at, run_at, null as output, error
from run
where parent_id is null
  and (:task is null or task = :task)
  and (:prefix is null or (task >= :prefix and task < :prefix_end))
  and (:state is null or state = :state)
  and created_at >= :since
order by created_at desc, id desc
limit :limit;

-- name: list_children
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
       deaths, worker_id, deadline, created_at, started_at, finished_at, run_at, null as output, error
from run
where parent_id = :parent and id > :after
  and (:task is null or task = :task)
  and (:state is null or state = :state)
order by id
limit :limit;

-- name: child_counts
select task, state, count(*), min(started_at), max(coalesce(finished_at, 0)), min(finished_at - started_at),
       max(finished_at - started_at)
from run where parent_id = :parent group by task, state order by task, state;

-- name: child_identities
select identity, id from run where parent_id = :parent and identity is not null;

-- name: tree_counts
with recursive below (id) as (
    select id from run where id = :id
    union all
    select c.id from run c join below b on c.parent_id = b.id
)
select r.task, r.state, count(*), min(r.created_at), max(coalesce(r.finished_at, 0))
from below b join run r on r.id = b.id
group by r.task, r.state
order by r.task, r.state;

-- name: tree_slowest
with recursive below (id) as (
    select id from run where id = :id
    union all
    select c.id from run c join below b on c.parent_id = b.id
)
select r.id, r.task, r.input, r.finished_at - r.started_at as took
from below b join run r on r.id = b.id
where r.state = 2 and (:task is null or r.task = :task)
order by took desc, r.id
limit :limit;

-- name: tree_failures
with recursive below (id) as (
    select id from run where id = :id
    union all
    select c.id from run c join below b on c.parent_id = b.id
)
select r.id, r.task, r.input, r.error
from below b join run r on r.id = b.id
where r.state in (3, 4) and (:task is null or r.task = :task)
order by r.id
limit :limit;

-- name: logs
select seq, attempt, at, level, message from log where run_id = :id and seq > :after order by seq limit :limit;

-- name: counts
select state, count(*) from run group by state order by state;

-- name: orphans
-- RUNNING under no worker: must be none, for nobody would ever look at them again.
select r.id from run r where r.state = 1 and not exists (select 1 from worker w where w.id = r.worker_id)
order by r.id limit 100;

-- name: get_state
select state from run where id = :id;
