-- Deleting what is old and over (store/retention.py). A tree is one range of `run_tree`.

-- name: walk_roots
-- The next so many roots that are old enough to be looked at (`due` -1: of another namespace), and all below those of the
-- namespace that are over (1).
with tops (id, created_at, state, due) as materialized (
    select id, created_at, state, case
        when case when :prefix = '' then task like '%/%' else substr(task, 1, length(:prefix)) <> :prefix end then -1
        when state < 8 or finished_at >= :before then 0
        when exists (with recursive later (id) as (
            select root_id from fork where origin_root = run.id
            union select f.root_id from later l cross join fork f on f.origin_root = l.id
        ) select 1 from later l cross join run u on u.id = l.id where u.state < 8) then 0
        else 1
    end
    from run
    where parent_id is null and (created_at, id) > (:created_at, :after) and created_at < :before
    order by created_at, id
    limit +:tops
)
select top, created_at, due, id, state from (
    select id as top, created_at, due, id, state from tops
    union all
    select t.id, t.created_at, t.due, c.id, c.state
    from tops t cross join run c indexed by run_tree on c.root_id = t.id and c.parent_id is not null
    where t.due = 1
) limit +:rows;

-- name: next_own
-- The first root of a namespace that has begun, by its id, of those that were created later: task by task. For the namespace
-- that has no name other namespaces are passed by, each in one step.
with recursive tasks (task) as (
    select (
        select r.task from run r indexed by run_root_task
        where r.parent_id is null and r.state <> 0 and r.task >= :prefix order by r.task limit 1
    )
    union all
    select (
        select r.task from run r indexed by run_root_task
        where r.parent_id is null and r.state <> 0
          and r.task > case when :prefix = '' and instr(t.task, '/') then substr(t.task, 1, instr(t.task, '/')) || char(1114111) else t.task end
        order by r.task limit 1
    )
    from tasks t where substr(t.task, 1, length(:prefix)) = :prefix
)
select min((
    select r.id from run r indexed by run_root_task
    where r.parent_id is null and r.state <> 0 and r.task = t.task and r.id >= :since_id and r.created_at > :created_at
    order by r.id limit 1
))
from tasks t where case when :prefix = '' then not instr(t.task, '/') else substr(t.task, 1, length(:prefix)) = :prefix end;

-- name: look_through
select parent_id, id, state from run indexed by run_tree
where root_id = :root and parent_id is not null and (parent_id, id) > (:parent, :id)
order by parent_id, id limit +:rows;

-- name: lower_end
select id from run indexed by run_tree where root_id = :root and parent_id is not null
order by parent_id desc, id desc limit +:rows;

-- name: all_over
-- Whether these have ended, each of them, and nothing else is in their trees.
select json_array_length(:ids) = (
           select count(*) from json_each(:ids) e cross join run r on r.id = unhex(e.value) where r.state >= 8
       )
       and json_array_length(:ids) = (
           select count(*) from json_each(:ids) e cross join run r on r.id = unhex(e.value)
           where r.parent_id is null
       ) + (
           select count(*) from json_each(:ids) e cross join run r on r.id = unhex(e.value)
           cross join run c indexed by run_tree on c.root_id = r.id and c.parent_id is not null
           where r.parent_id is null
       )
       and not exists (  -- a fork of something in them has not ended
           with recursive later (id) as (
               select f.root_id from json_each(:ids) e cross join fork f on f.origin_root = unhex(e.value)
               union select f.root_id from later l cross join fork f on f.origin_root = l.id
           ) select 1 from later l cross join run u on u.id = l.id where u.state < 8
       );

-- name: mark
-- The tree of this root is being deleted, if it is still old and over, and nothing below it is being closed.
insert into gate (run_id, root_id, what, which, attempt, error, made_at)
select id, id, 3, 0, attempt, '', :now from run
where id = :root and parent_id is null and state >= 8 and finished_at < :before
  and not exists (with recursive later (id) as (
            select root_id from fork where origin_root = :root
            union select f.root_id from later l cross join fork f on f.origin_root = l.id
        ) select 1 from later l cross join run u on u.id = l.id where u.state < 8)
on conflict (run_id) do update set made_at = excluded.made_at where what = 3;

