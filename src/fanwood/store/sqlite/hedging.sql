-- Second runs of what takes too long, whose end counts for the first.

-- name: any_hedge
select exists (select 1 from hedge);

-- name: insert_hedge_run
-- If the first lives, and has none.
insert into run (
    id, parent_id, root_id, depth, kind, task, child_index, child_key, input, metadata, priority, on_parent_end, state, waits,
    due_at, attempt, asked, deadline, deadline_by, schedule_timeout, expires_at, created_at, awaits,
    budget
)
select :id, :parent_id, :root_id, :depth, :kind, :task, 0, null, :input, :metadata, :priority, :on_parent_end, 2, 2,
       :due_at, 0, :asked, :deadline, :deadline_by, :schedule_timeout, :expires_at, :now, f.id,
       (select p.budget from run p where p.id = :parent_id)
from run f
where f.id = :target and f.state < 8 and not exists (select 1 from hedge h where h.target_id = f.id);

-- name: can_be_hedged
select exists (
    select 1 from run f
    where f.id = :target and f.state < 8 and not exists (select 1 from hedge h where h.target_id = f.id)
);

-- name: insert_hedge
insert into hedge (run_id, target_id) values (:id, :target);

-- name: hedges_over
-- Of these those that are hedges, and have ended.
select json_group_array(json_array(hex(h.run_id), hex(h.target_id), r.state))
from json_each(:ids) e cross join hedge h on h.run_id = unhex(e.value) cross join run r on r.id = h.run_id
where r.state >= 8;

-- name: hedges_of
-- Hedges of those of these that have ended.
select json_group_array(hex(h.run_id))
from json_each(:ids) e cross join hedge h on h.target_id = unhex(e.value) cross join run r on r.id = h.target_id
where r.state >= 8;

-- name: drop_hedge
delete from hedge where run_id = :id;

-- name: read_place
select json_array(attempt, state) from run where id = :id and state < 8;

-- name: output_of
select output from run where id = :id;
