-- Births, and children that are asked for again. Each statement does its whole batch in one step, and those that answer
-- do it with one row of JSON: for every step Python gives up its global lock and has to win it back from the threads
-- that run the tasks, so a step is what costs, not a row.

-- name: current_attempts
-- Which of these (run, attempt) pairs are what they say.
select json_group_array(p.key)
from json_each(:pairs) p
cross join run r on r.id = unhex(p.value ->> 0)
where r.state = 1 and r.attempt = p.value ->> 1;

-- name: current_attempt
-- The same of one.
select count(*) from run where id = :id and state = 1 and attempt = :attempt;

-- name: standing
-- Whether anything is closed (1), paused (2), or was given another priority (4), anywhere.
select exists (select 1 from gate where what = 1) + 2 * exists (select 1 from pause where resumed_at is null)
       + 4 * exists (select 1 from urgency);

-- name: is_registered
select exists (select 1 from lease where worker_id = :me);

-- name: insert_run
-- Repeated for as many rows as there are.
insert into run (
    id, parent_id, root_id, depth, kind, task, identity, child_index, child_key, input_digest, input, metadata, priority,
    on_parent_end, state, attempt, asked, worker_id, deadline, deadline_by, schedule_timeout, expires_at, created_at,
    started_at, budget
) values (
    :id, :parent_id, :root_id, :depth, :kind, :task, :identity, :child_index, :child_key, :input_digest, :input, :metadata, :priority,
    :on_parent_end, :state, :attempt, :asked, :worker_id, :deadline, :deadline_by, :schedule_timeout, :expires_at,
    :created_at, :started_at, :budget
);

-- name: insert_alike
-- Siblings that have all but id, identity, index and input in common. Ids and identities are strung together, 16 bytes
-- each; indexes are counted from :first; a row is the input.
insert into run (
    id, parent_id, root_id, depth, kind, task, identity, child_index, input, metadata, priority, on_parent_end,
    state, attempt, asked, worker_id, deadline, deadline_by, schedule_timeout, expires_at, created_at, started_at, budget
)
select substr(:ids, key * 16 + 1, 16), :parent_id, :root_id, :depth, :kind, :task, substr(:identities, key * 16 + 1, 16),
       :first + key, value, :metadata, :priority, :on_parent_end, :state, :attempt, :asked, :worker_id, :deadline,
       :deadline_by, :schedule_timeout, :expires_at, :created_at, :started_at, :budget
from json_each(:rows);

-- name: insert_roots
-- The same of roots, which have but id and input of their own.
insert into run (
    id, root_id, depth, kind, task, input, metadata, priority, on_parent_end, state, attempt, asked, worker_id, deadline,
    deadline_by, schedule_timeout, expires_at, created_at, started_at, budget
)
select substr(:ids, key * 16 + 1, 16), substr(:ids, key * 16 + 1, 16), :depth, :kind, :task, value, :metadata, :priority,
       :on_parent_end, :state, :attempt, :asked, :worker_id, :deadline, :deadline_by, :schedule_timeout, :expires_at,
       :created_at, :started_at, :budget
from json_each(:rows);