-- name: is_marked
select exists (
    select 1 from gate g cross join run r on r.id = g.run_id where g.run_id = :root and g.what = 3 and r.state >= 8
);

-- name: unmark
delete from gate where run_id = :root and what = 3;

-- name: hanging
-- How many rows hang on these, of tables of which a run may have any number; counted up to :most.
select count(*) from (
    select 1 from json_each(:ids) e cross join log t on t.run_id = unhex(e.value)
    union all
    select 1 from json_each(:ids) e cross join attempt t on t.run_id = unhex(e.value)
    union all
    select 1 from json_each(:ids) e cross join message t on t.run_id = unhex(e.value)
    union all
    select 1 from json_each(:ids) e cross join value t on t.run_id = unhex(e.value)
    union all
    select 1 from json_each(:ids) e cross join spend t on t.run_id = unhex(e.value)
    limit +:most
);

-- name: thin_log
-- Of what hangs on these so many rows at most go.
delete from log where (run_id, seq) in (
    select t.run_id, t.seq from json_each(:ids) e cross join log t on t.run_id = unhex(e.value) limit +:most
);

-- name: thin_attempt
delete from attempt where (run_id, number) in (
    select t.run_id, t.number from json_each(:ids) e cross join attempt t on t.run_id = unhex(e.value) limit +:most
);

-- name: thin_message
delete from message where (run_id, name, number) in (
    select t.run_id, t.name, t.number from json_each(:ids) e cross join message t on t.run_id = unhex(e.value) limit +:most
);

-- name: thin_value
delete from value where (run_id, key) in (
    select t.run_id, t.key from json_each(:ids) e cross join value t on t.run_id = unhex(e.value) limit +:most
);

-- name: thin_spend
delete from spend where (run_id, id, unit) in (
    select t.run_id, t.id, t.unit from json_each(:ids) e cross join spend t on t.run_id = unhex(e.value) limit +:most
);

-- name: delete_logs
delete from log where run_id in (select unhex(value) from json_each(:ids));

-- name: delete_attempts
delete from attempt where run_id in (select unhex(value) from json_each(:ids));

-- name: delete_messages
delete from message where run_id in (select unhex(value) from json_each(:ids));

-- name: delete_values
delete from value where run_id in (select unhex(e.value) from json_each(:ids) e);

-- name: delete_trees
delete from tree where root_id in (select unhex(value) from json_each(:ids));

-- name: delete_budgets
delete from budget where run_id in (select unhex(value) from json_each(:ids));

-- name: delete_spends
delete from spend where run_id in (select unhex(value) from json_each(:ids));

-- name: delete_watches
delete from watch where run_id in (select unhex(value) from json_each(:ids));

-- name: delete_gates
delete from gate where run_id in (select unhex(value) from json_each(:ids));

-- name: delete_pauses
delete from pause where run_id in (select unhex(value) from json_each(:ids));

-- name: delete_urgencies
delete from urgency where run_id in (select unhex(value) from json_each(:ids));

-- name: delete_unheard
delete from unheard where run_id in (select unhex(value) from json_each(:ids));

-- name: delete_keys
delete from idem where run_id in (select unhex(value) from json_each(:ids));

-- name: delete_shared
delete from shared where run_id in (select unhex(value) from json_each(:ids));

-- name: delete_forks
delete from fork where root_id in (select unhex(value) from json_each(:ids));

-- name: delete_runs
delete from run where id in (select unhex(value) from json_each(:ids));

-- name: prunable
-- Trees of a namespace that are over, and their runs. Walks all that are old enough.
select count(*), coalesce(sum(runs), 0) from (
    select 1 + (select count(*) from run c where c.root_id = r.id and c.parent_id is not null) as runs
    from run r
    where r.parent_id is null and r.created_at < :before and r.state >= 8 and r.finished_at < :before
      and case when :prefix = '' then r.task not like '%/%' else substr(r.task, 1, length(:prefix)) = :prefix end
      and not exists (select 1 from run c where c.root_id = r.id and c.parent_id is not null and c.state < 8)
      and not exists (with recursive later (id) as (
            select root_id from fork where origin_root = r.id
            union select f.root_id from later l cross join fork f on f.origin_root = l.id
        ) select 1 from later l cross join run u on u.id = l.id where u.state < 8)
);
