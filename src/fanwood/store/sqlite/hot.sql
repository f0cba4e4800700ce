-- The statements of the hot path: spawn, claim, report. Each does its whole batch in one step, and those that
-- answer do it with one row of JSON: for every step Python gives up its global lock and has to win it back from the
-- threads that run the tasks, so a step is what costs, not a row.

-- name: current_attempts
-- Which of these (run, attempt) pairs are what they say.
select json_group_array(p.key)
from json_each(:pairs) p
cross join run r on r.id = unhex(p.value ->> 0)
where r.state = 1 and r.attempt = p.value ->> 1;

-- name: is_registered
select exists (select 1 from worker where id = :me);

-- name: insert_run
-- Repeated for as many rows as there are.
insert into run (
    id, parent_id, root_id, depth, task, identity, child_index, child_key, input_digest, input, metadata, priority,
    on_parent_end, state, attempt, asked, worker_id, deadline, deadline_by, schedule_timeout, expires_at, created_at, started_at
) values (
    :id, :parent_id, :root_id, :depth, :task, :identity, :child_index, :child_key, :input_digest, :input, :metadata, :priority,
    :on_parent_end, :state, :attempt, :asked, :worker_id, :deadline, :deadline_by, :schedule_timeout, :expires_at,
    :created_at, :started_at
);

-- name: insert_alike
-- Siblings that have all but id, identity, index and input in common. A row is the four, strung together: two times 32
-- hex digits, ten decimal ones, then the input.
insert into run (
    id, parent_id, root_id, depth, task, identity, child_index, input, metadata, priority, on_parent_end,
    state, attempt, asked, worker_id, deadline, deadline_by, schedule_timeout, expires_at, created_at, started_at
)
select unhex(substr(value, 1, 32)), :parent_id, :root_id, :depth, :task, unhex(substr(value, 33, 32)),
       cast(substr(value, 65, 10) as integer), substr(value, 75), :metadata, :priority, :on_parent_end, :state, :attempt, :asked, :worker_id, :deadline,
       :deadline_by, :schedule_timeout, :expires_at, :created_at, :started_at
from json_each(:rows);

-- name: read_keyed
-- Roots that weren't born, as another one holds their key: who that is.
select json_group_array(json_array(
    v.value ->> 0, json_array(
        hex(r.id), r.state, r.output, r.error,
        r.task = v.value ->> 2 and hex(r.input_digest) = v.value ->> 3, r.task, r.input
    )
))
from json_each(:rows) v cross join run r indexed by run_key on r.identity = unhex(v.value ->> 1) and r.parent_id is null
where r.id <> unhex(v.value ->> 0);

-- name: insert_log
insert into log (run_id, seq, attempt, at, level, message)
select r.id, l.key + coalesce((select max(seq) + 1 from log where run_id = r.id), 0),
       r.attempt, l.value ->> 2, l.value ->> 3, l.value ->> 4
from json_each(:lines) l
cross join run r on r.id = unhex(l.value ->> 0)
where r.state = 1 and r.attempt = l.value ->> 1;

-- name: end_runs
update run
set state = v.value ->> 2, output = v.value ->> 3, error = v.value ->> 4, finished_at = :now, expires_at = null
from json_each(:rows) v
where run.id = unhex(v.value ->> 0) and run.state = 1 and run.attempt = v.value ->> 1;

-- name: ended_now
-- After a miscount: which of these did `end_runs` end. Nothing else bears this instant.
select json_group_array(v.key)
from json_each(:rows) v
cross join run r on r.id = unhex(v.value ->> 0)
where r.attempt = v.value ->> 1 and r.state = v.value ->> 2 and r.finished_at = :now;

-- name: requeue_runs
update run
set state = 0,
    run_at = case when v.value ->> 2 > 0 then :now + (v.value ->> 2) end,
    retry_count = retry_count + (v.value ->> 3),
    trial_start = case when v.value ->> 3 then attempt + 1 else trial_start end,
    deaths = 0,
    error = coalesce(v.value ->> 4, error),
    expires_at = nullif(min(coalesce(deadline, 9e18), coalesce(:now + (v.value ->> 2) + schedule_timeout, 9e18)), 9e18)
from json_each(:rows) v
where run.id = unhex(v.value ->> 0) and run.state = 1 and run.attempt = v.value ->> 1;

-- name: requeued_now
select json_group_array(v.key)
from json_each(:rows) v
cross join run r on r.id = unhex(v.value ->> 0)
where r.state = 0 and r.attempt = v.value ->> 1;

-- name: has_ready
select exists (
    select 1 from json_each(:tasks) t
    where exists (select 1 from run q where q.task = t.value and q.state = 0 and q.run_at is null)
);

-- name: pick_best
-- By priority, then deeper runs first, then age: the best of each task, then the best of all.
with best as materialized (
    select r.id
    from json_each(:tasks) t
    cross join run r on r.id in (
        select q.id from run q indexed by run_ready
        where q.task = t.value and q.state = 0 and q.run_at is null
        order by q.priority desc, q.depth desc, q.id
        limit :limit
    )
    order by r.priority desc, r.depth desc, r.id
    limit :limit
)
select json_group_array(json_array(
    hex(r.id), r.attempt + 1, hex(r.parent_id), hex(r.root_id), r.depth, r.task, r.child_index, r.child_key, r.input, r.metadata,
    r.priority, r.retry_count, r.deaths, r.deadline, hex(r.deadline_by), r.trial_start
))
from best cross join run r on r.id = best.id;

