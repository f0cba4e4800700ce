-- What a lens reads of a tree: one part of it at a time. Common subset of SQLite and PostgreSQL. A part is the children
-- of given parents (:parents, 16 bytes each) between two ids; `cross join`: in this order, whatever a planner thinks.
-- What is in a comment after a table is read by SQLite, which might prefer the key, and with it other families' runs.

-- name: segment_end
-- Where the segment after :after ends; nothing if it is not full.
select id from run /* indexed by run_tree */ where root_id = :root and parent_id = :parent and id > :after
  /* in postgres: and (root_id, parent_id, id) > (:root, :parent, :after) */
order by root_id, parent_id, id limit 1 offset :most;

-- name: cube
-- What is alike has one key: bin of time, class of duration (half steps of powers of two), state, and whether it is a wait.
-- It comes before the task, since numbers are sorted sooner than texts.
with recursive given (n, id) as (
    select 1, substr(:parents, 1, 16)
    union all
    select n + 1, substr(:parents, n * 16 + 1, 16) from given where n < :count
)
select task, key, count(*), cast(coalesce(sum(duration), 0) as bigint), cast(coalesce(max(duration), 0) as bigint),
       cast(sum(busy) as bigint), max(finished_at), min(since)
from (
    select task, duration, busy, finished_at, since, (((at >> :shift) * 128 + case
               when duration is null then 127 when duration < 1 then 0
               else cast(floor(2.8853900817779268 * ln(duration) + 0.000000001) as integer)
           end) * 16 + state) * 2 + is_wait as key
    from (
        select r.task, r.state, r.busy, r.finished_at, case when r.kind >= 10 then 1 else 0 end as is_wait,
               case when r.finished_at is not null then r.finished_at when r.state = 1 then r.started_at
                   else r.created_at end as at,
               r.finished_at - r.started_at as duration,
               case when r.state < 8 then
                   case r.state when 0 then r.created_at when 1 then r.started_at when 2 then r.due_at end
               end as since
        from given g cross join run r /* indexed by run_tree */
        where r.root_id = :root and r.parent_id = g.id and r.id > :after and r.id <= :until
          /* in postgres: and (r.root_id, r.parent_id, r.id) > (:root, g.id, :after) */
        limit :most
    ) part
) keyed
group by key, task;

-- name: cube_near
-- As `cube`, of one parent's children between two of them, which have mostly been spawned one after another: then they are
-- one range of the table, and reading it is half the work. Rows of others have no key; if there are as many rows as :near,
-- there may be more.
select task, key, count(*), cast(coalesce(sum(duration), 0) as bigint), cast(coalesce(max(duration), 0) as bigint),
       cast(sum(busy) as bigint), max(finished_at), min(since)
from (
    select task, duration, busy, finished_at, since, case when is_ours = 1 then
               (((at >> :shift) * 128 + case
                   when duration is null then 127 when duration < 1 then 0
                   else cast(floor(2.8853900817779268 * ln(duration) + 0.000000001) as integer)
               end) * 16 + state) * 2 + is_wait
           end as key
    from (
        select r.task, r.state, r.busy, r.finished_at, case when r.kind >= 10 then 1 else 0 end as is_wait,
               case when r.parent_id = :parents then 1 else 0 end as is_ours,
               case when r.finished_at is not null then r.finished_at when r.state = 1 then r.started_at
                   else r.created_at end as at,
               r.finished_at - r.started_at as duration,
               case when r.state < 8 then
                   case r.state when 0 then r.created_at when 1 then r.started_at when 2 then r.due_at end
               end as since
        from run r /* not indexed */
        where r.id > :after and r.id <= :until
        order by r.id limit :near
    ) part
) keyed
group by key, task;

-- name: next_parent
-- The first run at or after one that has children.
select parent_id from run /* indexed by run_tree */ where root_id = :root and parent_id > :after and parent_id <= :until
order by root_id, parent_id, id limit 1;

-- name: parents
-- Those of a part that have children, and how many; of more than :few not how many.
with recursive given (n, id) as (
    select 1, substr(:parents, 1, 16)
    union all
    select n + 1, substr(:parents, n * 16 + 1, 16) from given where n < :count
)
select id, parent_id, task, state, attempt, size from (
    select r.id, r.parent_id, r.task, r.state, r.attempt,
           (select count(*) from (select 1 from run c where c.root_id = :root and c.parent_id = r.id limit :few) few)
               as size
    from given g cross join run r /* indexed by run_tree */
    where r.root_id = :root and r.parent_id = g.id and r.id > :after and r.id <= :until
      /* in postgres: and (r.root_id, r.parent_id, r.id) > (:root, g.id, :after) */
    limit :most
) part
where size > 0;

