-- Runs that are paused, with all below them (pausing.py).

-- name: has_pauses
select exists (select 1 from pause where resumed_at is null);

-- name: has_any
-- Paused, or not done with.
select exists (select 1 from pause);

-- name: held
-- Which of these runs are paused, themselves or by something above them. Of their ancestors each is looked at once.
with recursive
mine (id, parent_id) as materialized (
    select r.id, r.parent_id from json_each(:ids) e cross join run r on r.id = unhex(e.value)
    where exists (select 1 from pause p where p.root_id = r.root_id and p.resumed_at is null)
),
above (id, parent_id) as (
    select p.id, p.parent_id
    from (select distinct m.parent_id as id from mine m) d cross join run p on p.id = d.id
    union
    select p.id, p.parent_id from above a cross join run p on p.id = a.parent_id
),
shut (id) as (
    select a.id from above a cross join pause p on p.run_id = a.id where p.resumed_at is null
    union
    select a.id from shut s join above a on a.parent_id = s.id
)
select json_group_array(hex(m.id)) from mine m
where m.parent_id in (select id from shut)
   or exists (select 1 from pause p where p.run_id = m.id and p.resumed_at is null);

-- name: hold_runs
update run set state = 2, waits = 9, due_at = null, finished_at = null
where id in (select unhex(value) from json_each(:ids)) and state = 0;

-- name: make_pause
insert into pause (run_id, root_id, made_at, asked_by) values (:id, :root, :now, :by)
on conflict (run_id) do update set made_at = excluded.made_at, asked_by = excluded.asked_by, resumed_at = null, place = null
where resumed_at is not null
   or (substr(asked_by, -length(:meanwhile)) = :meanwhile and substr(excluded.asked_by, -length(:meanwhile)) <> :meanwhile);

-- name: end_pause
update pause set resumed_at = :now, place = x''
where run_id = :id and resumed_at is null and (:only = '' or substr(asked_by, -length(:only)) = :only);

-- name: oldest_resumed
select json_group_array(json_array(hex(run_id), hex(root_id), hex(place))) from (
    select run_id, root_id, place from pause
    where resumed_at is not null order by resumed_at, run_id limit +:limit
);

-- name: oldest_resumed_of
select json_group_array(json_array(hex(run_id), hex(root_id), hex(place))) from (
    select run_id, root_id, place from pause
    where root_id = :root and resumed_at is not null order by resumed_at, run_id limit 1
);

-- name: waiting_in
select json_group_array(json_array(hex(id), attempt, state, kind, waits)) from (
    select id, attempt, state, kind, waits from run indexed by run_waiting
    where state = 2 and root_id = :root and id > :after
    order by id limit +:limit
);

-- name: note_place
update pause set place = :place where run_id = :id;

-- name: forget_pause
delete from pause where run_id = :id and resumed_at is not null;

-- name: pauses
select run_id, root_id, made_at, asked_by from pause
where resumed_at is null and (:every or root_id in (select unhex(value) from json_each(:ids)))
  and (made_at, run_id) > (:after_at, :after_id)
order by made_at, run_id limit 1000;