-- name: pick_fair
-- The oldest :fair of all, so that nothing starves, then the best. Groups of equal priority and depth are walked
-- from the bottom, where the starving are, and the walk is bounded.
with recursive
last (id) as (
    select (
        select q.id from run q indexed by run_ready
        where q.task = t.value and q.state = 0 and q.run_at is null
        order by q.priority asc, q.depth asc, q.id desc limit 1
    )
    from json_each(:tasks) t
    union all
    -- Two descents, where a comparison of (priority, depth) would make SQLite scan the group.
    select coalesce(
        (
            select q.id from run q indexed by run_ready
            where q.task = h.task and q.priority = h.priority and q.depth > h.depth
              and q.state = 0 and q.run_at is null
            order by q.depth asc, q.id desc limit 1
        ),
        (
            select q.id from run q indexed by run_ready
            where q.task = h.task and q.priority > h.priority and q.state = 0 and q.run_at is null
            order by q.priority asc, q.depth asc, q.id desc limit 1
        )
    )
    from last cross join run h on h.id = last.id
    limit 32
),
fair as materialized (
    select r.id
    from last
    cross join run h on h.id = last.id
    cross join run r on r.id in (
        select q.id from run q indexed by run_ready
        where q.task = h.task and q.priority = h.priority and q.depth = h.depth and q.state = 0 and q.run_at is null
        order by q.id limit :fair
    )
    order by r.id limit :fair
),
best as materialized (
    select r.id
    from json_each(:tasks) t
    cross join run r on r.id in (
        select q.id from run q indexed by run_ready
        where q.task = t.value and q.state = 0 and q.run_at is null
        order by q.priority desc, q.depth desc, q.id
        limit :limit
    )
    order by r.priority desc, r.depth desc, r.id
    limit :limit
),
chosen as materialized (
    select id from fair
    union all
    select id from (select id from best where id not in (select id from fair) limit :limit - :fair)
)
select json_group_array(json_array(
    hex(r.id), r.attempt + 1, hex(r.parent_id), hex(r.root_id), r.depth, r.task, r.child_index, r.child_key, r.input, r.metadata,
    r.priority, r.retry_count, r.deaths, r.deadline, hex(r.deadline_by), r.trial_start
))
from chosen cross join run r on r.id = chosen.id;

-- name: take_runs
-- None for a worker that was taken for dead: nobody would ever look at them again.
update run
set state = 1, attempt = attempt + 1, worker_id = :me, started_at = :now, expires_at = null
where id in (select unhex(value) from json_each(:ids)) and state = 0 and exists (select 1 from worker where id = :me);

-- name: has_watchers
select exists (select 1 from watch where worker_id < :me) or exists (select 1 from watch where worker_id > :me);

-- name: mail_ended
-- Tell of these ended runs: the worker of the parent, and whoever watches.
insert or ignore into mail (worker_id, run_id)
select w.id, told.run_id
from (
    select p.worker_id, r.id as run_id
    from json_each(:ids) e cross join run r on r.id = unhex(e.value) cross join run p on p.id = r.parent_id
    where p.state = 1
    union all
    select t.worker_id, t.run_id from json_each(:ids) e cross join watch t on t.run_id = unhex(e.value)
) told
cross join worker w on w.id = told.worker_id
where told.worker_id <> :me;

-- name: forget_watches
delete from watch where run_id in (select unhex(value) from json_each(:ids));

-- name: has_mail
select exists (select 1 from mail where worker_id = :me);

-- name: read_mail
select json_group_array(json_array(
    hex(r.id), r.state, r.attempt, coalesce(r.worker_id, 0), r.output, r.error, r.task, r.deadline
))
from mail m cross join run r on r.id = m.run_id
where m.worker_id = :me;

-- name: clear_mail
delete from mail where worker_id = :me;

-- name: read_runs
-- What those who begin to wait find.
select json_group_array(json_array(hex(r.id), r.state, r.output, r.error, r.task))
from json_each(:ids) e cross join run r on r.id = unhex(e.value);

-- name: add_watches
insert or ignore into watch (run_id, worker_id)
select r.id, :me from json_each(:ids) e cross join run r on r.id = unhex(e.value) where r.state < 2;

-- name: revive_children
-- A new trial of the parent asks again for what had failed or been cancelled: it is run again, with fresh retries.
update run
set state = 0, run_at = null, retry_count = 0, deaths = 0, trial_start = run.attempt + 1,
    output = null, error = null, finished_at = null,
    expires_at = nullif(min(coalesce(v.value ->> 2, 9e18), coalesce(:now + run.schedule_timeout, 9e18)), 9e18)
from json_each(:rows) v
where run.id = unhex(v.value ->> 0) and run.state in (3, 4)
  and run.asked < (select p.trial_start from run p where p.id = run.parent_id)
  and run.task = v.value ->> 4
  and (run.input_digest is null or hex(run.input_digest) = v.value ->> 5);

-- name: attach_children
update run
set asked = v.value ->> 1,
    deadline = case when run.state < 2 then v.value ->> 2 else run.deadline end,
    deadline_by = case when run.state < 2 then nullif(unhex(v.value ->> 3), x'') else run.deadline_by end,
    expires_at = case
        when run.state <> 0 then run.expires_at
        when run.expires_at is null or run.expires_at = run.deadline then v.value ->> 2
        else min(run.expires_at, coalesce(v.value ->> 2, run.expires_at))
    end,
    on_parent_end = v.value ->> 6
from json_each(:rows) v
where run.id = unhex(v.value ->> 0)
  and run.task = v.value ->> 4
  and (run.input_digest is null or hex(run.input_digest) = v.value ->> 5);

-- name: read_children
select json_group_array(json_array(
    hex(r.id), r.state, r.output, r.error,
    r.task = v.value ->> 4 and (r.input_digest is null or hex(r.input_digest) = v.value ->> 5), r.task, r.input
))
from json_each(:rows) v cross join run r on r.id = unhex(v.value ->> 0);