-- name: sizes
-- How many children given runs have; of more than :few not how many.
with recursive given (n, id) as (
    select 1, substr(:parents, 1, 16)
    union all
    select n + 1, substr(:parents, n * 16 + 1, 16) from given where n < :count
)
select r.id, r.parent_id, r.task, r.state, r.attempt,
       (select count(*) from (select 1 from run c where c.root_id = :root and c.parent_id = r.id limit :few) few)
from given g cross join run r
where r.id = g.id;

-- name: running
-- Of all trees: no index knows more.
select worker_id, id, root_id, parent_id, attempt from run
where state = 1 and (worker_id, id) > (:worker, :after)
order by worker_id, id limit :limit;

-- name: failed
-- Of a tree.
select id, root_id, parent_id, task, attempt, finished_at, substr(error, 1, 2000), ended_by, started_at, busy
from run
where state = 9 and root_id = :root and id > :after and (kind < 10 or (kind = 15 and :links = 1))
order by root_id, id limit :limit;

-- name: failed_at
-- Of all trees, in the order of time.
select id, root_id, parent_id, task, attempt, finished_at, substr(error, 1, 2000), ended_by, started_at, busy
from run
where state = 9 and (finished_at, id) > (:at, :after) and finished_at < :before and kind < 10
order by finished_at, id limit :limit;

-- name: briefs
-- Given runs, without what they were given and gave.
with recursive given (n, id) as (
    select 1, substr(:parents, 1, 16)
    union all
    select n + 1, substr(:parents, n * 16 + 1, 16) from given where n < :count
)
select r.id, r.parent_id, r.root_id, r.depth, r.task, r.child_key, null as input, r.metadata, r.priority, r.state,
       r.attempt, r.retry_count, r.deaths, r.worker_id, r.deadline, r.created_at, r.started_at, r.finished_at, r.due_at,
       null as output, substr(r.error, 1, 2000) as error, r.kind, r.busy, r.life, r.waits,
       r.expires_at
from given g cross join run r
where r.id = g.id;

-- name: longest
-- Those of a part that took longest.
with recursive given (n, id) as (
    select 1, substr(:parents, 1, 16)
    union all
    select n + 1, substr(:parents, n * 16 + 1, 16) from given where n < :count
)
select id, state, finished_at, took from (
    select r.id, r.task, r.state, r.finished_at, r.finished_at - r.started_at as took
    from given g cross join run r /* indexed by run_tree */
    where r.root_id = :root and r.parent_id = g.id and r.id > :after and r.id <= :until
      /* in postgres: and (r.root_id, r.parent_id, r.id) > (:root, g.id, :after) */
    limit :most
) part
where took is not null and (:task is null or task = :task)
order by took desc, id limit :limit;

-- name: latest
-- The one of a part that ended last; or that has not ended, the oldest that runs first; and of how many.
with recursive given (n, id) as (
    select 1, substr(:parents, 1, 16)
    union all
    select n + 1, substr(:parents, n * 16 + 1, 16) from given where n < :count
)
select id, state, finished_at, took, count(*) over () from (
    select r.id, r.state, r.finished_at, r.finished_at - r.started_at as took
    from given g cross join run r /* indexed by run_tree */
    where r.root_id = :root and r.parent_id = g.id and r.id > :after and r.id <= :until
      /* in postgres: and (r.root_id, r.parent_id, r.id) > (:root, g.id, :after) */
    limit :most
) part
order by case when state = 1 then 0 when state < 8 then 1 else 2 end, finished_at desc, id limit 1;

-- name: serving
-- Who serves what, of those who live and have slots.
select t.task, t.worker_id from worker_task t cross join worker w cross join lease l
where w.id = t.worker_id and l.worker_id = t.worker_id and l.expires_at > :now and w.slots > 0
order by t.task, t.worker_id limit :limit;

-- name: picked
-- Some of one family, by id, without what they were given and gave.
select r.id, r.parent_id, r.root_id, r.depth, r.task, r.child_key, null as input, r.metadata, r.priority, r.state,
       r.attempt, r.retry_count, r.deaths, r.worker_id, r.deadline, r.created_at, r.started_at, r.finished_at, r.due_at,
       null as output, substr(r.error, 1, 2000) as error, r.kind, r.busy, r.life, r.waits,
       r.expires_at
