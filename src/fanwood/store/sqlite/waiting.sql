-- Who waits for which run, and what he is told.

-- name: has_mail
select exists (select 1 from mail where worker_id = :me) or exists (select 1 from unheard where worker_id = :me);

-- name: read_mail
-- Some letters, oldest runs first; their contents are read apart.
select json_group_array(json_array(
    hex(m.run_id), r.state, r.attempt, coalesce(r.worker_id, 0), r.error, r.task, r.deadline
))
from (select run_id from mail where worker_id = :me order by run_id limit +:limit) m
left join run r on r.id = m.run_id;

-- name: take_away
delete from mail where worker_id = :me and run_id in (select unhex(value) from json_each(:ids));

-- name: read_unheard
select json_group_array(json_array(hex(u.run_id), hex(r.root_id)))
from unheard u cross join run r on r.id = u.run_id
where u.worker_id = :me;

-- name: hear
delete from unheard where worker_id = :me and run_id in (select unhex(value) from json_each(:ids));

-- name: read_runs
-- What those who begin to wait find; contents are read apart.
select json_group_array(json_array(hex(r.id), r.state, r.task))
from json_each(:ids) e cross join run r on r.id = unhex(e.value);

-- name: read_contents
-- How these ended, as far as it fits into an answer (the first in any case).
select json_group_array(json_array(hex(r.id), r.output, r.error))
from (
    select id, coalesce(sum(size) over (rows between unbounded preceding and 1 preceding), 0) as before
    from (
        select r.id, coalesce(octet_length(r.output), 0) + coalesce(octet_length(r.error), 0) as size
        from json_each(:ids) e cross join run r on r.id = unhex(e.value)
    )
) f
cross join run r on r.id = f.id
where f.before < :bytes;

-- name: unwatch
delete from watch where worker_id = :me and run_id in (select unhex(value) from json_each(:ids));

-- name: add_watches
insert or ignore into watch (run_id, worker_id)
select r.id, :me from json_each(:ids) e cross join run r on r.id = unhex(e.value) where r.state < 8;
