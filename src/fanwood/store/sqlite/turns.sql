-- Whose turn it is, by the queue's index alone (store/turns.py). A plus before a placeholder keeps SQLite from preparing the
-- statement anew for each value, which takes five times as long as to look.

-- name: ready
-- Those of these tasks that have something in the queue: the priority and root of the best, whether there are other roots
-- of that priority, and lower priorities.
select json_group_array(json_array(f.task, f.priority, hex(f.root_id), exists (
    select 1 from run q indexed by run_ready
    where q.task = f.task and q.state = 0 and q.priority = f.priority and q.root_id > f.root_id
), exists (
    select 1 from run q indexed by run_ready where q.task = f.task and q.state = 0 and q.priority < f.priority
)))
from json_each(:tasks) t
cross join run f on f.id = (
    select q.id from run q indexed by run_ready
    where q.task = t.value and q.state = 0
    order by q.priority desc, q.root_id, q.depth desc, q.id limit 1
);

-- name: priority
select max((
    select q.priority from run q indexed by run_ready
    where q.task = t.value and q.state = 0 and q.priority < +:below
    order by q.priority desc limit 1
))
from json_each(:tasks) t;

-- name: roots
-- Of each of these tasks the first root after another one, and whether it is queued itself, as one of that task.
select json_group_array(json_array(t.key, hex(f.root_id), exists (
    select 1 from run o where o.id = f.root_id and o.state = 0 and o.task = f.task
)))
from json_each(:after) t
cross join run f on f.id = (
    select q.id from run q indexed by run_ready
    where q.task = t.value ->> 0 and q.state = 0 and q.priority = +:priority and q.root_id > unhex(t.value ->> 1)
    order by q.priority desc, q.root_id, q.depth desc, q.id limit 1
);

-- name: root_of_one
-- The same of one task, with a mark before it.
select case when exists (
    select 1 from run o where o.id = q.root_id and o.state = 0 and o.task = q.task
) then '+' else '' end || hex(q.root_id)
from run q indexed by run_ready
where q.task = +:task and q.state = 0 and q.priority = +:priority and q.root_id > unhex(:after)
order by q.priority desc, q.root_id, q.depth desc, q.id limit 1;

-- name: heads
-- The best of each of these roots, of each task by itself.
select json_group_array(json((
    select json_group_array(json_array(hex(h.root_id), -h.depth, hex(h.id))) from (
        select q.root_id, q.depth, q.id from run q indexed by run_ready
        where q.task = t.value and q.state = 0 and q.priority = +:priority and q.root_id = unhex(o.value)
        order by q.depth desc, q.id limit +:count
    ) h
)))
from json_each(:roots) o cross join json_each(:tasks) t;

-- name: heads_of_one
select json_group_array(json((
    select json_group_array(hex(h.id)) from (
        select q.id from run q indexed by run_ready
        where q.task = +:task and q.state = 0 and q.priority = +:priority and q.root_id = unhex(o.value)
        order by q.depth desc, q.id limit +:count
    ) h
)))
from json_each(:roots) o;

-- name: heads_from
-- The best of one task of a root, and of those after it.
select json_group_array(hex(h.id)) from (
    select q.id from run q indexed by run_ready
    where q.task = +:task and q.state = 0 and q.priority = +:priority and q.root_id >= unhex(:root)
    order by q.root_id, q.depth desc, q.id limit +:count
) h;
