-- What trees may use.

-- name: take_blocks
-- Engines take room for more runs of large trees. Rows: root, how many.
insert into tree (root_id, runs)
select r.id, v.value ->> 1 from json_each(:rows) v cross join run r on r.id = unhex(v.value ->> 0) where true
on conflict (root_id) do update set runs = runs + excluded.runs;

-- name: read_sizes
select json_group_array(json_array(hex(t.root_id), t.runs))
from json_each(:rows) v cross join tree t on t.root_id = unhex(v.value ->> 0);

-- name: has_budgets
select exists (select 1 from budget);

-- name: budgets_of
-- Whose these runs use.
select json_group_array(json_array(hex(r.id), hex(r.budget)))
from json_each(:ids) e cross join run r on r.id = unhex(e.value) where r.budget is not null;

-- name: budgeted
-- Those of these runs that use a budget, as they stand.
select json_group_array(json_array(hex(r.id), hex(r.root_id), hex(r.budget), r.state, r.attempt, r.busy))
from json_each(:ids) e cross join run r on r.id = unhex(e.value) where r.budget is not null;

-- name: standing
select json_array(hex(r.id), hex(r.root_id), hex(r.budget), r.state, r.attempt, r.busy) from run r where r.id = :id;

-- name: load_limits
select json_group_array(json_array(
    hex(run_id), unit, hex(source), hex(root_id), hex(parent), size, amount, used, held, base, open
)) from budget where run_id = :id;

-- name: load_held
-- What a run holds, and what is counted of itself: not all that it has ever spent is read for that.
select json_group_array(json_array(hex(run_id), hex(id), unit, hex(root_id), hex(source), attempt, amount, held))
from (
    select * from spend indexed by spend_held where run_id = :id and held = 1
    union all
    select * from spend where run_id = :id and id = zeroblob(16)
);

-- name: was_done
select exists (select 1 from spend where run_id = :run and id = :id);

-- name: put_limits
-- Rows as those of `load_limits`.
insert into budget (run_id, unit, source, root_id, parent, size, amount, used, held, base, open)
select unhex(v.value ->> 0), v.value ->> 1, unhex(v.value ->> 2), unhex(v.value ->> 3), nullif(unhex(v.value ->> 4), x''),
       v.value ->> 5, v.value ->> 6, v.value ->> 7, v.value ->> 8, v.value ->> 9, v.value ->> 10
from json_each(:rows) v where true
on conflict (run_id, unit) do update
set amount = excluded.amount, used = excluded.used, held = excluded.held, base = excluded.base, open = excluded.open;

-- name: put_spends
-- Rows as those of `load_held`.
insert into spend (run_id, id, unit, root_id, source, attempt, amount, held)
select unhex(v.value ->> 0), unhex(v.value ->> 1), v.value ->> 2, unhex(v.value ->> 3), nullif(unhex(v.value ->> 4), x''),
       v.value ->> 5, v.value ->> 6, v.value ->> 7
from json_each(:rows) v where true
on conflict (run_id, id, unit) do update set amount = excluded.amount;

-- name: drop_spends
delete from spend where (run_id, id, unit) in (
    select unhex(v.value ->> 0), unhex(v.value ->> 1), v.value ->> 2 from json_each(:rows) v
);

-- name: use_own
update run set budget = id where id = :id;
