-- Who is at work: leases, a look around, and what the dead have left.

-- Renew a lease. One statement, so one round trip; it waits for no commit, as it locks nothing but the lease's own row.
-- As JSON: [the server's time, whether there is a lease, the number of the worker's last commit].
create function fw_renew(p_worker bigint, p_now bigint) returns text language plpgsql
set search_path from current set enable_seqscan = off
as $$
#variable_conflict error
declare
    now_ constant bigint := coalesce(p_now, fw_micros());
    seq_ bigint;
begin
    update lease l set expires_at = now_ + w.lease from worker w
    where w.id = p_worker and l.worker_id = p_worker
    returning w.seq into seq_;
    return json_build_array(fw_micros(), found, coalesce(seq_, 0))::text;
end $$;

-- As JSON: [[[id, name, host, pid, end of its lease], ...], next due, whether there is something to sweep, changes of
-- workers]. Others on this host, and those without a valid lease.
create function fw_look_around(p_me bigint, p_host text, p_now bigint) returns text language plpgsql
set search_path from current set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    now_ constant bigint := coalesce(p_now, fw_micros());
begin
    return json_build_array(
        (select coalesce(json_agg(json_build_array(p.id, p.name, p.host, p.pid, p.expires_at) order by p.id), '[]')
         from (
             select w.id, w.name, w.host, w.pid, coalesce(l.expires_at, 0) as expires_at
             from worker w left join lease l on l.worker_id = w.id
         ) p
         where p.id <> p_me and (p.host = p_host or p.expires_at <= now_)),
        fw_next_due(-1, '\x', -1, '\x'),
        exists (select from gate g where g.what = 1) or exists (select from moved_deadline)
            or exists (select from pause p where p.resumed_at is not null)
            or exists (select from urgency u where u.place is not null),
        coalesce((select fw_number(s.value) from setting s where s.name = 'members'), 0)
    )::text;
end $$;

-- A number of the table of settings; 0 for what somebody has spoilt.
create function fw_number(p_value text) returns bigint language sql immutable
as $$ select case when p_value ~ '^[0-9]{1,17}$' then p_value::bigint else 0 end $$;

-- Workers, or what they serve, have changed. (The last statement of a transaction: this row is everybody's.)
create function fw_count_members() returns void language plpgsql
as $$
#variable_conflict error
begin
    update setting s set value = (fw_number(s.value) + 1)::text where s.name = 'members';
    if not found then  -- somebody has taken it away (workers need no right to insert, as a rule)
        insert into setting (name, value) values ('members', '1') on conflict do nothing;
    end if;
end $$;

-- From now on this worker is dead: its lease is taken away. A commit of its own is waited for, or waits and then finds no
-- lease. Whether there is such a worker (p_lapsed: without a valid lease).
create function fw_take_lease(p_worker bigint, p_now bigint, p_lapsed boolean) returns boolean language plpgsql
set enable_seqscan = off
as $$
#variable_conflict error
begin
    perform from worker w where w.id = p_worker for update;
    if not found then
        return false;
    end if;
    perform from lease l where l.worker_id = p_worker and (not p_lapsed or l.expires_at <= p_now) for update;
    if not found then
        return not exists (select from lease l where l.worker_id = p_worker);
    end if;
    delete from lease l where l.worker_id = p_worker;
    return true;
end $$;

-- Up to p_limit runs of a dead worker, from the one after p_after, locked, and whether each was executing: then its death is charged. A run that has
-- an unfinished child was waiting. Of those with many children the newest are looked at here (true, false; null: none
-- of these is unfinished, and there are more); of p_known the answer is known. But who was lost ten times in a row, each
-- time within a minute of its beginning, is charged from then on: children or not, it is likely to be what kills.
create function fw_of_dead(
    p_worker bigint, p_after bytea, p_limit integer, p_known bytea[], p_executing boolean[], p_now bigint
)
returns table (run_id bytea, task_ text, deaths_ integer, executing boolean)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    first_wait constant smallint := 10;  -- a sleep must not make dying free of charge
    relapses constant integer := 10;
    soon constant bigint := 60000000;
begin
    perform from worker w where w.id = p_worker for update;
    return query
    select r.id, r.task, r.deaths,
           case
               when r.attempt >= relapses and p_now - r.started_at < soon and (
                   select count(*) = relapses - 1 from attempt t
                   where t.run_id = r.id and t.number between r.attempt - relapses + 1 and r.attempt - 1
                     and t.state = 9 and t.error is null and t.finished_at - t.started_at < soon
               ) then true
               when r.id = any (p_known) then p_executing[array_position(p_known, r.id)]
               else (
                   select case when coalesce(bool_or(c.state < terminal and c.kind < first_wait), false) then false
                               when count(*) < 200 then true end
                   from (
                       select x.state, x.kind from run x where x.root_id = r.root_id and x.parent_id between r.id and r.id
                       order by x.root_id desc, x.parent_id desc, x.id desc limit 200
                   ) c
               )
           end
    from (
        select x.id, x.task, x.deaths, x.root_id, x.attempt, x.started_at
        from run x where x.worker_id between p_worker and p_worker and x.state = 1 and x.id > p_after
        order by x.worker_id, x.id limit p_limit for update
    ) r;
end $$;

-- Some children of a run, from the one after p_after: the last of them, and whether one is unfinished.
create function fw_some_children(p_parent bytea, p_after bytea, p_limit integer, out last bytea, out unfinished boolean)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    first_wait constant smallint := 10;
begin
    select (array_agg(c.id order by c.id desc))[1],
           coalesce(bool_or(c.state < terminal and c.kind < first_wait), false)
    into last, unfinished
    from (
        select x.id, x.state, x.kind from run x
        where x.root_id = (select p.root_id from run p where p.id = p_parent)
          and x.parent_id between p_parent and p_parent
          and x.id > p_after
        order by x.root_id, x.parent_id, x.id limit p_limit
    ) c;
end $$;

-- A worker without runs goes, and what was written to it.
create function fw_remove_worker(p_worker bigint) returns void language plpgsql
set enable_seqscan = off
as $$
#variable_conflict error
begin
    perform from worker w where w.id = p_worker for update;  -- a commit of its own may be under way
    delete from lease l where l.worker_id = p_worker;
    if (select true from run r where r.worker_id = p_worker and r.state = 1 limit 1) then
        return;  -- it could not hand them back: others take it for dead, and find them
    end if;
    delete from worker_task t where t.worker_id = p_worker;
    delete from mail m where m.worker_id = p_worker;
    delete from watch t where t.worker_id = p_worker;
    delete from unheard u where u.worker_id = p_worker;
    delete from worker w where w.id = p_worker;
    -- Written to a worker by a commit that was under way when that worker was taken out.
    delete from mail m where not exists (select from worker w where w.id = m.worker_id);
end $$;

create function fw_secret() returns text language sql stable set search_path from current
as $$
    select s.value from setting s where s.name = 'secret'
$$;