from run r /* indexed by run_tree */
where r.root_id = :root and r.parent_id = :parent and r.id > :after and r.id <= :until
  and (:task is null or r.task = :task) and (:state is null or r.state = :state)
  /* in postgres: and (r.root_id, r.parent_id, r.id) > (:root, :parent, :after) */
order by r.root_id, r.parent_id, r.id limit :limit;

-- name: picked_before
-- The siblings before one, the nearest first.
select r.id, r.parent_id, r.root_id, r.depth, r.task, r.child_key, null as input, r.metadata, r.priority, r.state,
       r.attempt, r.retry_count, r.deaths, r.worker_id, r.deadline, r.created_at, r.started_at, r.finished_at, r.due_at,
       null as output, substr(r.error, 1, 2000) as error, r.kind, r.busy, r.life, r.waits,
       r.expires_at
from run r /* indexed by run_tree */
where r.root_id = :root and r.parent_id = :parent and r.id < :id
  /* in postgres: and (r.root_id, r.parent_id, r.id) < (:root, :parent, :id) */
order by r.root_id desc, r.parent_id desc, r.id desc limit :limit;

-- name: above
-- A run's ancestors, the nearest first.
with recursive above (n, id, parent_id) as (
    select 0, id, parent_id from run where id = :id
    union all
    select a.n + 1, p.id, p.parent_id from above a cross join run p where p.id = a.parent_id and a.n < :limit
)
select r.id, r.parent_id, r.root_id, r.depth, r.task, r.child_key, null as input, r.metadata, r.priority, r.state,
       r.attempt, r.retry_count, r.deaths, r.worker_id, r.deadline, r.created_at, r.started_at, r.finished_at, r.due_at,
       null as output, substr(r.error, 1, 2000) as error, r.kind, r.busy, r.life, r.waits,
       r.expires_at
from above a cross join run r
where r.id = a.id and a.n > 0;

-- name: suspended_of
-- Those of given runs that are suspended: their code is unloaded, and they wait for others.
with recursive given (n, id) as (
    select 1, substr(:parents, 1, 16)
    union all
    select n + 1, substr(:parents, n * 16 + 1, 16) from given where n < :count
)
select r.id from given g cross join run r where r.id = g.id and r.state = 2 and r.waits = 1;

-- name: kin_of
-- What given runs have to do with others that are not above or below them.
with recursive given (n, id) as (
    select 1, substr(:parents, 1, 16)
    union all
    select n + 1, substr(:parents, n * 16 + 1, 16) from given where n < :count
)
select r.id, case when r.kind = 15 then 'shares' else 'helps' end, o.id, o.task, o.state
from given g cross join run r cross join run o
where r.id = g.id and r.awaits is not null and (r.kind = 15 or r.kind < 10) and o.id = substr(r.awaits, 1, 16)
union all
select o.id, 'shared', o.id, o.task, o.state
from given g cross join shared s cross join run o where s.run_id = g.id and o.id = g.id
union all
select g.id, 'helped', o.id, o.task, o.state
from given g cross join hedge h cross join run o where h.target_id = g.id and o.id = h.run_id;

-- name: holder
-- Which root has an idempotency key.
select run_id from idem where namespace = :namespace and key = :key;

-- name: besides
-- What else a run's row has: who set its deadline, whether there is an output, and how often it started over.
select deadline_by, output is not null, error, life from run where id = :id;

-- name: recent
-- Of all trees, in the order in which they were made.
select id, root_id, task, state, kind >= 10, started_at, finished_at from run where id > :after and id < :until
order by id limit :limit;

-- name: queues
-- Of each published task: how many runs are queued; of more than :few not how many.
select t.name, (select count(*) from (select 1 from run r where r.task = t.name and r.state = 0 limit :few) few)
from task t order by t.name;

-- name: tree_sample
-- The states of a tree's first so many runs; the root is not among them.
select state, kind >= 10, count(*) from (
    select state, kind from run /* indexed by run_tree */ where root_id = :root and parent_id is not null
    order by root_id, parent_id, id limit :limit
) sample
group by state, kind >= 10;

-- name: below
-- A whole tree but for its root, by parent and id: a page of it.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
       deaths, worker_id, deadline, created_at, started_at, finished_at, due_at, null as output,
       substr(error, 1, 2000) as error, kind, busy, life, waits, expires_at
from run
where root_id = :root and parent_id is not null and (parent_id, id) > (:parent, :id)
order by root_id, parent_id, id limit :limit;
