-- What trees may use.

-- name: take_blocks
-- Engines take room for more runs of large trees. Rows: root, how many.
insert into tree (root_id, runs)
select r.id, v.value ->> 1 from json_each(:rows) v cross join run r on r.id = unhex(v.value ->> 0) where true
on conflict (root_id) do update set runs = runs + excluded.runs;

-- name: read_sizes
select json_group_array(json_array(hex(t.root_id), t.runs))
from json_each(:rows) v cross join tree t on t.root_id = unhex(v.value ->> 0);
