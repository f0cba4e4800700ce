-- Runs that were given another priority, with all below them (urgency.py).

-- name: above
-- These runs and all above them, and what was said of each. Only in trees in which anything was said.
with recursive above (id, parent_id) as (
    select r.id, r.parent_id from json_each(:ids) e cross join run r on r.id = unhex(e.value)
    where r.root_id in (select root_id from urgency)
    union
    select p.id, p.parent_id from above a cross join run p on p.id = a.parent_id
)
select json_group_array(json_array(hex(a.id), hex(a.parent_id), u.made_at, u.priority))
from above a left join urgency u on u.run_id = a.id;

-- name: set_priorities
update run set priority = v.value ->> 1 from json_each(:rows) v
where run.id = unhex(v.value ->> 0) and run.priority <> v.value ->> 1 and (run.state < 8 or not :living);

-- name: about
select json_array(priority, hex(root_id)) from run where id = :id;

-- name: make_urgency
insert into urgency (run_id, root_id, priority, made_at, asked_by, place)
values (:id, :root, :priority, max(:now, (select coalesce(max(made_at) + 1, 0) from urgency where root_id = :root)), :by, x'')
on conflict (run_id) do update set
    priority = excluded.priority, made_at = excluded.made_at, asked_by = excluded.asked_by, place = excluded.place;

-- name: oldest
select json_array(hex(run_id), hex(root_id), hex(place)) from urgency indexed by urgency_open
where place is not null order by made_at, run_id limit 1;

-- name: oldest_of
select json_array(hex(run_id), hex(root_id), hex(place)) from urgency indexed by urgency_root
where root_id = :root and place is not null order by made_at, run_id limit 1;

-- name: page
select json_group_array(json_array(hex(parent_id), hex(id), attempt, state)) from (
    select parent_id, id, attempt, state from run indexed by run_tree
    where root_id = :root and parent_id is not null and (parent_id, id) > (:parent, :id)
    order by parent_id, id limit +:limit
);

-- name: note_place
update urgency set place = :place where run_id = :id;

-- name: tell_workers
-- All that may have claimed something of it, and not begun it: of a run that was never claimed nobody has.
insert or ignore into unheard (worker_id, run_id)
select w.id, r.id from run r cross join worker w join lease l on l.worker_id = w.id
where r.id = :id and r.attempt > 0 and w.slots > 0 and l.expires_at > :now;
