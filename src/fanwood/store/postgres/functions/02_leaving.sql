-- The one way out: every run that ends does so by `fw_leave`, whatever the cause. It asks, or was asked before, the same
-- question as the way in (02_entering.sql): is it closed?
--
-- Here and everywhere: what a list of ids is joined with is found by `id = any (array[v.id])`. By `id = v.id` the server may
-- just as well read the whole index, and look for each run in the list; which it does for the rest of a session whose plan
-- was made when a vacuum had found the table empty.

-- Write to all who wait for these ended runs, but for p_me: the worker of the parent (of p_parents, if these are known),
-- and whoever watches; and, of runs that ended under their worker (p_under), to that. To whom it was.
create function fw_tell(p_me bigint, p_ids bytea[], p_under bytea[], p_parents bytea[]) returns bigint[]
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    running constant smallint := 1;
    told bigint[];
begin
    with watched as (
        delete from watch t where t.run_id = any (p_ids) returning t.worker_id, t.run_id
    ),
    concerned as (
        select p.worker_id, r.id as run_id
        from unnest(p_ids) v (id)
        cross join lateral (select x.id, x.parent_id from run x where x.id = v.id offset 0) r
        cross join lateral (
            select x.worker_id from run x where x.id = r.parent_id and x.state = running offset 0
        ) p
        where p_parents is null or cardinality(p_parents) > 0
        union
        select t.worker_id, t.run_id from watched t
        union
        select r.worker_id, v.id
        from unnest(p_under) v (id) cross join lateral (select x.worker_id from run x where x.id = v.id offset 0) r
    ),
    mailed as (
        insert into mail (worker_id, run_ids, size)
        select l.worker_id, array_agg(c.run_id),
               sum(coalesce(octet_length(r.output), 0) + coalesce(octet_length(r.error), 0))
        from concerned c join lease l on l.worker_id = c.worker_id
        cross join lateral (select x.output, x.error from run x where x.id = c.run_id offset 0) r
        where c.worker_id <> p_me
        group by l.worker_id
        returning worker_id
    )
    select array_agg(m.worker_id) into told from mailed m;
    return coalesce(told, '{}');
end $$;