-- name: insert_records
-- Children that no worker executes. A row: id, identity, index, key, input, state, output, error, began, due, attempt; of
-- the parent: attempt, deadline, whose, id, root, depth, kind, task, priority, on_parent_end; how long it waits at most; by
-- what it is found; of a copy: digest, what it is in its fork, metadata.
insert into run (
    id, parent_id, root_id, depth, kind, task, identity, child_index, child_key, input, priority, on_parent_end, state,
    waits, due_at, attempt, asked, deadline, deadline_by, schedule_timeout, expires_at, created_at, started_at, finished_at, ended_by,
    output, error, awaits, input_digest, life, metadata
)
select unhex(v.value ->> 0), unhex(v.value ->> 14), unhex(v.value ->> 15), v.value ->> 16, v.value ->> 17,
       v.value ->> 18, unhex(v.value ->> 1), v.value ->> 2, v.value ->> 3, v.value ->> 4, v.value ->> 19,
       v.value ->> 20, v.value ->> 5, case when v.value ->> 5 = 2 then (v.value ->> 17) - 9 end, v.value ->> 9,
       v.value ->> 10,
       v.value ->> 11, case when v.value ->> 5 = 2 then v.value ->> 12 end,
       case when v.value ->> 5 = 2 then nullif(unhex(v.value ->> 13), x'') end,
       v.value ->> 21,
       case when v.value ->> 5 = 2 then coalesce(
           min(v.value ->> 12, :now + (v.value ->> 21)), v.value ->> 12, :now + (v.value ->> 21)
       ) end,
       coalesce(min(v.value ->> 8, :now), :now),
       case when v.value ->> 10 > 0 then coalesce(min(v.value ->> 8, :now), :now) end,
       case when v.value ->> 5 >= 8 then :now end, case when v.value ->> 5 >= 8 then 1 end, v.value ->> 6, v.value ->> 7,
       unhex(v.value ->> 22), unhex(v.value ->> 23), v.value ->> 24, v.value ->> 25
from json_each(:rows) v;

-- name: mark
-- Runs that were just born, and are in a fork: what they are there.
update run set life = v.value ->> 1 from json_each(:rows) v where run.id = unhex(v.value ->> 0);

-- name: insert_step
-- One, as code has it that waits for each.
insert into run (
    id, parent_id, root_id, depth, kind, task, identity, child_index, child_key, input, priority, on_parent_end, state,
    attempt, asked, created_at, started_at, finished_at, ended_by, output, error
) values (
    :id, :parent_id, :root_id, :depth, :kind, :task, :identity, :index, :key, :input, :priority, :on_parent_end, :state,
    1, :asked, :began, :began, :now, 1, :output, :error
);

-- name: insert_steps
-- Those of one attempt, which have all but what is their own in common. A row is that, strung together: two times 32 hex
-- digits, then digits: ten of the index, two of the state, twenty of the time, ten of the length of the key and one, ten of
-- the input's; key, input, output or error.
insert into run (
    id, parent_id, root_id, depth, kind, task, identity, child_index, child_key, input, priority, on_parent_end, state,
    attempt, asked, created_at, started_at, finished_at, ended_by, output, error
)
select unhex(substr(v, 1, 32)), :parent_id, :root_id, :depth, :kind, :task, unhex(substr(v, 33, 32)),
       cast(substr(v, 65, 10) as integer), case when keyed > 0 then substr(v, 117, keyed - 1) end,
       substr(v, 117 + max(keyed - 1, 0), long), :priority, :on_parent_end, state, 1, :asked, min(began, :now),
       min(began, :now), :now, 1, case when state = 8 then substr(v, 117 + max(keyed - 1, 0) + long) end,
       case when state = 9 then substr(v, 117 + max(keyed - 1, 0) + long) end
from (
    select value as v, cast(substr(value, 75, 2) as integer) as state, cast(substr(value, 77, 20) as integer) as began,
        cast(substr(value, 97, 10) as integer) as keyed, cast(substr(value, 107, 10) as integer) as long
    from json_each(:rows)
);

-- name: take_keys
-- Idempotency keys of roots to be born, if nobody holds them: of two in one batch the first gets it.
insert or ignore into idem (namespace, key, run_id, digest)
select value ->> 1, value ->> 2, unhex(value ->> 0), unhex(value ->> 3) from json_each(:rows);

-- name: keys_won
select json_group_array(v.key)
from json_each(:rows) v cross join idem i on i.namespace = v.value ->> 1 and i.key = v.value ->> 2
where i.run_id = unhex(v.value ->> 0);

