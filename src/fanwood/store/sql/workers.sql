-- Engines and their leases. Common subset of SQLite and PostgreSQL. All times are the store's own clock.

-- name: register_worker
insert into worker (name, host, pid, slots, started_at, lease, lease_expires_at)
values (:name, :host, :pid, :slots, :now, :lease, :now + :lease)
returning id;

-- name: register_worker_task
insert into worker_task (task, worker_id) values (:task, :worker_id) on conflict do nothing;

-- name: publish_task
insert into task (name, kind, description, priority, schedule_timeout, metadata, schema, updated_at)
values (:name, :kind, :description, :priority, :schedule_timeout, :metadata, :schema, :now)
on conflict (name) do update set
    kind = excluded.kind, description = excluded.description, priority = excluded.priority,
    schedule_timeout = excluded.schedule_timeout, metadata = excluded.metadata, schema = excluded.schema,
    updated_at = excluded.updated_at;

-- name: known_tasks
select name, kind, description, priority, schedule_timeout, metadata, schema from task order by name;

-- name: renew_lease
update worker set lease_expires_at = :now + lease where id = :id returning id;

-- name: workers
select w.id, w.name, w.host, w.pid, w.slots, w.started_at, w.lease, w.lease_expires_at,
       (select count(*) from run r where r.worker_id = w.id and r.state = 1) as running
from worker w order by w.id;

-- name: serving
-- Whether a live worker serves this task.
select exists (
    select 1 from worker_task t join worker w on w.id = t.worker_id
    where t.task = :task and w.lease_expires_at > :now and w.id <> :me
);

-- name: rivals
select distinct mine.task
from worker_task mine
join worker_task theirs on theirs.task = mine.task and theirs.worker_id <> mine.worker_id
join worker w on w.id = theirs.worker_id
where mine.worker_id = :me and w.lease_expires_at > :now and w.slots > 0;

-- name: peers
-- Those that can be judged from a host: its own, whose processes can be looked at, and those whose lease has lapsed.
select id, name, host, pid, lease_expires_at
from worker where id <> :me and (:host is null or host = :host or lease_expires_at <= :now)
order by id;

-- name: has_lapsed
select exists (select 1 from worker where id = :worker and lease_expires_at <= :now);

-- name: poisoned_runs
-- Executing (not waiting for children) on a worker that died, once too often.
select r.id, r.task, r.deaths
from run r
where r.worker_id = :worker and r.state = 1 and r.deaths + 1 >= :limit
  and not exists (select 1 from run c where c.parent_id = r.id and c.state in (0, 1))
order by r.id;

-- name: poison_run
-- After its release, which has charged it.
update run set state = 3, finished_at = :now, expires_at = null, error = :error
where id = :id and state = 0 and worker_id = :worker;

-- name: release_runs
-- Back to the queue. A run with unfinished children was waiting, not executing, and is not charged.
update run
set state = 0, run_at = null,
    deaths = case
        when exists (select 1 from run c where c.parent_id = run.id and c.state in (0, 1)) then deaths
        else deaths + 1
    end,
    expires_at = case
        when deadline < :now + schedule_timeout or schedule_timeout is null then deadline
        else :now + schedule_timeout
    end
where worker_id = :worker and state = 1;

-- name: remove_worker_tasks
delete from worker_task where worker_id = :worker;

-- name: remove_worker_mail
delete from mail where worker_id = :worker;

-- name: remove_worker_watches
delete from watch where worker_id = :worker;

-- name: remove_worker
delete from worker where id = :worker;
