-- The walks of `sql/retention.sql`, which SQLite would not end where they should: it puts all children of a run into its
-- queue before it counts one of them. And deleting, a whole batch by one statement for each table.

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
    from tree t
    join run c on c.id in (select n.id from run n where n.parent_id = t.id and t.due = 1 order by n.id limit :rows)
    limit :rows
)
select top, created_at, due, parent, id, state from tree;

-- name: walk_children
-- A run's first so many children, and all below them.
with recursive
tops (id, state) as (
    select id, state from run where parent_id = :parent order by id limit :tops
),
tree (top, parent, id, state) as (
    select id, id, id, state from tops
    union all
    select t.top, t.id, c.id, c.state
    from tree t
    join run c on c.id in (select n.id from run n where n.parent_id = t.id order by n.id limit :rows)
    limit :rows
)
select top, 0 as created_at, 1 as due, parent, id, state from tree;

-- name: all_over
-- Whether these have ended, each of them, and no other run hangs below one.
select json_array_length(:ids) = (
           select count(*) from json_each(:ids) e cross join run r on r.id = unhex(e.value) where r.state >= 2
       )
       and not exists (
           select 1 from json_each(:ids) e cross join run c on c.parent_id = unhex(e.value)
           where c.id not in (select unhex(value) from json_each(:ids))
       );

-- name: delete_logs
delete from log where run_id in (select unhex(value) from json_each(:ids));

-- name: delete_watches
delete from watch where run_id in (select unhex(value) from json_each(:ids));

-- name: delete_runs
delete from run where id in (select unhex(value) from json_each(:ids));
