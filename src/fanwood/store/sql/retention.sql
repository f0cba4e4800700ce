-- What is old and over. Common subset of SQLite and PostgreSQL. Trees are walked from the top down, in layers, and no
-- further than asked: a walk that comes back full has not seen everything. `store/retention.py` makes sense of it.
-- (A `limit` on a recursion from outside: PostgreSQL goes no further than it must. SQLite would, and has its own.)

-- name: walk_roots
-- The next so many roots that are old enough to be looked at, and all below those of the namespace that are over (`due`).
with recursive
tops (id, created_at, state, due) as (
    select id, created_at, state, case
        when state < 2 or finished_at >= :before then 0
        when :prefix = '' then case when task like '%/%' then 0 else 1 end
        when substr(task, 1, length(:prefix)) = :prefix then 1
        else 0
    end
    from run
    where parent_id is null and (created_at, id) > (:created_at, :after) and created_at < :before
    order by created_at, id
    limit :tops
),
tree (top, created_at, due, parent, id, state) as (
    select id, created_at, due, id, id, state from tops
    union all
    select t.top, t.created_at, t.due, t.id, c.id, c.state
    from tree t join run c on c.parent_id = t.id
    where t.due = 1
)
select top, created_at, due, parent, id, state from tree limit :rows;

-- name: walk_children
-- A run's first so many children, and all below them.
with recursive
tops (id, state) as (
    select id, state from run where parent_id = :parent order by id limit :tops
),
tree (top, parent, id, state) as (
    select id, id, id, state from tops
    union all
    select t.top, t.id, c.id, c.state from tree t join run c on c.parent_id = t.id
)
select top, 0 as created_at, 1 as due, parent, id, state from tree limit :rows;

-- name: goes_on
-- Whether any run of a tree has not ended.
with recursive tree (id, state) as (
    select id, state from run where id = :id
    union all
    select c.id, c.state from tree t join run c on c.parent_id = t.id
)
select exists (select 1 from tree where state < 2);

-- name: prunable
-- Trees of a namespace that are over, and their runs. Walks all that are old enough.
with recursive
tree (top, id, state) as (
    select id, id, state from run
    where parent_id is null and created_at < :before and state >= 2 and finished_at < :before
      and case when :prefix = '' then task not like '%/%' else substr(task, 1, length(:prefix)) = :prefix end
    union all
    select t.top, c.id, c.state from tree t join run c on c.parent_id = t.id
)
select count(*), coalesce(sum(runs), 0)
from (select top, count(*) as runs from tree group by top having min(state) >= 2) trees;
