-- What people and programs look at. Common subset of SQLite and PostgreSQL; every order ends in the key.

-- name: balances
-- The limits that hold for a run.
select b.run_id, b.unit, b.amount, b.used, b.held, b.open
from run r join budget m on m.run_id = r.budget join budget b on b.run_id = m.source and b.unit = m.unit
where r.id = :id order by b.unit;

-- name: spent_in
-- Which runs of a tree have spent most of each unit; of its first so many spends. In millions, and the rest, as a sum may be
-- more than a bigint holds.
select run_id, unit, millions, rest from (
    select run_id, unit, millions, rest, size,
           row_number() over (partition by unit order by size desc, run_id) as place
    from (
        select run_id, unit, cast(sum(amount / 1000000) as bigint) as millions, cast(sum(amount % 1000000) as bigint) as rest,
               sum(cast(amount as double precision)) as size
        from (select run_id, unit, amount, held from spend where root_id = :root limit :most) few
        where held = 0 and unit not in ('~runs', '~seconds')
        group by run_id, unit
    ) sums
) ranked
where place <= :limit order by unit, size desc, run_id;

-- name: spends
select count(*) from (select 1 from spend where root_id = :root limit :most) few;

-- name: spent_by
select run_id, unit, cast(sum(amount / 1000000) as bigint), cast(sum(amount % 1000000) as bigint) from spend
where run_id = :id and held = 0 and unit not in ('~runs', '~seconds')
group by run_id, unit order by unit limit :limit;

-- name: counted
-- Limits, counted once more. (Of a tree that is being deleted page by page some of what was charged is gone.)
select b.run_id, b.unit, b.amount, b.used, b.held,
       cast(coalesce((
           select sum(s.amount) from spend s
           where s.root_id = b.root_id and s.source = b.run_id and s.unit = b.unit and s.held = 0
       ), 0) + coalesce((
           select sum(case when c.open = 1 then c.base else c.used end) from budget c
           where c.root_id = b.root_id and c.parent = b.run_id and c.unit = b.unit
       ), 0) as bigint) as used_of,
       cast(coalesce((
           select sum(s.amount) from spend s
           where s.root_id = b.root_id and s.source = b.run_id and s.unit = b.unit and s.held = 1
       ), 0) + coalesce((
           select sum(case when c.open = 1 then c.amount - c.base else c.held end) from budget c
           where c.root_id = b.root_id and c.parent = b.run_id and c.unit = b.unit
       ), 0) as bigint) as held_of,
       case when b.open = 0 and b.parent is not null then 1 else 0 end as closed,
       (
           select count(*) from spend s left join run r on r.id = s.run_id
           where s.root_id = b.root_id and s.source = b.run_id and s.unit = b.unit and s.held = 1
             and (r.id is null or r.state <> 1 or r.attempt <> s.attempt)
       ) as left_over
from budget b
where b.source = b.run_id and b.unit <> '~depth' and (:root is null or b.root_id = :root)
  and not exists (select 1 from gate g where g.run_id = b.root_id and g.what = 3)
order by b.run_id, b.unit;

-- name: get_run
select id, parent_id, root_id, depth, task, child_key, input, metadata, priority, state, attempt, retry_count, deaths,
       worker_id, deadline, created_at, started_at, finished_at, due_at, output, error, kind, busy, life, waits,
       expires_at
from run where id = :id;

-- name: runs_from
-- Runs whose id begins with given digits, a hundred at most. (With that number in it a server plans it once; it took the
-- plan for unknown ids for a dear one where there are millions, and made a new one for each that it was asked for.)
select first.id from (select id from run where id >= :low and id <= :high order by id limit 100) first
order by first.id limit :limit;

-- name: ids_counted
-- How many there are from one id to before another.
select count(*) from run where id >= :lowest and id < :before;

-- name: preview
select substr(input, 1, :length) from run where id = :id;

-- name: log_end
select (select seq from log where run_id = :id and seq < :until order by run_id desc, seq desc limit 1);

