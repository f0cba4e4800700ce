-- Ending what is below something that is closed, a page at a time (sweeping.py).

-- name: oldest_gate
select json_array(hex(run_id), hex(root_id), hex(pass)) from gate where what = 1 order by made_at, run_id limit 1;

-- name: oldest_gate_of
select json_array(hex(run_id), hex(root_id), hex(pass)) from gate where what = 1 and root_id = :root
order by made_at, run_id limit 1;

-- name: read_pass
-- How far the sweep that a gate leads has come; none if it was made anew since.
select json_array(phase, place) from gate where run_id = :lead and pass = :lead and what = 1;

-- name: begin_pass
update gate set pass = :lead, phase = case when run_id = :lead then 1 else 0 end, place = null
where root_id = :root and what = 1;

-- name: note_pass
update gate set phase = :phase, place = :place where run_id = :lead;

-- name: end_pass
delete from gate where root_id = :root and what = 1 and pass = :lead;
