-- What happens to runs outside the hot path. Common subset of SQLite and PostgreSQL. Within each verb the mail is
-- written first, while the rows still show who held them.

-- name: cancel_mail
-- A call cancels a run and its subtree, but for children that were spawned to go on.
with recursive below (id) as (
    select id from run where id = :id
    union all
    select c.id from run c join below b on c.parent_id = b.id where c.on_parent_end <> 2
)
insert into mail (worker_id, run_id)
select w.id, told.run_id
from (
    select r.worker_id, r.id as run_id from below b join run r on r.id = b.id where r.state = 1
    union
    select p.worker_id, r.id from run r join run p on p.id = r.parent_id
    where r.id = :id and r.state in (0, 1) and p.state = 1
    union
    select t.worker_id, t.run_id from below b join watch t on t.run_id = b.id
) told
join worker w on w.id = told.worker_id
where true
on conflict do nothing;

-- name: cancel_watches
with recursive below (id) as (
    select id from run where id = :id
    union all
    select c.id from run c join below b on c.parent_id = b.id where c.on_parent_end <> 2
)
delete from watch where run_id in (select id from below);

-- name: cancel_runs
with recursive below (id) as (
    select id from run where id = :id
    union all
    select c.id from run c join below b on c.parent_id = b.id where c.on_parent_end <> 2
)
update run
set state = 4, finished_at = :now, expires_at = null, run_at = null,
    error = case when id = :id then :error else :error_below end
where state in (0, 1) and id in (select id from below);

-- name: settle_needed
-- Whether a parent that ended has children to be cancelled: all, if it did not complete (:all = 1); else those that
-- were spawned to end with it, and those that its last attempt never asked for again.
select exists (
    select 1 from run c
    where c.parent_id = :parent and c.on_parent_end <> 2
      and (:all = 1 or (c.state in (0, 1) and (c.on_parent_end = 1 or c.asked < :attempt)))
);

-- name: settle_mail
with recursive below (id) as (
    select c.id from run c
    where c.parent_id = :parent and c.on_parent_end <> 2
      and (:all = 1 or (c.state in (0, 1) and (c.on_parent_end = 1 or c.asked < :attempt)))
    union all
    select c.id from run c join below b on c.parent_id = b.id where c.on_parent_end <> 2
)
insert into mail (worker_id, run_id)
select w.id, told.run_id
from (
    select r.worker_id, r.id as run_id from below b join run r on r.id = b.id where r.state = 1
    union
    select t.worker_id, t.run_id from below b join watch t on t.run_id = b.id
) told
join worker w on w.id = told.worker_id
where true
on conflict do nothing;

-- name: settle_runs
with recursive below (id) as (
    select c.id from run c
    where c.parent_id = :parent and c.on_parent_end <> 2
      and (:all = 1 or (c.state in (0, 1) and (c.on_parent_end = 1 or c.asked < :attempt)))
    union all
    select c.id from run c join below b on c.parent_id = b.id where c.on_parent_end <> 2
)
update run
set state = 4, finished_at = :now, expires_at = null, run_at = null, error = :error
where state in (0, 1) and id in (select id from below);

-- name: replay_run
-- Back to the queue with fresh retries. The new trial makes it run again what had failed below it.
update run
set state = 0, run_at = null, retry_count = 0, deaths = 0, trial_start = attempt + 1,
    output = null, error = null, finished_at = null, deadline = null, deadline_by = null,
    expires_at = :now + schedule_timeout
where id = :id and state in (2, 3, 4);

-- name: move_deadline
-- A run's limit moved: with it move the deadlines that its subtree has from it.
with recursive below (id) as (
    select c.id from run c where c.parent_id = :owner and c.deadline_by = :owner
    union all
    select c.id from run c join below b on c.parent_id = b.id where c.deadline_by = :owner
)
update run
set deadline = :deadline,
    expires_at = case
        when state <> 0 or (expires_at < deadline and expires_at < :deadline) then expires_at  -- its schedule timeout
        else :deadline
    end
where state in (0, 1) and id in (select id from below);

-- name: move_mail
with recursive below (id) as (
    select c.id from run c where c.parent_id = :owner and c.deadline_by = :owner
    union all
    select c.id from run c join below b on c.parent_id = b.id where c.deadline_by = :owner
)
insert into mail (worker_id, run_id)
select r.worker_id, r.id from below b join run r on r.id = b.id join worker w on w.id = r.worker_id
where r.state = 1
on conflict do nothing;

-- name: promote_due
update run set run_at = null where state = 0 and run_at <= :now;

-- name: next_due
select min(due) from (
    select min(run_at) as due from run where state = 0 and run_at is not null
    union all
    select min(expires_at) from run where state = 0 and expires_at is not null
) timers;

-- name: expired_runs
select id, task, deadline, deadline_by, schedule_timeout, expires_at, parent_id
from run
where state = 0 and expires_at is not null and expires_at <= :now
order by expires_at, id
limit 500;

-- name: expire_run
update run set state = 3, finished_at = :now, expires_at = null, run_at = null, error = :error
where id = :id and state = 0 and expires_at <= :now;

-- name: mail_ended_run
-- Tell of one ended run, whoever ended it.
insert into mail (worker_id, run_id)
select w.id, told.run_id
from (
    select p.worker_id, r.id as run_id from run r join run p on p.id = r.parent_id where r.id = :id and p.state = 1
    union
    select t.worker_id, t.run_id from watch t where t.run_id = :id
) told
join worker w on w.id = told.worker_id
where true
on conflict do nothing;

-- name: forget_watch
delete from watch where run_id = :id;
