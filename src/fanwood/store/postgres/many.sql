-- The same done to many runs (store/many.py): $1 their ids, $2 the present.

-- name: cancel
select v.id, v.ended, v.closes, case when v.n = 1 then c.told end
from fw_cancel_all($1::bytea[], $2::bigint, $3::text, $4::text[]) c
cross join lateral unnest(c.there, c.ended, c.closes) with ordinality v (id, ended, closes, n);

-- name: replay
select v.id, c.answer, c.ready
from unnest($1::bytea[]) v (id)
join run r on r.id = v.id and r.kind < $4::integer
cross join lateral fw_replay(v.id, $2::bigint, $3::smallint[]) c;

-- name: pause
select v.id, c.new_, c.told
from unnest($1::bytea[]) v (id)
join run r on r.id = v.id and r.kind < $4::integer
cross join lateral fw_pause(v.id, $2::bigint, $3::text, $5::text) c;

-- name: resume
select v.id, fw_resume(v.id, $2::bigint)
from unnest($1::bytea[]) v (id)
join run r on r.id = v.id and r.kind < $3::integer;

-- name: reprioritize
select v.id, fw_reprioritize(v.id, $2::bigint, $3::integer, $4::text)
from unnest($1::bytea[]) v (id)
join run r on r.id = v.id and r.kind < $5::integer;

-- name: fork
select v.id, c.there and not c.refused and c.state_ >= 8, c.made, c.task_
from unnest($1::bytea[], $4::bytea[], $5::text[]) v (id, new_id, life)
join run r on r.id = v.id and r.kind < 10 and r.kind <> 2
cross join lateral fw_fork(v.new_id, v.id, $2::bigint, v.life, null, null, 0::smallint, $3::text, null) c;