-- name: list_children
-- So many are looked at, and those are given that are asked for; the last of them as well, if there may be more.
select * from (
    select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
           deaths, worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life,
           waits, expires_at, case when (:task is null or task = :task) and (:state is null or state = :state) then 1 else 0 end as fits,
           row_number() over (order by root_id, parent_id, id) as number
    from run /* indexed by run_tree */
    where root_id = (select root_id from run where id = :parent) and parent_id = :parent and id > :after
      /* in postgres: and (root_id, parent_id, id) > ((select root_id from run where id = :parent), :parent, :after) */
    order by root_id, parent_id, id limit :most
) visited
where fits = 1 or number = :most;

-- name: list_failed_children
-- The same of what failed in the whole tree, by the index that has nothing else: there may be few among very many.
select * from (
    select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count,
           deaths, worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life,
           waits, expires_at, case when parent_id = :parent and (:task is null or task = :task) then 1 else 0 end as fits,
           row_number() over (order by root_id, id) as number
    from run /* indexed by run_failed */
    where root_id = (select root_id from run where id = :parent) and state = 9 and id > :after
    order by root_id, id limit :most
) visited
where fits = 1 or number = :most;

-- name: child_counts
select task, state, count(*), min(started_at), max(coalesce(finished_at, 0)), min(finished_at - started_at),
       max(finished_at - started_at)
from run
where root_id = (select root_id from run where id = :parent) and parent_id = :parent
group by task, state order by task, state;

-- name: recalled
-- Those that have code. What one said that has ended comes with it if it has at most so many bytes.
select identity, id, state, asked, input_digest, output_size + error_size <= :most,
       case when output_size + error_size <= :most then output end,
       case when output_size + error_size <= :most then error end
from (
    select identity, id, state, asked, input_digest, output, error, coalesce(octet_length(output), 0) as output_size,
        coalesce(octet_length(error), 0) as error_size
    from run
    where root_id = (select root_id from run where id = :parent) and parent_id = :parent and id > :after
        and kind < 10 and identity is not null
    order by id
    limit :limit
) child
order by id;

-- name: recorded
-- Those that no worker executes. (What waits, and is closed, is cancelled, whether or not a sweep has met it.)
select identity, id, case when closed is null then state else 10 end as state, output, coalesce(closed, error) as error, asked
from (
    select identity, id, state, output, error, asked,
           case when state = 2 then (
               select g.error from gate g
               where g.run_id = run.parent_id and g.what = 1 and run.on_parent_end <> 2
                 and (run.asked < g.attempt or (run.asked = g.attempt and (g.which = 0 or run.on_parent_end = 1)))
           ) end as closed
    from run
    where root_id = (select root_id from run where id = :parent) and parent_id = :parent and id > :after and kind >= 10
    order by id
    limit :limit
) r
order by id;

-- name: kept
-- The children of a run, as a fork of it finds them: those with code, and parts that completed; if :way is one of them, that and what
-- was asked for before it: the order is that in which they were committed. (With its input what had another one than was asked for.)
select identity, id, kind, state, asked, input_digest, child_key,
       case when kind >= 10 or output_size <= :most then 1 else 0 end,
       case when kind >= 10 or output_size <= :most then output end,
       case when kind >= 10 or life like '%"changed"_true%' or life like '[%' then input else '' end, life
from (
    select identity, id, kind, state, asked, input_digest, child_key, input, output, life,
        coalesce(octet_length(output), 0) as output_size
    from run
    where root_id = (select root_id from run where id = :parent) and parent_id = :parent and id > :after
        and identity is not null and (kind < 10 or state = 8)
        and (:way is null or id = :way
             or (case when kind = 10 then finished_at else created_at end, coalesce(child_index, 0)) < (
                 select case when w.kind = 10 then w.finished_at else w.created_at end, coalesce(w.child_index, 0)
                 from run w where w.id = :way
             ))
    order by id
    limit :limit
) child
order by id;

-- name: lineage
select root_id, origin_id, origin_root, at_id, changed, made_at, asked_by from fork where root_id = :root;

