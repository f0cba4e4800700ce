-- What lives of a tree, a page at a time (living.py): found by the indexes of what is queued, running and waiting.

-- name: next_queue
-- The queue after (task, priority): which comes next.
select json_array(task, priority) from (
    select * from (
        select q.task, q.priority from run q indexed by run_ready
        where q.state = 0 and q.task = +:task and q.priority < +:priority
        order by q.priority desc limit 1
    )
    union all
    select * from (
        select q.task, q.priority from run q indexed by run_ready
        where q.state = 0 and q.task > :task
        order by q.task, q.priority desc limit 1
    )
) limit 1;

-- name: queued_level
-- Of one root, task and priority: the next of one depth.
select json_group_array(json_array(hex(id), attempt, state, depth)) from (
    select id, attempt, state, depth from run indexed by run_ready
    where state = 0 and task = +:task and priority = +:priority and root_id = +:root and depth = +:depth and id > +:id
    order by id limit +:limit
);

-- name: next_level
-- ... and the next depth at which there is anything.
select depth from run indexed by run_ready
where state = 0 and task = +:task and priority = +:priority and root_id = +:root and depth < +:depth
order by depth desc limit 1;

-- name: running_page
-- Whatever runs, of all roots. (An index by root as well would cost each claim more than this costs a sweep.)
select json_group_array(json_array(hex(id), attempt, state, worker_id, root_id = +:root)) from (
    select id, attempt, state, worker_id, root_id from run indexed by run_running
    where state = 1 and (worker_id, id) > (:worker, :id)
    order by worker_id, id limit +:limit
);

-- name: waiting_page
select json_group_array(json_array(hex(id), attempt, state)) from (
    select id, attempt, state from run indexed by run_waiting
    where state = 2 and root_id = +:root and id > +:id
    order by id limit +:limit
);
