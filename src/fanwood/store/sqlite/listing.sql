-- Listings: pages of runs, newest first. Each statement walks one index, :walk rows at most from the one after (:at, :after),
-- and says of each row whether the filter lets it through (its last column).

-- name: list_roots
-- Roots.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count, deaths,
       worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       expires_at,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state) and not exists (
           select 1 from json_each(:metadata) w where not exists (
               select 1 from json_each(case when json_valid(r.metadata) then r.metadata end) e where e.key = w.key and e.type = w.type and e.value is w.value
           )
       ) as passes
from run r indexed by run_root
where parent_id is null and (created_at, id) < (:at, :after) and created_at >= :since
order by created_at desc, id desc
limit +:walk;

-- name: list_roots_of_task
-- Roots of one task, or all that are queued, in the order of their ids, which begin with the time of their making. Those that
-- have begun have an index. Those that are queued are found in the queue: of each task and priority from one tree to the
-- next newest (of which more may be queued than its root, or that may have begun: it is passed by).
with recursive
tasks (task) as (
    select coalesce(:task, (select q.task from run q indexed by run_ready where q.state = 0 order by q.task limit 1))
    union all
    select (select q.task from run q indexed by run_ready where q.state = 0 and q.task > t.task order by q.task limit 1)
    from tasks t where t.task is not null and :task is null
),
lanes (task, priority) as (
    select t.task, (
        select q.priority from run q indexed by run_ready where q.state = 0 and q.task = t.task order by q.priority desc limit 1
    )
    from tasks t
    union all
    select l.task, (
        select q.priority from run q indexed by run_ready where q.state = 0 and q.task = l.task and q.priority < l.priority
        order by q.priority desc limit 1
    )
    from lanes l where l.priority is not null
),
trees (task, priority, id, n) as (
    select l.task, l.priority, (
        select q.root_id from run q indexed by run_ready
        where q.state = 0 and q.task = l.task and q.priority = l.priority and q.root_id < :after and q.root_id >= :since_id
        order by q.root_id desc limit 1
    ), 1
    from lanes l where l.priority is not null
    union all
    select t.task, t.priority, (
        select q.root_id from run q indexed by run_ready
        where q.state = 0 and q.task = t.task and q.priority = t.priority and q.root_id < t.id and q.root_id >= :since_id
        order by q.root_id desc limit 1
    ), t.n + 1
    from trees t where t.id is not null and t.n < :walk
),
found (root) as (
    select t.id from trees t where t.id is not null
    union
    select * from (
        select b.id from run b indexed by run_root_task
        where b.parent_id is null and b.state <> 0 and :state is not 0
          and (b.task, b.id) < (:task, :after) and (b.task, b.id) >= (:task, :since_id)
        order by b.task desc, b.id desc limit +:walk
    ) begun
    order by 1 desc limit +:walk
)
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count, deaths,
       worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       expires_at,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state) and not exists (
           select 1 from json_each(:metadata) w where not exists (
               select 1 from json_each(case when json_valid(r.metadata) then r.metadata end) e where e.key = w.key and e.type = w.type and e.value is w.value
           )
       ) as passes
from found f cross join run r on r.id = f.root
order by r.id desc;

-- name: list_roots_in_state
-- Roots in one state, which is neither QUEUED nor COMPLETED.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count, deaths,
       worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       expires_at,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state) and not exists (
           select 1 from json_each(:metadata) w where not exists (
               select 1 from json_each(case when json_valid(r.metadata) then r.metadata end) e where e.key = w.key and e.type = w.type and e.value is w.value
           )
       ) as passes
from run r indexed by run_root_state
where parent_id is null and state <> 0 and state <> 8 and state = :state and (created_at, id) < (:at, :after) and created_at >= :since
order by created_at desc, id desc
limit +:walk;

-- name: list_runs
-- All runs. (Ids begin with the time of their making.)
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count, deaths,
       worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       expires_at,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state) and not exists (
           select 1 from json_each(:metadata) w where not exists (
               select 1 from json_each(case when json_valid(r.metadata) then r.metadata end) e where e.key = w.key and e.type = w.type and e.value is w.value
           )
       ) as passes
from run r
where id < :after and id >= :since_id
order by id desc
limit +:walk;

-- name: list_failed
-- All that failed, in the order of their ends.
select id, parent_id, root_id, depth, task, child_key, null as input, metadata, priority, state, attempt, retry_count, deaths,
       worker_id, deadline, created_at, started_at, finished_at, due_at, null as output, error, kind, busy, life, waits,
       expires_at,
       (:task is null or task = :task) and (:prefix is null or (task >= :prefix and task < :prefix_end))
       and (:state is null or state = :state) and not exists (
           select 1 from json_each(:metadata) w where not exists (
               select 1 from json_each(case when json_valid(r.metadata) then r.metadata end) e where e.key = w.key and e.type = w.type and e.value is w.value
           )
       ) as passes
from run r indexed by run_failed_at
where state = 9 and (finished_at, id) < (:at, :after) and finished_at >= :since
order by finished_at desc, id desc
limit +:walk;

-- name: left_over
-- Of one task: below which roots runs are queued, and how many of each, as the index says.
select json_group_array(json_array(hex(root_id), count)) from (
    select root_id, count(*) as count
    from (select root_id from run indexed by run_ready where task = :task and state = 0 limit +:limit)
    group by root_id order by root_id
);

-- name: left_over_of
-- Whose these roots are, in their order, and how large.
select json_group_array(json_array(asked, octet_length(input))) from (
    select o.asked, o.input from json_each(:roots) r cross join run o on o.id = unhex(r.value) order by r.key
);

-- name: task_version
select version from task where name = :task;

-- name: why_servers
-- Live workers that serve its task: whether only for their own programs, and how many runs each has.
select w.id, w.name, w.slots, w.own,
       (select count(*) from (select 1 from run r where r.state = 1 and r.worker_id = w.id limit +:most) has)
from worker_task t cross join worker w on w.id = t.worker_id cross join lease l on l.worker_id = w.id
where t.task = :task and l.expires_at > :now and w.slots > 0
order by w.id limit +:servers;

-- name: recorded_few
-- The first children of several runs, as one row of JSON; of those that no worker executes what they said, and whether that has at
-- most so many bytes (else it is left out). What waits, and is closed: as `recorded`.
select json_group_array(json(found)) from (
    select (
        select json_group_array(json_array(
            hex(identity), hex(id), iif(closed is null, state, 10), iif(short, output, null),
            coalesce(closed, iif(short, error, null)), asked, short
        ))
        from (
            select identity, id, state, output, error, asked, iif(kind >= 10,
                coalesce(octet_length(output), 0) + coalesce(octet_length(error), 0) <= :most, null) as short,
                case when state = 2 then (
                    select g.error from gate g
                    where g.run_id = run.parent_id and g.what = 1 and run.on_parent_end <> 2
                      and (run.asked < g.attempt or (run.asked = g.attempt and (g.which = 0 or run.on_parent_end = 1)))
                ) end as closed
            from run
            where root_id = (select root_id from run where id = unhex(p.value ->> 0)) and parent_id = unhex(p.value ->> 0)
                and id > unhex(p.value ->> 1)
            order by id
            limit +:limit
        )
    ) as found
    from json_each(:parents) p
    order by p.key
);

-- name: ids_before
-- So many ids, the newest first, in one text.
select string_agg(hex(id), '') from (
    select id from run where id >= :lowest and id < :before order by id desc limit :far
);