-- name: forks
select root_id, origin_id, origin_root, at_id, changed, made_at, asked_by from fork where origin_id = :id
order by made_at desc, root_id desc limit :limit;

-- name: tree_counts
-- Of a root: its tree is one range.
select task, state, count(*), min(created_at), max(coalesce(finished_at, 0))
from (
    select task, state, created_at, finished_at from run where id = :id
    union all
    select task, state, created_at, finished_at from run where root_id = :id and parent_id is not null
) tree
group by task, state
order by task, state;

-- name: subtree_counts
-- Of a run that is no root: from the top down. (`cross join`: in this order, whatever a planner thinks of it.)
with recursive below (id) as (
    select id from run where id = :id
    union all
    select c.id from below b cross join run c where c.root_id = :root and c.parent_id = b.id
)
select r.task, r.state, count(*), min(r.created_at), max(coalesce(r.finished_at, 0))
from below b cross join run r
where r.id = b.id
group by r.task, r.state
order by r.task, r.state;

-- name: tree_slowest
-- Of a root.
select id, task, input, finished_at - started_at as took
from (
    select id, task, input, finished_at, started_at from run
    where id = :id and state = 8 and (:task is null or task = :task)
    union all
    select id, task, input, finished_at, started_at from run
    where root_id = :id and parent_id is not null and state = 8 and (:task is null or task = :task)
) tree
order by took desc, id
limit :limit;

-- name: subtree_slowest
with recursive below (id) as (
    select id from run where id = :id
    union all
    select c.id from below b cross join run c where c.root_id = :root and c.parent_id = b.id
)
select r.id, r.task, r.input, r.finished_at - r.started_at as took
from below b cross join run r
where r.id = b.id and r.state = 8 and (:task is null or r.task = :task)
order by took desc, r.id
limit :limit;

-- name: tree_failures
-- Of a root.
select id, task, input, error
from (
    select id, task, input, error from run
    where id = :id and state in (9, 10) and (:task is null or task = :task)
    union all
    select id, task, input, error from run
    where root_id = :id and parent_id is not null and state in (9, 10) and (:task is null or task = :task)
) tree
order by id
limit :limit;

-- name: subtree_failures
with recursive below (id) as (
    select id from run where id = :id
    union all
    select c.id from below b cross join run c where c.root_id = :root and c.parent_id = b.id
)
select r.id, r.task, r.input, r.error
from below b cross join run r
where r.id = b.id and r.state in (9, 10) and (:task is null or r.task = :task)
order by r.id
limit :limit;

-- name: logs
select seq, attempt, at, level, message from log where run_id = :id and seq > :after and seq < :until
order by seq limit :limit;

-- name: attempts
-- Those that are kept, and the one that the run's own row tells of.
select number, worker_id, worker, state, started_at, finished_at, error
from (
    select a.number, a.worker_id, a.worker, a.state, a.started_at, a.finished_at, a.error
    from attempt a where a.run_id = :id
    union all
    select r.attempt, r.worker_id, (select w.name from worker w where w.id = r.worker_id), r.state, r.started_at,
           r.finished_at, case when r.state >= 8 then r.error end
    from run r
    where r.id = :id and r.attempt > 0 and (r.state = 1 or r.state >= 8)
      and not exists (select 1 from attempt a where a.run_id = r.id and a.number = r.attempt)
) attempts
order by number;

-- name: counts
select state, count(*) from run group by state order by state;

-- name: unfinished_counts
-- By the small indexes of what has not ended.
select state, count(*) from run where state = 0 group by state
union all
select state, count(*) from run where state = 1 group by state
union all
select state, count(*) from run where state = 2 group by state;

-- name: orphans
-- RUNNING under no worker: must be none, for nobody would ever look at them again.
select r.id from run r where r.state = 1 and not exists (select 1 from worker w where w.id = r.worker_id)
order by r.worker_id, r.id limit 100;

