-- What engines do beside their commits: looking around, reaping the dead, timers, cancelling. Each statement reads or
-- writes a bounded number of rows.

-- --- engines ---------------------------------------------------------------------------------------------------------

-- name: enter_worker
insert into worker (name, host, pid, slots, started_at, lease, own)
values (:name, :host, :pid, :slots, :now, :lease, :own)
returning id;

-- name: enter_lease
insert into lease (worker_id, expires_at) values (:worker, :until);

-- name: enter_worker_task
insert into worker_task (task, worker_id) values (:task, :worker) on conflict do nothing;

-- name: publish_task
insert into task (name, kind, description, priority, schedule_timeout, metadata, schema, version, updated_at)
values (:name, :kind, :description, :priority, :schedule_timeout, :metadata, :schema, :version, :now)
on conflict (name) do update set
    kind = excluded.kind, description = excluded.description, priority = excluded.priority,
    schedule_timeout = excluded.schedule_timeout, metadata = excluded.metadata, schema = excluded.schema,
    version = excluded.version, updated_at = excluded.updated_at;

-- name: renew_lease
update lease set expires_at = :now + (select lease from worker where id = :worker) where worker_id = :worker
returning expires_at;

-- name: count_members
insert into setting (name, value) values ('members', '1')
on conflict (name) do update set value = cast(value as integer) + 1;

-- name: members
select coalesce((select cast(value as integer) from setting where name = 'members'), 0);

-- name: others
-- Those that can be judged: by their processes on this host, and by their leases, if these have lapsed or were taken away.
select w.id, w.name, w.host, w.pid, coalesce(l.expires_at, 0)
from worker w left join lease l on l.worker_id = w.id
where w.id <> :me and (w.host = :host or l.expires_at is null or l.expires_at <= :now)
order by w.id;

-- name: progress
-- How far the sweeps have come that end what is below something closed, those that tell of moved deadlines, those that queue
-- what was paused, and those that tell of other priorities; nothing if there are none.
select coalesce(
    (
        select hex(g.run_id) || coalesce(l.phase, 0) || coalesce(l.place, '')
        from (select run_id, pass from gate where what = 1 order by made_at, run_id limit 1) g
        left join gate l on l.run_id = g.pass
    ), ''
) || coalesce(
    (select hex(root_id) || phase || coalesce(place, '') from moved_deadline order by made_at, root_id limit 1), ''
) || coalesce(
    (select hex(run_id) || hex(place) from pause where resumed_at is not null order by resumed_at, run_id limit 1), ''
) || coalesce(
    (select hex(run_id) || hex(place) from urgency where place is not null order by made_at, run_id limit 1), ''
);

-- name: contended
-- To those that keep to their own roots, others of their kind count as well: they may be of one program.
select distinct mine.task
from worker_task mine
join worker me on me.id = mine.worker_id
join worker_task theirs on theirs.task = mine.task and theirs.worker_id <> mine.worker_id
join worker w on w.id = theirs.worker_id
join lease l on l.worker_id = w.id
where mine.worker_id = :me and l.expires_at > :now and w.slots > 0 and w.own <= me.own;

-- name: serving
select exists (
    select 1 from worker_task t join lease l on l.worker_id = t.worker_id join worker w on w.id = t.worker_id
    where t.task = :task and l.expires_at > :now and t.worker_id <> :me and not w.own
);

-- --- the dead --------------------------------------------------------------------------------------------------------

-- name: take_lease
delete from lease where worker_id = :worker and expires_at <= :before;

-- name: has_lease
select exists (select 1 from lease where worker_id = :worker);

-- name: held_page
-- Some runs of a worker; whether a child of theirs lives, as far as a few of the newest tell; how many those are; and
-- whether this and their last attempts were all lost soon after they had begun.
select json_group_array(json_array(
    hex(r.id), r.attempt, hex(r.root_id), r.task, r.deaths,
    exists (
        select 1 from (
            select c.state, c.kind from run c
            where c.root_id = r.root_id and c.parent_id = r.id order by c.id desc limit +:probe
        ) where state < 8 and kind < 10  -- a sleep must not make dying free of charge
    ),
    (select count(*) from (select 1 from run c where c.root_id = r.root_id and c.parent_id = r.id limit +:probe)),
    r.attempt >= :relapses and :now - r.started_at < :soon and (
        select count(*) = :relapses - 1 from attempt a
        where a.run_id = r.id and a.number between r.attempt - :relapses + 1 and r.attempt - 1
          and a.state = 9 and a.error is null and a.finished_at - a.started_at < :soon
    )
))
from (select * from run indexed by run_running where state = 1 and worker_id = :worker order by id limit +:limit) r;

-- name: children_page
-- Further back: whether any of these lives, and the first of them.
select json_array(coalesce(max(state < 8 and kind < 10), 0), hex(min(id)), count(*)) from (
    select c.id, c.state, c.kind from run c where c.root_id = :root and c.parent_id = :parent and c.id < :before
    order by c.id desc limit +:limit
);

-- name: holds_runs
select exists (select 1 from run indexed by run_running where state = 1 and worker_id = :worker);

-- name: remove_worker_tasks
delete from worker_task where worker_id = :worker;

-- name: remove_worker_mail
delete from mail where worker_id = :worker;

-- name: remove_worker_watches
delete from watch where worker_id = :worker;

-- name: remove_worker_unheard
delete from unheard where worker_id = :worker;

-- name: remove_worker_lease
delete from lease where worker_id = :worker;

-- name: remove_worker
delete from worker where id = :worker;

-- --- timers ----------------------------------------------------------------------------------------------------------

-- name: next_due
select min(due) from (
    select min(due_at) as due from run where state = 2 and due_at is not null
    union all
    select min(expires_at) from run where state in (0, 2) and expires_at is not null
    union all
    select 0 from (select 1 from shared where open = 2 limit 1)
);

-- name: due_page
select json_group_array(json_array(hex(id), attempt, state, kind)) from (
    select id, attempt, state, kind from run indexed by run_due
    where state = 2 and due_at is not null and due_at <= :now
    order by due_at, id limit +:limit
);

-- name: has_expired
select exists (select 1 from run where state in (0, 2) and expires_at is not null and expires_at <= :now);

-- name: expired_page
select id, attempt, state, task, deadline, deadline_by, schedule_timeout, expires_at
from run indexed by run_expiring
where state in (0, 2) and expires_at is not null and expires_at <= :now
order by expires_at, id limit +:limit;

-- --- cancelling ------------------------------------------------------------------------------------------------------

-- name: about_run
select json_array(state, attempt, hex(root_id), hex(parent_id), kind) from run where id = :id;

-- name: asked_children
-- Of these children of a run those that live, and that this attempt of it asked for last.
select r.id, r.state, r.attempt
from json_each(:ids) e cross join run r on r.id = unhex(e.value)
where r.parent_id = :parent and r.asked = :attempt and r.state < 8;

-- name: tell_workers
-- All that may have claimed something and not begun it.
insert or ignore into unheard (worker_id, run_id)
select w.id, :id from worker w join lease l on l.worker_id = w.id where w.slots > 0 and l.expires_at > :now;

-- name: is_unheard
select exists (
    select 1 from unheard u join lease l on l.worker_id = u.worker_id where u.run_id = :id and l.expires_at > :now
);

-- name: is_gated
select exists (select 1 from gate where run_id = :id and what = 1);

-- name: is_pruned
select exists (select 1 from gate where run_id = :root and what = 3);
