-- Whose clock a file goes by (time.py).

-- name: clock
select value from setting where name = 'clock';

-- name: is_at_work
-- Whether anybody holds a lease.
select exists (select 1 from lease where expires_at > :now);

-- name: enter_clock
insert into setting (name, value) values ('clock', :value) on conflict (name) do update set value = excluded.value;

-- name: shorten_leases
update lease set expires_at = :now + w.lease
from worker w
where w.id = lease.worker_id and lease.expires_at > :now + w.lease;