-- name: audit
-- Rows, and what they stand beside, at one moment: by :walk 0 roots, 1 children, family after family, each from the one
-- after a place on; 2 the first of what has not ended, of each state so many.
select r.id, r.parent_id, r.root_id, r.depth, r.kind, r.task, r.identity, r.on_parent_end, r.state, r.waits, r.due_at,
       r.attempt, r.trial_start, r.retry_count, r.deaths, r.asked, r.worker_id, r.deadline, r.expires_at, r.created_at,
       r.started_at, r.finished_at, r.busy, r.ended_by,
       case when r.waits = 1 then (select s.missing from suspended s where s.run_id = r.id) end,
       case when r.waits = 1 then (
           select count(*) from awaited a cross join run o where a.waiter_id = r.id and o.id = a.run_id and o.state < 8
       ) else 0 end,
       case when r.waits = 1 then (
           select count(*) from awaited a left join run o on o.id = a.run_id
           where a.waiter_id = r.id and (o.id is null or o.state >= 8)
       ) else 0 end,
       case when r.kind = 15 then (select o.state from run o where o.id = substr(r.awaits, 1, 16)) end,
       case when r.kind = 15 then (select s.open from shared s where s.run_id = substr(r.awaits, 1, 16))
            when r.on_parent_end = 3 then (select s.open from shared s where s.run_id = r.id) end,
       case when r.state = 2 and r.kind in (12, 14) then r.awaits end,
       case when r.state = 2 and r.kind in (12, 14) then r.input end,
       r.output is not null, r.error is not null,
       exists (select 1 from worker w where w.id = r.worker_id),
       exists (select 1 from gate g where g.root_id = r.root_id),
       exists (select 1 from run o where o.id in (r.deadline_by, p.deadline_by) and o.limit_at is not null),
       p.state, p.attempt, p.root_id, p.depth, p.deadline, p.life
from (
    select id from (
        select id from run where :walk = 0 and parent_id is null and (created_at, id) > (:at, :after)
        order by created_at, id limit :limit
    ) roots
    union all
    select id from (
        select id from run where :walk = 1 and parent_id is not null and (root_id, parent_id, id) > (:root, :parent, :after)
        order by root_id, parent_id, id limit :limit
    ) children
    union all
    select id from (
        select id from run where :walk = 2 and state = 0 order by task, priority desc, root_id, depth desc, id limit :limit
    ) queued
    union all
    select id from (select id from run where :walk = 2 and state = 1 order by worker_id, id limit :limit) running
    union all
    select id from (select id from run where :walk = 2 and state = 2 order by root_id, id limit :limit) waiting
) page cross join run r left join run p on p.id = r.parent_id
where r.id = page.id;

-- name: unserved
-- Tasks with queued runs that no live worker serves. (The queue's index is walked from one task to the next.)
with recursive queued (task) as (
    select min(task) from run where state = 0
    union all
    select (select min(r.task) from run r where r.state = 0 and r.task > q.task) from queued q where q.task is not null
)
select q.task, count(*), min(r.created_at)
from queued q cross join run r
where r.state = 0 and r.task = q.task and not exists (
    select 1 from worker_task t join lease l on l.worker_id = t.worker_id where t.task = q.task and l.expires_at > :now
)
group by q.task
order by q.task;

-- name: put_off
-- Of what is due next: runs that wait for a worker with other code, and that several had already which lack it.
select task, error, count(*), min(created_at) from (
    select kind, task, error, started_at, due_at, created_at from run
    where state = 2 and due_at is not null order by due_at, id limit :most
) waiting
where kind < 10 and substr(error, 1, 18) = '{"kind":"unserved"' and due_at - started_at > :long
group by task, error order by task, error;

-- name: settings
select name, value from setting order by name;

-- name: get_root
select root_id from run where id = :id;

-- name: workers
select w.id, w.name, w.host, w.pid, w.slots, w.started_at, w.lease, coalesce(l.expires_at, 0) as lease_expires_at,
       (select count(*) from run r where r.worker_id = w.id and r.state = 1) as running
from worker w left join lease l on l.worker_id = w.id order by w.id;

-- name: known_tasks
select name, kind, description, priority, schedule_timeout, metadata, schema, version from task order by name;
