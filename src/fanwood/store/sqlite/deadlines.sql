-- Deadlines that move. What is below a run and has its deadline from it is not touched in the commit: the run itself says
-- what its limit is now (`limit_at`), and that is looked at before anything is failed by a deadline. Everything that lives
-- of the tree is told a page at a time (moving.py).

-- name: move_limits
-- Rows: run, attempt, limit.
update run set limit_at = v.value ->> 2
from json_each(:rows) v
where run.id = unhex(v.value ->> 0) and run.state = 1 and run.attempt = v.value ->> 1
  and run.limit_at is not v.value ->> 2;

-- name: note_moved
-- Their trees, if there is anything below them.
insert into moved_deadline (root_id, made_at)
select distinct r.root_id, :now
from json_each(:rows) v cross join run r on r.id = unhex(v.value ->> 0)
where r.state = 1 and r.attempt = v.value ->> 1
  and exists (select 1 from run c where c.root_id = r.root_id and c.parent_id = r.id)
on conflict (root_id) do update set again = 1;

-- name: has_moved
select exists (select 1 from moved_deadline);

-- name: oldest_moved
select json_array(hex(root_id), phase, place, again) from moved_deadline order by made_at, root_id limit 1;

-- name: note_told
update moved_deadline set phase = :phase, place = :place where root_id = :root;

-- name: begin_anew
update moved_deadline set phase = 1, place = null, again = 0, made_at = :now where root_id = :root;

-- name: end_told
delete from moved_deadline where root_id = :root;

-- name: deadlines
-- Of these runs, as far as they have deadlines: what is written in their rows, and what it is. A deadline is the least of
-- what those say that it comes from: its owner, the owner of that one's deadline, and so on.
with recursive
above (id, owner, deadline) as (
    select r.id, r.deadline_by, r.deadline
    from json_each(:ids) e cross join run r on r.id = unhex(e.value)
    where r.deadline is not null
    union all
    select a.id, o.deadline_by, o.deadline
    from above a cross join run o on o.id = a.owner
    where o.deadline is not null
)
select json_group_array(json_array(hex(r.id), r.state, r.deadline, d.deadline))
from (
    select a.id, min(coalesce((select o.limit_at from run o where o.id = a.owner), a.deadline)) as deadline
    from above a group by a.id
) d
cross join run r on r.id = d.id;

-- name: move_deadlines
-- Rows: run, deadline. A schedule timeout counts from when the run could begin: of one that was handed back nobody knows
-- that any more, and it counts from now.
update run
set deadline = v.value ->> 1,
    expires_at = case
        when state not in (0, 2) or (expires_at < deadline and expires_at < v.value ->> 1) then expires_at  -- its schedule timeout
        when exists (select 1 from suspended s where s.run_id = run.id and s.attempt = run.attempt) then v.value ->> 1  -- it has begun
        else min(v.value ->> 1, coalesce(
            coalesce(case when attempt = 0 then created_at end, (
                select a.due_at from attempt a where a.run_id = run.id and a.number = run.attempt
            ), :now) + schedule_timeout,
            v.value ->> 1
        ))
    end
from json_each(:rows) v
where run.id = unhex(v.value ->> 0) and run.state < 8;
