-- Which runs a worker takes: by priority, then one root after another, then deeper runs first, then age. (`+:limit`, here
-- and elsewhere: as it is bound, without the sign, SQLite plans anew at each call.)

-- name: has_ready
select exists (
    select 1 from json_each(:tasks) t where exists (select 1 from run q where q.task = t.value and q.state = 0)
);

-- name: ready_tasks
-- Those of these tasks that have something in the queue.
select json_group_array(t.value)
from json_each(:tasks) t
where exists (select 1 from run q where q.task = t.value and q.state = 0);

-- name: best_of_one
-- The best of one task, as their worker needs them; those only whose inputs fit into the answer (the first in any case).
select json_group_array(json_array(
    hex(r.id), r.attempt + 1, hex(r.parent_id), hex(r.root_id), r.depth, r.task, r.child_index, r.child_key, r.input, r.metadata,
    r.priority, r.retry_count, r.deaths, r.deadline, hex(r.deadline_by), r.trial_start, r.life
))
from (
    select id, coalesce(sum(size) over (rows between unbounded preceding and 1 preceding), 0) as before
    from (
        select q.id, octet_length(q.input) as size from run q indexed by run_ready
        where q.task = +:task and q.state = 0
        order by q.priority desc, q.root_id, q.depth desc, q.id
        limit +:limit
    )
) f
cross join run r on r.id = f.id
where f.before < +:bytes;

-- name: of_programs
-- A condition in the place of `q.state = 0`: what is below roots of some programs, or of nobody's.
q.state = 0 and exists (
    select 1 from run o
    where o.id = q.root_id and (o.asked = 0 or o.asked in (select value from json_each(:programs)))
)

-- name: heads_of_one
select json_group_array(hex(id)) from (
    select q.id from run q indexed by run_ready
    where q.task = +:task and q.state = 0
    order by q.priority desc, q.root_id, q.depth desc, q.id
    limit +:limit
);

-- name: heads_of_one_unsuspected
-- The same without suspects (two workers in a row died while executing them).
select json_group_array(hex(id)) from (
    select q.id from run q indexed by run_ready
    where q.task = +:task and q.state = 0 and q.deaths < 2
    order by q.priority desc, q.root_id, q.depth desc, q.id
    limit +:limit
);

-- name: heads
-- The first :limit of each of these tasks: task, and what the best is told by.
select json_group_array(json_array(r.task, -r.priority, hex(r.root_id), -r.depth, hex(r.id)))
from json_each(:tasks) t
cross join run r on r.id in (
    select q.id from run q indexed by run_ready
    where q.task = t.value and q.state = 0
    order by q.priority desc, q.root_id, q.depth desc, q.id
    limit +:limit
);

-- name: heads_unsuspected
select json_group_array(json_array(r.task, -r.priority, hex(r.root_id), -r.depth, hex(r.id)))
from json_each(:tasks) t
cross join run r on r.id in (
    select q.id from run q indexed by run_ready
    where q.task = t.value and q.state = 0 and q.deaths < 2
    order by q.priority desc, q.root_id, q.depth desc, q.id
    limit +:limit
);

-- name: oldest
-- The oldest :fair, so that nothing starves: the priorities of each task from the lowest up, within one the roots from
-- the oldest (no root is older than its runs: so no further than the oldest run found), in each what is least deep. The
-- walk is bounded for each task by itself, so every task is come to.
with recursive
groups (id, oldest, n) as (
    select h.id, (
        select c.id from run c indexed by run_ready
        where c.task = h.task and c.priority = h.priority and c.root_id = h.root_id and c.state = 0 and c.depth = (
            select d.depth from run d indexed by run_ready
            where d.task = h.task and d.priority = h.priority and d.root_id = h.root_id and d.state = 0
            order by d.depth asc limit 1
        )
        order by c.id limit 1
    ), 1
    from json_each(:tasks) t
    cross join run h on h.id = (
        select q.id from run q indexed by run_ready
        where q.task = t.value and q.state = 0 and q.priority = (
            select p.priority from run p indexed by run_ready where p.task = t.value and p.state = 0
            order by p.priority asc limit 1
        )
        order by q.root_id, q.depth desc, q.id limit 1
    )
    union all
    select h.id, (
        select c.id from run c indexed by run_ready
        where c.task = h.task and c.priority = h.priority and c.root_id = h.root_id and c.state = 0 and c.depth = (
            select d.depth from run d indexed by run_ready
            where d.task = h.task and d.priority = h.priority and d.root_id = h.root_id and d.state = 0
            order by d.depth asc limit 1
        )
        order by c.id limit 1
    ), g.n + 1
    from groups g
    cross join run b on b.id = g.id
    cross join run h on h.id = coalesce(
        (
            select q.id from run q indexed by run_ready
            where q.task = b.task and q.priority = b.priority and q.root_id > b.root_id and q.root_id < g.oldest
              and q.state = 0
            order by q.root_id, q.depth desc, q.id limit 1
        ),
        (
            select q.id from run q indexed by run_ready
            where q.task = b.task and q.state = 0 and q.priority = (
                select p.priority from run p indexed by run_ready
                where p.task = b.task and p.priority > b.priority and p.state = 0
                order by p.priority asc limit 1
            )
            order by q.root_id, q.depth desc, q.id limit 1
        )
    )
    where g.n < 32
)
select json_group_array(hex(id)) from (
    select r.id
    from groups g
    cross join run h on h.id = g.oldest
    cross join run r on r.id in (
        select q.id from run q indexed by run_ready
        where q.task = h.task and q.priority = h.priority and q.root_id = h.root_id and q.depth = h.depth and q.state = 0
        order by q.id limit +:fair
    )
    order by r.id limit +:fair
);

-- name: read_claimed
-- These runs as their worker needs them; those only whose inputs fit into the answer (the first in any case).
select json_group_array(json_array(
    hex(r.id), r.attempt + 1, hex(r.parent_id), hex(r.root_id), r.depth, r.task, r.child_index, r.child_key, r.input, r.metadata,
    r.priority, r.retry_count, r.deaths, r.deadline, hex(r.deadline_by), r.trial_start, r.life
))
from (
    select r.id, coalesce(sum(octet_length(r.input)) over (rows between unbounded preceding and 1 preceding), 0) as before
    from json_each(:ids) e cross join run r on r.id = unhex(e.value)
) f
cross join run r on r.id = f.id
where f.before < +:bytes;

-- name: take_runs
-- None for a worker that was taken for dead: nobody would ever look at them again.
update run
set state = 1, attempt = attempt + 1, worker_id = :me, started_at = :now, expires_at = null
where id in (select unhex(value) from json_each(:ids)) and state = 0 and exists (select 1 from lease where worker_id = :me);

-- name: against_the_rules
-- Of these, which are queued, those whose rows break a rule of the table (somebody has written there with its checks off):
-- nothing can be written of them that does not put that right.
select json_group_array(hex(r.id))
from json_each(:ids) e cross join run r on r.id = unhex(e.value)
where r.waits is not null or r.due_at is not null or r.finished_at is not null;

-- name: attempts_of
select json_group_array(json_array(hex(r.id), r.attempt)) from json_each(:ids) e cross join run r on r.id = unhex(e.value);
