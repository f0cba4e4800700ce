-- Runs whose code is unloaded while it waits. What must hold: a run that waits for children is moved on by their ends. So
-- suspending counts in one transaction what has ended already, and all ends come by `fw_leave`. Waking too early is harmless.
--
-- Of a suspend beside an end that is not committed yet the one would see the child living, and the other nobody who is
-- suspended. So a suspend locks the rows of those that it counts: either it waits for the end, and counts it; or the end waits
-- for it (it has to write that row), and looks for who is suspended in a statement after that, which sees it.
--
-- All lock in one order: rows of runs, then `suspended`, then `awaited`.

-- p_suspends, as JSON: [[run, attempt, missing, limit, busy, [[awaited run, weight], ...], pending], ...].
create function fw_suspend(p_suspends text) returns void language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    running constant smallint := 1;
    terminal constant smallint := 8;
    completed constant smallint := 8;
    one record;
    ids bytea[];
    weights smallint[];
    over bigint;
    enough boolean;
begin
    for one in
        select decode(v.j ->> 0, 'hex') as id, (v.j ->> 1)::integer as attempt, (v.j ->> 2)::integer as missing,
               (v.j ->> 3)::bigint as until, (v.j ->> 4)::bigint as busy, v.j -> 5 as awaited,
               v.j ->> 6 as pending
        from json_array_elements(p_suspends::json) v (j) order by decode(v.j ->> 0, 'hex')
    loop
        perform from run r where r.id = one.id and r.state = running and r.attempt = one.attempt for update;
        if not found or (select cardinality(c.ids) from fw_closed(array[one.id]) c) > 0 then
            continue;
        end if;
        select array_agg(v.id order by v.id), array_agg(v.weight order by v.id) into ids, weights
        from (
            select decode(w.j ->> 0, 'hex') as id, (w.j ->> 1)::smallint as weight
            from json_array_elements(one.awaited) w (j)
        ) v;
        perform from unnest(ids) with ordinality v (id, n)
        cross join lateral (select true from run x where x.id = v.id for share) r;
        select count(*) filter (where r.state is null or r.state >= terminal),
               coalesce(bool_or(r.state is null or (r.state >= terminal and (
                   v.weight = 2 or (v.weight = 3 and r.state <> completed)))), false)
        into over, enough
        from unnest(ids, weights) v (id, weight)
        left join lateral (select x.state from run x where x.id = v.id offset 0) r on true;
        if enough or over >= one.missing then
            continue;
        end if;
        update run r
        set state = 2, waits = 1, due_at = one.until, busy = r.busy + one.busy, deaths = 0, expires_at = r.deadline,
            worker_id = null
        where r.id = one.id;
        insert into suspended (run_id, attempt, wakes, missing, until, pending)
        values (one.id, one.attempt, 1, one.missing - over, one.until, one.pending)
        on conflict (run_id) do update
        set attempt = excluded.attempt, wakes = suspended.wakes + 1, missing = excluded.missing, until = excluded.until,
            pending = excluded.pending;
        insert into awaited (run_id, waiter_id, weight)
        select v.id, one.id, v.weight
        from unnest(ids, weights) v (id, weight)
        cross join lateral (select true from run x where x.id = v.id and x.state < terminal offset 0) r
        on conflict (run_id, waiter_id) do update set weight = excluded.weight;
    end loop;
end $$;

-- Of these the numbers (from 1) of those that were not suspended, as what they wait for is there.
create function fw_going_on(p_suspends text) returns integer[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    running constant smallint := 1;
begin
    return array(
        select v.n::integer
        from json_array_elements(p_suspends::json) with ordinality v (j, n)
        cross join lateral (
            select x.attempt, x.state from run x where x.id = decode(v.j ->> 0, 'hex') offset 0
        ) r
        where r.state = running and r.attempt = (v.j ->> 1)::integer
    );
end $$;

-- After ends (of those of these that have ended): who was suspended, and misses nothing any more, is queued. Their tasks.
create function fw_count_ends(p_now bigint, p_ids bytea[]) returns text[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    waiting constant smallint := 2;
    terminal constant smallint := 8;
    completed constant smallint := 8;
    ended bytea[];
    waiters bytea[];
    awake bytea[];
    n integer;
    ready text[];
begin
    ended := array(
        select r.id from unnest(p_ids) v (id)
        cross join lateral (select x.id from run x where x.id = v.id and x.state >= terminal offset 0) r
    );
    waiters := array(
        select distinct a.waiter_id from unnest(ended) v (id)
        cross join lateral (select x.waiter_id from awaited x where x.run_id = v.id offset 0) a
    );
    perform from (select v.id from unnest(waiters) v (id) order by v.id) v
    cross join lateral (select true from run x where x.id = v.id for update) r;
    perform from (select v.id from unnest(ended || waiters) v (id) order by v.id) v
    cross join lateral (select true from suspended x where x.run_id = v.id for update) s;
    with dropped as (
        delete from awaited a where a.run_id = any (ended)
        returning a.run_id, a.waiter_id, a.weight
    ),
    counted as (
        select d.waiter_id, count(*) as n,
               bool_or(d.weight = 2 or (d.weight = 3 and r.state <> completed)) as enough
        from dropped d cross join lateral (select x.state from run x where x.id = d.run_id offset 0) r
        group by d.waiter_id
    ),
    lowered as (
        update suspended s set missing = case when c.enough then 0 else s.missing - c.n end
        from counted c where s.run_id = any (array[c.waiter_id])
        returning s.run_id, s.missing
    )
    select array_agg(r.id) into awake
    from lowered l cross join lateral (
        select x.id from run x where x.id = l.run_id and x.state = waiting and x.waits = 1 offset 0
    ) r
    where l.missing <= 0;
    delete from suspended s where s.run_id = any (ended);
    delete from awaited a where a.waiter_id = any (ended);
    n := cardinality(awake);
    if coalesce(n, 0) = 0 then
        return '{}';
    end if;
    select e.ready into ready from fw_enter(0, p_now, 9, row(
        awake, array_fill(null::integer, array[n]), array_fill(0::bigint, array[n]),
        array_fill(null::text, array[n]), array_fill(0::bigint, array[n]), array_fill(false, array[n])
    )::fw_entries) e;
    return coalesce(ready, '{}');
end $$;
