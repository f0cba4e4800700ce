-- Where the common SQL is not safe against commits that are under way at the same moment, or may be slow.

-- name: lock_worker
-- Whoever commits under this worker is through, or waits and then finds it gone.
select id from worker where id = :worker and lease_expires_at <= :now for update;

-- name: cancel
select told, cancelled from cancel_run(:id, :now, :error, :error_below);

-- name: server_time
select micros();

-- name: remove_stray_mail
-- Written to a worker by a commit that was under way when that worker was taken out.
delete from mail m where not exists (select from worker w where w.id = m.worker_id);

-- name: next_due
-- (For `min` the planner may walk through a whole index.)
select min(due) from (
    select due from (
        select run_at as due from run where state = 0 and run_at is not null order by run_at limit 1
    ) delayed
    union all
    select due from (
        select expires_at as due from run where state = 0 and expires_at is not null order by expires_at limit 1
    ) expiring
) timers;

-- name: last_commit
select seq from worker where id = :worker;

-- name: made
-- Who made the schema, and when: another answer is another database's.
select applied_at, checksum from schema_migration order by number;
