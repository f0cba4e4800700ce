-- What is due: waits and retries whose time has come, and what was not begun in time. A bounded part in each transaction.

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
