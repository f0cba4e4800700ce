-- What engines and calls ask for beside commits. The transaction has the schema first in its search_path; functions are
-- those of functions/, with the number of their layer.

-- name: made
-- Who made the schema, and when: another answer is another database's.
select applied_at, checksum from schema_migration order by number;

-- name: register_worker
insert into worker (name, host, pid, slots, started_at, lease, programs)
values (:name, :host, :pid, :slots, :now, :lease, :programs)
returning id;

-- name: register_lease
insert into lease (worker_id, expires_at) values (:worker, :now + :lease);

-- name: register_worker_task
insert into worker_task (task, worker_id) values (:task, :worker_id) on conflict do nothing;

-- name: publish_task
insert into task (name, kind, description, priority, schedule_timeout, metadata, schema, version, updated_at)
values (:name, :kind, :description, :priority, :schedule_timeout, :metadata, :schema, :version, :now)
on conflict (name) do update set
    kind = excluded.kind, description = excluded.description, priority = excluded.priority,
    schedule_timeout = excluded.schedule_timeout, metadata = excluded.metadata, schema = excluded.schema,
    version = excluded.version, updated_at = excluded.updated_at;

-- name: serving
-- Whether a live worker serves this task. (Not one that serves only some programs' roots.)
select exists (
    select 1 from worker_task t join lease l on l.worker_id = t.worker_id join worker w on w.id = t.worker_id
    where t.task = :task and l.expires_at > :now and t.worker_id <> :me and w.programs = '{}'
);

-- name: contended
select distinct mine.task
from worker_task mine
join worker me on me.id = mine.worker_id
join worker_task theirs on theirs.task = mine.task and theirs.worker_id <> mine.worker_id
join lease l on l.worker_id = theirs.worker_id and l.expires_at > :now
join worker w on w.id = theirs.worker_id and w.slots > 0 and (w.programs = '{}' or w.programs && me.programs)
where mine.worker_id = :me;

-- name: leave
-- Runs end that are not under anybody, or that their dead worker had: each with an error of its own.
select told from fw_leave(0, :now, true, row(
    $2::bytea[], array_fill(null::integer, array[cardinality($2::bytea[])]),
    array_fill(9::smallint, array[cardinality($2::bytea[])]), array_fill(null::text, array[cardinality($2::bytea[])]),
    $3::text[], array_fill($4::smallint, array[cardinality($2::bytea[])]),
    array_fill(0::bigint, array[cardinality($2::bytea[])]), array_fill(false, array[cardinality($2::bytea[])]),
    $5::smallint[], $6::text[]
)::fw_ends);

-- name: release
-- Runs of a dead worker go back to the queue.
select told, ready, cardinality($2::bytea[]) - cardinality(refused) - cardinality(cut) from fw_enter(0, :now, 4, row(
    $2::bytea[], array_fill(null::integer, array[cardinality($2::bytea[])]),
    array_fill(0::bigint, array[cardinality($2::bytea[])]), array_fill(null::text, array[cardinality($2::bytea[])]),
    array_fill(0::bigint, array[cardinality($2::bytea[])]), $3::boolean[]
)::fw_entries);

-- name: root_of
select root_id from run where id = :id;

-- name: part_of
select kind, parent_id from run where id = :id;

-- name: take_over
update setting set value = :secret where name = 'secret';

-- name: number_on
select setval('event_number', greatest(last_value, :number)) from event_number;

-- name: number
select last_value from event_number;

-- name: value
select value from value where run_id = :id and key = :key;

-- name: awaiting
select awaits, id, input from run
where state = 2 and awaits is not null and awaits > :mark and awaits < :mark_end order by awaits limit :limit;

-- name: close_event
update event set open = 0 where id = any(:events) and open = 1;

-- name: forget_events
delete from event where number in (
    select number from event where at < :since and open = 0 order by number limit :limit
)
returning number;

-- name: event
select id, key, payload, scope, metadata, at, number, open from event where id = :event;

-- name: open_events
select id, key, payload, scope, metadata, at, number, open from event where open = 1 order by number limit :limit;

-- name: events
select id, key, payload, scope, metadata, at, number, open from event
where number < :upto and at >= :since and (:scope is null or scope = :scope)
order by number desc limit :limit;

-- name: events_of_key
select id, key, payload, scope, metadata, at, number, open from event
where key = :key and number < :upto and at >= :since and (:scope is null or scope = :scope)
order by number desc limit :limit;

-- name: under_way
-- Transactions that look at gates, and may not have seen one that was made just now.
select l.pid, l.virtualtransaction
from pg_locks l
where l.locktype = 'advisory' and l.objsubid = 2 and l.classid = 1178687812
  and l.objid = (hashtext(current_schema())::bigint & 4294967295)::oid
  and l.database = (select d.oid from pg_database d where d.datname = current_database()) and l.granted;

-- name: pauses
select run_id, root_id, made_at, asked_by from pause
where resumed_at is null and (cardinality(:ids) = 0 or root_id = any (:ids))
  and (made_at, run_id) > (:after_at, :after_id)
order by made_at, run_id limit 1000;
