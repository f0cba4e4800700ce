-- Calls that cancel, or replay.

-- This run, or what is below it, was closed by a call: who may have claimed something of it is to hear of that before the
-- call returns. Who that is.
create function fw_all_unheard(p_ids bytea[], p_now bigint) returns bigint[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    hearing bigint[];
begin
    perform fw_tell_workers();  -- (who calls this has done so before)
    with noted as (
        insert into unheard (worker_id, run_id)
        select w.id, v.id from worker w join lease l on l.worker_id = w.id cross join unnest(p_ids) v (id)
        where w.slots > 0 and l.expires_at > p_now
        order by w.id, v.id
        on conflict do nothing
        returning worker_id
    )
    select coalesce(array_agg(distinct n.worker_id), '{}') into hearing from noted n;
    return hearing;
end $$;

create function fw_unheard(p_id bytea, p_now bigint) returns bigint[] language sql
as $$ select fw_all_unheard(array[p_id], p_now) $$;

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
    perform fw_tell_workers();
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
        told := told || fw_unheard(p_id, p_now);
    end if;
end $$;

-- The same for many at once, by the wish of no attempt: what takes long of an end is done once for all of them. Which of
-- them are there, and of each whether it had not ended, and whether something below it is closed now.
create function fw_cancel_all(
    p_ids bytea[], p_now bigint, p_error text, p_closing text[],
    out there bytea[], out ended boolean[], out closes boolean[], out told bigint[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    one record;
    before record;
    which smallint;
    leaving fw_ends := row('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')::fw_ends;
    over_ fw_ends := leaving;  -- of which only what is to be closed counts
    claimed bytea[] := '{}';
    by_one boolean := (select exists (select from hedge) or exists (select from shared s where s.open > 0));
begin
    told := '{}'; there := '{}'; ended := '{}'; closes := '{}';
    perform fw_tell_workers();
    for one in
        select distinct r.root_id from unnest(p_ids) v (id)
        cross join lateral (select x.id, x.root_id from run x where x.id = v.id offset 0) r
        where r.root_id <> r.id order by r.root_id
    loop
        perform from run r where r.id = one.root_id for key share;  -- against whoever deletes the tree
    end loop;
    for one in select v.id, v.closing from unnest(p_ids, p_closing) v (id, closing) order by v.id loop
        if by_one then  -- the end of one may be that of another
            select c.ended, c.closes, c.told into before from fw_cancel(one.id, null, p_now, p_error, one.closing) c;
            continue when before.ended is null;
            there := there || one.id; ended := ended || before.ended; closes := closes || before.closes;
            told := told || before.told;
            continue;
        end if;
        select r.state, r.attempt into before from run r where r.id = one.id for update;
        continue when not found;
        which := case when before.attempt > 0 then 0 end;
        there := there || one.id; ended := ended || (before.state < 8);
        if before.state < 8 then
            leaving.id := leaving.id || one.id; leaving.which := leaving.which || which;
            leaving.closing := leaving.closing || one.closing;
        else
            over_.id := over_.id || one.id; over_.which := over_.which || which;
            over_.closing := over_.closing || one.closing;
        end if;
        if before.state = 1 then
            claimed := claimed || one.id;
        end if;
    end loop;
    if not by_one then
        if cardinality(leaving.id) > 0 then
            leaving := fw_cancelled(leaving, p_error);
            select l.told into told from fw_leave(0, p_now, true, leaving) l;
        end if;
        if cardinality(over_.id) > 0 then
            perform fw_close(p_now, over_.id, over_.which, over_.closing);
        end if;
        closes := array(
            select coalesce(
                (select w.which is not null from gate g where g.run_id = v.id and g.what = 1 and g.made_at = p_now), false
            )
            from unnest(there) with ordinality v (id, n)
            left join unnest(leaving.id || over_.id, leaving.which || over_.which) w (id, which) on w.id = v.id
            order by v.n
        );
        told := told || fw_all_unheard(
            array(select v.id from unnest(there, closes) v (id, closed) where v.closed or v.id = any (claimed)), p_now
        );
    end if;
    told := array(select distinct v.id from unnest(told) v (id) order by v.id);
end $$;

-- Ends of these runs, as somebody has cancelled them.
create function fw_cancelled(e fw_ends, p_error text) returns fw_ends language plpgsql immutable
as $$
#variable_conflict error
declare
    n integer := cardinality(e.id);
begin
    e.attempt := array_fill(null::integer, array[n]); e.state := array_fill(10::smallint, array[n]);
    e.output := array_fill(null::text, array[n]); e.error := array_fill(p_error, array[n]);
    e.ended_by := array_fill(2::smallint, array[n]); e.busy := array_fill(0::bigint, array[n]);
    e.local := array_fill(false, array[n]);
    return e;
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
    ids bytea[] := '{}';
    closing text[] := '{}';
    done record;
begin
    ended := 0; closes := false; told := '{}';
    perform fw_tell_workers();
    perform from run r where r.id = (select p.root_id from run p where p.id = p_parent) and r.id <> p_parent for key share;
    for child in select v.id, v.closing from unnest(p_ids, p_closing) v (id, closing) order by v.id loop
        perform from run r
        where r.id = child.id and r.parent_id = p_parent and r.asked = p_attempt and r.state < 8 for update;
        if found then
            ids := ids || child.id; closing := closing || child.closing;
        end if;
    end loop;
    if cardinality(ids) > 0 then
        select c.closes, c.told into done from fw_cancel_all(ids, p_now, p_error, closing) c;
        ended := cardinality(ids); closes := true = any (done.closes); told := done.told;
    end if;
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
        perform fw_set_priorities(array[p_id], true);
        select e.ready into ready from fw_enter(0, p_now, 8, row(
            array[p_id], array[null::integer], array[0::bigint], array[null::text], array[0::bigint], array[false]
        )::fw_entries) e;
    end if;
end $$;