-- Runs end. p_places: where they stand, of runs that the caller has locked, and that are closed. p_foreign: not by their own attempts, so that whoever executes them is told as well; these the caller has
-- locked. The numbers (from 1) of those that were refused (they had ended, or their attempt is over), to whom it was written, whether something
-- below them was closed, and of which tasks somebody who was suspended is queued now.
create function fw_leave(
    p_me bigint, p_now bigint, p_foreign boolean, e fw_ends, p_places tid[] default null,
    out refused integer[], out told bigint[], out closes boolean, out woken text[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    running constant smallint := 1;
    terminal constant smallint := 8;
    ended integer[];
    under bytea[];
    parents bytea[];
    to_tell bytea[];
    watched boolean;
    hedged boolean;
    shares boolean;
    waits boolean;
    unlinked record;
begin
    told := '{}'; refused := '{}'; closes := false; woken := '{}';
    if p_places is null then
        with done as (
            update run r
            set state = v.state, output = v.output, error = v.error, finished_at = p_now, ended_by = v.ended_by,
                busy = r.busy + v.busy,
                deaths = case when v.ended_by = 5 and r.attempt > 0 then r.deaths + 1 else r.deaths end,
                expires_at = null, waits = null, due_at = null
            from unnest(e.id, e.attempt, e.state, e.output, e.error, e.ended_by, e.busy) with ordinality
                 v (id, attempt, state, output, error, ended_by, busy, n)
            where r.id = any (array[v.id]) and r.state < terminal
              and (v.attempt is null or (r.attempt = v.attempt and r.state = running))
            returning v.n::integer
        )
        select array_agg(d.n) into ended from done d;
    else
        with done as (
            update run r
            set state = v.state, output = null, error = v.error, finished_at = p_now, ended_by = v.ended_by,
                expires_at = null, waits = null, due_at = null
            from unnest(p_places, e.state, e.error, e.ended_by) with ordinality v (place, state, error, ended_by, n)
            where r.ctid = v.place
            returning v.n::integer, case when r.worker_id is not null then r.id end as under
        )
        select array_agg(d.n), array_agg(d.under) filter (where d.under is not null) into ended, under from done d;
    end if;
    if coalesce(cardinality(ended), 0) < cardinality(e.id) then
        refused := array(
            select generate_series(1, cardinality(e.id)) except select v.n from unnest(ended) v (n)
        );
    end if;
    if p_foreign and p_places is null then
        select array_agg(r.id) filter (where r.worker_id is not null),
               array_agg(distinct r.parent_id) filter (where not v.local)
        into under, parents
        from unnest(e.id, e.local) with ordinality v (id, local, n)
        cross join lateral (select x.id, x.worker_id, x.parent_id from run x where x.id = v.id offset 0) r
        where v.n <> all (refused);
    end if;
    select exists (select from watch t where t.worker_id < p_me) or exists (select from watch t where t.worker_id > p_me),
           exists (select from hedge), exists (select from shared s where s.open > 0), exists (select from suspended)
    into watched, hedged, shares, waits;  -- after the ends: who begins to wait from now on sees them (see fw_suspend)
    if watched or false = any (e.local) or cardinality(under) > 0 then
        to_tell := array(
            select v.id from unnest(e.id, e.local) with ordinality v (id, local, n)
            where (not v.local or (watched and (select true from watch t where t.run_id = v.id limit 1)))
              and v.n <> all (refused)
        );
        if p_foreign then
            parents := array(
                select p.id from unnest(parents) v (id)
                cross join lateral (select x.id from run x where x.id = v.id and x.state = running offset 0) p
            );  -- ('{}' without any)
        end if;
        if cardinality(under) > 0
           or (cardinality(to_tell) > 0 and (watched or parents is null or cardinality(parents) > 0))
        then
            told := fw_tell(p_me, to_tell, under, parents);
        end if;
    end if;
    if cardinality(array_remove(e.which, null)) > 0 then
        if cardinality(refused) > 0 then
            e.which := array(
                select case when v.n <> all (refused) then v.which end
                from unnest(e.which) with ordinality v (which, n) order by v.n
            );
        end if;
        closes := fw_close(p_now, e.id, e.which, e.closing, p_me <> 0);
    end if;
    if p_me = 0 and exists (select from budget) then  -- (of its own ends a commit does so itself, at last)
        perform fw_even_out(e.id);
    end if;
    if hedged then
        unlinked := fw_help(p_now, e.id);
        told := told || unlinked.told; closes := closes or unlinked.closes; woken := woken || unlinked.woken;
    end if;
    if shares then
        unlinked := fw_unlink(p_now, e.id);
        told := told || unlinked.told; closes := closes or unlinked.closes; woken := woken || unlinked.woken;
    end if;
    if waits then
        woken := woken || fw_count_ends(p_now, e.id);
        if cardinality(woken) > 0 then
            perform fw_announce('{}', woken);
        end if;
    end if;
end $$;

-- Of these runs, which the caller has locked where they stand, those that are closed end. Which they are, and to whom it was written: not
-- to the workers of their parents, as these have ended, or are closed, or don't wait for them any more. (p_most: so many end,
-- and the others are only named as closed.)
create function fw_cut(
    p_now bigint, p_ids bytea[], p_places tid[], p_most integer default null,
    out closed bytea[], out cut bytea[], out told bigint[]
) language plpgsql
as $$
#variable_conflict error
declare
    reasons text[];
    numbers integer[];
    n integer;
begin
    told := '{}';
    select c.ids, c.reasons, c.numbers into closed, reasons, numbers from fw_closed(p_ids, p_places) c;
    n := least(cardinality(closed), p_most);
    cut := closed[1:n];
    if n > 0 then
        select l.told into told from fw_leave(0, p_now, true, row(
            cut, array_fill(null::integer, array[n]), array_fill(10::smallint, array[n]),
            array_fill(null::text, array[n]), reasons[1:n], array_fill(3::smallint, array[n]),
            array_fill(0::bigint, array[n]), array_fill(true, array[n]), array_fill(null::smallint, array[n]),
            array_fill(null::text, array[n])
        )::fw_ends, array(select p_places[c.n] from unnest(numbers[1:n]) c (n))) l;
    end if;
end $$;

-- What waits, and has no code, ends: these runs, which the caller has locked, but for those that are closed (they end with
-- that), with one output, or each with its own. To whom it was written.
create function fw_fire(
    p_now bigint, p_ids bytea[], p_by smallint, p_state smallint default 8, p_output text default 'null',
    p_error text default null, p_outputs text[] default null
) returns bigint[] language plpgsql
as $$
#variable_conflict error
declare
    n integer := cardinality(p_ids);
begin
    if n = 0 then
        return '{}';
    end if;
    return (
        select l.told from fw_leave(0, p_now, true, row(
            p_ids, array_fill(null::integer, array[n]), array_fill(p_state, array[n]),
            coalesce(p_outputs, array_fill(p_output, array[n])),
            array_fill(p_error, array[n]), array_fill(p_by, array[n]), array_fill(0::bigint, array[n]),
            array_fill(false, array[n]), array_fill(null::smallint, array[n]), array_fill(null::text, array[n])
        )::fw_ends) l
    );
end $$;

-- These runs, which the caller has locked where they stand, are about to be asked for again. Those that are below something
-- closed end first, as a sweep would end them. And as what is above closes them no more then, what is below them is closed by
-- gates of their own. Whether anything is, and to whom it was written.
create function fw_cut_again(
    p_now bigint, p_ids bytea[], p_states smallint[], p_places tid[], out closes boolean, out told bigint[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    living bytea[];
    places tid[];
    cut bytea[];
    shut record;
begin
    closes := false; told := '{}'; cut := '{}';
    select array_agg(v.id), array_agg(v.place) into living, places
    from unnest(p_ids, p_states, p_places) v (id, state, place) where v.state < terminal;
    if cardinality(living) > 0 then
        select c.cut, c.told into cut, told from fw_cut(p_now, living, places) c;
    end if;
    shut := fw_closed(
        array(select v.id from unnest(p_ids, p_states) v (id, state) where v.state >= terminal or v.id = any (cut)), null, true
    );
    if cardinality(shut.ids) > 0 then
        closes := fw_close(p_now, shut.ids, array_fill(0::smallint, array[cardinality(shut.ids)]), shut.reasons);
    end if;
end $$;