-- name: read_keyed
-- Who holds the keys that these roots didn't get. (Which root asked, then the holder.)
select json_group_array(json_array(
    v.value ->> 0,
    json_array(hex(r.id), r.state, r.task = v.value ->> 4 and hex(i.digest) = v.value ->> 3, r.task, substr(r.input, 1, 1000))
))
from json_each(:rows) v
cross join idem i on i.namespace = v.value ->> 1 and i.key = v.value ->> 2
cross join run r on r.id = i.run_id
where i.run_id <> unhex(v.value ->> 0);

-- name: insert_log
-- Of a run's progress there is one line, the last one, before all others. Chunks of its stream come after all of them.
insert into log (run_id, seq, attempt, at, level, message)
select r.id,
       case l.value ->> 3 when 'progress' then -1
       else row_number() over (
                partition by r.id, case l.value ->> 3 when 'progress' then 0 when 'chunk' then 1 when 'bytes' then 1
                                   when 'chunk+' then 1 when 'bytes+' then 1 else 2 end
                order by l.key
            ) - 1
            + case when l.value ->> 3 in ('chunk', 'bytes', 'chunk+', 'bytes+')
                   then coalesce((select max(seq) + 1 from log where run_id = r.id and seq >= 1073741824), 1073741824)
                   else coalesce((select max(seq) + 1 from log where run_id = r.id and seq < 1073741824), 0) end
       end,
       r.attempt, l.value ->> 2, l.value ->> 3, l.value ->> 4
from json_each(:lines) l
cross join run r on r.id = unhex(l.value ->> 0)
where r.state = 1 and r.attempt = l.value ->> 1
on conflict (run_id, seq) do update set attempt = excluded.attempt, at = excluded.at, message = excluded.message;

-- name: revivable
-- Of the children asked for again: those that had failed or been cancelled, and are run again as this is a new trial.
select json_group_array(json_array(json_array(hex(r.id), r.attempt, r.state), v.key))
from json_each(:rows) v
cross join run r on r.id = unhex(v.value ->> 0)
where r.state in (9, 10)
  and r.asked < (select p.trial_start from run p where p.id = r.parent_id)
  and r.task = v.value ->> 4
  and (r.input_digest is null or hex(r.input_digest) = v.value ->> 5);

-- name: asked_again
-- The children asked for again: as they are.
select json_group_array(json_array(hex(r.id), r.attempt, r.state)) from (
    select distinct r.id, r.attempt, r.state
    from json_each(:rows) v
    cross join run r on r.id = unhex(v.value ->> 0)
    where r.task = v.value ->> 4 and (r.input_digest is null or hex(r.input_digest) = v.value ->> 5)
) r;

-- name: attach_children
-- An attempt that asks twice, and waits for one of the two only: the deadline of that stays.
update run
set asked = v.value ->> 1,
    deadline = case
        when run.state < 8 and not (run.asked = v.value ->> 1 and v.value ->> 2 is null)
        then v.value ->> 2 else run.deadline
    end,
    deadline_by = case
        when run.state < 8 and not (run.asked = v.value ->> 1 and v.value ->> 2 is null)
        then nullif(unhex(v.value ->> 3), x'') else run.deadline_by
    end,
    expires_at = case
        when run.state not in (0, 2) then run.expires_at
        when run.asked = v.value ->> 1 and v.value ->> 2 is null then run.expires_at
        when run.expires_at is null or run.expires_at = run.deadline then v.value ->> 2
        else min(run.expires_at, coalesce(v.value ->> 2, run.expires_at))
    end,
    on_parent_end = v.value ->> 6
from json_each(:rows) v
where run.id = unhex(v.value ->> 0)
  and run.task = v.value ->> 4
  and (run.input_digest is null or hex(run.input_digest) = v.value ->> 5);

-- name: read_children
select json_group_array(json_array(v.key, json_array(
    hex(r.id), r.state, r.task = v.value ->> 4 and (r.input_digest is null or hex(r.input_digest) = v.value ->> 5), r.task,
    case when r.input_digest is null then '' else substr(r.input, 1, 1000) end
)))
from json_each(:rows) v cross join run r on r.id = unhex(v.value ->> 0);
