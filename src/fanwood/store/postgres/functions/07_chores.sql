-- What engines do beside their commits: leases, a look around, timers, lost workers, calls that cancel.

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

-- When the next is due, of those after these places: before them are the entries of all that were promoted or failed,
-- until they are vacuumed.
create function fw_next_due(p_due bigint, p_due_id bytea, p_late bigint, p_late_id bytea) returns bigint language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return (
        -- (For `min` the planner may walk through a whole index.)
        select min(t.due) from (
            (select r.due_at as due from run r
             where r.state = 2 and r.due_at is not null and (r.due_at, r.id) > (p_due, p_due_id)
             order by r.due_at, r.id limit 1)
            union all
            (select r.expires_at from run r
             where r.state in (0, 2) and r.expires_at is not null and (r.expires_at, r.id) > (p_late, p_late_id)
             order by r.expires_at, r.id limit 1)
            union all
            (select 0 from shared s where s.open = 2 limit 1)
        ) t
    );
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
            or exists (select from pause p where p.resumed_at is not null),
        (select s.value::bigint from setting s where s.name = 'members')
    )::text;
end $$;

-- Workers, or what they serve, have changed. (The last statement of a transaction: this row is everybody's.)
create function fw_count_members() returns void language sql
as $$ update setting set value = (value::bigint + 1)::text where name = 'members' $$;

-- --- timers -----------------------------------------------------------------------------------------------------------

-- Those whose time has come, after this place, go to the queue; what has no code ends. What others hold at this moment is passed by, and comes
-- when it is looked for from the beginning. And the place of the last.
create function fw_promote(
    p_now bigint, p_limit integer, p_due bigint, p_due_id bytea,
    out told bigint[], out ready text[], out due_ bigint, out due_id bytea
) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    first_wait constant smallint := 10;
    places tid[];
    ids bytea[];
    kinds smallint[];
    fired bytea[];
    closed bytea[];
    n integer;
    told_ bigint[];
begin
    told := '{}'; ready := '{}'; due_ := p_due; due_id := p_due_id;
    select array_agg(d.place), array_agg(d.id), array_agg(d.kind), max(d.due_at) into places, ids, kinds, due_
    from (
        select r.ctid as place, r.id, r.due_at, r.kind from run r
        where r.state = 2 and r.due_at is not null and r.due_at <= p_now and (r.due_at, r.id) > (p_due, p_due_id)
        order by r.due_at, r.id limit p_limit for update skip locked
    ) d;
    n := cardinality(places);
    if coalesce(n, 0) = 0 then
        due_ := p_due;
        return;
    end if;
    due_id := ids[n];
    if first_wait <= any (kinds) then
        fired := array(select v.id from unnest(ids, kinds) v (id, kind) where v.kind >= first_wait);
        select c.closed, c.told into closed, told from fw_cut(p_now, fired, array(
            select v.place from unnest(places, kinds) v (place, kind) where v.kind >= first_wait
        )) c;
        told := told || fw_fire(p_now, array(select v.id from unnest(fired) v (id) where v.id <> all (closed)), 1::smallint);
        select array_agg(v.place order by v.n), array_agg(v.id order by v.n) into places, ids
        from unnest(places, ids, kinds) with ordinality v (place, id, kind, n) where v.kind < first_wait;
        n := coalesce(cardinality(places), 0);
    end if;
    if n > 0 then
        select e.told, e.ready into told_, ready from fw_enter(0, p_now, 9, row(
            ids, array_fill(null::integer, array[n]), array_fill(0::bigint, array[n]),
            array_fill(null::text, array[n]), array_fill(0::bigint, array[n]), array_fill(false, array[n])
        )::fw_entries, places) e;
        told := told || told_;
    end if;
end $$;

-- Timers, in one round trip, from these places on. As JSON: [when to come again, due, id, late]: the place of the last that
-- was promoted; and whether some were not begun in time (`fw_expired`). One engine at a time: another one comes again after
-- p_later microseconds.
create function fw_tick(
    p_now bigint, p_limit integer, p_due bigint, p_due_id bytea, p_late bigint, p_late_id bytea, p_later bigint,
    p_notify boolean
) returns text language plpgsql
set search_path from current set jit = off set enable_seqscan = off set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    now_ constant bigint := coalesce(p_now, fw_micros());
    next_ bigint;
    part record;
begin
    if not pg_try_advisory_xact_lock(1178685017, hashtext(current_schema())) then
        next_ := fw_next_due(p_due, p_due_id, p_late, p_late_id);
        next_ := case when next_ <= now_ then now_ + p_later else next_ end;
        return json_build_array(next_, p_due, encode(p_due_id, 'hex'), false)::text;
    end if;
    -- If a crash of the server takes it away, it is done again: they are due still.
    perform set_config('synchronous_commit', 'off', true);
    perform fw_enter_gates();
    select p.* into part from fw_promote(now_, p_limit, p_due, p_due_id) p;
    if part.due_id = p_due_id and p_due >= 0 then  -- nothing more: what was passed by, or came later
        p_due := -1; p_due_id := '\x';
        select p.* into part from fw_promote(now_, p_limit, p_due, p_due_id) p;
    end if;
    if exists (select from shared s where s.open = 2) then
        part.told := part.told || (
            select t.told
            from (select s.run_id from shared s where s.open = 2 limit 1 for update skip locked) s
            cross join lateral fw_tell_links(now_, s.run_id) t
        );
    end if;
    if p_notify then
        perform fw_announce(part.told, part.ready);
    end if;
    next_ := fw_next_due(part.due_, part.due_id, p_late, p_late_id);
    if next_ is null or next_ > now_ then
        part.due_ := -1; part.due_id := '\x'; p_late := -1; p_late_id := '\x';
        next_ := fw_next_due(-1, '\x', -1, '\x');
    end if;
    return json_build_array(next_, part.due_, encode(part.due_id, 'hex'), exists (
        select from run r
        where r.state in (0, 2) and r.expires_at is not null and r.expires_at <= now_
          and (r.expires_at, r.id) > (p_late, p_late_id)
    ))::text;
end $$;

-- Those that were not begun in time, from this place on, locked, with what their error says. Not those whose deadlines
-- have moved: they have the new ones now, and come again, if it is time.
create function fw_expired(p_now bigint, p_limit integer, p_late bigint, p_late_id bytea)
returns table (run_id bytea, task_ text, attempt_ integer, deadline_ bigint, by_ bytea, timeout_ bigint, until_ bigint)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    late bytea[];
    moved bytea[];
begin
    late := array(
        select r.id from run r
        where r.state in (0, 2) and r.expires_at is not null and r.expires_at <= p_now
          and (r.expires_at, r.id) > (p_late, p_late_id)
        order by r.expires_at, r.id limit p_limit for update skip locked
    );
    moved := (select c.corrected from fw_correct_deadlines(p_now, late) c);
    return query
    select r.id, r.task, r.attempt, r.deadline, r.deadline_by, r.schedule_timeout, r.expires_at
    from unnest(late) with ordinality v (id, n)
    cross join lateral (select x.* from run x where x.id = v.id offset 0) r
    where v.id <> all (moved)
    order by v.n;
end $$;

-- --- lost workers -----------------------------------------------------------------------------------------------------

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

-- --- calls ------------------------------------------------------------------------------------------------------------

-- A call cancels a run, and closes all below it. Whoever has claimed something is to hear of it. `ended`: it had not
-- ended; null: there is no such run. `fenced`: it was the wish of an attempt that is over.
create function fw_cancel(
    p_id bytea, p_attempt integer, p_now bigint, p_error text, p_closing text,
    out ended boolean, out fenced boolean, out closes boolean, out told bigint[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    before record;
    refused integer[];
    which smallint;
    root bytea;
begin
    told := '{}'; closes := false; fenced := false;
    select r.root_id into root from run r where r.id = p_id;
    perform from run r where r.id = root and r.id <> p_id for key share;  -- against whoever deletes the tree
    select r.state, r.attempt into before from run r where r.id = p_id for update;
    if not found then
        return;
    end if;
    if p_attempt <> before.attempt or (p_attempt is not null and before.state not in (1, 10)) then
        ended := false; fenced := true;
        return;
    end if;
    which := case when before.attempt > 0 then 0 end;
    ended := before.state < 8;
    if ended then
        select l.refused, l.told, l.closes into refused, told, closes from fw_leave(0, p_now, true, row(
            array[p_id], array[null::integer], array[10::smallint], array[null::text], array[p_error],
            array[2::smallint], array[0::bigint], array[false], array[which], array[p_closing]
        )::fw_ends) l;
    else
        closes := fw_close(p_now, array[p_id], array[which], array[p_closing]);
    end if;
    if closes or before.state = 1 then  -- it may be claimed itself, and not begun
        with hearing as (
            insert into unheard (worker_id, run_id)
            select w.id, p_id from worker w join lease l on l.worker_id = w.id
            where w.slots > 0 and l.expires_at > p_now
            order by w.id
            on conflict do nothing
            returning worker_id
        )
        select told || coalesce(array_agg(h.worker_id), '{}') into told from hearing h;
    end if;
end $$;

-- Who waited for these children has given up: those end that have not, and that this attempt asked for last.
create function fw_cancel_children(
    p_parent bytea, p_attempt integer, p_ids bytea[], p_now bigint, p_error text, p_closing text[],
    out ended integer, out closes boolean, out told bigint[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    child record;
    one record;
begin
    ended := 0; closes := false; told := '{}';
    perform from run r where r.id = (select p.root_id from run p where p.id = p_parent) and r.id <> p_parent for key share;
    for child in select v.id, v.closing from unnest(p_ids, p_closing) v (id, closing) order by v.id loop
        perform from run r
        where r.id = child.id and r.parent_id = p_parent and r.asked = p_attempt and r.state < 8 for update;
        if found then
            select c.ended, c.closes, c.told into one from fw_cancel(child.id, null, p_now, p_error, child.closing) c;
            ended := ended + 1; closes := closes or one.closes; told := told || one.told;
        end if;
    end loop;
end $$;

create function fw_is_heard(p_id bytea, p_now bigint) returns boolean language plpgsql
set enable_seqscan = off
as $$
#variable_conflict error
begin
    return not exists (
        select from unheard u join lease l on l.worker_id = u.worker_id
        where u.run_id = p_id and l.expires_at > p_now
    );
end $$;

-- A run that has ended is queued again. 0: it is not in one of these states any more; 1: it is; 2: something above it is
-- closed, and not swept yet; 3: its tree is being deleted. null: there is no such run.
create function fw_replay(p_id bytea, p_now bigint, p_allow smallint[], out answer integer, out ready text[])
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    root bytea;
    state_ smallint;
begin
    ready := '{}';
    select r.root_id into root from run r where r.id = p_id;
    perform from run r where r.id = root and r.id <> p_id for share;  -- against whoever deletes the tree
    select r.state into state_ from run r where r.id = p_id for update;
    if not found then
        return;
    end if;
    answer := case
        when state_ <> all (p_allow) then 0
        when exists (select from gate g where g.run_id = root and g.what = 3) then 3
        when (select cardinality(c.ids) from fw_closed(array[p_id]) c) > 0 then 2
        else 1
    end;
    if answer = 1 then
        select e.ready into ready from fw_enter(0, p_now, 8, row(
            array[p_id], array[null::integer], array[0::bigint], array[null::text], array[0::bigint], array[false]
        )::fw_entries) e;
    end if;
end $$;

create function fw_secret() returns text language sql stable set search_path from current
as $$
    select s.value from setting s where s.name = 'secret'
$$;

-- A run says something of itself; false if that attempt is over.
create function fw_publish(p_run bytea, p_attempt integer, p_key text, p_value text) returns boolean language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    perform from run r where r.id = p_run and r.state = 1 and r.attempt = p_attempt for share;
    if not found then
        return false;
    end if;
    insert into value (run_id, key, value) values (p_run, p_key, p_value)
    on conflict (run_id, key) do update set value = excluded.value;
    return true;
end $$;

-- The messages of a run are given to its receives that wait, in the order in which they were sent, and asked for. Under the
-- lock of its inbox (see fw_share_keys): a receive that is not committed waits for it, or it for that.
create function fw_deliver(p_now bigint, p_run bytea, p_from bytea, p_end bytea) returns bigint[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    wait record;
    sent record;
    told bigint[] := '{}';
    closed bytea[];
    told_ bigint[];
begin
    for wait in
        select r.id, r.ctid as place, (r.input::json) ->> 'key' as name from run r
        where r.state = 2 and r.awaits is not null and r.awaits > p_from and r.awaits < p_end
        order by r.awaits for update
    loop
        select m.number, m.envelope, m.once into sent from message m
        where m.run_id = p_run and m.name = wait.name order by m.number limit 1 for update;
        continue when not found;
        select c.closed, c.told into closed, told_ from fw_cut(p_now, array[wait.id], array[wait.place]) c;
        told := told || told_;
        continue when cardinality(closed) > 0;
        told := told || fw_fire(p_now, array[wait.id], 2::smallint, 8::smallint, sent.envelope);
        if sent.once is null then
            delete from message m where m.run_id = p_run and m.number = sent.number;
        else
            update message m set name = '', envelope = '' where m.run_id = p_run and m.number = sent.number;
        end if;
    end loop;
    return told;
end $$;

-- A message is sent to a run; once under `p_once`, if that is given. 0: it is; 1: the run has ended, or ends with something
-- above it; null: there is none.
create function fw_send(
    p_now bigint, p_lock bigint, p_run bytea, p_name text, p_envelope text, p_once bytea, p_from bytea,
    p_end bytea, out answer integer, out told bigint[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    before smallint;
begin
    told := '{}';
    perform pg_advisory_xact_lock(p_lock);
    select r.state into before from run r where r.id = p_run for share;
    if not found then
        return;
    end if;
    if p_once is not null and exists (select from message m where m.run_id = p_run and m.once = p_once) then
        answer := 0;
        return;
    end if;
    answer := case when before >= 8 or (select cardinality(c.ids) from fw_closed(array[p_run]) c) > 0 then 1 else 0 end;
    if answer = 0 then
        insert into message (run_id, number, name, envelope, once)
        values (p_run, nextval('event_number'), p_name, p_envelope, p_once);
        told := fw_deliver(p_now, p_run, p_from, p_end);
    end if;
end $$;

-- Events are kept, under the locks of their keys (see fw_share_keys). Of each: its number; of one whose id was there already
-- its digest. Rows of JSON.
create function fw_push(p_now bigint, p_keys bigint[], p_events text)
returns table (event_id text, event_number bigint, kept_digest bytea) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    here record;
    before record;
    drawn bigint;
begin
    perform pg_advisory_xact_lock(v.key) from (select distinct x.key from unnest(p_keys) x (key) order by 1 offset 0) v;
    for here in
        select * from json_to_recordset(p_events::json) x (
            id text, key text, scope text, payload text, metadata text, digest text
        )
    loop
        drawn := nextval('event_number');
        insert into event (id, number, key, scope, payload, metadata, at, open, digest)
        values (here.id, drawn, here.key, here.scope, here.payload, here.metadata, p_now, 1, decode(here.digest, 'hex'))
        on conflict do nothing;
        if found then
            return query select here.id, drawn, null::bytea;
        else
            select e.number, e.digest into before from event e where e.id = here.id;
            return query select here.id, before.number, before.digest;
        end if;
    end loop;
end $$;

-- Of each shape that is waited for under a key, what one wait wants.
create function fw_shapes(p_from bytea, p_end bytea, p_most bytea) returns text[] language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    place bytea := p_from;
    mark bytea;
    wanted text;
    found_ text[] := '{}';
begin
    loop
        select r.awaits, r.input into mark, wanted from run r
        where r.state = 2 and r.awaits is not null and r.awaits > place and r.awaits < p_end
        order by r.awaits limit 1;
        exit when not found;
        found_ := found_ || wanted;
        place := substr(mark, 1, 16) || p_most;
    end loop;
    return found_;
end $$;

-- Waits between these marks end, at most so many in all, each with the output beside its marks; what others hold at this
-- moment is passed by. How many; and between which marks some are left (numbers, from 1).
create function fw_end_waits(
    p_now bigint, p_from bytea[], p_end bytea[], p_outputs text[], p_limit integer,
    out ended integer, out left_ integer[], out told bigint[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    n integer;
    ids bytea[];
    places tid[];
    closed bytea[];
    told_ bigint[];
begin
    ended := 0; left_ := '{}'; told := '{}';
    for n in 1 .. coalesce(cardinality(p_from), 0) loop
        select array_agg(w.id), array_agg(w.place) into ids, places from (
            select r.id, r.ctid as place from run r
            where r.state = 2 and r.awaits is not null and r.awaits > p_from[n] and r.awaits < p_end[n]
            order by r.awaits limit p_limit - ended for update skip locked
        ) w;
        if cardinality(ids) > 0 then
            select c.closed, c.told into closed, told_ from fw_cut(p_now, ids, places) c;
            told := told || told_ || fw_fire(
                p_now, array(select v.id from unnest(ids) v (id) where v.id <> all (closed)), 2::smallint, 8::smallint, p_outputs[n]
            );
            ended := ended + cardinality(ids);
        end if;
        if exists (
            select from run r
            where r.state = 2 and r.awaits is not null and r.awaits > p_from[n] and r.awaits < p_end[n]
        ) then
            left_ := left_ || n;
        end if;
    end loop;
end $$;

-- These waits end, if they wait still.
create function fw_fulfil(p_now bigint, p_ids bytea[], p_output text) returns bigint[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    ids bytea[];
    places tid[];
    closed bytea[];
    told bigint[];
begin
    select array_agg(w.id), array_agg(w.place) into ids, places from (
        select r.id, r.ctid as place from run r
        where r.id = any (p_ids) and r.state = 2 and r.kind >= 10 order by r.id for update
    ) w;
    if ids is null then
        return '{}';
    end if;
    select c.closed, c.told into closed, told from fw_cut(p_now, ids, places) c;
    return told || fw_fire(
        p_now, array(select v.id from unnest(ids) v (id) where v.id <> all (closed)), 2::smallint, 8::smallint, p_output
    );
end $$;

-- A promise is settled, unless it has ended, or ends with something above it that is closed. How it ended.
create function fw_settle(
    p_id bytea, p_now bigint, p_state smallint, p_output text, p_error text,
    out done boolean, out state_ smallint, out output_ text, out error_ text, out told bigint[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    waiting constant smallint := 2;
    why text;
begin
    told := '{}';
    perform from run r where r.id = p_id and r.state = waiting for update;
    done := found;
    if done then
        select c.reasons[1] into why from fw_closed(array[p_id]) c;
        if why is not null then
            done := false; state_ := 10; error_ := why;
            return;
        end if;
        told := fw_fire(p_now, array[p_id], 2::smallint, p_state, p_output, p_error);
    end if;
    select r.state, r.output, r.error into state_, output_, error_ from run r where r.id = p_id;
end $$;

-- A sleep ends now, unless it has ended, or ends with something above it that is closed.
create function fw_wake(p_id bytea, p_now bigint, out woken boolean, out told bigint[]) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    waiting constant smallint := 2;
begin
    woken := false; told := '{}';
    perform from run r where r.id = p_id and r.state = waiting for update;
    if found and (select cardinality(c.ids) from fw_closed(array[p_id]) c) = 0 then
        woken := true;
        told := fw_fire(p_now, array[p_id], 2::smallint);
    end if;
end $$;
