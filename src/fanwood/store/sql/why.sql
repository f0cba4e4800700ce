-- Why a run is where it is: a few looks, each of which ends after so many rows. Common subset of SQLite and PostgreSQL.

-- name: why_gate
-- Which ancestor's gate it is behind, or that its tree is being deleted (what = 3).
with recursive above (id, parent_id, root_id, asked, on_parent_end) as (
    select id, parent_id, root_id, asked, on_parent_end from run where id = :id
    union all
    select p.id, p.parent_id, p.root_id, p.asked, p.on_parent_end
    from above a cross join run p where p.id = a.parent_id and a.on_parent_end <> 2
)
select g.run_id, g.what from above a cross join gate g
where g.run_id = a.parent_id and g.what = 1 and a.on_parent_end <> 2
  and (
      (a.asked < g.attempt and (g.which = 0 or a.on_parent_end <> 3))
      or (a.asked = g.attempt and (g.which = 0 or a.on_parent_end = 1))
  )
union all
select g.run_id, g.what from run r cross join gate g where r.id = :id and g.run_id = r.root_id and g.what = 3
order by 2 desc
limit 1;

-- name: why_place
-- Where it is in its task's queue, from 1; nothing if that is further back than :most.
select n from (
    select id, row_number() over (order by priority desc, root_id, depth desc, id) as n from (
        select id, priority, root_id, depth from run where task = :task and state = 0
        order by priority desc, root_id, depth desc, id limit :most
    ) queued
) ranked
where id = :id;

-- name: why_worker
select w.id, w.name, w.slots, coalesce(l.expires_at, 0),
       (select count(*) from (select 1 from run r where r.state = 1 and r.worker_id = w.id limit :most) few)
from worker w left join lease l on l.worker_id = w.id where w.id = :worker;

-- name: why_living
-- Of its newest children: how many have not ended.
select state, count(*) from (
    select state from run where root_id = :root and parent_id = :parent
    order by root_id desc, parent_id desc, id desc limit :most
) newest
where state < 8 group by state order by state;

-- name: why_oldest
select id, task, state, created_at, started_at from (
    select id, task, state, created_at, started_at from run where root_id = :root and parent_id = :parent
    order by root_id desc, parent_id desc, id desc limit :most
) newest
where state < 8 order by id limit 1;

-- name: why_shared
-- What a link waits for.
select s.id, s.task, s.state, s.created_at, s.started_at
from run l cross join run s where l.id = :id and l.kind = 15 and s.id = substr(l.awaits, 1, 16);

-- name: why_mark
-- By what is found what waits for an event or a message; and when a wait is given up.
select awaits, expires_at from run where id = :id;

-- name: why_links
-- How many calls wait for what is shared.
select count(*) from (
    select 1 from run
    where state = 2 and awaits is not null and awaits > :id and awaits < :high order by awaits limit :most
) few;

-- name: why_helped
-- Of a child that its hedge completed: that one, if it is among the next so many siblings.
select :id, 'helped', id, task, state from (
    select id, task, state, awaits from run
    where root_id = :root and parent_id = :parent and id > :id
      and (select f.ended_by from run f where f.id = :id) = 7
    order by root_id, parent_id, id limit :most
) next
where awaits = :id and state = 8 limit 1;

-- name: why_patched
-- Of one whose output was given by hand: the last lines of its log, one of which says by whom.
select l.message, l.at from run r cross join log l
where r.id = :id and r.ended_by = 6 and l.run_id = r.id and l.seq >= 0 and l.seq < 1073741824
order by l.seq desc limit 20;

-- name: why_slowest
select id, task, state, created_at, started_at from (
    select id, task, state, created_at, started_at from run where root_id = :root and parent_id = :parent
    order by root_id desc, parent_id desc, id desc limit :most
) newest
where state = 1 order by started_at, id limit 1;

-- name: why_siblings
-- How long others of its task took, among the newest of its siblings.
select finished_at - started_at from (
    select task, state, started_at, finished_at from run where root_id = :root and parent_id = :parent
    order by root_id desc, parent_id desc, id desc limit :most
) newest
where task = :task and state = 8 and started_at is not null;

-- name: why_roots
-- The same of roots.
select finished_at - started_at from (
    select state, started_at, finished_at from run where parent_id is null and state <> 0 and task = :task
    order by task desc, id desc limit :most
) newest
where state = 8 and started_at is not null;

-- name: why_suspended
-- What a suspended run waits for: how many ends, of how many runs, and the oldest of those.
select s.missing, (select count(*) from (select 1 from awaited a where a.waiter_id = :id limit :most) few),
       o.id, o.task, o.state, o.created_at, o.started_at
from suspended s
cross join (select run_id from awaited where waiter_id = :id order by waiter_id, run_id limit 1) first
cross join run o
where s.run_id = :id and o.id = first.run_id;

-- name: why_paused
-- What pauses it: itself, or the nearest above it.
with recursive above (id, parent_id, n) as (
    select id, parent_id, 0 from run where id = :id
    union all
    select p.id, p.parent_id, a.n + 1 from above a cross join run p where p.id = a.parent_id
)
select p.run_id, p.root_id, p.made_at, p.asked_by from above a cross join pause p
where p.run_id = a.id and p.resumed_at is null order by a.n limit 1;
